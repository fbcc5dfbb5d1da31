"""Every component on its own: its children, their parents, and its outputs."""

import asyncio
import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal
from unittest import mock

import pulumi
import pytest

from components import orphans, remote
from components.agent import VERSION, AgentService, AgentServiceArgs, DatadogAgent, DatadogAgentArgs
from components.custom_check import MY_METRIC, CustomCheck, CustomCheckArgs
from components.datadog_context import DatadogContext
from components.downtimes import OfficeHoursDowntimes, OfficeHoursDowntimesArgs, cancel_duplicates
from components.host import Host, HostArgs, ssh_command
from components.links import Links
from components.monitors import MetricMonitor, MetricMonitorArgs
from components.mysql import MySql, MySqlArgs
from components.ownership import OwnershipTag
from components.sharing import SharedDashboard, SharedDashboardArgs
from components.timeboards import Timeboards, TimeboardsArgs
from components.traced_app import LoadGenerator, LoadGeneratorArgs, TracedApp, TracedAppArgs
from settings.credentials import Credentials
from settings.faults import validate
from settings.model import HostSettings, ProxySettings
from tests.unit import mocks
from tests.unit.mocks import (
    API_KEY,
    APP_KEY,
    COMMAND,
    DASHBOARD,
    DOWNTIME,
    EMBED,
    EMBED_LINK,
    HOST,
    LOCAL_COMMAND,
    MONITOR,
    MONITOR_ID,
    OWNER,
    PASSWORD,
    PRIVATE_KEY,
    PUBLIC,
    PUBLIC_LINK,
    SAMPLE,
    Program,
    Secret,
    plain,
    run,
)


def machine(**changes: Any) -> HostSettings:
    return HostSettings.model_validate({key: value for key, value in {**HOST, **changes}.items() if value is not None})


def host(name: str = "vm", **changes: Any) -> Host:
    return Host(name, HostArgs(machine=machine(**changes), owner=OWNER, packages=["a", "b | c"]))


def agent(on: Host, name: str = "agent", **changes: Any) -> DatadogAgent:
    args: dict[str, Any] = {
        "host": on,
        "api_key": pulumi.Output.secret(API_KEY),
        "site": "datadoghq.eu",
        "env": "dev",
        "tags": ("team:core",),
        "version": "7.70.1",
        "install_script_url": "https://example.com/install.sh",
        **changes,
    }
    return DatadogAgent(name, DatadogAgentArgs(**args))


def service(of: DatadogAgent) -> AgentService:
    return AgentService("service", AgentServiceArgs(agent=of, reads=[], checks=["one", "two"]))


def app(on: Host) -> TracedApp:
    args = TracedAppArgs(host=on, agent=service(agent(on)), service="shop", env="dev", version="1.2")
    return TracedApp("app", args)


def children(program: Program, component: str) -> set[str]:
    """The names of the resources directly under a component."""
    (urn,) = {r.urn for r in program.resources if not r.request.custom and r.name == component}
    return {r.name for r in program.resources if r.parent == urn}


def connection(program: Program, name: str) -> Mapping[str, Any]:
    secret = program.commands[name].inputs["connection"]
    assert isinstance(secret, Secret)
    found: Mapping[str, Any] = secret.value
    return found


def test_a_host_passes_its_gate_before_its_packages_are_installed() -> None:
    program = run(lambda: pulumi.export("ssh", host().ssh))
    assert children(program, "vm") == {"vm-ready", "vm-library", "vm-packages"}
    assert program.before(program.commands["vm-packages"]) == {"vm-ready", "vm-library"}
    assert "env packages='a, b | c' directories='' users='' " in program.commands["vm-packages"].plain["create"]
    assert program.outputs == {"ssh": "ssh -p 22 watchpost@198.18.0.2"}


def test_a_host_s_connection_is_whole_and_secret() -> None:
    assert connection(run(host), "vm-ready") == {
        "host": "198.18.0.2",
        "port": 22,
        "user": "watchpost",
        "privateKey": PRIVATE_KEY,
        "hostKey": "ssh-ed25519 AAAAfake",
        "dialErrorLimit": 20,
        "perDialTimeout": 15,
    }


def test_a_host_can_be_reached_by_a_key_file_with_a_password(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text(PRIVATE_KEY)
    program = run(
        lambda: pulumi.export(
            "ssh", host(privateKey=None, privateKeyFile=str(file), privateKeyPassword="fake-password").ssh
        )
    )
    assert connection(program, "vm-ready")["privateKey"] == PRIVATE_KEY
    assert connection(program, "vm-ready")["privateKeyPassword"] == "fake-password"
    assert program.outputs["ssh"] == f"ssh -i {file} -p 22 watchpost@198.18.0.2"


def test_a_host_can_be_reached_by_the_ssh_agent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSH_AUTH_SOCK", "/run/fake-agent")
    program = run(lambda: host(privateKey=None, agent=True), environment={"SSH_AUTH_SOCK": "/run/fake-agent"})
    # The plugin looks for the agent itself: the socket is another one in each session.
    assert "/run/fake-agent" not in str(connection(program, "vm-ready"))
    assert "privateKey" not in connection(program, "vm-ready")


def test_a_host_behind_a_proxy_is_reached_by_way_of_it() -> None:
    proxy = {
        "address": "198.18.0.9",
        "port": 2222,
        "user": "jump",
        "privateKey": PRIVATE_KEY,
        "hostKey": "ssh-rsa AAAA",
    }
    way = connection(run(lambda: host(proxy=proxy)), "vm-ready")["proxy"]
    expected = {
        "host": "198.18.0.9",
        "port": 2222,
        "user": "jump",
        "privateKey": PRIVATE_KEY,
        "hostKey": "ssh-rsa AAAA",
    }
    assert {key: way[key] for key in expected} == expected


def test_a_proxy_s_host_key_is_checked_and_its_absence_is_said() -> None:
    proxy = {"address": "198.18.0.9", "user": "jump", "privateKey": PRIVATE_KEY, "acceptAnyHostKey": True}
    (warning,) = run(lambda: host(proxy=proxy)).warnings
    assert "any machine that answers at 198.18.0.9 is trusted as vm.proxy: its host key is not checked" in warning


def test_the_ssh_command_is_what_a_person_types() -> None:
    assert ssh_command("a.example.com", 2222, "me", None) == "ssh -p 2222 me@a.example.com"
    assert ssh_command("::1", 22, "me", "/k") == "ssh -i /k -p 22 me@::1"
    assert ssh_command("::1", 22, "me", "/100%h") == "ssh -i /100%%h -p 22 me@::1"
    zoned = ProxySettings(address="fe80::1%eth0", user="me", private_key_file=Path(__file__), host_key="ssh-rsa A")
    # It is expanded once for the proxy's command, in which `%%` is a `%`.
    assert "me@fe80::1%%eth0 -W" in ssh_command("::1", 22, "me", None, zoned)
    proxy = ProxySettings(address="jump.example.com", user="j", private_key_file=Path(__file__), host_key="ssh-rsa A")
    words = shlex.split(ssh_command("a.example.com", 22, "me", None, proxy))
    assert words[:2] == ["ssh", "-o"]
    assert words[2] == f"ProxyCommand=ssh -i {__file__} -p 22 j@jump.example.com -W '[%h]:%p'"


def test_a_shell_without_undo_runs_nothing_on_delete() -> None:
    def body() -> None:
        again = pulumi.ErrorHook("cut-off", remote.was_cut_off)
        shell = remote.Shell(connection={"host": "x"}, owner="me", sudo=False, undo=False, on_error=again)  # type: ignore[arg-type]
        parent = pulumi.ComponentResource("test:index:Parent", "parent")
        shell.run("step", "host/ready.sh", parent=parent)
        shell.file("file", "/etc/x", "content", parent=parent, mode="0600")

    program = run(body)
    assert program.commands["step"].request.retainOnDelete
    assert "env path=/etc/x owner=root:root mode=0600 bash -c " in program.commands["file"].plain["create"]
    assert program.commands["file"].stdin == "content"
    assert children(program, "parent") == {"step", "file"}


def test_a_local_script_is_removed_before_it_is_replaced() -> None:
    def body() -> None:
        parent = pulumi.ComponentResource("test:index:Parent", "parent")
        remote.local_script(
            "vm",
            "vagrant/vm.sh",
            parent=parent,
            variables={"cpus": 2},
            reads=["vagrant/Vagrantfile"],
            replace_on=["box"],
        )

    command = run(body, stdout={"files/vagrant/vm.sh": "{}"}).one(LOCAL_COMMAND)
    assert command.plain["create"].endswith(' && exec bash -c "$script" files/vagrant/vm.sh apply')
    assert command.plain["delete"] == command.plain["create"].removesuffix("apply") + "remove"
    assert command.plain["environment"]["cpus"] == "2"
    assert len(command.plain["environment"]["content"]) == 64  # so that another script or Vagrantfile is applied
    assert command.plain["triggers"] == ["box"]
    assert command.request.deleteBeforeReplace


def test_an_agent_is_installed_and_configured_but_not_restarted() -> None:
    program = run(lambda: agent(host()))
    assert children(program, "agent") == {"agent-install", "agent-datadog.yaml", "agent-network.yaml"}
    install = program.commands["agent-install"].plain["create"]
    assert "env url=https://example.com/install.sh version=7.70.1 bash -c " in install
    datadog_yaml = program.commands["agent-datadog.yaml"].inputs["stdin"]
    assert datadog_yaml == Secret(
        f"{OWNER}/vm\napi_key: {API_KEY}\nsite: datadoghq.eu\nhostname: vm\nhostname_force_config_as_canonical: true\n"
        "env: dev\ntags:\n- team:core\n"
        "apm_config:\n  enabled: true\n"
    )
    assert "agent-install" in program.before(program.commands["agent-datadog.yaml"])


def test_the_service_follows_every_file_and_names_every_check() -> None:
    program = run(lambda: pulumi.export("version", service(agent(host())).version))
    assert children(program, "service") == {"service-restart"}
    restart = program.commands["service-restart"]
    assert "checks='cpu network one two' " in restart.plain["create"]
    assert isinstance(restart.inputs["stdin"], Secret)
    paths = [line.split()[0] for line in restart.stdin.splitlines()]
    assert paths == ["/etc/datadog-agent/datadog.yaml", "/etc/datadog-agent/conf.d/network.d/conf.yaml"]
    assert program.outputs == {"version": "Agent 7.78.4"}


def test_a_change_of_one_file_changes_what_follows_it() -> None:
    def fingerprint(site: str) -> str:
        return str(run(lambda: service(agent(host(), site=site))).commands["service-restart"].stdin)

    one, other = fingerprint("datadoghq.eu").splitlines(), fingerprint("us5.datadoghq.com").splitlines()
    assert one[0] != other[0]
    assert one[1:] == other[1:]


def test_the_database_password_is_made_once_and_goes_to_the_server_and_the_agent() -> None:
    def body() -> None:
        database = MySql("db", MySqlArgs(agent=agent(host())))
        pulumi.export("version", database.version)
        pulumi.export("user_time", database.user_time)

    program = run(body)
    assert children(program, "db") == {"db-password", "db-user", "db-conf.yaml", "db-proof"}
    password = program.named("db-password").plain
    # The usual policies want some of each kind; the script puts it into SQL, where these need no quoting.
    assert (password["length"], password["overrideSpecial"]) == (32, "-_")
    assert all(password[f"min{kind}"] >= 2 for kind in ("Lower", "Upper", "Numeric", "Special"))
    assert program.commands["db-user"].inputs["stdin"] == Secret(f"{OWNER}/vm\n{PASSWORD}\n")
    conf = program.commands["db-conf.yaml"].inputs["stdin"]
    assert isinstance(conf, Secret)
    assert f"  password: {PASSWORD}\n" in conf.value
    assert {"db-user", "db-conf.yaml"} <= program.before(program.commands["db-proof"])
    assert program.outputs == {"version": "8.0.36", "user_time": SAMPLE}


def test_a_check_is_code_and_yaml_proven_by_a_run() -> None:
    def body() -> None:
        check = CustomCheck("check", CustomCheckArgs(agent=agent(host()), metric=MY_METRIC, interval=30))
        pulumi.export("sample", check.sample)

    program = run(body)
    assert children(program, "check") == {"check-code", "check-conf.yaml", "check-proof"}
    for name, path in {"code": "checks.d/my_metric.py", "conf.yaml": "conf.d/my_metric.d/conf.yaml"}.items():
        assert f" path=/etc/datadog-agent/{path} " in program.commands[f"check-{name}"].plain["create"]
    assert "min_collection_interval: 30\n" in program.commands["check-conf.yaml"].stdin
    assert {"check-code", "check-conf.yaml"} <= program.before(program.commands["check-proof"])
    assert program.outputs == {"sample": SAMPLE}


def test_an_app_is_proven_after_it_has_started_with_the_agent_running() -> None:
    program = run(lambda: pulumi.export("traces", app(host()).traces))
    assert children(program, "app") == {
        "app-requirements.txt",
        "app-app.py",
        "app-unit",
        "app-environment",
        "app-service",
        "app-proof",
    }
    assert {"service-restart", "app-environment"} <= program.before(program.commands["app-service"])
    assert "app-service" in program.before(program.commands["app-proof"])
    assert program.outputs == {"traces": {"traces": 3, "tracer": "4.16.0"}}


def test_only_another_requirement_builds_the_app_s_environment_anew() -> None:
    stdin = run(lambda: app(host())).commands["app-environment"].stdin
    assert [line.split()[0] for line in stdin.splitlines()] == ["/opt/watchpost-app/requirements.txt"]


def test_load_is_sent_once_the_app_answers() -> None:
    def body() -> None:
        on = host()
        load = LoadGenerator("load", LoadGeneratorArgs(host=on, app=app(on), requests=10, concurrency=2))
        pulumi.export("report", load.report)

    program = run(body)
    assert children(program, "load") == {"load-run"}
    assert "requests=10 concurrency=2 " in program.commands["load-run"].plain["create"]
    assert "app-service" in program.before(program.commands["load-run"])
    assert program.outputs["report"]["/"]["requests"] == 5000


DAMAGED = ("", "no report", "=watchpost= {", "=watchpost= {}", "=watchpost= [1]", "=watchpost=", None)
"""What a login may have put into the state instead of a step's report."""


@pytest.mark.parametrize("damaged", DAMAGED)
def test_a_step_whose_report_is_damaged_in_the_state_is_run_again(damaged: str | None) -> None:
    program = run(body_of_a_check, stdout={"files/agent/prove_check.sh": damaged}, again=json.dumps(SAMPLE))
    assert program.outputs == {"sample": SAMPLE}
    assert program.warnings == ["the state has no report from check-proof: running the step again"]
    again, first = program.commands["check-proof-again"], program.commands["check-proof"]
    assert again.plain == first.plain
    assert children(program, "check") >= {"check-proof", "check-proof-again"}


@pytest.mark.parametrize("damaged", DAMAGED)
def test_a_step_that_reports_nothing_when_it_is_run_again_is_told_in_a_sentence(damaged: str | None) -> None:
    with pytest.raises(pulumi.RunError, match=r"^check-proof did not run: .*ForceCommand in sshd_config"):
        run(body_of_a_check, stdout={"files/agent/prove_check.sh": damaged})


def test_what_is_run_again_is_not_undone_twice() -> None:
    program = run(lambda: host(), stdout={"files/host/ready.sh": "noise"}, again='{"machine": "boot"}')
    assert program.commands["vm-ready"].plain["delete"]
    assert "delete" not in program.commands["vm-ready-again"].plain


def body_of_a_check() -> None:
    check = CustomCheck("check", CustomCheckArgs(agent=agent(host()), metric=MY_METRIC))
    pulumi.export("sample", check.sample)


def context() -> DatadogContext:
    return DatadogContext(
        env="dev",
        ownership=OwnershipTag(Credentials(), "datadoghq.eu"),
        links=Links(app_url="https://app.datadoghq.eu"),
    )


def timeboards(context: DatadogContext) -> Timeboards:
    args = TimeboardsArgs(context=context, metric=MY_METRIC, warning=1, alert=2, service="shop")
    return Timeboards("boards", args)


def monitor(context: DatadogContext) -> MetricMonitor:
    args = MetricMonitorArgs(
        context=context,
        metric=MY_METRIC,
        window_minutes=5,
        warning=1,
        alert=2,
        no_data_minutes=10,
        mentions="@you@example.com",
        timeboard="https://x",
    )
    return MetricMonitor("monitor", args)


def test_timeboards_are_two_dashboards_with_links_to_the_site() -> None:
    def body() -> None:
        boards = timeboards(context())
        pulumi.export("links", [boards.timeboard, boards.apm_link])

    program = run(body)
    assert children(program, "boards") == {"boards-timeboard", "boards-apm"}
    for board in program.of(DASHBOARD):
        assert {"title", "layout_type", "widgets"} <= set(json.loads(board.plain["dashboard"]))
        assert {"id", "is_read_only", "url"}.isdisjoint(json.loads(board.plain["dashboard"]))
    assert program.outputs["links"] == [
        "https://app.datadoghq.eu/dashboard/boards-timeboard",
        "https://app.datadoghq.eu/dashboard/boards-apm",
    ]


def test_a_monitor_speaks_of_missing_data_after_its_own_time() -> None:
    program = run(lambda: pulumi.export("link", monitor(context()).link))
    inputs = program.one(MONITOR).plain
    assert inputs["type"] == "metric alert"
    assert (inputs["notifyNoData"], inputs["noDataTimeframe"]) == (True, 10)
    assert (inputs["requireFullWindow"], inputs["notifyAudit"]) == (True, True)
    assert inputs["monitorThresholds"] == {"critical": "2", "warning": "1"}
    assert children(program, "monitor") == {"monitor"}
    assert program.outputs == {"link": "https://app.datadoghq.eu/monitors/100000001"}


def test_downtimes_mute_their_monitor_and_leave_the_schedule_alone_afterwards() -> None:
    hours = validate(mocks.settings()).office_hours

    def body() -> None:
        of_stack = context()
        args = OfficeHoursDowntimesArgs(
            context=of_stack,
            hours=hours,
            monitor=monitor(of_stack).monitor,
            metric="my_metric",
            mentions="@you@example.com",
        )
        pulumi.export("links", OfficeHoursDowntimes("closed", args).links)

    program = run(body)
    assert len(program.of(DOWNTIME)) == 2
    for downtime in program.of(DOWNTIME):
        assert downtime.plain["monitorIdentifier"] == {"monitorId": int(MONITOR_ID)}
        assert downtime.plain["scope"] == "*"
        assert list(downtime.request.ignoreChanges) == ["recurringSchedule"]
        assert len(downtime.plain["recurringSchedule"]["recurrences"]) <= 5
    assert set(program.outputs["links"]) == {"nights", "closed-days"}


@pytest.mark.parametrize(
    ("access", "type_", "secret", "link"),
    [
        ("public", PUBLIC, {"url", "token"}, PUBLIC_LINK),
        ("embed", EMBED, {"url", "credential", "token"}, EMBED_LINK),
    ],
)
def test_a_shared_link_is_a_secret_and_so_is_what_opens_it(
    access: Literal["public", "embed"], type_: str, secret: set[str], link: str
) -> None:
    def body() -> None:
        of_stack = context()
        args = SharedDashboardArgs(context=of_stack, dashboard=timeboards(of_stack).apm, title="T", access=access)
        pulumi.export("link", SharedDashboard("shared", args).link)

    program = run(body)
    shared = program.one(type_)
    assert secret <= set(shared.request.additionalSecretOutputs)
    assert (shared.plain.get("dashboardId") or shared.plain["dashboard_id"]) == "boards-apm-id"
    assert shared.plain["title"] == f"T ({OWNER}/shared)"
    assert program.outputs == {"link": Secret(link)}


def test_what_components_know_is_registered_with_them() -> None:
    with mock.patch.object(pulumi.ComponentResource, "register_outputs", autospec=True) as registered:
        run(lambda: (app(host()), MySql("db", MySqlArgs(agent=agent(host("other"), name="another")))))
    told = {call.args[0].__class__.__name__: set(call.args[1]) for call in registered.call_args_list}
    assert told["Host"] == {"ssh"}
    assert told["AgentService"] == {"version"}
    assert told["TracedApp"] == {"traces"}
    assert told["MySql"] == {"version", "user_time"}


def test_everything_is_of_a_component_of_its_own(dev_stack: Program) -> None:
    for resource in dev_stack.of(COMMAND, DASHBOARD, MONITOR, DOWNTIME, EMBED, mocks.PASSWORD_TYPE):
        parent = resource.parent.split("::")[2].rpartition("$")[2]
        assert parent.startswith("watchpost:"), resource.name
    assert plain(dev_stack.outputs["hosts"])


@pytest.mark.parametrize(
    ("error", "operation", "tried", "again"),
    [
        ("400 Bad Request: a duplicate of one or more existing downtimes: ['1']", "create", 1, True),
        ("400 Bad Request: a duplicate of one or more existing downtimes: ['1']", "create", 2, False),
        ("400 Bad Request: a duplicate of one or more existing downtimes: ['2']", "create", 1, False),
        ("400 Bad Request: Invalid scope", "create", 1, False),
        ("400 Bad Request: a duplicate of one or more existing downtimes: ['1']", "update", 1, False),
    ],
    ids=["ours", "again", "somebody else's", "another refusal", "an update"],
)
def test_a_twin_of_a_new_downtime_makes_way_once_where_it_is_the_stack_s(
    error: str, operation: str, tried: int, again: bool
) -> None:
    twin = orphans.TaggedObject(kind="downtime", identifier="1", title="")
    stack = mock.AsyncMock()
    stack.account.return_value = ("http://127.0.0.1:1", API_KEY, APP_KEY, "watchpost:0000fake0000")
    arguments = mock.Mock(errors=[error] * tried, failed_operation=operation)
    with (
        mock.patch.object(orphans, "find", return_value=[twin]) as find,
        mock.patch.object(orphans, "remove") as remove,
    ):
        assert asyncio.run(cancel_duplicates(stack, arguments)) is again
    assert remove.call_count == again
    for call in find.call_args_list:
        assert call.args[1:] == ("watchpost:0000fake0000", ("downtime",))


def test_the_service_follows_the_version_and_only_a_named_one_is_gone_back_to() -> None:
    def commands(version: str) -> tuple[str, str]:
        made = run(lambda: service(agent(host(), version=version))).commands
        return str(made["agent-install"].plain["create"]), str(made["service-restart"].plain["create"])

    named, default = commands("7.70.1"), commands("")
    assert "version=7.70.1 bash" in named[0]
    assert f"version={VERSION} exact=no bash" in default[0]
    assert "version=7.70.1" in named[1]
    assert f"version={VERSION}" in default[1]

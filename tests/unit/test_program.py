"""The whole program, under the configurations that people use."""

import base64
import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unittest import mock

import pulumi
import pytest
import yaml

from components.downtime_names import repair_key
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
    PASSWORD_TYPE,
    PROVIDER,
    PUBLIC,
    PUBLIC_LINK,
    PUBLIC_PROVIDER,
    SECRETS,
    Created,
    Program,
    Secret,
    plain,
    run_program,
)

DATADOG = (DASHBOARD, MONITOR, DOWNTIME, EMBED, PUBLIC)


@pytest.fixture
def vagrant_stdout(tmp_path: Path) -> dict[str, str]:
    """The output of vm.sh for a VM whose key is in a file."""
    key = tmp_path / "private_key"
    key.write_text("fake-key-of-the-vm")
    vm = {
        "address": "127.0.0.1",
        "port": 2222,
        "user": "vagrant",
        "private_key_file": str(key),
        "host_key": "ssh-ed25519 AAAAvm",
    }
    return {"files/vagrant/vm.sh": json.dumps(vm)}


def connection(program: Program, name: str) -> dict[str, Any]:
    found: dict[str, Any] = program.commands[name].plain["connection"]
    return found


def local_commands(program: Program, *names: str) -> list[Created]:
    found = {command.name: command for command in program.of(LOCAL_COMMAND)}
    return [found[name] for name in names]


def test_the_dev_stack_watches_one_host(dev_stack: Program) -> None:
    program = dev_stack
    assert len(program.of(COMMAND)) == 20
    assert len(program.of(DASHBOARD)) == 2
    assert len(program.of(DOWNTIME)) == 2
    program.one(MONITOR)
    program.one(PASSWORD_TYPE)
    program.one(PROVIDER)
    assert not program.warnings
    assert set(program.outputs) == {
        "timeboard",
        "timeboardLast5Minutes",
        "apmDashboard",
        "monitor",
        "downtimes",
        "service",
        "hosts",
        "sharedDashboard",
    }


def test_no_two_resources_share_a_urn_however_hosts_are_named() -> None:
    names = ["vm", "vm-agent", "vm-agent-service", "vm-app", "vm-mysql", "vm-my-metric", "vm-load", "watchpost"]
    program = run_program(hosts=dict.fromkeys(names, HOST))
    urns = [resource.urn for resource in program.resources]
    assert len(urns) == len(set(urns))


def test_a_first_preview_knows_every_resource_before_any_is_made(dev_stack: Program) -> None:
    preview = run_program(preview=True)
    assert {resource.urn for resource in preview.resources} == {resource.urn for resource in dev_stack.resources}


def test_hosts_are_equal_and_datadog_is_told_once() -> None:
    program = run_program(hosts={"first": HOST, "second": {**HOST, "address": "198.18.0.6"}})
    first = {name.removeprefix("first-") for name in program.commands if name.startswith("first-")}
    second = {name.removeprefix("second-") for name in program.commands if name.startswith("second-")}
    assert first == second
    assert len(program.of(*DATADOG)) == 6
    assert connection(program, "second-ready")["host"] == "198.18.0.6"
    assert set(plain(program.outputs["hosts"])) == {"first", "second"}


def test_one_host_does_not_wait_for_another() -> None:
    program = run_program(hosts={"first": HOST, "second": HOST})
    for command in program.commands.values():
        own = command.name.split("-")[0]
        assert {name.split("-")[0] for name in program.before(command)} <= {own, "ownership"}


def test_no_host_is_begun_before_the_downtimes_are_made_nor_depends_on_them(dev_stack: Program) -> None:
    types = [resource.type for resource in dev_stack.resources]
    last = max(place for place, type_ in enumerate(types) if type_ == DOWNTIME)
    assert COMMAND not in types[:last]
    for command in dev_stack.commands.values():
        assert not any("closed-office" in name for name in dev_stack.before(command))


def test_everything_on_a_host_waits_for_its_gate_and_the_agent_starts_after_its_files(dev_stack: Program) -> None:
    program = dev_stack
    for name, command in program.commands.items():
        if name != "vm-ready":
            assert "vm-ready" in program.before(command), name
        if name not in ("vm-ready", "vm-library"):
            assert "vm-library" in program.before(command), name
        if name not in ("vm-ready", "vm-library", "vm-packages"):
            assert "vm-packages" in program.before(command), name
    restarts = [command for command in program.commands.values() if command.command.script == "agent/service.sh"]
    assert len(restarts) == 1
    agent_files = {
        name for name, command in program.commands.items() if "path=/etc/datadog-agent/" in command.plain["create"]
    }
    assert len(agent_files) == 5
    assert agent_files <= program.before(restarts[0])
    assert "vm-agent-service-restart" in program.before(program.commands["vm-app-service"])
    assert "vm-app-service" in program.before(program.commands["vm-load-run"])


def test_a_vagrant_vm_is_made_first_and_takes_all_on_it_along(vagrant_stdout: dict[str, str]) -> None:
    program = run_program(
        hosts={"box": {"vagrant": {"box": "debian/bookworm64", "memory": 1024}}}, stdout=vagrant_stdout
    )
    vm, folder = local_commands(program, "box-vm", "box-vagrant")
    settings = {"name": "box", "box": "debian/bookworm64", "memory": "1024", "cpus": "2"}
    assert settings.items() <= vm.plain["environment"].items()
    assert vm.plain["environment"]["vm"] == folder.plain["environment"]["vm"]
    for resource in (vm, folder):
        assert resource.plain["triggers"] == ["debian/bookworm64"]
        assert resource.request.deleteBeforeReplace
    # A VM whose coming up failed is in no state: its folder is, and takes it along.
    assert folder.name in program.before(vm)
    assert "delete" not in vm.plain
    assert folder.plain["delete"].endswith(" files/vagrant/vm.sh remove")
    assert {command.request.deletedWith for command in program.commands.values()} == {vm.urn}
    for name in program.commands:
        assert connection(program, name) == {
            "host": "127.0.0.1",
            "port": 2222,
            "user": "vagrant",
            "privateKey": "fake-key-of-the-vm",
            "hostKey": "ssh-ed25519 AAAAvm",
            "dialErrorLimit": 20,
        }
    assert plain(program.outputs["hosts"])["box"]["ssh"].endswith("private_key -p 2222 vagrant@127.0.0.1")


def test_a_vagrant_vm_can_be_previewed_before_it_is_there(vagrant_stdout: dict[str, str]) -> None:
    program = run_program(hosts={"box": {"vagrant": True}}, stdout=vagrant_stdout, preview=True)
    assert len(program.of(COMMAND)) == 20


def test_a_host_of_somebody_else_is_not_deleted_with_anything(dev_stack: Program) -> None:
    assert {command.request.deletedWith for command in dev_stack.commands.values()} == {""}


def test_sharing_makes_one_secret_link_of_the_kind_that_is_asked_for(dev_stack: Program) -> None:
    public = dev_stack.one(PUBLIC)
    assert public.plain["dashboard_id"] == "watchpost-apm-id"
    assert public.plain["title"] == f"flask-app (dev) ({OWNER}/shared-apm)"
    assert dev_stack.outputs["sharedDashboard"] == Secret(PUBLIC_LINK)
    embed = run_program(shareDashboards="embed")
    assert embed.one(EMBED).plain["dashboardId"] == "watchpost-apm-id"
    assert embed.outputs["sharedDashboard"] == Secret(EMBED_LINK)
    assert not embed.of(PUBLIC, PUBLIC_PROVIDER)
    private = run_program(shareDashboards="no")
    assert not private.of(EMBED, PUBLIC, PUBLIC_PROVIDER)
    assert "sharedDashboard" not in private.outputs


def test_a_public_link_holds_no_key_and_its_provider_those_of_the_stack_as_secrets(dev_stack: Program) -> None:
    public = dev_stack.one(PUBLIC)
    serialized = base64.b64decode(public.plain["__provider"])
    assert b"components.public_dashboard" in serialized
    assert not any(secret.encode() in serialized for secret in SECRETS)
    keys = {"datadog:apiKey": Secret(API_KEY), "datadog:appKey": Secret(APP_KEY)}
    assert dev_stack.one(PUBLIC_PROVIDER).inputs == keys
    environment = {"DD_API_KEY": API_KEY, "DD_APP_KEY": APP_KEY}
    assert run_program(keys_in_stack=False, environment=environment).one(PUBLIC_PROVIDER).inputs == {}


def test_without_load_no_request_is_sent_and_none_is_reported() -> None:
    program = run_program(loadRequests=0)
    assert "load/run.sh" not in {command.command.script for command in program.commands.values()}
    assert "load" not in plain(program.outputs["hosts"])["vm"]["proofs"]


def test_the_load_is_as_configured() -> None:
    create = run_program(loadRequests=77, loadConcurrency=3).commands["vm-load-run"].plain["create"]
    assert " requests=77 concurrency=3 bash -c " in create


def test_cleaning_runs_the_scripts_that_leave_something_to_remove_and_leaving_runs_none(dev_stack: Program) -> None:
    leave_nothing = set()
    for command in dev_stack.commands.values():
        if "delete" in command.plain:
            assert command.plain["delete"] == command.plain["create"].removesuffix(" apply") + " remove"
        else:
            leave_nothing.add(f"files/{command.command.script}")
    assert leave_nothing == {
        "files/agent/prove_check.sh",
        "files/agent/service.sh",
        "files/host/library.sh",  # ready.sh removes it
        "files/load/run.sh",
        "files/traced_app/prove_traces.sh",
    }
    for command in run_program(onDestroy="leave").commands.values():
        assert command.request.retainOnDelete


def test_a_vagrant_vm_keeps_its_own_removal_when_hosts_are_left(vagrant_stdout: dict[str, str]) -> None:
    program = run_program(hosts={"box": {"vagrant": True}}, stdout=vagrant_stdout, onDestroy="leave")
    (folder,) = local_commands(program, "box-vagrant")
    assert folder.plain["delete"].endswith(" files/vagrant/vm.sh remove")
    assert not folder.request.retainOnDelete


@pytest.mark.parametrize(
    ("site", "pages", "api"),
    [
        ("datadoghq.com", "https://app.datadoghq.com/", "https://api.datadoghq.com/"),
        ("datadoghq.eu", "https://app.datadoghq.eu/", "https://api.datadoghq.eu/"),
        ("us5.datadoghq.com", "https://us5.datadoghq.com/", "https://api.us5.datadoghq.com/"),
    ],
)
def test_every_link_the_api_and_the_agent_follow_the_site(site: str, pages: str, api: str) -> None:
    program = run_program(site=site)
    outputs = plain(program.outputs)
    assert program.one(PROVIDER).plain["apiUrl"] == api
    links = [outputs[name] for name in ("timeboard", "timeboardLast5Minutes", "apmDashboard", "monitor", "service")]
    for link in [*links, *outputs["downtimes"].values(), outputs["hosts"]["vm"]["page"]]:
        assert link.startswith(pages)
    assert f"\nsite: {site}\n" in program.commands["vm-agent-datadog.yaml"].stdin
    message = program.one(MONITOR).plain["message"]
    assert message.count("](https://") == message.count(f"]({pages}")


def test_keys_of_the_stack_reach_provider_and_agent_as_secrets() -> None:
    program = run_program(environment={"DD_API_KEY": "fake-other", "DD_APP_KEY": "fake-other"})
    provider = program.one(PROVIDER).inputs
    assert provider["apiKey"] == Secret(API_KEY)
    assert provider["appKey"] == Secret(APP_KEY)
    stdin = program.commands["vm-agent-datadog.yaml"].inputs["stdin"]
    assert isinstance(stdin, Secret)
    assert f"api_key: {API_KEY}\n" in stdin.value


@pytest.mark.parametrize("prefix", ["DD", "DATADOG"])
def test_keys_of_the_environment_are_left_to_the_provider_and_reach_the_agent_as_a_secret(prefix: str) -> None:
    environment = {f"{prefix}_API_KEY": API_KEY, f"{prefix}_APP_KEY": APP_KEY}
    program = run_program(keys_in_stack=False, environment=environment)
    assert {"apiKey", "appKey"}.isdisjoint(program.one(PROVIDER).inputs)
    stdin = program.commands["vm-agent-datadog.yaml"].inputs["stdin"]
    assert isinstance(stdin, Secret)
    assert f"api_key: {API_KEY}\n" in stdin.value


def test_an_address_of_the_environment_overrides_the_api_of_the_site() -> None:
    program = run_program(environment={"DD_HOST": "http://127.0.0.1:8080"})
    assert program.one(PROVIDER).plain["apiUrl"] == "http://127.0.0.1:8080"


def test_every_resource_in_datadog_uses_the_program_s_provider(dev_stack: Program) -> None:
    provider = dev_stack.one(PROVIDER)
    of_datadog = dev_stack.of(*set(DATADOG) - {PUBLIC})
    assert {resource.request.provider for resource in of_datadog} == {f"{provider.urn}::datadog-id"}
    dynamic = dev_stack.one(PUBLIC_PROVIDER)
    assert dev_stack.one(PUBLIC).request.provider == f"{dynamic.urn}::shared-apm-id"


def unstamped(name: str) -> str:
    """A downtime's name without the digest of its message."""
    return re.sub(r"-[0-9a-f]{8}-", "-", name)


def test_other_office_hours_make_other_downtimes() -> None:
    program = run_program(
        officeStart="08:30", officeEnd="17:00", officeDays=["TU", "WE", "TH", "SA"], timezone="Asia/Kolkata"
    )
    nights, closed = sorted(program.of(DOWNTIME), key=lambda downtime: downtime.name, reverse=True)
    assert unstamped(nights.name) == "closed-office-nights-mo-tu-we-th-fr-sa-1700-930m-Asia-Kolkata"
    assert unstamped(closed.name) == "closed-office-closed-days-mo-fr-su-0000-24h-Asia-Kolkata"
    assert nights.plain["recurringSchedule"]["recurrences"][0]["duration"] == "930m"
    assert "08:30 to 17:00 (Asia/Kolkata) on TU, WE, TH, SA" in nights.plain["message"]


def test_an_office_that_opens_every_day_needs_no_downtime_for_closed_days() -> None:
    program = run_program(timezone="Asia/Tokyo", officeDays=["SU", "MO", "TU", "WE", "TH", "FR", "SA"])
    assert unstamped(program.one(DOWNTIME).name) == "closed-office-nights-mo-tu-we-th-fr-sa-su-1900-14h-Asia-Tokyo"


def test_a_schedule_once_set_is_left_alone(dev_stack: Program) -> None:
    for downtime in dev_stack.of(DOWNTIME):
        assert list(downtime.request.ignoreChanges) == ["recurringSchedule"]
        assert downtime.plain["monitorIdentifier"] == {"monitorId": int(MONITOR_ID)}


@pytest.mark.parametrize(
    "settings",
    [
        {"recipients": ["other@example.com"]},
        {"env": "stage"},
        {"officeStart": "08:00"},
        {"officeDays": ["MO", "TU"]},
        {"timezone": "Europe/Berlin"},
        {"alertThreshold": 900, "windowMinutes": 10, "noDataMinutes": 30},
        {"repairs": {"closed-office-nights": "2026-11-26T12:00:00+00:00"}},
    ],
    ids=lambda settings: next(iter(settings)),
)
def test_no_setting_changes_a_downtime_in_place(dev_stack: Program, settings: dict[str, Any]) -> None:
    """An update would send the start again, which has passed meanwhile: Datadog may refuse that."""
    before, after = (
        {resource.name: compared(resource) for resource in program.of(DOWNTIME)}
        for program in (dev_stack, run_program(**settings))
    )
    assert len(after) == 2
    for name in before.keys() & after.keys():
        assert before[name] == after[name]


def test_other_recipients_make_two_other_downtimes(dev_stack: Program) -> None:
    names = {downtime.name for downtime in dev_stack.of(DOWNTIME)}
    others = {downtime.name for downtime in run_program(recipients=["other@example.com"]).of(DOWNTIME)}
    assert names.isdisjoint(others)
    assert {unstamped(name) for name in names} == {unstamped(name) for name in others}


def test_a_repair_makes_one_downtime_anew(dev_stack: Program) -> None:
    old = {repair_key(downtime.name): downtime.name for downtime in dev_stack.of(DOWNTIME)}
    assert set(old) == {"closed-office-nights", "closed-office-closed-days"}
    repaired = run_program(repairs={"closed-office-nights": "2026-11-26T12:00:00+00:00"})
    new = {repair_key(downtime.name): downtime.name for downtime in repaired.of(DOWNTIME)}
    assert {key for key in old if old[key] != new[key]} == {"closed-office-nights"}


def test_what_changes_a_downtime_besides_replaces_it(dev_stack: Program) -> None:
    for downtime in dev_stack.of(DOWNTIME):
        assert list(downtime.request.replaceOnChanges) == ["*"]
        assert downtime.request.deleteBeforeReplace


def test_downtimes_mail_nothing_of_the_monitor_at_night_nor_at_their_end(dev_stack: Program) -> None:
    for downtime in dev_stack.of(DOWNTIME):
        assert downtime.plain["muteFirstRecoveryNotification"] is True
        assert downtime.plain["notifyEndTypes"] == []


def test_root_needs_no_sudo_and_others_use_it_for_all_but_the_gate(dev_stack: Program) -> None:
    root = run_program(hosts={"vm": {**HOST, "user": "root"}})
    assert not any(command.command.sudo for command in root.commands.values())
    without = {name for name, command in dev_stack.commands.items() if not command.command.sudo}
    assert without == {"vm-ready"}


def test_a_host_key_is_checked_and_its_absence_is_said(dev_stack: Program) -> None:
    assert {connection(dev_stack, name)["hostKey"] for name in dev_stack.commands} == {HOST["hostKey"]}
    assert not dev_stack.warnings
    trusting = run_program(hosts={"vm": {**HOST, "hostKey": None, "acceptAnyHostKey": True}})
    assert len(trusting.warnings) == 1
    assert "its host key is not checked" in trusting.warnings[0]
    assert "pulumi config set --path" in trusting.warnings[0]


def test_another_address_for_the_agent_is_written_only_where_it_is_set(dev_stack: Program) -> None:
    assert "dd_url" not in dev_stack.commands["vm-agent-datadog.yaml"].stdin
    program = run_program(agentUrl="https://agents.example.com")
    written = program.commands["vm-agent-datadog.yaml"].stdin
    assert "\ndd_url: https://agents.example.com\n" in written
    assert "apm_dd_url" not in written


def test_traces_have_an_address_of_their_own_and_are_proven_again_when_it_changes(dev_stack: Program) -> None:
    program = run_program(traceUrl="https://traces.example.com")
    written = yaml.safe_load(program.commands["vm-agent-datadog.yaml"].stdin)
    assert written["apm_config"] == {"enabled": True, "apm_dd_url": "https://traces.example.com"}
    assert "dd_url" not in written
    assert "vm-app-proof" in changed(dev_stack, program)


def test_on_ec2_a_name_such_as_ip_10_0_0_1_stays_the_host_s(dev_stack: Program) -> None:
    """https://datadoghq.dev/datadog-agent/hostname/hostname_force_config_as_canonical"""
    written = yaml.safe_load(dev_stack.commands["vm-agent-datadog.yaml"].stdin)
    assert written["hostname_force_config_as_canonical"] is True


def test_proofs_are_outputs(dev_stack: Program) -> None:
    proofs = plain(dev_stack.outputs["hosts"])["vm"]["proofs"]
    assert proofs["my_metric"]["value"] == 512
    assert proofs["traces"]["traces"] == 3
    assert proofs["agent"] == "Agent 7.78.4"
    assert set(proofs) == {"agent", "my_metric", "database", "user_time", "traces", "load"}


def changed(before: Program, after: Program) -> set[str]:
    """The names of the resources that the engine would update."""
    pairs = zip(
        sorted(before.resources, key=lambda r: r.urn), sorted(after.resources, key=lambda r: r.urn), strict=True
    )
    return {old.name for old, new in pairs if compared(old) != compared(new)}


def compared(resource: Created) -> dict[str, Any]:
    """The inputs that the engine compares."""
    ignored = set(resource.request.ignoreChanges)
    return {key: value for key, value in resource.inputs.items() if key not in ignored}


def test_another_interval_changes_the_check_s_yaml_and_what_follows_it_but_not_its_code(
    dev_stack: Program,
) -> None:
    before, after = dev_stack, run_program(checkInterval=55)
    steps = {"vm-my-metric-conf.yaml", "vm-my-metric-proof", "vm-agent-service-restart"}
    assert changed(before, after) == steps
    for name in steps:
        old, new = before.commands[name].plain, after.commands[name].plain
        assert {key for key in old if old[key] != new[key]} == {"stdin"}, name
    assert "min_collection_interval: 55\n" in after.commands["vm-my-metric-conf.yaml"].stdin


@pytest.mark.parametrize(
    ("interval", "window", "full"), [(45, 5, True), (60, 5, True), (61, 5, False), (150, 5, False), (3600, 120, False)]
)
def test_a_full_window_is_required_where_each_minute_has_a_point(interval: int, window: int, full: bool) -> None:
    program = run_program(checkInterval=interval, windowMinutes=window, noDataMinutes=2 * window)
    assert program.one(MONITOR).plain["requireFullWindow"] is full


def test_the_same_configuration_changes_nothing_however_late_it_is(dev_stack: Program) -> None:
    with mock.patch("components.downtimes.datetime") as clock:
        clock.now.return_value = datetime(2030, 6, 12, 3, tzinfo=UTC)
        later = run_program()
    starts = [
        {downtime.plain["recurringSchedule"]["recurrences"][0]["start"] for downtime in program.of(DOWNTIME)}
        for program in (dev_stack, later)
    ]
    assert starts[0].isdisjoint(starts[1])
    assert changed(dev_stack, later) == set()


def test_another_version_of_the_app_restarts_the_app_and_leaves_the_agent_alone(dev_stack: Program) -> None:
    assert changed(dev_stack, run_program(version="1.0.1")) == {
        "vm-app-unit",
        "vm-app-service",
        "vm-app-proof",
        "vm-load-run",
    }


def test_faults_of_settings_and_missing_keys_are_told_together_before_anything_is_registered() -> None:
    with pytest.raises(pulumi.RunError) as error:
        run_program(keys_in_stack=False, site="datadoghq.org", recipients=[])
    lines = str(error.value).splitlines()
    assert lines[0] == "the stack's configuration is invalid:"
    assert len(lines) == 5
    assert "watchpost:recipients" in lines[1]
    assert 'watchpost:site is "datadoghq.org"' in lines[2]
    assert "datadog:apiKey is not set" in lines[3]
    assert "DD_API_KEY" in lines[3]
    assert "pulumi config set --secret datadog:appKey" in lines[4]


def test_one_missing_key_is_told_alone() -> None:
    with pytest.raises(pulumi.RunError) as error:
        run_program(keys_in_stack=False, environment={"DD_API_KEY": API_KEY})
    assert "datadog:appKey is not set" in str(error.value)
    assert "datadog:apiKey" not in str(error.value)
    assert API_KEY not in str(error.value)


def test_agent_config_is_merged_into_datadog_yaml(dev_stack: Program) -> None:
    more = {"logs_enabled": True, "proxy": {"https": "http://p:3128"}, "apm_config": {"env": "x"}}
    program = run_program(agentConfig=more)
    document = yaml.safe_load(program.commands["vm-agent-datadog.yaml"].stdin)
    before = yaml.safe_load(dev_stack.commands["vm-agent-datadog.yaml"].stdin)
    assert document == {**before, **more, "apm_config": {**before["apm_config"], "env": "x"}}
    for name in ("datadog.yaml", "network.yaml", "mysql-conf.yaml"):
        (command,) = [step.command for full, step in program.commands.items() if full.endswith(name)]
        assert command.variables["python"] == "/opt/datadog-agent/embedded/bin/python3"


def test_the_app_s_port_is_the_same_in_its_unit_its_proofs_and_its_load() -> None:
    program = run_program(appPort=8080)
    assert "APP_PORT=8080" in program.commands["vm-app-unit"].stdin
    for name in ("vm-app-service", "vm-app-proof", "vm-load-run"):
        assert program.commands[name].command.variables["port"] == "8080"


def test_hosts_are_the_same_without_what_watches_them_in_datadog(dev_stack: Program) -> None:
    hosts_alone = run_program(part="hosts")
    assert not hosts_alone.of(*DATADOG)
    assert {name: step.plain for name, step in hosts_alone.commands.items()} == {
        name: step.plain for name, step in dev_stack.commands.items()
    }

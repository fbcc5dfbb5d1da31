"""A fleet is split into stacks, each is configured, and failures are reported."""

import json
import os
from collections import Counter
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import yaml
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from pulumi import automation as auto
from pulumi.automation.events import EngineEvent

from sandbox import paths
from watchpost.errors import WatchpostError
from watchpost.fleet import deployment, kubernetes, runner
from watchpost.fleet.commands import commands, selected
from watchpost.fleet.deployment import Operation
from watchpost.fleet.inventory import Inventory, filled, from_environment, load, secrets
from watchpost.fleet.outcome import Outcome, host_of
from watchpost.fleet.shards import plan, shard_of
from watchpost.stack import pulumi_command

NAMES = st.from_regex(r"[a-z0-9]([a-z0-9.-]{0,20}[a-z0-9])?", fullmatch=True)
EXAMPLE = paths.ROOT / "deploy" / "kubernetes" / "inventory.yaml"
SOURCE = kubernetes.Source(
    repository="https://github.com/example/watchpost", branch="main", backend="s3://example-state"
)
OPERATIONS = ("up", "preview", "preview_destroy", "destroy")
KEY = {"fromEnvironment": "FLEET_PRIVATE_KEY"}


def fleet(**changes: Any) -> Inventory:
    """An inventory of three hosts in two shards."""
    given: dict[str, Any] = {
        "stack": "prod",
        "shards": 2,
        "settings": {"env": "prod", "datadog:apiUrl": "https://api.example.com"},
        "host": {"user": "watchpost", "privateKey": KEY},
        "hosts": {name: {"address": f"{name}.example.com"} for name in ("web-1", "web-2", "web-3")},
    }
    return Inventory.model_validate(given | changes)


def hosts(inventory: Inventory) -> dict[str, str]:
    """The stack of each host."""
    return {host: stack for stack, config in plan(inventory).items() for host in config.get("watchpost:hosts", {})}


def test_a_shard_never_changes_between_versions_of_the_program() -> None:
    assert [shard_of(f"host-{number}", 16) for number in range(8)] == [7, 5, 1, 9, 7, 15, 4, 10]


@given(NAMES, st.integers(1, 64))
def test_another_shard_takes_hosts_but_moves_none_between_the_others(name: str, shards: int) -> None:
    assert shard_of(name, shards + 1) in (shard_of(name, shards), shards)


def test_one_shard_more_of_sixteen_moves_about_one_host_in_seventeen() -> None:
    names = [f"host-{number}.example.com" for number in range(4000)]
    moved = sum(shard_of(name, 16) != shard_of(name, 17) for name in names)
    assert moved == pytest.approx(4000 / 17, rel=0.2)


def test_shards_are_about_as_large_as_each_other() -> None:
    sizes = [0] * 16
    for number in range(4000):
        sizes[shard_of(f"host-{number}", 16)] += 1
    assert min(sizes) > 200
    assert max(sizes) < 300


def test_adding_a_host_moves_no_other() -> None:
    before = hosts(fleet())
    after = hosts(fleet(hosts={name: {} for name in ("a", "web-1", "web-11", "web-2", "web-3", "z")}))
    assert {host: after[host] for host in before} == before


def test_every_host_is_in_one_stack_and_the_datadog_side_in_one_of_its_own() -> None:
    stacks = plan(fleet())
    assert list(stacks) == ["prod-datadog", "prod-0", "prod-1"]
    assert stacks["prod-datadog"]["watchpost:part"] == "datadog"
    assert "watchpost:hosts" not in stacks["prod-datadog"]
    shards = [stacks["prod-0"], stacks["prod-1"]]
    assert {shard["watchpost:part"] for shard in shards} == {"hosts"}
    assert {shard["watchpost:datadogStack"] for shard in shards} == {"organization/watchpost/prod-datadog"}
    assert sorted(name for shard in shards for name in shard["watchpost:hosts"]) == ["web-1", "web-2", "web-3"]


def test_all_stacks_have_the_settings_and_all_hosts_what_they_have_in_common() -> None:
    stacks = plan(fleet(hosts={"web-1": {"address": "a"}, "web-2": {"address": "b", "user": "root"}}))
    assert all(config["watchpost:env"] == "prod" for config in stacks.values())
    assert all(config["datadog:apiUrl"] == "https://api.example.com" for config in stacks.values())
    entries = {name: entry for config in stacks.values() for name, entry in config.get("watchpost:hosts", {}).items()}
    assert entries == {
        "web-1": {"user": "watchpost", "privateKey": KEY, "address": "a"},
        "web-2": {"user": "root", "privateKey": KEY, "address": "b"},
    }


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"shards": 0}, "shards: Input should be greater than or equal to 1"),
        ({"shards": 257}, "shards: Input should be less than or equal to 256"),
        ({"stack": "Prod"}, "stack: must be small letters, digits and - between them, at most 40 characters"),
        ({"hosts": {}}, "hosts: Dictionary should have at least 1 item"),
        ({"hosts": {"-x": {}}}, "must be a host name of small letters"),
        ({"settings": {"part": "all"}}, "settings: must leave out part: the plan sets them"),
        ({"shard": 3}, "shard: Extra inputs are not permitted"),
    ],
)
def test_a_fault_of_the_inventory_is_told_with_its_place(tmp_path: Path, change: dict[str, Any], fault: str) -> None:
    document = {"stack": "prod", "shards": 2, "hosts": {"web-1": {}}} | change
    path = tmp_path / "fleet.yaml"
    path.write_text(yaml.safe_dump(document))
    with pytest.raises(WatchpostError) as error:
        load(path)
    assert f"the inventory {path} can't be used:" in str(error.value)
    assert fault in str(error.value)


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"host": {"privateKey": "fake-secret"}}, "host.privateKey"),
        (
            {"hosts": {"web-1": {"proxy": {"privateKeyPassword": "fake-secret"}}}},
            "hosts.web-1.proxy.privateKeyPassword",
        ),
        ({"settings": {"datadog:appKey": "fake-secret"}}, "settings.datadog:appKey"),
        (
            {"settings": {"customerExperience": {"ticketToken": "fake-secret"}}},
            "settings.watchpost:customerExperience.ticketToken",
        ),
    ],
)
def test_a_secret_is_never_in_an_inventory_itself(changes: dict[str, Any], where: str, tmp_path: Path) -> None:
    path = tmp_path / "fleet.yaml"
    path.write_text(yaml.safe_dump({"stack": "prod", "shards": 1, "hosts": {"web-1": {}}} | changes))
    with pytest.raises(WatchpostError) as error:
        load(path)
    assert str(error.value).endswith(f"must have {{fromEnvironment: NAME}}, an environment variable, for {where}")


@pytest.mark.parametrize("content", [b"host: {privateKey: 'fake-secret\n  x: [", b"a: \xff\xfe"])
def test_an_inventory_that_can_not_be_read_is_told_without_its_content(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "fleet.yaml").write_bytes(content)
    with pytest.raises(WatchpostError, match="can't be read: ") as error:
        load(tmp_path / "fleet.yaml")
    assert "fake-secret" not in str(error.value)


def test_office_hours_need_no_quotes(tmp_path: Path) -> None:
    text = (
        "stack: prod\nshards: 1\nhosts: {web-1: {}}\nsettings: {officeStart: 9:30, officeEnd: 19:00, appPort: 5051}\n"
    )
    (tmp_path / "fleet.yaml").write_text(text)
    found = load(tmp_path / "fleet.yaml").settings
    assert (found["watchpost:officeStart"], found["watchpost:officeEnd"]) == ("9:30", "19:00")
    assert found["watchpost:appPort"] == 5051


def test_a_host_may_be_called_by_a_number(tmp_path: Path) -> None:
    (tmp_path / "fleet.yaml").write_text("stack: prod\nshards: 1\nhosts: {10: {address: 192.0.2.10}}\n")
    assert list(load(tmp_path / "fleet.yaml").hosts) == ["10"]


def test_a_host_that_is_there_twice_is_told_with_its_line(tmp_path: Path) -> None:
    text = "stack: prod\nshards: 1\nhosts:\n  web-1: {address: a}\n  web-2: {address: b}\n  web-1: {address: c}\n"
    (tmp_path / "fleet.yaml").write_text(text)
    with pytest.raises(WatchpostError, match="can't be read: web-1 is there twice in line 6"):
        load(tmp_path / "fleet.yaml")


def test_a_map_that_is_merged_may_be_overridden(tmp_path: Path) -> None:
    text = "stack: prod\nshards: 1\nhost: &all {user: a}\nhosts:\n  web-1: {<<: *all, user: b}\n"
    (tmp_path / "fleet.yaml").write_text(text)
    assert load(tmp_path / "fleet.yaml").hosts == {"web-1": {"user": "b"}}


def test_an_inventory_that_is_empty_is_told(tmp_path: Path) -> None:
    (tmp_path / "fleet.yaml").write_text("")
    with pytest.raises(WatchpostError, match="the file: must be a map"):
        load(tmp_path / "fleet.yaml")


def test_an_inventory_that_is_no_yaml_is_told(tmp_path: Path) -> None:
    (tmp_path / "fleet.yaml").write_text("hosts: [")
    with pytest.raises(WatchpostError, match="can't be read"):
        load(tmp_path / "fleet.yaml")


def test_a_secret_is_named_in_the_plan_and_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLEET_PRIVATE_KEY", "fake-key")
    done = CliRunner().invoke(commands, ["plan", str(EXAMPLE), "--json"])
    assert "fake-key" not in done.output
    assert secrets(plan(fleet())) == {"FLEET_PRIVATE_KEY"}
    assert filled(plan(fleet()), {"FLEET_PRIVATE_KEY": {"secure": "v1:x"}})["prod-0"] != plan(fleet())["prod-0"]


def test_a_secret_that_is_not_set_is_told_before_anything_is_touched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FLEET_PRIVATE_KEY", raising=False)
    monkeypatch.setattr(runner, "pulumi_command", lambda: pytest.fail("the engine was looked for"))
    with pytest.raises(WatchpostError, match="not set: FLEET_PRIVATE_KEY"):
        runner.run("up", plan(fleet()), parallel=1)
    assert from_environment({"PATH"}) == {"PATH": os.environ["PATH"]}


def test_the_plan_for_other_programs_names_each_shard() -> None:
    done = CliRunner().invoke(commands, ["plan", str(EXAMPLE), "--json"])
    rows = json.loads(done.output)
    assert [row["shard"] for row in rows] == ["datadog", "0", "1"]
    assert [row["stack"] for row in rows] == ["prod-datadog", "prod-0", "prod-1"]


def test_some_shards_can_be_chosen_by_number_and_by_name() -> None:
    assert list(selected(fleet(), ())) == ["prod-datadog", "prod-0", "prod-1"]
    assert list(selected(fleet(), ("1", "datadog"))) == ["prod-1", "prod-datadog"]
    with pytest.raises(WatchpostError, match="there is no shard 2: there are datadog and 0 to 1"):
        selected(fleet(), ("2",))


def test_the_datadog_side_comes_first_and_is_destroyed_last() -> None:
    stacks = plan(fleet())
    assert runner.waves("up", stacks) == [["prod-datadog"], ["prod-0", "prod-1"]]
    assert runner.waves("destroy", stacks) == [["prod-0", "prod-1"], ["prod-datadog"]]


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> dict[str, Outcome]:
    """What becomes of each stack when the runner is asked for it."""
    outcomes: dict[str, Outcome] = {}
    monkeypatch.setenv("FLEET_PRIVATE_KEY", "fake-key")
    monkeypatch.setattr(runner, "pulumi_command", lambda: None)
    monkeypatch.setattr(
        "watchpost.fleet.deployment.run",
        lambda _operation, stack, _config, **_: outcomes.get(stack, Outcome(stack, ())),
    )
    return outcomes


def test_a_failing_shard_stops_no_other_and_its_hosts_are_named(answers: dict[str, Outcome]) -> None:
    answers["prod-0"] = Outcome("prod-0", ("web-1", "web-3"), failed=True, failures={"web-3": "connection refused"})
    done = CliRunner().invoke(commands, ["up", str(EXAMPLE)])
    assert done.exit_code == 1
    assert "host web-3 (prod-0): connection refused" in done.output
    assert "prod-1: done" in done.stderr
    assert "3 of 3" in done.stderr


@pytest.mark.parametrize("operation", ["up", "preview", "destroy"])
def test_the_outcome_for_other_programs_names_what_failed_on_each_host(
    answers: dict[str, Outcome], operation: str
) -> None:
    failures = {"web-3": "connection refused"}
    answers["prod-0"] = Outcome("prod-0", ("web-1", "web-3"), Counter(create=2), failed=True, failures=failures)
    answers["prod-1"] = Outcome("prod-1", ("web-2",), failed=True, error="no such backend")
    done = CliRunner().invoke(commands, [operation, str(EXAMPLE), "--json"])
    assert done.exit_code == 1
    found = {entry["stack"]: entry for entry in json.loads(done.stdout)}
    assert [found["prod-0"][key] for key in ("failed", "changes", "failures")] == [True, {"create": 2}, failures]
    assert [found["prod-1"][key] for key in ("hosts", "error")] == [["web-2"], "no such backend"]
    assert found["prod-datadog"]["failed"] is False


def test_all_stacks_well_is_exit_code_0(answers: dict[str, Outcome]) -> None:
    assert not answers
    assert CliRunner().invoke(commands, ["up", str(EXAMPLE)]).exit_code == 0


@pytest.mark.parametrize(
    ("operation", "entries", "calls"),
    [
        ("up", {"web-1": {}}, ["create_or_select", "up"]),
        ("up", {}, ["select", "destroy", "remove"]),
        ("preview", {"web-1": {}}, ["create_or_select", "preview"]),
        ("preview", {}, ["select", "preview_destroy"]),
        ("destroy", {"web-1": {}}, ["select", "destroy", "remove"]),
    ],
)
def test_a_shard_that_lost_its_last_host_goes(
    monkeypatch: pytest.MonkeyPatch, operation: Operation, entries: dict[str, Any], calls: list[str]
) -> None:
    made: list[str] = []

    def noted(name: str, result: object = None) -> Mock:
        def call(*_: object, **__: object) -> object:
            made.append(name)
            return result

        return Mock(side_effect=call)

    stack = Mock(**{name: noted(name) for name in OPERATIONS})
    for name in ("select", "create_or_select"):
        monkeypatch.setattr(auto.Stack, name, noted(name, stack))
    monkeypatch.setattr(auto.LocalWorkspace, "remove_stack", noted("remove"))
    monkeypatch.setattr(auto.LocalWorkspace, "export_stack", lambda *_: auto.Deployment(version=3, deployment={}))
    config = {"watchpost:part": "hosts", "watchpost:hosts": entries}
    outcome = deployment.run(operation, "prod-0", config, pulumi=Mock(), watch=lambda _: None)
    assert made == calls
    assert not outcome.failed


def test_a_stack_that_is_not_there_needs_no_destroying(monkeypatch: pytest.MonkeyPatch) -> None:
    result = Mock(stdout="", stderr="error: no stack named 'prod-0' found")
    monkeypatch.setattr(auto.Stack, "select", Mock(side_effect=auto.StackNotFoundError(result)))
    config = {"watchpost:part": "hosts", "watchpost:hosts": {}}
    assert not deployment.run("up", "prod-0", config, pulumi=Mock(), watch=lambda _: None).failed


def event(**fields: Any) -> EngineEvent:
    """An event as the engine sends it."""
    return EngineEvent.from_json({"sequence": 1, "timestamp": 1, **fields})


URN = "urn:pulumi:prod-0::watchpost::"
READY = f"{URN}watchpost:host:WatchedHost$watchpost:host:Host$command:remote:Command::web-1-ready"


def test_the_engines_errors_are_told_by_host_in_few_words() -> None:
    outcome = Outcome("prod-0", ("web-1",), parents={READY: f"{URN}watchpost:host:WatchedHost::web-1"})
    message = '<{%reset%}>Process exited with status 1: running "bash -c \\"x\\"":\nno space left\n<{%reset%}>'
    said = {"message": message, "color": "never", "severity": "error", "urn": READY}
    outcome.note(event(diagnosticEvent=said))
    outcome.note(event(diagnosticEvent=said | {"message": "update failed", "urn": f"{URN}pulumi:pulumi:Stack::x"}))
    assert outcome.failures == {"web-1": "Process exited with status 1:\nno space left"}
    assert outcome.failed_hosts == ["web-1"]


def test_all_hosts_of_a_stack_that_never_began_have_failed() -> None:
    outcome = Outcome("prod-0", ("web-1", "web-2"), failed=True)
    said = {"message": "no such setting", "color": "never", "severity": "error", "urn": ""}
    outcome.note(event(diagnosticEvent=said))
    assert outcome.error == "no such setting"
    assert outcome.failed_hosts == ["web-1", "web-2"]


WATCHED = f"{URN}watchpost:host:WatchedHost::"
PARENTS = {
    f"{URN}watchpost:host:WatchedHost$watchpost:host:Host$command:remote:Command::shop-ready": "host",
    "host": f"{WATCHED}shop",
    f"{URN}watchpost:host:WatchedHost$watchpost:host:TracedApp$command:remote:Command::shop-app-service": "app",
    "app": f"{WATCHED}shop-app",
    f"{URN}datadog:index/dashboardJson:DashboardJson::timeboard": "boards",
    "boards": f"{URN}pulumi:pulumi:Stack::watchpost-prod-0",
}


@pytest.mark.parametrize(
    ("name", "host"), [("shop-ready", "shop"), ("shop-app-service", "shop-app"), ("timeboard", None)]
)
def test_a_resource_belongs_to_the_host_that_is_above_it(name: str, host: str | None) -> None:
    (urn,) = (urn for urn in PARENTS if urn.endswith(f"::{name}"))
    assert host_of(urn, PARENTS) == host


def test_the_stacks_for_kubernetes_are_those_of_the_example() -> None:
    written = (EXAMPLE.with_name("stacks.yaml")).read_text()
    assert kubernetes.manifests(load(EXAMPLE), SOURCE) == written


DEFINITION = yaml.safe_load(Path(__file__).with_name("stack_definition.yaml").read_text())
TYPES: dict[str, type] = {"object": dict, "array": list, "string": str, "boolean": bool, "integer": int}


def misfits(value: Any, definition: dict[str, Any], place: str = "") -> list[str]:
    """Where ``value`` isn't what an OpenAPI schema says; a field that this doesn't know, Kubernetes drops silently."""
    if type(value) is not TYPES.get(definition.get("type", ""), type(value)):
        return [f"{place} is no {definition['type']}"]
    if isinstance(value, list):
        return [found for entry in value for found in misfits(entry, definition["items"], place)]
    if not isinstance(value, dict) or not {"properties", "additionalProperties"} & set(definition):
        return []
    known = definition.get("properties", {})
    of_all = dict.fromkeys(value, definition["additionalProperties"]) if "additionalProperties" in definition else {}
    found = [f"{place} lacks {name}" for name in definition.get("required", []) if name not in value]
    for name, entry in value.items():
        inner = {**of_all, **known}.get(name)
        found += misfits(entry, inner, f"{place}.{name}") if inner else [f"{place}.{name} is unknown"]
    return found


@pytest.mark.parametrize("backend", ["s3://example-state", None])
@pytest.mark.parametrize("asked", [False, True])
def test_the_stacks_for_kubernetes_are_as_the_operator_defines_them(asked: bool, backend: str | None) -> None:
    source = kubernetes.Source(repository="ssh://git@example.com/watchpost", branch="main", backend=backend)
    documents = kubernetes.render(fleet(destroyOnFinalize=asked), source)
    assert len(documents) == 3
    for document in documents:
        assert (document["apiVersion"], document["kind"]) == ("pulumi.com/v1", "Stack")
        assert misfits(document, DEFINITION) == []


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ({"continueOnError": True}, ".spec.continueOnError is unknown"),
        ({"stack": None}, ".spec.stack is no string"),
        ({"refresh": "true"}, ".spec.refresh is no boolean"),
        ({"resyncFrequencySeconds": True}, ".spec.resyncFrequencySeconds is no integer"),
        ({"prerequisites": [{}]}, ".spec.prerequisites lacks name"),
        ({"envRefs": {"A": {"type": "Secret", "secret": {"name": "x"}}}}, ".spec.envRefs.A.secret lacks key"),
    ],
)
def test_what_the_operator_does_not_take_is_found(spec: dict[str, Any], told: str) -> None:
    document = kubernetes.render(load(EXAMPLE), SOURCE)[0]
    assert misfits(document | {"spec": document["spec"] | spec}, DEFINITION) == [told]


@pytest.mark.parametrize("repository", ["git@example.com:me/watchpost", "http://example.com/watchpost", "watchpost"])
def test_a_repository_that_the_operator_can_not_take_is_told(repository: str) -> None:
    with pytest.raises(WatchpostError, match=r"--repository is .* it must begin with https:// or ssh://"):
        kubernetes.render(fleet(), kubernetes.Source(repository=repository, branch="main"))


def test_a_private_key_reaches_kubernetes_as_a_file_and_never_as_text() -> None:
    stacks = {document["metadata"]["name"]: document["spec"] for document in kubernetes.render(fleet(), SOURCE)}
    entries = [entry for spec in stacks.values() for entry in spec["config"].get("watchpost:hosts", {}).values()]
    assert {entry["privateKeyFile"] for entry in entries} == {"/run/secrets/watchpost/FLEET_PRIVATE_KEY"}
    assert "workspaceTemplate" not in stacks["prod-datadog"]
    assert stacks["prod-datadog"].get("prerequisites") is None
    assert stacks["prod-0"]["prerequisites"] == [{"name": "prod-datadog"}]


def test_each_stack_in_kubernetes_sees_its_own_keys_alone() -> None:
    given = {
        "web-1": {"address": "a", "privateKey": {"fromEnvironment": "ONE"}},
        "web-2": {"address": "b", "privateKey": {"fromEnvironment": "TWO"}},
        "web-3": {"address": "c", "privateKey": {"fromEnvironment": "THREE"}},
    }
    inventory = fleet(host={"user": "watchpost"}, hosts=given)
    for document in kubernetes.render(inventory, SOURCE):
        name, spec = document["metadata"]["name"], document["spec"]
        keys = {key for key, value in spec["envRefs"].items() if value["type"] == "Secret"}
        own = {
            entry["privateKeyFile"].rpartition("/")[2] for entry in spec["config"].get("watchpost:hosts", {}).values()
        }
        if name == "prod-datadog":
            assert keys == {"DD_API_KEY", "DD_APP_KEY", "PULUMI_CONFIG_PASSPHRASE"}
            assert "workspaceTemplate" not in spec
            continue
        assert keys == {"DD_API_KEY", "PULUMI_CONFIG_PASSPHRASE"}
        pod = spec["workspaceTemplate"]["spec"]["podTemplate"]["spec"]
        (volume,) = pod["volumes"]
        assert {item["key"] for item in volume["secret"]["items"]} == own
        assert own < {"ONE", "TWO", "THREE"}
        assert volume["secret"]["defaultMode"] & 0o337 == 0  # nobody writes, and others don't read
        assert all(mount["readOnly"] for container in pod["containers"] for mount in container["volumeMounts"])


@pytest.mark.parametrize("asked", [False, True])
def test_deleting_a_document_destroys_nothing_unless_the_inventory_asks_for_it(asked: bool) -> None:
    documents = kubernetes.render(fleet(**({"destroyOnFinalize": True} if asked else {})), SOURCE)
    assert [document["spec"].get("destroyOnFinalize", False) for document in documents] == [asked] * 3


def test_destroying_is_asked_for_in_so_many_words(tmp_path: Path) -> None:
    path = tmp_path / "fleet.yaml"
    path.write_text(
        yaml.safe_dump({"stack": "prod", "shards": 1, "hosts": {"a": {}}, "destroyOnFinalize": "yes please"})
    )
    with pytest.raises(WatchpostError, match="destroyOnFinalize: Input should be a valid boolean"):
        load(path)


@pytest.mark.parametrize(
    ("backend", "repository"),
    [
        ("postgres://me:fake-password@db.example.com/state", "https://github.com/example/watchpost"),
        (None, "https://me:fake-token@github.com/example/watchpost"),
        (None, "https://fake-token@github.com/example/watchpost"),
        ("postgres://me@db.example.com/state?password=fake-password", "https://github.com/example/watchpost"),
    ],
)
def test_a_password_in_an_address_never_gets_into_a_document(backend: str | None, repository: str) -> None:
    source = kubernetes.Source(repository=repository, branch="main", backend=backend)
    with pytest.raises(WatchpostError, match="holds a password") as error:
        kubernetes.render(fleet(), source)
    assert "fake" not in str(error.value)


def test_the_user_of_an_ssh_address_is_no_secret() -> None:
    repository = "ssh://git@github.com/example/watchpost"
    assert kubernetes.render(fleet(), kubernetes.Source(repository=repository, branch="main"))


def test_no_example_destroys_what_its_document_made() -> None:
    for path in EXAMPLE.parent.glob("*.yaml"):
        assert "destroyOnFinalize" not in path.read_text()


def test_another_secret_from_the_environment_can_not_be_rendered_for_kubernetes() -> None:
    with pytest.raises(WatchpostError, match="only a host's `privateKey` may be `fromEnvironment`, and PASSWORD"):
        kubernetes.render(fleet(host={"privateKeyPassword": {"fromEnvironment": "PASSWORD"}}), SOURCE)


def test_a_stack_of_the_kubernetes_operator_needs_a_token_without_a_backend() -> None:
    spec = kubernetes.render(fleet(), kubernetes.Source(repository="https://x.example", branch="main"))[0]["spec"]
    assert "PULUMI_ACCESS_TOKEN" in spec["envRefs"]
    assert "backend" not in spec


def test_the_engine_is_taken_to_be_as_new_as_the_sdk_when_it_says_no_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pulumi").write_text("#!/bin/sh\n")
    (tmp_path / "pulumi").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    found = pulumi_command()
    assert isinstance(found, auto.PulumiCommand)
    assert str(found.version).startswith("3.")
    monkeypatch.setenv("PATH", str(tmp_path / "nowhere"))
    with pytest.raises(WatchpostError, match="`pulumi` is not on PATH"):
        pulumi_command()

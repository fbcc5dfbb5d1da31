"""``watchpost recover``: what it considers left behind, its order of work, and what it never touches."""

import json
import os
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from components import orphans, ownership
from components.orphans import TaggedObject
from tests.unit.mocks import EMBED, PUBLIC
from watchpost import recover
from watchpost.__main__ import main
from watchpost.errors import WatchpostError
from watchpost.recover import State, read
from watchpost.stack import DATADOG_PROVIDER, Stack

OWN = "watchpost:0000fake0000"
URN = "urn:pulumi:dev::watchpost::{type}::{name}"


def resource(type: str, name: str, identifier: str | None = None, **inputs: Any) -> dict[str, Any]:
    """A resource as ``pulumi stack export`` shows it."""
    found: dict[str, Any] = {"type": type, "urn": URN.format(type=type, name=name), "inputs": inputs}
    return found | ({"id": identifier} if identifier else {})


def deployment(*resources: dict[str, Any], pending: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    """A stack's deployment."""
    return {"resources": list(resources), "pending_operations": pending}


TAG = resource(recover.OWNERSHIP_TAG, ownership.NAME, "0000fake0000")
MONITOR = resource("datadog:index/monitor:Monitor", "my-metric-monitor", "1")


def test_the_state_tells_the_tag_and_what_is_known() -> None:
    provider = resource(DATADOG_PROVIDER, "datadog", "0-1", apiUrl="https://api.datadoghq.eu/")
    state = read(deployment(resource("pulumi:pulumi:Stack", "watchpost-dev"), provider, TAG, MONITOR))
    assert state == State(tag=OWN, known=frozenset({"1"}), pending=())


def test_a_state_of_version_1_0_tells_its_tag_too() -> None:
    former = resource(recover.OWNERSHIP_TAG, ownership.FORMER_NAME, "0000fake0000")
    assert read(deployment(former)).tag == OWN


def test_what_was_under_way_is_told_by_name() -> None:
    pending = [
        {"type": "creating", "resource": resource("datadog:index/monitor:Monitor", "other")},
        {"type": "deleting", "resource": MONITOR},
    ]
    state = read(deployment(TAG, pending=pending))
    assert state.pending == ("creating other", "deleting my-metric-monitor")


@pytest.mark.parametrize("type_", [PUBLIC, EMBED])
def test_a_shared_dashboard_is_known_by_its_token_which_is_a_secret(type_: str) -> None:
    shared = resource(type_, "shared-apm", "abc-def-ghi") | {"outputs": {"token": {"plaintext": '"fake-token"'}}}
    assert "fake-token" in read(deployment(TAG, shared)).known


def test_a_webhook_is_known_by_the_name_that_it_was_given_later() -> None:
    """Another name of the stack renames its webhooks in place, and leaves their ids."""
    kind = "datadog:index/webhook:Webhook"
    renamed = resource(kind, "customers-pay-open", "of-dev-pay-open") | {"outputs": {"name": "of-prod-pay-open"}}
    assert {"of-dev-pay-open", "of-prod-pay-open"} <= read(deployment(TAG, renamed)).known


@pytest.mark.parametrize("exported", [{}, deployment(), deployment(MONITOR)])
def test_without_a_tag_in_the_state_nothing_is_anybodys(exported: dict[str, Any]) -> None:
    assert read(exported).tag is None


class FakeStack(Stack):
    """A stack that only records its calls."""

    def __init__(self, deployment: dict[str, Any], steps: list[str], config: Mapping[str, str] | None = None) -> None:
        super().__init__("dev")
        self.deployment, self.steps, self.config = deployment, steps, config or {}

    def export(self) -> dict[str, Any]:
        self.steps.append("state")
        return self.deployment

    def refresh(self) -> None:
        self.steps.append("refresh")


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was done, in order; the account holds things of two stacks and of a person."""
    done: list[str] = []

    def find(_: object, own: str, kinds: Collection[str]) -> Iterator[TaggedObject]:
        done.append(f"look for {own}")
        if set(orphans.CUSTOMERS) <= set(kinds):
            done.append("look for what is of customers")
        assert {"downtime", "monitor", "dashboard", "link", "embed"} <= set(kinds)
        for kind, identifier in (("downtime", "d"), ("monitor", "1"), ("monitor", "2"), ("dashboard", "b")):
            yield TaggedObject(kind=kind, identifier=identifier, title="T")

    def named(_: object, own: str, kind: str, name: str) -> Iterator[TaggedObject]:
        assert own == OWN
        if name.endswith(("-ship-close", "FAKE0000")):
            yield TaggedObject(kind=kind, identifier=name, title=name)

    monkeypatch.setattr(orphans, "find", find)
    monkeypatch.setattr(orphans, "named", named)
    monkeypatch.setattr(orphans, "remove", lambda _, found: done.append(f"remove {found.kind} {found.identifier}"))
    return done


KNOWN = deployment(TAG, MONITOR, resource("datadog:index/dashboardJson:DashboardJson", "board", "b"))
CLIENT: Any = None


def state(**changes: Any) -> State:
    """A state that knows monitor 1 and dashboard b, as :data:`KNOWN` does."""
    known = frozenset({"1", "b"})
    return State(**({"tag": OWN, "known": known, "pending": ()} | changes))


def test_without_yes_it_only_shows(steps: list[str]) -> None:
    now = state(pending=("creating x",))
    found = [str(finding) for finding in recover.recover(FakeStack(KNOWN, steps), CLIENT, now, yes=False)]
    assert found == ["pending   creating x", "downtime  d  T", "monitor   2  T"]
    assert steps == [f"look for {OWN}", "state"]


def test_with_yes_it_takes_the_lock_first_and_removes_what_the_state_does_not_know(steps: list[str]) -> None:
    assert len(list(recover.recover(FakeStack(KNOWN, steps), CLIENT, state(), yes=True))) == 2
    assert steps == ["refresh", f"look for {OWN}", "state", "remove downtime d", "remove monitor 2"]


def test_without_a_tag_datadog_is_not_even_asked(steps: list[str]) -> None:
    now = state(tag=None)
    assert len(list(recover.recover(FakeStack(KNOWN, steps), CLIENT, now, yes=True))) == 0
    assert steps == ["refresh", "state"]


@pytest.mark.parametrize(
    ("configured", "looked_up"),
    [
        ({"enabled": False, "steps": [{"name": "ship", "objective": 5}]}, ["ship-close", "FAKE0000"]),
        ({"enabled": True, "teirs": "an invalid setting"}, ["FAKE0000"]),
        (None, []),
    ],
)
def test_webhooks_are_looked_up_by_the_names_that_the_settings_give_them(
    steps: list[str], configured: object, looked_up: list[str]
) -> None:
    config = {} if configured is None else {"watchpost:customerExperience": json.dumps(configured)}
    stack = FakeStack(deployment(TAG), steps, config)
    found = [finding for finding in recover.recover(stack, CLIENT, state(), yes=True) if "webhook" in finding.kind]
    assert [finding.identifier.partition("0000fake0000-")[2] or "FAKE0000" for finding in found] == looked_up
    assert ("look for what is of customers" in steps) == (configured is not None)
    assert [step for step in steps if "webhook" in step] == [f"remove {f.kind} {f.identifier}" for f in found]


CREATED = resource("datadog:index/webhook:Webhook", "customers-ship-open", "watchpost-dev-0000fake0000-ship-open")
BEGUN = {"type": "creating", "resource": resource("datadog:index/webhook:Webhook", "customers-ship-close")}


@pytest.mark.parametrize("left", [deployment(TAG, CREATED), deployment(TAG, pending=[BEGUN])])
def test_webhooks_are_looked_up_by_the_steps_in_the_state_once_the_settings_have_none(
    steps: list[str], left: dict[str, Any]
) -> None:
    found = list(recover.recover(FakeStack(left, steps), CLIENT, read(left), yes=False))
    assert "watchpost-dev-0000fake0000-ship-close" in [finding.identifier for finding in found]
    assert "look for what is of customers" in steps


def test_a_state_without_customers_has_no_steps() -> None:
    assert read(deployment(TAG, MONITOR)).steps is None


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A ``pulumi`` that notes what it is called with, and prints what is in the file named after its first words."""
    script = """#!/bin/sh
echo "$@" >>"$0.called"
for file in "$0.$2" "$0.$2-$3"; do [ ! -f "$file" ] || cat "$file"; done
[ ! -f "$0.error" ] || [ "$1" = version ] || { cat "$0.error" >&2; exit 255; }
"""
    file = tmp_path / "pulumi"
    file.write_text(script)
    file.chmod(0o755)
    Path(f"{file}.config").write_text("{}")
    Path(f"{file}.stack-export").write_text(json.dumps({"version": 3, "deployment": deployment(TAG)}))
    for name in ("DD_API_KEY", "DD_APP_KEY"):
        monkeypatch.setenv(name, f"fake-{name}")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    return file


def test_a_failing_pulumi_is_told_in_its_own_words(program: Path) -> None:
    Path(f"{program}.error").write_text("warning: old\nerror: the stack is currently locked by 1 lock(s)\n  at home\n")
    with pytest.raises(WatchpostError) as caught:
        Stack("dev", str(program.parent)).refresh()
    assert str(caught.value) == ("the stack can't be refreshed: the stack is currently locked by 1 lock(s)\n  at home")
    called = Path(f"{program}.called").read_text()
    assert "--stack dev" in called
    assert "--clear-pending-creates" in called


@pytest.mark.usefixtures("program")
def test_missing_keys_are_told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.delenv("DD_API_KEY")
    assert main(["recover", "--stack", "dev"]) == 1
    assert capsys.readouterr().err == (
        "watchpost: the account can't be queried without datadog:apiKey: export DD_API_KEY\n"
    )


@pytest.mark.usefixtures("program")
def test_nothing_left_behind_is_success_and_something_is_not(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(orphans, "find", lambda *_: [])
    assert main(["recover", "--stack", "dev"]) == 0
    assert capsys.readouterr().out == "nothing was left behind\n"
    monkeypatch.setattr(orphans, "find", lambda *_: [TaggedObject(kind="monitor", identifier="7", title="T")])
    assert main(["recover", "--stack", "dev", "--json"]) == 1
    shown = capsys.readouterr()
    assert json.loads(shown.out) == [{"kind": "monitor", "identifier": "7", "title": "T"}]
    assert "the same command with --yes" in shown.err

"""``components.recover``: what it takes for left behind, in which order it works, and what it never touches."""

import json
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from components import leftovers, recover
from components.leftovers import Thing
from components.recover import Pulumi, RecoverError, State, read

OWN = "watchpost:0000fake0000"
URN = "urn:pulumi:dev::watchpost::{type}::{name}"


def resource(type: str, name: str, identifier: str | None = None, **inputs: Any) -> dict[str, Any]:
    """A resource as ``pulumi stack export`` shows it."""
    found: dict[str, Any] = {"type": type, "urn": URN.format(type=type, name=name), "inputs": inputs}
    return found | ({"id": identifier} if identifier else {})


def export(*resources: dict[str, Any], pending: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    """An export of a stack."""
    return {"version": 3, "deployment": {"resources": list(resources), "pending_operations": pending}}


MARK = resource(recover.MARK, "mark", "0000fake0000")
MONITOR = resource("datadog:index/monitor:Monitor", "my-metric-monitor", "1")


def test_the_state_tells_the_mark_what_is_known_and_where_datadog_is() -> None:
    provider = resource(recover.PROVIDER, "datadog", "0-1", apiUrl="https://api.datadoghq.eu/")
    state = read(export(resource("pulumi:pulumi:Stack", "watchpost-dev"), provider, MARK, MONITOR))
    assert state == State(
        mark=OWN, known=frozenset({"1"}), api_url="https://api.datadoghq.eu/", pending=(), shared=frozenset()
    )


def test_what_was_under_way_is_told_by_name() -> None:
    pending = [
        {"type": "creating", "resource": resource(recover.EMBED, "shared-apm", dashboardId="abc-def-ghi")},
        {"type": "deleting", "resource": MONITOR},
    ]
    state = read(export(MARK, pending=pending))
    assert state.pending == ("creating shared-apm", "deleting my-metric-monitor")
    assert state.shared == {"abc-def-ghi"}


@pytest.mark.parametrize("exported", [{}, {"deployment": None}, export(), export(MONITOR)])
def test_without_a_mark_in_the_state_nothing_is_anybodys(exported: dict[str, Any]) -> None:
    assert read(exported).mark is None


class FakePulumi(Pulumi):
    """A ``pulumi`` that only notes what it is asked."""

    def __init__(self, state: State, steps: list[str]) -> None:
        object.__setattr__(self, "_state", state)
        object.__setattr__(self, "_steps", steps)

    def state(self) -> State:
        state: State = self.__dict__["_state"]
        self.__dict__["_steps"].append("state")
        return state

    def refresh(self) -> None:
        self.__dict__["_steps"].append("refresh")


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was done, in order; the account holds things of two stacks and of a person."""
    done: list[str] = []

    def find(_: object, own: str) -> Iterator[Thing]:
        done.append(f"look for {own}")
        for kind, identifier in (("downtime", "d"), ("monitor", "1"), ("monitor", "2"), ("dashboard", "b")):
            yield Thing(kind=kind, identifier=identifier, title="T")

    monkeypatch.setattr(leftovers, "find", find)
    monkeypatch.setattr(leftovers, "remove", lambda _, thing: done.append(f"remove {thing.kind} {thing.identifier}"))
    return done


def state(**changes: Any) -> State:
    """A state that knows monitor 1 and dashboard b."""
    known = frozenset({"1", "b"})
    return State(**({"mark": OWN, "known": known, "api_url": None, "pending": (), "shared": frozenset()} | changes))


def test_without_yes_it_only_shows(steps: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    now = state(pending=("creating x",))
    assert recover.recover(FakePulumi(now, steps), None, now, yes=False) == 3  # type: ignore[arg-type]
    assert steps == [f"look for {OWN}", "state"]
    assert capsys.readouterr().out == "pending   creating x\ndowntime  d  T\nmonitor   2  T\n"


def test_with_yes_it_takes_the_lock_first_and_removes_what_the_state_does_not_know(steps: list[str]) -> None:
    assert recover.recover(FakePulumi(state(), steps), None, state(), yes=True) == 2  # type: ignore[arg-type]
    assert steps == ["refresh", f"look for {OWN}", "state", "remove downtime d", "remove monitor 2"]


def test_a_dashboard_with_a_shared_link_that_nobody_knows_goes_and_the_state_learns_it(steps: list[str]) -> None:
    now = state(shared=frozenset({"b"}), pending=("creating shared-apm",))
    assert recover.recover(FakePulumi(now, steps), None, now, yes=True) == 4  # type: ignore[arg-type]
    assert steps[-2:] == ["remove dashboard b", "refresh"]


def test_without_a_mark_datadog_is_not_even_asked(steps: list[str]) -> None:
    now = state(mark=None)
    assert recover.recover(FakePulumi(now, steps), None, now, yes=True) == 0  # type: ignore[arg-type]
    assert steps == ["refresh", "state"]


def test_a_failing_pulumi_is_told_in_its_own_words(monkeypatch: pytest.MonkeyPatch) -> None:
    words: list[list[str]] = []

    def run(command: list[str], **_: object) -> Any:
        words.append(command)
        return SimpleNamespace(returncode=255, stdout="", stderr="the stack is currently locked by 1 lock(s)\n")

    monkeypatch.setattr("subprocess.run", run)
    with pytest.raises(RecoverError, match="currently locked"):
        Pulumi(stack="dev", cwd=None).refresh()
    assert words[0][-2:] == ["--stack", "dev"]
    assert "--clear-pending-creates" in words[0]


def test_missing_keys_are_told_before_anything_is_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["recover"])
    monkeypatch.delenv("DD_API_KEY", raising=False)
    monkeypatch.setenv("DD_APP_KEY", "fake-app-key")
    with pytest.raises(SystemExit, match="DD_API_KEY must be set in the environment"):
        recover.main()


def test_nothing_left_behind_is_success_and_something_is_not(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["recover", "--stack", "dev"])
    for name in ("DD_API_KEY", "DD_APP_KEY"):
        monkeypatch.setenv(name, "fake")
    monkeypatch.setattr(Pulumi, "run", lambda *_: json.dumps(export(MARK)))
    monkeypatch.setattr(leftovers, "find", lambda *_: [])
    recover.main()
    assert capsys.readouterr().out == "nothing was left behind\n"
    monkeypatch.setattr(leftovers, "find", lambda *_: [Thing(kind="monitor", identifier="7", title="T")])
    with pytest.raises(SystemExit, match="the same command with --yes"):
        recover.main()

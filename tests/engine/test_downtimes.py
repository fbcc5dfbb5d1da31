"""Downtimes are created and cancelled, never updated, and mute without a gap, on an API that refuses past starts."""

import datetime
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from sandbox import paths
from sandbox.stack import Stack
from sandbox.testing.account import call
from sandbox.testing.stacks import Update, up

PARIS = ZoneInfo("Europe/Paris")
DAY = datetime.timedelta(days=1)
MOVED_CLOCK = str(Path(__file__).with_name("moved_clock"))


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    """A stack without hosts."""
    with Stack(folder=paths.local() / "tests" / "test_downtimes", hosts=()).afresh() as stack:
        stack.configure(part="datadog", hosts={}, shareDashboards="no")
        yield stack


@dataclass
class Clock:
    """The clock of both the account and the program."""

    stack: Stack
    environment: dict[str, str] = field(default_factory=dict)

    def go_to(self, weekday: int, hour: int) -> None:
        """Set the clock to an hour of next week; Monday is day 0."""
        today = datetime.datetime.now(PARIS)
        at = (today + (7 + weekday - today.weekday()) * DAY).replace(hour=hour, minute=30)
        self.stack.account.travel(at)
        self.environment = {"PYTHONPATH": MOVED_CLOCK, "MOVED_BY": str((at - today).total_seconds())}

    def up(self, *words: str) -> Update:
        """Run ``pulumi up`` at that time."""
        return up(self.stack, *words, environment=self.environment)


@pytest.fixture(scope="module")
def clock(stack: Stack) -> Clock:
    return Clock(stack)


def of_downtimes(stack: Stack, since: int = 0) -> list[dict[str, Any]]:
    """Return the write requests about downtimes after the first ``since`` requests."""
    return [
        request
        for request in stack.account.requests()[since:]
        if request["path"].startswith("/api/v2/downtime") and request["method"] != "GET"
    ]


def made_and_cancelled(stack: Stack, since: int) -> list[str]:
    """Return the methods of those requests, and assert that all succeeded."""
    asked = of_downtimes(stack, since)
    assert all(request["status"] in (200, 204) for request in asked), asked
    return [request["method"] for request in asked]


def test_what_people_are_mailed_is_as_little_as_datadog_allows(stack: Stack, clock: Clock) -> None:
    done = clock.up()
    assert done.code == 0, done.text
    for downtime in stack.account.downtimes():
        attributes = downtime["attributes"]
        assert attributes["mute_first_recovery_notification"] is True
        assert attributes["notify_end_types"] == []
    assert clock.up("--expect-no-changes", "--refresh").code == 0


@pytest.mark.parametrize(
    ("weekday", "hour"),
    [
        pytest.param(1, 22, id="night"),
        pytest.param(5, 12, id="Saturday", marks=pytest.mark.long),
        pytest.param(2, 11, id="office hours", marks=pytest.mark.long),
    ],
)
def test_other_recipients_are_told_by_a_new_downtime_before_the_old_one_goes(
    stack: Stack, clock: Clock, weekday: int, hour: int
) -> None:
    assert clock.up().code == 0
    clock.go_to(weekday, hour)
    before = {downtime["id"] for downtime in stack.account.downtimes()}
    since = len(stack.account.requests())
    stack.configure(recipients=[f"{weekday}@example.com"])
    done = clock.up()
    assert done.code == 0, done.text
    assert made_and_cancelled(stack, since) == ["POST", "POST", "DELETE", "DELETE"]
    downtimes = stack.account.downtimes()
    assert len(downtimes) == 2
    assert before.isdisjoint(downtime["id"] for downtime in downtimes)
    assert all(f"@{weekday}@example.com" in downtime["attributes"]["message"] for downtime in downtimes)
    # Each has the status of the moment when it was created.
    muted = "active" in {downtime["attributes"]["status"] for downtime in downtimes}
    assert muted == (hour != 11)
    assert clock.up("--expect-no-changes").code == 0


def test_recipients_that_change_twice_before_a_night_make_no_duplicate(stack: Stack, clock: Clock) -> None:
    clock.go_to(2, 11)
    for name in ("once", "twice"):
        since = len(stack.account.requests())
        stack.configure(recipients=[f"{name}@example.com"])
        done = clock.up()
        assert done.code == 0, done.text
    refused = [request for request in of_downtimes(stack, since) if request["status"] == 400]
    assert [request["method"] for request in refused] == ["POST", "POST"]  # which the program handles
    downtimes = stack.account.downtimes()
    assert len(downtimes) == 2
    assert all("@twice@example.com" in downtime["attributes"]["message"] for downtime in downtimes)
    assert clock.up("--expect-no-changes").code == 0


def test_somebody_else_s_twin_is_left_alone_and_told(stack: Stack, clock: Clock) -> None:
    clock.go_to(2, 14)
    ours = stack.account.downtimes()[0]
    call(stack, "DELETE", f"/api/v2/downtime/{ours['id']}")
    given = {name: ours["attributes"][name] for name in ("monitor_identifier", "scope", "schedule")}
    given["schedule"].pop("current_downtime")
    call(
        stack, "POST", "/api/v2/downtime", {"data": {"type": "downtime", "attributes": {**given, "message": "theirs"}}}
    )
    stack.configure(repairs=dict.fromkeys(("closed-office-nights", "closed-office-closed-days"), "first"))
    done = clock.up()
    assert done.code != 0
    assert "duplicate of one or more existing downtimes" in done.text
    assert "Traceback" not in done.text
    (theirs,) = [downtime for downtime in stack.account.downtimes() if downtime["attributes"]["message"] == "theirs"]
    call(stack, "DELETE", f"/api/v2/downtime/{theirs['id']}")
    assert clock.up().code == 0
    assert len(stack.account.downtimes()) == 2


def test_a_monitor_that_was_deleted_by_hand_is_muted_again_at_any_time(stack: Stack, clock: Clock) -> None:
    clock.go_to(3, 21)
    call(stack, "DELETE", f"/api/v1/monitor/{stack.account.monitors()[0]['id']}")
    since = len(stack.account.requests())
    done = clock.up("--refresh")
    assert done.code == 0, done.text
    assert sorted(made_and_cancelled(stack, since)) == ["DELETE", "DELETE", "POST", "POST"]
    (monitor,) = stack.account.monitors()
    for downtime in stack.account.downtimes():
        assert downtime["attributes"]["monitor_identifier"] == {"monitor_id": monitor["id"]}


def test_a_message_that_was_edited_by_hand_is_put_right_without_an_update(stack: Stack, clock: Clock) -> None:
    clock.go_to(0, 23)
    edited = stack.account.downtimes()[0]["id"]
    body = {"data": {"id": edited, "type": "downtime", "attributes": {"message": "edited"}}}
    call(stack, "PATCH", f"/api/v2/downtime/{edited}", body)
    since = len(stack.account.requests())
    done = clock.up("--refresh")
    assert done.code == 0, done.text
    assert "PATCH" not in made_and_cancelled(stack, since)
    assert "edited" not in str(stack.account.downtimes())


def test_a_cancelled_downtime_that_is_noted_for_repair_is_made_anew(stack: Stack, clock: Clock) -> None:
    clock.go_to(2, 23)
    call(stack, "DELETE", f"/api/v2/downtime/{stack.account.downtimes()[0]['id']}")
    assert len(stack.account.downtimes()) == 1
    stack.configure(repairs={"closed-office-nights": "2026-11-26", "closed-office-closed-days": "2026-11-26"})
    done = clock.up()
    assert done.code == 0, done.text
    assert len(stack.account.downtimes()) == 2
    assert clock.up("--expect-no-changes").code == 0


def test_the_stack_s_downtimes_go_with_it(stack: Stack) -> None:
    stack.pulumi("destroy", "--yes", "--skip-preview", "--stack", stack.name)
    assert stack.account.downtimes() == []

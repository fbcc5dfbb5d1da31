"""A failing Datadog: retried if that is right, else reported in one sentence; nothing is created twice.

Creates only the Datadog side of a stack, which takes seconds.
"""

import datetime
import fnmatch
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import yaml

from sandbox import paths
from sandbox.datadog import Account
from sandbox.datadog.account import Fault
from sandbox.stack import Stack
from sandbox.testing.account import NONE, ONE_OF_EACH, content, request
from sandbox.testing.processes import wait_until
from sandbox.testing.stacks import Update, begin, drift, recover, up
from tests.engine import recorded
from tests.engine.recorded import assert_as_recorded

DASHBOARD, MONITOR = "/api/v1/dashboard", "/api/v1/monitor"
DOWNTIME, EMBED = "/api/v2/downtime", "/api/v2/dashboard/*/shared/secure-embed"

HINT = "python -m watchpost recover --stack dev shows it, and removes it with --yes"


def datadog_side(folder: Path) -> Iterator[Stack]:
    """A stack without hosts, not yet brought up."""
    with Stack(folder=folder, hosts=()).afresh() as stack:
        stack.configure(part="datadog", shareDashboards="embed")
        yield stack


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    """The stack that the tests share; its state records what each leaves."""
    yield from datadog_side(paths.local() / "tests" / "test_faults")


@pytest.fixture
def empty(stack: Stack) -> Stack:
    """The stack, destroyed, with no fault injected."""
    stack.account.clear_faults()
    destroy(stack)
    assert content(stack.account) == NONE
    return stack


def test_what_passes_is_survived_within_one_run(stack: Stack) -> None:
    account = stack.account
    account.fault("POST", DASHBOARD, 429, headers={"X-RateLimit-Reset": "1"})
    account.fault("POST", DASHBOARD, 429)
    account.fault("POST", MONITOR, 500)
    account.fault("POST", DOWNTIME, 502, times=2)
    account.fault("POST", EMBED, "slow", seconds=3)
    done = up(stack)
    assert done.code == 0, done.text
    assert content(account) == ONE_OF_EACH
    statuses = [request["status"] for request in account.writes()]
    assert sorted(statuses)[-5:] == [429, 429, 500, 502, 502]
    assert up(stack, "--expect-no-changes").code == 0
    assert_as_recorded(stack, {recorded.EMBED})


@pytest.mark.parametrize(
    ("path", "action", "made", "sentence"),
    [
        pytest.param(
            MONITOR,
            "cut",
            False,
            'error creating monitor (url.Error): Post "{url}/api/v1/monitor": EOF',
            marks=pytest.mark.long,
        ),
        (DASHBOARD, "lost", True, 'error creating resource (url.Error): Post "{url}/api/v1/dashboard": EOF'),
        pytest.param(
            DOWNTIME,
            "lost",
            True,
            'error retrieving DowntimeSchedule: url.Error: Post "{url}/api/v2/downtime": EOF',
            marks=pytest.mark.long,
        ),
        pytest.param(
            DASHBOARD,
            "garbage",
            False,
            "invalid character '<' looking for beginning of value",
            marks=pytest.mark.long,
        ),
        (DOWNTIME, 403, False, "error retrieving DowntimeSchedule: 403 Forbidden: "),
        pytest.param(
            EMBED,
            403,
            False,
            "Error creating secure embed: API error (status 403): 403 Forbidden — ",
            marks=pytest.mark.long,
        ),
    ],
)
def test_a_create_that_fails_is_told_and_the_next_run_makes_one_of_each(
    empty: Stack, path: str, action: Fault, *, made: bool, sentence: str
) -> None:
    account = empty.account
    account.fault("POST", path, action)
    failed = up(empty)
    told(failed, sentence.format(url=account.url))
    assert (HINT in failed.text) == (action != 403), failed.text
    if HINT in failed.text:
        shown = recover(empty)
        assert bool(shown.returncode) == made, shown.stdout + shown.stderr
        before = content(account)
        right = recover(empty, "--yes")
        assert right.returncode == 0, right.stderr
        assert sum(before.values()) - sum(content(account).values()) == made
    done = up(empty)
    assert done.code == 0, done.text
    assert content(account) == ONE_OF_EACH


def test_what_a_lost_answer_left_is_replaced_by_the_next_run(empty: Stack) -> None:
    account, paths = empty.account, (DASHBOARD, EMBED, MONITOR, DOWNTIME)
    since = len(account.requests())
    for path in paths:
        account.fault("POST", path, "lost")
    runs = [up(empty)]
    while runs[-1].code and len(runs) <= len(paths):
        told(runs[-1], HINT)
        runs.append(up(empty))
        assert "was left behind by an interrupted update: it was removed and is created again" in runs[-1].text
    assert runs[-1].code == 0, runs[-1].text
    lost = [request["path"] for request in account.requests()[since:] if not request["status"]]
    assert {path for path in paths if fnmatch.filter(lost, path)} == set(paths)
    assert content(account) == ONE_OF_EACH
    assert up(empty, "--expect-no-changes").code == 0


@pytest.mark.parametrize(
    ("path", "kind"), [pytest.param(DASHBOARD, "dashboards", marks=pytest.mark.long), (DOWNTIME, "downtimes")]
)
def test_what_was_made_as_the_engine_was_killed_is_replaced_by_the_next_run(empty: Stack, path: str, kind: str) -> None:
    empty.account.fault("POST", path, "late", seconds=60, times=2)
    process = begin(empty, "up", "--yes", "--skip-preview", output=subprocess.DEVNULL)
    try:
        wait_until(lambda: content(empty.account)[kind] == 2 or process.poll() is not None, f"there are {kind}", 120)
        assert process.poll() is None
    finally:
        process.kill()
        process.wait()
    assert not list((empty.folder / "state").rglob("*.attrs")), "a kill can leave one empty, which no command survives"
    assert "pulumi cancel" in up(empty).text
    empty.pulumi("cancel", "--yes", empty.name)
    again = up(empty)
    assert again.code == 0, again.text
    assert again.text.count("was left behind by an interrupted update") >= 2
    assert content(empty.account) == ONE_OF_EACH
    assert "pending   creating " in recover(empty, "--yes").stdout
    assert recover(empty).stdout == "nothing was left behind\n"
    assert content(empty.account) == ONE_OF_EACH


def test_an_account_that_may_not_be_looked_into_is_told(empty: Stack) -> None:
    empty.account.fault("POST", DASHBOARD, "lost")
    told(up(empty), HINT)
    empty.account.fault("GET", DASHBOARD, 403)
    refused = up(empty)
    told(refused, "can't check what an interrupted update left in Datadog: Datadog at ")
    assert " refused: 403 Forbidden" in refused.text
    assert up(empty).code == 0
    assert content(empty.account) == ONE_OF_EACH


@pytest.mark.parametrize("action", ["lost", pytest.param(403, marks=pytest.mark.long)])
def test_an_update_that_fails_is_made_by_the_next_run(stack: Stack, action: Fault) -> None:
    _whole(stack)
    threshold = stack.account.monitors()[0]["options"]["thresholds"]["critical"] - 10
    stack.configure(alertThreshold=int(threshold))
    stack.account.fault("PUT", f"{MONITOR}/*", action)
    failed = up(stack)
    told(failed, "403 Forbidden" if action == 403 else "error updating monitor (url.Error): Put ")
    assert HINT not in failed.text
    done = up(stack)
    assert done.code == 0, done.text
    assert stack.account.monitors()[0]["query"].endswith(f"> {threshold:.0f}")
    assert content(stack.account) == ONE_OF_EACH


def test_a_destroy_that_fails_is_finished_by_the_next(stack: Stack) -> None:
    _whole(stack)
    stack.account.fault("DELETE", f"{MONITOR}/*", "lost")
    stack.account.fault("DELETE", f"{DASHBOARD}/*", 403)
    for sentence in ("error deleting monitor (url.Error): Delete ", "error deleting dashboard from /api/v1/dashboard/"):
        done = stack.destroy(check=False)
        told(Update({}, done.stdout + done.stderr, done.returncode), sentence)
    destroy(stack)
    assert content(stack.account) == NONE


def test_a_destroy_ends_though_somebody_was_faster(stack: Stack) -> None:
    _whole(stack)
    for gone in ("embed", "downtime", "monitor", "dashboard"):
        delete(stack.account, *things(stack.account, gone))
    destroy(stack)
    assert content(stack.account) == NONE


@pytest.mark.parametrize("gone", [("monitor", "embed"), pytest.param(("dashboard",), marks=pytest.mark.long)])
def test_an_update_with_a_refresh_makes_anew_what_somebody_deleted(stack: Stack, gone: tuple[str, ...]) -> None:
    _whole(stack)
    for kind in gone:
        delete(stack.account, *things(stack.account, kind))
    done = up(stack, "--refresh")
    assert done.code == 0, done.text
    assert content(stack.account) == ONE_OF_EACH
    assert up(stack, "--refresh", "--expect-no-changes").code == 0


def test_a_downtime_that_was_cancelled_is_named_and_made_anew(stack: Stack) -> None:
    _whole(stack)
    assert drift(stack).stdout.endswith("2 downtimes are as the stack left them\n")
    first, _ = things(stack.account, "downtime")
    delete(stack.account, first)
    looked = drift(stack, "--repair")
    assert looked.returncode == 1, looked.stderr
    named = [line for line in looked.stdout.splitlines() if line.startswith("closed-office-")]
    assert len(named) == 1
    assert named[0].endswith(": the downtime was cancelled in Datadog and mutes nothing any more")
    done = up(stack)
    assert done.code == 0, done.text
    assert content(stack.account) == ONE_OF_EACH
    assert drift(stack).returncode == 0
    assert up(stack, "--refresh", "--expect-no-changes").code == 0


def test_a_schedule_that_somebody_changed_is_named_and_made_anew(stack: Stack) -> None:
    _whole(stack)
    downtime = next(each for each in stack.account.downtimes() if "closed-days" in each["attributes"]["message"])
    now = datetime.datetime.now(datetime.UTC)
    # On a Wednesday at ten neither downtime mutes, and Datadog lets the start of one be moved.
    wednesday = (now + datetime.timedelta(days=(2 - now.weekday()) % 7 or 7)).replace(hour=10)
    start = (wednesday + datetime.timedelta(days=7)).strftime("%Y-%m-%dT%H:%M:%S")
    recurrence = {"rrule": "FREQ=WEEKLY;INTERVAL=1;BYDAY=WE", "start": start, "duration": "1h"}
    schedule = {"timezone": "Europe/Paris", "recurrences": [recurrence]}
    data = {"id": downtime["id"], "type": "downtime", "attributes": {"schedule": schedule}}
    stack.account.travel(wednesday)
    try:
        changed = request(stack.account, "PATCH", f"{DOWNTIME}/{downtime['id']}", {"data": data}).status
    finally:
        stack.account.travel(None)
    assert changed == 200
    assert up(stack, "--refresh").code == 0  # the refresh reads the changed one as unchanged
    looked = drift(stack, "--repair", "--only", "datadog")
    assert "the downtime's schedule was changed in Datadog: it is we-" in looked.stdout, looked.stdout + looked.stderr
    assert up(stack).code == 0
    assert drift(stack).returncode == 0


@pytest.mark.parametrize("action", ["cut", 401])
def test_an_account_that_does_not_let_in_is_told_before_anything_is_made(empty: Stack, action: Fault) -> None:
    empty.account.fault("GET", "/api/v1/validate", action, times=10)
    done = up(empty)
    empty.account.clear_faults()
    url = empty.account.url
    ended = "it closes the connection without an answer; check datadog:apiUrl"
    said = {
        "cut": f"Datadog's API at {url} can't be reached: {ended}",
        401: f"DD_API_KEY is refused by {url} (401 Unauthorized): it was revoked, or is of another site's account",
    }
    told(done, said[action])
    assert not done.names("create") - {"watchpost-dev"}


def test_a_datadog_that_goes_down_is_told(stack: Stack) -> None:
    _whole(stack)
    stack.account.fault("GET", "/api/v1/validate", "cut", times=10)
    done = stack.destroy(check=False)
    stack.account.clear_faults()
    told(Update({}, done.stdout + done.stderr, done.returncode), f'Get "{stack.account.url}/api/v1/validate": EOF')


def test_of_two_runs_at_once_one_is_refused_with_the_way_out(stack: Stack) -> None:
    _whole(stack)
    stack.configure(alertThreshold=700)
    stack.account.fault("PUT", f"{MONITOR}/*", "slow", seconds=6)
    with ThreadPoolExecutor() as pool:
        first = pool.submit(up, stack)
        locks = stack.folder / "state/.pulumi/locks"
        wait_until(lambda: any(locks.rglob("*.json")), "the stack is locked", 60)
        second = stack.pulumi("up", "--yes", "--skip-preview", "--stack", stack.name, check=False)
        recovery = recover(stack, "--yes")
    for text in (second.stdout + second.stderr, recovery.stderr):
        assert "the stack is currently locked by 1 lock(s)" in text
        assert "pulumi cancel" in text
    assert first.result().code == 0, first.result().text
    assert up(stack, "--expect-no-changes").code == 0


@pytest.mark.long
def test_two_stacks_of_one_name_on_one_account_leave_each_other_alone(stack: Stack) -> None:
    _whole(stack)
    for other in datadog_side(stack.folder.with_name("test_faults_other")):
        document = yaml.safe_load(other.stack_file.read_text())
        document["config"]["datadog:apiUrl"] = stack.account.url
        other.stack_file.write_text(yaml.safe_dump(document))
        stack.account.fault("POST", DASHBOARD, "lost")
        told(up(other), HINT)
        assert recover(stack, "--yes").stdout == "nothing was left behind\n"
        assert recover(other, "--yes").returncode == 0
        assert up(other).code == 0
        assert content(stack.account) == {kind: 2 * count for kind, count in ONE_OF_EACH.items()}
        destroy(other)
        assert content(stack.account) == ONE_OF_EACH
    assert up(stack, "--refresh", "--expect-no-changes").code == 0


def _whole(stack: Stack) -> None:
    """Bring the stack up if anything is missing, with no fault injected."""
    stack.account.clear_faults()
    if content(stack.account) != ONE_OF_EACH:
        done = up(stack)
        assert done.code == 0, done.text
    assert content(stack.account) == ONE_OF_EACH


def destroy(stack: Stack) -> None:
    """Destroy the stack; assert success."""
    stack.destroy()


def things(account: Account, kind: str) -> list[str]:
    """Return the API paths of all objects of a kind."""
    embeds = [
        f"/api/v2/dashboard/{each['dashboard_id']}/shared/secure-embed/{each['token']}" for each in account.embeds()
    ]
    return {
        "monitor": [f"{MONITOR}/{each['id']}" for each in account.monitors()],
        "dashboard": [f"{DASHBOARD}/{each['id']}" for each in account.dashboards()],
        "downtime": [f"{DOWNTIME}/{each['id']}" for each in account.downtimes()],
        "embed": embeds,
    }[kind]


def delete(account: Account, *paths: str) -> None:
    """Delete objects by hand."""
    for path in paths:
        assert request(account, "DELETE", path).status in (200, 204)


def told(done: Update, sentence: str) -> None:
    """Assert that the run failed with ``sentence``, without a traceback or a key."""
    assert done.code != 0
    assert sentence in done.text, done.text
    assert "Traceback" not in done.text
    assert "fake0000" not in done.text

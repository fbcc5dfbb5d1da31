"""A Datadog that fails: survived where trying again is right, else told in one sentence, and nothing is made twice.

Only the Datadog side of a stack is made here, which takes seconds.
"""

import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import yaml

from sandbox import paths
from sandbox.datadog.account import Fault
from sandbox.stack import Stack
from tests.engine.recovery import NONE, ONE_OF_EACH, content, recover
from tests.engine.stacks import Update, up

DASHBOARD, MONITOR = "/api/v1/dashboard", "/api/v1/monitor"
DOWNTIME, EMBED = "/api/v2/downtime", "/api/v2/dashboard/*/shared/secure-embed"

HINT = "python -m components.recover --stack dev shows it, and removes it with --yes"


def datadog_side(folder: Path) -> Iterator[Stack]:
    """A stack without hosts, with nothing up yet."""
    with Stack(folder=folder, hosts=()).afresh() as stack:
        stack.configure(part="datadog")
        yield stack


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    """The stack that the tests share; what each leaves is known to its state."""
    yield from datadog_side(paths.local() / "tests" / "test_faults")


@pytest.fixture
def empty(stack: Stack) -> Stack:
    """The stack with nothing up and no fault ordered."""
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


@pytest.mark.parametrize(
    ("path", "action", "made", "sentence"),
    [
        (MONITOR, "cut", False, "Connection aborted"),
        (DASHBOARD, "lost", True, "Connection aborted"),
        (DOWNTIME, "lost", True, "Connection aborted"),
        (DASHBOARD, "garbage", False, "the answer is not JSON: "),
        (DOWNTIME, 403, False, "403 Forbidden"),
    ],
)
def test_a_create_that_fails_is_told_and_the_next_run_makes_one_of_each(
    empty: Stack, path: str, action: Fault, *, made: bool, sentence: str
) -> None:
    account = empty.account
    account.fault("POST", path, action)
    failed = up(empty)
    told(failed, sentence)
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


@pytest.mark.parametrize("path", [MONITOR, DASHBOARD, DOWNTIME])
def test_what_a_lost_answer_left_is_replaced_by_the_next_run(empty: Stack, path: str) -> None:
    empty.account.fault("POST", path, "lost")
    told(up(empty), HINT)
    again = up(empty)
    assert again.code == 0, again.text
    assert "was left behind by an interrupted run: it was removed and is made anew" in again.text
    assert content(empty.account) == ONE_OF_EACH
    assert up(empty, "--expect-no-changes").code == 0


@pytest.mark.parametrize(("path", "kind"), [(DASHBOARD, "dashboards"), (DOWNTIME, "downtimes")])
def test_what_was_made_as_the_engine_was_killed_is_replaced_by_the_next_run(empty: Stack, path: str, kind: str) -> None:
    empty.account.fault("POST", path, "late", seconds=60, times=2)
    process = subprocess.Popen(
        ["pulumi", "--non-interactive", "-C", str(empty.project), "up", "--yes", "--skip-preview", "--stack", "dev"],
        env=empty.environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        while content(empty.account)[kind] < 2:
            assert process.poll() is None
            time.sleep(0.05)
    finally:
        process.kill()
        process.wait()
    assert "pulumi cancel" in up(empty).text
    empty.pulumi("cancel", "--yes", empty.name)
    again = up(empty)
    assert again.code == 0, again.text
    assert again.text.count("was left behind by an interrupted run") >= 2
    assert content(empty.account) == ONE_OF_EACH
    assert "pending   creating " in recover(empty, "--yes").stdout
    assert recover(empty).stdout == "nothing was left behind\n"
    assert content(empty.account) == ONE_OF_EACH


def test_an_account_that_may_not_be_looked_into_is_told(empty: Stack) -> None:
    empty.account.fault("POST", DASHBOARD, "lost")
    told(up(empty), HINT)
    empty.account.fault("GET", DASHBOARD, 403)
    refused = up(empty)
    told(refused, "what an interrupted run may have left in Datadog can't be looked for: Datadog at ")
    assert " refused: 403 Forbidden" in refused.text
    assert up(empty).code == 0
    assert content(empty.account) == ONE_OF_EACH


@pytest.mark.parametrize("action", ["lost", 403])
def test_an_update_that_fails_is_made_by_the_next_run(stack: Stack, action: Fault) -> None:
    _whole(stack)
    threshold = stack.account.monitors()[0]["options"]["thresholds"]["critical"] - 10
    stack.configure(alertThreshold=int(threshold))
    stack.account.fault("PUT", f"{MONITOR}/*", action)
    failed = up(stack)
    told(failed, "403 Forbidden" if action == 403 else "error updating")
    assert HINT not in failed.text
    done = up(stack)
    assert done.code == 0, done.text
    assert stack.account.monitors()[0]["query"].endswith(f"> {threshold:.0f}")
    assert content(stack.account) == ONE_OF_EACH


def test_a_destroy_that_fails_is_finished_by_the_next(stack: Stack) -> None:
    _whole(stack)
    stack.account.fault("DELETE", f"{MONITOR}/*", "lost")
    stack.account.fault("DELETE", f"{DASHBOARD}/*", 403)
    for sentence in ("error deleting monitor from ", "403 Forbidden"):
        done = stack.pulumi("destroy", "--yes", "--skip-preview", "--stack", stack.name, check=False)
        told(Update({}, done.stdout + done.stderr, done.returncode), sentence)
    destroy(stack)
    assert content(stack.account) == NONE


def test_a_datadog_that_is_down_is_told(stack: Stack) -> None:
    stack.account.fault("GET", "/api/v1/validate", "cut", times=10)
    told(up(stack), "error validating credentials from ")
    stack.account.clear_faults()


def test_of_two_runs_at_once_one_is_refused_with_the_way_out(stack: Stack) -> None:
    _whole(stack)
    stack.configure(alertThreshold=700)
    stack.account.fault("PUT", f"{MONITOR}/*", "slow", seconds=6)
    with ThreadPoolExecutor() as pool:
        first = pool.submit(up, stack)
        while not any((stack.folder / "state/.pulumi/locks").rglob("*.json")):
            time.sleep(0.05)
        second = stack.pulumi("up", "--yes", "--skip-preview", "--stack", stack.name, check=False)
        recovery = recover(stack, "--yes")
    for text in (second.stdout + second.stderr, recovery.stderr):
        assert "the stack is currently locked by 1 lock(s)" in text
        assert "pulumi cancel" in text
    assert first.result().code == 0, first.result().text
    assert up(stack, "--expect-no-changes").code == 0


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
    """All of the stack is up, and no fault is ordered."""
    stack.account.clear_faults()
    done = up(stack)
    assert done.code == 0, done.text
    assert content(stack.account) == ONE_OF_EACH


def destroy(stack: Stack) -> None:
    """Destroy the stack; it has to end well."""
    stack.pulumi("destroy", "--yes", "--skip-preview", "--stack", stack.name)


def told(done: Update, sentence: str) -> None:
    """The run failed and said so, without a traceback and without a key."""
    assert done.code != 0
    assert sentence in done.text, done.text
    assert "Traceback" not in done.text
    assert "fake0000" not in done.text

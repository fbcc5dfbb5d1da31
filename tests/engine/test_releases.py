"""A whole stack on other releases than the host's, including MySQL: up, up again, destroyed without a trace.

The tests of a release run in order, each on the last one's result.
"""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox import paths
from sandbox.machine import tree
from sandbox.stack import Stack
from sandbox.testing.stacks import host_state, up
from tests.engine.leaks import Search, generated_password

pytestmark = pytest.mark.long

RELEASES = {
    "debian-13": (tree.DEBIAN_13, r"1\d\.\d+.*MariaDB.*, performance_schema is off"),
    "debian-unstable": (tree.DEBIAN_UNSTABLE, r"9\.\d+\.\d+"),
    "ubuntu-22": (tree.UBUNTU_22, r"8\.0\.\d+"),
    "ubuntu-24": (tree.UBUNTU_24, r"8\.0\.\d+"),
}
"""The trees, and the database server there, as in the outputs."""

before: dict[str, set[str]] = {}


@pytest.fixture(scope="module", params=RELEASES)
def stack(request: pytest.FixtureRequest) -> Iterator[Stack]:
    """A stack with a machine of that release."""
    folder: Path = paths.local() / "tests" / f"releases-{request.param}"
    release, _ = RELEASES[request.param]
    try:
        with Stack(folder=folder, tree=tree.ensure(release)).afresh() as stack:
            stack.configure(loadRequests=50, loadConcurrency=5)
            before[stack.folder.name] = host_state(stack.machines["vm"])
            yield stack
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def test_up_proves_everything(stack: Stack) -> None:
    done = up(stack)
    assert done.code == 0, done.text
    assert Search({"password": generated_password(stack)}).names(done.text) == set()
    proofs = stack.outputs()["hosts"]["vm"]["proofs"]
    _, server = RELEASES[stack.folder.name.removeprefix("releases-")]
    assert re.match(server, proofs["database"])
    assert proofs["user_time"]["value"] >= 0
    assert proofs["traces"]["traces"] > 0


def test_a_second_up_changes_nothing(stack: Stack) -> None:
    again = up(stack, "--refresh", "--expect-no-changes")
    assert again.code == 0, again.text


def test_the_agent_s_check_logs_in_to_a_server_that_has_forgotten_it(stack: Stack) -> None:
    # MySQL's cache of logins is empty now, so the first one authenticates the other way.
    machine = stack.machines["vm"]
    machine.run("systemctl restart mysql 2>/dev/null || systemctl restart mariadb")
    printed = machine.run("sudo -u dd-agent -- datadog-agent check mysql --json").stdout
    assert '"LastError": ""' in printed
    assert '"mysql.performance.threads_running"' in printed


def test_another_password_is_one_up(stack: Stack) -> None:
    done = up(stack, "--replace", "**vm-mysql-password")
    assert done.code == 0, done.text
    assert done.names("replace") == {"vm-mysql-password"}


def test_destroy_leaves_the_host_as_it_was(stack: Stack) -> None:
    stack.pulumi("destroy", "--yes", "--skip-preview", "--stack", stack.name)
    assert sorted(before[stack.folder.name] ^ host_state(stack.machines["vm"])) == []

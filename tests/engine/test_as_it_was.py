"""A host is fully restored by a destroy after a first ``up`` that failed or was killed.

The stack's state lacks some or all of such a run's steps. After a whole life, :mod:`tests.engine.test_life` checks.
"""

import os
import signal

import pytest

from sandbox.stack import Stack
from sandbox.testing.stacks import host_state, recover, steered, up

pytestmark = pytest.mark.long

before: set[str] = set()


@pytest.fixture(scope="module", autouse=True)
def _bare(stack: Stack) -> None:
    stack.configure(loadRequests=0)
    before.update(host_state(stack.machines["vm"]))


def destroyed(stack: Stack) -> None:
    """Destroy the stack; assert that its machine is as before, and that apt can read its sources."""
    recover(stack, "--yes")
    stack.pulumi("destroy", "--yes", "--skip-preview", "--stack", stack.name)
    machine = stack.machines["vm"]
    assert sorted(before ^ host_state(machine)) == []


def test_after_a_first_up_that_failed(stack: Stack) -> None:
    stack.configure(agentVersion="7.99.9")
    done = up(stack, "--continue-on-error")
    stack.configure(agentVersion=None)
    assert done.code != 0
    assert "there is no Agent 7.99.9 in Datadog's repository: set watchpost:agentVersion to one that is" in done.text
    destroyed(stack)


@pytest.mark.parametrize(
    "moment",
    ["Unpacking mariadb-server", "Setting up mariadb-server", "Unpacking datadog-agent", "vm-app-proof creating"],
)
def test_after_an_up_that_was_killed(stack: Stack, moment: str) -> None:
    done = steered(stack, (moment, lambda group: os.killpg(group, signal.SIGKILL)))
    assert done.code != 0
    stack.start()  # releases the killed run's lock
    destroyed(stack)

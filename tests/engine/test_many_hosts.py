"""Sixteen hosts in one stack on the real engine, one of which is dead: it fails alone, in an update and in a destroy.

The hosts are simulated, the dead one by a separate server; its tests run in order. Another stack of two hosts starts
them although Datadog refuses the downtimes that they wait for.
"""

import contextlib
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from sandbox import paths
from sandbox.stack import Stack
from sandbox.testing.account import NONE, ONE_OF_EACH, content
from sandbox.testing.processes import free_port
from sandbox.testing.simulated import Simulated, simulated_hosts
from sandbox.testing.stacks import up

pytestmark = pytest.mark.long

NAMES = [f"vm{number:02}" for number in range(16)]
MORTAL = "vm08"


@dataclass
class Many:
    """The stack and its hosts; closing ``life`` kills the mortal one."""

    stack: Stack
    others: Simulated
    mortal: Simulated
    life: contextlib.ExitStack

    def configure(self, **changes: Any) -> None:
        """Write the hosts to the stack file, with ``changes`` to the mortal one."""
        project = self.stack.project
        hosts = self.others.entries(NAMES, project) | self.mortal.entries([MORTAL], project)
        self.stack.configure(hosts={**hosts, MORTAL: {**hosts[MORTAL], **changes}}, loadRequests=0)


@pytest.fixture(scope="module")
def many() -> Iterator[Many]:
    """The stack, not yet brought up."""
    stack = Stack(folder=paths.local() / "tests" / "test_many_hosts", hosts=())
    with simulated_hosts() as others, contextlib.ExitStack() as life, stack.afresh():
        yield Many(stack, others, life.enter_context(simulated_hosts()), life)


def test_a_dead_host_fails_alone_and_the_others_are_finished(many: Many) -> None:
    many.configure(port=free_port())
    done = up(many.stack, "--continue-on-error")
    assert done.code != 0
    assert f"{MORTAL}-ready" in done.text
    assert "connection refused" in done.text
    assert "Traceback" not in done.text
    assert set(many.others.steps) == set(NAMES) - {MORTAL}
    assert len(set(many.others.steps.values())) == 1
    assert not many.mortal.steps
    assert content(many.stack.account) == ONE_OF_EACH


def test_when_it_is_back_it_is_finished_and_nothing_else_is_touched(many: Many) -> None:
    before, written = Counter(many.others.steps), len(many.stack.account.writes())
    many.configure()
    done = up(many.stack)
    assert done.code == 0, done.text
    assert many.mortal.steps == {MORTAL: max(before.values())}
    assert many.others.steps == before
    assert len(many.stack.account.writes()) == written
    assert set(many.stack.outputs()["hosts"]) == set(NAMES)
    assert up(many.stack, "--expect-no-changes").code == 0


def test_a_dead_host_holds_up_the_destruction_of_nothing_else(many: Many) -> None:
    many.life.close()
    words = ["destroy", "--yes", "--skip-preview", "--continue-on-error", "--stack", many.stack.name]
    done = many.stack.pulumi(*words, check=False)
    assert done.returncode != 0
    assert "connection refused" in done.stdout + done.stderr
    left = json.loads(many.stack.pulumi("stack", "export", "--stack", many.stack.name).stdout)["deployment"][
        "resources"
    ]
    steps = {resource["urn"].rpartition("::")[2] for resource in left if resource["type"] == "command:remote:Command"}
    assert steps
    assert {name.partition("-")[0] for name in steps} == {MORTAL}
    assert content(many.stack.account) == NONE
    many.stack.pulumi("stack", "rm", "--yes", "--force", many.stack.name)


def test_a_datadog_that_refuses_the_downtimes_holds_up_no_host() -> None:
    folder = paths.local() / "tests" / "test_many_hosts_refused"
    with simulated_hosts() as hosts, Stack(folder=folder, hosts=()).afresh() as stack:
        stack.configure(hosts=hosts.entries(NAMES[:2], stack.project), loadRequests=0)
        stack.account.fault("POST", "/api/v2/downtime", 403, times=10)
        refused = up(stack)
        assert refused.code != 0
        assert "403 Forbidden" in refused.text
        assert not hosts.steps
        going_on = up(stack, "--continue-on-error")
        assert going_on.code != 0
        assert "Traceback" not in refused.text + going_on.text
        assert set(hosts.steps) == set(NAMES[:2])
        assert content(stack.account) == {**ONE_OF_EACH, "downtimes": 0}
        steps = Counter(hosts.steps)
        stack.account.clear_faults()
        done = up(stack)
        assert done.code == 0, done.text
        assert hosts.steps == steps
        assert done.changed["create"]
        assert all(name.startswith("closed-office") for name in done.names("create"))
        assert content(stack.account) == ONE_OF_EACH

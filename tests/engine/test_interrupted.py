"""An interrupted `make up` ends in order, leaves nothing running, and can be resumed; `make down` lists all.

Creates only the Datadog side of the stack, which takes seconds; the machine boots all the same.
"""

import os
import signal
import sys
from collections.abc import Callable, Iterator

import pytest
import yaml

from sandbox import paths
from sandbox.machine import cgroup
from sandbox.stack import Stack
from sandbox.testing.account import ONE_OF_EACH, content
from sandbox.testing.processes import wait_until
from tests.contract.terminals import Terminal, opened, processes


@pytest.fixture
def stack() -> Iterator[Stack]:
    """A stack not yet started; its Datadog answers late once the dashboards exist."""
    stack = Stack(folder=paths.local() / "tests" / "test_interrupted")
    stack.stop()
    for folder in (stack.project, stack.account.folder):
        folder.mkdir(parents=True)
    settings = yaml.safe_load((paths.ROOT / "Pulumi.dev.yaml").read_text())
    settings["config"]["watchpost:part"] = "datadog"
    settings["config"].pop("customerExperience", None)
    stack.stack_file.write_text(yaml.safe_dump(settings))
    stack.account.fault("POST", "/api/v1/dashboard", "late", times=2, seconds=600)
    yield stack
    stack.stop()


def command(stack: Stack, name: str) -> Terminal:
    """Run a command of the Makefile in a terminal."""
    words = ["setpriv", "--pdeathsig", "TERM", sys.executable, "-m", "sandbox", name]
    return opened(["sh", "-c", f"{' '.join(words)}; exit"], paths.ROOT, {"WATCHPOST_SANDBOX": str(stack.folder)})


def cancelled_job(terminal: Terminal) -> None:
    os.kill(terminal.process, signal.SIGKILL)


@pytest.mark.parametrize("way", [pytest.param(Terminal.close, marks=pytest.mark.long), cancelled_job])
def test_an_interrupted_up_leaves_nothing_running_and_the_next_goes_on(
    stack: Stack, way: Callable[[Terminal], None]
) -> None:
    interrupted = command(stack, "up")
    wait_until(lambda: content(stack.account)["dashboards"] == 2, "the dashboards are made", 120)
    assert stack.machines["vm"].running()
    way(interrupted)
    assert interrupted.wait() != 0
    group = cgroup.path(stack.machines["vm"].id)

    def left() -> list[object]:
        inside = cgroup.processes(group)
        return [*processes(stack.folder).items(), *([group, inside] if group.exists() else [])]

    wait_until(lambda: not left(), "all is ended and removed", 150, instead=left)
    assert not list((stack.folder / "state" / ".pulumi" / "locks").rglob("*.json")), "the engine did not end in order"

    again = command(stack, "up")
    assert again.wait() == 0, again.said
    assert b"pending operations" not in again.said
    assert content(stack.account) == ONE_OF_EACH
    assert stack.machines["vm"].running()

    down = command(stack, "down")
    assert down.wait() == 0, down.said
    said = down.said.decode()
    assert f"ended: the machine in {stack.folder / 'machines' / 'vm'}" in said
    assert f"ended: the stand-in Datadog in {stack.folder / 'datadog'}" in said
    assert not processes(stack.folder)
    assert not cgroup.path(stack.machines["vm"].id).exists()

"""Everything started by tests, the benchmark or a command ends with it, and `make down` ends all else."""

import contextlib
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from sandbox import paths, signals
from sandbox.machine import cgroup
from sandbox.testing.processes import wait_until

from .terminals import Terminal, ended, opened, processes

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or os.geteuid() != 0 or "cgroup2" not in Path("/proc/mounts").read_text(),
    reason="runs are control groups, which need Linux and root",
)

BEGINS = """
import subprocess, sys, time
from pathlib import Path

from sandbox import paths, runs, signals
from sandbox.pulumi import plugins
from sandbox.datadog import Account

def begin():
    folder = paths.local()
    home = folder / "pulumi-home"
    home.mkdir()
    Account.start(folder / "datadog")
    plugins.start_pool(home)
    subprocess.run(["setsid", "--fork", "sh", "-c", "trap '' INT TERM HUP; sleep 500; sleep 500"], check=True)
    (folder / "begun").touch()

"""
"""Starts programs that outlive their parent: an account, a pool of plugins, and one that ignores signals."""

A_TEST = "def test_that_goes_on():\n    begin()\n    time.sleep(500)\n"
A_COMMAND = """
runs.begin().keep_temporary_files()
try:
    begin()
    subprocess.run(["sleep", "500"])
except KeyboardInterrupt as error:
    sys.exit(f"interrupted by {error}")
"""
A_COMMAND_THAT_KEEPS = """
run = runs.begin()
begin()
run.end(keep=True)
"""


@dataclass
class Begun:
    """A sandbox folder, named in the environment or command line of the programs started there."""

    folder: Path
    clone: Path = paths.ROOT
    terminals: list[Terminal] = field(default_factory=list)

    @property
    def sandbox(self) -> Path:
        """The folder in ``WATCHPOST_SANDBOX``."""
        return self.folder / "sandbox"

    def start(self, *command: str | Path, ready: bool = True, everything: bool = False) -> Terminal:
        """Start a program in a terminal; ``ready`` waits until it has started all of its programs.

        With ``everything``, ``WATCHPOST_SANDBOX`` is unset.
        """
        sandbox = {} if everything else {"WATCHPOST_SANDBOX": str(self.sandbox)}
        terminal = opened(command, self.clone, {**sandbox, "TMPDIR": str(self.folder), "PYTHONPATH": "."})
        self.terminals.append(terminal)
        if ready:
            wait_until(lambda: (self.sandbox / "begun").exists() or ended(terminal.process), "everything is begun", 120)
            assert (self.sandbox / "begun").exists(), os.read(terminal.side, 4096)
        return terminal

    def left(self) -> list[str]:
        """List processes, mounts, control groups and temporary files that belong to the folder."""
        inner = [group for group in cgroup.groups() if group != cgroup.own() and group.is_relative_to(cgroup.own())]
        return [*processes(self.folder).values(), *map(str, inner), *map(str, self.folder.glob("watchpost-*"))]

    def expect_nothing_left(self) -> None:
        """Wait until nothing is left."""
        wait_until(lambda: not self.left(), f"nothing is left: {self.left()}", 30)


@pytest.fixture
def begun(tmp_path: Path) -> Iterator[Begun]:
    """A folder to start programs in; afterwards all of them are ended, even if the test fails."""
    (tmp_path / "begun").mkdir()
    begun = Begun(tmp_path / "begun")
    yield begun
    for terminal in begun.terminals:
        terminal.close()
    while left := processes(tmp_path):
        for process in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
    for group in cgroup.groups():
        if group.is_relative_to(cgroup.own()):
            cgroup.prune(group)


def by_make(begun: Begun, target: str, program: str, *words: str) -> Terminal:
    """Run a Makefile target in a terminal, with a program of this test instead of the target's."""
    bin_folder = begun.folder / "bin"
    bin_folder.mkdir(parents=True)
    script = bin_folder / "python"
    source = begun.folder / "test_program.py"
    source.write_text(BEGINS + program)
    script.write_text(f"#!/bin/sh\nexec {sys.executable} {' '.join([*words, str(source)])}\n")
    script.chmod(0o755)
    (begun.folder / "ready").touch()
    return begun.start("make", f"BIN={bin_folder}", f"READY={begun.folder / 'ready'}", target)


def descendant(process: int, *words: str) -> int:
    """Return the first process, at or below another, with these words in its command line."""
    waiting = [process]
    while waiting:
        found = waiting.pop(0)
        if all(word.encode() in Path(f"/proc/{found}/cmdline").read_bytes() for word in words):
            return found
        for task in Path(f"/proc/{found}/task").iterdir():
            waiting += map(int, (task / "children").read_text().split())
    raise AssertionError(f"no process has {words}")


def a_test(begun: Begun) -> Terminal:
    return by_make(begun, "unit", A_TEST, "-m", "pytest", "-c", "pyproject.toml", "-p", "tests.conftest", "-n", "1")


def a_command(begun: Begun, program: str = A_COMMAND) -> Terminal:
    return by_make(begun, "bench", program)


def ctrl_c(terminal: Terminal) -> None:
    terminal.press(b"\x03")


def ctrl_c_twice(terminal: Terminal) -> None:
    terminal.press(b"\x03")
    time.sleep(signals.ONE_REQUEST + 0.2)
    terminal.press(b"\x03")


def window_closed(terminal: Terminal) -> None:
    terminal.close()


def make_alone(number: int) -> Callable[[Terminal], None]:
    return lambda terminal: os.kill(terminal.process, number)


def program_alone(number: int) -> Callable[[Terminal], None]:
    return lambda terminal: os.kill(descendant(terminal.process, "python", "test_program.py"), number)


WAYS = {
    "Ctrl-C": ctrl_c,
    "Ctrl-C twice": ctrl_c_twice,
    "the window is closed": window_closed,
    "a cancelled job": make_alone(signal.SIGTERM),
    "make is killed": make_alone(signal.SIGKILL),
    "the program is killed": program_alone(signal.SIGKILL),
    "the program is interrupted": program_alone(signal.SIGINT),
}


@pytest.mark.parametrize(
    "way", ["Ctrl-C", "Ctrl-C twice", "the window is closed", "make is killed", "the program is killed"]
)
def test_nothing_is_left_of_tests(begun: Begun, way: str) -> None:
    left_nothing(begun, a_test(begun), way)


@pytest.mark.parametrize("way", WAYS)
def test_nothing_is_left_of_a_command(begun: Begun, way: str) -> None:
    left_nothing(begun, a_command(begun), way)


def left_nothing(begun: Begun, terminal: Terminal, way: str) -> None:
    """End it: assert failure, a few lines of output, and nothing left."""
    assert len(begun.left()) > 4
    WAYS[way](terminal)
    assert terminal.wait() != 0
    said = terminal.said.decode()
    assert "Traceback" not in said
    assert "SIGINT" in said or way != "Ctrl-C", said
    begun.expect_nothing_left()


def test_what_a_worker_began_ends_with_it_while_the_tests_go_on(begun: Begun) -> None:
    terminal = a_test(begun)
    worker = descendant(terminal.process, "python", "import sys;exec(eval(sys.stdin.readline()))")
    os.kill(worker, signal.SIGKILL)
    wait_until(lambda: not any("sandbox.datadog" in line for line in begun.left()), "the account ends")
    ctrl_c(terminal)
    assert terminal.wait() != 0
    begun.expect_nothing_left()


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """A second clone, since `make down` ends everything that its clone ever started."""
    clone = tmp_path / "clone"
    for part in (".ci", "components", "sandbox", "settings", "tests"):
        shutil.copytree(paths.ROOT / part, clone / part, ignore=shutil.ignore_patterns("__pycache__"))
    for file in (*paths.ROOT.glob("Pulumi*.yaml"), *paths.ROOT.glob("requirements*.txt")):
        shutil.copy(file, clone)
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(paths.ROOT / name, clone)
    return clone


def down(begun: Begun, *, everything: bool = False) -> str:
    """Return the output of ``python -m sandbox down``; with ``everything`` for all sandboxes."""
    terminal = begun.start(sys.executable, "-m", "sandbox", "down", ready=False, everything=everything)
    assert terminal.wait() == 0, terminal.said
    return terminal.said.decode()


def test_make_down_ends_all_that_its_clone_began_and_tells_it(begun: Begun, copied: Path, tmp_path: Path) -> None:
    one, other, running = (Begun(tmp_path / name, copied) for name in ("one", "other", "running"))
    for each in (begun, one, other):
        assert a_command(each, A_COMMAND_THAT_KEEPS).wait() == 0
    a_test(running)
    of_another_clone, of_another_sandbox = processes(begun.folder), processes(other.folder)
    assert "sandbox.datadog" in str(of_another_sandbox)
    said = down(one)
    assert_told(said, one)
    assert str(other.folder) not in said
    assert processes(other.folder) == of_another_sandbox
    said = down(one, everything=True)
    assert_told(said, other)
    assert_told(said, running)
    assert "-m pytest" in said
    assert processes(begun.folder) == of_another_clone
    assert not [group for group in cgroup.own().iterdir() if group.name.startswith(f"{cgroup.PREFIX}clone")]
    assert down(one, everything=True).endswith("▸ nothing was left running\r\n")


def assert_told(said: str, begun: Begun) -> None:
    """Assert that everything started has ended, and that ``make down`` said so."""
    assert f"ended: the stand-in Datadog in {begun.sandbox / 'datadog'}" in said
    assert f"ended: the pool of stand-in plugins for {begun.sandbox / 'pulumi-home'}" in said
    assert said.endswith("▸ nothing is left running\r\n")
    wait_until(lambda: not processes(begun.folder), "all is ended")

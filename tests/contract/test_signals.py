"""Programs run in parallel end together: when one fails, and when their process is asked to end."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from sandbox import paths, signals
from sandbox.progress import SandboxError
from sandbox.testing.processes import wait_until

PROGRAM = 'trap \'echo interrupted >>"$0"; kill $!; exit 3\' INT; echo started >>"$0"; sleep 60 >/dev/null & wait'
"""Records in a file that it has started, and that it was interrupted."""


def program(file: Path) -> Callable[[], object]:
    return lambda: signals.call(["bash", "-c", PROGRAM, str(file)])


def started(*files: Path) -> None:
    wait_until(lambda: all(file.exists() and "started" in file.read_text() for file in files), "all have started")


def test_all_of_them_run_at_the_same_time_also_those_that_others_begin() -> None:
    meeting = threading.Barrier(3, timeout=30)
    signals.together(meeting.wait, lambda: signals.together(meeting.wait, meeting.wait))


def test_when_one_fails_the_others_are_interrupted_and_its_reason_is_told(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"

    def fail() -> None:
        started(one, two)
        raise SandboxError("no network")

    with pytest.raises(SandboxError, match="no network"):
        signals.together(program(one), lambda: signals.together(program(two), fail))
    assert one.read_text() == two.read_text() == "started\ninterrupted\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_all_are_interrupted_when_their_process_is_asked_to_end(tmp_path: Path, number: signal.Signals) -> None:
    files = [tmp_path / "one", tmp_path / "two"]
    code = (
        "import sys; from sandbox import signals\n"
        "def program(file): return lambda: signals.call(['bash', '-c', sys.argv[1], file])\n"
        "try: signals.together(*map(program, sys.argv[2:]))\n"
        "except KeyboardInterrupt as error: print(error)\n"
    )
    command = [sys.executable, "-c", code, PROGRAM, *map(str, files)]
    with subprocess.Popen(command, cwd=paths.ROOT, stdout=subprocess.PIPE, text=True) as process:
        started(*files)
        os.kill(process.pid, number)
        assert process.communicate(timeout=30)[0] == f"{number.name}\n"
    assert [file.read_text() for file in files] == ["started\ninterrupted\n"] * 2


def test_a_program_that_would_begin_after_the_failure_does_not(tmp_path: Path) -> None:
    failed = threading.Event()

    def fail() -> None:
        failed.set()
        raise SandboxError("no network")

    def late() -> None:
        failed.wait(30)
        signals.call(["sleep", "0.5"])  # long enough for the failure to be known
        program(tmp_path / "late")()

    with pytest.raises(SandboxError, match="no network"):
        signals.together(late, fail)
    assert not (tmp_path / "late").exists()


def test_a_program_that_heeds_no_request_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signals, "PATIENCE", 0.05)
    deaf, heard = tmp_path / "deaf", tmp_path / "heard"
    stubborn = 'trap "echo asked >>$0" INT; echo started >"$0"; while :; do sleep 0.01; done'

    def fail() -> None:
        started(deaf, heard)
        raise SandboxError("no network")

    with pytest.raises(SandboxError, match="no network"):
        signals.together(lambda: signals.call(["bash", "-c", stubborn, str(deaf)]), program(heard), fail)
    assert deaf.read_text().startswith("started\nasked")

"""The step that makes the app's environment: one at a time, whatever became of the connection of the one before."""

import fcntl
import os
import subprocess
from pathlib import Path

import pytest

from tests.contract.scripts import command, stand_in

WORDS = "waiting for an install that is still at work"


@pytest.mark.parametrize(("verb", "code"), [("apply", 1), ("remove", 0)])
def test_an_install_that_is_still_at_work_is_waited_for(tmp_path: Path, verb: str, code: int) -> None:
    app, programs = tmp_path / "app", tmp_path / "programs"
    app.mkdir()
    (app / "requirements.txt").write_text("flask==3\n")
    stand_in(programs, "python3", "echo the install began; exit 1")
    lock = os.open(app, os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    with subprocess.Popen(
        command("traced_app/environment.sh", verb, {"directory": str(app)}),
        env={**os.environ, "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as step:
        assert step.stdout is not None
        assert step.stdout.readline().strip() == WORDS
        assert step.poll() is None
        os.close(lock)
        rest = step.stdout.read()
    assert step.returncode == code, rest
    assert ("the install began" in rest) == (verb == "apply")

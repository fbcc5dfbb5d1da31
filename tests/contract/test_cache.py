"""Cache entries are built once and complete, despite concurrent requests and interrupted builds."""

import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from sandbox import cache, paths
from sandbox.testing.processes import wait_until

MAKES = """
import sys, time
from pathlib import Path
from sandbox import cache

def make(folder):
    (folder / "one").touch()
    time.sleep(float(sys.argv[2]))
    (folder / "two").touch()
    print("made")

print(cache.once(Path(sys.argv[1]), make, mode=0o700))
"""


def asked(path: Path, seconds: float = 0.0) -> "subprocess.Popen[str]":
    """Start a process that requests ``path``; building it takes ``seconds``."""
    command = [sys.executable, "-c", MAKES, str(path), str(seconds)]
    return subprocess.Popen(command, cwd=paths.ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_of_two_processes_one_makes_it_and_the_other_waits_and_says_so(tmp_path: Path) -> None:
    path = tmp_path / "thing"
    first = asked(path, 2)
    wait_until(lambda: (tmp_path / "thing.part" / "one").exists(), "the first one is at it")
    second = asked(path)
    with ThreadPoolExecutor() as pool:
        (said, _), (said_second, waited) = pool.map(lambda process: process.communicate(timeout=60), [first, second])
    assert said.split() == ["made", str(path)]
    assert said_second.split() == [str(path)]
    assert "another process is making thing: waiting for it" in waited
    assert sorted(file.name for file in path.iterdir()) == ["one", "two"]
    assert path.stat().st_mode & 0o777 == 0o700


def test_what_a_killed_process_left_half_made_is_made_anew(tmp_path: Path) -> None:
    path = tmp_path / "thing"
    killed = asked(path, 60)
    wait_until(lambda: (tmp_path / "thing.part" / "one").exists(), "it is at it")
    (tmp_path / "thing.part" / "one").rename(tmp_path / "thing.part" / "other")
    os.kill(killed.pid, signal.SIGKILL)
    killed.communicate()
    assert not path.exists()
    assert asked(path).communicate(timeout=60)[0].split() == ["made", str(path)]
    assert sorted(file.name for file in path.iterdir()) == ["one", "two"]


def test_what_fails_leaves_nothing(tmp_path: Path) -> None:
    def fail(folder: Path) -> None:
        (folder / "one").touch()
        raise ValueError

    with pytest.raises(ValueError):  # noqa: PT011 - raised above
        cache.once(tmp_path / "thing", fail)
    assert [path.name for path in tmp_path.iterdir()] == ["thing.lock"]

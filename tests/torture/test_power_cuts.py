"""A host's power is cut at a random point of apply, of a change, or of remove: it recovers, and nothing is lost.

Real scripts with real apt and dpkg on a real file system: :mod:`tests.torture.cuts`. Afterwards, as by Pulumi, steps
run again, or the completed ones are removed, and the last of these undoes what an interrupted run has left.
``WATCHPOST_CUTS`` is how often (``WATCHPOST_KILLS`` where that isn't set), ``WATCHPOST_SEED`` repeats a run.
"""

import os
import random
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from sandbox.machine import host, tree

from .cuts import SCRIPT, Disk, Disks, Step, begin, command, cut, run, settle, state, steps

CUTS = int(os.environ.get("WATCHPOST_CUTS") or os.environ.get("WATCHPOST_KILLS") or 1)
SEED = int(os.environ.get("WATCHPOST_SEED") or 2816)


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """A folder in memory, if there is room."""
    memory = Path("/dev/shm")  # noqa: S108 - a folder of this test's own in it
    path = Path(tempfile.mkdtemp(prefix="watchpost-cuts-", dir=memory if memory.is_dir() else None))
    yield path
    shutil.rmtree(path)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """The install script's URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(SCRIPT.encode())

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/agent.sh"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def disks(folder: Path, url: str) -> Disks:
    """The disks that runs begin with."""
    host.require()
    if shutil.which("losetup") is None or not Path("/dev/loop-control").exists():
        pytest.skip("needs a loop device")
    return Disks(folder, tree.ensure(), url)


def through(disk: Disk, todo: list[Step], verb: str, seconds: float, whole: int | None) -> tuple[bool, list[Step]]:
    """Run steps until the power is cut; return whether it was, and the completed steps.

    It is cut after some ``seconds``, or once ``whole`` steps are complete.
    """
    ends = time.monotonic() + seconds
    ended: list[Step] = []
    for step in todo:
        if len(ended) == whole:
            break
        left = 300.0 if whole else max(0.0, ends - time.monotonic())
        with begin(disk.root, *command(step, verb)) as process:
            try:
                said, _ = process.communicate(timeout=left)
            except subprocess.TimeoutExpired:
                cut(disk, process)
                return True, ended
        assert process.returncode == 0, said
        ended.append(step)
    settle(disk)
    return whole is not None, ended


def test_nothing_is_lost_when_the_power_is_cut(
    disks: Disks, folder: Path, url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    dice = random.Random(SEED)  # noqa: S311 - a game
    seconds = {"apply": 6.0, "change": 3.0, "remove": 6.0}
    tried = lost = left = 0
    with capsys.disabled():
        print(f"\nWATCHPOST_SEED={SEED} WATCHPOST_CUTS={CUTS}")
        while tried < CUTS:
            name, operation = dice.choice(["bare", "had"]), dice.choice(list(seconds))
            again, moment = dice.choice(["apply", "remove"]), dice.uniform(0.0, seconds[operation])
            before = disks.before(name)
            start = disks.get(name, up=operation != "apply").copied(folder / "running.img")
            began = time.monotonic()
            verb = "remove" if operation == "remove" else "apply"
            todo = steps(url, 2) if operation == "change" else steps(url)
            whole = dice.choice([None, dice.randrange(1, len(todo))])
            with start.mounted():
                was_cut, ended = through(start, todo[::-1] if verb == "remove" else todo, verb, moment, whole)
                after = start.copied(folder / "after.img")
            if not was_cut:
                seconds[operation] = time.monotonic() - began
                continue
            tried += 1
            known = {
                "apply": ended,
                "change": todo,
                "remove": [step for step in todo if step not in ended],
            }[operation]
            said = ""
            with after.mounted() as root:
                again = "remove" if operation == "remove" else again
                if again == "apply":
                    for step in todo:
                        code, words = run(root, step, "apply")
                        assert code == 0, f"seed {SEED}, cut {tried}: {words}"
                    for step in todo[1:]:
                        code, words = run(root, step, "check")
                        assert code == 0, f"seed {SEED}, cut {tried}: {words}"
                    known = todo
                # What Pulumi doesn't know of has left notes, which the first step undoes, of which Pulumi does know.
                for step in [*[step for step in known[::-1] if step != todo[0]], todo[0]]:
                    code, words = run(root, step, "remove")
                    said += words
                    assert code == 0, f"seed {SEED}, cut {tried}: {words}"
                found = state(root)
            gone = {what for what in before if found.get(what) != before[what]}
            more = {what for what in found if what not in before}
            lost += len(gone)
            left += len(more)
            print(
                f"{tried:>3} {name:<4} {operation:<6} cut "
                + (f"after {whole} steps" if whole else f"at {moment:3.1f} s of {seconds[operation]:3.1f}")
                + f", then"
                f" {again:<6} {time.monotonic() - began:3.0f} s; lost {sorted(gone)[:4]}, left {sorted(more)[:4]}"
                f" {[line for line in said.splitlines() if line.startswith(('keeping', 'left as', 'what '))]}",
                flush=True,
            )
        print(f"power cuts tried {tried}, things lost {lost}, things of ours left {left}")
    assert lost == 0

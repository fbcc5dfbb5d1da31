"""Control groups: hold processes so that they can be found and ended, whoever started them and whatever they detached.

All that a clone begins is in groups below the clone's own, so that clones side by side never meet.
"""

import contextlib
import hashlib
import os
import signal
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from sandbox import paths
from sandbox.progress import SandboxError

PREFIX = "watchpost-"
"""How the name of every group begins that is made here; a machine makes others below its own."""


@cache
def hierarchy() -> Path:
    """Where cgroup v2 is mounted: ``/sys/fs/cgroup``, or ``unified`` below it beside v1.

    Raises:
        SandboxError: it isn't mounted.
    """
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/mounts").read_text().splitlines():
            _, place, kind, *_ = line.split()
            if kind == "cgroup2":
                return Path(place)
    raise SandboxError("The sandbox's machine needs control groups (v2), and none are mounted on this host")


def own(process: int | str = "self") -> Path:
    """The group of a process, this one unless told otherwise."""
    lines = Path(f"/proc/{process}/cgroup").read_text().splitlines()
    return hierarchy() / next(line[4:] for line in lines if line.startswith("0::/"))


def of_clone() -> Path:
    """The group of this clone; within a group of another clone, if that has begun this process: it ends with it."""
    name = f"{PREFIX}clone-{hashlib.sha256(str(paths.ROOT).encode()).hexdigest()[:12]}"
    around = [group for group in (own(), *own().parents) if group.name.startswith(PREFIX)]
    return next((group for group in around if group.name == name), (around or [hierarchy()])[0] / name)


def here() -> Path:
    """The group in which this process makes others: its own if that is the clone's, else the clone's."""
    group = own()
    return group if group.is_relative_to(of_clone()) else of_clone()


def groups() -> Iterator[Path]:
    """All groups of the clone, each after those above it, without those that a machine makes inside of its own."""
    waiting = [of_clone()] if of_clone().exists() else []
    while waiting:
        group = waiting.pop()
        yield group
        with contextlib.suppress(OSError):  # gone meanwhile
            waiting += [Path(entry) for entry in os.scandir(group) if entry.name.startswith(PREFIX)]


def path(name: str) -> Path:
    """The group ``name``, wherever in the clone's it is; where it would be made if there is none."""
    return next((group for group in groups() if group.name == name), here() / name)


def make(name: str) -> Path:
    """Make the group ``name`` if need be.

    Raises:
        OSError: this user may not.
    """
    group = path(name)
    while True:
        with contextlib.suppress(FileNotFoundError):  # an empty one above it was removed at this moment
            group.mkdir(parents=True, exist_ok=True)
            return group


def processes(group: str | Path) -> list[int]:
    """The processes in a group, given by name or path, and in all groups below."""
    found = []
    for folder, _, _ in os.walk(_resolved(group)):  # which, unlike rglob, passes over groups that vanish meanwhile
        try:
            found += [int(line) for line in Path(folder, "cgroup.procs").read_text().split()]
        except OSError:  # gone meanwhile, or a threaded group whose processes its parent lists
            continue
    return found


def remove(group: str | Path, *, seconds: float = 15.0) -> None:
    """End all processes in a group at once and remove it; nothing to do if there is none.

    Raises:
        SandboxError: a process did not end within ``seconds``.
    """
    deadline = time.monotonic() + seconds
    folder = _resolved(group)
    while folder.exists():
        _kill(folder)
        prune(folder)
        if time.monotonic() > deadline:
            raise SandboxError(f"Processes {processes(folder)} of the sandbox do not end; restart this host")
        time.sleep(0.02)


def _kill(folder: Path) -> None:
    try:
        (folder / "cgroup.kill").write_text("1")  # the whole tree at once; from Linux 5.14
    except OSError:
        for process in processes(folder):
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)


def prune(group: Path) -> None:
    """Remove a group and those below it as far as they hold no process, not even a dying one."""
    for folder, _, _ in os.walk(group, topdown=False):
        with contextlib.suppress(OSError):
            Path(folder).rmdir()


def _resolved(group: str | Path) -> Path:
    return path(group) if isinstance(group, str) else group

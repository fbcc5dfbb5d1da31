"""Control groups: track and end processes, whoever started them and whatever they detached.

Everything a clone starts is in groups below its own, so clones never interfere.
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
"""Name prefix of every group created here; a machine creates others below its own."""


@cache
def hierarchy() -> Path:
    """Return the cgroup v2 mount point: ``/sys/fs/cgroup``, or ``unified`` below it beside v1.

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
    """Return the group of a process, by default this one."""
    lines = Path(f"/proc/{process}/cgroup").read_text().splitlines()
    return hierarchy() / next(line[4:] for line in lines if line.startswith("0::/"))


def of_clone() -> Path:
    """Return this clone's group; nested in another clone's if that started this process, to end with it."""
    name = f"{PREFIX}clone-{hashlib.sha256(str(paths.ROOT).encode()).hexdigest()[:12]}"
    around = [group for group in (own(), *own().parents) if group.name.startswith(PREFIX)]
    return next((group for group in around if group.name == name), (around or [hierarchy()])[0] / name)


def here() -> Path:
    """Return the parent for new groups: this process's own group if within the clone's, else the clone's."""
    group = own()
    return group if group.is_relative_to(of_clone()) else of_clone()


def groups() -> Iterator[Path]:
    """Yield the clone's groups, parents first, without those that a machine creates inside its own."""
    waiting = [of_clone()] if of_clone().exists() else []
    while waiting:
        group = waiting.pop()
        yield group
        with contextlib.suppress(OSError):  # gone meanwhile
            waiting += [Path(entry) for entry in os.scandir(group) if entry.name.startswith(PREFIX)]


def path(name: str) -> Path:
    """Return the clone's group ``name`` at any depth, or the path where it would be created."""
    return next((group for group in groups() if group.name == name), here() / name)


def make(name: str) -> Path:
    """Create the group ``name`` if missing.

    Raises:
        OSError: this user lacks the permission.
    """
    group = path(name)
    while True:
        with contextlib.suppress(FileNotFoundError):  # an empty parent was removed meanwhile
            group.mkdir(parents=True, exist_ok=True)
            return group


def processes(group: str | Path) -> list[int]:
    """Return the processes in a group (name or path) and in all groups below."""
    found = []
    for folder, _, _ in os.walk(_resolved(group)):  # unlike rglob, skips groups that vanish meanwhile
        try:
            found += [int(line) for line in Path(folder, "cgroup.procs").read_text().split()]
        except OSError:  # gone meanwhile, or a threaded group whose processes its parent lists
            continue
    return found


def remove(group: str | Path, *, seconds: float = 60.0) -> None:
    """Kill all processes in a group and remove it; does nothing if there is none.

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
    """Remove a group and its descendants where they are empty, even of dying processes."""
    for folder, _, _ in os.walk(group, topdown=False):
        with contextlib.suppress(OSError):
            Path(folder).rmdir()


def _resolved(group: str | Path) -> Path:
    return path(group) if isinstance(group, str) else group

"""A control group per machine: holds all processes of it, so that they can be found and ended whoever started them."""

import os
import signal
import time
from pathlib import Path

from sandbox.progress import SandboxError


def _hierarchy() -> Path:
    """Where cgroup v2 is mounted: ``/sys/fs/cgroup``, or ``unified`` below it beside v1."""
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, place, kind, *_ = line.split()
        if kind == "cgroup2":
            return Path(place)
    raise SandboxError("The sandbox's machine needs control groups (v2), and none are mounted on this host")


def path(name: str) -> Path:
    """The folder of the control group ``name``."""
    return _hierarchy() / name


def make(name: str) -> Path:
    """Make the control group ``name`` if need be."""
    group = path(name)
    group.mkdir(exist_ok=True)
    return group


def processes(name: str) -> list[int]:
    """The processes in it and in all groups below."""
    found = []
    for folder, _, _ in os.walk(path(name)):  # which, unlike rglob, passes over groups that vanish meanwhile
        try:
            found += [int(line) for line in Path(folder, "cgroup.procs").read_text().split()]
        except OSError:  # gone meanwhile, or a threaded group whose processes its parent lists
            continue
    return found


def remove(name: str, *, seconds: float = 15.0) -> None:
    """End all processes in it at once and remove it; nothing to do if there is none.

    Raises:
        SandboxError: a process did not end within ``seconds``.
    """
    deadline = time.monotonic() + seconds
    group = path(name)
    while group.exists():
        for process in processes(name):
            try:
                os.kill(process, signal.SIGKILL)
            except ProcessLookupError:
                continue
        for folder, _, _ in os.walk(group, topdown=False):
            try:
                Path(folder).rmdir()
            except OSError:  # still holds a dying process
                break
        if time.monotonic() > deadline:
            raise SandboxError(f"Processes {processes(name)} of the sandbox's machine do not end; restart this host")
        time.sleep(0.02)

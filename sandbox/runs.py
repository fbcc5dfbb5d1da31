"""Runs: whatever a command, a process of tests or the benchmark begins ends with it, however it ends.

A run is a control group with all that its process starts, also what that starts in turn or detaches. Its guard, a
process outside of the group, learns from the kernel that the process is gone (the pipe between them ends), and then
ends what is left in the group. Where there are no control groups, as without root, nothing is left only by a run that
could end in order.

``python -m sandbox.runs GROUP`` is the guard.
"""

import atexit
import contextlib
import hashlib
import os
import secrets
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path

from sandbox import paths, signals
from sandbox.machine import cgroup
from sandbox.progress import SandboxError

KEEP = b"keep"
"""What the guard is told when the machines and servers of its run are to stay."""


@dataclass
class Run:
    """This process as a run."""

    group: Path
    before: Path
    """The control group from which it came."""
    guard: "subprocess.Popen[bytes]"

    def keep_temporary_files(self) -> None:
        """Have this process's temporary files in a folder that is removed with the run."""
        folder = _temporary(self.group)
        folder.mkdir(mode=0o711)  # programs that give up root reach what is theirs in it
        tempfile.tempdir = str(folder)

    def end(self, *, keep: bool = False) -> None:
        """End all that was begun and still runs, or with ``keep`` leave it; returns when that is done."""
        if self.guard.returncode is not None:
            return
        with contextlib.suppress(OSError):
            (self.before / "cgroup.procs").write_text("0")  # this process itself goes on
        self.guard.communicate(KEEP if keep else b"")


def begin() -> Run | None:
    """Make this process a run until it is gone; `None` where there are no control groups.

    From now on a signal that asks it to end is a `KeyboardInterrupt`, and a second one ends it at once.
    """
    if threading.current_thread() is threading.main_thread():
        signals.heed()
    try:
        before, group = cgroup.own(), cgroup.make(f"{_prefix()}{os.getpid()}-{secrets.token_hex(4)}")
    except (SandboxError, OSError):
        return None
    terminal = _terminal()
    guard = subprocess.Popen(
        [sys.executable, "-m", "sandbox.runs", str(group), *map(str, terminal)],
        env={**os.environ, "PYTHONPATH": str(paths.ROOT)},
        cwd="/",
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        pass_fds=terminal,
        start_new_session=True,
    )
    for descriptor in terminal:
        os.close(descriptor)
    (group / "cgroup.procs").write_text("0")
    run = Run(group, before, guard)
    atexit.register(run.end)
    return run


def _terminal() -> list[int]:
    """The terminal of this process, opened, if it is to end with that."""
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        with contextlib.suppress(OSError):
            return [os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY)]
    return []


def nested() -> bool:
    """Whether this process is a run that another run has begun."""
    with contextlib.suppress(SandboxError, OSError):
        return cgroup.own().parent.parent.is_relative_to(cgroup.of_clone())
    return False


def _prefix() -> str:
    """How the names of the groups of this sandbox's runs begin."""
    return f"{cgroup.PREFIX}run-{hashlib.sha256(str(paths.local().resolve()).encode()).hexdigest()[:8]}-"


def _temporary(group: Path) -> Path:
    return Path(os.environ.get("TMPDIR") or "/tmp", group.name)  # noqa: S108 - a random name, and made by mkdir


def end_all() -> list[str]:
    """End all that this clone has ever begun, but what this process is part of; what it was, a line for each.

    Where ``WATCHPOST_SANDBOX`` names a sandbox, that one's alone.
    """
    ended = []
    for group in _outermost():
        ended += [_name(process) for process in _begun(group)]
        _remove(group)
    with contextlib.suppress(OSError):
        cgroup.of_clone().rmdir()
    return [line for line in ended if line]


def _outermost() -> list[Path]:
    """The groups to end, without those inside of another of them."""
    chosen: list[Path] = []
    with contextlib.suppress(SandboxError, OSError):
        own = cgroup.own()
        for group in cgroup.groups():
            meant = "WATCHPOST_SANDBOX" not in os.environ or group.name.startswith(_prefix())
            if meant and not own.is_relative_to(group):
                chosen.append(group)
    return [group for group in chosen if not any(group.is_relative_to(other) for other in chosen if other != group)]


def _begun(group: Path) -> list[int]:
    """The processes of a group that no other of it has started."""
    processes, found = cgroup.processes(group), []
    for process in processes:
        with contextlib.suppress(OSError):
            parent = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1]
            found += [process] if int(parent) not in processes else []
    return found


def _name(process: int) -> str:
    """What a process is, for people; empty for a guard, and for what has ended."""
    with contextlib.suppress(OSError):
        words = Path(f"/proc/{process}/cmdline").read_bytes().decode(errors="replace").rstrip("\0").split("\0")
        if "sandbox.machine.supervisor" in words:
            return f"the machine in {Path(f'/proc/{process}/cwd').readlink()}"
        if "sandbox.datadog" in words:
            return f"the stand-in Datadog in {words[words.index('--folder') + 1]}"
        if "sandbox.pulumi.plugins.pool" in words:
            return f"the pool of stand-in plugins for {words[-1]}"
        if any(words) and "sandbox.runs" not in words:
            return f"process {process}: {' '.join(words)[:100]}"
    return ""


def _remove(group: Path) -> None:
    """End a group with all that is in it, and remove its runs' temporary files."""
    names = [inner for inner in cgroup.groups() if inner.is_relative_to(group)]
    cgroup.remove(group)
    for name in names:
        shutil.rmtree(_temporary(name), ignore_errors=True)


def main(group: Path, terminal: int | None) -> None:
    """Guard a run: end it when its process is gone.

    When its terminal closes, it is told: the kernel tells the first process of the session alone, and where that is
    ``make``, as with ``ssh -t HOST make test``, it passes nothing on and waits for what it has begun.
    """
    for number in signals.SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    watched = select.poll()
    watched.register(sys.stdin, select.POLLIN)
    if terminal is not None:
        watched.register(terminal, 0)  # which leaves POLLHUP
    run = os.getppid()
    while terminal in [descriptor for descriptor, _ in watched.poll()]:
        assert terminal is not None
        watched.unregister(terminal)
        terminal = None
        if os.getppid() == run:
            os.kill(run, signal.SIGHUP)
    if sys.stdin.buffer.read() == KEEP:
        cgroup.prune(group)
        shutil.rmtree(_temporary(group), ignore_errors=True)
    else:
        _remove(group)
    with contextlib.suppress(OSError):
        cgroup.of_clone().rmdir()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if sys.argv[2:] else None)

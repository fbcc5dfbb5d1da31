"""Runs: everything started by a command, a test process or the benchmark ends with it, even if it is killed.

A run is a control group holding all descendants of its process, detached ones included. Its guard, a process outside
the group, sees the pipe between them close when the process dies, and then ends whatever is left in the group. Without
control groups (for instance without root), only a run that exits in order cleans up.

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
"""Tells the guard to leave the run's machines and servers running."""


@dataclass
class Run:
    """This process's run."""

    group: Path
    before: Path
    """The control group it was in before."""
    guard: "subprocess.Popen[bytes]"

    def keep_temporary_files(self) -> None:
        """Move this process's temporary files to a folder that is removed with the run."""
        folder = _temporary(self.group)
        folder.mkdir(mode=0o711)  # programs that drop root still reach their own files in it
        tempfile.tempdir = str(folder)

    def end(self, *, keep: bool = False) -> None:
        """End everything started that still runs, or leave it with ``keep``; return when done."""
        if self.guard.returncode is not None:
            return
        with contextlib.suppress(OSError):
            (self.before / "cgroup.procs").write_text("0")  # this process itself survives
        self.guard.communicate(KEEP if keep else b"")


def begin() -> Run | None:
    """Make this process a run; return `None` where there are no control groups.

    From now on a termination signal raises `KeyboardInterrupt`; a second one ends the process at once.
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
    """Open this process's terminal, if the process should end when it closes."""
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        with contextlib.suppress(OSError):
            return [os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY)]
    return []


def nested() -> bool:
    """Whether this run was started by another run."""
    with contextlib.suppress(SandboxError, OSError):
        return cgroup.own().parent.parent.is_relative_to(cgroup.of_clone())
    return False


def _prefix() -> str:
    """Return the name prefix of this sandbox's run groups."""
    return f"{cgroup.PREFIX}run-{hashlib.sha256(str(paths.local().resolve()).encode()).hexdigest()[:8]}-"


def _temporary(group: Path) -> Path:
    return Path(os.environ.get("TMPDIR") or "/tmp", group.name)  # noqa: S108 - a random name, created by mkdir


def end_all() -> list[str]:
    """End everything this clone started, except this process's own run; return one line for each.

    With ``WATCHPOST_SANDBOX`` set, only that sandbox's.
    """
    ended = []
    for group in _outermost():
        ended += [_name(process) for process in _begun(group)]
        _remove(group)
    with contextlib.suppress(OSError):
        cgroup.of_clone().rmdir()
    return [line for line in ended if line]


def _outermost() -> list[Path]:
    """Return the outermost groups to end."""
    chosen: list[Path] = []
    with contextlib.suppress(SandboxError, OSError):
        own = cgroup.own()
        for group in cgroup.groups():
            meant = "WATCHPOST_SANDBOX" not in os.environ or group.name.startswith(_prefix())
            if meant and not own.is_relative_to(group):
                chosen.append(group)
    return [group for group in chosen if not any(group.is_relative_to(other) for other in chosen if other != group)]


def _begun(group: Path) -> list[int]:
    """Return the processes of a group whose parent is not in it."""
    processes, found = cgroup.processes(group), []
    for process in processes:
        with contextlib.suppress(OSError):
            parent = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1]
            found += [process] if int(parent) not in processes else []
    return found


def _name(process: int) -> str:
    """Describe a process; empty for a guard or a process that has ended."""
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


def _remove(group: Path, *, seconds: float = 60.0) -> None:
    """End all processes in a group within ``seconds``, and remove it and its runs' temporary files."""
    names = [inner for inner in cgroup.groups() if inner.is_relative_to(group)]
    cgroup.remove(group, seconds=seconds)
    for name in names:
        shutil.rmtree(_temporary(name), ignore_errors=True)


def main(group: Path, terminal: int | None) -> None:
    """Guard a run: end it when its process dies.

    Forwards a terminal hangup to the run: the kernel signals only the session's first process, and where that is
    ``make``, as with ``ssh -t HOST make test``, it passes nothing on and waits for its children.
    """
    for number in signals.SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    watched = select.poll()
    watched.register(sys.stdin, select.POLLIN)
    if terminal is not None:
        watched.register(terminal, 0)  # only POLLHUP
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
        _remove(group, seconds=600)  # nobody waits for it; processes may be stuck for minutes on a slow disk
    with contextlib.suppress(OSError):
        cgroup.of_clone().rmdir()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if sys.argv[2:] else None)

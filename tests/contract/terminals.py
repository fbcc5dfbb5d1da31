"""Runs programs in separate terminals, and finds their remaining processes."""

import contextlib
import os
import pty
import select
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Terminal:
    """A program in its own terminal; ``process`` is the first process, and Ctrl-C reaches all."""

    process: int
    side: int
    said: bytearray = field(default_factory=bytearray)

    def press(self, key: bytes) -> None:
        """Type ``key``."""
        os.write(self.side, key)

    def close(self) -> None:
        """Close the window."""
        if self.side >= 0:
            os.close(self.side)
            self.side = -1

    def wait(self) -> int:
        """Read the output until it ends; return the exit code, negative for a signal."""
        while self.side >= 0 and (not ended(self.process) or select.select([self.side], [], [], 0)[0]):
            if select.select([self.side], [], [], 0.02)[0]:
                try:
                    self.said += os.read(self.side, 4096)
                except OSError:  # the other side is closed
                    break
        return os.waitstatus_to_exitcode(os.waitpid(self.process, 0)[1])


def opened(command: Sequence[str | Path], cwd: Path, environment: Mapping[str, str]) -> Terminal:
    """Start a program in a new terminal; ``environment`` is added to this process's."""
    process, side = pty.fork()
    if process == 0:
        os.chdir(cwd)
        os.environ.pop("WATCHPOST_SANDBOX", None)
        os.environ |= environment
        for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)  # ignored under `nohup make test`, unlike in a terminal's shell
        os.execvp(str(command[0]), [str(word) for word in command])  # noqa: S606
    return Terminal(process, side)


def processes(folder: Path) -> dict[int, str]:
    """Return the command lines of processes with ``folder`` in command line, environment or mounts."""
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            texts = [(process / name).read_bytes() for name in ("cmdline", "environ", "mountinfo")]
            if texts[0] and any(f"{folder}/".encode() in text for text in texts):
                found[int(process.name)] = texts[0].replace(b"\0", b" ").decode()
    return found


def ended(process: int) -> bool:
    """Whether a child has ended, without reaping it."""
    return os.waitid(os.P_PID, process, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

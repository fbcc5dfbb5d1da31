"""Starts programs for a test, waits until they answer, and ends them with all their descendants."""

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")


def free_port() -> int:
    """Return a free loopback port."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
    return port


def listens(port: int) -> bool:
    """Whether something accepts connections on a loopback port."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def wait_until(
    condition: Callable[[], T], what: str, seconds: float = 30, *, instead: Callable[[], object] = lambda: ""
) -> T:
    """Wait until ``condition`` returns something true, and return it; ``instead`` tells a failure what there is.

    Raises:
        AssertionError: ``what`` did not happen within ``seconds``.
    """
    deadline, pause = time.monotonic() + seconds, 0.02
    while not (found := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds:.0f} s: {what} {instead()}".rstrip())
        time.sleep(pause)
        pause = min(1.2 * pause, 0.2)
    return found


@contextlib.contextmanager
def running(
    command: Sequence[str | Path], log: Path, *, port: int, env: Mapping[str, str], cwd: Path | None = None
) -> Iterator["subprocess.Popen[bytes]"]:
    """Run ``command``, entered once it listens at ``port``; end it with all its descendants.

    Its temporary files are kept beside ``log``.
    """
    with log.open("wb") as output:
        process = subprocess.Popen(
            [str(word) for word in command],
            env={"PATH": os.environ["PATH"], "TMPDIR": str(log.parent), **env},
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        wait_until(lambda: listens(port) or process.poll() is not None, f"{command} listens")
        assert process.poll() is None, log.read_text()
        yield process
    finally:
        for number, patience in ((signal.SIGTERM, 10.0), (signal.SIGKILL, 10.0)):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(patience)
                break
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)

"""Reports progress, with or without a terminal: one line when a long step starts, ticks, and ends."""

import contextlib
import os
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from sandbox import paths, signals

HEARTBEAT = 15.0
"""Seconds between the heartbeat lines of a long step."""


class SandboxError(Exception):
    """A sandbox failure, in one sentence that names the cause and the way out."""


def say(text: str) -> None:
    """Print a progress line to standard error, flushed."""
    with contextlib.suppress(OSError):  # the terminal was closed
        print(f"▸ {text}\n", end="", file=sys.stderr, flush=True)


@contextlib.contextmanager
def step(title: str, *, log: Path | None = None) -> Iterator[None]:
    """Report the start, heartbeats (with the last line of ``log``), end and duration of a step."""
    say(f"{title} …")
    started, ended = time.monotonic(), threading.Event()

    def beat() -> None:
        while not ended.wait(HEARTBEAT):
            lines = log.read_text(errors="replace").splitlines() if log and log.exists() else []
            say(f"  {title}: {time.monotonic() - started:.0f} s {lines[-1][:100] if lines else ''}".rstrip())

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    except BaseException as error:
        how = "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
        say(f"{title}: {how} after {time.monotonic() - started:.1f} s")
        raise
    else:
        say(f"{title}: done in {time.monotonic() - started:.1f} s")
    finally:
        ended.set()
        thread.join()


def run(
    title: str, command: Sequence[str | Path], *, env: Mapping[str, str] | None = None, cwd: Path | None = None
) -> None:
    """Run ``command`` as the step ``title``, logging its output to ``.sandbox/log/``.

    Raises:
        SandboxError: the command failed; the message has the log's path and its last lines.
        KeyboardInterrupt: this process was asked to end, and ended the command.
    """
    log = paths.local() / "log" / f"{title.split(' (')[0].replace(' ', '-').replace('/', '-')}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with step(title, log=log), log.open("w") as output:
        try:
            code = signals.call(
                [str(word) for word in command],
                stdout=output.fileno(),
                stderr=output.fileno(),
                env={**(os.environ if env is None else env), "TMPDIR": tempfile.gettempdir()},
                cwd=cwd,
            ).returncode
        except FileNotFoundError as error:
            raise SandboxError(f"{title}: {error.filename} is not installed") from error
        if code:
            tail = "\n    ".join(log.read_text(errors="replace").splitlines()[-15:])
            raise SandboxError(
                f"{title} failed with exit code {code}; all of it is in {log}; it ended with:\n    {tail}"
            )

"""What asks a process to end (Ctrl-C, a cancelled job, a terminal that closes), and programs that then end in order."""

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

ONE_REQUEST = 1.0
"""Seconds within which further signals are the same request: a closing terminal and its shell both send one."""

PATIENCE = 30.0
"""Seconds after which a program that was asked to end is asked again."""

_asked: list[float] = []
"""When this process was asked to end."""


def heed() -> None:
    """Raise `KeyboardInterrupt` with the signal's name when asked to end; the second time, end at once."""

    def end(number: int, _: FrameType | None) -> None:
        if _new_request():
            if len(_asked) > 1:
                os._exit(128 + number)
            raise KeyboardInterrupt(signal.Signals(number).name)

    _handle(end)


def call(
    command: Sequence[str | Path],
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    stdout: int | None = None,
    stderr: int | None = None,
) -> "subprocess.CompletedProcess[str]":
    """Run a program to its end; when this process is asked to end, the program is interrupted first, and waited for.

    It is in a session of its own, so that the request reaches it once and as SIGINT, which ``pulumi``, ``go`` and
    ``apt-get`` end in order by. The second time most end at once; the third time the program is killed.

    Raises:
        KeyboardInterrupt: this process was asked to end.
    """
    in_main_thread = threading.current_thread() is threading.main_thread()
    names: list[str] = []
    started: list[subprocess.Popen[str]] = []

    def hand_on() -> None:
        for process in started if names else []:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGINT if len(names) < 3 else signal.SIGKILL)

    def heard(number: int, _: FrameType | None) -> None:
        if _new_request():
            names.append(signal.Signals(number).name)
            hand_on()

    with contextlib.ExitStack() as handling:
        if in_main_thread:
            handling.enter_context(_handling(heard))
        with subprocess.Popen(
            command, env=env, cwd=cwd, stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr, text=True,
            start_new_session=in_main_thread,
        ) as process:  # fmt: skip
            started.append(process)
            hand_on()
            with _asked_again(hand_on):
                said, complained = process.communicate()
    if names:
        raise KeyboardInterrupt(names[0])
    return subprocess.CompletedProcess(command, process.returncode, said, complained)


def _new_request() -> bool:
    """Note that this process is asked to end, unless that is another signal of the same request."""
    now = time.monotonic()
    new = not _asked or now - _asked[-1] > ONE_REQUEST
    _asked.extend([now] if new else [])
    return new


@contextlib.contextmanager
def _asked_again(hand_on: Callable[[], None]) -> Iterator[None]:
    """Every so often hand on again what was not enough: nobody may be there to ask a second time."""
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(PATIENCE):
            hand_on()

    threading.Thread(target=watch, daemon=True).start()
    try:
        yield
    finally:
        ended.set()


@contextlib.contextmanager
def _handling(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in SIGNALS}
    _handle(handler)
    try:
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)


def _handle(handler: Callable[[int, FrameType | None], None]) -> None:
    for number in SIGNALS:
        # SIGINT is ignored in a shell's background jobs, for no reason that counts here; SIGHUP under `nohup`, for one.
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, handler)

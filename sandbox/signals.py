"""Handles requests to end (Ctrl-C, a cancelled job, a closed terminal) and ends child programs in order."""

import concurrent.futures
import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

ONE_REQUEST = 1.0
"""Seconds within which signals count as one request: a closing terminal and its shell both send one."""

PATIENCE = 30.0
"""Seconds before a program that was asked to end is asked again."""

ASKED = 2
"""How often a program is asked to end before it is killed."""

_asked: list[float] = []
"""When this process was asked to end."""


def heed() -> None:
    """On a termination signal raise `KeyboardInterrupt` with its name; on the second, exit at once."""

    def end(number: int, _: FrameType | None) -> None:
        if _new_request():
            if len(_asked) > 1:
                os._exit(128 + number)
            raise KeyboardInterrupt(signal.Signals(number).name)

    _handle(end)


class _Programs:
    """Running programs, to which requests to end are forwarded."""

    def __init__(self) -> None:
        self.running: dict[subprocess.Popen[str], tuple[int, int]] = {}
        """Requests handed on so far and signals sent for them, by program."""
        self.requests: list[str] = []
        self._lock = threading.RLock()

    def heard(self, number: int, _: FrameType | None) -> None:
        """Handle a signal."""
        if _new_request():
            self.end(signal.Signals(number).name)

    def end(self, why: str) -> None:
        """Ask all programs to end."""
        self.requests.append(why)
        self.hand_on()

    def hand_on(self, *, again: bool = False) -> None:
        """Interrupt programs that haven't had the last request, or all with ``again``; the third signal kills."""
        with self._lock:
            for process, (got, sent) in list(self.running.items()):
                if got < len(self.requests) or (again and self.requests):
                    self.running[process] = len(self.requests), sent + 1
                    with contextlib.suppress(ProcessLookupError):
                        os.killpg(process.pid, signal.SIGINT if sent < ASKED else signal.SIGKILL)


_thread = threading.local()
"""In a thread of :func:`together`, ``programs`` holds those of all its threads."""


def call(
    command: Sequence[str | Path],
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    stdout: int | None = None,
    stderr: int | None = None,
) -> "subprocess.CompletedProcess[str]":
    """Run a program to completion; when this process is asked to end, interrupt the program and wait for it.

    It gets its own session, so that the request reaches it once, as SIGINT, on which ``pulumi``, ``go`` and ``apt-get``
    end in order. A request that isn't heeded is repeated; most end at once on the second, and the third kills.

    Raises:
        KeyboardInterrupt: this process was asked to end.
    """
    shared: _Programs | None = getattr(_thread, "programs", None)
    in_main_thread = threading.current_thread() is threading.main_thread()
    programs = shared or _Programs()
    if programs.requests:
        raise KeyboardInterrupt(programs.requests[0])
    with contextlib.ExitStack() as handling:
        if in_main_thread:
            handling.enter_context(_handling(programs.heard))
        with subprocess.Popen(
            command, env=env, cwd=cwd, stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr, text=True,
            start_new_session=in_main_thread or shared is not None,
        ) as process:  # fmt: skip
            programs.running[process] = 0, 0
            programs.hand_on()
            with contextlib.nullcontext() if shared else _repeating_requests(lambda: programs.hand_on(again=True)):
                said, complained = process.communicate()
            del programs.running[process]
    if programs.requests:
        raise KeyboardInterrupt(programs.requests[0])
    return subprocess.CompletedProcess(command, process.returncode, said, complained)


def together(*tasks: Callable[[], object]) -> None:
    """Run ``tasks`` in parallel; when one fails, interrupt the programs that the others :func:`call`.

    Raises:
        KeyboardInterrupt: this process was asked to end.
        Exception: that of the first task to fail; the others have ended.
    """
    outer: _Programs | None = getattr(_thread, "programs", None)
    programs = outer or _Programs()

    def share() -> None:
        _thread.programs = programs

    with contextlib.ExitStack() as handling:
        if threading.current_thread() is threading.main_thread():
            handling.enter_context(_handling(programs.heard))
        if not outer:
            handling.enter_context(_repeating_requests(lambda: programs.hand_on(again=True)))
        pool = handling.enter_context(ThreadPoolExecutor(len(tasks), initializer=share))
        futures = [pool.submit(task) for task in tasks]
        done, _ = concurrent.futures.wait(futures, return_when=concurrent.futures.FIRST_EXCEPTION)
        if any(future.exception() for future in done) and not programs.requests:
            programs.end("another part failed")
    # Raise the cause before the interruptions that it led to.
    for error in sorted(
        filter(None, map(Future.exception, futures)), key=lambda error: isinstance(error, KeyboardInterrupt)
    ):
        raise error
    if programs.requests:
        raise KeyboardInterrupt(programs.requests[0])


def _new_request() -> bool:
    """Record a request to end; return whether it is new, not another signal of the same request."""
    now = time.monotonic()
    new = not _asked or now - _asked[-1] > ONE_REQUEST
    _asked.extend([now] if new else [])
    return new


@contextlib.contextmanager
def _repeating_requests(hand_on: Callable[[], None]) -> Iterator[None]:
    """Repeat unheeded requests periodically: nobody may be there to ask a second time."""
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
        # A shell ignores SIGINT in background jobs, irrelevant here; `nohup` ignores SIGHUP on purpose.
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, handler)

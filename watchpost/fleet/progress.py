"""Shows a fleet at work, with and without a terminal, and what became of it."""

import threading
import time
from collections.abc import Iterable
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from watchpost.fleet.outcome import Outcome

HEARTBEAT = 15.0
"""Seconds between the lines that show, without a terminal, that the fleet is still at work."""


class Display:
    """A line for each stack that is at work on a terminal; elsewhere one when it ends, and a sign of life."""

    def __init__(self, stacks: int) -> None:
        self._console = Console(stderr=True)
        self._live = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            TimeElapsedColumn(),
            console=self._console,
            transient=True,
        )
        self._tasks: dict[str, TaskID] = {}
        self._stacks = stacks
        self._done = 0
        self._steps: dict[str, int] = {}
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._beat = threading.Thread(target=self._beats, daemon=True)

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live.start()
        else:
            self._beat.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        if self._console.is_terminal:
            self._live.stop()
        else:
            self._beat.join()

    def begin(self, stack: str) -> None:
        """``stack`` is at work."""
        with self._lock:
            self._steps[stack] = 0
            self._tasks[stack] = self._live.add_task(stack)

    def step(self, outcome: Outcome) -> None:
        """Something happened in a stack."""
        with self._lock:
            self._steps[outcome.stack] = outcome.steps
            failed = f", failed: {len(outcome.failures)}" if outcome.failures else ""
            self._live.update(self._tasks[outcome.stack], description=f"{outcome.stack}: {outcome.steps} steps{failed}")

    def end(self, outcome: Outcome) -> None:
        """A stack is through."""
        with self._lock:
            self._done += 1
            self._live.remove_task(self._tasks.pop(outcome.stack))
            word = "failed" if outcome.failed else "done"
            self._say(f"{outcome.stack}: {word} in {outcome.seconds:.1f} s ({self._done} of {self._stacks})")

    def _beats(self) -> None:
        started = time.monotonic()
        while not self._ended.wait(HEARTBEAT):
            with self._lock:
                at_work = f"{len(self._tasks)} at work, {sum(self._steps.values())} steps"
                self._say(f"{time.monotonic() - started:.0f} s: {self._done} of {self._stacks} stacks done, {at_work}")

    def _say(self, text: str) -> None:
        self._console.print(f"▸ {text}", highlight=False, soft_wrap=True)


def summary(outcomes: Iterable[Outcome], console: Console) -> None:
    """Print one table of all stacks, then the hosts that failed, each with its reason."""
    table = Table("stack", "hosts", "changes", "failed", "seconds")
    for outcome in outcomes:
        changes = ", ".join(f"{count} {kind}" for kind, count in sorted(outcome.changes.items())) or "none"
        failed = ", ".join(outcome.failed_hosts) or ("yes" if outcome.failed else "")
        table.add_row(outcome.stack, str(len(outcome.hosts)), changes, failed, f"{outcome.seconds:.1f}")
    console.print(table)
    for outcome in outcomes:
        for host, message in sorted(outcome.failures.items()):
            _tell(console, f"host {host} ({outcome.stack})", message)
        if outcome.failed and outcome.error and not outcome.failures:
            _tell(console, f"stack {outcome.stack}", outcome.error)


def _tell(console: Console, what: str, message: str) -> None:
    console.print(f"{what}: {message}", markup=False, highlight=False, soft_wrap=True)

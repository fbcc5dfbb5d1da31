"""Shows a fleet's progress, with or without a terminal, and the summary."""

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
"""Seconds between progress lines without a terminal."""


class Display:
    """A live line per running stack on a terminal; elsewhere, a line per finished stack and a heartbeat."""

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
        self._beat = threading.Thread(target=self._heartbeat, daemon=True)

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
        """Show that ``stack`` has started."""
        with self._lock:
            self._steps[stack] = 0
            self._tasks[stack] = self._live.add_task(stack)

    def step(self, outcome: Outcome) -> None:
        """Show a stack's progress."""
        with self._lock:
            self._steps[outcome.stack] = outcome.steps
            failed = f", failed: {len(outcome.failures)}" if outcome.failures else ""
            self._live.update(self._tasks[outcome.stack], description=f"{outcome.stack}: {outcome.steps} steps{failed}")

    def end(self, outcome: Outcome) -> None:
        """Show that a stack has finished."""
        with self._lock:
            self._done += 1
            self._live.remove_task(self._tasks.pop(outcome.stack))
            word = "failed" if outcome.failed else "done"
            self._print_line(f"{outcome.stack}: {word} in {outcome.seconds:.1f} s ({self._done} of {self._stacks})")

    def _heartbeat(self) -> None:
        started = time.monotonic()
        while not self._ended.wait(HEARTBEAT):
            with self._lock:
                at_work = f"{len(self._tasks)} at work, {sum(self._steps.values())} steps"
                self._print_line(
                    f"{time.monotonic() - started:.0f} s: {self._done} of {self._stacks} stacks done, {at_work}"
                )

    def _print_line(self, text: str) -> None:
        self._console.print(f"▸ {text}", highlight=False, soft_wrap=True)


def summary(outcomes: Iterable[Outcome], console: Console) -> None:
    """Print a table of all stacks, then each failed host with its reason."""
    table = Table("stack", "hosts", "changes", "failed", "seconds")
    for outcome in outcomes:
        changes = ", ".join(f"{count} {kind}" for kind, count in sorted(outcome.changes.items())) or "none"
        failed = ", ".join(outcome.failed_hosts) or ("yes" if outcome.failed else "")
        table.add_row(outcome.stack, str(len(outcome.hosts)), changes, failed, f"{outcome.seconds:.1f}")
    console.print(table)
    for outcome in outcomes:
        for host, message in sorted(outcome.failures.items()):
            _print_failure(console, f"host {host} ({outcome.stack})", message)
        if outcome.failed and outcome.error and not outcome.failures:
            _print_failure(console, f"stack {outcome.stack}", outcome.error)


def _print_failure(console: Console, what: str, message: str) -> None:
    console.print(f"{what}: {message}", markup=False, highlight=False, soft_wrap=True)

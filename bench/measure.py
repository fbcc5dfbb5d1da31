"""Measures run times, alternating between variants, and the peak memory of each process."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from sandbox.progress import say


def in_turns(variants: Mapping[str, Callable[[], float]], runs: int) -> dict[str, list[float]]:
    """Run ``variants`` alternately, ``runs`` times each; each returns the seconds to record."""
    found: dict[str, list[float]] = {name: [] for name in variants}
    for number in range(runs):
        for name, variant in variants.items():
            found[name].append(variant())
            say(f"{name}, run {number + 1} of {runs}: {found[name][-1]:.2f} s")
    return found


def timed(action: Callable[[], object]) -> float:
    """Return the seconds that ``action`` takes."""
    started = time.monotonic()
    action()
    return time.monotonic() - started


@dataclass
class Peaks:
    """Peak resident memory in MB, by role: engine, program and others."""

    megabytes: dict[str, float] = field(default_factory=dict)

    def look(self) -> None:
        """Sample all descendants of this process."""
        parents = {int(folder.name): _parent(folder) for folder in Path("/proc").glob("[0-9]*")}
        ours = {_own()}
        while more := {process for process, parent in parents.items() if parent in ours} - ours:
            ours |= more
        for process in ours - {_own()}:
            with contextlib.suppress(OSError, StopIteration):
                role = _role(Path(f"/proc/{process}/cmdline").read_bytes().decode(errors="replace").split("\0"))
                lines = Path(f"/proc/{process}/status").read_text().splitlines()
                peak = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 1024
                self.megabytes[role] = max(self.megabytes.get(role, 0.0), round(peak, 1))


@contextlib.contextmanager
def peaks(every: float = 0.02) -> Iterator[Peaks]:
    """Sample the processes started inside the block every ``every`` seconds, which itself costs time."""
    watched, ended = Peaks(), threading.Event()

    def watch() -> None:
        while not ended.wait(every):
            watched.look()

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield watched
    finally:
        ended.set()
        thread.join()


def _own() -> int:
    return int(Path("/proc/self").readlink().name)


def _parent(folder: Path) -> int:
    try:
        return int((folder / "stat").read_text().rpartition(")")[2].split()[1])
    except OSError:  # the process has ended
        return 0


def _role(words: list[str]) -> str:
    """Return a process's role, from its command line."""
    line = " ".join(words)
    if "pulumi-language-python-exec" in line:
        return "program"
    name = Path(words[0]).name
    return {"pulumi": "engine", "pulumi-language-python": "language host"}.get(name, "other")

"""Measures how a stack scales with its hosts, and the effect of one dead host on the others."""

import gzip
import json
import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from math import ceil
from pathlib import Path
from statistics import correlation, linear_regression, median
from typing import Any

from bench import stage
from bench.measure import Peaks, peaks, timed
from bench.report import Report, seconds
from sandbox.progress import SandboxError, say
from sandbox.stack import Stack
from sandbox.testing.account import content
from sandbox.testing.processes import free_port
from sandbox.testing.stacks import up

COUNTS = tuple(map(int, os.environ.get("WATCHPOST_HOSTS", "1 4 16").split()))
"""Numbers of hosts to measure."""

MANY = 16
"""Size of the stack also measured with a dead host."""

HEADER = (
    "hosts", "resources", "in Datadog", "`up`", "`up` again", "calls of Datadog's API", "state", "on disk",
    "engine", "program",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Cost:
    """The cost of bringing ``hosts`` up, and up again with nothing to change.

    Times are in seconds, ``stored`` in kB on disk, ``engine`` and ``program`` the peak memory of one process in MB.
    ``calls`` of Datadog's API are those of the first `up`, and of each further one.
    """

    hosts: int
    first: float
    again: list[float]
    calls: tuple[int, int]
    stored: float
    engine: float
    program: float

    def cells(self) -> dict[str, str]:
        """Return the table cells, by column."""
        return {
            "hosts": str(self.hosts),
            "`up`": f"{self.first:.1f} s",
            "a host": f"{self.first / self.hosts:.2f} s",
            "`up` again": seconds(self.again),
            "a host again": f"{median(self.again) / self.hosts:.2f} s",
            "calls of Datadog's API": "{} + {}".format(*self.calls),
            "on disk": f"{self.stored:.0f} kB",
            "engine": f"{self.engine:.0f} MB",
            "program": f"{self.program:.0f} MB",
        }


@dataclass(frozen=True, kw_only=True)
class Size(Cost):
    """One stack's cost; ``state`` is in kB."""

    resources: int
    objects: int
    state: float

    def row(self) -> list[str]:
        """Return the table row."""
        of_one_stack = {
            "resources": str(self.resources),
            "in Datadog": str(self.objects),
            "state": f"{self.state:.0f} kB",
        }
        return [{**self.cells(), **of_one_stack}[column] for column in HEADER]


@dataclass(frozen=True, kw_only=True)
class Ups:
    """Several runs of `up`: times, counts of the first and of each further one, peaks of memory."""

    first: float
    again: list[float]
    counts: list[tuple[int, int]]
    peak: Peaks


def ups(first: Callable[[], object], again: Callable[[], object], runs: int, *counts: Callable[[], int]) -> Ups:
    """Run ``first`` once and ``again`` ``runs`` times; ``counts`` are running totals."""
    with peaks(every=0.5) as peak:
        once = timed(first)
        before = [count() for count in counts]
        more = [timed(again) for _ in range(runs)]
    further = [ceil((count() - seen) / runs) for count, seen in zip(counts, before, strict=True)]
    return Ups(first=once, again=more, counts=list(zip(before, further, strict=True)), peak=peak)


def names(count: int) -> list[str]:
    """Return host names, none a prefix of another."""
    return [f"vm{number:02}" for number in range(count)]


def measure(stack: Stack, runs: int) -> Size:
    """Bring ``stack`` up, then ``runs`` times more with nothing to change."""
    done = ups(
        partial(stage.up, stack), partial(stage.up, stack, "--expect-no-changes"), runs, partial(configuring, stack)
    )
    state, stored = state_file(stack)
    size = Size(
        hosts=len(hosts(stack)),
        resources=len(json.loads(state)["checkpoint"]["latest"]["resources"]),
        objects=sum(content(stack.account).values()),
        first=done.first,
        again=done.again,
        calls=done.counts[0],
        state=len(state) / 1024,
        stored=stored / 1024,
        engine=done.peak.megabytes["engine"],
        program=done.peak.megabytes["program"],
    )
    say(" | ".join(size.row()))
    return size


def configuring(stack: Stack) -> int:
    """Count calls of Datadog's API so far, without Agents' submissions."""
    paths = ("/api/v1/validate", "/api/v1/monitor", "/api/v1/dashboard", "/api/v2/d")
    return sum(request["path"].startswith(paths) for request in stack.account.requests())


def state_folder(stack: Stack) -> Path:
    """Return the folder with the state files of ``stack`` and its siblings."""
    return stack.folder / "state" / ".pulumi" / "stacks" / "watchpost"


def state_file(stack: Stack) -> tuple[bytes, int]:
    """Return the state, and the size of its file."""
    folder = state_folder(stack)
    compressed = folder / f"{stack.name}.json.gz"
    file = compressed if compressed.exists() else folder / f"{stack.name}.json"
    written = file.read_bytes()
    return gzip.decompress(written) if file == compressed else written, len(written)


def hosts(stack: Stack) -> dict[str, dict[str, Any]]:
    """Return the stack's ``hosts`` setting."""
    found: dict[str, dict[str, Any]] = stack.setting("hosts")
    return found


def grown(title: str, sizes: Sequence[Size]) -> Report:
    """Return the report, with the cost of each further host by linear regression; the first `up` is not linear."""
    report = Report(
        title=title,
        header=HEADER,
        rows=[size.row() for size in sizes],
        figures={str(size.hosts): asdict(size) for size in sizes},
    )
    values: Mapping[str, Callable[[Size], float]] = {
        "s to an `up` with nothing to change": lambda size: median(size.again),
        "kB of state": lambda size: size.state,
        "kB of it on disk": lambda size: size.stored,
        "MB to the engine": lambda size: size.engine,
        "MB to the program": lambda size: size.program,
    }
    if len(sizes) > 1:
        counts = [size.hosts for size in sizes]
        lines = []
        for what, value in values.items():
            found = [value(size) for size in sizes]
            slope, base = linear_regression(counts, found)
            square = correlation(counts, found) ** 2
            lines.append(f"{slope:.2f} {what} (beside {base:.1f}; r² {square:.3f})")
        report.notes.append(f"a host adds {', '.join(lines)}")
        each = ", ".join(f"{size.first / size.hosts:.1f} s of {size.hosts}" for size in sizes)
        report.notes.append(f"the first `up` takes for each host {each}")
    return report


def with_a_dead_host(stack: Stack) -> list[str]:
    """Bring ``stack`` up while one host refuses connections, and again once it is back; return the findings.

    Raises:
        SandboxError: another host was affected.
    """
    given = hosts(stack)
    dead = names(len(given))[len(given) // 2]
    stack.configure(hosts={**given, dead: {**given[dead], "port": free_port()}})
    first, elapsed = _timed_up(stack, "--continue-on-error")
    steps = _steps(stack)
    done = [name for name in given if steps[name] == max(steps.values())]
    objects = sum(content(stack.account).values())
    if first.code == 0 or set(given) - set(done) != {dead} or dead in steps or not objects:
        raise SandboxError(f"{dead} did not fail alone, of the others {len(done)} are finished: {first.text[-3000:]}")
    stack.configure(hosts=given)
    again, repaired = _timed_up(stack)
    touched = {name.partition("-")[0] for name in again.names("create", "update", "replace", "delete")} & set(given)
    if again.code or touched != {dead}:
        raise SandboxError(f"not {dead} alone was finished, but {sorted(touched)}: {again.text[-3000:]}")
    alone = (
        f"one dead host of {len(given)}: the other {len(done)} were finished with {max(steps.values())} steps each and"
        f" Datadog's side with {objects} objects, {dead} alone failed, the exit code was {first.code}: {elapsed:.1f} s"
    )
    back = f"when it was back, an `up` finished it and touched no other host: {repaired:.1f} s"
    say(f"{alone}; {back}")
    return [alone, back]


def _timed_up(stack: Stack, *words: str) -> tuple[Any, float]:
    done = []
    elapsed = timed(lambda: done.append(up(stack, *words)))
    return done[0], elapsed


def _steps(stack: Stack) -> Counter[str]:
    """Count steps per host, from the state."""
    resources = json.loads(state_file(stack)[0])["checkpoint"]["latest"]["resources"]
    return Counter(
        resource["urn"].rpartition("::")[2].partition("-")[0]
        for resource in resources
        if resource["type"] == "command:remote:Command"
    )

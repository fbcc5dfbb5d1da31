"""What a part of the benchmark has found: tables in Markdown for people, and JSON with every single figure."""

import json
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from sandbox import paths


@dataclass(kw_only=True)
class Report:
    """One part's findings; ``figures`` holds the single measurements in seconds, by what was measured."""

    title: str
    header: Sequence[str]
    rows: list[Sequence[str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    figures: dict[str, Any] = field(default_factory=dict)

    def markdown(self) -> str:
        """The table, with a line below it for each note."""
        lines = [list(self.header), ["---"] * len(self.header), *self.rows]
        table = "\n".join(f"| {' | '.join(row)} |" for row in lines)
        return "\n".join([f"### {self.title}", "", table, "", *(f"- {note}" for note in self.notes)]) + "\n"

    def write(self, name: str) -> Path:
        """Write everything to ``bench/NAME.json`` in the sandbox's folder."""
        file = paths.local() / "bench" / f"{name}.json"
        file.write_text(json.dumps({**asdict(self), "machine": machine()}, indent=2) + "\n")
        return file


def machine() -> dict[str, Any]:
    """Where this ran, as far as it matters to the figures."""
    return {
        "cores": len(os.sched_getaffinity(0)),
        "load": [round(load, 1) for load in os.getloadavg()],
        "python": platform.python_version(),
        "system": platform.platform(terse=True),
    }


def seconds(values: Sequence[float]) -> str:
    """The median of some measurements with their span: ``3.21 s (3.02-3.60)``."""
    return f"{median(values):.2f} s ({min(values):.2f}-{max(values):.2f})"


def ratio(values: Sequence[float], base: Sequence[float]) -> float:
    """How many times longer ``values`` are than ``base``, by their medians."""
    return median(values) / median(base)


def verdict(value: float, bound: float) -> str:
    """A figure with its bound, and whether that was kept."""
    return f"{value:.2f} (bound {bound:.2f}: {'kept' if value <= bound else 'NOT kept'})"


def beside_empty(figures: Mapping[str, Sequence[float]], bound: float) -> list[str]:
    """How many times longer Watchpost takes than an empty program, and than one that has its plugins started."""
    return [
        f"beside {name}: {verdict(ratio(figures['Watchpost'], figures[key]), bound)}"
        for key, name in (
            ("an empty program", "the empty program"),
            ("an empty program with the plugins", "the empty program with the same plugins"),
        )
    ]

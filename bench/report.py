"""The results of one part: a Markdown table for people, and JSON with every figure."""

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
    """The results of one part; ``figures`` holds single measurements, by name."""

    title: str
    header: Sequence[str]
    rows: list[Sequence[str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    figures: dict[str, Any] = field(default_factory=dict)

    def markdown(self) -> str:
        """Return the table, followed by the notes."""
        lines = [list(self.header), ["---"] * len(self.header), *self.rows]
        table = "\n".join(f"| {' | '.join(row)} |" for row in lines)
        return "\n".join([f"### {self.title}", "", table, "", *(f"- {note}" for note in self.notes)]) + "\n"

    def write(self, name: str) -> Path:
        """Write everything to ``bench/NAME.json`` in the sandbox's folder."""
        file = paths.local() / "bench" / f"{name}.json"
        file.write_text(json.dumps({**asdict(self), "machine": machine()}, indent=2) + "\n")
        return file


def machine() -> dict[str, Any]:
    """Describe the machine and its load, as context for the figures."""
    return {
        "cores": len(os.sched_getaffinity(0)),
        "load": [round(load, 1) for load in os.getloadavg()],
        "python": platform.python_version(),
        "system": platform.platform(terse=True),
    }


def seconds(values: Sequence[float]) -> str:
    """Format the median with the range: ``3.21 s (3.02-3.60)``."""
    return f"{median(values):.2f} s ({min(values):.2f}-{max(values):.2f})"


def ratio(values: Sequence[float], base: Sequence[float]) -> float:
    """Return the ratio of the medians of ``values`` and ``base``."""
    return median(values) / median(base)


def verdict(value: float, bound: float) -> str:
    """Format a figure, its bound, and whether it was kept."""
    return f"{value:.2f} (bound {bound:.2f}: {'kept' if value <= bound else 'NOT kept'})"


def beside_empty(figures: Mapping[str, Sequence[float]], bound: float) -> list[str]:
    """Format the ratios of Watchpost to an empty program, and to an empty one that starts the same plugins."""
    return [
        f"beside {name}: {verdict(ratio(figures['Watchpost'], figures[key]), bound)}"
        for key, name in (
            ("an empty program", "the empty program"),
            ("an empty program with the plugins", "the empty program with the same plugins"),
        )
    ]

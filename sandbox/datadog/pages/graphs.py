"""Graphs for the browser's script, with the legends of their lines."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from sandbox.datadog.evaluation import language
from sandbox.datadog.pages.rendering import number
from sandbox.datadog.pages.times import Frame

COLUMNS = ("avg", "min", "max", "sum", "value")
"""A legend's columns; ``value`` is the last one."""

GAP = 300
"""Seconds without a point after which a line breaks, unless its points are further apart anyway.

Source: https://docs.datadoghq.com/metrics/guide/interpolation-the-fill-modifier-explained/
"""

MOST_LINES = 50
"""Maximum lines of a formula; a graph says how many it leaves out."""


@dataclass(frozen=True, kw_only=True)
class Line:
    """One line or row of bars; ``right`` puts it on the right axis."""

    name: str
    points: Sequence[tuple[int, float]]
    bars: bool = False
    right: bool = False
    palette: str = ""
    every: int = 20
    band: Sequence[tuple[int, float | None, float | None]] = ()
    direction: str = "both"
    """The side of the band that counts: both, above or below."""

    @property
    def outside(self) -> list[tuple[int, float, float, float]]:
        """The points outside of the band, with its ends."""
        return [
            (at, value, lower, upper)
            for (at, value), (_, lower, upper) in zip(self.points, self.band, strict=False)
            if lower is not None
            and upper is not None
            and ((value < lower and self.direction != "above") or (value > upper and self.direction != "below"))
        ]

    @property
    def rows(self) -> list[tuple[int, float | None, float | None, float | None]]:
        """Return each point with its band, if any, and a point without a value wherever the line breaks."""
        found: list[tuple[int, float | None, float | None, float | None]] = []
        bands = self.band or [(0, None, None)] * len(self.points)
        before, longest = float("inf"), float("inf") if self.bars else max(GAP, 2 * self.every)
        for (at, value), (_, lower, upper) in zip(self.points, bands, strict=True):
            if at - before > longest:
                found.append((int(before) + self.every, None, None, None))
            found.append((at, value, lower, upper))
            before = at
        return found

    def drawn(self) -> dict[str, Any]:
        """Return the line for the script, with times in Unix milliseconds."""
        rows = self.rows
        return {
            "name": self.name,
            "x": [1000 * at for at, *_ in rows],
            "y": [value if value is not None and math.isfinite(value) else None for _, value, *_ in rows],
            "bars": self.bars,
            "right": self.right,
            "palette": self.palette,
            "every": 1000 * self.every,
            "lower": [lower for _, _, lower, _ in rows] if self.band else [],
            "upper": [upper for _, _, _, upper in rows] if self.band else [],
            "outside": [[1000 * at, value] for at, value, *_ in self.outside],
        }

    def said(self, column: str) -> str:
        """Return the line's legend."""
        values = [value for _, value in self.points]
        if not values:
            return number(None)
        made = {
            "avg": sum(values) / len(values),
            "min": min(values),
            "max": max(values),
            "sum": sum(values),
            "value": values[-1],
        }
        return number(made[column])


@dataclass(frozen=True, kw_only=True)
class Mark:
    """A horizontal marker; ``kind`` is error, warning, ok or info."""

    value: float
    label: str
    kind: str
    dashed: bool = True


@dataclass(frozen=True, kw_only=True)
class Graph:
    """A graph of a time frame; ``events`` are the Unix times and titles of events in it."""

    name: str
    frame: Frame
    lines: Sequence[Line]
    marks: Sequence[Mark] = ()
    events: Sequence[tuple[float, str]] = ()
    axes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    columns: Sequence[str] = ("avg", "max", "value")
    stacked: bool = False
    """Whether to stack the bars, as those of one formula's groups."""
    more: int = 0
    """Lines left out."""

    def drawn(self) -> dict[str, Any]:
        """Return the graph for the script, with times in Unix milliseconds."""
        return {
            "from": 1000 * self.frame.start,
            "to": 1000 * self.frame.end,
            "lines": [line.drawn() for line in self.lines],
            "stacked": self.stacked,
            "marks": [
                {"value": mark.value, "label": mark.label, "kind": mark.kind, "dashed": mark.dashed}
                for mark in self.marks
            ],
            "events": [{"at": 1000 * at, "title": title} for at, title in self.events],
            "axes": {side: dict(axis) for side, axis in self.axes.items()},
        }


def undrawn(frame: pl.DataFrame) -> int:
    """Count the groups of a frame that get no line."""
    return max(0, frame["group"].n_unique() - MOST_LINES)


def lines(frame: pl.DataFrame, name: str, by: Sequence[str], **how: Any) -> Iterable[Line]:
    """Make a line for each group in a frame of series; ``how`` as in `Line`."""
    ends = [column for column in ("lower", "upper") if column in frame.columns]
    grouped = frame.group_by("group", maintain_order=True).agg("at", "value", *ends).head(MOST_LINES)
    for group, at, values, *band in grouped.iter_rows():
        tags = ", ".join(f"{key}:{value}" for key, value in language.tags(str(group), by).items())
        yield Line(
            name=f"{name} {{{tags}}}" if tags else name,
            points=list(zip(at, values, strict=True)),
            band=list(zip(at, *band, strict=True)) if band else (),
            **how,
        )

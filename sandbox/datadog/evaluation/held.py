"""All points of a store in memory, for what asks for hours of them: read once, then only what is new.

Points are never changed or removed, and a new one has a higher row number than all before. A day of 16 hosts is two
million points, 60 MB here.
"""

import weakref
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import polars as pl

from sandbox.datadog.store import Store

POINT = {"series": pl.Int64, "when": pl.Float64, "value": pl.Float64, "weight": pl.Int32}
"""A frame of points."""

READ = 10_000
"""Points that are read at once: as Python's own values they take five times as much."""

CHUNK = 100_000
"""Points that are put in order together."""


def frame(rows: Iterable[tuple[int, float, float, int]]) -> pl.DataFrame:
    """A frame of points as the store has them."""
    columns = list(zip(*rows, strict=True)) or [()] * len(POINT)
    return pl.DataFrame(
        [pl.Series(name, column, dtype=kind) for (name, kind), column in zip(POINT.items(), columns, strict=True)]
    )


@dataclass(frozen=True)
class _Chunk:
    """Points ordered by their series, and where each series is among them: its first row and their number."""

    points: pl.DataFrame
    places: dict[int, tuple[int, int]]

    @classmethod
    def of(cls, points: pl.DataFrame) -> "_Chunk":
        ordered = points.sort("series", maintain_order=True)
        counted = ordered.with_row_index("row").group_by("series").agg(pl.col("row").min(), pl.len())
        return cls(ordered, {series: (row, length) for series, row, length in counted.iter_rows()})

    def of_series(self, series: Iterable[int]) -> Iterator[pl.DataFrame]:
        for number in series:
            if number in self.places:
                yield self.points.slice(*self.places[number])


class Held:
    """The points of one store."""

    def __init__(self) -> None:
        self._last = 0
        self._chunks: list[_Chunk] = []
        self._new = frame([])

    def points(self, store: Store, series: Iterable[int], start: float, end: float) -> pl.DataFrame:
        """The points of these series from ``start`` until before ``end``."""
        self._read(store)
        numbers = list(series)
        parts = [part for chunk in self._chunks for part in chunk.of_series(numbers)]
        parts.append(self._new.filter(pl.col("series").is_in(numbers)))
        return pl.concat(parts).filter((pl.col("when") >= start) & (pl.col("when") < end))

    def _read(self, store: Store) -> None:
        while rows := store.samples_after(self._last, READ):
            self._last = rows[-1][0]
            self._new = self._new.vstack(frame(row[1:] for row in rows))
            if len(self._new) >= CHUNK:
                self._chunks.append(_Chunk.of(self._new))
                self._new = frame([])
            if len(rows) < READ:
                break


_HELD: "weakref.WeakKeyDictionary[Store, Held]" = weakref.WeakKeyDictionary()


def of(store: Store) -> Held:
    """What is held of a store, as long as it is open."""
    return _HELD.setdefault(store, Held())

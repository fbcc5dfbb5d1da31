"""Holds all points of a store in memory, for queries over hours: reads them once, then only new ones.

Points are never changed or removed, and a new one has a higher row number than all before. A day of 16 hosts is two
million points, 60 MB here.
"""

import weakref
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import polars as pl

from sandbox.datadog.store import Store

POINT = {"series": pl.Int64, "when": pl.Float64, "value": pl.Float64, "weight": pl.Int32}
"""The columns of a frame of points."""

READ = 10_000
"""Points read at once: as Python values they take five times the memory."""

CHUNK = 100_000
"""Points sorted together."""


def frame(rows: Iterable[tuple[int, float, float, int]]) -> pl.DataFrame:
    """Build a frame of points in the store's order."""
    columns = list(zip(*rows, strict=True)) or [()] * len(POINT)
    return pl.DataFrame(
        [pl.Series(name, column, dtype=kind) for (name, kind), column in zip(POINT.items(), columns, strict=True)]
    )


@dataclass(frozen=True)
class _Chunk:
    """Points sorted by series, with the first row and the number of rows of each series."""

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
        """Return the points of these series from ``start`` to before ``end``."""
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
    """Return the points held of a store, for as long as it is open."""
    return _HELD.setdefault(store, Held())

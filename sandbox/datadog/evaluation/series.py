"""Evaluates queries: aggregates each source's points into intervals, then sources into groups.

Polars does the arithmetic. A frame has the columns ``group`` (the grouping tags' values, joined by commas, or ``*``),
``at`` (Unix seconds, the beginning of the interval) and ``value``, and is in this order.

Sources: https://docs.datadoghq.com/dashboards/functions/rollup/,
https://docs.datadoghq.com/metrics/custom_metrics/type_modifiers/,
https://docs.datadoghq.com/metrics/guide/interpolation-the-fill-modifier-explained/,
https://docs.datadoghq.com/metrics/distributions/
"""

import itertools
from collections.abc import Callable, Hashable, Iterator, Sequence

import polars as pl

from sandbox.datadog.evaluation import held
from sandbox.datadog.evaluation.language import Query, UnknownFormError
from sandbox.datadog.store import Kind, Series, Store

EVERYTHING = "*"
"""The group of a query that isn't grouped."""

WITHOUT = "N/A"
"""The value of a tag that a source doesn't carry: graphs show it, monitors leave it out.

Source: https://docs.datadoghq.com/monitors/guide/troubleshooting-monitor-alerts/
"""

INTERVALS = (
    (3600, 20, 60),
    (4 * 3600, 60, 120),
    (86400, 300, 1200),
    (2 * 86400, 600, 1800),
    (7 * 86400, 3600, 7200),
    (31 * 86400, 4 * 3600, 12 * 3600),
)
"""Maximum time frame, interval of lines, interval of bars; in seconds."""

MOST_POINTS = 1500
"""Maximum points of a line: a query's interval is lengthened if it would give more."""

BRIDGED = 300
"""Seconds across which a gauge is interpolated linearly when sources are aggregated."""

LONG = 1800
"""Seconds: for longer time frames, points are read from memory."""

READ = 300
"""Seconds: points are read from a whole multiple of this on."""

SHIFT = 2**33
"""More than any Unix time: a series' number times this, plus a time, is one number."""

COLUMNS = {"group": pl.String, "at": pl.Int64, "value": pl.Float64}


class Source:
    """Reads from a store, each thing once; created anew for each page and each round."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._series: dict[str, list[Series]] = {}
        self._points: dict[tuple[tuple[int, ...], int, float], pl.DataFrame] = {}
        self._sums: dict[tuple[str, int, float], dict[int, float]] = {}
        self._made: dict[tuple[Hashable, ...], pl.DataFrame] = {}

    def series(self, metric: str) -> list[Series]:
        """Return the series of a metric."""
        if metric not in self._series:
            self._series[metric] = self._store.series(metric)
        return self._series[metric]

    def points(self, series: Sequence[int], start: int, end: float) -> pl.DataFrame:
        """Return these series' points from ``start`` to before ``end``: series, time, value and weight."""
        # From a little earlier, so that intervals of several lengths have the same beginning.
        asked = (tuple(series), begin(start, READ), end)
        if asked not in self._points:
            long = end - start > LONG
            self._points[asked] = (
                held.of(self._store).points(self._store, *asked) if long else held.frame(self._store.samples(*asked))
            )
        return self._points[asked].filter(pl.col("when") >= start)

    def once(self, asked: tuple[Hashable, ...], make: Callable[[], pl.DataFrame]) -> pl.DataFrame:
        """Return a value computed from points, computing it once."""
        if asked not in self._made:
            self._made[asked] = make()
        return self._made[asked]

    def sums(self, metric: str, start: int, end: float) -> dict[int, float]:
        """Return each series' sum from ``start`` to before ``end``."""
        asked = (metric, start, end)
        if asked not in self._sums:
            self._sums[asked] = self._store.sums([series.number for series in self.series(metric)], start, end)
        return self._sums[asked]

    def last(self, query: Query, before: float) -> dict[str, float]:
        """Return the Unix time of each group's last point before a time."""
        found: dict[str, float] = {}
        known = {series.number: series for series in self.series(query.metric) if matches(series, query.scope)}
        for number, at in self._store.latest(known, before).items():
            for group in groups(known[number], query.by):
                found[group] = max(at, found.get(group, 0.0))
        return found


def begin(start: float, every: int) -> int:
    """Return the start of the interval that contains a time."""
    return int(start // every) * every


def interval(span: float, *, bars: bool = False, asked: int = 0) -> int:
    """Return the interval for a time frame of ``span`` seconds; ``asked`` is the one of the query's rollup.

    >>> interval(3600), interval(3600, bars=True), interval(86400, asked=3600)
    (20, 60, 3600)
    """
    default = next(((line, bar) for most, line, bar in INTERVALS if span <= most), (86400, 86400))
    least = int(-(-span // MOST_POINTS))
    return max(asked, least) if asked else default[bars]


def evaluate(source: Source, query: Query, start: float, end: float, every: int, *, whole: bool = True) -> pl.DataFrame:
    """Return the query's series from ``start`` to before ``end``, in Unix seconds, one point every ``every`` seconds.

    Intervals begin at whole multiples of their length. The first is complete even if it begins before ``start``, unless
    ``whole`` is false.

    Raises:
        UnknownFormError: the query asks for what isn't evaluated of a metric of its kind.
    """
    first = begin(start, every)
    return _evaluate(source, query, first, end, every, since=first if whole else start)


def whole(source: Source, query: Query, start: float, end: float) -> dict[str, float]:
    """Return one value per group for the whole time from ``start`` to before ``end``.

    Raises:
        UnknownFormError: as `evaluate` does.
    """
    if query.how == "sum" and query.modifier == "as_count" and not query.rollup:
        return _counted(source, query, int(start), end)
    found = _evaluate(source, query, int(start), end, max(int(end - start) + 1, 1))
    return dict(found.select("group", "value").iter_rows())


def _counted(source: Source, query: Query, start: int, end: float) -> dict[str, float]:
    """Compute `whole` for a sum of counts, most of what monitors ask for, within the store."""
    sums, found = source.sums(query.metric, start, end), dict[str, float]()
    for series in source.series(query.metric):
        if series.number not in sums or not matches(series, query.scope):
            continue
        if series.kind == "distribution":
            raise UnknownFormError(f"{query.how}:{query.metric}: of a distribution, percentiles and avg are evaluated")
        counted = sums[series.number] * (series.interval if series.kind == "rate" else 1)
        for group in groups(series, query.by):
            found[group] = found.get(group, 0.0) + counted
    return found


def _evaluate(
    source: Source, query: Query, first: int, end: float, every: int, *, since: float | None = None
) -> pl.DataFrame:
    """Evaluate in intervals from ``first`` on, taking points from ``since`` on."""
    known = [series for series in source.series(query.metric) if matches(series, query.scope)]
    members = [(series.number, group) for series in known for group in groups(series, query.by)]
    if not members:
        return pl.DataFrame(schema=COLUMNS)
    kinds = {series.kind for series in known}
    # Numbers compare faster than texts: groups are numbers until the end, in the order of their names.
    names = pl.Enum(sorted({group for _, group in members}))
    grouped = pl.DataFrame(members, schema={"series": pl.Int64, "group": names}, orient="row")
    stretch = (tuple(series.number for series in known), first, end, every, first if since is None else since)
    if "distribution" in kinds:
        if query.percentile is None:
            return _average(query, _of_groups(_points(source, *stretch), grouped))
        in_order = source.once((*stretch, query.by), lambda: _in_order(_of_groups(_points(source, *stretch), grouped)))
        return _percentile(in_order, query.percentile)
    if query.percentile is not None:
        raise UnknownFormError(f"{query.how}:{query.metric}: a percentile of what is no distribution")
    if not query.modifier and not query.rollup and kinds != {"gauge"}:
        raise UnknownFormError(f"{query.metric}, which is counted, without as_count(), as_rate() or rollup()")
    how = "sum" if query.modifier else query.rollup or "avg"
    sources = source.once((*stretch, how), lambda: _in_time(_points(source, *stretch), how))
    if query.modifier:  # a rate is per second: its count is that times its seconds
        seconds = {series.number: series.interval if series.kind == "rate" else 1 for series in known}
        counted = pl.col("value") * pl.col("series").replace_strict(seconds, return_dtype=pl.Int64)
        sources = sources.with_columns(counted if query.modifier == "as_count" else counted / every)
    return _in_space(query, sources.join(grouped, on="series"), every, kinds)


def _points(source: Source, series: tuple[int, ...], first: int, end: float, every: int, since: float) -> pl.DataFrame:
    """Return the points of some series, each with the start of its interval."""
    passed = (pl.col("when") - first).cast(pl.Int64)
    found = source.points(series, first, end)
    return (found if since <= first else found.filter(pl.col("when") >= since)).select(
        "series", (passed // every * every + first).alias("at"), "value", "weight"
    )


def _of_groups(points: pl.DataFrame, grouped: pl.DataFrame) -> pl.DataFrame:
    """Return the points with their groups; those of a series in several groups count in each."""
    if grouped["group"].n_unique() > 1:
        return points.join(grouped, on="series")
    return points.with_columns(pl.lit(grouped["group"][0], grouped["group"].dtype).alias("group"))  # a join is slower


def _in_time(points: pl.DataFrame, how: str) -> pl.DataFrame:
    """Aggregate to one value per source and interval."""
    value = pl.col("value")
    made = {
        "avg": value.mean(),
        "sum": value.sum(),
        "min": value.min(),
        "max": value.max(),
        "count": value.count().cast(pl.Float64),
    }[how]
    # Grouped by one number, which is twice as fast as by two.
    both = (pl.col("series") * SHIFT + pl.col("at")).alias("both")
    found = points.group_by(both).agg(made.alias("value"))
    return found.select((pl.col("both") // SHIFT).alias("series"), (pl.col("both") % SHIFT).alias("at"), "value")


def _in_space(query: Query, frame: pl.DataFrame, every: int, kinds: set[Kind]) -> pl.DataFrame:
    """Aggregate to one value per group and interval."""
    if kinds == {"gauge"}:
        frame = _bridged(frame, every)
    value = pl.col("value")
    made = {"avg": value.mean(), "sum": value.sum(), "min": value.min(), "max": value.max()}[query.how]
    return _named(frame.group_by("group", "at").agg(made.alias("value")))


def _bridged(frame: pl.DataFrame, every: int) -> pl.DataFrame:
    """Interpolate sources linearly where others of their group have a value."""
    if every >= BRIDGED:
        return frame
    grid = frame.select("group", "series").unique().join(frame.select("group", "at").unique(), on="group")
    own = pl.when(pl.col("value").is_not_null()).then(pl.col("at"))
    each = ["group", "series"]
    return (
        grid.join(frame, on=["group", "series", "at"], how="left")
        .sort("group", "series", "at")
        .with_columns(
            pl.col("value").interpolate_by("at").over(each),
            (own.backward_fill().over(each) - own.forward_fill().over(each)).alias("gap"),
        )
        .filter(pl.col("value").is_not_null() & (pl.col("gap") <= BRIDGED))
        .select("group", "series", "at", "value")
    )


def _average(query: Query, points: pl.DataFrame) -> pl.DataFrame:
    """Average all values at once, whatever their source, as a distribution does."""
    if query.how != "avg" or query.modifier or query.rollup:
        raise UnknownFormError(f"{query.how}:{query.metric}: of a distribution, percentiles and avg are evaluated")
    value, weight = pl.col("value"), pl.col("weight")
    return _named(points.group_by("group", "at").agg((value * weight).sum() / weight.sum()))


def _in_order(points: pl.DataFrame) -> pl.DataFrame:
    """Sort a distribution's values, with the count up to each and the total."""
    value, weight = pl.col("value"), pl.col("weight")
    ordered = value.sort(), weight.sort_by(value).cum_sum().alias("until"), weight.sum().alias("all")
    return points.group_by("group", "at").agg(*ordered).explode("value", "until")


def _percentile(in_order: pl.DataFrame, part: float) -> pl.DataFrame:
    """Return a percentile of sorted values."""
    reached = in_order.filter(pl.col("until") > ((pl.col("all") - 1) * part).floor())
    return _named(reached.unique(["group", "at"], keep="first", maintain_order=True))


def _named(found: pl.DataFrame) -> pl.DataFrame:
    """Sort a result, and name its groups."""
    return found.select(*COLUMNS).sort("group", "at").cast({"group": pl.String})


def matches(series: Series, scope: Sequence[str]) -> bool:
    """Return whether a source carries every tag of a scope and no excluded one."""
    return all((term[1:] not in series.tags) if term.startswith("!") else (term in series.tags) for term in scope)


def groups(series: Series, by: Sequence[str]) -> Iterator[str]:
    """Return the groups that a source belongs to: several if it has several values of a tag."""
    values = [[tag[len(key) + 1 :] for tag in series.tags if tag.startswith(f"{key}:")] or [WITHOUT] for key in by]
    yield from (",".join(group) for group in itertools.product(*values)) if by else (EVERYTHING,)


REDUCERS = {
    "avg": pl.col("value").mean(),
    "sum": pl.col("value").sum(),
    "min": pl.col("value").min(),
    "max": pl.col("value").max(),
    "last": pl.col("value").last(),
}
"""Ways to reduce a group's points to one value."""


def reduced(frame: pl.DataFrame, how: str) -> dict[str, float]:
    """Reduce each group to one value, by one of `REDUCERS`."""
    return dict(frame.group_by("group", maintain_order=True).agg(REDUCERS[how]).iter_rows())


def filled(source: Source, query: Query, start: float, end: float, every: int) -> dict[str, int]:
    """Count, for each group, the intervals of ``every`` seconds between ``start`` and ``end`` that have a point.

    Raises:
        UnknownFormError: as `evaluate` does.
    """
    found = _evaluate(source, query, int(start), end, every)
    return dict(found.group_by("group").agg(pl.col("at").n_unique()).iter_rows())

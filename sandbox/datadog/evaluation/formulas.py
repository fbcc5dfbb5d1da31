"""Formulas over the series of one request: arithmetic, and the band of ``anomalies``.

Source: https://docs.datadoghq.com/dashboards/functions/arithmetic/
"""

import ast
from collections.abc import Collection, Mapping
from functools import reduce

import polars as pl

from sandbox.datadog.evaluation import language
from sandbox.datadog.evaluation.language import Anomalies, Count, Formula, Query, UnknownFormError
from sandbox.datadog.evaluation.series import EVERYTHING

WINDOW = 30
"""Previous points from which ``basic`` computes its band; Datadog doesn't publish the number."""

FEWEST = 4
"""Fewest points for a band."""

ONE_DEVIATION = (0.1587, 0.8413)
"""The quantiles that are two standard deviations of a normal distribution apart."""


def compute(
    formula: Formula,
    series: Mapping[str, pl.DataFrame],
    counts: Collection[str] = (),
    grouped: Collection[str] = (),
) -> pl.DataFrame:
    """Return a formula's series, with its operands' columns; for ``anomalies`` also ``lower`` and ``upper``.

    Values of two queries belong together where group and interval are the same; what isn't grouped goes with each
    group. Where a value is missing, or is divided by zero, there is none; of those that are ``counts``, a missing value
    is 0, also where there is none at all. ``grouped`` are the queries by groups, whose series may be none.

    Source: https://docs.datadoghq.com/dashboards/functions/interpolation/#default-zero
    """
    if isinstance(formula, Anomalies):
        return band(series[formula.name], formula.bounds)
    if isinstance(formula, Count):
        raise UnknownFormError("count_nonzero() outside of a monitor")
    names = sorted(language.names(formula))
    columns = {name: series[name].select("group", "at", pl.col("value").alias(f"value {name}")) for name in names}
    by_group = [name for name in names if name in grouped or set(columns[name]["group"]) - {EVERYTHING}]
    parts = [columns[name] for name in by_group]
    whole = [columns[name] for name in names if name not in by_group]
    joined = reduce(_joined, parts or whole)
    if parts and whole:
        same = reduce(_joined, whole).drop("group")
        moments = pl.concat([joined.select("at"), same.select("at")]).unique()
        every = joined.select("group").unique().join(moments, how="cross")
        joined = every.join(joined, on=["group", "at"], how="left").join(same, on="at", how="left")
    filled = [f"value {name}" for name in names if name in counts]
    joined = joined.with_columns(pl.col(name).fill_null(0.0) for name in filled).drop_nulls()
    value = _expression(formula)
    return joined.select("group", "at", value.alias("value")).filter(pl.col("value").is_finite()).sort("group", "at")


def over(formula: Formula, queries: Mapping[str, Query], series: Mapping[str, pl.DataFrame]) -> pl.DataFrame:
    """Return a formula's series; missing values of counts and rates are 0.

    Raises:
        UnknownFormError: the formula is over queries of several intervals.
    """
    used = {name: queries[name] for name in language.names(formula)}
    if len({query.interval for query in used.values()}) > 1:
        raise UnknownFormError("arithmetic over several intervals")
    counts = [name for name, query in used.items() if query.modifier]
    return compute(formula, series, counts, [name for name, query in used.items() if query.by])


def _joined(left: pl.DataFrame, right: pl.DataFrame) -> pl.DataFrame:
    return left.join(right, on=["group", "at"], how="full", coalesce=True)


def _expression(node: ast.expr) -> pl.Expr:
    match node:
        case ast.Name(id=name):
            return pl.col(f"value {name}")
        case ast.Constant(value=int() | float() as number):
            return pl.lit(float(number))
        case ast.UnaryOp(operand=operand):
            return -_expression(operand)
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return _expression(left) + _expression(right)
        case ast.BinOp(left=left, op=ast.Sub(), right=right):
            return _expression(left) - _expression(right)
        case ast.BinOp(left=left, op=ast.Mult(), right=right):
            return _expression(left) * _expression(right)
        case ast.BinOp(left=left, op=ast.Div(), right=right):
            return _expression(left) / _expression(right)
    raise AssertionError(f"parsed, and yet unknown: {ast.dump(node)}")


def band(frame: pl.DataFrame, bounds: float) -> pl.DataFrame:
    """Return the series with the band of ``basic``: the median of the previous points, and deviations around it.

    Datadog documents ``basic`` only as a lagging rolling quantile computation.

    Source: https://docs.datadoghq.com/monitors/types/anomaly/#anomaly-detection-algorithms
    """

    def before(quantile: float) -> pl.Expr:
        rolled = pl.col("value").rolling_quantile(
            quantile, interpolation="linear", window_size=WINDOW, min_samples=FEWEST
        )
        return rolled.shift(1).over("group")

    low, high = (before(quantile) for quantile in ONE_DEVIATION)
    deviation = (high - low) / 2 * bounds
    return frame.with_columns((before(0.5) - deviation).alias("lower"), (before(0.5) + deviation).alias("upper"))

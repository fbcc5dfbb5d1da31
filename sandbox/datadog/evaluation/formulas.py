"""Formulas over the series of one request: arithmetic, and the band of ``anomalies``.

Source: https://docs.datadoghq.com/dashboards/functions/arithmetic/
"""

import ast
from collections.abc import Collection, Mapping
from functools import reduce

import polars as pl

from sandbox.datadog.evaluation.language import Anomalies, Count, Formula, UnknownFormError
from sandbox.datadog.evaluation.series import EVERYTHING

WINDOW = 30
"""Previous points from which ``basic`` computes its band; Datadog doesn't publish the number."""

FEWEST = 4
"""Fewest points for a band."""

ONE_DEVIATION = (0.1587, 0.8413)
"""The quantiles that are two standard deviations of a normal distribution apart."""


def compute(formula: Formula, series: Mapping[str, pl.DataFrame], counts: Collection[str] = ()) -> pl.DataFrame:
    """Return a formula's series, with its operands' columns; for ``anomalies`` also ``lower`` and ``upper``.

    Values of two queries belong together where group and interval are the same; what isn't grouped goes with each
    group. Where a value is missing, or is divided by zero, there is none; of those that are ``counts``, a missing value
    is 0.

    Source: https://docs.datadoghq.com/dashboards/functions/interpolation/#default-zero
    """
    if isinstance(formula, Anomalies):
        return band(series[formula.name], formula.bounds)
    if isinstance(formula, Count):
        raise UnknownFormError("count_nonzero() outside of a monitor")
    names = sorted({node.id for node in ast.walk(formula) if isinstance(node, ast.Name)})
    joined = reduce(_joined, (series[name].rename({"value": f"value {name}"}) for name in names))
    filled = [f"value {name}" for name in names if name in counts]
    joined = joined.with_columns(pl.col(name).fill_null(0.0) for name in filled).drop_nulls()
    value = _expression(formula)
    return joined.select("group", "at", value.alias("value")).filter(pl.col("value").is_finite()).sort("group", "at")


def _joined(left: pl.DataFrame, right: pl.DataFrame) -> pl.DataFrame:
    for one, other in ((left, right), (right, left)):
        if set(one["group"]) == {EVERYTHING} != set(other["group"]):
            return other.join(one.drop("group"), on="at")
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

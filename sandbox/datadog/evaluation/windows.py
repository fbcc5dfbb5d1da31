"""Evaluates the window of a metric monitor to one value per group.

Sources: https://docs.datadoghq.com/monitors/types/metric/, https://docs.datadoghq.com/monitors/types/anomaly/,
https://docs.datadoghq.com/monitors/guide/as-count-in-monitor-evaluations/,
https://docs.datadoghq.com/dashboards/functions/interpolation/
"""

import ast
from collections.abc import Collection, Mapping
from typing import Any, Literal

import polars as pl

from sandbox.datadog.evaluation import formulas, language, messages, series, states
from sandbox.datadog.evaluation.language import Anomalies, Comparison, Count, Query


def look(
    source: series.Source, compared: Comparison, options: Mapping[str, Any], at: float, known: Collection[str]
) -> dict[str, states.Evaluation]:
    """Evaluate each group's window before ``at``; ``known`` groups are evaluated even if empty.

    Computes what only some options need only for those.

    Raises:
        UnknownFormError: the query asks for what isn't evaluated of a metric of its kind.
    """
    found, recovering = values(source, compared, options, at), dict[str, float]()
    if isinstance(compared.formula, Anomalies):
        recovering = _anomalous(source, compared, compared.formula, options, at, "recovery_window")
    filled, minute = {}, max(series.interval(compared.window), 60)
    if options.get("require_full_window"):
        filled = series.filled(source, compared.query, at - compared.window, at, minute)
    last = source.last(compared.query, at) if options.get("notify_no_data") else {}
    # An ungrouped monitor is evaluated even without any data.
    always = {series.EVERYTHING} if not compared.by else set()
    return {
        name: states.Evaluation(
            value=found.get(name),
            full=filled.get(name, 0) >= compared.window // minute,
            silent_for=at - last[name] if name in last else None,
            window=compared.window,
            counted=compared.counted,
            recovering=recovering.get(name),
        )
        for name in sorted({*found, *known, *always})
        if series.WITHOUT not in name.split(",")
    }


def values(source: series.Source, compared: Comparison, options: Mapping[str, Any], at: float) -> dict[str, float]:
    """Return one value for each group that has any.

    Raises:
        UnknownFormError: as `look` does.
    """
    begin, formula = at - compared.window, compared.formula
    if isinstance(formula, Anomalies):
        return _anomalous(source, compared, formula, options, at, "trigger_window")
    if isinstance(formula, Count):
        return _groups_counted(source, compared, begin, at)
    if compared.counted or compared.how == "percentile":
        summed = {name: series.whole(source, query, begin, at) for name, query in compared.queries.items()}
        return combined(formula, compared.queries, summed)
    frames = {
        name: series.evaluate(
            source, query, begin, at, series.interval(compared.window, asked=query.interval), whole=False
        )
        for name, query in compared.queries.items()
    }
    if isinstance(formula, ast.Name):
        return series.reduced(frames[formula.id], compared.how)
    return series.reduced(formulas.over(formula, compared.queries, frames), compared.how)


def _groups_counted(source: series.Source, compared: Comparison, begin: float, end: float) -> dict[str, float]:
    """Count the groups with a non-zero value at each point of the query's interval, aggregated."""
    every = series.interval(compared.window, asked=compared.query.interval)
    frame = series.evaluate(source, compared.query, begin, end, every)
    counts = frame.group_by("at").agg((pl.col("value") != 0).sum().cast(pl.Float64).alias("value"))
    return series.reduced(counts.sort("at").with_columns(group=pl.lit(series.EVERYTHING)), compared.how)


def combined(
    formula: ast.expr, queries: Mapping[str, Query], summed: Mapping[str, Mapping[str, float]]
) -> dict[str, float]:
    """Compute a formula over sums: if a group has one of them, missing counts are 0; division by 0 has no result.

    Source: https://docs.datadoghq.com/dashboards/functions/interpolation/#default-zero
    """
    by_group = [name for name, query in queries.items() if query.by] or list(queries)
    found = {}
    for group in {group for name in by_group for group in summed[name]}:
        given: dict[str, float] = {}
        for name, query in queries.items():
            own = summed[name].get(group if query.by else series.EVERYTHING)
            if own is not None or query.modifier:
                given[name] = own or 0.0
        try:
            found[group] = messages.arithmetic(formula, given)
        except (ZeroDivisionError, KeyError):
            continue
    return found


def _anomalous(
    source: series.Source,
    compared: Comparison,
    anomalies: Anomalies,
    options: Mapping[str, Any],
    at: float,
    which: Literal["trigger_window", "recovery_window"],
) -> dict[str, float]:
    """Return the share of each group's points in one of the windows outside the band, on the side that counts.

    Source: https://docs.datadoghq.com/monitors/types/anomaly/#options
    """
    window = (options.get("threshold_windows") or {}).get(which)
    looked_at = language.seconds(window) if window else anomalies.alert_window or compared.window
    every = anomalies.interval or series.interval(compared.window)
    query = compared.queries[anomalies.name]
    frame = formulas.band(series.evaluate(source, query, at - compared.window, at, every), anomalies.bounds)
    above, below = pl.col("value") > pl.col("upper"), pl.col("value") < pl.col("lower")
    outside = {"above": above, "below": below, "both": above | below}[anomalies.direction]
    inside = frame.filter(pl.col("at") >= at - looked_at).with_columns(
        outside.fill_null(value=False).cast(pl.Float64).alias("value")
    )
    return series.reduced(inside, "avg")

"""Computes SLOs by count: the share of good events, the remaining error budget, and the burn rate.

Source: https://docs.datadoghq.com/service_management/service_level_objectives/
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sandbox.datadog.evaluation import language, series, windows
from sandbox.datadog.evaluation.language import BurnRate, UnknownFormError

KIND = "slo"
"""The kind under which the store keeps SLOs, in the form of the API's answers."""

DAYS = {"7d": 7, "30d": 30, "90d": 90}


@dataclass(frozen=True, kw_only=True)
class Status:
    """An SLO in one of its time frames."""

    timeframe: str
    target: float
    good: float
    total: float

    @property
    def reached(self) -> float | None:
        """The percentage of good events; ``None`` without events."""
        return 100 * self.good / self.total if self.total else None

    @property
    def left(self) -> float | None:
        """The percentage of the error budget that is left; negative if it is overspent."""
        if self.reached is None:
            return None
        return 100 * (1 - (100 - self.reached) / (100 - self.target))


def fault(slo: Mapping[str, Any]) -> str:
    """Explain why an SLO can't be computed here; empty if it can."""
    if slo.get("type") != "metric" or not slo.get("query"):
        return f"SLOs of type {slo.get('type')}"
    try:
        for part in ("numerator", "denominator"):
            language.expression(slo["query"][part])
    except UnknownFormError as error:
        return str(error)
    return ""


def statuses(source: series.Source, slo: Mapping[str, Any], now: float) -> list[Status]:
    """Compute the SLO in each of its time frames.

    Raises:
        UnknownFormError: it can't be computed here.
    """
    found = []
    for threshold in slo["thresholds"]:
        good, total = events(source, slo, now - 86400 * DAYS[threshold["timeframe"]], now)
        found.append(Status(timeframe=threshold["timeframe"], target=threshold["target"], good=good, total=total))
    return found


def events(source: series.Source, slo: Mapping[str, Any], start: float, end: float) -> tuple[float, float]:
    """Return the number of good events and of all events in a time span."""
    found = []
    for part in ("numerator", "denominator"):
        formula, queries = language.expression(slo["query"][part])
        if isinstance(formula, language.Anomalies | language.Count):
            raise UnknownFormError(f"an SLO of {slo['query'][part]}")
        summed = {name: series.whole(source, query, start, end) for name, query in queries.items()}
        found.append(sum(windows.combined(formula, queries, summed).values()))
    return found[0], found[1]


def burn(source: series.Source, slo: Mapping[str, Any], rate: BurnRate, at: float) -> float | None:
    """Return the burn rate, the lower one of both windows, as both have to exceed the threshold.

    ``None`` if one of them has no events.

    Source: https://docs.datadoghq.com/service_management/service_level_objectives/burn_rate/
    """
    target: float = next(each["target"] for each in slo["thresholds"] if each["timeframe"] == f"{rate.days}d")
    rates: list[float] = []
    for window in (rate.long, rate.short):
        good, total = events(source, slo, at - window, at)
        if not total:
            return None
        rates.append((1 - good / total) / (1 - target / 100))
    return min(rates)

"""SLOs by count: how many of all events were good, what is left of the error budget, and how fast it is used.

Source: https://docs.datadoghq.com/service_management/service_level_objectives/
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sandbox.datadog.evaluation import language, series, windows
from sandbox.datadog.evaluation.language import BurnRate, UnknownFormError

KIND = "slo"
"""What the account keeps SLOs as: as the API answers them."""

DAYS = {"7d": 7, "30d": 30, "90d": 90}


@dataclass(frozen=True, kw_only=True)
class Status:
    """An SLO in one of its time frames; ``reached`` is a percentage, None without events."""

    timeframe: str
    target: float
    good: float
    total: float

    @property
    def reached(self) -> float | None:
        """The percentage of good events."""
        return 100 * self.good / self.total if self.total else None

    @property
    def left(self) -> float | None:
        """The percentage of the error budget that is left; below 0 where more than all of it is used."""
        if self.reached is None:
            return None
        return 100 * (1 - (100 - self.reached) / (100 - self.target))


def fault(slo: Mapping[str, Any]) -> str:
    """Why an SLO isn't computed here; empty where it is."""
    if slo.get("type") != "metric" or not slo.get("query"):
        return f"SLOs of type {slo.get('type')}"
    try:
        for part in ("numerator", "denominator"):
            language.expression(slo["query"][part])
    except UnknownFormError as error:
        return str(error)
    return ""


def statuses(source: series.Source, slo: Mapping[str, Any], now: float) -> list[Status]:
    """The SLO in each of its time frames.

    Raises:
        UnknownFormError: it isn't computed here.
    """
    found = []
    for threshold in slo["thresholds"]:
        good, total = events(source, slo, now - 86400 * DAYS[threshold["timeframe"]], now)
        found.append(Status(timeframe=threshold["timeframe"], target=threshold["target"], good=good, total=total))
    return found


def events(source: series.Source, slo: Mapping[str, Any], start: float, end: float) -> tuple[float, float]:
    """The good events and all events of a time."""
    found = []
    for part in ("numerator", "denominator"):
        formula, queries = language.expression(slo["query"][part])
        if isinstance(formula, language.Anomalies | language.Count):
            raise UnknownFormError(f"an SLO of {slo['query'][part]}")
        summed = {name: series.whole(source, query, start, end) for name, query in queries.items()}
        found.append(sum(windows.combined(formula, queries, summed).values()))
    return found[0], found[1]


def burn(source: series.Source, slo: Mapping[str, Any], rate: BurnRate, at: float) -> float | None:
    """How many times faster than allowed the error budget is used: the lower rate of both windows, which both count.

    None where one of them has no events.

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

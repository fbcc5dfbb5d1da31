"""Determines a page's time frame: the URL's, else the dashboard's default.

Sources: https://docs.datadoghq.com/dashboards/guide/custom_time_frames/,
https://docs.datadoghq.com/api/latest/dashboards/ (``live_span``, ``default_timeframe``)
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

SPANS = {"5m": 300, "15m": 900, "1h": 3600, "4h": 14400, "1d": 86400, "2d": 172800, "1w": 604800}
"""The selectable time frames, in seconds."""

NAMES = {
    "5m": "Past 5 minutes",
    "15m": "Past 15 minutes",
    "1h": "Past hour",
    "4h": "Past 4 hours",
    "1d": "Past day",
    "2d": "Past 2 days",
    "1w": "Past week",
}
UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
UNIT_NAMES = {"minute": 60, "hour": 3600, "day": 86400, "week": 604800, "month": 31 * 86400}
LATEST = 4_102_444_800
"""The year 2100, in Unix seconds: pages ignore later times, and times before 1970."""

RELATIVE = re.compile(r"now(?:-(\d{1,6})([smhdw]))?")


@dataclass(frozen=True, kw_only=True)
class Frame:
    """From ``start`` to ``end``, in Unix seconds; ``live`` moves with the clock."""

    start: float
    end: float
    live: bool

    @property
    def span(self) -> float:
        """Its length in seconds."""
        return self.end - self.start

    @property
    def name(self) -> str:
        """Its name among the selectable time frames; empty if it is none of them."""
        return next((name for name, seconds in SPANS.items() if self.live and seconds == round(self.span)), "")


def past(seconds: float, now: float) -> Frame:
    """Return the live time frame up to now."""
    return Frame(start=now - seconds, end=now, live=True)


def frame(query: Mapping[str, str], now: float, default: Mapping[str, Any] | None = None) -> Frame:
    """Parse a URL's time frame: ``span``, or ``from_ts`` and ``to_ts`` in Unix milliseconds or as ``now-5m``.

    With ``live=true`` it has the requested length, up to now. Invalid values count as left out.
    """
    if query.get("span") in SPANS:
        return past(SPANS[query["span"]], now)
    start, end = (_moment(query.get(name, ""), now) for name in ("from_ts", "to_ts"))
    if start is not None and end is not None and start < end:
        if query.get("live") == "true":
            return past(end - start, now)
        return Frame(start=start, end=end, live=False)
    if default and default.get("type") == "live" and default.get("unit") in UNIT_NAMES:
        return past(min(UNIT_NAMES[default["unit"]] * int(default.get("value", 1)), now), now)
    if default and default.get("type") == "fixed" and 0 <= default["from"] < default["to"] <= 1000 * LATEST:
        return Frame(start=default["from"] / 1000, end=default["to"] / 1000, live=False)
    return past(3600, now)


def default_timeframe(live_span: str) -> dict[str, Any]:
    """Convert a shared dashboard's ``live_span`` to a dashboard's ``default_timeframe``."""
    value, unit = re.fullmatch(r"(\d+)(\D+)", live_span).groups()  # type: ignore[union-attr]
    units = {"m": "minute", "h": "hour", "d": "day", "w": "week", "mo": "month"}
    return {"type": "live", "value": int(value), "unit": units[unit]}


def _moment(text: str, now: float) -> float | None:
    if match := RELATIVE.fullmatch(text):
        moment = now - (int(match[1]) * UNITS[match[2]] if match[1] else 0)
    elif re.fullmatch(r"\d{1,16}", text):
        moment = int(text) / 1000
    else:
        return None
    return moment if 0 <= moment <= LATEST else None


def live_span(text: str) -> float | None:
    """Return the seconds of a widget's ``live_span``; ``None`` if it is unknown."""
    match = re.fullmatch(r"(\d{1,4})([mhdw])", text)
    return int(match[1]) * UNITS[match[2]] if match else None

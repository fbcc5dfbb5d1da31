"""Turns the samples that checks submit into the series that Datadog gets."""

import logging
import statistics
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

SERIES_TYPES = {"count": 1, "rate": 2, "gauge": 3}
"""Datadog's type numbers in ``/api/v2/series``."""

log = logging.getLogger(__name__)

Context = tuple[str, str, tuple[str, ...], str]


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One call of ``gauge()``, ``rate()`` and so on; ``kind`` is the method's name, ``when`` is in Unix seconds."""

    kind: str
    name: str
    value: float
    when: float
    tags: tuple[str, ...] = ()
    host: str = ""
    first_counts: bool = False
    """A monotonic count whose first value counts from zero (``flush_first_value``)."""


@dataclass(frozen=True, kw_only=True)
class Serie:
    """One point of one metric; ``interval`` is in seconds, 0 if it has none."""

    metric: str
    value: float
    when: float
    type: str
    tags: tuple[str, ...]
    host: str
    interval: int = 0

    def for_check_command(self, *, device_field: bool = False) -> dict[str, Any]:
        """Format it like ``datadog-agent check``; only ``--json`` moves the device out of the tags."""
        device = next((tag[7:] for tag in self.tags if tag.startswith("device:")), "") if device_field else ""
        tags = [tag for tag in self.tags if not (device and tag.startswith("device:"))]
        return {
            "metric": self.metric,
            "points": [[int(self.when), int(self.value) if float(self.value).is_integer() else self.value]],
            "tags": tags,
            "host": self.host,
            **({"device": device} if device else {}),
            "type": self.type,
            "interval": self.interval,
            "source_type_name": "System",
        }

    def for_api(self, extra_tags: Iterable[str] = ()) -> dict[str, Any]:
        """Format it for ``POST /api/v2/series``: https://docs.datadoghq.com/api/latest/metrics/#submit-metrics"""
        return {
            "metric": self.metric,
            "type": SERIES_TYPES[self.type],
            "points": [{"timestamp": int(self.when), "value": self.value}],
            "resources": [{"type": "host", "name": self.host}],
            "tags": list(dict.fromkeys([*self.tags, *extra_tags])),
            "source_type_name": "System",
            **({"interval": self.interval} if self.interval else {}),
        }


class Sampler:
    """Turns the samples of one instance into series, and keeps what its rates need."""

    def __init__(self, host: str) -> None:
        self._host = host
        self._last: dict[Context, Sample] = {}

    def series(self, samples: Iterable[Sample], interval: int = 0) -> list[Serie]:
        """Return the series of one run (or of one flush of DogStatsD, whose counts have an ``interval``)."""
        contexts: dict[Context, list[Sample]] = {}
        for sample in samples:
            context = (sample.kind, sample.name, tuple(sorted(sample.tags)), sample.host)
            contexts.setdefault(context, []).append(sample)
        now = time.time()
        return [
            Serie(
                metric=context[1] + suffix,
                value=value,
                when=now,
                type=kind,
                tags=context[2],
                host=context[3] or self._host,
                interval=interval if kind != "gauge" else 0,
            )
            for context, group in contexts.items()
            for suffix, kind, value in self._values(context, group)
        ]

    def _values(self, context: Context, group: list[Sample]) -> list[tuple[str, str, float]]:
        values = [sample.value for sample in group]
        match context[0]:
            case "gauge":
                return [("", "gauge", values[-1])]
            case "count" | "counter":
                return [("", "count", sum(values))]
            case "rate":
                before, self._last[context] = self._last.get(context), group[-1]
                if before is None or group[-1].when <= before.when or group[-1].value < before.value:
                    return []
                return [("", "gauge", (group[-1].value - before.value) / (group[-1].when - before.when))]
            case "monotonic_count":
                before, self._last[context] = self._last.get(context), group[-1]
                known = [before.value] if before else [0.0] if group[0].first_counts else []
                steps = zip([*known, *values], [*known, *values][1:], strict=False)
                return [("", "count", sum(max(b - a, 0.0) for a, b in steps))] if len(known) + len(values) > 1 else []
            case "histogram":
                ordered = sorted(values)
                return [
                    (".max", "gauge", ordered[-1]),
                    (".median", "gauge", statistics.median_low(ordered)),
                    (".avg", "gauge", statistics.fmean(ordered)),
                    (".count", "rate", len(ordered)),
                    (".95percentile", "gauge", ordered[int(0.95 * len(ordered) - 1e-9)]),
                ]
        log.warning("The stand-in does not aggregate %s (%s)", context[0], context[1])
        return []

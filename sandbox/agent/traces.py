"""What the trace agent learns from the spans: how many came in, and the trace metrics.

A span counts where the real trace-agent computes statistics: it is its service's entry span, or is marked as measured.
Sources: https://docs.datadoghq.com/tracing/metrics/metrics_namespace/ and datadog-agent's ``pkg/trace/info``.
"""

import time
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .samples import Serie

FLUSH = 10
"""Seconds covered by one point of a trace metric."""

Source = tuple[str, str, str, str, str]
Key = tuple[str, tuple[str, ...]]
NOTHING = {"TracesDropped": {}, "SpansMalformed": {}, "TracesFiltered": 0, "SpansDropped": 0, "SpansFiltered": 0}


@dataclass
class Hits:
    """One resource in one flush; ``duration`` in nanoseconds, summed."""

    hits: int = 0
    errors: int = 0
    duration: int = 0


@dataclass
class TraceStats:
    """Counts spans; holds one minute of receiver counts and one flush of trace metrics, whatever the traffic."""

    host: str
    env: str = "none"
    _metrics: dict[Key, Hits] = field(default_factory=dict)
    _minute: deque[dict[Source, dict[str, int]]] = field(default_factory=lambda: deque([{}], maxlen=60 // FLUSH + 1))

    def add(self, source: Source, traces: Iterable[Sequence[Mapping[str, Any]]], size: int) -> None:
        """Count one payload of ``size`` bytes; ``source`` is as in :func:`source_of`."""
        counts = self._minute[-1].setdefault(
            source, {"TracesReceived": 0, "SpansReceived": 0, "TracesBytes": 0, "PayloadAccepted": 0}
        )
        counts["PayloadAccepted"] += 1
        counts["TracesBytes"] += size
        for trace in traces:
            counts["TracesReceived"] += 1
            counts["SpansReceived"] += len(trace)
            services = {span["span_id"]: span.get("service") for span in trace}
            for span in trace:
                measured = (span.get("metrics") or {}).get("_dd.measured") == 1
                if measured or services.get(span.get("parent_id")) != span.get("service"):
                    self._count(span)

    def _count(self, span: Mapping[str, Any]) -> None:
        meta = span.get("meta") or {}
        tags = {
            "env": meta.get("env") or self.env,
            "service": span.get("service") or "",
            "resource_name": span.get("resource") or "",
            "version": meta.get("version"),
        }
        key = (span["name"], tuple(f"{name}:{value}" for name, value in tags.items() if value))
        entry = self._metrics.setdefault(key, Hits())
        entry.hits += 1
        entry.errors += 1 if span.get("error") else 0
        entry.duration += span.get("duration") or 0

    def flush(self) -> list[Serie]:
        """The trace metrics since the last flush; latency is their mean in seconds, as a gauge."""
        now, metrics, self._metrics = time.time(), self._metrics, {}
        self._minute.append({})

        def serie(metric: str, tags: tuple[str, ...], kind: str, value: float) -> Serie:
            interval = FLUSH if kind == "count" else 0
            return Serie(metric=metric, value=value, when=now, type=kind, tags=tags, host=self.host, interval=interval)

        return [
            serie(f"trace.{name}{suffix}", tags, kind, value)
            for (name, tags), entry in metrics.items()
            for suffix, kind, value in (
                (".hits", "count", float(entry.hits)),
                (".errors", "count", float(entry.errors)),
                ("", "gauge", entry.duration / entry.hits / 1e9),
            )
        ]

    def receiver(self) -> list[dict[str, Any]]:
        """The previous minute, per tracer, in the shape of ``apmStats.receiver``."""
        total: dict[Source, dict[str, int]] = {}
        for part in self._minute:
            for source, counts in part.items():
                known = total.setdefault(source, {})
                known.update({name: known.get(name, 0) + count for name, count in counts.items()})
        names = ("Lang", "LangVersion", "Interpreter", "TracerVersion", "EndpointVersion")
        return [dict(zip(names, source, strict=True)) | counts | NOTHING for source, counts in total.items()]


def source_of(headers: Mapping[str, str], path: str) -> Source:
    """Which tracer sent a request, by its headers: language, its version, interpreter, tracer version, API version."""
    meta = [headers.get(f"Datadog-Meta-{name}", "") for name in ("Lang", "Lang-Version", "Lang-Interpreter")]
    return (meta[0], meta[1], meta[2], headers.get("Datadog-Meta-Tracer-Version", ""), path.split("/")[1])

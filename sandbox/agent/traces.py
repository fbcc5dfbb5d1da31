"""Counts received spans, and computes the statistics from which Datadog makes trace metrics.

As in the real trace-agent, a span counts if it is its service's entry span, or is marked as measured.
Sources: https://docs.datadoghq.com/tracing/metrics/metrics_namespace/ and datadog-agent's ``pkg/trace/info``, and
``pkg/proto/datadog/trace/stats.proto`` for the form of a payload.
"""

import time
from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

FLUSH = 10
"""Seconds covered by one bucket of statistics."""
KEPT = 10
"""Complete traces sent per second (``apm_config.max_traces_per_second``), besides those that their tracer keeps."""
USER_KEEP = 2
"""The priority of a trace that a sampling rule or the app keeps; the Agent's samplers don't drop it.

Source: https://docs.datadoghq.com/tracing/trace_pipeline/ingestion_mechanisms/
"""

Source = tuple[str, str, str, str, str]
Key = tuple[str, str, str, str, str]
NOTHING = {"TracesDropped": {}, "SpansMalformed": {}, "TracesFiltered": 0, "SpansDropped": 0, "SpansFiltered": 0}


@dataclass
class Hits:
    """One resource in one flush; ``duration`` sums nanoseconds; ``latencies`` counts them, rounded to three digits.

    The real trace agent sends a sketch, whose values are off by at most 1 %.
    """

    hits: int = 0
    errors: int = 0
    duration: int = 0
    latencies: Counter[int] = field(default_factory=Counter)


@dataclass
class TraceStats:
    """Counts spans; holds one minute of receiver counts and one flush of statistics, regardless of traffic."""

    host: str
    env: str = "none"
    version: str = "7"
    _groups: dict[Key, Hits] = field(default_factory=dict)
    _traces: list[Sequence[Mapping[str, Any]]] = field(default_factory=list)
    _kept: list[Sequence[Mapping[str, Any]]] = field(default_factory=list)
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
            if len(self._traces) < KEPT:
                self._traces.append(trace)
            elif any((span.get("metrics") or {}).get("_sampling_priority_v1", 0) >= USER_KEEP for span in trace):
                self._kept.append(trace)
            services = {span["span_id"]: span.get("service") for span in trace}
            for span in trace:
                measured = (span.get("metrics") or {}).get("_dd.measured") == 1
                if measured or services.get(span.get("parent_id")) != span.get("service"):
                    self._count(span)

    def _count(self, span: Mapping[str, Any]) -> None:
        meta = span.get("meta") or {}
        env, version = meta.get("env") or self.env, meta.get("version") or ""
        key = (env, version, span.get("service") or "", span["name"], span.get("resource") or "")
        entry = self._groups.setdefault(key, Hits())
        entry.hits += 1
        entry.errors += 1 if span.get("error") else 0
        duration = span.get("duration") or 0
        entry.duration += duration
        entry.latencies[round(float(f"{duration:.2e}"))] += 1

    def flush(self) -> dict[str, Any] | None:
        """Return the statistics since the last flush as a ``StatsPayload``; ``None`` without spans."""
        self._minute.append({})
        groups, self._groups = self._groups, {}
        if not groups:
            return None
        payloads: dict[tuple[str, str], list[dict[str, Any]]] = {}
        for (env, version, service, name, resource), entry in groups.items():
            group = {"Service": service, "Name": name, "Resource": resource}
            counts = {"Hits": entry.hits, "Errors": entry.errors, "Duration": entry.duration}
            latencies = {"Latencies": sorted(entry.latencies.items())}
            payloads.setdefault((env, version), []).append(group | counts | latencies)
        start = (int(time.time()) - FLUSH) * 10**9
        return {
            "AgentHostname": self.host,
            "AgentEnv": self.env,
            "AgentVersion": self.version,
            "Stats": [
                {
                    "Hostname": self.host,
                    "Env": env,
                    "Version": version,
                    "Stats": [{"Start": start, "Duration": FLUSH * 10**9, "Stats": entries}],
                }
                for (env, version), entries in payloads.items()
            ],
        }

    def flush_traces(self) -> dict[str, Any] | None:
        """Return the complete traces to send as an ``AgentPayload``; ``None`` if there are none."""
        traces, self._traces, self._kept = [*self._traces, *self._kept], [], []
        if not traces:
            return None
        chunks = [{"spans": [dict(span) for span in trace]} for trace in traces]
        return {
            "hostName": self.host,
            "env": self.env,
            "agentVersion": self.version,
            "tracerPayloads": [{"chunks": chunks}],
        }

    def receiver(self) -> list[dict[str, Any]]:
        """Return the previous minute per tracer, in the form of ``apmStats.receiver``."""
        total: dict[Source, dict[str, int]] = {}
        for part in self._minute:
            for source, counts in part.items():
                known = total.setdefault(source, {})
                known.update({name: known.get(name, 0) + count for name, count in counts.items()})
        names = ("Lang", "LangVersion", "Interpreter", "TracerVersion", "EndpointVersion")
        return [dict(zip(names, source, strict=True)) | counts | NOTHING for source, counts in total.items()]


def source_of(headers: Mapping[str, str], path: str) -> Source:
    """Identify a request's tracer by its headers: language and version, interpreter, tracer version, API version."""
    meta = [headers.get(f"Datadog-Meta-{name}", "") for name in ("Lang", "Lang-Version", "Lang-Interpreter")]
    return (meta[0], meta[1], meta[2], headers.get("Datadog-Meta-Tracer-Version", ""), path.split("/")[1])

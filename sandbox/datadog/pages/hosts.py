"""The host map, and a host's page: tags, Agent, checks and metrics."""

from collections.abc import Mapping
from typing import Any

from sandbox.datadog.evaluation import language, memory, rounds, series
from sandbox.datadog.evaluation.language import Query
from sandbox.datadog.pages import graphs, times
from sandbox.datadog.pages.graphs import Graph
from sandbox.datadog.pages.rendering import Asked, NotFoundError, Page
from sandbox.datadog.store import Store

GONE = 3 * 3600
"""Seconds without a point after which a host leaves the map.

Source: https://docs.datadoghq.com/infrastructure/hostmap/
"""

STATUSES = {0: "OK", 1: "Warning", 2: "Critical", 3: "Unknown"}
"""Source: https://docs.datadoghq.com/developers/service_checks/"""

OF_EVERY_HOST = ("system.cpu.user", "system.load.1", "system.mem.pct_usable", "system.net.bytes_rcvd")
NOT_DRAWN = ("system.", "datadog.", "trace.", "mysql.")
MOST = 8
"""The graphs on a host's page."""


def show(store: Store, asked: Asked) -> Page:
    """Show the map of all hosts, or the host of the URL's ``hostname``."""
    known = hosts(store)
    name = asked.query.get("hostname", "")
    if not name:
        return "hosts.html", {"hosts": list(known.values())}
    if name not in known:
        raise NotFoundError(f"No host of the name {name} has reported.")
    frame = times.frame(asked.query, store.now().timestamp())
    metrics = store.metrics(name)
    own = [metric for metric in metrics if not metric.startswith(NOT_DRAWN)]
    drawn = [*own, *(metric for metric in OF_EVERY_HOST if metric in metrics)][:MOST]
    return "host.html", {
        "host": known[name],
        "frame": frame,
        "spans": times.NAMES,
        "metrics": metrics,
        "graphs": [graph for metric in drawn if (graph := _graph(store, metric, name, frame)) is not None],
        "groups": rounds.names(store, (group for group in memory.groups(store) if group.tags.get("host") == name)),
    }


def hosts(store: Store) -> dict[str, dict[str, Any]]:
    """Return what is known of each host, by name."""
    found: dict[str, dict[str, Any]] = {}
    now, seen = store.now().timestamp(), store.last_seen()
    kept = {host["name"]: host for host in store.all("host")}
    checks: dict[str, list[Mapping[str, Any]]] = {}
    for check in store.all("check"):
        checks.setdefault(check["host_name"], []).append(check)
    for name in sorted({*seen, *kept}):
        host = kept.get(name, {"last_reported_time": 0, "metadata": {}})
        last = max(seen.get(name, 0.0), float(host["last_reported_time"]))
        own = sorted(checks.get(name, []), key=lambda check: (-int(check["status"]), str(check["check"])))
        found[name] = {
            "name": name,
            "last": last,
            "up": now - last < GONE,
            "version": host["metadata"].get("agentVersion", ""),
            "os": host["metadata"].get("os", ""),
            "tags": (host["metadata"].get("host-tags") or {}).get("system") or [],
            "checks": [{**check, "word": STATUSES.get(check["status"], "Unknown")} for check in own],
            "worst": STATUSES.get(max((int(check["status"]) for check in own), default=3), "Unknown"),
        }
    return found


def _graph(store: Store, metric: str, host: str, frame: times.Frame) -> Graph | None:
    """Return the graph of a host's metric, if it can be drawn without a function."""
    every = series.interval(frame.span)
    by = ("device",) if metric.startswith("system.net.") else ()
    try:
        found = series.evaluate(
            series.Source(store),
            Query(how="avg", metric=metric, scope=(f"host:{host}",), by=by),
            frame.start,
            frame.end,
            every,
        )
    except language.UnknownFormError:
        return None
    lines = list(graphs.lines(found, metric, by, every=every))
    return Graph(name=metric, frame=frame, lines=lines, columns=("avg", "min", "max", "value"))

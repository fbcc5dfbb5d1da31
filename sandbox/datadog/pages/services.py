"""Pages of services: resources with hits, errors and latency, and traces as flame graphs.

Source: https://docs.datadoghq.com/tracing/services/service_page/
"""

import itertools
import re
from collections.abc import Mapping
from typing import Any

from sandbox.datadog.evaluation import language, series, spans
from sandbox.datadog.evaluation.language import Query
from sandbox.datadog.pages import graphs, times
from sandbox.datadog.pages.graphs import Graph, Line
from sandbox.datadog.pages.rendering import Asked, NotFoundError, Page
from sandbox.datadog.store import Store

HITS = re.compile(r"trace\.(?P<operation>.+)\.hits")
PERCENTILES = ("p50", "p95", "p99")
TRACES = 25
"""Maximum traces on a service's page."""


def known(store: Store) -> dict[tuple[str, str], set[str]]:
    """Return the operations of each service, by service and env."""
    found: dict[tuple[str, str], set[str]] = {}
    for metric in store.metrics():
        if match := HITS.fullmatch(metric):
            for each in store.series(metric):
                tags = dict(tag.partition(":")[::2] for tag in each.tags)
                place = (tags.get("service", ""), tags.get("env", ""))
                found.setdefault(place, set()).add(match["operation"])
    return found


def list_all(store: Store, _: Asked) -> Page:
    """List all services."""
    rows = [
        {"service": service, "env": env, "operation": operation}
        for (service, env), operations in sorted(known(store).items())
        for operation in sorted(operations)
    ]
    return "services.html", {"rows": rows}


def list_traces(store: Store, asked: Asked) -> Page:
    """List the latest traces with a span that matches the URL's ``query``."""
    text, fault, rows = asked.query.get("query", "*"), "", list[dict[str, Any]]()
    try:
        matches = spans.query(text)
        found = (trace for trace in store.latest_traces() if any(matches(span) for span in trace["spans"]))
        rows = list(itertools.islice(found, TRACES))
    except language.UnknownFormError as error:
        fault = str(error)
    return "traces.html", {"query": text, "fault": fault, "rows": rows}


def show(store: Store, asked: Asked) -> Page:
    """Show a service, by a URL such as ``/apm/entity/service:NAME?env=dev&operationName=flask.request``."""
    service = asked.match["entity"].removeprefix("service:")
    places = {place: operations for place, operations in known(store).items() if place[0] == service}
    env = asked.query.get("env") or next((env for _, env in places), "")
    operation = asked.query.get("operationName") or next(iter(sorted(places.get((service, env), []))), "")
    if not places:
        raise NotFoundError(f"No service of the name {service} has sent traces.")
    frame = times.frame(asked.query, store.now().timestamp())
    source = series.Source(store)
    scope = (f"service:{service}", *([f"env:{env}"] if env else []))
    return "service.html", {
        "service": service,
        "env": env,
        "operation": operation,
        "frame": frame,
        "spans": times.NAMES,
        "kept": {"env": env, "operationName": operation},
        "resources": resources(source, operation, scope, frame),
        "graphs": _graphs(source, operation, scope, frame),
        "traces": store.traces(service, frame.start, frame.end, TRACES),
    }


def resources(
    source: series.Source, operation: str, scope: tuple[str, ...], frame: times.Frame
) -> list[dict[str, Any]]:
    """Return each resource's figures for the time frame, the one with the most hits first."""

    def of(metric: str, how: str, modifier: language.Modifier = "") -> dict[str, float]:
        query = Query(how=how, metric=metric, scope=scope, by=("resource_name",), modifier=modifier)
        return series.whole(source, query, frame.start, frame.end)

    hits = of(f"trace.{operation}.hits", "sum", "as_count")
    errors = of(f"trace.{operation}.errors", "sum", "as_count")
    latency = {percentile: of(f"trace.{operation}", percentile) for percentile in PERCENTILES}
    return [
        {
            "name": name,
            "hits": hits[name],
            "errors": errors.get(name, 0.0),
            "latency": [_milliseconds(latency[percentile].get(name)) for percentile in PERCENTILES],
        }
        for name in sorted(hits, key=lambda name: -hits[name])
    ]


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else 1000 * seconds


def _graphs(source: series.Source, operation: str, scope: tuple[str, ...], frame: times.Frame) -> list[Graph]:
    bars, lines = series.interval(frame.span, bars=True), series.interval(frame.span)
    counted: list[Line] = []
    for name, palette in (("hits", ""), ("errors", "warm")):
        query = Query(how="sum", metric=f"trace.{operation}.{name}", scope=scope, modifier="as_count")
        found = series.evaluate(source, query, frame.start, frame.end, bars)
        counted += graphs.lines(found, name, (), bars=True, palette=palette, every=bars)
    latency: list[Line] = []
    for percentile in PERCENTILES:
        query = Query(how=percentile, metric=f"trace.{operation}", scope=scope)
        found = series.evaluate(source, query, frame.start, frame.end, lines)
        latency += graphs.lines(found, percentile, (), every=lines)
    return [
        Graph(name="Hits and errors", frame=frame, lines=counted, columns=("sum", "max", "value")),
        Graph(name="Latency", frame=frame, lines=latency, axes={"left": {"label": "seconds"}}),
    ]


def show_trace(store: Store, asked: Asked) -> Page:
    """Show a trace: its spans as bars, each below its parent."""
    trace = store.trace(asked.match["trace"])
    if trace is None:
        raise NotFoundError(f"There is no trace {asked.match['trace']}; only the latest ones are kept.")
    return "trace.html", {"trace": trace, "spans": flame(trace["spans"])}


def flame(spans: list[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the spans in a flame graph's order, with their ``depth`` and their position in percent."""
    known = {span["span_id"] for span in spans}
    children: dict[Any, list[Mapping[str, Any]]] = {}
    for span in sorted(spans, key=lambda span: span["start"]):
        parent = span.get("parent_id")
        children.setdefault(parent if parent in known and parent != span["span_id"] else None, []).append(span)
    begin = min(span["start"] for span in spans)
    whole = max(max(span["start"] + span["duration"] for span in spans) - begin, 1)
    found: list[dict[str, Any]] = []
    waiting = [(span, 0) for span in reversed(children.get(None, []))]
    while waiting:
        span, depth = waiting.pop()
        found.append(
            {
                "depth": depth,
                "left": 100 * (span["start"] - begin) / whole,
                "width": 100 * span["duration"] / whole,
                "milliseconds": span["duration"] / 1e6,
                "name": span["name"],
                "service": span.get("service") or "",
                "resource": span.get("resource") or "",
                "error": bool(span.get("error")),
                "tags": sorted((span.get("meta") or {}).items()),
            }
        )
        waiting += [(child, depth + 1) for child in reversed(children.pop(span["span_id"], []))]
    return found

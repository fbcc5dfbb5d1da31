"""Handles Agents' submissions, events, queries, snapshots, and the Agent's installation."""

import asyncio
import datetime
import json
import secrets
from collections.abc import Iterator, Mapping
from typing import Any

import polars as pl
from aiohttp import web
from datadog_api_client.v1.model.event_create_request import EventCreateRequest as EventV1
from datadog_api_client.v1.model.metrics_payload import MetricsPayload as SeriesV1
from datadog_api_client.v1.model.service_check import ServiceCheck
from datadog_api_client.v2.model.event_create_request_payload import EventCreateRequestPayload as EventV2
from datadog_api_client.v2.model.metric_payload import MetricPayload as SeriesV2

from sandbox.datadog import queries, snapshot
from sandbox.datadog.evaluation import language, series, spans
from sandbox.datadog.evaluation.language import Query, UnknownFormError
from sandbox.datadog.handling import STORE, parsed, thing
from sandbox.datadog.schema import RefusedError, check
from sandbox.datadog.store import Kind, Point

# Events, and what Agents submit


async def list_events(request: web.Request) -> web.Response:
    return web.json_response({"events": request.app[STORE].all("event")})


LATEST = 4_102_444_800
"""The year 2100, in Unix seconds."""

LONGEST_TEXT = 4000
OLDEST_EVENT = 18 * 3600
"""Seconds. Source: https://docs.datadoghq.com/api/latest/events/#post-an-event"""


def _keep_event(request: web.Request, event: dict[str, Any]) -> dict[str, Any]:
    store = request.app[STORE]
    if len(event.get("text", "")) > LONGEST_TEXT:
        raise RefusedError(400, f"The text of an event has {LONGEST_TEXT} characters at most")
    happened = event.get("date_happened")
    if isinstance(happened, int) and happened > LATEST:
        raise RefusedError(400, "date_happened is in Unix seconds")
    if isinstance(happened, int) and happened < store.now().timestamp() - OLDEST_EVENT:
        raise RefusedError(400, "date_happened can't be older than 18 hours")
    kept = {"date_happened": int(store.now().timestamp()), **event, "id": store.next("event", 7_000_000_001)}
    store.put("event", str(kept["id"]), kept)
    return kept


async def create_event_v1(request: web.Request) -> web.Response:
    event = _keep_event(request, await parsed(request, EventV1))
    return web.json_response({"status": "ok", "event": event}, status=202)


async def create_event_v2(request: web.Request) -> web.Response:
    body = await parsed(request, EventV2)
    given = body["data"]["attributes"]
    happened = {}
    if given.get("timestamp"):
        try:
            happened["date_happened"] = int(datetime.datetime.fromisoformat(given["timestamp"]).timestamp())
        except (ValueError, OverflowError) as error:
            raise RefusedError(400, f"timestamp is no time: {error}") from error
    event = _keep_event(request, {**given, **happened, "text": given.get("message") or ""})
    answer = {"id": str(event["id"]), "type": "event", "attributes": {"attributes": {"evt": {"id": str(event["id"])}}}}
    return web.json_response({"data": answer}, status=202)


KINDS: Mapping[Any, Kind] = {"count": "count", "rate": "rate", 1: "count", 2: "rate"}
"""The types of series in versions 1 and 2 of the API; any other is a gauge."""


async def take_series_v1(request: web.Request) -> web.Response:
    body = await parsed(request, SeriesV1)
    request.app[STORE].add_points(
        Point(
            metric=series["metric"],
            at=at,
            value=value,
            host=series.get("host", ""),
            tags=series.get("tags", []),
            kind=KINDS.get(series.get("type"), "gauge"),
            interval=series.get("interval") or 0,
        )
        for series in body["series"]
        for at, value in series["points"]
    )
    return web.json_response({"status": "ok"}, status=202)


async def take_series_v2(request: web.Request) -> web.Response:
    body = await parsed(request, SeriesV2)
    request.app[STORE].add_points(
        Point(
            metric=series["metric"],
            at=point["timestamp"],
            value=point["value"],
            host=next((entry["name"] for entry in series.get("resources", []) if entry["type"] == "host"), ""),
            tags=series.get("tags", []),
            kind=KINDS.get(series.get("type"), "gauge"),
            interval=series.get("interval") or 0,
        )
        for series in body["series"]
        for point in series["points"]
    )
    return web.json_response({"errors": []}, status=202)


async def take_checks(request: web.Request) -> web.Response:
    store, body = request.app[STORE], await parsed(request)
    for entry in body if isinstance(body, list) else [body]:
        check(entry, ServiceCheck)
        store.put("check", f"{entry['check']} {entry['host_name']} {sorted(entry['tags'])}", entry)
    return web.json_response({"status": "ok"}, status=202)


async def take_host(request: web.Request) -> web.Response:
    """Take host metadata from an Agent; the client library has no model of it, so only the name is checked."""
    store, body = request.app[STORE], await parsed(request)
    name = body.get("internalHostname") if isinstance(body, dict) else None
    if not isinstance(name, str) or not name:
        raise RefusedError(400, "Host metadata needs internalHostname")
    host = {key: value for key, value in body.items() if key != "apiKey"}
    store.put("host", name, {"name": name, "last_reported_time": int(store.now().timestamp()), "metadata": host})
    return web.json_response({"status": "ok"}, status=202)


async def take_stats(request: web.Request) -> web.Response:
    """Take span statistics from a trace agent, and make the trace metrics; latency has no host.

    Source: https://docs.datadoghq.com/tracing/metrics/metrics_namespace/
    """
    store, body = request.app[STORE], await parsed(request)
    try:
        points = list(trace_metrics(body))
    except (KeyError, TypeError, AttributeError) as error:
        raise RefusedError(400, f"not the statistics of a trace agent: {error!r}") from error
    store.add_points(points)
    return web.Response(status=202)


def trace_metrics(body: Any) -> Iterator[Point]:
    """Yield the points of trace metrics; for latency, one for each distinct value in a bucket."""
    for payload in body["Stats"]:
        for bucket in payload["Stats"]:
            at = (bucket["Start"] + bucket["Duration"]) / 1e9
            for group in bucket["Stats"]:
                tags = {"env": payload["Env"], "service": group["Service"], "resource_name": group["Resource"]}
                tags |= {"version": payload["Version"]}
                texts = [f"{name}:{value}" for name, value in tags.items() if value]
                name = f"trace.{group['Name']}"
                for suffix, count in ((".hits", group["Hits"]), (".errors", group["Errors"])):
                    yield Point(
                        metric=name + suffix, at=at, value=count, host=payload["Hostname"], tags=texts, kind="count"
                    )
                average = group["Duration"] / group["Hits"]
                for latency, weight in group.get("Latencies") or [(average, group["Hits"])]:
                    yield Point(metric=name, at=at, value=latency / 1e9, tags=texts, kind="distribution", weight=weight)


async def take_traces(request: web.Request) -> web.Response:
    """Take the complete traces that a trace agent keeps, and make span-based metrics of them."""
    body = await parsed(request)
    if not isinstance(body, dict) or not body.get("tracerPayloads"):
        raise RefusedError(400, "not the traces of a trace agent")
    store = request.app[STORE]
    try:
        chunks = [chunk["spans"] for payload in body["tracerPayloads"] for chunk in payload["chunks"] if chunk["spans"]]
        traces = [_trace(chunk, str(body.get("hostName") or "")) for chunk in chunks]
        points = list(spans.points(store, chunks))
    except (KeyError, TypeError, AttributeError) as error:
        raise RefusedError(400, f"not the traces of a trace agent: {error!r}") from error
    store.add_traces(traces)
    store.add_points(points)
    return web.Response(status=202)


def _trace(spans: list[dict[str, Any]], host: str) -> dict[str, Any]:
    """Describe a trace by its root span, whose parent isn't in it."""
    known = {span["span_id"] for span in spans}
    first = next((span for span in spans if span.get("parent_id") not in known), spans[0])
    return {
        "id": str(first.get("trace_id", first["span_id"])),
        "at": first["start"] / 1e9,
        "host": host,
        "service": str(first.get("service") or ""),
        "name": str(first["name"]),
        "resource": str(first.get("resource") or ""),
        "duration": first["duration"] / 1e9,
        "error": int(bool(first.get("error"))),
        "spans": spans,
    }


async def list_hosts(request: web.Request) -> web.Response:
    store = request.app[STORE]
    hosts = {host["name"]: host for host in store.all("host")}
    for name, at in store.last_seen().items():
        hosts.setdefault(name, {"name": name, "last_reported_time": int(at)})
    found = [{**host, "host_name": name, "up": True} for name, host in hosts.items()]
    return web.json_response({"host_list": found, "total_matching": len(found), "total_returned": len(found)})


# Queries and pictures


def _times(request: web.Request, first: str, last: str) -> tuple[float, float]:
    try:
        start, end = float(request.query[first]), float(request.query[last])
    except (KeyError, ValueError) as error:
        raise RefusedError(400, f"{first} and {last} are required, in Unix seconds") from error
    if not (0 <= start <= LATEST and 0 <= end <= LATEST):
        raise RefusedError(400, f"{first} and {last} are in Unix seconds, from 1970 to 2100")
    return start, end


MOST_SECONDS = 30
"""Minimum points of a time frame, if there is data for them; graphs of minutes have fewer."""


def _evaluated(request: web.Request, text: str, start: float, end: float) -> tuple[Query, int, pl.DataFrame]:
    """Evaluate a query as for a graph; return the series, and the interval in seconds."""
    queries.check(text)
    try:
        query = language.parse(text)
        every = query.interval or max(1, min(series.interval(end - start), int((end - start) // MOST_SECONDS)))
        return query, every, series.evaluate(series.Source(request.app[STORE]), query, start, end, every)
    except UnknownFormError as error:
        raise RefusedError(400, f"The sandbox does not evaluate {error}") from error


def _lines(found: pl.DataFrame) -> dict[str, list[tuple[float, float]]]:
    """Return the points of each group."""
    lines: dict[str, list[tuple[float, float]]] = {}
    for group, at, value in found.select("group", "at", "value").iter_rows():
        if value is not None:
            lines.setdefault(group, []).append((at, value))
    return lines


async def query(request: web.Request) -> web.Response:
    """Answer a query with one series for each group.

    Source: https://docs.datadoghq.com/api/latest/metrics/#query-timeseries-points
    """
    start, end = _times(request, "from", "to")
    text = request.query.get("query", "")
    parsed, every, found = _evaluated(request, text, start, end)
    answer = []
    for group, points in _lines(found).items():
        tags = [f"{key}:{value}" for key, value in language.tags(group, parsed.by).items()]
        answer.append(
            {
                "metric": parsed.metric,
                "scope": ",".join(tags or parsed.scope) or "*",
                "tag_set": tags,
                "pointlist": [[at * 1000, value] for at, value in points],
                "start": int(points[0][0] * 1000),
                "end": int((points[-1][0] + every) * 1000) - 1,
                "interval": every,
                "length": len(points),
                "aggr": parsed.how,
                "expression": text,
            }
        )
    return web.json_response({"status": "ok", "query": text, "group_by": list(parsed.by), "series": answer})


def _graph(graph: str) -> list[str]:
    """Return the queries of a ``graph_def``; refuse one that isn't a graph.

    Source: https://docs.datadoghq.com/api/latest/snapshots/#take-graph-snapshots
    """
    try:
        requests = json.loads(graph)["requests"]
        return [str(request["q"]) for request in requests]
    except (ValueError, TypeError, KeyError) as error:
        raise RefusedError(400, 'graph_def must be JSON with {"requests": [{"q": "avg:metric{*}"}]}') from error


async def create_snapshot(request: web.Request) -> web.Response:
    start, end = _times(request, "start", "end")
    text, graph = request.query.get("metric_query", ""), request.query.get("graph_def", "")
    if not text and not graph:
        raise RefusedError(400, "One of metric_query or graph_def is required")
    if start >= end:
        raise RefusedError(400, "start must be before end")
    asked = _graph(graph) if graph else [text]
    lines = [line for each in asked for line in _lines(_evaluated(request, each, start, end)[2]).values()]
    name = secrets.token_hex(16)
    title = request.query.get("title") or text or "graph"
    request.app[STORE].put("snapshot", name, {"svg": snapshot.draw(title, lines, start, end)})
    url = f"{request.url.origin()}/snapshot/{name}.svg"
    return web.json_response({"graph_def": graph, "metric_query": text, "snapshot_url": url})


async def show_snapshot(request: web.Request) -> web.Response:
    picture = thing(request, "snapshot", request.match_info["name"], "Snapshot not found")
    return web.Response(text=picture["svg"], content_type="image/svg+xml")


# The stand-in Agent's installation


async def agent_script(request: web.Request) -> web.Response:
    from sandbox import agent  # only who installs an Agent needs it

    # A machine knows this server by another address than the host: the one of its request.
    return web.Response(text=agent.install_script(str(request.url.origin())), content_type="text/x-shellscript")


async def agent_file(request: web.Request) -> web.Response:
    """Serve a file of the Agent's repository, or one of its keys."""
    from sandbox.agent import repository  # only who installs an Agent needs it

    folder = await asyncio.to_thread(repository.ensure)
    path = (folder / request.match_info["kind"] / request.match_info["path"]).resolve()
    if not path.is_relative_to(folder) or not path.is_file():
        raise web.HTTPNotFound
    return web.Response(body=path.read_bytes(), content_type="application/octet-stream")


async def take_install_report(_: web.Request) -> web.Response:
    """Take the install script's telemetry, which really goes to another host of Datadog's."""
    return web.Response(status=202)

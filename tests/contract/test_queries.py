"""Every query of the dashboards, the monitor and the snapshot can return data.

Checked against Datadog's documentation of each metric (``sandbox/datadog/metrics.py``): tags, kind and unit.
"""

import json
from collections.abc import Iterator
from typing import Any
from unittest import mock

import pytest

from components.custom_check import MY_METRIC
from sandbox.datadog import queries
from sandbox.datadog.metrics import DOCUMENTED, HOST_TAGS
from sandbox.datadog.schema import RefusedError
from watchpost import snapshot

from . import program

Widget = dict[str, Any]

AXES = {
    "percent": ("CPU, percent",),
    "byte per second": ("loopback, bytes per second",),
    "segment per second": ("TCP segments per second, all interfaces",),
    "second": ("seconds",),
    "core": ("CPU cores",),
    "request per second": ("requests per second",),
}
"""Axis labels by unit. A count, and a custom metric, need none."""


def boards(inputs: program.Inputs) -> list[dict[str, Any]]:
    return [json.loads(board["dashboard"]) for board in inputs["datadog:index/dashboardJson:DashboardJson"]]


def graphs(board: dict[str, Any]) -> Iterator[tuple[Widget, dict[str, Any], queries.Selector]]:
    """Yield each metric of a dashboard with its widget and request."""
    for widget in board["widgets"]:
        for request in widget["definition"]["requests"]:
            for query in request["queries"]:
                for selector in queries.selectors(query["query"]):
                    yield widget["definition"], request, selector


def unit(selector: queries.Selector) -> str:
    """Return the unit of its graph."""
    documented = DOCUMENTED[selector.metric].unit
    return f"{documented} per second" if "as_rate" in selector.functions else documented


@pytest.fixture(params=program.SETTINGS)
def inputs(request: pytest.FixtureRequest, resources: dict[str, program.Inputs]) -> program.Inputs:
    return resources[request.param]


def test_every_metric_is_one_that_is_documented(inputs: program.Inputs) -> None:
    texts = [query for board in boards(inputs) for query in _texts(board)]
    texts += [monitor["query"] for monitor in inputs["datadog:index/monitor:Monitor"]]
    assert len(texts) >= 15
    for text in texts:
        found = list(queries.selectors(text))
        assert found, text
        assert {selector.metric for selector in found} <= set(DOCUMENTED), text


def _texts(board: dict[str, Any]) -> Iterator[str]:
    for widget in board["widgets"]:
        for request in widget["definition"]["requests"]:
            yield from (query["query"] for query in request["queries"])


def test_every_dashboard_asks_for_tags_that_its_metrics_carry(inputs: program.Inputs) -> None:
    for board in boards(inputs):
        queries.check_dashboard(board)
        variables = {variable["name"]: variable["prefix"] for variable in board["template_variables"]}
        for _, _, selector in graphs(board):
            keys = {variables[tag[1:]] if tag.startswith("$") else tag for tag in selector.tags}
            assert keys <= DOCUMENTED[selector.metric].carries, selector


def test_the_monitor_groups_by_a_tag_that_the_check_sends(inputs: program.Inputs) -> None:
    for monitor in inputs["datadog:index/monitor:Monitor"]:
        (selector,) = queries.selectors(monitor["query"])
        assert not list(queries.faults(selector))
        assert selector.tags == HOST_TAGS | {"custom_check"}


V1 = "datadog_api_client.v1.api"


def test_the_snapshot_asks_for_tags_that_the_check_sends() -> None:
    with mock.patch(f"{V1}.snapshots_api.SnapshotsApi") as api, mock.patch(f"{V1}.events_api.EventsApi") as events:
        api.return_value.get_graph_snapshot.return_value.snapshot_url = "https://p.example.com/x.png"
        events.return_value.create_event.return_value.event.id = 1
        snapshot.send(mock.sentinel.datadog, MY_METRIC, "dev", 5, ["you@example.com"])
    (selector,) = queries.selectors(api.return_value.get_graph_snapshot.call_args.kwargs["metric_query"])
    assert selector.metric == MY_METRIC.name
    assert not list(queries.faults(selector))
    assert selector.tags <= DOCUMENTED[MY_METRIC.name].carries


def test_every_axis_has_one_unit_and_says_which(inputs: program.Inputs) -> None:
    for board in boards(inputs):
        axes: dict[tuple[str, str], set[str]] = {}
        labels: dict[tuple[str, str], str] = {}
        for widget, request, selector in graphs(board):
            if widget["type"] != "timeseries":
                continue
            side = "right_yaxis" if request.get("on_right_yaxis") else "yaxis"
            place = (widget["title"], side)
            axes.setdefault(place, set()).add(unit(selector))
            labels[place] = (widget.get(side) or {}).get("label", "")
        for place, units in axes.items():
            if units == {"request", "error"}:  # both counts, side by side
                continue
            (only,) = units
            assert labels[place] in AXES.get(only, ("",)), place


def test_a_graph_of_hours_shows_more_than_one_of_them(inputs: program.Inputs) -> None:
    spans = {"1h": 1, "4h": 4, "1d": 24, "2d": 48, "1w": 168}
    hourly = [
        widget["definition"]
        for board in boards(inputs)
        for widget in board["widgets"]
        if ".rollup(sum, 3600)" in json.dumps(widget)
    ]
    assert len(hourly) == 1
    assert spans[hourly[0]["time"]["live_span"]] > 1


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ("p95:trace.flask.request{host:vm}", "trace.flask.request carries no tag host"),
        ("p95:trace.flask.request{*} by {host}", "trace.flask.request carries no tag host"),
        ("avg:trace.flask.request{$host}", "trace.flask.request carries no tag host"),
        ("avg:system.net.tcp.in_segs{device:lo}", "system.net.tcp.in_segs carries no tag device"),
        ("avg:system.cpu.user{*} by {resource_name}", "system.cpu.user carries no tag resource_name"),
        ("p95:system.cpu.user{*}", "p95 needs a distribution"),
        ("avg:system.cpu.user{*}.as_count()", "as_count() and as_rate() need a count or a rate"),
        ("sum:trace.flask.request.hits{*}.as_cuont()", "there is no function as_cuont()"),
    ],
)
def test_a_query_of_which_nothing_can_come_is_refused(query: str, sentence: str) -> None:
    with pytest.raises(RefusedError) as refused:
        queries.check(query, {"host": "host"})
    assert sentence in " ".join(refused.value.errors)


@pytest.mark.parametrize(
    "query",
    [
        "avg:system.cpu.user{env:dev,$host} by {host}.rollup(avg, 60)",
        "avg:system.cpu.user{team:example}",  # a tag from datadog.yaml
        "sum:trace.flask.request.hits{service:x AND !env:dev} by {resource_name,host}.as_count()",
        "avg:system.net.bytes_rcvd{device:lo}",
        "p99:trace.flask.request{$service,$env} by {resource_name}",
        "avg:somebody.elses{anything:at_all}",
    ],
)
def test_a_query_that_makes_sense_is_taken(query: str) -> None:
    queries.check(query, {"host": "host", "service": "service", "env": "env"})


@pytest.mark.parametrize(
    ("formula", "sentence"),
    [
        ("query2", "names no query of its request: query2"),
        ("query1 / hits", "names no query of its request: hits"),
        ("anomalies(query1, 'simple', 3)", "the algorithm is one of basic, agile, robust"),
        ("anomalies(query1, 'basic', 0)", "the bounds are a positive number"),
        ("anomalies(query1, 'basic')", "the bounds are a positive number"),
    ],
)
def test_a_formula_of_which_nothing_can_come_is_refused(formula: str, sentence: str) -> None:
    with pytest.raises(RefusedError) as refused:
        queries.check_formula(formula, ["query1"])
    assert sentence in " ".join(refused.value.errors)


@pytest.mark.parametrize("formula", ["query1", "anomalies(query1, 'basic', 3)", "abs(query1) * 100 / query2"])
def test_a_formula_over_its_queries_is_taken(formula: str) -> None:
    queries.check_formula(formula, ["query1", "query2"])

"""Span-based metrics, monitors by customer, composites, SLOs and webhooks work as documented: cases with sources."""

import datetime
import json
import threading
import urllib.parse
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from sandbox.agent.traces import KEPT, TraceStats
from sandbox.datadog import monitors
from sandbox.datadog.evaluation import (
    composites,
    formulas,
    language,
    memory,
    rounds,
    series,
    slos,
    spans,
    webhooks,
    windows,
)
from sandbox.datadog.evaluation.language import UnknownFormError
from sandbox.datadog.evaluation.memory import Group
from sandbox.datadog.evaluation.messages import State
from sandbox.datadog.store import Point, Store, opened

GENERATE = "https://docs.datadoghq.com/tracing/trace_pipeline/generate_metrics/"
INGESTION = "https://docs.datadoghq.com/tracing/trace_pipeline/ingestion_mechanisms/"
SPAN_QUERIES = "https://docs.datadoghq.com/tracing/trace_explorer/query_syntax/"
AS_COUNT = "https://docs.datadoghq.com/monitors/guide/as-count-in-monitor-evaluations/"
COUNT = "https://docs.datadoghq.com/dashboards/functions/count/"
DEFAULT_ZERO = "https://docs.datadoghq.com/dashboards/functions/interpolation/#default-zero"
PERCENTILES = "https://docs.datadoghq.com/metrics/distributions/"
ANOMALY = "https://docs.datadoghq.com/monitors/types/anomaly/"
COMPOSITE = "https://docs.datadoghq.com/monitors/types/composite/"
MISSING = "https://docs.datadoghq.com/monitors/guide/on_missing_data/"
BURN_RATE = "https://docs.datadoghq.com/service_management/service_level_objectives/burn_rate/"
BUDGET = "https://docs.datadoghq.com/service_management/service_level_objectives/"
WEBHOOKS = "https://docs.datadoghq.com/integrations/webhooks/"

BEGIN = datetime.datetime(2026, 3, 2, 9, 0, tzinfo=datetime.UTC)
START = BEGIN.timestamp()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with opened(tmp_path) as store:
        yield store


# Span-based metrics


def span(duration: float = 0.1, *, error: int = 0, **meta: Any) -> dict[str, Any]:
    """An entry span of ``duration`` seconds; underscores in the names of tags stand for dots."""
    tags = {"env": "dev", **{name.replace("_", "."): value for name, value in meta.items()}}
    return {
        "span_id": 1,
        "service": "shop",
        "name": "flask.request",
        "resource": "POST /api/orders",
        "start": int(START * 1e9),
        "duration": int(duration * 1e9),
        "error": error,
        "meta": tags,
        "metrics": {"http.status_code": 500 if error else 200, "items": 3},
    }


JOURNEY: dict[str, Any] = {"journey_step": "pay", "customer_tier": "gold", "customer_id": "0123456789abcdef"}

SPANS = [
    # query, whether the span of JOURNEY matches, whether a span without tags does
    ("*", True, True),
    ("service:shop env:dev", True, True),
    ("service:shop AND env:prod", False, False),
    ("service:sh*", True, True),
    ('service:"shop"', True, True),
    ("@journey.step:*", True, False),
    ("@journey.step:pay", True, False),
    ("-@journey.step:pay", False, True),
    ("NOT @journey.step:pay", False, True),
    ("@customer.tier:(gold OR silver)", True, False),
    ("@customer.tier:(silver OR bronze)", False, False),
    ("@duration:>1s", True, False),
    ("@duration:>=2000ms", True, False),
    ("@duration:<500000000", False, True),
    ("@items:>2", True, True),
    ("status:error", True, False),
    ("-status:error", False, True),
    ("service:shop status:error OR env:nowhere", True, False),
    ("env:nowhere OR service:shop status:error", True, False),
    ("(env:nowhere OR service:shop) -status:error", False, True),
    ("service:shop (status:error OR (@journey.step:place @duration:>1ms))", True, False),
    ("service:shop -(status:error OR (@journey.step:place @duration:>1ms))", False, True),
    ("operation_name:flask.request resource_name:POST*", True, True),
]


@pytest.mark.parametrize(("query", "journey", "plain"), SPANS)
def test_a_span_query_matches_what_is_documented(query: str, journey: bool, plain: bool) -> None:
    matches = spans.query(query)
    assert (matches(span(2, error=1, **JOURNEY)), matches(span())) == (journey, plain), SPAN_QUERIES


def test_an_escaped_slash_is_one_of_the_value() -> None:
    matches = spans.query(r"service:shop @journey.step:(buy\/now OR pay\/now)")
    assert matches(span(**{**JOURNEY, "journey_step": "pay/now"})), SPAN_QUERIES
    assert not matches(span(**JOURNEY)), SPAN_QUERIES


@pytest.mark.parametrize(
    "query", ["host:a", "@a:[1 TO 2]", "(service:shop", "service:shop)", "shop", "@a:>1s", "NOT", "@a:(b c)"]
)
def test_another_span_query_is_refused_by_name(query: str) -> None:
    with pytest.raises(UnknownFormError):
        spans.query(query)


def register(store: Store, name: str, query: str, by: Sequence[str] = (), *, timed: bool = False) -> None:
    compute = {"aggregation_type": "distribution", "include_percentiles": True, "path": "@duration"}
    group_by = [{"path": path, "tag_name": path.rpartition(".")[2]} for path in by]
    attributes = {
        "compute": compute if timed else {"aggregation_type": "count"},
        "filter": {"query": query},
        "group_by": group_by,
    }
    store.put(spans.KIND, name, {"id": name, "type": "spans_metrics", "attributes": attributes})


def test_a_span_counts_once_in_each_metric_that_matches_it_by_its_tags(store: Store) -> None:
    register(store, "orders", "service:shop @journey.step:*", ["@customer.tier", "@journey.step"])
    register(store, "latency", "service:shop @journey.step:*", ["@customer.tier"], timed=True)
    register(store, "errors", "status:error @journey.step:*", ["@customer.tier"])
    register(store, "unknown", "host:a")
    store.add_points(spans.points(store, [[span(2, error=1, **JOURNEY), span()], [span(0.5, **JOURNEY)]]))
    assert store.metrics() == ["errors", "latency", "orders"], GENERATE
    source = series.Source(store)

    def whole(query: str) -> dict[str, float]:
        return series.whole(source, language.parse(query), START, START + 60)

    assert whole("sum:orders{*} by {tier,step}.as_count()") == {"gold,pay": 2}
    assert whole("sum:errors{*}.as_count()") == {"*": 1}
    # In nanoseconds, as the spans' own duration.
    assert whole("p50:latency{tier:gold}") == {"*": 0.5e9}
    assert whole("p99:latency{tier:gold}") == {"*": 0.5e9}
    assert whole("avg:latency{tier:gold}") == {"*": 1.25e9}
    assert all(not each.tags or "host:" not in str(each.tags) for each in store.series("orders"))


def test_the_trace_agent_sends_every_trace_that_its_tracer_keeps() -> None:
    stats = TraceStats(host="vm")

    def trace(priority: int) -> list[dict[str, Any]]:
        return [{**span(), "metrics": {"_sampling_priority_v1": priority}}]

    stats.add(("python", "", "", "", ""), [trace(1) for _ in range(50)] + [trace(2) for _ in range(50)], 1)
    sent = stats.flush_traces()
    assert sent
    (payload,) = sent["tracerPayloads"]
    priorities = Counter(chunk["spans"][0]["metrics"]["_sampling_priority_v1"] for chunk in payload["chunks"])
    assert priorities == {1: KEPT, 2: 50}, INGESTION
    assert stats.flush_traces() is None


# Windows


def count(store: Store, metric: str, values: Mapping[float, float], *tags: str) -> None:
    store.add_points(
        Point(metric=metric, at=START + at, value=value, tags=tags, kind="count") for at, value in values.items()
    )


def times(store: Store, metric: str, values: Mapping[float, float], *tags: str) -> None:
    store.add_points(
        Point(metric=metric, at=START + at, value=value, tags=tags, kind="distribution") for at, value in values.items()
    )


def values(store: Store, query: str, at: float = 300, **options: Any) -> dict[str, float]:
    return windows.values(series.Source(store), language.comparison(query), options, START + at)


WINDOWS = [
    # query, values, source
    ("sum(last_5m):sum:e{*}.as_count() / sum:t{*}.as_count() > 0.5", {"*": 15 / 60}, AS_COUNT),
    ("sum(last_5m):sum:e{*} by {c}.as_count() / sum:t{*} by {c}.as_count() > 0.5", {"a": 0.3, "b": 0.0}, DEFAULT_ZERO),
    ("sum(last_1m):sum:e{*}.as_count() / sum:t{*}.as_count() > 0.5", {"*": 0.5}, AS_COUNT),
    ("sum(last_5m):sum:t{*} by {c}.as_count() >= 5", {"a": 50, "b": 10}, AS_COUNT),
    ("sum(last_5m):sum:none{*}.as_count() / sum:t{*}.as_count() > 0.5", {"*": 0.0}, DEFAULT_ZERO),
    ("sum(last_5m):sum:t{*}.as_count() / sum:none{*}.as_count() > 0.5", {}, DEFAULT_ZERO),
    ("sum(last_5m):1 - sum:e{*} by {c}.as_count() / sum:t{*}.as_count() > 0.5", {"a": 0.75}, AS_COUNT),
    ("max(last_5m):count_nonzero(sum:t{*} by {c}.rollup(sum, 300)) > 1", {"*": 2}, COUNT),
    ("min(last_5m):count_nonzero(sum:t{*} by {c}.rollup(sum, 60)) > 1", {"*": 1}, COUNT),
    ("sum(last_5m):count_nonzero(sum:t{*} by {c}.rollup(sum, 60)) > 1", {"*": 6}, COUNT),
    ("max(last_5m):count_nonzero(sum:none{*} by {c}.rollup(sum, 60)) > 1", {}, COUNT),
    ("percentile(last_5m):p50:d{*} by {c,s} > 10", {"a,pay": 3, "b,pay": 100}, PERCENTILES),
    ("percentile(last_5m):p95:d{c:a} > 10", {"*": 4}, PERCENTILES),
    ("percentile(last_1m):p50:d{*} by {c} > 10", {"a": 5}, PERCENTILES),
]


@pytest.mark.parametrize(("query", "expected", "source"), WINDOWS)
def test_a_window_has_its_documented_value(store: Store, query: str, expected: dict[str, float], source: str) -> None:
    count(store, "e", {30: 1, 90: 2, 150: 3, 210: 4, 270: 5}, "c:a")
    count(store, "t", {30: 10, 90: 10, 150: 10, 210: 10, 270: 10}, "c:a")
    count(store, "t", {10: 5, 20: 5}, "c:b")
    times(store, "d", {60: 1, 120: 2, 180: 3, 200: 4, 290: 5}, "c:a", "s:pay")
    times(store, "d", {10: 100}, "c:b", "s:pay")
    found = values(store, query)
    assert found == pytest.approx(expected), source


@pytest.mark.parametrize(
    "query",
    [
        "avg(last_5m):p50:d{*} > 1",
        "percentile(last_5m):avg:d{*} > 1",
        "percentile(last_5m):p50:d{*} / p50:d{*} > 1",
        "sum(last_5m):sum:e{*} by {c}.as_count() / sum:t{*} by {d}.as_count() > 1",
        "avg(last_5m):count_nonzero(avg:t{*} by {c}) > 1",
        "sum(last_5m):count_nonzero(sum:t{*} by {c}.as_count()) > 1",
        "avg(last_4h):anomalies(avg:t{*}, 'agile', 2) >= 1",
        "avg(last_4h):anomalies(avg:t{*}, 'basic', 2, direction='up') >= 1",
        "avg(last_4h):anomalies(avg:t{*}, 'basic', 2, seasonality='weekly') >= 1",
        "avg(last_4h):anomalies(sum:t{*}.as_count(), 'basic', 2, count_default_zero='true') >= 1",
    ],
)
def test_another_form_of_a_monitor_is_refused_by_name(query: str) -> None:
    with pytest.raises(UnknownFormError):
        language.comparison(query)


@pytest.mark.parametrize(
    ("direction", "expected"), [("above", {"a": 2 / 5, "b": 0.0}), ("below", {"a": 0.0, "b": 0.0})]
)
def test_an_anomaly_is_the_share_of_points_outside_of_that_groups_own_band(
    store: Store, direction: str, expected: dict[str, float]
) -> None:
    usual: dict[float, float] = {60 * minute: 100 + minute % 3 for minute in range(60)}
    times(store, "d", {**usual, 57 * 60: 900, 58 * 60: 900}, "c:a")
    times(store, "d", {at: 10 * value for at, value in usual.items()}, "c:b")
    query = (
        f"avg(last_1h):anomalies(p50:d{{*}} by {{c}}, 'basic', 4, direction='{direction}', interval=60,"
        " alert_window='last_5m', count_default_zero='false') >= 0.75"
    )
    assert values(store, query, 3600) == pytest.approx(expected), ANOMALY
    last_one = {"threshold_windows": {"trigger_window": "last_3m", "recovery_window": "last_3m"}}
    both = query.replace(f"'{direction}'", "'both'")
    assert values(store, both, 59 * 60, **last_one)["a"] == pytest.approx(2 / 3), ANOMALY


@pytest.mark.parametrize(
    ("counts", "expected"), [((), [(0, 0.5)]), (("e", "t"), [(0, 0.5), (60, 0.0)]), (("t",), [(0, 0.5)])]
)
def test_in_a_graph_a_missing_count_is_zero_and_nothing_else_is(
    store: Store, counts: tuple[str, ...], expected: list[tuple[int, float]]
) -> None:
    count(store, "e", {0: 5, 120: 5})
    count(store, "t", {0: 10, 60: 10})
    source = series.Source(store)
    frames = {
        name: series.evaluate(source, language.parse(f"sum:{name}{{*}}.as_count()"), START, START + 180, 60)
        for name in ("e", "t")
    }
    found = formulas.compute(language.formula("e / t"), frames, counts)
    assert [(at - START, value) for at, value in found.select("at", "value").rows()] == expected, DEFAULT_ZERO


# Monitors


def monitor(store: Store, query: str, kind: str = "query alert", **changes: Any) -> int:
    options = {"thresholds": {}, "new_group_delay": 0, **changes.pop("options", {})}
    body = {"name": "m", "type": kind, "query": query, "message": "", "tags": [], "options": options, **changes}
    made = monitors.answer(body, number=store.next("monitor", 1), now=BEGIN)
    store.put("monitor", str(made["id"]), made)
    return int(made["id"])


def evaluate(store: Store, minute: int) -> dict[int, dict[str, State]]:
    """Evaluate at a minute; return the states of each monitor's groups."""
    rounds.evaluate(store, BEGIN + datetime.timedelta(minutes=minute))
    found: dict[int, dict[str, State]] = {}
    for group in memory.groups(store):
        found.setdefault(group.monitor, {})[group.name] = group.status
    return found


@pytest.mark.parametrize(
    ("missing", "expected"),
    [(None, "Alert"), ("resolve", "OK"), ("show_no_data", "No Data"), ("show_and_notify_no_data", "No Data")],
)
def test_a_group_without_data_is_as_its_monitor_says(store: Store, missing: str | None, expected: State) -> None:
    options = {"thresholds": {"critical": 1.0}, **({"on_missing_data": missing} if missing else {})}
    number = monitor(store, "percentile(last_1m):p50:d{*} by {c} > 1", options=options)
    times(store, "d", {30: 5}, "c:a")
    assert evaluate(store, 1)[number] == {"a": "Alert"}
    assert evaluate(store, 3)[number] == {"a": expected}, MISSING


def test_an_empty_count_is_zero_by_default_of_what_is_missing(store: Store) -> None:
    options = {"thresholds": {"critical": 1.0}, "on_missing_data": "default"}
    number = monitor(store, "sum(last_1m):sum:t{*}.as_count() >= 1", options=options)
    count(store, "t", {30: 5})
    assert evaluate(store, 1)[number] == {"*": "Alert"}
    assert evaluate(store, 3)[number] == {"*": "OK"}, MISSING


def test_a_monitor_by_two_tags_alerts_on_each_pair_with_enough_traffic(store: Store) -> None:
    slow = monitor(store, "percentile(last_5m):p50:d{*} by {c,s} > 10", options={"thresholds": {"critical": 10.0}})
    many = monitor(store, "sum(last_5m):sum:t{*} by {c,s}.as_count() >= 3", options={"thresholds": {"critical": 3.0}})
    both = monitor(store, f"{slow} && {many}", "composite")
    for customer, orders in (("a", 3), ("b", 1)):
        for step, duration in (("pay", 20), ("place", 1)):
            tags = f"c:{customer}", f"s:{step}"
            times(store, "d", {10 + number: duration for number in range(orders)}, *tags)
            count(store, "t", {10 + number: 1 for number in range(orders)}, *tags)
    found = evaluate(store, 1)
    assert found[slow] == {"a,pay": "Alert", "a,place": "OK", "b,pay": "Alert", "b,place": "OK"}
    assert found[both] == {"a,pay": "Alert", "a,place": "OK", "b,pay": "OK", "b,place": "OK"}, COMPOSITE


# Composites

TABLE: list[tuple[State, State, str, bool, State | None]] = [
    # the table of the documentation: A, B, condition, notify_no_data, state; None is the last known one
    ("Alert", "Warn", "1 && 2", False, "Warn"),
    ("Alert", "Warn", "1 || 2", False, "Alert"),
    ("Alert", "OK", "1 && 2", False, "OK"),
    ("Alert", "OK", "1 || 2", False, "Alert"),
    ("Warn", "OK", "1 && 2", False, "OK"),
    ("Warn", "OK", "1 || 2", False, "Warn"),
    ("No Data", "Warn", "1 && 2", True, "No Data"),
    ("No Data", "Warn", "1 || 2", True, "Warn"),
    ("No Data", "Warn", "1 && 2", False, None),
    ("No Data", "Warn", "1 || 2", False, "Warn"),
    ("No Data", "OK", "1 && 2", False, "OK"),
    ("No Data", "OK", "1 || 2", False, None),
    ("No Data", "OK", "1 && 2", True, "OK"),
    ("No Data", "OK", "1 || 2", True, "No Data"),
    ("No Data", "No Data", "1 && 2", True, "No Data"),
    ("No Data", "No Data", "1 || 2", True, "No Data"),
    # and its rules for what is negated
    ("Alert", "OK", "!1", False, "OK"),
    ("Warn", "OK", "!1", False, "OK"),
    ("OK", "OK", "!1", False, "Alert"),
    ("No Data", "OK", "!1", True, "No Data"),
    ("Alert", "OK", "1 && !2", False, "Alert"),
    ("Alert", "Alert", "1 && !(2 && 1)", False, "OK"),
    ("OK", "Alert", "!(1 && 2)", False, "Alert"),
]


def constituent(number: int, by: Sequence[str], **states: State) -> composites.Constituent:
    """A monitor with these groups; ``_`` joins their tags' values, and ``all`` is the one without tags."""
    named = {"*" if name == "all" else name.replace("_", ","): state for name, state in states.items()}
    groups = {
        name: Group(monitor=number, name=name, tags=dict(zip(by, name.split(","), strict=False)), status=state)
        for name, state in named.items()
    }
    return composites.Constituent(by=by, groups=groups)


@pytest.mark.parametrize(("one", "other", "condition", "notify", "expected"), TABLE)
def test_a_composite_has_the_state_of_the_documented_table(
    one: State, other: State, condition: str, notify: bool, expected: State | None
) -> None:
    of = {1: constituent(1, (), all=one), 2: constituent(2, (), all=other)}
    found = composites.look(language.composite(condition), of, {"notify_no_data": notify})
    assert found == {"*": ({}, expected)}, COMPOSITE


def test_a_composite_has_only_the_groups_that_all_constituents_have() -> None:
    fine = constituent(1, ("customer", "step"), a_pay="Alert", b_pay="Alert", c_pay="Alert")
    same = constituent(2, ("customer", "step"), a_pay="Alert", b_pay="OK")
    part = constituent(3, ("step",), pay="OK", place="OK")
    every = constituent(4, (), all="OK")
    tree = language.composite("1 && 2 && !3 && !4")
    found = composites.look(tree, {1: fine, 2: same, 3: part, 4: every}, {})
    assert {name: state for name, (_, state) in found.items()} == {"a,pay": "Alert", "b,pay": "OK"}, COMPOSITE
    assert found["a,pay"][0] == {"customer": "a", "step": "pay"}
    # A monitor of other tags has no group in common, and one without any, that was never evaluated, has no data.
    other = constituent(5, ("url",), home="Alert")
    assert composites.look(language.composite("1 && 5"), {1: fine, 5: other}, {}) == {}, COMPOSITE
    never = composites.look(language.composite("1 && 6"), {1: fine, 6: constituent(6, ())}, {})
    assert {state for _, state in never.values()} == {None}, COMPOSITE


@pytest.mark.parametrize("text", ["1 & 2", "1 && a", "1 &&", "1 == 2", "()", "f(1)"])
def test_another_composite_is_refused(text: str) -> None:
    with pytest.raises(UnknownFormError):
        language.composite(text)


# SLOs


def objective(store: Store) -> dict[str, Any]:
    slo: dict[str, Any] = {
        "id": "0123456789abcdef0123456789abcdef",
        "name": "gold",
        "type": "metric",
        "query": {"numerator": "sum:good{tier:gold}.as_count()", "denominator": "sum:all{tier:gold}.as_count()"},
        "thresholds": [{"timeframe": "30d", "target": 99.0}],
        "tags": [],
    }
    store.put(slos.KIND, slo["id"], slo)
    return slo


def test_an_slo_has_its_share_and_what_is_left_of_its_budget(store: Store) -> None:
    slo = objective(store)
    now = START + 31 * 86400
    assert slos.statuses(series.Source(store), slo, now)[0].reached is None
    count(store, "all", {0: 1000, 10 * 86400: 1000, 20 * 86400: 1000}, "tier:gold")
    count(store, "good", {0: 0, 10 * 86400: 1000, 20 * 86400: 995}, "tier:gold")
    count(store, "all", {20 * 86400: 1000}, "tier:silver")
    (status,) = slos.statuses(series.Source(store), slo, now)
    assert (status.good, status.total, status.target) == (1995, 2000, 99.0)
    assert status.reached == pytest.approx(99.75), BUDGET
    assert status.left == pytest.approx(75.0), BUDGET


@pytest.mark.parametrize(
    ("earlier", "now", "expected"),
    [
        (0, 0, "OK"),
        (200, 20, "Alert"),  # 20 times too fast in both windows
        (200, 0, "OK"),  # only in the long window: it is over
        (0, 20, "OK"),  # only in the short window: too little to matter
    ],
)
def test_a_burn_rate_alerts_when_both_windows_burn(store: Store, earlier: int, now: int, expected: State) -> None:
    slo = objective(store)
    query = f'burn_rate("{slo["id"]}").over("30d").long_window("1h").short_window("5m") > 14.4'
    number = monitor(store, query, "slo alert", options={"thresholds": {"critical": 14.4}})
    assert evaluate(store, 1).get(number, {}) == {}
    count(store, "all", {60: 1000, 58 * 60: 100}, "tier:gold")
    count(store, "good", {60: 1000 - earlier, 58 * 60: 100 - now}, "tier:gold")
    assert evaluate(store, 60)[number] == {"*": expected}, BURN_RATE


# Webhooks

PAYLOAD = (
    '{"key": "$ALERT_CYCLE_KEY", "to": "$ALERT_TRANSITION", "scope": "$ALERT_SCOPE", "text": "$EVENT_MSG",'
    ' "tier": "$TAGS[tier]", "n": 1, "in": [{"id": "$ALERT_ID"}], "own": "$OWN", "other": "$NOT_KNOWN costs $5"}'
)


class Receiver(HTTPServer):
    """A receiver on loopback that answers ``statuses``, then 200."""

    def __init__(self, statuses: Sequence[int] = ()) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.statuses = list(statuses)
        self.got: list[tuple[dict[str, str], str]] = []


class _Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        text = self.rfile.read(int(self.headers["Content-Length"])).decode()
        self.server.got.append((dict(self.headers), text))
        self.send_response(self.server.statuses.pop(0) if self.server.statuses else 200)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def hook(store: Store, url: str, **changes: Any) -> None:
    headers = json.dumps({"Authorization": "Bearer $OWN"})
    given = {"name": "desk", "url": url, "encode_as": "json", "payload": PAYLOAD, "custom_headers": headers, **changes}
    store.put(webhooks.KIND, "desk", given)
    store.put(webhooks.VARIABLE, "OWN", {"name": "OWN", "value": 'fake "token"', "is_secret": True})


MESSAGE = (
    '{{#is_alert}}in "trouble"\n{{c.name}} @webhook-desk{{/is_alert}}{{#is_recovery}}over @webhook-desk{{/is_recovery}}'
)


def troubled(store: Store, message: str = MESSAGE) -> int:
    """A monitor by customer, whose customer a is slow at minute 1 and 4, and not at minute 2 and 3."""
    number = monitor(
        store,
        "percentile(last_1m):p50:d{*} by {c,tier} > 1",
        message=message,
        tags=["team:a"],
        options={"thresholds": {"critical": 1.0}},
    )
    times(store, "d", {30: 5, 90: 0, 150: 0, 210: 5}, "c:a", "tier:gold")
    return number


def test_a_mention_sends_the_webhook_once_when_it_opens_and_once_when_it_closes(
    store: Store, receiver: Receiver
) -> None:
    hook(store, f"http://127.0.0.1:{receiver.server_port}/tickets")
    number = troubled(store)
    for minute in range(1, 5):
        evaluate(store, minute)
        webhooks.deliver(store, webhooks.post)
    got = [json.loads(text) for _, text in receiver.got]
    assert [each["to"] for each in got] == ["Triggered", "Recovered", "Triggered"], WEBHOOKS
    # One key from trigger to recovery, another one for the next time.
    assert got[0]["key"] == got[1]["key"] != got[2]["key"], WEBHOOKS
    assert got[0] | {"key": ""} == {
        "key": "",
        "to": "Triggered",
        "scope": "c:a,tier:gold",
        "text": 'in "trouble"\na @webhook-desk',
        "tier": "gold",
        "n": 1,
        "in": [{"id": str(number)}],
        "own": 'fake "token"',
        "other": "$NOT_KNOWN costs $5",
    }, WEBHOOKS
    headers = receiver.got[0][0]
    assert (headers["Authorization"], headers["Content-Type"]) == ('Bearer fake "token"', "application/json")
    # A secret variable is filled in when it is sent, and kept nowhere else.
    assert 'fake "token"' not in json.dumps(webhooks.deliveries(store))


@pytest.mark.parametrize(
    ("statuses", "tries", "state"),
    [
        ([], 1, "sent"),
        ([503], 2, "sent"),
        ([500] * 5, 6, "sent"),
        ([500] * 9, 6, "failed"),
        ([400], 1, "failed"),
    ],
)
def test_an_error_of_the_receiver_is_tried_again_five_times_at_most(
    store: Store, receiver: Receiver, statuses: list[int], tries: int, state: str
) -> None:
    receiver.statuses = statuses
    hook(store, f"http://127.0.0.1:{receiver.server_port}/tickets")
    troubled(store)
    evaluate(store, 1)
    for _ in range(9):
        webhooks.deliver(store, webhooks.post)
    (delivery,) = webhooks.deliveries(store)
    assert (len(receiver.got), delivery["tries"], delivery["state"]) == (tries, tries, state), WEBHOOKS


def test_a_form_and_a_payload_that_is_no_json_are_sent_as_such(store: Store, receiver: Receiver) -> None:
    url = f"http://127.0.0.1:{receiver.server_port}/tickets"
    hook(store, url, encode_as="form", payload='{"scope": "$ALERT_SCOPE", "n": 1}')
    troubled(store)
    evaluate(store, 1)
    webhooks.deliver(store, webhooks.post)
    hook(store, url, payload="plain $ALERT_SCOPE")
    evaluate(store, 2)
    webhooks.deliver(store, webhooks.post)
    hook(store, url, payload=None)
    evaluate(store, 4)
    webhooks.deliver(store, webhooks.post)
    form, plain, default = (text for _, text in receiver.got)
    assert urllib.parse.parse_qs(form) == {"scope": ["c:a,tier:gold"], "n": ["1"]}, WEBHOOKS
    assert plain == "plain c:a,tier:gold", WEBHOOKS
    assert set(json.loads(default)) == {"body", "last_updated", "event_type", "title", "date", "org", "id"}, WEBHOOKS


def test_nothing_is_sent_to_elsewhere_or_for_a_webhook_that_is_not_there(store: Store) -> None:
    hook(store, "https://example.com/tickets")
    troubled(store, MESSAGE.replace("over @webhook-desk", "over @webhook-gone"))
    for minute in (1, 2):
        evaluate(store, minute)

    def unexpected(_: webhooks.Request) -> int:
        raise AssertionError("sent")

    webhooks.deliver(store, unexpected)
    hook(store, "http://127.0.0.1:1/", custom_headers="X-Key: 1")
    evaluate(store, 4)
    webhooks.deliver(store, unexpected)
    assert "no JSON" in webhooks.deliveries(store).pop()["answer"]
    found = [(delivery["state"], delivery["answer"]) for delivery in webhooks.deliveries(store)]
    assert [state for state, _ in found] == ["failed"] * 3
    assert "loopback" in found[0][1]
    assert "gone" in found[1][1]

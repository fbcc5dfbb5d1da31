"""Data for every page: two hours of two hosts, a monitor's transitions, traces."""

import datetime
import json
import math
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from components import templates
from components.recurrences import duration_text, recurrences
from sandbox.datadog import dashboards, desk, downtimes, monitors, snapshot
from sandbox.datadog.evaluation import memory, rounds, slos, webhooks
from sandbox.datadog.evaluation import spans as span_metrics
from sandbox.datadog.pages import dashboards as boards
from sandbox.datadog.store import Point, Store
from settings.office_hours import OfficeHours

HOURS = OfficeHours(
    start=datetime.time(9), end=datetime.time(19), days=("MO", "TU", "WE", "TH", "FR"), timezone="Europe/Paris"
)
HOSTILE = "<script>alert('x')</script>\"'&" + "long" * 2500
"""Hostile texts, as names, tags, titles and messages may hold them."""

SPAN = 7200
STATES = ("alert", "warning", "no_data", "recovery")


@dataclass(frozen=True, kw_only=True)
class Made:
    """The ids of the things on the pages."""

    timeboard: str
    anomalies: str
    apm: str
    strange: str
    public: str
    monitor: int
    downtime: str
    trace: str
    event: int
    mail: int


def fill(store: Store, *, hosts: tuple[str, ...] = ("vm", "vm2"), span: int = SPAN, whole: bool = True) -> Made:
    """Fill a store; with ``whole`` also evaluate the monitors, minute by minute."""
    now = store.now().replace(second=0, microsecond=0)
    for number, host in enumerate(hosts):
        _host(store, host, now, random.Random(number), span)  # noqa: S311 - made data, not secrets
    monitor = _monitor(store, now)
    downtime = _downtime(store, monitor, "nights", now)
    _downtime(store, monitor, "closed-days", now)
    values: dict[str, Any] = {"env": "dev", "service": "shop", "metric": "my_metric", "scope": "env:dev"}
    timeboard = _board(
        store,
        "timeboard",
        values | {"warning": 500, "alert": 800, "user_time": "mysql.performance.user_time"},
    )
    apm = _board(store, "apm_infrastructure", values | {"operation": "flask.request"})
    strange = dashboards.answer(STRANGE, name="str-ang-one", now=now)
    store.put("dashboard", "str-ang-one", strange)
    share = {"token": "sandbox-open", "dashboard_id": apm, "share_type": "open", "status": "active"}
    store.put("public", "sandbox-open", share | {"title": "shop (dev)", "global_time": {"live_span": "1h"}})
    store.put("snapshot", "a" * 32, {"svg": snapshot.draw("my_metric", [[(1, 1), (2, 3)]], 1, 3)})
    event = _events(store, now)
    if whole:
        begin = now - datetime.timedelta(seconds=min(span, 3600))
        for minute in range(int((now - begin).total_seconds() // 60) + 1):
            rounds.evaluate(store, begin + datetime.timedelta(minutes=minute))
        rounds.follow_changes(store, now)
    return Made(
        timeboard=timeboard,
        anomalies=boards.anomalies(store)[0][1].rpartition("=")[2],
        apm=apm,
        strange="str-ang-one",
        public="sandbox-open",
        monitor=monitor,
        downtime=downtime,
        trace=f"{hosts[0]}-1",
        event=event,
        mail=1,
    )


def _host(store: Store, host: str, now: datetime.datetime, chance: random.Random, span: int) -> None:
    end = now.timestamp()
    tags = ["env:dev", "team:example"]
    meta: dict[str, Any] = {
        "internalHostname": host,
        "agentVersion": "7.78.4",
        "os": "linux",
        "host-tags": {"system": tags},
    }
    meta["gohai"] = json.dumps({"network": {"ipaddress": "198.18.0.2"}})
    store.put("host", host, {"name": host, "last_reported_time": int(end), "metadata": meta})
    for check, status in (("datadog.agent.up", 0), ("mysql.can_connect", 0)):
        store.put("check", f"{check} {host}", {"check": check, "host_name": host, "status": status, "tags": tags})
    store.add_points(_points(host, tags, end, chance, span))
    store.add_traces(_traces(host, end, chance))


def _points(host: str, tags: list[str], end: float, chance: random.Random, span: int) -> Iterator[Point]:
    for seconds in range(0, span, 45):
        at = end - span + seconds + 7
        level = 620 if span - 2400 < seconds < span - 1800 else 900 if span - 1800 < seconds < span - 900 else 300
        quiet = host != "vm" and seconds > span - 900
        if not quiet:
            value = level + chance.uniform(-60, 60)
            yield Point(metric="my_metric", at=at, value=value, host=host, tags=[*tags, "custom_check:my_metric"])
    for seconds in range(0, span, 15):
        at = end - span + seconds
        wave = 1 + math.sin(at / 600)
        for name, value in (
            ("system.cpu.user", 20 * wave + chance.uniform(0, 3)),
            ("system.cpu.system", 6 * wave),
            ("system.load.1", wave),
            ("system.mem.pct_usable", 0.6),
            ("system.net.tcp.in_segs", 300 * wave),
            ("mysql.performance.user_time", 0.2 + chance.gauss(0, 0.01) + (0.5 if seconds == span - 150 else 0)),
        ):
            yield Point(metric=name, at=at, value=value, host=host, tags=tags)
        yield Point(metric="system.net.bytes_rcvd", at=at, value=9000 * wave, host=host, tags=[*tags, "device:lo"])
    for seconds in range(0, span, 10):
        at = end - span + seconds
        for resource in ("GET /", "GET /api/apm", "GET /api/trace"):
            spans = ["env:dev", "service:shop", f"resource_name:{resource}", "version:1"]
            hits = chance.randrange(5, 30)
            for name, value in (("hits", hits), ("errors", int(chance.random() < 0.1))):
                yield Point(
                    metric=f"trace.flask.request.{name}", at=at, value=value, host=host, tags=spans, kind="count"
                )
            yield Point(
                metric="trace.flask.request",
                at=at,
                value=chance.lognormvariate(-6, 0.5),
                tags=spans,
                kind="distribution",
                weight=hits,
            )


def _traces(host: str, end: float, chance: random.Random) -> Iterator[dict[str, Any]]:
    for number in range(1, 20):
        start = int((end - 30 * number) * 1e9)
        whole = chance.randrange(2_000_000, 9_000_000)
        spans: list[dict[str, Any]] = [
            {"span_id": 1, "parent_id": 0, "name": "flask.request", "start": start, "duration": whole},
            {"span_id": 2, "parent_id": 1, "name": "flask.dispatch", "start": start + 10**5, "duration": whole // 2},
            {"span_id": 3, "parent_id": 2, "name": "mysql.query", "start": start + 10**6, "duration": whole // 4},
        ]
        for span in spans:
            span |= {"service": "shop", "resource": "GET /", "meta": {"http.status_code": "200"}, "error": 0}
        yield {
            "id": f"{host}-{number}",
            "at": start / 1e9,
            "host": host,
            "service": "shop",
            "name": "flask.request",
            "resource": "GET /",
            "duration": whole / 1e9,
            "error": int(number == 3),
            "spans": spans,
        }


def _monitor(store: Store, now: datetime.datetime) -> int:
    values = {
        "metric": "my_metric",
        "check": "my_metric",
        "window": 5,
        "no_data": 10,
        "timeboard": "/dashboard/tim-abc-def?tpl_var_host={{host.name}}",
        "host_page": "/infrastructure?hostname=",
    }
    texts = {state: templates.text_file(f"monitor/{state}.md", values).strip() for state in STATES}
    body = {
        "name": "my_metric on {{host.name}} (dev)",
        "type": "metric alert",
        "query": "avg(last_5m):avg:my_metric{env:dev,custom_check:my_metric} by {host} > 800",
        "message": "\n".join(
            f"{{{{#is_{state}}}}}\n{text}\n\n@you@example.com\n{{{{/is_{state}}}}}" for state, text in texts.items()
        ),
        "tags": ["env:dev", "custom_check:my_metric"],
        "options": {
            "thresholds": {"critical": 800, "warning": 500},
            "notify_no_data": True,
            "no_data_timeframe": 10,
            "require_full_window": True,
            "notify_audit": True,
        },
    }
    number = store.next("monitor", 100_000_001)
    store.put("monitor", str(number), monitors.answer(body, number=number, now=now))
    return number


def _downtime(store: Store, monitor: int, kind: str, now: datetime.datetime) -> str:
    schedule = {
        "timezone": HOURS.timezone,
        "recurrences": [
            {
                "rrule": each.rrule,
                "duration": duration_text(each.duration),
                "start": each.first_start(now + datetime.timedelta(minutes=3)),
            }
            for each in recurrences(HOURS)[kind]
        ],
    }
    given = {
        "monitor_identifier": {"monitor_id": monitor},
        "scope": "*",
        "schedule": schedule,
        "message": f"Muted outside office hours ({kind}).\n\n@you@example.com",
        "display_timezone": HOURS.timezone,
    }
    attributes = downtimes.attributes(given, None, now=now, has_monitor=lambda _: True)
    name = f"0000-{kind}"
    store.put("downtime", name, {"id": name, "type": "downtime", "attributes": attributes})
    return name


def _board(store: Store, name: str, values: dict[str, Any]) -> str:
    body = json.loads(templates.json_file(f"dashboards/{name}.json", values))
    board = dashboards.answer(body, name=f"{name[:3]}-abc-def", now=store.now())
    store.put("dashboard", board["id"], board)
    return str(board["id"])


def _events(store: Store, now: datetime.datetime) -> int:
    for title, text, tags, before in (
        ("Deployed shop 1", "by watchpost", ["deployed_by:watchpost", "service:shop", "env:dev"], 100),
        ("Snapshot of my_metric", f"%%%\n![my_metric](/snapshot/{'a' * 32}.svg)\n\n@you@example.com\n%%%", [], 60),
    ):
        number = store.next("event", 7_000_000_001)
        happened = int(now.timestamp()) - before
        body = {"id": number, "title": title, "text": text, "tags": tags, "date_happened": happened}
        store.put("event", str(number), body)
    return number


STRANGE: dict[str, Any] = {
    "title": "Widgets that aren't drawn",
    "layout_type": "ordered",
    "widgets": [
        {"definition": {"type": "hostmap", "title": "a host map", "requests": {"fill": {"q": "avg:m{*}"}}}},
        {
            "definition": {
                "type": "timeseries",
                "title": "a function",
                "requests": [
                    {
                        "queries": [{"data_source": "metrics", "name": "a", "query": "avg:m{*}.fill(zero)"}],
                        "formulas": [{"formula": "a"}],
                    }
                ],
            }
        },
        {
            "definition": {
                "type": "timeseries",
                "title": "another source",
                "requests": [{"queries": [{"data_source": "logs", "name": "a"}], "formulas": [{"formula": "a"}]}],
            }
        },
    ],
}


def make_hostile(store: Store) -> None:
    """Put hostile texts wherever others choose a text."""
    now = store.now()
    end = now.timestamp()
    name = HOSTILE[:200]
    store.add_points([Point(metric="my_metric", at=end - 30, value=1, host=name, tags=[f"env:{HOSTILE}", "env:dev"])])
    meta = {"agentVersion": name, "os": name, "host-tags": {"system": [f"x:{HOSTILE}"]}}
    store.put("host", name, {"name": name, "last_reported_time": int(end), "metadata": meta})
    store.put("check", "h", {"check": name, "host_name": name, "status": 2, "tags": [HOSTILE], "message": HOSTILE})
    for monitor in store.all("monitor"):
        message = monitor["message"] + HOSTILE + "[x](javascript:alert(1)) ![x](https://example.com/x.png)"
        hostile = {"name": name, "message": message, "tags": [*monitor["tags"], HOSTILE]}
        store.put("monitor", str(monitor["id"]), monitor | hostile)
    for kind in ("dashboard", "downtime"):
        for thing in store.all(kind):
            if kind == "dashboard":
                thing |= {"title": name, "description": HOSTILE}
                thing["widgets"][0]["definition"] |= {"title": HOSTILE, "yaxis": {"label": HOSTILE}}
                for request in thing["widgets"][0]["definition"].get("requests") or []:
                    if isinstance(request, dict) and request.get("formulas"):
                        request["formulas"][0]["alias"] = HOSTILE
            else:
                thing["attributes"]["message"] = HOSTILE
            store.put(kind, thing["id"], thing)
    for event in store.all("event"):
        store.put("event", str(event["id"]), event | {"title": HOSTILE[:4000], "text": HOSTILE})
    for mail in store.all("mail"):
        store.put("mail", str(mail["id"]), mail | {"subject": name, "text": HOSTILE, "to": [HOSTILE]})
    for slo in store.all(slos.KIND):
        store.put(slos.KIND, slo["id"], slo | {"name": name, "description": HOSTILE, "tags": [HOSTILE]})
    for group in memory.groups(store):
        group.tags = dict.fromkeys(group.tags, HOSTILE)
        memory.keep(store, group)
    for delivery in webhooks.deliveries(store):
        hostile = dict.fromkeys(("webhook", "group", "answer"), HOSTILE)
        store.put(webhooks.DELIVERY, str(delivery["id"]), delivery | hostile)
    for ticket in desk.tickets(store):
        texts = dict.fromkeys(("subject", "support", "customer"), HOSTILE)
        ticket |= {"customer": HOSTILE, "step": HOSTILE, "key": HOSTILE, "told": [{"at": end, "text": HOSTILE}]}
        ticket |= {"asked": ticket["asked"] | texts, "closing": texts, "closed": end}
        store.put(desk.KIND, str(ticket["id"]), ticket)
    meta = {"customer.id": HOSTILE, "customer.tier": "gold", "journey.step": HOSTILE, "env": "dev"}
    span = {"span_id": 1, "parent_id": 0, "name": HOSTILE, "start": int(end * 1e9), "duration": 10**6, "meta": meta}
    store.add_points(span_metrics.points(store, [[span | {"service": "shop", "start": int((end - 60) * 1e9)}]] * 9))
    store.add_traces(
        [
            {
                "id": "hostile",
                "at": end - 1,
                "host": name,
                "service": "shop",
                "name": HOSTILE,
                "resource": HOSTILE,
                "duration": 0.001,
                "error": 1,
                "spans": [span | {"service": HOSTILE}],
            }
        ]
    )

"""The pages show the account's current content to clients of its own address, and to nobody else."""

import datetime
import doctest
import json
import re
import statistics
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import urllib3

from components import links
from components.recurrences import recurrences
from sandbox.datadog import API_KEY, APP_KEY, Account
from sandbox.datadog.evaluation import language, messages, series, windows
from sandbox.datadog.pages import dashboards, downtimes, rendering, services, times, widgets
from sandbox.datadog.pages.graphs import Graph, Line
from sandbox.datadog.pages.serving import PATHS
from sandbox.datadog.store import Store, opened
from sandbox.testing import made

UTC = datetime.UTC
MINUTE = datetime.timedelta(minutes=1)


@pytest.fixture(scope="module")
def account(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Account]:
    folder = tmp_path_factory.mktemp("account")
    with opened(folder) as store:
        made.fill(store)
    account = Account.start(folder)
    yield account
    account.stop()


def get(account: Account, path: str, host: str = "") -> urllib3.BaseHTTPResponse:
    headers = {"Host": host} if host else {}
    return urllib3.request("GET", account.url + path, headers=headers, retries=False)


class Links(HTMLParser):
    """The URLs that a page links to or loads."""

    def __init__(self) -> None:
        super().__init__()
        self.found: set[str] = set()

    def handle_starttag(self, _: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found |= {value for name, value in attrs if name in ("href", "src") and value}


def opened_from_the_start(account: Account) -> set[str]:
    """Follow every link from the first page on; traces, of which there are many, by one of them."""
    seen, waiting = set[str](), {"/"}
    while waiting:
        path = waiting.pop()
        seen.add(path)
        answer = get(account, path)
        assert answer.status == 200, path
        if "html" in answer.headers["Content-Type"]:
            page = Links()
            page.feed(answer.data.decode())
            found = {link for link in page.found if link.startswith("/") and "last_triggered" not in link}
            if any(link.startswith("/apm/trace/") for link in seen):
                found = {link for link in found if not link.startswith("/apm/trace/")}
            waiting |= {link.partition("#")[0] for link in found} - seen
    return seen


def test_every_link_of_every_page_opens(account: Account) -> None:
    assert len(opened_from_the_start(account)) > 30


def test_the_programs_links_open_at_the_same_paths(account: Account, store: Store) -> None:
    """Every link of ``components/links.py`` has a page here, under this address."""
    board, monitor = store.all("dashboard")[0], store.all("monitor")[0]
    event, downtime = store.all("event")[0], store.all("downtime")[0]
    here = links.Links(app_url=account.url)
    dashboard = here.dashboard(board["url"])
    found = [
        dashboard,
        links.last_minutes(dashboard, 5),
        here.monitor(str(monitor["id"])),
        here.downtime(downtime["id"]),
        here.host("vm"),
        here.service("shop", "dev", "flask.request"),
        here.event(event["id"]),
    ]
    for link in found:
        assert get(account, link.removeprefix(account.url)).status == 200, link


def test_pages_are_for_their_own_address_alone_and_say_no_key(account: Account) -> None:
    for path in PATHS:
        where = re.sub(r"\{\w+\}", "x", path)
        answer = get(account, where)
        assert "Set-Cookie" not in answer.headers
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
        assert API_KEY not in answer.data.decode()
        assert APP_KEY not in answer.data.decode()
        assert get(account, where, host="attacker.example").status == 421
    assert urllib3.request("POST", f"{account.url}/mail", retries=False).status in (401, 404)
    assert get(account, "/api/v1/monitor").status == 401


@pytest.mark.parametrize(
    "path",
    [
        "/dashboard/x",
        "/monitors/1",
        "/infrastructure?hostname=x",
        "/apm/entity/service:x",
        "/event/event?id=1",
        "/mail/99",
    ],
)
def test_what_is_not_there_is_said_so(account: Account, path: str) -> None:
    answer = get(account, path)
    assert answer.status == 404
    assert "Not found" in answer.data.decode()


# Numbers


def graphs(account: Account, path: str) -> list[dict[str, Any]]:
    page = get(account, path).data.decode()
    return [json.loads(text) for text in re.findall(r'<script type="application/json">(.*?)</script>', page)]


def test_a_widget_draws_what_the_store_holds(account: Account, store: Store) -> None:
    board = next(board for board in store.all("dashboard") if "my_metric" in board["title"])
    begin = int(store.now().timestamp()) // 60 * 60 - 1800
    frame = f"?from_ts={1000 * begin}&to_ts={1000 * (begin + 1800)}&live=false"
    metric, _, _ = graphs(account, board["url"] + frame)
    assert (metric["from"], metric["to"]) == (1000 * begin, 1000 * (begin + 1800))
    assert [mark["value"] for mark in metric["marks"]] == [800, 500]
    expected: dict[str, dict[int, list[float]]] = {}
    for point in store.points("my_metric", begin, begin + 1799.9):
        line = expected.setdefault(f"my_metric {{host:{point['host']}}}", {})
        line.setdefault(1000 * (int(point["at"]) // 20 * 20), []).append(point["value"])
    assert {line["name"] for line in metric["lines"]} == set(expected)
    for line in metric["lines"]:
        values = {at: statistics.fmean(each) for at, each in sorted(expected[line["name"]].items())}
        assert line["x"] == list(values)
        assert line["y"] == pytest.approx(list(values.values()))


def test_a_variable_narrows_what_is_drawn(account: Account, store: Store) -> None:
    board = next(board for board in store.all("dashboard") if "my_metric" in board["title"])
    metric, *_ = graphs(account, f"{board['url']}?tpl_var_host=vm2&span=1h")
    assert [line["name"] for line in metric["lines"]] == ["my_metric {host:vm2}"]


def test_hits_of_resources_are_those_that_were_counted(store: Store) -> None:
    now = store.now().timestamp()
    frame = times.Frame(start=now - 1800, end=now, live=False)
    found = services.resources(series.Source(store), "flask.request", ("service:shop", "env:dev"), frame)
    assert {row["name"] for row in found} == {"GET /", "GET /api/apm", "GET /api/trace"}
    for row in found:
        points = [
            point["value"]
            for point in store.points("trace.flask.request.hits", int(frame.start), frame.end)
            if f"resource_name:{row['name']}" in point["tags"]
        ]
        assert row["hits"] == sum(points)


def test_the_examples_of_the_modules_hold() -> None:
    for module in (language, messages, rendering, series, windows):
        found = doctest.testmod(module)
        assert found.attempted > found.failed == 0, module


# Time frames


@pytest.mark.parametrize(
    ("query", "default", "expected"),
    [
        ({}, None, (6400, 10000, True)),
        ({}, {"type": "live", "unit": "minute", "value": 5}, (9700, 10000, True)),
        ({"span": "4h"}, {"type": "live", "unit": "minute", "value": 5}, (10000 - 14400, 10000, True)),
        ({"from_ts": "now-5m", "to_ts": "now", "live": "true"}, None, (9700, 10000, True)),
        ({"from_ts": "1000000", "to_ts": "1600000", "live": "false"}, None, (1000, 1600, False)),
        ({"from_ts": "1000000", "to_ts": "1600000", "live": "true"}, None, (9400, 10000, True)),
        ({"from_ts": "x", "to_ts": "1600000"}, None, (6400, 10000, True)),
        ({"from_ts": "1600000", "to_ts": "1000000"}, None, (6400, 10000, True)),
    ],
)
def test_the_time_frame_is_the_addresses_else_the_dashboards(
    query: dict[str, str], default: dict[str, Any] | None, expected: tuple[float, float, bool]
) -> None:
    frame = times.frame(query, 10000, default)
    assert (frame.start, frame.end, frame.live) == expected


# What isn't known


@pytest.mark.parametrize(
    ("definition", "named"),
    [
        ({"type": "hostmap"}, "hostmap"),
        ({"type": "timeseries", "time": {"type": "fixed"}, "requests": []}, "fixed"),
        ({"type": "timeseries", "requests": [{"q": "avg:m{*}"}]}, "a request with q"),
        (
            {
                "type": "timeseries",
                "requests": [
                    {
                        "display_type": "area",
                        "queries": [{"data_source": "metrics", "name": "a", "query": "avg:m{*}"}],
                        "formulas": [{"formula": "a"}],
                    }
                ],
            },
            "area",
        ),
        ({"type": "timeseries", "requests": [], "markers": [{"value": "0 < y < 1"}]}, "0 < y < 1"),
        ({"type": "timeseries", "requests": [], "events": [{"q": "sources:x OR y"}]}, "sources:x OR y"),
        ({"type": "toplist", "requests": [{"queries": [], "formulas": []}]}, "a top list by nothing"),
    ],
)
def test_what_a_widget_does_not_know_it_names(store: Store, definition: dict[str, Any], named: str) -> None:
    board = widgets.Board(store=store, source=series.Source(store), frame=times.past(3600, 10000), variables={})
    widget = board.widget(definition)
    assert widget.graph is None
    assert named in widget.fault


def test_a_monitor_says_which_of_its_options_are_not_evaluated(account: Account, store: Store) -> None:
    (monitor,) = store.all("monitor")
    before = get(account, f"/monitors/{monitor['id']}").data.decode()
    assert "does not evaluate" not in before
    store.put("monitor", "9", {**monitor, "id": 9, "options": {**monitor["options"], "timeout_h": 24}})
    assert "does not evaluate timeout_h (24)" in get(account, "/monitors/9").data.decode()
    store.drop("monitor", "9")


def test_a_name_with_a_variable_is_explained(account: Account, store: Store) -> None:
    (monitor,) = store.all("monitor")
    assert "{{host.name}}" in monitor["name"]
    for path in ("/monitors/manage", f"/monitors/{monitor['id']}", "/"):
        assert "filled in by each notification" in get(account, path).data.decode(), path


def test_anomalies_have_a_page_with_the_points_outside_of_the_band(account: Account, store: Store) -> None:
    ((title, address),) = dashboards.anomalies(store)
    start = get(account, "/").data.decode()
    board = store.get("dashboard", address.split("/")[2])
    assert board is not None
    assert f'href="{address}"' in start
    assert f'href="{address}&amp;' in get(account, f"{board['url']}?live=true").data.decode()
    page = get(account, f"{address}&span=1h").data.decode()
    assert title in page
    assert page.count('class="drawing"') == 1
    drawn = json.loads(page.partition('<script type="application/json">')[2].partition("</script>")[0])
    outside = [point for line in drawn["lines"] for point in line["outside"]]
    assert outside
    table = page.partition('aria-label="Points outside of the band"')[2].partition("</tbody>")[0]
    assert table.count("<tr><td>") == len(outside)
    assert get(account, f"{board['url']}?fullscreen_widget=1").status == 404


# The week


def test_the_week_is_muted_as_the_recurrences_say_for_every_minute(account: Account, store: Store) -> None:
    """Each week on the page, clock changes included, against the program's own recurrences."""
    page = get(account, "/monitors/downtimes").data.decode()
    zone = ZoneInfo(made.HOURS.timezone)
    shown = [
        tuple(datetime.datetime.fromisoformat(moment) for moment in stretch)
        for stretch in re.findall(r'data-begin="([^"]+)" data-end="([^"]+)"', page)
    ]
    today = store.now().astimezone(zone).date()
    changes = downtimes.changes(zone, store.now())
    assert len(changes) == 2
    began = min(
        datetime.datetime.fromisoformat(each["start"]).replace(tzinfo=zone)
        for downtime in store.all("downtime")
        for each in downtime["attributes"]["schedule"]["recurrences"]
    )
    for first in (today, *(day - day.weekday() * downtimes.DAY for day in changes)):
        begin, end = (
            datetime.datetime.combine(first + days * downtimes.DAY, datetime.time(), zone).astimezone(UTC)
            for days in (0, 7)
        )
        muted = [
            span
            for group in recurrences(made.HOURS).values()
            for each in group
            for span in each.occurrences(begin, end)
            if span[0] >= began.astimezone(UTC)
        ]
        for number in range(int((end - begin) / MINUTE)):
            at = begin + number * MINUTE
            assert any(a <= at < b for a, b in shown) == any(a <= at < b for a, b in muted), at


@pytest.mark.parametrize(
    ("every", "bars", "breaks"), [(20, False, [(320, None)]), (600, False, []), (20, True, [])], ids=str
)
def test_a_line_breaks_off_where_nothing_came_for_long(
    every: int, bars: bool, breaks: list[tuple[int, float | None]]
) -> None:
    points = [(0, 1.0), (300, 2.0), (900, 3.0)]
    line = Line(name="a", points=points, every=every, bars=bars)
    assert [row[:2] for row in line.rows] == [*points[:2], *breaks, *points[2:]]
    graph = Graph(name="a", frame=times.Frame(start=0, end=900, live=False), lines=[line])
    assert graph.drawn()["lines"][0]["y"].count(None) == len(breaks)

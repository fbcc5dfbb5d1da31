"""The pages show the account's current content to clients of its own address, and to nobody else."""

import datetime
import html
import http.client
import itertools
import json
import re
import statistics
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

import pytest
import urllib3
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from components import links
from components.recurrences import duration_text, recurrences
from sandbox.datadog import API_KEY, APP_KEY, Account
from sandbox.datadog import downtimes as rules
from sandbox.datadog.evaluation import series
from sandbox.datadog.pages import dashboards, downtimes, rendering, services, times, widgets
from sandbox.datadog.pages.graphs import Graph, Line
from sandbox.datadog.pages.serving import PATHS
from sandbox.datadog.store import Point, Store, opened
from sandbox.testing import sample_data
from settings.office_hours import OfficeHours

UTC = datetime.UTC
MINUTE = datetime.timedelta(minutes=1)


@pytest.fixture(scope="module")
def account(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Account]:
    folder = tmp_path_factory.mktemp("account")
    with opened(folder) as store:
        sample_data.fill(store)
    account = Account.start(folder)
    yield account
    account.stop()


def get(account: Account, path: str, host: str = "", **headers: str) -> urllib3.BaseHTTPResponse:
    own = {"Host": host} if host else {}
    return urllib3.request("GET", account.url + path, headers={**own, **headers}, retries=False)


def post(account: Account, path: str, body: str | bytes, **headers: str) -> urllib3.BaseHTTPResponse:
    keys = {"DD-API-KEY": API_KEY, "DD-APPLICATION-KEY": APP_KEY, "Content-Type": "application/json"}
    return urllib3.request("POST", account.url + path, body=body, headers={**keys, **headers}, retries=False)


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


def test_mail_about_a_monitor_that_is_gone_has_no_link_to_it(account: Account, store: Store) -> None:
    mail = next(mail for mail in store.all("mail") if mail["about"] == "monitor")
    store.put("mail", "9999", {**mail, "id": 9999, "of": "7777"})
    page = get(account, "/mail/9999").data.decode()
    assert "/monitors/7777" not in page
    assert "The monitor is gone" in page
    store.drop("mail", "9999")


def test_an_account_with_nothing_in_it_has_all_its_pages(tmp_path: Path) -> None:
    account = Account.start(tmp_path)
    try:
        for path in opened_from_the_start(account):
            assert get(account, path).status == 200, path
        assert len(opened_from_the_start(account)) >= 9
    finally:
        account.stop()


def test_an_address_of_no_page_is_said_so_to_a_browser_and_to_a_program(account: Account) -> None:
    answer = get(account, "/logs/<script>", Accept="text/html,*/*")
    assert answer.status == 404
    assert "The sandbox has no page /logs/&lt;script&gt;." in answer.data.decode()
    assert get(account, "/api/v1/nothing", Accept="text/html").status == 401
    assert get(account, "/logs").status in (401, 404)


@pytest.mark.parametrize("path", ["/sandbox/static/..%2f..%2fserver.py", "/sandbox/static/%2e%2e/serving.py", "/../x"])
def test_no_path_leads_out_of_the_pages(account: Account, path: str) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", account.port)
    connection.request("GET", path)
    answer = connection.getresponse()
    assert answer.status in (401, 404)
    assert b"import" not in answer.read()
    connection.close()


def test_another_servers_page_can_send_nothing_here(account: Account) -> None:
    for path in ("/desk/tickets", "/api/v1/events", "/mail"):
        for origin in ("https://attacker.example", "null", f"http://attacker.example:{account.port}"):
            assert post(account, path, "{}", Origin=origin).status == 403
    assert get(account, "/mail", Origin=account.url).status == 200


MOMENTS = ("0", "-1", "NaN", "9999999999999999", "now-999999w", "now", "1e3", "\x00", "9" * 4000, "\u0661", "")


def test_no_time_frame_breaks_a_page(account: Account, store: Store) -> None:
    board = next(board for board in store.all("dashboard") if "my_metric" in board["title"])
    monitor = store.all("monitor")[0]["id"]
    places = [
        board["url"],
        f"/monitors/{monitor}",
        "/infrastructure?hostname=vm",
        "/apm/entity/service:shop",
        "/p/sandbox-open",
    ]
    for number, start in enumerate(MOMENTS):
        for end in (MOMENTS[number - 1], MOMENTS[(number * 3 + 1) % len(MOMENTS)]):
            for live in ("true", "x"):
                where = places[number % len(places)]
                query = urlencode({"from_ts": start, "to_ts": end, "live": live})
                answer = get(account, f"{where}{'&' if '?' in where else '?'}{query}")
                assert answer.status == 200, (where, start, end)


ODD = {
    "half of a character": "\ud800",
    "nothing": "\x00",
    "from right to left": "\u202egnp.exe \u05d0",
    "emoji": "\U0001f9ea\u200d\U0001f525",
    "lines": "a\nb\r\nc\u2028d",
    "long": "long " * 2000,
    "quotes": "'\"><b>&amp;",
    "template": "{{ 7 * 7 }} {% raw %} ${7*7}",
}


@pytest.mark.parametrize("text", ODD.values(), ids=ODD)
def test_any_text_of_somebody_elses_shows_as_it_is(account: Account, store: Store, text: str) -> None:
    """In every field of the API that reaches a page: what it is of afterwards is gone again."""
    board = {
        "title": f"t{text}",
        "description": text,
        "layout_type": "ordered",
        "widgets": [
            {
                "definition": {
                    "type": "timeseries",
                    "title": text,
                    "yaxis": {"label": text},
                    "markers": [{"value": "y = 1", "label": text}],
                    "requests": [
                        {
                            "queries": [{"data_source": "metrics", "name": "a", "query": "avg:my_metric{*}"}],
                            "response_format": "timeseries",
                            "formulas": [{"formula": "a", "alias": text}],
                        }
                    ],
                }
            }
        ],
    }
    answer = post(account, "/api/v1/dashboard", json.dumps(board))
    assert answer.status == 200
    made = answer.json()
    event = {"title": f"t{text[:400]}", "text": text[:4000], "tags": [text[:200]]}
    assert post(account, "/api/v1/events", json.dumps(event)).status == 202
    monitor = {
        "name": f"n{text}",
        "type": "query alert",
        "query": "avg(last_5m):avg:my_metric{*} > 5000",
        "message": f"{text}@x",
        "tags": [text],
        "options": {"thresholds": {"critical": 5000}},
    }
    answer = post(account, "/api/v1/monitor", json.dumps(monitor))
    assert answer.status == 200
    number = answer.json()["id"]
    shown = html.escape(text.split("\n")[0].encode(errors="replace").decode(), quote=False)[:50]
    for path in ("/", "/dashboard/lists", made["url"], "/monitors/manage", f"/monitors/{number}", "/event/explorer"):
        answer = get(account, path)
        assert answer.status == 200, path
        assert "<b>" not in answer.data.decode()
    page = get(account, made["url"]).data.decode()
    assert html.unescape(shown) in html.unescape(page)
    store.drop("monitor", str(number))
    store.drop("dashboard", made["id"])


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_what_is_no_number_is_taken_from_nobody(account: Account, number: str) -> None:
    body = f'{{"series": [{{"metric": "odd", "points": [[1700000000, {number}]], "type": "gauge"}}]}}'
    assert post(account, "/api/v1/series", body).status == 400


def test_an_event_of_no_time_is_refused_and_one_that_was_kept_breaks_no_page(account: Account, store: Store) -> None:
    assert (
        post(account, "/api/v1/events", json.dumps({"title": "t", "text": "x", "date_happened": 10**15})).status == 400
    )
    store.put("event", "1", {"id": 1, "title": "far", "text": "", "date_happened": 10**15})
    for path in ("/", "/event/explorer", "/event/event?id=1"):
        assert get(account, path).status == 200
    store.drop("event", "1")


# Numbers


@pytest.mark.parametrize(
    ("value", "shown"),
    [(999.7, "1,000"), (-999.7, "-1,000"), (999.4, "999"), (812.346, "812"), (0.00012345, "0.000123")],
)
def test_a_number_is_shown_in_digits(value: float, shown: str) -> None:
    assert rendering.number(value) == shown


def test_thresholds_are_shown_as_they_were_set(account: Account, store: Store) -> None:
    (monitor, *_) = store.all("monitor")
    odd = {"thresholds": {"critical": 1234567.25, "warning": 850.25}}
    query = monitor["query"].replace("> 800", "> 1234567.25")
    store.put("monitor", "8", {**monitor, "id": 8, "query": query, "options": {**monitor["options"], **odd}})
    page = get(account, "/monitors/8?span=1h").data.decode()
    assert "<dd>1234567.25</dd>" in page
    assert "<dd>850.25</dd>" in page
    assert "alert > 1234567.25" in html.unescape(page).replace("\\u003e", ">")
    store.drop("monitor", "8")


def test_a_graph_says_of_how_many_lines_it_has_more(store: Store) -> None:
    end = store.now().timestamp()
    store.add_points(Point(metric="many", at=end - 60, value=1, host=f"h{number}") for number in range(53))
    definition = {
        "type": "timeseries",
        "requests": [
            {
                "queries": [{"data_source": "metrics", "name": "a", "query": "avg:many{*} by {host}"}],
                "formulas": [{"formula": "a"}],
            }
        ],
    }
    board = widgets.Board(store=store, source=series.Source(store), frame=times.past(3600, end), variables={})
    graph = board.widget(definition).graph
    assert graph is not None
    assert (len(graph.lines), graph.more) == (50, 3)


def test_each_formula_is_drawn_by_its_own_queries(store: Store) -> None:
    end = store.now().timestamp()
    request = {
        "queries": [
            {"data_source": "metrics", "name": "a", "query": "avg:my_metric{*}"},
            {"data_source": "metrics", "name": "b", "query": "sum:my_metric{*} by {host}.rollup(sum, 600)"},
        ],
        "formulas": [{"formula": "a"}, {"formula": "b"}],
    }
    board = widgets.Board(store=store, source=series.Source(store), frame=times.past(3600, end), variables={})
    graph = board.widget({"type": "timeseries", "requests": [request]}).graph
    assert graph is not None
    assert [(line.name, line.every) for line in graph.lines] == [("a", 20), ("b {host:vm}", 600), ("b {host:vm2}", 600)]


def test_a_top_list_of_the_least_compares_with_the_most(account: Account, store: Store) -> None:
    request = {
        "queries": [
            {"data_source": "metrics", "name": "a", "query": "max:my_metric{*} by {host}", "aggregator": "max"}
        ],
        "formulas": [{"formula": "a", "limit": {"count": 10, "order": "asc"}}],
    }
    widget = {"id": 1, "definition": {"type": "toplist", "requests": [request]}}
    board = {"id": "top-list-one", "url": "/dashboard/top-list-one", "title": "t", "widgets": [widget]}
    store.put("dashboard", "top-list-one", board)
    widths = re.findall(
        r'class="bar" style="width: ([\d.]+)%"', get(account, "/dashboard/top-list-one?span=4h").data.decode()
    )
    store.drop("dashboard", "top-list-one")
    assert len(widths) >= 2
    assert max(map(float, widths)) == 100


HOSTS = ("a", "b")
MADE = st.dictionaries(
    st.sampled_from(HOSTS), st.dictionaries(st.integers(0, 3599), st.integers(0, 1000), min_size=1), min_size=1
)
FORMS: dict[str, Callable[[list[int], int], float]] = {
    "sum:n{*} by {host}.as_count()": lambda values, _: sum(values),
    "sum:n{*} by {host}.as_rate()": lambda values, every: sum(values) / every,
    "avg:n{*} by {host}.rollup(max, 300)": lambda values, _: max(values),
    "sum:n{*} by {host}.rollup(count)": lambda values, _: len(values),
}


@given(made=MADE, form=st.sampled_from(sorted(FORMS)), bars=st.booleans(), start=st.integers(0, 1800))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_graph_draws_what_a_plain_loop_finds(
    tmp_path_factory: pytest.TempPathFactory, made: dict[str, dict[int, int]], form: str, bars: bool, start: int
) -> None:
    """Of any points, in the intervals of its time frame or of its query, from the first whole one on."""
    begin = 1_700_000_000 // 3600 * 3600
    with opened(tmp_path_factory.mktemp("store")) as store:
        store.add_points(
            Point(metric="n", at=begin + at, value=value, host=host, kind="count")
            for host, values in made.items()
            for at, value in values.items()
        )
        frame = times.Frame(start=begin + start, end=begin + 3600, live=False)
        board = widgets.Board(store=store, source=series.Source(store), frame=frame, variables={})
        request = {
            "display_type": "bars" if bars else "line",
            "queries": [{"data_source": "metrics", "name": "q", "query": form}],
            "formulas": [{"formula": "q"}],
        }
        graph = board.widget({"type": "timeseries", "requests": [request]}).graph
    assert graph is not None
    every = 300 if "300" in form else 60 if bars else 20
    expected: dict[str, dict[int, list[int]]] = {}
    for host, values in made.items():
        for at, value in sorted(values.items()):
            bucket = (begin + at) // every * every
            if bucket >= (begin + start) // every * every:
                expected.setdefault(f"q {{host:{host}}}", {}).setdefault(bucket, []).append(value)
    assert {line.name for line in graph.lines} == set(expected)
    for line in graph.lines:
        assert [at for at, _ in line.points] == list(expected[line.name])
        plain = [FORMS[form](values, every) for values in expected[line.name].values()]
        assert [value for _, value in line.points] == pytest.approx(plain)
        drawn = line.drawn()
        assert [each for each in drawn["y"] if each is not None] == [value for _, value in line.points]


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


def test_a_service_and_a_trace_may_have_slashes_in_their_names(account: Account, store: Store) -> None:
    now = store.now().timestamp()
    tags = ["env:dev", "service:shop/cart", "resource_name:GET /", "version:1"]
    store.add_points(
        [Point(metric="trace.flask.request.hits", at=now - 30, value=1, host="vm", tags=tags, kind="count")]
    )
    span = {"span_id": 1, "parent_id": 0, "name": "a", "start": int(1e9 * now), "duration": 1, "meta": {}}
    trace = {
        "id": "a/b",
        "at": now - 1,
        "host": "vm",
        "service": "shop/cart",
        "name": "a",
        "resource": "r",
        "duration": 1.0,
    }
    store.add_traces([{**trace, "error": 0, "spans": [span]}])
    page = Links()
    page.feed(get(account, "/apm/services").data.decode())
    (link,) = [link for link in page.found if "cart" in link]
    answer = get(account, link)
    assert answer.status == 200
    page.feed(answer.data.decode())
    (link,) = [link for link in page.found if "/apm/trace/a" in link]
    assert get(account, link).status == 200
    assert get(account, links.Links(app_url="").service("shop/cart", "dev", "flask.request")).status == 200


def test_a_search_for_monitors_that_is_not_known_is_named(account: Account) -> None:
    page = get(account, "/monitors/manage?" + urlencode({"q": 'tag:"env:dev" status:alert'})).data.decode()
    assert "does not search by <code>status:alert</code>" in page
    assert "my_metric on" in page
    assert "does not search by" not in get(account, "/monitors/manage?q=tag%3A%22env%3Adev%22").data.decode()


# Shared


def share(store: Store, **changes: Any) -> str:
    kept = store.get("public", "sandbox-open")
    assert kept is not None
    token = f"sandbox-{len(store.all('public'))}"
    store.put("public", token, {**kept, "token": token, **changes})
    return f"/p/{token}"


def test_viewers_of_a_shared_dashboard_choose_what_its_share_lets_them(account: Account, store: Store) -> None:
    asked = "?span=4h&tpl_var_host=vm2&from_ts=now-5m&to_ts=now"
    source = "https://docs.datadoghq.com/dashboards/sharing/shared_dashboards/#configuration-options"
    closed = share(store)
    page = get(account, closed + asked).data.decode()
    assert "<select" not in page, source
    assert "vm2" in page  # of all hosts, as no one of them can be chosen
    drawn = graphs(account, closed + asked)
    assert {round(each["to"] - each["from"]) for each in drawn} == {3_600_000}, source
    assert any(line["name"].endswith("{host:vm}") for each in drawn for line in each["lines"])
    variable = {"name": "host", "prefix": "host", "default_value": "vm", "visible_tags": ["vm", "vm2"]}
    opened_up = share(store, global_time_selectable_enabled=True, selectable_template_vars=[variable])
    drawn = graphs(account, opened_up + asked)
    assert {round(each["to"] - each["from"]) for each in drawn} == {14_400_000}, source
    names = {line["name"] for each in drawn for line in each["lines"] if "{host:" in line["name"]}
    assert names
    assert all("{host:vm2}" in name for name in names)
    page = get(account, opened_up).data.decode()
    assert page.count("<select") == 2
    assert "Past 5 minutes" not in page
    default = graphs(account, opened_up + "?tpl_var_host=other")
    names = {line["name"] for each in default for line in each["lines"] if "{host:" in line["name"]}
    assert all("{host:vm}" in name for name in names), source
    assert names


@pytest.mark.parametrize(
    "changes", [{"global_time": {}}, {"expiration": "2099-01-01T00:00:00"}, {"selectable_template_vars": None}]
)
def test_a_share_may_leave_things_out(account: Account, store: Store, changes: dict[str, Any]) -> None:
    assert get(account, share(store, **changes)).status == 200


@pytest.mark.parametrize(
    "changes", [{"expiration": "2020-01-01T00:00:00"}, {"status": "paused"}, {"share_type": "invite"}]
)
def test_a_share_that_is_closed_shows_nothing(account: Account, store: Store, changes: dict[str, Any]) -> None:
    assert get(account, share(store, **changes)).status == 404


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
        ({"from_ts": "1000000", "to_ts": "9999999999999999"}, None, (6400, 10000, True)),
        ({"from_ts": "now-99w", "to_ts": "now"}, None, (6400, 10000, True)),
        ({}, {"type": "fixed", "from": 1000000, "to": 1600000}, (1000, 1600, False)),
        ({}, {"type": "fixed", "from": 1600000, "to": 1000000}, (6400, 10000, True)),
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
        *(
            (
                {
                    "type": "timeseries",
                    "requests": [
                        {
                            "queries": [
                                {"data_source": "metrics", "name": "a", "query": "sum:m{*}.as_count()"},
                                {"data_source": "metrics", "name": "b", "query": "sum:m{*}.rollup(sum, 600)"},
                            ],
                            "formulas": [formula],
                        }
                    ],
                },
                named,
            )
            for formula, named in (
                ({"formula": "100"}, "which is over no query"),
                ({"formula": "a / c"}, "there is no query c"),
                ({"formula": "a / b"}, "several intervals"),
                ({"formula": "a", "limit": {"count": 5}}, "a limit"),
            )
        ),
        (
            {
                "type": "timeseries",
                "requests": [
                    {
                        "queries": [{"data_source": "metrics", "name": "a", "query": "avg:m{*}"}],
                        "formulas": [
                            {"formula": "anomalies(a, 'basic', 3, direction='above', alert_window='last_5m')"}
                        ],
                    }
                ],
            },
            "direction and interval",
        ),
        ({"type": "timeseries", "requests": [], "yaxis": {"scale": "log"}}, "the scale log"),
        ({"type": "list_stream", "requests": [{}, {}]}, "several requests"),
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


ZONES = (
    "Australia/Lord_Howe",
    "Asia/Kolkata",
    "America/Santiago",
    "Asia/Beirut",
    "Africa/Cairo",
    "Antarctica/Troll",
)


@pytest.mark.parametrize("name", ZONES)
def test_each_week_has_the_minutes_of_its_zone(name: str) -> None:
    """Each day from one midnight by the zone's clock to the next, and every minute muted as the recurrences say."""
    hours = OfficeHours(start=datetime.time(9), end=datetime.time(19), days=sample_data.HOURS.days, timezone=name)
    zone, now = ZoneInfo(name), datetime.datetime(2026, 7, 1, 12, tzinfo=UTC)
    start = datetime.datetime(2026, 6, 1, tzinfo=UTC)
    schedules = [
        {
            "timezone": name,
            "recurrences": [
                {"rrule": each.rrule, "duration": duration_text(each.duration), "start": each.first_start(start)}
                for each in group
            ],
        }
        for group in recurrences(hours).values()
    ]
    changes = downtimes.changes(zone, now)
    assert len(changes) == (0 if name == "Asia/Kolkata" else 2)
    for first in (now.astimezone(zone).date(), *(day - day.weekday() * downtimes.DAY for day in changes)):
        days = downtimes.week(schedules, first, zone)
        assert [day.start.astimezone(zone).date() for day in days] == [first + n * downtimes.DAY for n in range(7)]
        assert all(one.end == other.start for one, other in itertools.pairwise(days))
        assert all((day.hours == 24) != (day.start.astimezone(zone).date() in changes) for day in days)
        begin, end = days[0].start, days[-1].end
        muted = [
            span for group in recurrences(hours).values() for each in group for span in each.occurrences(begin, end)
        ]
        for day in days:
            for stretch in day.muted:
                assert 0 <= day.part(stretch[0]) < day.part(stretch[1]) <= 100
            at = day.start
            while at < day.end:
                assert any(a <= at < b for a, b in day.muted) == any(a <= at < b for a, b in muted), at
                at += MINUTE


def put_downtime(store: Store, name: str, monitor: int, schedule: dict[str, Any], zone: str = "UTC") -> None:
    given = {
        "monitor_identifier": {"monitor_id": monitor},
        "scope": "*",
        "display_timezone": zone,
        "schedule": schedule,
    }
    attributes = rules.attributes(given, None, now=store.now(), has_monitor=lambda _: True)
    store.put("downtime", name, {"id": name, "type": "downtime", "attributes": attributes})


@pytest.mark.parametrize("zone", ["Asia/Kolkata", "Pacific/Kiritimati", "America/Los_Angeles"])
def test_a_downtime_without_an_end_lasts_until_somebody_ends_it(account: Account, store: Store, zone: str) -> None:
    (monitor, *_) = store.all("monitor")
    put_downtime(store, "endless", monitor["id"], {}, zone)
    page = get(account, "/monitors/downtimes?id=endless")
    assert page.status == 200
    assert "when somebody ends it" in page.data.decode()
    assert "until somebody ends it" in get(account, f"/monitors/{monitor['id']}").data.decode()
    store.drop("downtime", "endless")


def test_what_is_muted_is_so_until_no_downtime_mutes_it() -> None:
    saturday = datetime.datetime(2026, 7, 4, 3, tzinfo=UTC)
    start = datetime.datetime(2026, 6, 1, tzinfo=UTC)
    hours = OfficeHours(start=datetime.time(9), end=datetime.time(19), days=sample_data.HOURS.days, timezone="UTC")
    muting = [
        {
            "attributes": {
                "canceled": None,
                "schedule": {
                    "timezone": "UTC",
                    "recurrences": [
                        {
                            "rrule": each.rrule,
                            "duration": duration_text(each.duration),
                            "start": each.first_start(start),
                        }
                        for each in group
                    ],
                },
            }
        }
        for group in recurrences(hours).values()
    ]
    monday = datetime.datetime(2026, 7, 6, 9, tzinfo=UTC)
    assert downtimes.muted_until(muting, saturday) == monday
    assert downtimes.muted_until(muting, monday) is None
    assert downtimes.muted_until(muting, monday + datetime.timedelta(hours=11)) == monday + datetime.timedelta(days=1)


def test_a_downtime_that_was_cancelled_long_ago_is_gone(account: Account, store: Store) -> None:
    (monitor, *_) = store.all("monitor")
    put_downtime(store, "old", monitor["id"], {})
    downtime = store.get("downtime", "old")
    assert downtime is not None
    for days, there in ((1, True), (3, False)):
        downtime["attributes"]["canceled"] = (store.now() - datetime.timedelta(days=days)).isoformat()
        store.put("downtime", "old", downtime)
        page = get(account, "/monitors/downtimes?id=old").data.decode()
        assert ("old (the one" in page) == there
        assert ("There is no downtime old" in page) == (not there)
    store.drop("downtime", "old")


def test_the_week_is_muted_as_the_recurrences_say_for_every_minute(account: Account, store: Store) -> None:
    """Each week on the page, clock changes included, against the program's own recurrences."""
    page = get(account, "/monitors/downtimes").data.decode()
    zone = ZoneInfo(sample_data.HOURS.timezone)
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
            for group in recurrences(sample_data.HOURS).values()
            for each in group
            for span in each.occurrences(begin, end)
            if span[0] >= began.astimezone(UTC)
        ]
        for number in range(int((end - begin) / MINUTE)):
            at = begin + number * MINUTE
            assert any(a <= at < b for a, b in shown) == any(a <= at < b for a, b in muted), at


@pytest.mark.parametrize(("direction", "outside"), [("both", [0, 60]), ("above", [60]), ("below", [0])])
def test_only_the_side_of_a_band_that_counts_has_points_outside(direction: str, outside: list[int]) -> None:
    band = [(0, 2.0, 4.0), (20, None, None), (40, 2.0, 4.0), (60, 2.0, 4.0)]
    points = [(0, 1.0), (20, 9.0), (40, 3.0), (60, 5.0)]
    line = Line(name="a", points=points, band=band, direction=direction)
    assert [at for at, *_ in line.outside] == outside


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

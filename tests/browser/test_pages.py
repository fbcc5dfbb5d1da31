"""Each page in Chromium: narrow and wide, dark and light, by keyboard, with any names on it."""

import json
import re
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

from sandbox.testing import sample_data

from .conftest import Watched

PATHS = {
    "start": "/",
    "dashboards": "/dashboard/lists",
    "timeboard": "/dashboard/{timeboard}/watchpost?span=1h",
    "APM": "/dashboard/{apm}?from_ts=now-15m&to_ts=now&live=true",
    "anomalies": "/dashboard/{timeboard}/watchpost?span=1h&fullscreen_widget={anomalies}",
    "what isn't drawn": "/dashboard/{strange}",
    "shared": "/p/{public}",
    "monitors": "/monitors/manage",
    "monitor": "/monitors/{monitor}",
    "downtimes": "/monitors/downtimes?id={downtime}",
    "host map": "/infrastructure",
    "host": "/infrastructure?hostname=vm",
    "services": "/apm/services",
    "service": "/apm/entity/service%3Ashop?env=dev&operationName=flask.request",
    "trace": "/apm/trace/{trace}",
    "events": "/event/explorer",
    "event": "/event/event?id={event}",
    "mails": "/mail",
    "mail": "/mail/{mail}",
}
OF_CUSTOMERS = {
    "start, with customers": "/",
    "customers": "/dashboard/{board}?span=1h",
    "monitors of customers": "/monitors/manage?q=tag%3A%22experience%3Acustomer%22",
    "composite": "/monitors/{care}",
    "metric monitor": "/monitors/{metric}",
    "SLO alert": "/monitors/{burn}",
    "SLOs": "/slo",
    "SLO": "/slo?slo_id={slo}",
    "tickets": "/tickets",
    "ticket": "/tickets/{ticket}",
    "traces of the journey": "/apm/traces?query=%40customer.tier%3Agold",
    "trace of the journey": "/apm/trace/0",
    "mails of customers": "/mail",
}
ALL = {**PATHS, **OF_CUSTOMERS}
PAGES = [*(("shown", name) for name in PATHS), *(("customers", name) for name in OF_CUSTOMERS)]
HOSTILE = [("hostile_customers" if account == "customers" else "hostile", name) for account, name in PAGES]
WITHOUT = ("what isn't drawn", "host", "services", "trace", "trace of the journey")
"""Pages of the content that both accounts have."""

NARROW = 390
"""A telephone's width, in pixels; all else is 1280 wide."""
OPTIONS = {"resultTypes": ["violations"]}  # of what is well, only that it is
COLOURS = {**OPTIONS, "runOnly": {"type": "tag", "values": ["cat.color"]}}
"""The rules that depend on colours, all that the second colour scheme needs."""
PLACES = {**OPTIONS, "rules": {"color-contrast": {"enabled": False}}}
"""All but the slowest of those, for the second width, at which no colour differs."""


def sideways(page: Page) -> int:
    """Return by how much the page is wider than the window."""
    return int(page.evaluate("document.documentElement.scrollWidth - innerWidth"))


def found_by_axe(page: Page, options: dict[str, Any]) -> list[str]:
    """Return axe's complaints about a page: https://github.com/dequelabs/axe-core/blob/develop/doc/rule-descriptions.md"""
    violations: list[dict[str, Any]] = Axe().run(page, options=options).response["violations"]
    return [f"{each['id']}: {each['nodes'][0]['html'][:200]}" for each in violations]


@pytest.mark.parametrize(("watched", "name"), PAGES, indirect=["watched"])
def test_a_page_is_for_everybody(watched: Watched, name: str) -> None:
    page = watched.open(ALL[name])
    assert found_by_axe(page, OPTIONS) == []
    assert sideways(page) <= 0
    page.emulate_media(color_scheme="dark")
    assert found_by_axe(page, COLOURS) == []
    page.set_viewport_size({"width": NARROW, "height": 900})
    assert found_by_axe(page, PLACES) == []
    assert sideways(page) <= 0
    assert page.evaluate("document.cookie") == ""
    assert watched.faults == []


@pytest.mark.parametrize(("watched", "name"), HOSTILE, indirect=["watched"])
def test_what_others_wrote_is_text(watched: Watched, name: str) -> None:
    page = watched.open(ALL[name])
    shows = page.evaluate("document.body.innerText")
    assert "<script>" in shows or name in WITHOUT, shows[:500]
    page.set_viewport_size({"width": NARROW, "height": 900})
    assert sideways(page) <= 0
    refused = [fault for fault in watched.faults if "https://example.com/x.png" not in fault]
    assert refused == []


@pytest.mark.parametrize("watched", ["hostile"], indirect=True)
def test_a_hostile_host_and_trace_have_pages(watched: Watched) -> None:
    for where in ("/apm/trace/hostile", "/infrastructure"):
        page = watched.open(where)
        assert "<script>" in page.evaluate("document.body.innerText")
    page.get_by_role("link", name="<script>").first.click()
    assert sample_data.HOSTILE[:200] in page.get_by_role("heading", level=1).inner_text()
    assert watched.faults == []


@pytest.mark.parametrize("watched", ["hostile"], indirect=True)
def test_what_others_wrote_is_text_in_a_graph_too(watched: Watched) -> None:
    page = watched.open(ALL["timeboard"])
    label = page.locator("figure.graph .drawing .ytitle").first
    assert label.text_content() == f"{sample_data.HOSTILE[:60]}…"
    assert page.evaluate("document.querySelector('.drawing').getBoundingClientRect().width") > 200


def test_an_address_of_no_page_is_for_everybody_too(watched: Watched) -> None:
    page = watched.open("/nowhere")
    assert page.get_by_role("heading", level=1).inner_text() == "Not found"
    assert found_by_axe(page, OPTIONS) == []
    page.get_by_role("link", name="To all that is watched").click()
    assert page.get_by_role("heading", level=1).inner_text() == "What is watched"


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("timeboard", {"frame-now"}),
        ("anomalies", {"frame-now", "outside-now"}),
        ("monitor", {"state-now", "groups-now", "history-now"}),
        ("service", {"resources-now"}),
        ("start", {"hosts-now", "monitors-now", "downtimes-now", "events-now", "mail-now"}),
        ("host map", {"hosts-now"}),
        ("monitors", {"monitors-now"}),
        ("events", {"events-now"}),
        ("mails", {"mail-now"}),
    ],
)
def test_what_is_live_follows(watched: Watched, name: str, parts: set[str]) -> None:
    page = watched.open(ALL[name])
    live = "[...document.querySelectorAll('[data-live]:not(figure)')]"
    assert parts <= set(page.evaluate(f"{live}.map((part) => part.id)"))
    texts = page.evaluate(f"{live}.map((part) => part.innerText)")
    page.evaluate(f"{live}.forEach((part) => {{ part.textContent = 'stale'; }})")
    page.evaluate("refresh()")
    fresh = page.evaluate(f"{live}.map((part) => part.innerText)")
    assert len(fresh) == len(texts)
    assert "stale" not in fresh
    assert watched.faults == []


@pytest.mark.parametrize("place", ["#groups-now a", "figure .legend"])
def test_who_is_in_a_live_part_by_keyboard_stays_there(watched: Watched, place: str) -> None:
    page = watched.open(ALL["monitor"])
    page.locator(place).first.focus()
    page.evaluate("refresh()")
    assert page.evaluate(f"document.activeElement === document.querySelector('{place}')")
    assert watched.faults == []


@pytest.mark.parametrize("name", ["timeboard", "APM", "monitor", "host", "service"])
def test_a_graph_draws_what_it_was_given(watched: Watched, name: str) -> None:
    page = watched.open(ALL[name])
    drawn = page.evaluate(
        "[...document.querySelectorAll('figure.graph')].map((each) => ["
        " each.querySelector('script').textContent,"
        " each.querySelector('.drawing').data.map((trace) => [trace.type, trace.y.length]),"
        " each.querySelectorAll('.drawing .shapelayer path').length])"
    )
    assert drawn
    for text, traces, shapes in drawn:
        graph = json.loads(text)
        expected = []
        for line in graph["lines"]:
            points = len(line["y"])
            band = [["scatter", points]] * 2 if line["lower"] else []
            outside = [["scatter", len(line["outside"])]] if line["lower"] else []
            expected += [*band, ["bar" if line["bars"] else "scatter", points], *outside]
        assert traces == expected
        assert shapes == len(graph["marks"]) + len(graph["events"])
    assert any(line["y"] for text, _, _ in drawn for line in json.loads(text)["lines"])


def test_everything_is_found_from_the_first_page_by_clicking_alone(watched: Watched) -> None:
    for names in (
        ("vm", "my_metric on vm (dev)"),
        ("Watchpost: my_metric (dev)",),
        ("Services", "shop"),
        ("Downtimes",),
        ("Mail", "[Triggered on {host:vm}] my_metric on vm (dev)", "The monitor"),
    ):
        page = watched.open("/")
        for name in names:
            page.get_by_role("link", name=name, exact=True).first.click()
        assert page.get_by_role("heading", level=1).inner_text()
    assert watched.faults == []


@pytest.mark.parametrize("watched", ["customers"], indirect=True)
def test_a_customer_in_trouble_is_found_from_the_first_page_by_clicking_alone(watched: Watched) -> None:
    page = watched.open("/")
    page.get_by_role("link", name="Customer in trouble").first.click()
    customer = re.search(r"customer:(\w+)", page.get_by_role("heading", level=1).inner_text())
    assert customer
    assert page.get_by_role("region", name="To the customer, 1").inner_text()
    page.get_by_role("link", name=f"customer {customer[1]}").click()
    groups = page.get_by_role("region", name="Table of groups")
    assert f"customer:{customer[1]}" in groups.locator("tbody tr").first.inner_text()
    for names in (
        ("Watchpost: customers of shop (dev)",),
        ("shop: orders of gold customers within the objective (dev)",),
        ("Services", "Latest traces of all services", "2026-03-02 09:4"),
    ):
        page = watched.open("/")
        for name in names:
            page.get_by_role("link", name=name).first.click()
        assert page.get_by_role("heading", level=1).inner_text()
    assert page.get_by_text("customer.id").is_visible()
    assert watched.faults == []


def test_the_keyboard_reaches_the_content_and_every_control(watched: Watched) -> None:
    page = watched.open(ALL["timeboard"])
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.name") == "tpl_var_host"
    page.keyboard.type("vm2")
    page.keyboard.press("Tab")
    page.keyboard.type("Past 15")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.wait_for_url("**span=15m**")
    assert "tpl_var_host=vm2" in page.url
    series = page.locator("figure.graph").first.locator("tbody tr")
    assert series.all_inner_texts() == [] or all("vm2" in text for text in series.all_inner_texts())


def test_a_shared_dashboard_leads_nowhere_else(watched: Watched) -> None:
    page = watched.open(ALL["shared"])
    assert page.get_by_role("link").count() == 0

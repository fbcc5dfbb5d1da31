"""The pages show a customer in trouble: the ticket, the SLOs, the dashboard that the component makes, the traces."""

import datetime
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import urllib3

from sandbox.datadog import Account, desk
from sandbox.datadog.evaluation import series, slos, webhooks
from sandbox.datadog.pages import times, widgets
from sandbox.datadog.store import Store
from sandbox.testing import customers
from sandbox.testing.customers import BEGIN, BOARD
from sandbox.testing.processes import wait_until

from .test_pages import opened_from_the_start

NOW = BEGIN + datetime.timedelta(minutes=50)
FRAME = f"from_ts={(NOW.timestamp() - 3600) * 1000:.0f}&to_ts={NOW.timestamp() * 1000:.0f}&live=false"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An account on which some customers are in trouble."""
    folder = tmp_path_factory.mktemp("customers")
    assert customers.in_trouble(folder) == NOW
    return folder


@pytest.fixture(scope="module")
def account(folder: Path) -> Iterator[Account]:
    account = Account.start(folder)
    yield account
    account.stop()


def page(account: Account, path: str) -> str:
    answer = urllib3.request("GET", account.url + path, retries=False)
    assert answer.status == 200, path
    return answer.data.decode()


def test_every_widget_of_the_customers_dashboard_is_drawn(account: Account, store: Store) -> None:
    board = store.get("dashboard", BOARD)
    assert board
    frame = times.frame(dict(pair.split("=") for pair in FRAME.split("&")), 0)
    variables = widgets.tags(board["template_variables"], {})
    drawn = widgets.Board(store=store, source=series.Source(store), frame=frame, variables=variables)
    found = [drawn.widget(each["definition"]) for each in board["widgets"]]
    assert [(widget.title, widget.fault) for widget in found if widget.fault] == []
    by_kind: dict[str, list[Any]] = {}
    for widget in found:
        by_kind.setdefault(widget.kind, []).append(widget)
    in_trouble = {ticket["customer"] for ticket in desk.tickets(store)}
    ((groups,),) = [by_kind["manage_status"]]
    assert {group.tags["customer"] for group, _, _ in groups.groups} == in_trouble != set()
    assert all(group.tags["customer"] in name for group, _, name in groups.groups)
    assert len(by_kind["list_stream"][0].stream) == len(in_trouble)
    journey, outside = (dict(widget.top) for widget in by_kind["toplist"])
    assert set(journey) == set(customers.DELAYS)
    assert 0 < max(outside.values()) <= 100
    assert all(widget.graph.lines for widget in by_kind["timeseries"] if "ailing" not in widget.title)
    for widget in by_kind["slo"]:
        assert widget.objective["statuses"][0].total > 0
    assert "does not draw" not in page(account, f"/dashboard/{BOARD}?{FRAME}")


def test_the_ticket_says_who_is_in_trouble_and_what_they_were_told(account: Account, store: Store) -> None:
    (ticket, *_) = desk.tickets(store)
    listed = page(account, "/tickets")
    shown = page(account, f"/tickets/{ticket['id']}")
    assert f"/tickets/{ticket['id']}" in page(account, "/")
    for text in (listed, shown):
        assert ticket["customer"] in text
    assert f"/monitors/{ticket['asked']['monitor']}" in shown
    assert "does not evaluate" not in page(account, f"/monitors/{ticket['asked']['monitor']}")


def test_every_link_of_every_page_opens(account: Account) -> None:
    seen = opened_from_the_start(account)
    for where in ("/tickets/", "/slo?slo_id=", "/apm/entity/", "/apm/trace/", "/infrastructure?hostname="):
        assert any(path.startswith(where) for path in seen), where


def test_every_monitor_of_the_component_is_evaluated_and_has_a_page(account: Account, store: Store) -> None:
    for monitor in store.all("monitor"):
        assert "has no state here" not in page(account, f"/monitors/{monitor['id']}?{FRAME}"), monitor["query"]


def test_the_parts_of_composites_are_not_on_the_first_page(account: Account, store: Store) -> None:
    """Alert of most of them is what is usual: that there are enough orders."""
    first, all_of_them = (
        set(re.findall(r'href="/monitors/(\d+)"', page(account, where))) for where in ("/", "/monitors/manage")
    )
    made = store.all("monitor")
    composites = [each["query"] for each in made if each["type"] == "composite"]
    parts = {number for query in composites for number in re.findall(r"\d+", query)}
    assert parts
    assert first == {str(each["id"]) for each in made} - parts
    assert all_of_them == first | parts


def test_a_monitor_of_many_groups_has_one_graph_and_of_a_few_one_each(account: Account, store: Store) -> None:
    found = {
        each["query"]: page(account, f"/monitors/{each['id']}?{FRAME}").count("<figure")
        for each in store.all("monitor")
        if each["type"] == "query alert"
    }
    assert {number for query, number in found.items() if "orders{*} by {customer,step}" in query} == {1}
    assert max(found.values()) > 1
    (counted,) = [each["id"] for each in store.all("monitor") if "count_nonzero" in each["query"]]
    assert "count_nonzero" in page(account, f"/monitors/{counted}").partition('class="fault"')[2].partition("</p>")[0]


def test_the_link_to_the_tickets_monitors_lists_them_alone(account: Account, store: Store) -> None:
    listed = page(account, "/monitors/manage?q=tag%3A%22env%3Adev%22+tag%3A%22experience%3Acustomer%22")
    care = {each["id"] for each in store.all("monitor") if "experience:customer" in each["tags"]}
    assert {int(number) for number in re.findall(r'href="/monitors/(\d+)"', listed)} == care != set()


def test_an_slo_has_a_page_with_its_alerts(account: Account, store: Store) -> None:
    for slo in store.all(slos.KIND):
        text = page(account, f"/slo?slo_id={slo['id']}")
        assert slo["name"] in text
        assert "The sandbox does not compute" not in text
        assert text.count("/monitors/1") == 2  # its burn rates
    answer = urllib3.request("GET", f"{account.url}/slo?slo_id=none", retries=False)
    assert answer.status == 404


def test_traces_are_found_by_a_span_query(account: Account) -> None:
    text = page(account, "/apm/traces?query=%40journey.step%3Apay+%40customer.tier%3Agold")
    assert "POST pay" in text
    assert "POST place" not in text
    assert "does not evaluate" in page(account, "/apm/traces?query=host%3Aa")


def test_a_running_account_sends_its_webhooks_to_its_own_desk(account: Account, store: Store) -> None:
    (hook, *_) = store.all(webhooks.KIND)
    store.put(webhooks.KIND, "loop", {**hook, "name": "loop", "url": f"{account.url}{desk.PATH}"})
    values = {"ALERT_TRANSITION": "Triggered", "ALERT_ID": "1", "ALERT_SCOPE": "customer:0123456789abcdef,step:pay"}
    webhooks.queue(store, "webhook-loop", values, at=NOW.timestamp(), monitor=1, group="0123456789abcdef,pay")
    wait_until(lambda: desk.tickets(store)[-1]["customer"] == "0123456789abcdef", "the ticket is opened")

    def ours() -> list[str]:
        return [each["state"] for each in webhooks.deliveries(store) if each["webhook"] == "loop"]

    # Where a busy account takes too long to answer itself, it is tried again with the next round.
    wait_until(lambda: ours() == ["sent"], "the answer is noted", 180, instead=lambda: webhooks.deliveries(store)[-3:])


@pytest.mark.parametrize("body", ["[]", "{}", '{"version": 2}', "no JSON", '{"version": 1, "action": "open"}'])
def test_the_desk_refuses_what_is_no_ticket(account: Account, body: str) -> None:
    answer = urllib3.request("POST", account.url + desk.PATH, body=body, retries=False)
    assert answer.status == 400
    assert json.loads(answer.data or b"{}") is not None

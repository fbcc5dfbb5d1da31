"""The pages show a customer in trouble: the ticket, the SLOs, the dashboard that the component makes, the traces."""

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import urllib3

from sandbox.datadog import Account, desk
from sandbox.datadog.evaluation import series, slos, webhooks
from sandbox.datadog.pages import times, widgets
from sandbox.datadog.store import Store, opened
from sandbox.testing import customers
from sandbox.testing.customers import BEGIN, BOARD, NONE, System
from sandbox.testing.processes import wait_until

MINUTES = 62
NOW = BEGIN + MINUTES * customers.MINUTE
FRAME = f"from_ts={(NOW.timestamp() - 3600) * 1000:.0f}&to_ts={NOW.timestamp() * 1000:.0f}&live=false"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An account on which some customers are in trouble."""
    folder = tmp_path_factory.mktemp("customers")
    system = System(folder)
    _, placed, _ = system.placed(7, customers.some("slow"), noise=NONE, size=18, minutes=MINUTES)
    shutil.copytree(folder / "made", folder / "account")
    with opened(folder / "account") as store:
        customers.run(store, placed, MINUTES - 12)  # while it lasts
        store.add_traces(
            {
                "id": str(number),
                "at": each["at"] + BEGIN.timestamp(),
                "host": "vm",
                "service": customers.SERVICE,
                "name": "flask.request",
                "resource": f"POST {each['step']}",
                "duration": each["duration"],
                "error": 0,
                "spans": [customers.span(each)],
            }
            for number, each in enumerate(placed[:50])
        )
    return folder / "account"


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
    assert {row["group"].tags["customer"] for row in groups.groups} == in_trouble != set()
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


def test_every_monitor_of_the_component_is_evaluated_and_has_a_page(account: Account, store: Store) -> None:
    for monitor in store.all("monitor"):
        assert "has no state here" not in page(account, f"/monitors/{monitor['id']}?{FRAME}"), monitor["query"]


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

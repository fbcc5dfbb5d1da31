"""Customers in trouble, and only those, get a ticket: a small part of ``python -m bench customers``, by seeds.

The monitors are those that ``components/customer_experience.py`` makes; the account evaluates them as in any sandbox.
"""

import random
from pathlib import Path
from typing import Any, Literal

import pytest

from components.customer_experience import CARE_TAG
from sandbox.datadog import desk, downtimes
from sandbox.datadog.evaluation import memory
from sandbox.datadog.store import opened
from sandbox.testing import customers
from sandbox.testing.customers import BEGIN, HISTORY, MINUTE, NONE, TICKET_URL, Customer, System, Trouble
from settings import CustomerExperience


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> System:
    return System(tmp_path_factory.mktemp("customers"))


@pytest.mark.parametrize("kind", ["slow", "errors"])
def test_those_in_trouble_and_only_those_get_a_ticket_in_time(system: System, kind: str) -> None:
    found = system.simulate(7, customers.some(kind), noise=NONE, size=18, minutes=62)  # type: ignore[arg-type]
    assert found.in_trouble
    assert found.ticketed == found.met == found.in_trouble
    assert {customer for customer, _ in found.ticketed} < found.watched
    window = system.experience.window_minutes
    assert all(0 < minutes <= window + 1 for minutes in found.minutes_since_first)
    assert set(found.deliveries) == {"sent"}


@pytest.mark.parametrize("kind", ["slow", "errors"])
def test_one_slow_or_failing_order_tells_nobody_anything(tmp_path: Path, kind: Literal["slow", "errors"]) -> None:
    least = CustomerExperience(enabled=True, ticket_url=TICKET_URL, minimum_orders=2, error_rate=1)

    def one_order(_: random.Random, found: list[Customer]) -> Trouble:
        one = next(customer.pseudonym for customer in found if customer.tier == "gold")
        return Trouble(kind=kind, step="pay", spans=[(HISTORY, HISTORY + 1)], customers=frozenset({one}))

    found = System(tmp_path, least).simulate(1, one_order, noise=NONE, size=9, minutes=48)
    assert len(found.met) == 1
    assert found.tickets == 0


@pytest.mark.parametrize("kind", ["slow", "errors"])
def test_who_orders_seldom_has_a_ticket_once_two_orders_met_the_trouble(
    system: System, kind: Literal["slow", "errors"]
) -> None:
    calm = Trouble(kind=kind, step="pay", spans=[], customers=frozenset())
    window = system.experience.window_minutes
    with opened(system.copied()) as store:
        one, *others = customers.population(random.Random(2), system.experience, 6, NONE)  # noqa: S311
        placed = [order for each in others for order in orders(each, system, calm)]
        first = 60.0 * HISTORY
        for at in (first, first + 9 * 60):
            failed = kind == "errors"
            order = {"at": at, "step": "pay", "duration": 0.1 if failed else 9.0, "failed": failed, "customer": one}
            placed.append(order)
        customers.run(store, placed, HISTORY + 20)
        (ticket,) = desk.tickets(store)
        assert ticket["customer"] == one.pseudonym
        assert 0 < ticket["opened"] - BEGIN.timestamp() - first <= 60 * (window + 1)


def orders(customer: Customer, system: System, trouble: Trouble) -> list[dict[str, Any]]:
    """The orders of a customer who is always served as promised."""
    rng = random.Random(1)  # noqa: S311 - the same for the same seed
    return list(customers.orders(rng, customer, system.experience, HISTORY + 20, trouble, NONE))


@pytest.mark.parametrize(
    ("muted", "opened_at", "closed"),
    [
        ((HISTORY - 1, HISTORY + 20), HISTORY + 20, True),  # told when it ends, since the trouble goes on
        ((HISTORY - 1, HISTORY + 60), None, False),  # over before it ends: nobody hears of it
        ((HISTORY + 15, HISTORY + 60), HISTORY + 9, True),  # a ticket that is open already is closed all the same
    ],
)
def test_a_downtime_mutes_tickets_and_no_trouble_is_lost_that_outlasts_it(
    system: System, muted: tuple[int, int], opened_at: int | None, closed: bool
) -> None:
    # Source: https://docs.datadoghq.com/monitors/downtimes/
    _, placed, _ = system.placed(7, customers.some("slow", minutes=25), noise=NONE, size=9, minutes=HISTORY + 50)
    with opened(system.copied()) as store:
        begin, end = ((BEGIN + minute * MINUTE).isoformat() for minute in muted)
        body = {"monitor_identifier": {"monitor_tags": [CARE_TAG]}, "scope": "*"}
        body |= {"schedule": {"start": begin, "end": end}}
        attributes = downtimes.attributes(body, None, now=BEGIN, has_monitor=lambda _: True)
        store.put("downtime", "d", {"id": "d", "type": "downtime", "attributes": attributes})
        customers.run(store, placed, HISTORY + 50)
        tickets = desk.tickets(store)
        assert len(tickets) == (opened_at is not None)
        for ticket in tickets:
            assert abs((ticket["opened"] - BEGIN.timestamp()) / 60 - (opened_at or 0)) <= 2
            assert (ticket["closed"] is not None) == closed


@pytest.mark.parametrize(("most", "told"), [(2, True), (3, False)])
def test_more_customers_in_an_hour_than_the_limit_are_told_of(tmp_path: Path, most: int, told: bool) -> None:
    experience = CustomerExperience(enabled=True, ticket_url=TICKET_URL, max_customers=most)
    rng = random.Random(1)  # noqa: S311 - the same for the same seed
    calm = Trouble(kind="slow", step="pay", spans=[], customers=frozenset())
    with opened(tmp_path) as store:
        customers.make(store, experience)
        found = customers.population(rng, experience, 9, NONE)
        assert sum(customer.tier == "gold" for customer in found) == 3
        placed = [order for one in found for order in customers.orders(rng, one, experience, 30, calm, NONE)]
        customers.run(store, placed, 30)
        (limit,) = [each["id"] for each in store.all("monitor") if "than the limit" in each["name"]]
        assert [each.new for each in memory.transitions(store, limit)] == ["Alert"] * told
        assert [mail.get("to") for mail in memory.mails(store)] == [["incidents@example.com"]] * told


def test_a_slowdown_of_the_whole_platform_is_one_incident_and_no_ticket(system: System) -> None:
    found = system.simulate(3, customers.everybody, size=18, minutes=80)
    assert (found.incidents, found.about_it) == (1, 0)


def test_a_slowdown_close_to_the_share_that_counts_is_one_incident_too(system: System) -> None:
    assert system.simulate(1, customers.half, size=18, minutes=80).incidents == 1


@pytest.mark.long
def test_a_customer_in_and_out_of_trouble_is_told_once(system: System) -> None:
    found = system.simulate(5, customers.flapping, noise=NONE, size=18, minutes=165)
    assert found.tickets > 1
    assert list(found.told.values()) == [1]

"""Customers in trouble, and only those, get a ticket: a small part of ``python -m bench customers``, by seeds.

The monitors are those that ``components/customer_experience.py`` makes; the account evaluates them as in any sandbox.
"""

import random
from pathlib import Path
from typing import Literal

import pytest

from sandbox.datadog.evaluation import memory
from sandbox.datadog.store import opened
from sandbox.testing import customers
from sandbox.testing.customers import HISTORY, NONE, TICKET_URL, Customer, System, Trouble
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
    least = CustomerExperience(enabled=True, ticket_url=TICKET_URL, minimum_orders=3, error_rate=1)

    def one_order(_: random.Random, found: list[Customer]) -> Trouble:
        one = next(customer.pseudonym for customer in found if customer.tier == "gold")
        return Trouble(kind=kind, step="pay", spans=[(HISTORY, HISTORY + 1)], customers=frozenset({one}))

    found = System(tmp_path, least).simulate(1, one_order, noise=NONE, size=9, minutes=48)
    assert len(found.met) == 1
    assert found.tickets == 0


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


@pytest.mark.long
def test_a_customer_in_and_out_of_trouble_is_told_once(system: System) -> None:
    found = system.simulate(5, customers.flapping, noise=NONE, size=18, minutes=165)
    assert found.tickets > 1
    assert list(found.told.values()) == [1]

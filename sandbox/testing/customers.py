"""Simulates customers against the very monitors that ``components/customer_experience.py`` creates.

A population places orders for some time, by the account's clock, and a share of it meets trouble at one step. Spans
become metrics, monitors are evaluated each minute, webhooks reach the ticket desk: all by the sandbox's code.
"""

import asyncio
import contextlib
import datetime
import hashlib
import itertools
import json
import math
import random
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pulumi
from pulumi.runtime import rpc

from components.customer_signals import Signals
from sandbox.datadog import dashboards, desk, monitors
from sandbox.datadog.evaluation import memory, rounds, slos, spans, webhooks
from sandbox.datadog.store import Point, Store, opened
from sandbox.pulumi.plugins.datadog.monitor import Monitor
from settings import CustomerExperience
from settings.office_hours import OfficeHours

BEGIN = datetime.datetime(2026, 3, 2, 9, 0, tzinfo=datetime.UTC)
"""The start of each simulation, on a Monday morning."""

MINUTE = datetime.timedelta(minutes=1)
DELAYS: Mapping[str, float] = {"place": 0.0, "pay": 5.0, "prepare": 20.0, "deliver": 50.0}
"""Seconds from an order's placement to the start of each step."""

SERVICE, ENV = "shop", "dev"
TICKET_URL = "http://127.0.0.1:1/desk/tickets"
"""A URL that is never requested: deliveries go straight to the desk."""

BOARD = "cus-tom-ers"
"""The dashboard's id."""

HISTORY = 30
"""Minutes of orders before evaluation and trouble begin."""


class _Made(pulumi.runtime.Mocks):
    """Collects the component's resources: type, id and inputs."""

    def __init__(self) -> None:
        self._numbers = itertools.count(100_000_001)
        self.resources: list[tuple[str, str, dict[str, Any]]] = []

    def call(self, args: pulumi.runtime.MockCallArgs) -> tuple[dict[str, Any], list[tuple[str, str]] | None]:
        """Fail: the component calls no provider functions."""
        raise NotImplementedError(args.token)

    def new_resource(self, args: pulumi.runtime.MockResourceArgs) -> tuple[str | None, dict[str, Any]]:
        """Collect a resource; return its id, and its inputs with what a provider computes."""
        inputs, name = _plain(args.inputs), f"{args.name}-id"
        match args.typ:
            case "datadog:index/monitor:Monitor":
                name = str(next(self._numbers))
            case "datadog:index/serviceLevelObjective:ServiceLevelObjective":
                name = hashlib.sha256(args.name.encode()).hexdigest()[:32]
            case "datadog:index/dashboardJson:DashboardJson":
                inputs["url"] = f"/dashboard/{BOARD}"
            case "random:index/randomString:RandomString":
                inputs["result"] = "simulated123"
        self.resources.append((args.typ, name, inputs))
        return name, inputs


def _keep(store: Store, kind: str, name: str, inputs: dict[str, Any]) -> None:
    """Store a resource as the API would."""
    match kind:
        case "datadog:index/monitor:Monitor":
            body = Monitor()._body(inputs)
            store.put("monitor", name, monitors.answer(body, number=int(name), now=BEGIN))
        case "datadog:index/spansMetric:SpansMetric":
            attributes = {
                "compute": {
                    "aggregation_type": inputs["compute"]["aggregationType"],
                    "path": inputs["compute"].get("path"),
                },
                "filter": inputs["filter"],
                "group_by": [
                    {"path": each["path"], "tag_name": each["tagName"]} for each in inputs.get("groupBies", [])
                ],
            }
            store.put(spans.KIND, inputs["name"], {"id": inputs["name"], "attributes": attributes})
        case "datadog:index/serviceLevelObjective:ServiceLevelObjective":
            store.put(slos.KIND, name, {**inputs, "id": name})
        case "datadog:index/dashboardJson:DashboardJson":
            store.put("dashboard", BOARD, dashboards.answer(json.loads(inputs["dashboard"]), name=BOARD, now=BEGIN))
        case "datadog:index/webhook:Webhook":
            body = {"name": inputs["name"], "url": inputs["url"], "payload": inputs["payload"]}
            store.put(webhooks.KIND, inputs["name"], {**body, "encode_as": inputs["encodeAs"]})


def _plain(value: Any) -> Any:
    """Convert inputs as a provider gets them: whole numbers to integers, and secrets to their values."""
    if isinstance(value, dict):
        return (
            _plain(value["value"])
            if rpc._special_sig_key in value
            else {name: _plain(inner) for name, inner in value.items()}
        )
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def make(store: Store, experience: CustomerExperience) -> None:
    """Create the system of ``experience`` in a store by running its component; `startup.prepare` speeds it up."""
    from components.customer_experience import CustomerExperienceSystem, CustomerExperienceSystemArgs
    from components.datadog_context import DatadogContext
    from components.links import Links
    from components.ownership import OwnershipTag
    from settings.credentials import Credentials

    def body() -> None:
        context = DatadogContext(
            env=ENV, ownership=OwnershipTag(Credentials(), "datadoghq.eu"), links=Links(app_url="http://127.0.0.1")
        )
        hours = OfficeHours(
            days=("MO", "TU", "WE", "TH", "FR"), start=datetime.time(8), end=datetime.time(18), timezone="UTC"
        )
        args = CustomerExperienceSystemArgs(
            context=context, experience=experience, service=SERVICE, hours=hours, mentions="@incidents@example.com"
        )
        CustomerExperienceSystem("customers", args)

    made = _Made()

    def main() -> None:
        with asyncio.Runner() as runner:
            runner.get_loop().set_default_executor(engine)
            pulumi.runtime.set_mocks(made, project="watchpost", stack="dev", preview=False)
            pulumi.runtime.test(body)()  # type: ignore[no-untyped-call]

    # The component and the mocks have a thread and an event loop each.
    with (
        contextlib.closing(asyncio.new_event_loop()) as loop,
        ThreadPoolExecutor(1, initializer=lambda: asyncio.set_event_loop(loop)) as engine,
        ThreadPoolExecutor(1) as thread,
    ):
        thread.submit(main).result()
    for kind, name, inputs in made.resources:
        _keep(store, kind, name, inputs)


@dataclass(frozen=True, kw_only=True)
class Customer:
    """A customer who places ``rate`` orders a minute, whose steps take ``pace`` times as long as others'."""

    pseudonym: str
    tier: str
    rate: float
    pace: float


@dataclass(frozen=True, kw_only=True)
class Trouble:
    """Trouble of some customers at one step; times are in minutes from the start."""

    kind: Literal["slow", "errors"]
    step: str
    spans: Sequence[tuple[float, float]]
    customers: frozenset[str]

    def meets(self, customer: Customer, step: str, at: float) -> bool:
        """Return whether a step that begins at ``at`` seconds meets it."""
        within = any(60 * begin <= at < 60 * end for begin, end in self.spans)
        return within and step == self.step and customer.pseudonym in self.customers


Choice = Callable[[random.Random, list[Customer]], Trouble]
"""Chooses which customers of a population meet what trouble."""


@dataclass(frozen=True, kw_only=True)
class Noise:
    """How orders vary; with ``NONE`` each customer orders once a minute, and steps always take equally long."""

    latency: float = 0.45
    """Standard deviation of the logarithm of latencies."""
    traffic: float = 0.8
    """Standard deviation of the logarithm of customers' order rates."""
    failing: float = 0.002
    """Share of orders that fail without trouble."""
    met: float = 0.75
    """Share of orders that fail if errors are the trouble."""


REALISTIC = Noise()
NONE = Noise(latency=0.0, traffic=0.0, failing=0.0, met=1.0)


def population(rng: random.Random, experience: CustomerExperience, size: int, noise: Noise) -> list[Customer]:
    """Create equally many customers of each tier, some of whom seldom order."""
    return [
        Customer(
            pseudonym=hashlib.sha256(f"{rng.random()}".encode()).hexdigest()[:16],
            tier=experience.tiers[number % len(experience.tiers)],
            rate=min(max(rng.lognormvariate(0.0 if not noise.traffic else -0.2, noise.traffic), 0.03), 4.0),
            pace=rng.lognormvariate(0.0, noise.latency / 3),
        )
        for number in range(size)
    ]


def orders(
    rng: random.Random,
    customer: Customer,
    experience: CustomerExperience,
    minutes: int,
    trouble: Trouble,
    noise: Noise,
) -> Iterator[dict[str, Any]]:
    """Yield a customer's entry spans; a failing step ends its order. Times are in seconds from the start."""
    objectives = {step.name: step.objective / 1000 for step in experience.steps}
    at = rng.random() * 60 / customer.rate
    while at < 60 * minutes:
        for step, delay in DELAYS.items():
            begin = at + delay
            usual = 0.35 * objectives[step] * customer.pace
            duration = rng.lognormvariate(math.log(usual), noise.latency)
            failed = rng.random() < noise.failing
            if trouble.meets(customer, step, begin):
                if trouble.kind == "slow":
                    duration *= 6
                else:
                    failed = rng.random() < noise.met
            yield {"at": begin, "step": step, "duration": duration, "failed": failed, "customer": customer}
            if failed:
                break
        at += 60 / customer.rate if not noise.traffic else rng.expovariate(customer.rate / 60)


def span(order: Mapping[str, Any]) -> dict[str, Any]:
    """Build an order's step as the tracer sends it."""
    customer: Customer = order["customer"]
    return {
        "span_id": 1,
        "service": SERVICE,
        "name": "flask.request",
        "resource": f"POST {order['step']}",
        "start": int((BEGIN.timestamp() + order["at"]) * 1e9),
        "duration": int(order["duration"] * 1e9),
        "error": int(order["failed"]),
        "meta": {
            "env": ENV,
            "customer.id": customer.pseudonym,
            "customer.tier": customer.tier,
            "journey.step": order["step"],
        },
        "metrics": {},
    }


@dataclass(kw_only=True)
class Outcome:
    """The result of a simulation."""

    ticketed: frozenset[tuple[str, str]]
    """The customers with a ticket, by pseudonym and step, as in all of these."""
    met: frozenset[tuple[str, str]]
    """Customers in individual care with an order that was slow or failing by the trouble."""
    in_trouble: frozenset[tuple[str, str]]
    """Those of them with enough such orders in one of the monitors' windows."""
    watched: frozenset[str]
    """All customers in individual care."""
    minutes_since_first: list[float]
    """Minutes from the very first slow or failing order to the ticket, for those whose first window has enough."""
    minutes_of_seldom: list[float]
    """The same for those who order so seldom that only a later window has enough, or none without earlier orders."""
    minutes_since_enough: list[float]
    """Minutes from the first order of the first window with enough, for those who have one."""
    left_open: int
    tickets: int
    about_it: int
    """The number of tickets about the step with the trouble."""
    told: Counter[str]
    """How often each customer was told of trouble."""
    incidents: int
    """How often the platform's incident was opened."""
    deliveries: Counter[str] = field(default_factory=Counter)


class System:
    """The system as its component creates it; each simulation gets a copy."""

    def __init__(self, folder: Path, experience: CustomerExperience | None = None) -> None:
        self._folder, self._numbers = folder, itertools.count()
        self.experience = experience or CustomerExperience(
            enabled=True, ticket_url=TICKET_URL, tell_in_office_hours=False
        )
        with opened(folder / "made") as store:
            make(store, self.experience)

    def simulate(
        self,
        seed: int,
        trouble: Choice,
        *,
        noise: Noise = REALISTIC,
        size: int = 36,
        minutes: int = 75,
    ) -> Outcome:
        """Simulate a population for some ``minutes``; ``trouble`` chooses who of it meets what."""
        customers, placed, met = self.placed(seed, trouble, noise=noise, size=size, minutes=minutes)
        folder = self.copied()
        try:
            with opened(folder) as store:
                run(store, placed, minutes)
                return self._outcome(store, customers, placed, met)
        finally:
            shutil.rmtree(folder)

    def copied(self) -> Path:
        """Copy the system's account to a folder of its own."""
        folder = self._folder / f"run-{next(self._numbers)}"
        shutil.copytree(self._folder / "made", folder)
        return folder

    def placed(
        self, seed: int, trouble: Choice, *, noise: Noise, size: int, minutes: int
    ) -> tuple[list[Customer], list[dict[str, Any]], Trouble]:
        """Create a population, its orders' steps, and the trouble that some of them met."""
        rng = random.Random(seed)  # noqa: S311 - the same for the same seed
        customers = population(rng, self.experience, size, noise)
        met = trouble(rng, customers)
        placed = [each for one in customers for each in orders(rng, one, self.experience, minutes, met, noise)]
        return customers, placed, met

    def _outcome(
        self, store: Store, customers: Sequence[Customer], placed: Sequence[Mapping[str, Any]], met: Trouble
    ) -> Outcome:
        care = {customer.pseudonym for customer in customers if customer.tier in self.experience.care_tiers}
        bad = [
            order
            for order in placed
            if met.meets(order["customer"], order["step"], order["at"]) and self._outside(order)
        ]
        times = {
            name: sorted(order["at"] for order in bad if order["customer"].pseudonym == name)
            for name in care & met.customers
        }
        enough = {name: at for name, found in times.items() if (at := self._enough(found)) is not None}
        tickets = desk.tickets(store)
        first: dict[tuple[str, str], float] = {}
        for ticket in tickets:
            first.setdefault((ticket["customer"], ticket["step"]), ticket["opened"] - BEGIN.timestamp())
        found = {name: first[name, met.step] for name, at in times.items() if at and (name, met.step) in first}
        since_first = {name: (at - times[name][0]) / 60 for name, at in found.items()}
        seldom = {name for name in found if enough.get(name) != times[name][0]}
        incident = next(each for each in store.all("monitor") if "experience:platform" in each["tags"])
        return Outcome(
            ticketed=frozenset(first),
            met=frozenset((name, met.step) for name, at in times.items() if at),
            in_trouble=frozenset((name, met.step) for name in enough),
            watched=frozenset(care),
            minutes_since_first=[minutes for name, minutes in since_first.items() if name not in seldom],
            minutes_of_seldom=[minutes for name, minutes in since_first.items() if name in seldom],
            minutes_since_enough=[(at - enough[name]) / 60 for name, at in found.items() if name in enough],
            left_open=sum(ticket["closed"] is None for ticket in tickets),
            tickets=len(tickets),
            about_it=sum(ticket["step"] == met.step for ticket in tickets),
            told=Counter(
                ticket["customer"]
                for ticket in tickets
                for each in ticket["told"]
                if each["text"] == ticket["asked"]["customer"]
            ),
            incidents=sum(each.new == "Alert" for each in memory.transitions(store, incident["id"])),
            deliveries=Counter(each["state"] for each in webhooks.deliveries(store)),
        )

    def _outside(self, order: Mapping[str, Any]) -> bool:
        """Whether an order's step failed or took longer than its objective."""
        objective = next(step.objective for step in self.experience.steps if step.name == order["step"])
        return bool(order["failed"] or 1000 * order["duration"] > objective)

    def _enough(self, times: Sequence[float]) -> float | None:
        """Return the start of the first window with enough of a customer's orders."""
        signals = Signals(experience=self.experience, owner="", stack="", service=SERVICE, env=ENV)
        window, least = 60 * signals.minutes, self.experience.minimum_orders
        return next((at for at, last in zip(times, times[least - 1 :], strict=False) if last < at + window - 60), None)


def run(store: Store, placed: Sequence[Mapping[str, Any]], minutes: int) -> None:
    """Feed each minute's spans, evaluate, and deliver webhooks."""
    by_minute: dict[int, list[list[dict[str, Any]]]] = {}
    for order in placed:
        # A span arrives when it ends.
        by_minute.setdefault(int((order["at"] + order["duration"]) // 60), []).append([span(order)])
    for minute in range(minutes):
        store.add_points(spans.points(store, by_minute.get(minute, [])))
        now = BEGIN + (minute + 1) * MINUTE
        if minute >= HISTORY - 3:
            rounds.evaluate(store, now)
            webhooks.deliver(store, lambda made, now=now: desk.take(store, json.loads(made.body), now))  # type: ignore[misc]
            desk.follow(store, now)


def in_trouble(folder: Path) -> datetime.datetime:
    """Fill an account's folder with orders until some customers are in trouble; return the time."""
    minutes = HISTORY + 20
    with tempfile.TemporaryDirectory() as made:
        system = System(Path(made))
        _, placed, _ = system.placed(7, some("slow"), noise=NONE, size=18, minutes=minutes)
        shutil.copytree(Path(made, "made"), folder, dirs_exist_ok=True)
    ended = sorted(
        (each for each in placed if each["at"] + each["duration"] < 60 * minutes), key=lambda each: each["at"]
    )
    with opened(folder) as store:
        run(store, placed, minutes)
        store.add_points(point for each in ended for point in _counted(each))
        store.add_traces(
            {
                "id": str(number),
                "at": each["at"] + BEGIN.timestamp(),
                "host": "vm",
                "service": SERVICE,
                "name": "flask.request",
                "resource": f"POST {each['step']}",
                "duration": each["duration"],
                "error": 0,
                "spans": [span(each)],
            }
            for number, each in enumerate(ended[-50:])
        )
    return BEGIN + minutes * MINUTE


def _counted(order: Mapping[str, Any]) -> Iterator[Point]:
    """Yield the trace metrics of an order's step, for its service's page."""
    at = BEGIN.timestamp() + order["at"] + order["duration"]
    tags = [f"env:{ENV}", f"service:{SERVICE}", f"resource_name:POST {order['step']}"]
    for name, value in (("hits", 1), ("errors", int(order["failed"]))):
        yield Point(metric=f"trace.flask.request.{name}", at=at, value=value, host="vm", tags=tags, kind="count")
    yield Point(metric="trace.flask.request", at=at, value=order["duration"], tags=tags, kind="distribution")


# Kinds of trouble


def some(kind: Literal["slow", "errors"], share: float = 0.2, minutes: int = 22) -> Choice:
    """Let a share of each tier's customers meet trouble, at a step that the seed chooses."""

    def choose(rng: random.Random, customers: list[Customer]) -> Trouble:
        chosen: list[str] = []
        for tier in sorted({customer.tier for customer in customers}):
            names = [customer.pseudonym for customer in customers if customer.tier == tier]
            chosen += rng.sample(names, max(1, round(share * len(names))))
        step = rng.choice(list(DELAYS))
        return Trouble(kind=kind, step=step, spans=[(HISTORY, HISTORY + minutes)], customers=frozenset(chosen))

    return choose


def everybody(_: random.Random, customers: list[Customer]) -> Trouble:
    """Slow the whole platform down at one step."""
    names = frozenset(customer.pseudonym for customer in customers)
    return Trouble(kind="slow", step="pay", spans=[(HISTORY, HISTORY + 20)], customers=names)


def half(rng: random.Random, customers: list[Customer]) -> Trouble:
    """The platform is slow for half of the customers, which is close to the share that counts."""
    names = rng.sample([customer.pseudonym for customer in customers], len(customers) // 2)
    return Trouble(kind="slow", step="pay", spans=[(HISTORY, HISTORY + 25)], customers=frozenset(names))


def flapping(_: random.Random, customers: list[Customer]) -> Trouble:
    """Let one customer with many orders meet trouble again and again."""
    one = max((each for each in customers if each.tier == "gold"), key=lambda customer: customer.rate)
    spans = [(HISTORY + 30 * turn, HISTORY + 30 * turn + 13) for turn in range(4)]
    return Trouble(kind="slow", step="pay", spans=spans, customers=frozenset({one.pseudonym}))

"""The sandbox's ticket desk: receives the webhooks that open and close tickets.

``files/customer_experience/desk.py`` decides on each, as in front of a real ticket system.
"""

import asyncio
import datetime
import functools
import importlib.util
from types import ModuleType
from typing import Any

from aiohttp import web

from sandbox import paths
from sandbox.datadog.handling import STORE, parsed
from sandbox.datadog.store import Store

KIND = "ticket"
"""The kind under which the store keeps tickets, by number."""

PATH = "/desk/tickets"
"""The path that webhooks post to."""

_STATE = "desk"


@functools.cache
def _decisions() -> ModuleType:
    spec = importlib.util.spec_from_file_location("desk_decisions", paths.ROOT / "files/customer_experience/desk.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


async def receive(request: web.Request) -> web.Response:
    """Handle a webhook's request."""
    store = request.app[STORE]
    return web.Response(status=take(store, await parsed(request), store.now()))


def take(store: Store, asked: Any, now: datetime.datetime) -> int:
    """Handle a webhook's JSON; return the answer's status: 400 if it isn't the generic ticket's JSON."""
    desk = _load(store)
    try:
        decision = desk.take(asked, now)
    except (ValueError, KeyError, TypeError, AttributeError, StopIteration):
        return 400
    if decision.ticket == "open":
        number = store.next(KIND, 1)
        ticket = {
            "id": number,
            "key": decision.key,
            "customer": _decisions().customer(asked),
            "step": asked.get("step", ""),
            "opened": now.timestamp(),
            "closed": None,
            "told": [],
            "asked": asked,
        }
        store.put(KIND, str(number), ticket)
    ticket_now = _latest(store, decision.key)
    if ticket_now is not None:
        if decision.ticket == "close":
            ticket_now |= {"closed": now.timestamp(), "closing": asked}
        _tell(store, ticket_now, decision.tell, now)
    _save(store, desk)
    return 200


async def follow_forever(store: Store) -> None:
    """Tell waiting customers as soon as the office opens."""
    while True:
        await asyncio.sleep(10)
        follow(store, store.now())


def follow(store: Store, now: datetime.datetime) -> None:
    """Tell the customers who waited for office hours."""
    found, desk = tickets(store), _load(store)
    waiting = [ticket for ticket in found if ticket["closed"] is None]
    waiting += [ticket for key in desk.over if (ticket := _latest(store, key))]
    if not waiting:
        return
    for ticket in waiting:
        _tell(store, ticket, desk.due(ticket["key"], ticket.get("closing") or ticket["asked"], now), now)
    _save(store, desk)


def tickets(store: Store) -> list[dict[str, Any]]:
    """Return all tickets, oldest first."""
    return sorted(store.all(KIND), key=lambda ticket: int(ticket["id"]))  # a change moves a ticket to the store's end


def _latest(store: Store, key: str) -> dict[str, Any] | None:
    return next((ticket for ticket in reversed(tickets(store)) if ticket["key"] == key), None)


def _tell(store: Store, ticket: dict[str, Any], text: str, now: datetime.datetime) -> None:
    if text:
        ticket["told"] = [*ticket["told"], {"at": now.timestamp(), "text": text}]
    store.put(KIND, str(ticket["id"]), ticket)


def _load(store: Store) -> Any:
    """Return the desk's memory, as it was kept."""
    kept, decisions = store.get(_STATE, "memory") or {"cases": {}, "last_told": {}}, _decisions()
    when = datetime.datetime.fromisoformat
    return decisions.Desk(
        cases={
            key: decisions.Case(
                **{**case, "monitors": set(case["monitors"]), "opened": when(case["opened"])},
            )
            for key, case in kept["cases"].items()
        },
        over=kept.get("over", {}),
        last_told={who: when(at) for who, at in kept["last_told"].items()},
        recovered={what: when(at) for what, at in kept.get("recovered", {}).items()},
    )


def _save(store: Store, desk: Any) -> None:
    cases = {
        key: {**vars(case), "monitors": sorted(case.monitors), "opened": case.opened.isoformat()}
        for key, case in desk.cases.items()
    }
    times = {
        name: {what: when.isoformat() for what, when in getattr(desk, name).items()}
        for name in ("last_told", "recovered")
    }
    store.put(_STATE, "memory", {"cases": cases, "over": desk.over, **times})

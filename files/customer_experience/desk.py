"""Decides what becomes of the tickets that Datadog's webhooks ask for, and whether their customer is told.

A monitor has no memory across its alerts: whoever takes its webhooks has. This is that memory as plain functions, to be
put before a ticket system, in a function as a service or in a small server. It remembers by the documented JSON alone
(docs/customer-experience.md), and knows neither Datadog's API nor a customer's name. Keep what it remembers only once
the ticket system has done what was decided: on an error answer with 500, and Datadog sends the same again.
"""

import datetime
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from zoneinfo import ZoneInfo

DAYS = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")

LATER = datetime.timedelta(minutes=5)
"""From here on a customer who is told is also told when the trouble was noticed."""

REPEATED = datetime.timedelta(days=1)
"""How long after a recovery its alert can still arrive: far longer than Datadog repeats what got an error."""


@dataclass(frozen=True)
class Decision:
    """What to do: open, close or leave the ticket of ``key``, and the text that its customer is told, if any."""

    ticket: str
    key: str
    tell: str = ""


@dataclass
class Case:
    """One customer at one step: the monitors that alert, and the text for the customer that waits for office hours."""

    monitors: set[str] = field(default_factory=set)
    waiting: str = ""
    told: bool = False
    opened: datetime.datetime | None = None


@dataclass
class Desk:
    """The cases by key, what their customers are told once the office opens since it is over, when each customer was
    told last, and when each monitor of a case recovered last.
    """

    cases: dict[str, Case] = field(default_factory=dict)
    over: dict[str, str] = field(default_factory=dict)
    last_told: dict[str, datetime.datetime] = field(default_factory=dict)
    recovered: dict[str, datetime.datetime] = field(default_factory=dict)

    def take(self, ticket: Mapping[str, Any], now: datetime.datetime) -> Decision:
        """Take one webhook's JSON; the same one taken again, as Datadog repeats it after an error, changes nothing.

        Raises:
            ValueError: it is none of the documented ones.
        """
        if ticket.get("version") != 1 or ticket.get("action") not in ("open", "close"):
            raise ValueError("version must be 1, and action open or close")
        key, monitor, at = str(ticket["key"]), str(ticket["monitor"]), happened(ticket)
        self.recovered = {what: when for what, when in self.recovered.items() if now - when < REPEATED}
        ended = self.recovered.get(f"{key} {monitor}")
        if ticket["action"] == "open":
            # What got an error is sent again, and can arrive after its own recovery, which nothing would follow.
            late = ended is not None and at is not None and at < ended
            return Decision("leave", key) if late else self._open(key, monitor, ticket, now)
        if at is not None:
            self.recovered[f"{key} {monitor}"] = max(at, ended or at)
        case = self.cases.get(key)
        if case is None or monitor not in case.monitors:
            return Decision("leave", key)
        case.monitors.remove(monitor)
        if case.monitors:
            return Decision("leave", key)
        del self.cases[key]
        if case.told:
            self.over[key] = str(ticket["customer"])
        return Decision("close", key, self.due(key, ticket, now))

    def _open(self, key: str, monitor: str, ticket: Mapping[str, Any], now: datetime.datetime) -> Decision:
        if key in self.cases:
            self.cases[key].monitors.add(monitor)
            return Decision("leave", key)
        case = self.cases[key] = Case(monitors={monitor}, waiting=str(ticket["customer"]), opened=now)
        if self.over.pop(key, ""):  # for their customer it was never over
            case.waiting, case.told = "", True
        return Decision("open", key, self._told(case, ticket, now))

    def due(self, key: str, ticket: Mapping[str, Any], now: datetime.datetime) -> str:
        """Return what a customer is to be told now, since the office has opened: of trouble, or that it is over."""
        case = self.cases.get(key)
        if case:
            return self._told(case, ticket, now)
        return self.over.pop(key, "") if is_open(ticket["tell"]["office_hours"], now) else ""

    def _told(self, case: Case, ticket: Mapping[str, Any], now: datetime.datetime) -> str:
        who, hours = customer(ticket), ticket["tell"]["office_hours"]
        again = datetime.timedelta(minutes=ticket["tell"]["again_after_minutes"])
        self.last_told = {who: last for who, last in self.last_told.items() if now - last < again}
        if not case.waiting or who in self.last_told or not is_open(hours, now):
            return ""
        text, case.waiting, case.told = case.waiting, "", True
        self.last_told[who] = now
        return f"{text}{since(case.opened, hours) if case.opened and now - case.opened >= LATER else ''}"


def happened(ticket: Mapping[str, Any]) -> datetime.datetime | None:
    """Return when the monitor alerted or recovered; None where a ticket doesn't say."""
    at = str(ticket.get("at", ""))
    return datetime.datetime.fromtimestamp(int(at), datetime.UTC) if at.isdecimal() else None


def since(noticed: datetime.datetime, hours: Mapping[str, Any] | None) -> str:
    """Return a sentence on when the trouble was noticed, in the office's time zone if there is one.

    >>> since(datetime.datetime(2027, 1, 3, 11, tzinfo=datetime.UTC), {"timezone": "Europe/Paris"})
    ' We noticed it on Sunday, 3 January 2027 at 12:00 (Europe/Paris).'
    """
    zone = hours["timezone"] if hours else "UTC"
    local = noticed.astimezone(ZoneInfo(zone))
    return f" We noticed it on {local:%A}, {local.day} {local:%B %Y} at {local:%H:%M} ({zone})."


def customer(ticket: Mapping[str, Any]) -> str:
    """Return the customer's pseudonym in a ticket's scope.

    >>> customer({"scope": "customer:0123456789abcdef,step:pay"})
    '0123456789abcdef'
    """
    tags = (tag.strip().partition(":") for tag in str(ticket["scope"]).split(","))
    return next(value for name, _, value in tags if name == "customer")


def is_open(hours: Mapping[str, Any] | None, now: datetime.datetime) -> bool:
    """Whether the office is open; without hours it always is. An end at or before the start is on the next day."""
    if hours is None:
        return True
    local = now.astimezone(ZoneInfo(hours["timezone"]))
    start, end = (datetime.time.fromisoformat(hours[name]) for name in ("start", "end"))
    for begun in (local.date(), local.date() - datetime.timedelta(days=1)):
        ends = begun + datetime.timedelta(days=1) if end <= start else begun
        opens, closes = (
            datetime.datetime.combine(day, clock, local.tzinfo) for day, clock in ((begun, start), (ends, end))
        )
        if DAYS[begun.weekday()] in hours["days"] and opens <= local < closes:
            return True
    return False

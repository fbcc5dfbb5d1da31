"""The page of downtimes: when each mutes next, and what of the coming week is muted, minute by minute."""

import datetime
import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from zoneinfo import ZoneInfo

from sandbox.datadog import downtimes
from sandbox.datadog.downtimes import Span
from sandbox.datadog.pages.rendering import Asked, Page
from sandbox.datadog.store import Store

NEXT = 5
"""Occurrences of a downtime that are told."""

AHEAD = datetime.timedelta(days=366)
"""How far ahead changes of the clock are looked for."""

DAY = datetime.timedelta(days=1)


@dataclass(frozen=True, kw_only=True)
class Day:
    """One day by the clock of a zone, from ``start`` to ``end`` in UTC: the muted stretches of it."""

    start: datetime.datetime
    end: datetime.datetime
    muted: list[Span]
    zone: ZoneInfo

    @property
    def name(self) -> str:
        """The day, for people."""
        return self.start.astimezone(self.zone).strftime("%a %Y-%m-%d")

    @property
    def hours(self) -> float:
        """How long it is: 23 or 25 hours when the clock changes."""
        return (self.end - self.start) / datetime.timedelta(hours=1)

    def part(self, moment: datetime.datetime) -> float:
        """Where a moment is in the day, in percent."""
        return 100 * ((moment - self.start) / (self.end - self.start))

    @property
    def stretches(self) -> list[dict[str, Any]]:
        """The muted stretches: where they are in percent, and from when until when by the zone's clock."""
        return [
            {
                "left": self.part(begin),
                "width": self.part(end) - self.part(begin),
                "begin": begin.isoformat(),
                "end": end.isoformat(),
                "from": begin.astimezone(self.zone).strftime("%H:%M"),
                "to": "24:00" if end == self.end else end.astimezone(self.zone).strftime("%H:%M"),
            }
            for begin, end in self.muted
        ]


def show(store: Store, asked: Asked) -> Page:
    """All downtimes; ``id`` in the address is the one that is shown first."""
    now = store.now()
    first = asked.query.get("id", "")
    kept = sorted(
        store.all("downtime"), key=lambda downtime: (downtime["id"] != first, downtime["attributes"]["created"])
    )
    rows = []
    for downtime in kept:
        attributes = downtimes.current(downtime["attributes"], now)
        zone = ZoneInfo(attributes["display_timezone"])
        coming = [] if attributes["canceled"] else downtimes.occurrences(attributes["schedule"], now, now + AHEAD)
        number = attributes["monitor_identifier"].get("monitor_id")
        rows.append(
            {
                "downtime": downtime,
                "attributes": attributes,
                "monitor": store.get("monitor", str(number)) if number is not None else None,
                "chosen": downtime["id"] == first,
                "next": [tuple(at.astimezone(zone) for at in stretch) for stretch in coming[:NEXT]],
            }
        )
    return "downtimes.html", {"rows": rows, "calendars": [_calendar(store, group, now) for group in _by_monitor(kept)]}


def _by_monitor(kept: Iterable[Mapping[str, Any]]) -> list[list[Mapping[str, Any]]]:
    """The downtimes that aren't cancelled, those of one monitor together."""
    found: dict[str, list[Mapping[str, Any]]] = {}
    for downtime in kept:
        if downtime["attributes"]["canceled"] is None:
            found.setdefault(str(downtime["attributes"]["monitor_identifier"]), []).append(downtime)
    return list(found.values())


def _calendar(store: Store, kept: list[Mapping[str, Any]], now: datetime.datetime) -> dict[str, Any]:
    identifier, name = kept[0]["attributes"]["monitor_identifier"], kept[0]["attributes"]["display_timezone"]
    zone = ZoneInfo(name)
    monitor = store.get("monitor", str(identifier.get("monitor_id")))
    weeks = [("The next seven days", now.astimezone(zone).date())]
    weeks += [(f"The clock changes on {day:%Y-%m-%d}", day - day.weekday() * DAY) for day in changes(zone, now)]
    schedules = [downtime["attributes"]["schedule"] for downtime in kept]
    return {
        "monitor": monitor,
        "identifier": identifier,
        "zone": name,
        "weeks": [{"title": title, "days": week(schedules, first, zone)} for title, first in weeks],
    }


def changes(zone: ZoneInfo, now: datetime.datetime) -> list[datetime.date]:
    """The days within a year on which the zone's clock changes."""
    days = [now.astimezone(zone).date() + number * DAY for number in range(AHEAD.days)]
    starts = [datetime.datetime.combine(day, datetime.time(), zone).utcoffset() for day in days]
    return [day for day, here, there in zip(days, starts, starts[1:], strict=False) if here != there]


def week(schedules: Iterable[Mapping[str, Any]], first: datetime.date, zone: ZoneInfo) -> list[Day]:
    """The seven days from the first on by a zone's clock, each with what any of the schedules mutes of it."""
    edges = [
        datetime.datetime.combine(first + number * DAY, datetime.time(), zone).astimezone(datetime.UTC)
        for number in range(8)
    ]
    muted = merged(
        stretch for schedule in schedules for stretch in downtimes.occurrences(schedule, edges[0], edges[-1])
    )
    return [
        Day(
            start=start,
            end=end,
            muted=[(max(a, start), min(b, end)) for a, b in muted if a < end and b > start],
            zone=zone,
        )
        for start, end in itertools.pairwise(edges)
    ]


def merged(stretches: Iterable[Span]) -> list[Span]:
    """The same time as stretches that neither touch nor overlap, in order."""
    found: list[Span] = []
    for begin, end in sorted(stretches):
        if found and begin <= found[-1][1]:
            found[-1] = (found[-1][0], max(end, found[-1][1]))
        else:
            found.append((begin, end))
    return found

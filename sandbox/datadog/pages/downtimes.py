"""The page of downtimes: the next occurrences, and the muted minutes of the coming week."""

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
"""Occurrences shown of a downtime."""

AHEAD = datetime.timedelta(days=366)
"""How far ahead to look for clock changes."""

DAY = datetime.timedelta(days=1)
MONTH = 31 * DAY


@dataclass(frozen=True, kw_only=True)
class Day:
    """A day in a time zone, from ``start`` to ``end`` in UTC, with its muted spans."""

    start: datetime.datetime
    end: datetime.datetime
    muted: list[Span]
    zone: ZoneInfo

    @property
    def name(self) -> str:
        """The day's name."""
        return self.start.astimezone(self.zone).strftime("%a %Y-%m-%d")

    @property
    def hours(self) -> float:
        """Its length: 23 or 25 hours if the clock changes."""
        return (self.end - self.start) / datetime.timedelta(hours=1)

    def part(self, moment: datetime.datetime) -> float:
        """Return how far into the day a time is, in percent."""
        return 100 * ((moment - self.start) / (self.end - self.start))

    @property
    def stretches(self) -> list[dict[str, Any]]:
        """Return the muted spans: their position in percent, and their times in the zone."""
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
    """Show all downtimes, first the one with the URL's ``id``."""
    now = store.now()
    first = asked.query.get("id", "")
    kept = sorted(
        (downtime for downtime in store.all("downtime") if not downtimes.forgotten(downtime["attributes"], now)),
        key=lambda downtime: (downtime["id"] != first, downtime["attributes"]["created"]),
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
                "next": [(begin.astimezone(zone), end_of(end, zone)) for begin, end in coming[:NEXT]],
            }
        )
    missing = first if first and all(downtime["id"] != first for downtime in kept) else ""
    return "downtimes.html", {
        "missing": missing,
        "rows": rows,
        "calendars": [_calendar(store, group, now) for group in _by_monitor(kept)],
    }


def end_of(moment: datetime.datetime, zone: ZoneInfo) -> datetime.datetime | None:
    """Return a stretch's end in a zone; ``None`` if it has none."""
    return None if moment.year == datetime.MAXYEAR else moment.astimezone(zone)


def muted_until(muting: Iterable[Mapping[str, Any]], now: datetime.datetime) -> datetime.datetime | None:
    """Return when the last of the downtimes that mute without a gap from now on ends; ``None`` if none mutes now.

    Looks one month ahead.
    """
    stretches = merged(
        stretch
        for downtime in muting
        if downtime["attributes"]["canceled"] is None
        for stretch in downtimes.occurrences(downtime["attributes"]["schedule"], now, now + MONTH)
    )
    return next((end for begin, end in stretches if begin <= now < end), None)


def _by_monitor(kept: Iterable[Mapping[str, Any]]) -> list[list[Mapping[str, Any]]]:
    """Group the downtimes that aren't cancelled by monitor and scope."""
    found: dict[str, list[Mapping[str, Any]]] = {}
    for downtime in kept:
        attributes = downtime["attributes"]
        if attributes["canceled"] is None:
            of = str((attributes["monitor_identifier"], attributes["scope"], attributes["display_timezone"]))
            found.setdefault(of, []).append(downtime)
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
        "scope": kept[0]["attributes"]["scope"],
        "zone": name,
        "weeks": [{"title": title, "days": week(schedules, first, zone)} for title, first in weeks],
    }


def changes(zone: ZoneInfo, now: datetime.datetime) -> list[datetime.date]:
    """List the days of the coming year on which the zone's clock changes."""
    days = [now.astimezone(zone).date() + number * DAY for number in range(AHEAD.days)]
    starts = [datetime.datetime.combine(day, datetime.time(), zone).utcoffset() for day in days]
    return [day for day, here, there in zip(days, starts, starts[1:], strict=False) if here != there]


def week(schedules: Iterable[Mapping[str, Any]], first: datetime.date, zone: ZoneInfo) -> list[Day]:
    """Return seven days in a time zone, each with what any of the schedules mutes."""
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
    """Merge spans that touch or overlap; return them in order."""
    found: list[Span] = []
    for begin, end in sorted(stretches):
        if found and begin <= found[-1][1]:
            found[-1] = (found[-1][0], max(end, found[-1][1]))
        else:
            found.append((begin, end))
    return found

"""An oracle for office hours and downtimes, minute by minute, which shares no code with what it tests.

Time is a string of bytes, one per minute of UTC: 1 if muted, or if it should be.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cache
from zoneinfo import ZoneInfo

DAY = 24 * 60
WEEK = 7 * DAY
WEEKDAYS = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")
UNITS = {"m": 1, "h": 60, "d": DAY, "w": WEEK}


@dataclass(frozen=True, kw_only=True)
class Repeated:
    """One recurrence as in Datadog's API; ``start`` is local to ``zone``."""

    rrule: str
    duration: str
    start: str
    zone: str


def minute(instant: datetime) -> int:
    """The UTC minute of an instant, counted from the epoch."""
    return int(instant.timestamp()) // 60


@cache
def offsets(zone: str, begin: int, end: int) -> tuple[tuple[int, int, int], ...]:
    """Return spans of minutes with the same UTC offset: (first, last + 1, offset in minutes).

    Clocks change on a quarter of an hour, at most once a day: only the quarters of days that begin and end with
    different offsets are searched.
    """
    clock = ZoneInfo(zone)

    def offset(at: int) -> int:
        local = datetime.fromtimestamp(at * 60, clock).utcoffset()
        assert local is not None
        return int(local.total_seconds()) // 60

    found: list[tuple[int, int, int]] = []
    for day in range(begin // DAY * DAY, end, DAY):
        constant = offset(day) == offset(day + DAY)
        for since in (day,) if constant else range(day, day + DAY, 15):
            until, there = since + (DAY if constant else 15), offset(since)
            if found and found[-1][2] == there:
                found[-1] = (found[-1][0], until, there)
            else:
                found.append((since, until, there))
    return tuple((max(first, begin), min(last, end), there) for first, last, there in found if first < end)


def should_be_muted(zone: str, days: Iterable[str], opens: str, closes: str, begin: int, end: int) -> bytes:
    """Return which minutes should be muted: all outside office hours, by the wall clock.

    Closing time is on the next day unless it is later than opening time.
    """
    week = bytearray(b"\1" * WEEK)
    first, last = (int(text[:2]) * 60 + int(text[3:]) for text in (opens, closes))
    for day in days:
        midnight = WEEKDAYS.index(day) * DAY
        for at in range(first, last if last > first else last + DAY):
            week[(midnight + at) % WEEK] = 0
    muted = bytearray()
    for since, until, offset in offsets(zone, begin, end):
        # 1970-01-01 was a Thursday.
        place = (since + offset + 3 * DAY) % WEEK
        turned = bytes(week[place:] + week[:place])
        muted += (turned * ((until - since) // WEEK + 1))[: until - since]
    return bytes(muted)


def is_muted(repeated: Iterable[Repeated], begin: int, end: int) -> bytes:
    """Return which minutes Datadog mutes: each recurrence by its zone's wall clock, for a fixed time."""
    muted = bytearray(end - begin)
    for recurrence in repeated:
        rule = dict(part.split("=") for part in recurrence.rrule.split(";"))
        assert set(rule) <= {"FREQ", "INTERVAL", "BYDAY", "COUNT"}
        assert rule["INTERVAL"] == "1"
        length = int(recurrence.duration[:-1]) * UNITS[recurrence.duration[-1]]
        start = datetime.strptime(recurrence.start, "%Y-%m-%dT%H:%M:%S")  # noqa: DTZ007 - local on purpose
        zone = ZoneInfo(recurrence.zone)
        days = set(rule["BYDAY"].split(",")) if rule["FREQ"] == "WEEKLY" else set(WEEKDAYS)
        left = int(rule.get("COUNT", 10_000))
        on: date = start.date()
        while left and minute(datetime.combine(on, start.time(), zone)) < end:
            if WEEKDAYS[on.weekday()] in days:
                since = minute(datetime.combine(on, start.time(), zone)) - begin
                first, last = max(since, 0), max(min(since + length, len(muted)), 0)
                muted[first:last] = b"\1" * (last - first)
                left -= 1
            on += timedelta(days=1)
    return bytes(muted)


def first_difference(one: bytes, other: bytes, begin: int) -> datetime | None:
    """Return the first minute in which two differ."""
    assert len(one) == len(other)
    if one == other:
        return None
    differing = int.from_bytes(one) ^ int.from_bytes(other)
    at = len(one) - (differing.bit_length() + 7) // 8
    return datetime.fromtimestamp((begin + at) * 60, UTC)

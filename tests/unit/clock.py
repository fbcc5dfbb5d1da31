"""An oracle for office hours and downtimes, minute by minute: it shares no code with what it judges.

Time is a string of bytes, one for each minute of UTC from a beginning on: 1 where it is muted, or should be.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cache
from zoneinfo import ZoneInfo

WEEK = 7 * 24 * 60
WEEKDAYS = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")
UNITS = {"m": 1, "h": 60, "d": 24 * 60, "w": WEEK}


@dataclass(frozen=True, kw_only=True)
class Repeated:
    """One recurrence in the words of Datadog's API; ``start`` is local to ``zone``."""

    rrule: str
    duration: str
    start: str
    zone: str


def minute(instant: datetime) -> int:
    """The number of the minute of UTC that an instant lies in."""
    return int(instant.timestamp()) // 60


@cache
def offsets(zone: str, begin: int, end: int) -> tuple[tuple[int, int, int], ...]:
    """Stretches of minutes with one offset from UTC, in minutes: (first, last + 1, offset).

    Looked up at each quarter of an hour: clocks change at no other time.
    """
    found: list[tuple[int, int, int]] = []
    for quarter in range(begin // 15 * 15, end, 15):
        local = datetime.fromtimestamp(quarter * 60, ZoneInfo(zone)).utcoffset()
        assert local is not None
        offset = int(local.total_seconds()) // 60
        if found and found[-1][2] == offset:
            found[-1] = (found[-1][0], quarter + 15, offset)
        else:
            found.append((quarter, quarter + 15, offset))
    return tuple((max(first, begin), min(last, end), offset) for first, last, offset in found)


def should_be_muted(zone: str, days: Iterable[str], opens: str, closes: str, begin: int, end: int) -> bytes:
    """What the wall clock says: muted in each minute that isn't in the office hours of an office day."""
    week = bytearray(b"\1" * WEEK)
    first, last = (int(text[:2]) * 60 + int(text[3:]) for text in (opens, closes))
    for day in days:
        midnight = WEEKDAYS.index(day) * 24 * 60
        week[midnight + first : midnight + last] = bytes(last - first)
    muted = bytearray()
    for since, until, offset in offsets(zone, begin, end):
        # 1970-01-01 was a Thursday.
        place = (since + offset + 3 * 24 * 60) % WEEK
        turned = bytes(week[place:] + week[:place])
        muted += (turned * ((until - since) // WEEK + 1))[: until - since]
    return bytes(muted)


def is_muted(repeated: Iterable[Repeated], begin: int, end: int) -> bytes:
    """What Datadog does: each start by the wall clock of its zone, from the first on, for a fixed time."""
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
    """The first minute that two differ in."""
    assert len(one) == len(other)
    if one == other:
        return None
    at = next(i for i, (left, right) in enumerate(zip(one, other, strict=True)) if left != right)
    return datetime.fromtimestamp((begin + at) * 60, UTC)

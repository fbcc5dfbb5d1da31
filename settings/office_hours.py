"""Office hours: plain values, no Pulumi."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo, reset_tzpath

# The rules of the pinned package tzdata: the system's can be older, and two machines that disagree on a zone's clock
# changes would replace each other's downtimes at every update.
reset_tzpath(to=())

DAYS = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")
"""Weekdays as in iCalendar, Monday first, like ``date.weekday``."""

DAY = timedelta(days=1)

Span = tuple[datetime, datetime]


@dataclass(frozen=True, kw_only=True)
class OfficeHours:
    """When somebody is there to respond: from ``start`` to ``end`` on ``days``, in ``timezone``.

    An ``end`` at or before ``start`` is on the following day: 22:00 to 06:00 is a night shift, 00:00 to 00:00 a whole
    day.
    """

    start: time
    end: time
    days: tuple[str, ...]
    timezone: str

    @property
    def overnight(self) -> bool:
        """Whether office hours end on the following day."""
        return self.end <= self.start

    def office_days(self, since: datetime, until: datetime) -> Iterator[Span]:
        """Yield the opening and closing times of each office day that overlaps a time span."""
        zone = ZoneInfo(self.timezone)
        day = since.astimezone(zone).date() - 2 * DAY
        while day <= until.astimezone(zone).date():
            opens = datetime.combine(day, self.start, zone)
            closes = datetime.combine(day + DAY if self.overnight else day, self.end, zone)
            if DAYS[day.weekday()] in self.days and opens < until and closes > since:
                yield opens, closes
            day += DAY

    def open_spans(self, since: datetime, until: datetime) -> Iterator[Span]:
        """Yield the office hours within a time span, in UTC, in order."""
        for opens, closes in self.office_days(since, until):
            yield max(opens.astimezone(UTC), since), min(closes.astimezone(UTC), until)

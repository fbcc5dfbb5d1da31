"""When the office is open, and the recurrences of downtimes that cover exactly the rest: plain values, no Pulumi."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import cache
from zoneinfo import ZoneInfo

from dateutil.rrule import rrulestr

DAYS = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")
"""The days of a week as iCalendar writes them, Monday first like ``date.weekday``."""

DAY = timedelta(days=1)

FORESEEABLE = (date(2026, 1, 1), date(2036, 1, 1))
"""The years whose changes of the clock count: the same at every run, so that a schedule stays what it was."""

Span = tuple[datetime, datetime]


@dataclass(frozen=True, kw_only=True)
class OfficeHours:
    """When somebody is there to answer: from ``start`` to ``end`` on ``days``, by the clock of ``timezone``."""

    start: time
    end: time
    days: tuple[str, ...]
    timezone: str

    def office_days(self, since: datetime, until: datetime) -> Iterator[Span]:
        """When the office opens and closes on each office day that touches the time between two instants."""
        zone = ZoneInfo(self.timezone)
        day = since.astimezone(zone).date() - DAY
        while day <= until.astimezone(zone).date():
            opens, closes = (datetime.combine(day, clock, zone) for clock in (self.start, self.end))
            if DAYS[day.weekday()] in self.days and opens < until and closes > since:
                yield opens, closes
            day += DAY

    def open_spans(self, since: datetime, until: datetime) -> Iterator[Span]:
        """The office hours between two instants, in UTC, in order."""
        for opens, closes in self.office_days(since, until):
            yield max(opens.astimezone(UTC), since), min(closes.astimezone(UTC), until)


@dataclass(frozen=True, kw_only=True)
class Recurrence:
    """What a recurring downtime repeats: ``rrule`` from the wall-clock time ``start``, each time for ``duration``.

    Source: https://docs.datadoghq.com/api/latest/downtimes/#schedule-a-downtime
    """

    rrule: str
    start: time
    duration: timedelta
    timezone: str

    def occurrences(self, since: datetime, until: datetime) -> Iterator[Span]:
        """The occurrences that touch the time between two instants, in UTC, in order.

        As in Datadog, each begins by the wall clock and lasts for a fixed time, whatever the clock does meanwhile.
        """
        zone = ZoneInfo(self.timezone)
        anchor = datetime.combine((since.astimezone(zone) - self.duration).date() - DAY, self.start)
        for begin in rrulestr(self.rrule, dtstart=anchor):
            begins = begin.replace(tzinfo=zone).astimezone(UTC)
            if begins >= until:
                return
            if begins + self.duration > since:
                yield begins, begins + self.duration

    def first_start(self, after: datetime) -> str:
        """When the recurrence begins first, not before ``after``: ``YYYY-MM-DDTHH:MM:SS`` by its clock."""
        local = after.astimezone(ZoneInfo(self.timezone)).replace(tzinfo=None)
        starts = rrulestr(self.rrule, dtstart=datetime.combine(local.date(), self.start))
        return next(start for start in starts if start >= local).isoformat(timespec="seconds")

    def under_way(self, at: datetime) -> timedelta | None:
        """How long the occurrence that ``at`` falls into still lasts, in whole minutes; ``None`` between two."""
        for begins, ends in self.occurrences(at, at + timedelta(minutes=1)):
            if begins <= at:
                return timedelta(minutes=-(-(ends - at) // timedelta(minutes=1)))
        return None


def nights(hours: OfficeHours) -> Recurrence:
    """From closing time to opening time, on each evening that an office day precedes or follows.

    The evening before an office day counts too: from Monday to Friday alone, Monday's first hours would be left out.
    """
    days = [day for i, day in enumerate(DAYS) if day in hours.days or DAYS[(i + 1) % 7] in hours.days]
    open_for = timedelta(hours=hours.end.hour - hours.start.hour, minutes=hours.end.minute - hours.start.minute)
    return Recurrence(rrule=_weekly(days), start=hours.end, duration=DAY - open_for, timezone=hours.timezone)


def closed_days(hours: OfficeHours) -> Recurrence | None:
    """The days without office hours, whole; ``None`` where the office opens every day.

    They last 24 hours, or longer where the clock may go back on one that another one follows (in Chile it does so on a
    Saturday); where an office day follows, the night covers the rest.
    """
    days = tuple(day for day in DAYS if day not in hours.days)
    if not days:
        return None
    lasts = _longest_before_another(days, hours.timezone)
    return Recurrence(rrule=_weekly(days), start=time(0), duration=lasts, timezone=hours.timezone)


@cache
def _longest_before_another(days: tuple[str, ...], timezone: str) -> timedelta:
    """How long one of ``days`` may last by the clock of ``timezone`` when the next day is one of them too."""
    zone = ZoneInfo(timezone)
    firsts = {day for day, name in enumerate(DAYS) if name in days and DAYS[(day + 1) % 7] in days}
    longest = DAY
    for number in range(FORESEEABLE[0].toordinal(), FORESEEABLE[1].toordinal()):
        if (number + 6) % 7 in firsts:  # as in date.weekday
            day = date.fromordinal(number)
            midnights = [datetime.combine(midnight, time(0), zone).astimezone(UTC) for midnight in (day, day + DAY)]
            longest = max(longest, midnights[1] - midnights[0])
    return longest


def recurrences(hours: OfficeHours) -> dict[str, Recurrence]:
    """Everything outside office hours, as the downtimes that cover it, by name."""
    weekend = closed_days(hours)
    return {"nights": nights(hours), **({"closed-days": weekend} if weekend else {})}


def first_fault(hours: OfficeHours, since: datetime, until: datetime) -> datetime | None:
    """The first instant between two at which :func:`recurrences` would not mute exactly outside ``hours``.

    ``None`` when they are exact. A fixed duration can't follow a clock that changes in the middle of a night before
    an office day; a change on a closed day, as in most time zones, does no harm.
    """
    for edge in (edge for day in hours.office_days(since, until) for edge in day):
        # An hour that the clock skips, or passes twice, says nothing certain about when the office opens or closes.
        if edge.utcoffset() != edge.replace(fold=1).utcoffset():
            return edge.astimezone(UTC)
    muted = _merged(
        (max(begins, since), min(ends, until))
        for recurrence in recurrences(hours).values()
        for begins, ends in recurrence.occurrences(since, until)
    )
    closed, last = [], since
    for begins, ends in hours.open_spans(since, until):
        closed.append((last, begins))
        last = ends
    closed = _merged([*closed, (last, until)])
    if closed == muted:
        return None
    edges = sorted({edge for span in closed for edge in span} ^ {edge for span in muted for edge in span})
    return edges[0]


def duration_text(duration: timedelta) -> str:
    """A duration as Datadog writes it: ``14h``, or ``870m`` where it is no whole number of hours."""
    minutes = duration // timedelta(minutes=1)
    return f"{minutes}m" if minutes % 60 else f"{minutes // 60}h"


def _weekly(days: Iterable[str]) -> str:
    return f"FREQ=WEEKLY;INTERVAL=1;BYDAY={','.join(days)}"


def _merged(spans: Iterable[Span]) -> list[Span]:
    """The same time as spans that neither touch nor overlap, in order."""
    merged: list[Span] = []
    for begins, ends in sorted(span for span in spans if span[0] < span[1]):
        if merged and begins <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], ends))
        else:
            merged.append((begins, ends))
    return merged

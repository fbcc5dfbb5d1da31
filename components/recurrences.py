"""Computes downtime recurrences that cover exactly the time outside office hours: plain values, no Pulumi."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from functools import cache
from itertools import pairwise
from zoneinfo import ZoneInfo

from dateutil.rrule import rrulestr

from settings.office_hours import DAY, DAYS, OfficeHours, Span

SHIFT = timedelta(hours=1)
"""The largest clock change."""

FORESEEABLE = (date(2026, 1, 1), date(2036, 1, 1))
"""The period whose clock changes count; fixed, so that every run computes the same schedule."""


@dataclass(frozen=True, kw_only=True)
class Recurrence:
    """One recurrence of a downtime: ``rrule`` from the wall-clock time ``start``, for ``duration`` each time.

    Source: https://docs.datadoghq.com/api/latest/downtimes/#schedule-a-downtime
    """

    rrule: str
    start: time
    duration: timedelta
    timezone: str

    def occurrences(self, since: datetime, until: datetime) -> Iterator[Span]:
        """Yield the occurrences that overlap a time span, in UTC, in order.

        As in Datadog, each begins by the wall clock and lasts for a fixed time, regardless of clock changes.
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
        """Return the first start at or after ``after``, as local ``YYYY-MM-DDTHH:MM:SS``."""
        local = after.astimezone(ZoneInfo(self.timezone)).replace(tzinfo=None)
        starts = rrulestr(self.rrule, dtstart=datetime.combine(local.date(), self.start))
        return next(start for start in starts if start >= local).isoformat(timespec="seconds")

    def under_way(self, at: datetime) -> timedelta | None:
        """Return the rest of the occurrence under way at ``at``, rounded up to minutes; ``None`` if there is none."""
        for begins, ends in self.occurrences(at, at + timedelta(minutes=1)):
            if begins <= at:
                return timedelta(minutes=-(-(ends - at) // timedelta(minutes=1)))
        return None


def nights(hours: OfficeHours) -> Recurrence | None:
    """Recur from closing to opening time before and after each office day; ``None`` if there is no such time.

    The evening before an office day is included: Monday to Friday alone would leave out Monday's first hours. With
    night shifts, the closed hours are on the office day itself, before it opens.
    """
    closed_for = (_clock(hours.start) - _clock(hours.end)) % DAY
    if hours.overnight:
        days: tuple[str, ...] = hours.days
    else:
        days = tuple(day for i, day in enumerate(DAYS) if day in hours.days or DAYS[(i + 1) % 7] in hours.days)
    if not days or not closed_for:
        return None
    return Recurrence(rrule=_weekly(days), start=hours.end, duration=closed_for, timezone=hours.timezone)


def closed_days(hours: OfficeHours) -> Recurrence | None:
    """Recur on whole days without office hours; ``None`` if the office opens every day.

    Each lasts 24 hours, or longer if the clock can go back on a closed day before another one (in Chile it does so on a
    Saturday); if an office day follows, the night covers the rest. With night shifts, a day runs from closing
    time to closing time.
    """
    days = tuple(day for day in DAYS if day not in hours.days)
    if not days:
        return None
    begins = hours.end if hours.overnight else time(0)
    lasts = _longest_before_another(days, begins, hours.timezone)
    return Recurrence(rrule=_weekly(days), start=begins, duration=lasts, timezone=hours.timezone)


def _clock(at: time) -> timedelta:
    return timedelta(hours=at.hour, minutes=at.minute)


@cache
def _longest_before_another(days: tuple[str, ...], begins: time, timezone: str) -> timedelta:
    """Return the longest that one of ``days`` followed by another of them lasts in ``timezone``."""
    zone = ZoneInfo(timezone)
    firsts = {day for day, name in enumerate(DAYS) if name in days and DAYS[(day + 1) % 7] in days}
    longest = DAY
    for day in changes(timezone):
        for before in (day - DAY, day):
            if before.weekday() in firsts:
                ends = [datetime.combine(end, begins, zone).astimezone(UTC) for end in (before, before + DAY)]
                longest = max(longest, ends[1] - ends[0])
    return longest


@cache
def changes(timezone: str) -> tuple[date, ...]:
    """List the days in :data:`FORESEEABLE` on which the clock of ``timezone`` changes."""
    zone = ZoneInfo(timezone)
    days = [date.fromordinal(number) for number in range(FORESEEABLE[0].toordinal(), FORESEEABLE[1].toordinal() + 1)]
    offsets = [datetime.combine(day, time(0), zone).utcoffset() for day in days]
    return tuple(day for day, here, there in zip(days, offsets, offsets[1:], strict=False) if here != there)


@cache
def recurrences(hours: OfficeHours) -> dict[str, tuple[Recurrence, ...]]:
    """Cover all time outside office hours: each downtime's recurrences, by the downtime's kind.

    A recurrence has a fixed duration and can't follow a clock change. If that would mute or unmute at the wrong time,
    the recurrence is split into two that overlap: one until well after any clock change, and one for the rest. The
    simplest exact covering wins; failing that, the one that mutes the least of office hours, then the one that leaves
    the least of the rest unmuted.
    """
    by_name = {"nights": nights(hours), "closed-days": closed_days(hours)}
    stretches = {name: stretch for name, stretch in by_name.items() if stretch}
    best: dict[str, tuple[Recurrence, ...]] = {name: (stretch,) for name, stretch in stretches.items()}
    least = _total_faults(hours, best)
    for name, stretch in stretches.items():
        for way in _alternatives(stretch):
            if not any(least):
                return best
            covering = {**best, name: way}
            wrong = _total_faults(hours, covering)
            if wrong < least:
                best, least = covering, wrong
    return best


def _alternatives(stretch: Recurrence) -> Iterator[tuple[Recurrence, ...]]:
    """Yield alternative coverings: split in two, cut to a day, or longer than a day only before another closed day."""
    if not changes(stretch.timezone):
        return
    if stretch.duration <= DAY:
        yield from _split(stretch)
        return
    days = stretch.rrule.rpartition("=")[2].split(",")
    followed = [day for day in days if DAYS[(DAYS.index(day) + 1) % 7] in days]
    whole = replace(stretch, duration=DAY)
    yield from ((whole,), *_split(whole))
    if 0 < len(followed) < len(days):
        last = replace(whole, rrule=_weekly(day for day in days if day not in followed))
        for way in ((last,), *_split(last)):
            yield replace(stretch, rrule=_weekly(followed)), *way


def _split(stretch: Recurrence) -> Iterator[tuple[Recurrence, Recurrence]]:
    """Yield every split at a full hour; the first part overlaps the second if there is room."""
    days = stretch.rrule.rpartition("=")[2].split(",")
    for hour in range(1, 24):
        at = (timedelta(hours=hour) - _clock(stretch.start)) % DAY
        if timedelta(0) < at < stretch.duration:
            later = ((datetime.combine(FORESEEABLE[0], stretch.start) + at).date() - FORESEEABLE[0]).days
            rest = Recurrence(
                rrule=_weekly(DAYS[(DAYS.index(day) + later) % 7] for day in days),
                start=time(hour),
                duration=stretch.duration - at,
                timezone=stretch.timezone,
            )
            # When the clock goes forward, the first part overlaps by another hour.
            beyond = SHIFT if at + 2 * SHIFT <= stretch.duration else timedelta(0)
            yield replace(stretch, duration=at + beyond), rest


def _total_faults(hours: OfficeHours, covering: Mapping[str, Iterable[Recurrence]]) -> tuple[timedelta, timedelta]:
    """Sum the muted office hours and the unmuted closed hours around all clock changes."""
    found = [fault for day in changes(hours.timezone) for fault in faults(hours, *around(day), covering)]
    muted_open, unmuted = (
        sum((ends - begins for begins, ends, muted in found if muted is which), timedelta(0)) for which in (True, False)
    )
    return muted_open, unmuted


def around(change: date) -> Span:
    """Return the span that a clock change can affect, with some ordinary days before it."""
    noon = datetime.combine(change, time(12), UTC)
    return noon - 7 * DAY, noon + 3 * DAY


def faults(
    hours: OfficeHours,
    since: datetime,
    until: datetime,
    covering: Mapping[str, Iterable[Recurrence]] | None = None,
) -> list[tuple[datetime, datetime, bool]]:
    """List where ``covering`` (default: :func:`recurrences`) deviates from ``hours``: from, to, whether it mutes.

    Opening and closing times that the clock skips or repeats are left out, being ambiguous.
    """
    muted = _merged(
        (max(begins, since), min(ends, until))
        for group in (recurrences(hours) if covering is None else covering).values()
        for recurrence in group
        for begins, ends in recurrence.occurrences(since, until)
    )
    opened = _merged(hours.open_spans(since, until))
    edges = sorted({since, until, *(edge for span in (*muted, *opened) for edge in span)})
    unclear = [
        edge.astimezone(UTC)
        for day in hours.office_days(since, until)
        for edge in day
        if edge.utcoffset() != edge.replace(fold=1).utcoffset()
    ]
    found: list[tuple[datetime, datetime, bool]] = []
    for begins, ends in pairwise(edges):
        is_muted, is_open = (any(a <= begins < b for a, b in spans) for spans in (muted, opened))
        near = (abs(at - edge) <= SHIFT for at in (begins, ends) for edge in unclear)
        if is_muted == is_open and not any(near):
            found.append((begins, ends, is_muted))
    return found


def duration_text(duration: timedelta) -> str:
    """Format a duration for Datadog: ``14h``, or ``870m`` if it is no whole number of hours."""
    minutes = duration // timedelta(minutes=1)
    return f"{minutes}m" if minutes % 60 else f"{minutes // 60}h"


def _weekly(days: Iterable[str]) -> str:
    return f"FREQ=WEEKLY;INTERVAL=1;BYDAY={','.join(days)}"


def _merged(spans: Iterable[Span]) -> list[Span]:
    """Merge spans that touch or overlap; return them in order."""
    merged: list[Span] = []
    for begins, ends in sorted(span for span in spans if span[0] < span[1]):
        if merged and begins <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], ends))
        else:
            merged.append((begins, ends))
    return merged

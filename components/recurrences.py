"""The recurrences of downtimes that cover exactly the time outside office hours: plain values, no Pulumi."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from functools import cache
from itertools import pairwise
from zoneinfo import ZoneInfo

from dateutil.rrule import rrulestr

from settings.office_hours import DAY, DAYS, OfficeHours, Span

SHIFT = timedelta(hours=1)
"""By how much clocks change at most."""

FORESEEABLE = (date(2026, 1, 1), date(2036, 1, 1))
"""The years whose changes of the clock count: the same at every run, so that a schedule stays what it was."""


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


def nights(hours: OfficeHours) -> Recurrence | None:
    """From closing time to opening time, whenever an office day precedes or follows; ``None`` where there is none.

    The evening before an office day counts too: from Monday to Friday alone, Monday's first hours would be left out.
    Of a night shift, the time between is on the office day itself, before it opens.
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
    """The days without office hours, whole; ``None`` where the office opens every day.

    They last 24 hours, or longer where the clock may go back on one that another one follows (in Chile it does so on a
    Saturday); where an office day follows, the night covers the rest. Around night shifts, a day is that from closing
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
    """How long one of ``days`` may last by the clock of ``timezone`` when the next day is one of them too."""
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
    """The days of the foreseeable years on which the clock of ``timezone`` changes."""
    zone = ZoneInfo(timezone)
    days = [date.fromordinal(number) for number in range(FORESEEABLE[0].toordinal(), FORESEEABLE[1].toordinal() + 1)]
    offsets = [datetime.combine(day, time(0), zone).utcoffset() for day in days]
    return tuple(day for day, here, there in zip(days, offsets, offsets[1:], strict=False) if here != there)


@cache
def recurrences(hours: OfficeHours) -> dict[str, tuple[Recurrence, ...]]:
    """Everything outside office hours, as the recurrences of the downtimes that cover it, by the downtime's name.

    Each lasts for a fixed time, and can't follow a clock that changes meanwhile. Where that would do harm, its stretch
    is covered in two that overlap: from its beginning until well after any change, and from there to its end. Of the
    coverings that there are, the simplest exact one counts; where none is, the one that mutes least of office hours,
    and then leaves least of the rest unmuted.
    """
    by_name = {"nights": nights(hours), "closed-days": closed_days(hours)}
    stretches = {name: stretch for name, stretch in by_name.items() if stretch}
    best: dict[str, tuple[Recurrence, ...]] = {name: (stretch,) for name, stretch in stretches.items()}
    least = _wrong_in_foreseeable_years(hours, best)
    for name, stretch in stretches.items():
        for way in _ways(stretch):
            if not any(least):
                return best
            told = {**best, name: way}
            wrong = _wrong_in_foreseeable_years(hours, told)
            if wrong < least:
                best, least = told, wrong
    return best


def _ways(stretch: Recurrence) -> Iterator[tuple[Recurrence, ...]]:
    """The ways to cover a stretch other than by itself: in two; and longer only on days that another one follows."""
    if not changes(stretch.timezone):
        return
    if stretch.duration <= DAY:
        yield from _in_two(stretch)
        return
    days = stretch.rrule.rpartition("=")[2].split(",")
    followed = [day for day in days if DAYS[(DAYS.index(day) + 1) % 7] in days]
    whole = replace(stretch, duration=DAY)
    yield from ((whole,), *_in_two(whole))
    if 0 < len(followed) < len(days):
        last = replace(whole, rrule=_weekly(day for day in days if day not in followed))
        for way in ((last,), *_in_two(last)):
            yield replace(stretch, rrule=_weekly(followed)), *way


def _in_two(stretch: Recurrence) -> Iterator[tuple[Recurrence, Recurrence]]:
    """A stretch as two that meet at some hour; the first one reaches beyond that, where there is room."""
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
            # In the night that is an hour shorter, it reaches another hour beyond.
            beyond = SHIFT if at + 2 * SHIFT <= stretch.duration else timedelta(0)
            yield replace(stretch, duration=at + beyond), rest


def _wrong_in_foreseeable_years(
    hours: OfficeHours, told: Mapping[str, Iterable[Recurrence]]
) -> tuple[timedelta, timedelta]:
    """How much of office hours is muted, and how much of the rest isn't, around all changes of the clock."""
    found = [fault for day in changes(hours.timezone) for fault in faults(hours, *around(day), told)]
    muted_open, unmuted = (
        sum((ends - begins for begins, ends, muted in found if muted is which), timedelta(0)) for which in (True, False)
    )
    return muted_open, unmuted


def around(change: date) -> Span:
    """The days around a change of the clock in which it can do harm, and some ordinary ones before."""
    noon = datetime.combine(change, time(12), UTC)
    return noon - 7 * DAY, noon + 3 * DAY


def faults(
    hours: OfficeHours,
    since: datetime,
    until: datetime,
    told: Mapping[str, Iterable[Recurrence]] | None = None,
) -> list[tuple[datetime, datetime, bool]]:
    """When :func:`recurrences` doesn't mute exactly outside ``hours``: from, to, and whether it mutes then.

    Opening and closing times that the clock skips or passes twice are left out: nobody can say when those are.
    """
    muted = _merged(
        (max(begins, since), min(ends, until))
        for group in (recurrences(hours) if told is None else told).values()
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

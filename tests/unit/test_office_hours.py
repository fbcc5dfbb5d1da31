"""Muted exactly outside office hours: every minute of a year, checked against an independent oracle."""

import importlib.resources
import subprocess
import sys
from datetime import UTC, datetime, time, timedelta
from itertools import pairwise, product
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from components.downtime_names import identity
from components.downtimes import MARGIN, at_once, exceptions, schedule
from components.recurrences import around, changes, closed_days, duration_text, faults, nights, recurrences
from settings.faults import validate
from settings.office_hours import DAYS, OfficeHours
from tests.unit import mocks
from tests.unit.clock import Repeated, first_difference, is_muted, minute, should_be_muted
from tests.unit.mocks import ROOT

YEAR = datetime(2027, 1, 1, tzinfo=UTC), datetime(2028, 1, 1, tzinfo=UTC)
OFFICE_DAYS = ("MO", "TU", "WE", "TH", "FR")
ZONES = (
    "Europe/Paris",
    "America/New_York",
    "Asia/Tokyo",  # the clock never changes
    "Asia/Kolkata",  # half an hour off
    "Australia/Lord_Howe",  # changes by half an hour
    "Australia/Sydney",  # summer in December
    "America/Santiago",  # changes at midnight: a Saturday of 25 hours
    "UTC",
)
HARD_ZONES = (
    "America/Santiago",
    "Africa/Cairo",
    "Asia/Jerusalem",
    "Africa/Casablanca",
    "Asia/Beirut",
    "Pacific/Chatham",
)
"""Their clocks change at midnight, right before days of work, or by the quarter of an hour."""


def hours(zone: str = "Europe/Paris", days: tuple[str, ...] = OFFICE_DAYS, **clock: time) -> OfficeHours:
    return OfficeHours(start=clock.get("start", time(9)), end=clock.get("end", time(19)), days=days, timezone=zone)


def scheduled(office: OfficeHours, now: datetime) -> list[Repeated]:
    """All recurrences sent to Datadog at ``now``."""
    return [
        Repeated(rrule=str(told.rrule), duration=str(told.duration), start=str(told.start), zone=office.timezone)
        for repeated in recurrences(office).values()
        for told in schedule(repeated, now)
    ]


def expected(office: OfficeHours, begin: int, end: int) -> bytes:
    opens, closes = f"{office.start:%H:%M}", f"{office.end:%H:%M}"
    return should_be_muted(office.timezone, office.days, opens, closes, begin, end)


def wrong_minute(office: OfficeHours, repeated: list[Repeated], since: datetime, until: datetime) -> datetime | None:
    begin, end = minute(since), minute(until)
    return first_difference(expected(office, begin, end), is_muted(repeated, begin, end), begin)


def weekly(days: str, start: str, duration: str) -> Repeated:
    """A recurrence for Paris, as a person would write it."""
    return Repeated(rrule=f"FREQ=WEEKLY;INTERVAL=1;BYDAY={days}", start=start, duration=duration, zone="Europe/Paris")


def first_minute(now: datetime) -> datetime:
    """The first minute at which downtimes created at ``now`` have to be right."""
    return now.replace(second=0, microsecond=0) + MARGIN


@st.composite
def offices(draw: st.DrawFn, zones: tuple[str, ...] = ZONES + HARD_ZONES) -> OfficeHours:
    start, end = (draw(st.integers(0, 23 * 60 + 59)) for _ in range(2))
    days = draw(st.sets(st.sampled_from(DAYS)))
    return OfficeHours(
        start=time(*divmod(start, 60)),
        end=time(*divmod(end, 60)),
        days=tuple(day for day in DAYS if day in days),
        timezone=draw(st.sampled_from(zones)),
    )


def is_plain(office: OfficeHours) -> bool:
    """Whether opening and closing time exist once on each office day: no clock changes right there."""
    zone, overnight = ZoneInfo(office.timezone), int(office.end <= office.start)
    days = [YEAR[0].date() + timedelta(days=day) for day in range(-1, 366)]
    edges = [
        datetime.combine(day + timedelta(days=later), edge, zone)
        for day in days
        if DAYS[day.weekday()] in office.days
        for edge, later in ((office.start, 0), (office.end, overnight))
    ]
    return all(edge.utcoffset() == edge.replace(fold=1).utcoffset() for edge in edges)


@pytest.mark.parametrize("zone", ZONES)
def test_every_minute_of_a_year_is_muted_exactly_outside_office_hours(zone: str) -> None:
    since, until = YEAR
    office = hours(zone)
    assert wrong_minute(office, scheduled(office, since - MARGIN), since, until) is None
    # The oracle sees both kinds of minutes: 50 hours a week are not muted.
    share = expected(office, minute(since), minute(until)).count(0) / (365 * 24 * 60)
    assert share == pytest.approx(50 / 168, abs=0.01)


def test_nights_after_office_days_alone_leave_monday_morning_unmuted() -> None:
    since, until = YEAR
    naive = [
        weekly("MO,TU,WE,TH,FR", "2026-12-01T19:00:00", "14h"),
        weekly("SA,SU", "2026-12-05T00:00:00", "24h"),
    ]
    assert wrong_minute(hours(), naive, since, until) == datetime(2027, 1, 3, 23, tzinfo=UTC)
    begin, end = minute(since), minute(until)
    muted, should = is_muted(naive, begin, end), expected(hours(), begin, end)
    assert sum(left != right for left, right in zip(muted, should, strict=True)) == 52 * 9 * 60


def test_a_weekend_in_one_piece_ends_an_hour_early_when_the_clock_is_put_back() -> None:
    since, until = YEAR
    naive = [
        weekly("MO,TU,WE,TH,FR", "2026-12-01T19:00:00", "14h"),
        weekly("MO", "2026-12-07T00:00:00", "9h"),
        weekly("SA", "2026-12-05T00:00:00", "48h"),
    ]
    assert wrong_minute(hours(), naive, since, until) == datetime(2027, 10, 31, 22, tzinfo=UTC)


def test_the_usual_hours_are_told_as_two_recurrences() -> None:
    assert {name: len(repeated) for name, repeated in recurrences(hours()).items()} == {"nights": 1, "closed-days": 1}
    night, closed = nights(hours()), closed_days(hours())
    assert night is not None
    assert closed is not None
    assert (night.rrule, night.start, duration_text(night.duration)) == (
        "FREQ=WEEKLY;INTERVAL=1;BYDAY=MO,TU,WE,TH,FR,SU",
        time(19),
        "14h",
    )
    assert (closed.rrule, closed.start, duration_text(closed.duration)) == (
        "FREQ=WEEKLY;INTERVAL=1;BYDAY=SA,SU",
        time(0),
        "24h",
    )


WEEKS: dict[str, dict[str, Any]] = {
    "all seven days": {"days": DAYS},
    "a night shift": {"start": time(22), "end": time(6)},
    "a night shift every day": {"start": time(22), "end": time(6), "days": DAYS},
    "round the clock on weekdays": {"start": time(0), "end": time(0)},
    "shifts of a day": {"start": time(9), "end": time(9), "days": ("MO", "TU", "WE")},
    "round the clock": {"start": time(0), "end": time(0), "days": DAYS},
    "never": {"days": ()},
    "until midnight": {"start": time(12), "end": time(0)},
    "Sunday alone": {"days": ("SU",)},
    "from Sunday to Thursday": {"days": ("SU", "MO", "TU", "WE", "TH")},
}


@pytest.mark.parametrize("zone", sorted({*ZONES, *HARD_ZONES}))
@pytest.mark.parametrize("week", WEEKS)
def test_every_week_that_a_person_can_say_is_muted_exactly_through_a_year(week: str, zone: str) -> None:
    since, until = YEAR
    office = OfficeHours(**{"start": time(9), "end": time(19), "days": OFFICE_DAYS, **WEEKS[week], "timezone": zone})
    # Where the clock changes at the very time at which the office opens or closes, nobody can say when that is.
    if is_plain(office):
        assert wrong_minute(office, scheduled(office, since - timedelta(days=9)), since, until) is None
    assert exceptions(office, since) == []
    assert all(len(schedule(repeated, since)) + 1 <= 5 for repeated in recurrences(office).values())


@given(office=offices())
@example(office=hours("Europe/Paris", DAYS, start=time(3, 30), end=time(22)))
@example(office=hours("Europe/Paris", DAYS))
@example(office=hours("Asia/Jerusalem", ("SU", "MO", "TU", "WE", "TH")))
def test_the_faults_that_are_told_are_those_that_the_oracle_finds(office: OfficeHours) -> None:
    since, until = YEAR
    assume(is_plain(office))
    told = scheduled(office, since - timedelta(days=9))
    around_changes = [
        fault for day in changes(office.timezone) if day.year == 2027 for fault in faults(office, *around(day))
    ]
    begin, end = minute(since), minute(until)
    muted, should = bytearray(is_muted(told, begin, end)), expected(office, begin, end)
    for begins, ends, is_muted_then in around_changes:
        first, last = minute(begins) - begin, minute(ends) - begin
        assert bytes(muted[first:last]) == bytes([is_muted_then]) * (last - first)
        muted[first:last] = should[first:last]
    assert bytes(muted) == should


def test_what_can_t_be_muted_exactly_is_told_with_the_night_and_what_happens_in_it() -> None:
    office = hours("Europe/Paris", DAYS, start=time(3, 30), end=time(22))
    spring, autumn = exceptions(office, datetime(2027, 1, 1, tzinfo=UTC))
    assert spring == (
        "on 2027-03-28, when the clock changes in Europe/Paris, the monitor is muted though the office is open,"
        " from 03:30 to 04:00: alerts are suppressed"
    )
    assert autumn == (
        "on 2027-10-31, when the clock changes in Europe/Paris, the monitor is not muted though the office is closed,"
        " from 02:00 to 03:00: alerts are sent"
    )


@given(
    office=offices(ZONES),
    seconds=st.integers(0, 365 * 24 * 3600),
)
def test_from_the_first_minute_on_it_is_exact_whenever_it_is_made(office: OfficeHours, seconds: int) -> None:
    now = YEAR[0] + timedelta(seconds=seconds)
    since, until = first_minute(now), now + timedelta(days=15)
    assume(is_plain(office))
    if not faults(office, since, until):
        assert wrong_minute(office, scheduled(office, now), since, until) is None


MOMENTS = {
    "in office hours": "2027-06-09T10:30:00",
    "at opening time": "2027-06-09T09:00:00",
    "at closing time": "2027-06-09T19:00:00",
    "a second before closing time": "2027-06-09T18:59:59",
    "the margin before closing time": "2027-06-09T18:57:00",
    "a minute before opening time": "2027-06-09T08:59:00",
    "in the evening": "2027-06-09T22:15:30",
    "before dawn": "2027-06-09T04:00:00",
    "on Friday night": "2027-06-11T23:59:59",
    "on Saturday at midnight": "2027-06-12T00:00:00",
    "on Saturday": "2027-06-12T12:00:00",
    "on Sunday before midnight": "2027-06-13T23:58:00",
    "on Monday before dawn": "2027-06-14T03:00:00",
    "the night before the clock is put forward": "2027-03-27T23:00:00",
    "an hour before the clock is put forward": "2027-03-28T01:00:00",
    "when the clock is put forward": "2027-03-28T03:00:00",
    "the evening after the clock was put forward": "2027-03-28T20:00:00",
    "the night before the clock is put back": "2027-10-30T23:00:00",
    "an hour before the clock is put back": "2027-10-31T01:30:00",
    "the evening after the clock was put back": "2027-10-31T22:30:00",
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_the_first_stretch_is_exact(moment: str) -> None:
    now = datetime.fromisoformat(MOMENTS[moment]).replace(tzinfo=ZoneInfo("Europe/Paris")).astimezone(UTC)
    told = scheduled(hours(), now)
    assert wrong_minute(hours(), told, first_minute(now), now + timedelta(days=15)) is None
    for recurrence in told:
        start = datetime.fromisoformat(recurrence.start).replace(tzinfo=ZoneInfo("Europe/Paris"))
        assert start >= first_minute(now)


def made(office: OfficeHours, now: datetime, delay: timedelta) -> list[Repeated]:
    """All that Datadog holds of downtimes that a run at ``now`` made ``delay`` later; what has no start began then."""
    start = (now + delay).astimezone(ZoneInfo(office.timezone)).strftime("%Y-%m-%dT%H:%M:%S")
    begun = [told for repeated in recurrences(office).values() for told in at_once(repeated, now)]
    assert all(told.start is None for told in begun)
    return scheduled(office, now) + [
        Repeated(rrule=str(told.rrule), duration=str(told.duration), start=start, zone=office.timezone)
        for told in begun
    ]


@pytest.mark.parametrize("delay", [timedelta(0), timedelta(seconds=20), MARGIN - timedelta(seconds=1)])
@pytest.mark.parametrize("moment", MOMENTS)
def test_what_takes_another_s_place_mutes_from_the_moment_at_which_it_is_made(moment: str, delay: timedelta) -> None:
    now = datetime.fromisoformat(MOMENTS[moment]).replace(tzinfo=ZoneInfo("Europe/Paris")).astimezone(UTC)
    begin, end = minute(now + delay), minute(now + timedelta(days=15))
    muted, should = is_muted(made(hours(), now, delay), begin, end), expected(hours(), begin, end)
    wrong = [at for at, (left, right) in enumerate(zip(muted, should, strict=True)) if left != right]
    # Muted a little early or late, never too little, and all exact once the starts are there.
    assert all(muted[at] for at in wrong), moment
    assert len(wrong) <= MARGIN // timedelta(minutes=1)
    assert all(at < 2 * MARGIN // timedelta(minutes=1) for at in wrong)


def test_in_office_hours_nothing_begins_at_once() -> None:
    now = datetime(2027, 6, 9, 10, 30, tzinfo=ZoneInfo("Europe/Paris")).astimezone(UTC)
    assert [told for repeated in recurrences(hours()).values() for told in at_once(repeated, now)] == []


@pytest.mark.parametrize("zone", ZONES)
def test_no_start_is_past_in_the_hours_around_a_change_of_the_clock(zone: str) -> None:
    """Datadog is told local times, and the hour before the clock is put back exists twice."""
    half_hours = [(YEAR[0] + timedelta(hours=hour / 2)).astimezone(ZoneInfo(zone)) for hour in range(-1, 365 * 48)]
    changes = [at.astimezone(UTC) for last, at in pairwise(half_hours) if last.utcoffset() != at.utcoffset()]
    assert bool(changes) == (zone not in ("Asia/Tokyo", "Asia/Kolkata", "UTC"))
    for change, minutes in product(changes, range(-120, 121, 7)):
        now = change + timedelta(minutes=minutes)
        for told in scheduled(hours(zone), now):
            start = datetime.fromisoformat(told.start).replace(tzinfo=ZoneInfo(zone)).astimezone(UTC)
            assert start > now, (told, now)


@given(office=offices(ZONES), seconds=st.integers(0, 365 * 24 * 3600))
def test_starts_are_local_without_an_offset_and_durations_are_as_datadog_takes_them(
    office: OfficeHours, seconds: int
) -> None:
    for told in scheduled(office, YEAR[0] + timedelta(seconds=seconds)):
        start = datetime.fromisoformat(told.start)
        assert start.tzinfo is None
        assert told.start == start.strftime("%Y-%m-%dT%H:%M:%S")
        assert told.duration[:-1].isdigit()
        assert told.duration[-1] in "mh"
        assert not any(word in told.rrule for word in ("DTSTART", "DTEND", "DURATION"))


@given(one=offices(), other=offices())
def test_a_downtime_s_name_changes_exactly_when_its_schedule_does(one: OfficeHours, other: OfficeHours) -> None:
    for name in ("nights", "closed-days"):
        told, others = recurrences(one).get(name), recurrences(other).get(name)
        if told and others:
            assert (identity(told) == identity(others)) == (told == others)


@pytest.mark.parametrize(
    "change",
    [
        {"start": time(9, 1)},
        {"end": time(18, 59)},
        {"start": time(8), "end": time(18)},
        {"days": ("MO", "TU", "WE", "TH")},
        {"zone": "Europe/Berlin"},
    ],
)
def test_any_change_of_office_hours_makes_another_downtime(change: dict[str, Any]) -> None:
    names = [{identity(r) for r in recurrences(office).values()} for office in (hours(), hours(**change))]
    assert names[0] != names[1]


def test_no_two_time_zones_look_alike_in_a_name() -> None:
    told = [night for zone in available_timezones() if (night := nights(hours(zone)))]
    names = [identity((night,)) for night in told]
    assert len(names) == len(available_timezones())
    assert len(names) == len(set(names))


@pytest.mark.parametrize("zone", ZONES)
def test_settings_accept_the_usual_hours_in_many_zones(zone: str) -> None:
    assert validate(mocks.settings(timezone=zone)).office_hours == hours(zone)


def test_clock_changes_are_those_of_the_pinned_rules_whatever_the_system_s(tmp_path: Path) -> None:
    rules = importlib.resources.files("tzdata") / "zoneinfo"
    (tmp_path / "Europe").mkdir()
    (tmp_path / "Europe" / "Paris").write_bytes((rules / "UTC").read_bytes())  # which has no clock changes
    look = "from components.recurrences import changes; print(len(changes('Europe/Paris')))"
    environment = {"PYTHONPATH": str(ROOT), "PYTHONTZPATH": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", look], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "20\n"

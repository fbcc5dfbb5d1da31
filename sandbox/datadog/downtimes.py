"""Datadog's server rules for downtimes, and when one is active.

Where it is uncertain whether Datadog refuses, this does: updates with a start in the past, even an unchanged one, and
with an exhausted recurrence. A recurrence starts in local time; its duration is real time, which a day of 23 hours
doesn't shorten.

Sources: https://docs.datadoghq.com/monitors/downtimes/, https://docs.datadoghq.com/api/latest/downtimes/, the errors
that users report, and what Datadog's own tool works around: https://github.com/DataDog/datadog-sync-cli/pull/664
"""

import datetime
import re
import zoneinfo
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from dateutil import rrule

from sandbox.datadog.schema import RefusedError

UTC = datetime.UTC
LOCAL = "%Y-%m-%dT%H:%M:%S"
"""A recurrence's start, local to the schedule's time zone."""

DURATION = re.compile(r"([1-9]\d*)([mhdw])")
UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
FREQUENCIES = ("HOURLY", "DAILY", "WEEKLY", "MONTHLY", "YEARLY")
MOST_RECURRENCES = 5
MOST_TAGS = 32
LONGEST_TAG = 256
KEPT = datetime.timedelta(days=2)
"""How long a cancelled downtime stays readable."""

TERM = r"-?[A-Za-z][\w./-]*:(?:[^\s()&?:]+|\([^()&?:]+(?:\s+(?:AND|OR)\s+[^()&?:]+)*\))"
SCOPE = re.compile(rf"\*|{TERM}(?:(?:\s+AND)?\s+{TERM})*")
"""A scope: all groups, or tags joined by AND; OR only among the values of one key.

Source: https://docs.datadoghq.com/monitors/downtimes/#downtime-scope-limitations
"""

PAST = "Scheduled downtime start cannot be in the past"
USED_UP = "Downtime recurrence has no future occurrence"
DUPLICATE = "The downtime being created is a duplicate of one or more existing downtimes"
IN_PROGRESS = "Start times of downtimes in progress cannot be changed"

Span = tuple[datetime.datetime, datetime.datetime]


def zone(name: str | None) -> zoneinfo.ZoneInfo:
    """Return the time zone of that name; none means UTC."""
    try:
        return zoneinfo.ZoneInfo(name or "UTC")
    except (zoneinfo.ZoneInfoNotFoundError, ValueError) as error:
        raise RefusedError(400, f"Invalid timezone: {name}") from error


def duration(text: str) -> datetime.timedelta:
    """Parse a duration such as ``14h``."""
    match = DURATION.fullmatch(text)
    if match is None:
        raise RefusedError(400, f"Invalid duration {text!r}: an integer and one of m, h, d, w")
    return datetime.timedelta(**{UNITS[match[2]]: int(match[1])})


def rule(text: str, start: datetime.datetime) -> rrule.rrule:
    """Parse an RRULE that recurs from the local ``start``."""
    parts = dict(part.partition("=")[::2] for part in text.upper().removeprefix("RRULE:").split(";"))
    if parts.get("FREQ") not in FREQUENCIES:
        raise RefusedError(400, f"Invalid rrule {text!r}: FREQ is one of {', '.join(FREQUENCIES)}")
    if not {"DTSTART", "DTEND", "DURATION"}.isdisjoint(name.partition(":")[0] for name in parts) or "\n" in text:
        raise RefusedError(400, f"Invalid rrule {text!r}: DTSTART, DTEND and DURATION are not supported")
    try:
        parsed = rrule.rrulestr(text, dtstart=start)
    except (ValueError, TypeError) as error:
        raise RefusedError(400, f"Invalid rrule {text!r}: {error}") from error
    assert isinstance(parsed, rrule.rrule)
    return parsed


def _local(text: str) -> datetime.datetime:
    try:
        return datetime.datetime.strptime(text, LOCAL)  # noqa: DTZ007 - local by definition
    except ValueError as error:
        raise RefusedError(400, f"Invalid start {text!r}: YYYY-MM-DDTHH:MM:SS without an offset") from error


def _utc(text: str) -> datetime.datetime:
    moment = datetime.datetime.fromisoformat(text)
    if moment.utcoffset() != datetime.timedelta(0):
        raise RefusedError(400, f"Invalid time {text!r}: its UTC offset must be zero")
    return moment


def span(schedule: Mapping[str, Any], now: datetime.datetime) -> Span | None:
    """Return the occurrence under way at ``now``, else the next one, if any; in UTC."""
    if "recurrences" not in schedule:
        end = datetime.datetime.max.replace(tzinfo=UTC) if schedule["end"] is None else _utc(schedule["end"])
        return (_utc(schedule["start"]), end) if now < end else None
    there = zone(schedule["timezone"])
    spans: list[Span] = []
    for recurrence in schedule["recurrences"]:
        length = duration(recurrence["duration"])
        # An occurrence that started earlier can be under way; the extra day allows for clock changes.
        earliest = now.astimezone(there).replace(tzinfo=None) - length - datetime.timedelta(days=1)
        for local in rule(recurrence["rrule"], _local(recurrence["start"])).xafter(earliest, count=400, inc=True):
            begin = local.replace(tzinfo=there).astimezone(UTC)
            if now < begin + length:
                spans.append((begin, begin + length))
                break
    return min(spans, default=None)


def occurrences(schedule: Mapping[str, Any], since: datetime.datetime, until: datetime.datetime) -> list[Span]:
    """Return the occurrences that overlap a time span, in order of their starts; in UTC."""
    if "recurrences" not in schedule:
        end = datetime.datetime.max.replace(tzinfo=UTC) if schedule["end"] is None else _utc(schedule["end"])
        found = [(_utc(schedule["start"]), end)]
    else:
        there = zone(schedule["timezone"])
        found = []
        for recurrence in schedule["recurrences"]:
            length = duration(recurrence["duration"])
            first, last = (moment.astimezone(there).replace(tzinfo=None) for moment in (since - length, until))
            day = datetime.timedelta(days=1)  # extra on both sides, for clock changes
            for local in rule(recurrence["rrule"], _local(recurrence["start"])).between(first - day, last + day):
                begin = local.replace(tzinfo=there).astimezone(UTC)
                found.append((begin, begin + length))
    return sorted((begin, end) for begin, end in found if begin < until and end > since)


def forgotten(attributes: Mapping[str, Any], now: datetime.datetime) -> bool:
    """Whether a downtime was cancelled too long ago to be readable."""
    canceled = attributes["canceled"]
    return bool(canceled and now - datetime.datetime.fromisoformat(canceled) > KEPT)


def status(schedule: Mapping[str, Any], now: datetime.datetime) -> str:
    """Return the schedule's status: active, scheduled or ended."""
    current = span(schedule, now)
    if current is None:
        return "ended"
    return "active" if current[0] <= now else "scheduled"


def _recurring(schedule: Mapping[str, Any], now: datetime.datetime) -> dict[str, Any]:
    """Return the schedule with all starts filled in."""
    there = zone(schedule.get("timezone"))
    here = now.astimezone(there).replace(tzinfo=None, microsecond=0)
    given = schedule.get("recurrences") or []
    if not 1 <= len(given) <= MOST_RECURRENCES:
        raise RefusedError(400, f"A downtime has 1 to {MOST_RECURRENCES} recurrences")
    filled = []
    for recurrence in given:
        start = recurrence.get("start") or here.strftime(LOCAL)
        if _local(start) < here:
            raise RefusedError(400, PAST)
        duration(recurrence["duration"])
        if rule(recurrence["rrule"], _local(start)).after(here, inc=True) is None:
            raise RefusedError(400, f"{USED_UP}: {recurrence['rrule']}")
        filled.append({"start": start, "rrule": recurrence["rrule"], "duration": recurrence["duration"]})
    return {"timezone": there.key, "recurrences": filled}


def _once(schedule: Mapping[str, Any], now: datetime.datetime) -> dict[str, Any]:
    start = schedule.get("start") or now.replace(microsecond=0).isoformat()
    end = schedule.get("end")
    if _utc(start) < now.replace(microsecond=0):
        raise RefusedError(400, PAST)
    if end is not None and _utc(end) <= max(_utc(start), now):
        raise RefusedError(400, "Scheduled downtime end must be after its start and in the future")
    return {"start": start, "end": end}


def schedule(given: Mapping[str, Any] | None, now: datetime.datetime, old: dict[str, Any] | None) -> dict[str, Any]:
    """Return a downtime's schedule after a request with ``given``; ``old`` is the previous one.

    Raises:
        RefusedError: with status 400, for what Datadog would refuse.
    """
    if given is None and old is not None:
        return old
    given = given or {}
    fill = _recurring if "recurrences" in given or "timezone" in given else _once
    if old is not None and status(old, now) == "active" and _moved(given, old):
        raise RefusedError(400, IN_PROGRESS)
    return fill(given, now)


def _moved(given: Mapping[str, Any], old: Mapping[str, Any]) -> bool:
    """Return whether a start in ``old`` has changed; added or removed recurrences don't count."""
    return any(new != was for new, was in zip(_starts(given), _starts(old), strict=False))


def _starts(given: Mapping[str, Any]) -> list[Any]:
    """Return the instants at which recurrences start, which depend on the time zone; ``None`` is now."""
    if "recurrences" not in given:
        return [_utc(given["start"]) if given.get("start") else None]
    there = zone(given.get("timezone"))
    starts = [recurrence.get("start") for recurrence in given["recurrences"]]
    return [_local(start).replace(tzinfo=there) if start else None for start in starts]


def attributes(
    given: Mapping[str, Any],
    old: Mapping[str, Any] | None,
    *,
    now: datetime.datetime,
    has_monitor: Callable[[int], bool],
) -> dict[str, Any]:
    """Return a downtime's attributes after a request that creates (``old`` is ``None``) or changes it.

    Raises:
        RefusedError: with status 400, for what Datadog would refuse.
    """
    merged = {**_DEFAULTS, **(old or {}), **{name: value for name, value in given.items() if value is not None}}
    merged["message"] = given.get("message", (old or {}).get("message"))
    number, tags = (merged["monitor_identifier"].get(name) for name in ("monitor_id", "monitor_tags"))
    if number is not None and not has_monitor(number):
        raise RefusedError(400, f"Monitor {number} does not exist")
    if tags is not None and not (0 < len(tags) <= MOST_TAGS and all(0 < len(tag) <= LONGEST_TAG for tag in tags)):
        raise RefusedError(400, f"A downtime has 1 to {MOST_TAGS} monitor tags of at most {LONGEST_TAG} characters")
    if ":" not in merged["scope"] and merged["scope"] != "*":
        raise RefusedError(400, "All values must have a key")
    if not SCOPE.fullmatch(merged["scope"]):
        raise RefusedError(400, f"Invalid scope {merged['scope']!r}")
    merged["display_timezone"] = zone(merged["display_timezone"]).key
    merged["schedule"] = schedule(given.get("schedule"), now, (old or {}).get("schedule"))
    merged["created"] = (old or {}).get("created", now.isoformat())
    merged["modified"] = now.isoformat()
    return current(merged, now)


def twins(given: Mapping[str, Any], downtimes: Iterable[Mapping[str, Any]], now: datetime.datetime) -> list[str]:
    """Return the downtimes that mute the same monitor at the same times, whatever their message.

    What Datadog compares isn't documented; downtimes by monitor tags may be alike here.
    """

    def essence(attributes: Mapping[str, Any]) -> list[Any]:
        when = {name: value for name, value in attributes["schedule"].items() if name != "current_downtime"}
        return [attributes["monitor_identifier"], attributes["scope"], when]

    if "monitor_id" not in given["monitor_identifier"]:
        return []
    alive = (each for each in downtimes if current(each["attributes"], now)["status"] not in ("canceled", "ended"))
    return [each["id"] for each in alive if essence(each["attributes"]) == essence(given)]


_DEFAULTS: dict[str, Any] = {
    "display_timezone": "UTC",
    "mute_first_recovery_notification": False,
    "notify_end_states": ["alert", "no data", "warn"],
    "notify_end_types": ["expired"],
    "canceled": None,
}


def current(stored: Mapping[str, Any], now: datetime.datetime) -> dict[str, Any]:
    """Return the attributes with the current status, and the current or next occurrence."""
    answered = dict(stored)
    if stored["canceled"] is not None:
        return {**answered, "status": "canceled"}
    when = dict(stored["schedule"])
    when.pop("current_downtime", None)
    stretch = span(when, now)
    if "recurrences" in when and stretch is not None:
        when["current_downtime"] = {"start": stretch[0].isoformat(), "end": stretch[1].isoformat()}
    return {**answered, "schedule": when, "status": status(when, now)}

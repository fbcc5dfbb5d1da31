"""The downtimes that mute the monitor exactly outside office hours.

A downtime is created and cancelled, never updated: an update would send its schedule again, and Datadog may refuse a
start in the past or an exhausted recurrence. A downtime's resource is therefore named after its message and schedule
(:mod:`components.downtime_names`): a new message or new office hours create another downtime, after which the old one
is cancelled; any other change replaces it.

To recreate a downtime, for instance after somebody cancelled it by hand, set ``watchpost:repairs`` for NAME-KIND
(:func:`~components.downtime_names.repair_key` of its name) to a new text, such as the date.

Sources: https://docs.datadoghq.com/monitors/downtimes/,
https://github.com/DataDog/datadog-sync-cli/pull/664 (what Datadog refuses in an update)
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pulumi
import pulumi_datadog as datadog

from components import templates
from components.datadog_context import DatadogContext
from components.downtime_names import digest, identity
from components.ownership import OwnershipTag, explain_doubt, in_hook_thread
from components.recurrences import Recurrence, around, changes, duration_text, faults, recurrences
from settings.office_hours import DAYS, OfficeHours

MARGIN = timedelta(minutes=3)
"""Least time from the program's run to a downtime's start, so that no start is past when Datadog receives it."""

ONCE = "FREQ=DAILY;INTERVAL=1;COUNT=1"

WHEN = {"nights": "whenever an office day precedes or follows", "closed-days": "all day on the other days"}

FORESEEN = timedelta(days=365)
"""How far ahead to warn of clock changes that the downtimes can't follow."""

NOTIFY_END_TYPES: tuple[str, ...] = ()
"""Which ends of a downtime renotify monitors that still alert: none. By default, the end of every night would.

The API accepts an empty list, as recorded by the acceptance tests of DataDog/terraform-provider-datadog
(TestAccDowntimeScheduleBasicOneTimeWithMonitorID). ``notify_end_states`` then has no effect; it is Datadog's default.
"""


@dataclass(frozen=True, kw_only=True)
class OfficeHoursDowntimesArgs:
    """Mutes ``monitor`` outside ``hours``; notifies ``mentions`` when a downtime is scheduled, starts or ends.

    ``repairs`` maps a downtime's NAME-KIND to a text; a new text recreates that downtime.
    """

    context: DatadogContext
    hours: OfficeHours
    monitor: datadog.Monitor
    metric: str
    mentions: str
    repairs: Mapping[str, str] = field(default_factory=dict)


class OfficeHoursDowntimes(pulumi.ComponentResource):
    """Two recurring downtimes, for the nights and for the days without office hours.

    Schedules are set at creation only: later runs compute later starts, which are ignored. Another monitor, or a
    message edited in Datadog (detected by ``pulumi up --refresh``), replaces a downtime.

    Source: https://docs.datadoghq.com/monitors/downtimes/
    """

    links: Mapping[str, pulumi.Output[str]]
    """The link to each downtime, by kind."""

    def __init__(self, name: str, args: OfficeHoursDowntimesArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("watchpost:datadog:OfficeHoursDowntimes", name, None, opts)
        now, hooks = datetime.now(UTC), args.context.ownership.hooks(name)

        async def on_error(arguments: pulumi.ErrorHookArgs) -> bool:
            return await cancel_duplicates(args.context.ownership, arguments)

        hooks.on_error = [pulumi.ErrorHook(f"{name}-duplicates", on_error)]
        self.links = {}
        for kind, repeated in recurrences(args.hours).items():
            key, text = f"{name}-{kind}", message(args, kind)
            full_name = f"{key}-{digest(text, args.repairs.get(key, ''))}-{identity(repeated)}"
            downtime = datadog.DowntimeSchedule(
                full_name,
                monitor_identifier=datadog.DowntimeScheduleMonitorIdentifierArgs(monitor_id=args.monitor.id.apply(int)),
                scope="*",
                message=pulumi.Output.concat(text, "\n\n(", args.context.ownership.of(full_name), ")"),
                # Nobody is notified at night when an alert from before closing time recovers.
                mute_first_recovery_notification=True,
                notify_end_types=list(NOTIFY_END_TYPES),
                display_timezone=args.hours.timezone,
                recurring_schedule=datadog.DowntimeScheduleRecurringScheduleArgs(
                    timezone=args.hours.timezone, recurrences=[*schedule(repeated, now), *at_once(repeated, now)]
                ),
                opts=pulumi.ResourceOptions(
                    parent=self,
                    ignore_changes=["recurringSchedule"],
                    # A replacement gets the schedule of this run. The old one is cancelled first: it mutes a deleted
                    # monitor or was edited, and both have the same ownership tag.
                    replace_on_changes=["*"],
                    delete_before_replace=True,
                    hooks=hooks,
                ),
            )
            self.links[kind] = downtime.id.apply(args.context.links.downtime)
        for sentence in exceptions(args.hours, now):
            pulumi.log.warn(sentence, self)
        self.register_outputs({"links": self.links})


def exceptions(hours: OfficeHours, now: datetime) -> list[str]:
    """List the periods in the year from ``now`` that no recurrence of Datadog's can express, a sentence each."""
    zone = ZoneInfo(hours.timezone)
    found = [
        fault
        for day in changes(hours.timezone)
        if now.date() <= day <= now.date() + FORESEEN
        for fault in faults(hours, *around(day))
    ]
    return [
        f"on {begins.astimezone(zone):%Y-%m-%d}, when the clock changes in {hours.timezone}, the monitor is"
        f" {'muted though the office is open' if muted else 'not muted though the office is closed'}, from"
        f" {begins.astimezone(zone):%H:%M} to {ends.astimezone(zone):%H:%M}:"
        f" alerts are {'suppressed' if muted else 'sent'}"
        for begins, ends, muted in found
    ]


def schedule(
    repeated: Sequence[Recurrence], now: datetime
) -> list[datadog.DowntimeScheduleRecurringScheduleRecurrenceArgs]:
    """Render the recurrences from their next starts, plus a one-time recurrence for the rest of one under way.

    All begin shortly after ``now``, so that no start is past when Datadog receives it; :func:`at_once` mutes until
    then.

    Source: https://docs.datadoghq.com/api/latest/downtimes/#schedule-a-downtime
    """
    zone = repeated[0].timezone
    begin = earliest_start(zone, now)
    weekly = [
        datadog.DowntimeScheduleRecurringScheduleRecurrenceArgs(
            rrule=recurrence.rrule, duration=duration_text(recurrence.duration), start=recurrence.first_start(begin)
        )
        for recurrence in repeated
    ]
    # An occurrence that begins in that very minute is already in `weekly`.
    rests = [
        rest
        for recurrence in repeated
        if (rest := recurrence.under_way(begin)) and recurrence.under_way(begin - timedelta(minutes=1)) is not None
    ]
    if not rests:
        return weekly
    once = datadog.DowntimeScheduleRecurringScheduleRecurrenceArgs(
        rrule=ONCE,
        duration=duration_text(max(rests)),
        start=begin.astimezone(ZoneInfo(zone)).strftime("%Y-%m-%dT%H:%M:%S"),
    )
    return [*weekly, once]


def at_once(
    repeated: Sequence[Recurrence], now: datetime
) -> list[datadog.DowntimeScheduleRecurringScheduleRecurrenceArgs]:
    """Mute from the downtime's creation until :func:`schedule` takes over, if the office is closed.

    A replacement therefore leaves no gap. The recurrence has no start, so Datadog starts it at creation, a little after
    ``now``. It may end late by that much; if closing time is minutes away, it begins early.

    Source: https://docs.datadoghq.com/api/latest/downtimes/#schedule-a-downtime
    """
    begin = earliest_start(repeated[0].timezone, now)
    ends = [end for recurrence in repeated for _, end in recurrence.occurrences(now, begin)]
    if not ends:
        return []
    minutes = -(-(min(max(ends), begin) - now) // timedelta(minutes=1))
    return [
        datadog.DowntimeScheduleRecurringScheduleRecurrenceArgs(
            rrule=ONCE, duration=duration_text(timedelta(minutes=minutes))
        )
    ]


def earliest_start(zone: str, now: datetime) -> datetime:
    """Return the earliest start for a downtime created at ``now``: a whole minute of unambiguous local time."""
    begin = now.replace(second=0, microsecond=0) + MARGIN
    if begin.astimezone(ZoneInfo(zone)).fold:
        # In the second pass of a repeated hour, a local time would be read as one of the first pass.
        begin = begin.replace(minute=0) + timedelta(hours=1)
    return begin


DUPLICATES = re.compile(r"duplicate of one or more existing downtimes: *\[(?P<identifiers>[^\]]*)\]")


async def cancel_duplicates(ownership: OwnershipTag, arguments: pulumi.ErrorHookArgs) -> bool:
    """Cancel those duplicates named by Datadog that are the stack's own; return whether to retry the creation.

    This happens when the message changes twice between two nights: both downtimes have the same start. The cancelled
    one hasn't started, so there is no gap. (Unsure: whether Datadog compares messages, too.)

    Source: https://github.com/DataDog/datadog-sync-cli, datadog_sync/model/downtime_schedules.py
    """
    found = DUPLICATES.search(arguments.errors[0])
    if arguments.failed_operation != "create" or not found or len(arguments.errors) > 1:
        return explain_doubt(arguments)
    identifiers = set(re.findall(r"[\w-]+", found["identifiers"]))
    return await in_hook_thread(_cancelled, identifiers, *await ownership.account())


def _cancelled(identifiers: set[str], url: str, api_key: str, app_key: str, tag: str) -> bool:
    # Imported here: Datadog's client takes half a second, which only such a run should pay.
    from components import orphans
    from components.datadog_api import AccountError, client

    cancelled = False
    try:
        with client(url, api_key, app_key) as datadog:
            for downtime in orphans.find(datadog, tag, ("downtime",)):
                if downtime.identifier in identifiers:
                    orphans.remove(datadog, downtime)
                    cancelled = True
    except AccountError as error:
        pulumi.log.error(f"the stack's own duplicate can't be cancelled: {error}")
    return cancelled


def message(args: OfficeHoursDowntimesArgs, kind: str) -> str:
    """Render a downtime's message."""
    return templates.text_file(
        "downtimes/message.md",
        {
            "metric": args.metric,
            "env": args.context.env,
            "when": WHEN[kind],
            "start": f"{args.hours.start:%H:%M}",
            "end": f"{args.hours.end:%H:%M}{' on the next day' if args.hours.overnight else ''}",
            "timezone": args.hours.timezone,
            "days": ", ".join(day for day in DAYS if day in args.hours.days) or "no day",
            "mentions": args.mentions,
        },
    ).strip()

"""The downtimes that mute the monitor exactly outside office hours."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pulumi
import pulumi_datadog as datadog

from components import links, templates
from components.mark import Mark
from components.office_hours import DAYS, OfficeHours, Recurrence, duration_text, recurrences

MARGIN = timedelta(minutes=3)
"""How long after a run of the program its downtimes begin at the earliest."""

WHEN = {"nights": "every night before or after an office day", "closed-days": "all day on the other days"}


@dataclass(frozen=True, kw_only=True)
class OfficeHoursDowntimesArgs:
    """Mutes ``monitor`` outside ``hours``, and tells ``mentions`` whenever a downtime is scheduled, starts or ends."""

    site: str
    env: str
    hours: OfficeHours
    monitor: datadog.Monitor
    metric: str
    mentions: str
    mark: Mark


class OfficeHoursDowntimes(pulumi.ComponentResource):
    """Two recurring downtimes, for the nights and for the days without office hours.

    A recurrence needs a start, which must not lie in the past when the downtime is made, and can't be changed while
    the downtime is active. So the schedule is set once and then left alone; its form is part of the resource's name,
    and other office hours make other downtimes in the place of the old.

    Source: https://docs.datadoghq.com/monitors/downtimes/
    """

    links: Mapping[str, pulumi.Output[str]]
    """The link to each downtime, by name."""

    def __init__(self, name: str, args: OfficeHoursDowntimesArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("watchpost:datadog:OfficeHoursDowntimes", name, None, opts)
        now, hooks = datetime.now(UTC), args.mark.hooks(name)
        self.links = {}
        for kind, recurrence in recurrences(args.hours).items():
            full_name = f"{name}-{kind}-{identity(recurrence)}"
            downtime = datadog.DowntimeSchedule(
                full_name,
                monitor_identifier=datadog.DowntimeScheduleMonitorIdentifierArgs(monitor_id=args.monitor.id.apply(int)),
                scope="*",
                message=pulumi.Output.concat(message(args, kind), "\n\n(", args.mark.of(full_name), ")"),
                display_timezone=args.hours.timezone,
                recurring_schedule=datadog.DowntimeScheduleRecurringScheduleArgs(
                    timezone=args.hours.timezone, recurrences=schedule(recurrence, now)
                ),
                opts=pulumi.ResourceOptions(parent=self, ignore_changes=["recurringSchedule"], hooks=hooks),
            )
            self.links[kind] = downtime.id.apply(lambda identifier: links.downtime(args.site, identifier))
        self.register_outputs({"links": self.links})


def schedule(recurrence: Recurrence, now: datetime) -> list[datadog.DowntimeScheduleRecurringScheduleRecurrenceArgs]:
    """The recurrence from its next start on; one that is under way is made up for, once.

    Both begin a little later than ``now``, so that no start lies in the past when Datadog gets to see it. A monitor
    that is as new as its downtimes can't speak before that: its first evaluation needs a full window.

    Source: https://docs.datadoghq.com/api/latest/downtimes/#schedule-a-downtime
    """
    begin = now.replace(second=0, microsecond=0) + MARGIN
    if begin.astimezone(ZoneInfo(recurrence.timezone)).fold:
        # In the second pass of an hour that exists twice, a local time would be read as one of the first.
        begin = begin.replace(minute=0) + timedelta(hours=1)
    weekly = datadog.DowntimeScheduleRecurringScheduleRecurrenceArgs(
        rrule=recurrence.rrule, duration=duration_text(recurrence.duration), start=recurrence.first_start(begin)
    )
    rest = recurrence.under_way(begin)
    if not rest or recurrence.under_way(begin - timedelta(minutes=1)) is None:
        return [weekly]  # nothing is under way, or it begins at that very minute
    once = datadog.DowntimeScheduleRecurringScheduleRecurrenceArgs(
        rrule="FREQ=DAILY;INTERVAL=1;COUNT=1",
        duration=duration_text(rest),
        start=begin.astimezone(ZoneInfo(recurrence.timezone)).strftime("%Y-%m-%dT%H:%M:%S"),
    )
    return [weekly, once]


def identity(recurrence: Recurrence) -> str:
    """A schedule in a form fit for a resource's name: ``mo-tu-we-th-fr-su-1900-14h-Europe-Paris``."""
    days = recurrence.rrule.rpartition("=")[2].lower().replace(",", "-")
    zone = recurrence.timezone.replace("/", "-")
    return f"{days}-{recurrence.start:%H%M}-{duration_text(recurrence.duration)}-{zone}"


def message(args: OfficeHoursDowntimesArgs, kind: str) -> str:
    """What the recipients are told."""
    return templates.text_file(
        "downtimes/message.md",
        {
            "metric": args.metric,
            "env": args.env,
            "when": WHEN[kind],
            "start": f"{args.hours.start:%H:%M}",
            "end": f"{args.hours.end:%H:%M}",
            "timezone": args.hours.timezone,
            "days": ", ".join(day for day in DAYS if day in args.hours.days),
            "mentions": args.mentions,
        },
    ).strip()

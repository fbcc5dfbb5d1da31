"""The rounds of the account: what changed is told to whom it concerns, and once a minute each monitor is evaluated.

Sources: https://docs.datadoghq.com/monitors/configuration/#evaluation-frequency,
https://docs.datadoghq.com/monitors/downtimes/, https://docs.datadoghq.com/monitors/notify/
"""

import asyncio
import datetime
import json
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sandbox.datadog import downtimes
from sandbox.datadog.evaluation import language, memory, messages, states
from sandbox.datadog.evaluation.memory import Group, Mail, Transition
from sandbox.datadog.evaluation.messages import State
from sandbox.datadog.store import EVALUATED, Store

NEW_GROUP = 60
"""Seconds for which a new group is only looked at, unless ``new_group_delay`` says otherwise.

Source: https://docs.datadoghq.com/monitors/configuration/#new-group-delay
"""

WORDS: Mapping[State, str] = {"Alert": "Triggered", "Warn": "Warn", "No Data": "No data", "OK": "Recovered"}
"""What a subject calls the new state."""

Thing = dict[str, Any]

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Ended:
    """A downtime, or one occurrence of it, that has ended: ``expired`` or ``canceled``."""

    downtime: Thing
    how: str


async def evaluate_forever(store: Store) -> None:
    """Follow what people change as they do it, and evaluate at every full minute of the account's clock."""
    evaluated = datetime.datetime.min.replace(tzinfo=datetime.UTC)  # so that the first round evaluates too
    while True:
        await asyncio.sleep(1)
        now = store.now()
        minute = now.replace(second=0, microsecond=0)
        try:
            follow_changes(store, now)
            if minute != evaluated:
                evaluate(store, minute)
                store.set(EVALUATED, minute.isoformat())
        except Exception:  # one bad round must not end the next ones
            log.exception("A round of evaluation failed")
        evaluated = minute


def evaluate(store: Store, now: datetime.datetime) -> None:
    """One round: downtimes begin and end, monitors are evaluated, whoever is to know gets mail."""
    ended = follow_downtimes(store, now)
    for monitor in store.all("monitor"):
        _evaluate_monitor(store, monitor, now, [end for end in ended if mutes(end.downtime, monitor)])


# Monitors


def fault(monitor: Mapping[str, Any]) -> str:
    """Why a monitor isn't evaluated here; empty where it is."""
    if monitor["type"] != "query alert":
        return f"the sandbox does not evaluate monitors of type {monitor['type']}"
    try:
        language.comparison(monitor["query"])
    except language.UnknownFormError as error:
        return f"the sandbox does not evaluate {error}"
    return ""


def _evaluate_monitor(store: Store, monitor: Thing, now: datetime.datetime, ended: list[Ended]) -> None:
    if fault(monitor):
        return
    compared, options = language.comparison(monitor["query"]), monitor["options"]
    at = now.timestamp() - (options.get("evaluation_delay") or 0)
    known = {group.name: group for group in memory.groups(store, monitor["id"])}
    active = [downtime for downtime in _active(store, now) if mutes(downtime, monitor)]
    try:
        looks = look(store, compared, at, known)
    except language.UnknownFormError:  # of a metric that turned out to be of another kind
        return
    for name, found in looks.items():
        group = known.get(name) or Group(
            monitor=monitor["id"],
            name=name,
            tags=dict(zip(compared.query.by, name.split(","), strict=False)),
            first_seen=at,
            since=at,
        )
        muting = [downtime for downtime in active if covers(downtime, group)]
        young = at - group.first_seen < options.get("new_group_delay", NEW_GROUP)
        new = states.evaluated(found, group.status, compared.comparator, options, options["thresholds"])
        if found.value is not None:
            group.value = found.value
        if new is not None and new != group.status and not young:
            _change(store, monitor, compared, group, new, at, muting)
        elif not muting and any(
            covers(end.downtime, group)
            and states.repeated(
                group.status,
                end.how,
                end.downtime["attributes"]["notify_end_types"],
                end.downtime["attributes"]["notify_end_states"],
            )
            for end in ended
        ):
            _tell(store, monitor, compared, group, "OK", at)
        memory.keep(store, group)


def look(
    store: Store, compared: language.Comparison, at: float, known: Mapping[str, Group]
) -> dict[str, states.Evaluation]:
    """What the window before ``at`` holds of each group; those that are ``known`` are looked at even when empty."""
    from sandbox.datadog.evaluation import series  # polars takes a while to import: only who has a monitor waits for it

    begin, every = at - compared.window, series.interval(compared.window)
    source = series.Source(store)
    frame = series.evaluate(source, compared.query, begin, at, every)
    minute = max(every, 60)
    values = series.reduced(frame, compared.how)
    filled = series.filled(frame, begin, minute)
    last = source.last(compared.query, at)
    found = {}
    for name in sorted({*values, *known}):
        if series.WITHOUT in name.split(","):
            continue
        found[name] = states.Evaluation(
            value=values.get(name),
            full=filled.get(name, 0) >= compared.window // minute,
            silent_for=at - last.get(name, 0.0),
        )
    return found


def _change(
    store: Store,
    monitor: Thing,
    compared: language.Comparison,
    group: Group,
    new: State,
    at: float,
    muting: list[Thing],
) -> None:
    old = group.status
    told = states.told(
        old,
        new,
        muted=bool(muting),
        silenced=group.silenced,
        mute_first_recovery=any(each["attributes"]["mute_first_recovery_notification"] for each in muting),
    )
    group.status, group.since = new, at
    group.silenced = new != "OK" and bool(muting) and (old == "OK" or group.silenced)
    if new != "OK":
        group.first_triggered = at if old == "OK" else group.first_triggered
        group.last_triggered = at
    memory.note(
        store,
        Transition(
            monitor=monitor["id"],
            group=group.name,
            old=old,
            new=new,
            at=at,
            value=None if new == "No Data" else group.value,
            muted=bool(muting),
            told=told,
        ),
    )
    if told:
        _tell(store, monitor, compared, group, old, at)


def _tell(store: Store, monitor: Thing, compared: language.Comparison, group: Group, old: State, at: float) -> None:
    message = rendered(store, monitor, compared, group, old, at)
    of = ",".join(f"{key}:{value}" for key, value in group.tags.items())
    words = [WORDS[group.status], *(["on", f"{{{of}}}"] if of else [])]
    memory.send(
        store,
        Mail(
            at=at,
            to=message.recipients,
            subject=memory.subject(words, title(store, monitor, compared, group, old, at)),
            text=message.text,
            about="monitor",
            of=str(monitor["id"]),
            group=group.tags,
            kind=group.status,
        ),
    )


def rendered(
    store: Store, monitor: Thing, compared: language.Comparison, group: Group, old: State, at: float
) -> messages.Message:
    """The monitor's message when ``group`` came into its state from ``old``."""
    return messages.render(monitor["message"], old, group.status, _values(store, monitor, compared, group, at))


def title(store: Store, monitor: Thing, compared: language.Comparison, group: Group, old: State, at: float) -> str:
    """The monitor's name in a message."""
    return messages.render(monitor["name"], old, group.status, _values(store, monitor, compared, group, at)).text


def _values(store: Store, monitor: Thing, compared: language.Comparison, group: Group, at: float) -> dict[str, str]:
    thresholds = monitor["options"]["thresholds"]
    triggered = {"first_triggered_at": group.first_triggered, "last_triggered_at": group.last_triggered}
    values = {
        "value": "" if group.status == "No Data" or group.value is None else messages.shown(group.value),
        "threshold": messages.shown(compared.number),
        "warn_threshold": messages.shown(thresholds["warning"]) if "warning" in thresholds else "",
        "comparator": compared.comparator,
        "triggered_duration_sec": f"{at - (group.first_triggered or at):.0f}",
        **{f"{key}.name": value for key, value in group.tags.items()},
        **{f"{name}_epoch": f"{1000 * (when or at):.0f}" for name, when in triggered.items()},
        **{
            name: f"{datetime.datetime.fromtimestamp(when or at, datetime.UTC):%a %b %d %Y %H:%M:%S UTC}"
            for name, when in triggered.items()
        },
    }
    if "host" in group.tags:
        values["host.ip"] = _address(store.get("host", group.tags["host"]) or {})
    return values


def _address(host: Mapping[str, Any]) -> str:
    """A host's address, as its Agent told it; empty where none did."""
    try:
        return str(json.loads(host["metadata"]["gohai"])["network"]["ipaddress"])
    except (KeyError, TypeError, ValueError):
        return ""


# Downtimes


def mutes(downtime: Mapping[str, Any], monitor: Mapping[str, Any]) -> bool:
    """Whether a downtime is for a monitor, at whatever time."""
    identifier = downtime["attributes"]["monitor_identifier"]
    if identifier.get("monitor_id") is not None:
        return bool(identifier["monitor_id"] == monitor["id"])
    tags = set(identifier.get("monitor_tags") or [])
    return tags == {"*"} or (bool(tags) and tags <= set(monitor["tags"]))


def covers(downtime: Mapping[str, Any], group: Group) -> bool:
    """Whether a downtime's scope covers a group; one with OR isn't evaluated, and covers none."""
    scope = downtime["attributes"]["scope"]
    wanted = set() if scope == "*" else {word for word in scope.split() if word != "AND"}
    return wanted <= {f"{key}:{value}" for key, value in group.tags.items()}


def _active(store: Store, now: datetime.datetime) -> Iterator[Thing]:
    for downtime in store.all("downtime"):
        if downtimes.current(downtime["attributes"], now)["status"] == "active":
            yield downtime


def follow_downtimes(store: Store, now: datetime.datetime) -> list[Ended]:
    """Tell of every downtime that was scheduled, began, was cancelled or ended since the last time; those that ended.

    Each occurrence of a recurring one begins and ends by itself.
    """
    ended = []
    for downtime in store.all("downtime"):
        known = store.get("followed", downtime["id"])
        attributes = downtime["attributes"]
        if known is None:
            _tell_of_downtime(store, downtime, now, "scheduled")
        begun = (known or {}).get("begun")
        span = None if attributes["canceled"] else downtimes.span(attributes["schedule"], now)
        active = span[0].isoformat() if span and span[0] <= now else None
        if attributes["canceled"] and not (known or {}).get("canceled"):
            _tell_of_downtime(store, downtime, now, "canceled")
        if begun and begun != active:
            ended.append(Ended(downtime=downtime, how="canceled" if attributes["canceled"] else "expired"))
            if not attributes["canceled"]:
                _tell_of_downtime(store, downtime, now, "ended")
        if active and begun != active:
            _tell_of_downtime(store, downtime, now, "started")
        store.put("followed", downtime["id"], {"begun": active, "canceled": bool(attributes["canceled"])})
    return ended


def _tell_of_downtime(store: Store, downtime: Thing, now: datetime.datetime, what: str) -> None:
    attributes = downtime["attributes"]
    number = attributes["monitor_identifier"].get("monitor_id")
    monitor = store.get("monitor", str(number)) if number is not None else None
    of = monitor["name"] if monitor else f"{number or attributes['monitor_identifier']}"
    text = attributes["message"] or ""
    memory.send(
        store,
        Mail(
            at=now.timestamp(),
            to=messages.mentioned(text),
            subject=memory.subject(["Downtime", what], of),
            text=text,
            about="downtime",
            of=downtime["id"],
            kind=what,
        ),
    )


# What people change


def follow_changes(store: Store, now: datetime.datetime) -> None:
    """Tell of monitors that were changed or deleted since the last time, and of events that mention somebody.

    Source: https://docs.datadoghq.com/monitors/notify/#audit-notifications (notify_audit)
    """
    here = {}
    for monitor in store.all("monitor"):
        here[str(monitor["id"])] = monitor
        known = store.get("audited", str(monitor["id"]))
        if known != monitor:
            if known is not None:
                _tell_of_change(store, known, now, "modified")
            store.put("audited", str(monitor["id"]), monitor)
    for monitor in store.all("audited"):
        if str(monitor["id"]) not in here:
            _tell_of_change(store, monitor, now, "deleted")
            store.drop("audited", str(monitor["id"]))
            memory.forget(store, monitor["id"])
    last = int(store.setting("last event", "0"))
    for event in store.all("event"):
        if event["id"] > last:
            store.set("last event", str(event["id"]))
            memory.send(
                store,
                Mail(
                    at=now.timestamp(),
                    to=messages.mentioned(event.get("text") or ""),
                    subject=event["title"],
                    text=event.get("text") or "",
                    about="event",
                    of=str(event["id"]),
                ),
            )


def _tell_of_change(store: Store, monitor: Thing, now: datetime.datetime, what: str) -> None:
    """Tell everybody whom the message mentions, in whatever block."""
    if monitor["options"].get("notify_audit"):
        memory.send(
            store,
            Mail(
                at=now.timestamp(),
                to=messages.mentioned(monitor["message"]),
                subject=memory.subject(["Monitor", what], monitor["name"]),
                text=f"The monitor \u201c{monitor['name']}\u201d was {what} by {monitor['creator']['handle']}.",
                about="change",
                of=str(monitor["id"]),
                kind=what,
            ),
        )

"""Evaluates each monitor once a minute, and notifies people of its changes and of what others changed.

Sources: https://docs.datadoghq.com/monitors/configuration/#evaluation-frequency,
https://docs.datadoghq.com/monitors/downtimes/, https://docs.datadoghq.com/monitors/notify/
"""

import asyncio
import datetime
import hashlib
import json
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sandbox.datadog import downtimes
from sandbox.datadog.evaluation import composites, language, memory, messages, states, webhooks
from sandbox.datadog.evaluation.memory import Group, Mail, Transition
from sandbox.datadog.evaluation.messages import State
from sandbox.datadog.store import EVALUATED, Store

NEW_GROUP = 60
"""Seconds before a new group is evaluated, unless ``new_group_delay`` says otherwise.

Source: https://docs.datadoghq.com/monitors/configuration/#new-group-delay
"""

COMPOSITE, SLO_ALERT = "composite", "slo alert"

KINDS: Mapping[State, str] = {"Alert": "error", "Warn": "warning", "No Data": "warning", "OK": "success"}
"""The new state in a webhook's ``$ALERT_TYPE``."""

WORDS: Mapping[State, str] = {"Alert": "Triggered", "Warn": "Warn", "No Data": "No data", "OK": "Recovered"}
"""The new state in a subject."""

TRANSITIONS: Mapping[State, str] = {**WORDS, "No Data": "No Data"}
"""The new state in a webhook's ``$ALERT_TRANSITION``.

Source: https://docs.datadoghq.com/integrations/webhooks/#variables
"""

OPTIONS = frozenset(
    {
        "thresholds",
        "threshold_windows",
        "require_full_window",
        "notify_no_data",
        "no_data_timeframe",
        "on_missing_data",
        "new_group_delay",
        "evaluation_delay",
        "renotify_interval",
        "renotify_occurrences",
        "renotify_statuses",
        "escalation_message",
        "notify_audit",
        "include_tags",
    }
)
"""The options that are evaluated here."""

UNSAID = frozenset({"locked", "new_host_delay"})
"""Options that pages don't name as unevaluated: who may change a monitor, and what the provider always sends.

Source: https://docs.datadoghq.com/monitors/configuration/#new-group-delay, which is in the place of ``new_host_delay``
"""

Thing = dict[str, Any]

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Ended:
    """A downtime, or one occurrence of it, that has ended: ``expired`` or ``canceled``."""

    downtime: Thing
    how: str


async def evaluate_forever(store: Store) -> None:
    """Follow people's changes as they happen, and evaluate at every full minute of the account's clock."""
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


async def deliver_forever(store: Store) -> None:
    """Send pending webhooks every second; threads wait for the receivers."""
    while True:
        await asyncio.sleep(1)
        try:
            for delivery, made in list(webhooks.pending(store)):
                webhooks.answered(store, delivery, await asyncio.to_thread(webhooks.post, made))
        except Exception:  # one bad webhook must not end the next ones
            log.exception("Webhooks could not be sent")


def evaluate(store: Store, now: datetime.datetime) -> None:
    """Run one round: begin and end downtimes, evaluate monitors, and send mail and webhooks.

    Composites come last, since they depend on the others' states.
    """
    with store.transaction():
        ended = follow_downtimes(store, now)
        monitors = store.all("monitor")
        if not monitors:
            return
        from sandbox.datadog.evaluation import series  # slow: only with monitors

        turn = _Turn(
            store=store,
            source=series.Source(store),
            now=now,
            monitors={monitor["id"]: monitor for monitor in monitors},
            groups=memory.by_monitor(store),
            active=list(_active(store, now)),
            ended=ended,
        )
        for monitor in sorted(monitors, key=lambda monitor: monitor["type"] == COMPOSITE):
            try:
                _evaluate_monitor(turn, monitor)
            except Exception:  # a faulty monitor must not prevent the others
                log.exception("Monitor %s could not be evaluated", monitor["id"])


@dataclass(frozen=True, kw_only=True)
class _Turn:
    """What the monitors share within one round."""

    store: Store
    source: Any
    now: datetime.datetime
    monitors: Mapping[int, Thing]
    groups: dict[int, dict[str, Group]]
    active: Sequence[Thing]
    ended: Sequence[Ended]


# Monitors


@dataclass(frozen=True, kw_only=True)
class Form:
    """What a monitor's message needs of its query."""

    by: tuple[str, ...]
    metric: str = ""
    comparator: str = ""
    number: float | None = None


def form(monitor: Mapping[str, Any], monitors: Mapping[int, Thing]) -> Form:
    """Parse a monitor's query.

    Raises:
        UnknownFormError: it can't be evaluated here.
    """
    match monitor["type"]:
        case "query alert":
            compared = language.comparison(monitor["query"])
            return Form(
                by=compared.by, metric=compared.query.metric, comparator=compared.comparator, number=compared.number
            )
        case "composite":
            numbers = composites.constituents(language.composite(monitor["query"]))
            parts = [form(monitors[number], monitors).by for number in numbers if number in monitors]
            return Form(by=max(parts, key=len, default=()))
        case "slo alert":
            rate = language.burn_rate(monitor["query"])
            return Form(by=(), comparator=rate.comparator, number=rate.number)
    raise language.UnknownFormError(f"monitors of type {monitor['type']}")


def fault(monitor: Mapping[str, Any]) -> str:
    """Explain why a monitor can't be evaluated here; empty if it can."""
    try:
        form(monitor, {})
        for window in (monitor["options"].get("threshold_windows") or {}).values():
            language.seconds(window or "last_0m")
    except language.UnknownFormError as error:
        return f"the sandbox does not evaluate {error}"
    return ""


def left_out(monitor: Mapping[str, Any]) -> dict[str, Any]:
    """List the options that are set on a monitor but not evaluated here."""
    return {name: value for name, value in sorted(monitor["options"].items()) if value and name not in OPTIONS | UNSAID}


@dataclass(frozen=True, kw_only=True)
class _Look:
    """The evaluation of a group: its tags, value and state; ``None`` if it keeps its state."""

    tags: dict[str, str]
    value: float | None
    state: State | None


def _evaluate_monitor(turn: _Turn, monitor: Thing) -> None:
    options = monitor["options"]
    at = turn.now.timestamp() - (options.get("evaluation_delay") or 0)
    known = turn.groups.setdefault(monitor["id"], {})
    try:
        asked = form(monitor, turn.monitors)
        looks = _looks(turn, monitor, at, known)
    except language.UnknownFormError:  # or the metric turned out to be of another kind
        return
    active = [downtime for downtime in turn.active if mutes(downtime, monitor)]
    ended = [end for end in turn.ended if mutes(end.downtime, monitor)]
    for name, found in looks.items():
        if name not in known and found.value is None and found.state is None:
            continue
        before = dict(vars(known[name])) if name in known else None
        group = known.setdefault(
            name, Group(monitor=monitor["id"], name=name, tags=found.tags, first_seen=at, since=at)
        )
        muting = [downtime for downtime in active if covers(downtime, group)]
        # A composite's constituents have waited for their new groups; a monitor without groups has no new one.
        asked_for = options.get("new_group_delay")
        delay = 0 if monitor["type"] == COMPOSITE or not asked.by else NEW_GROUP if asked_for is None else asked_for
        young = at - group.first_seen < delay
        if found.value is not None:
            group.value = found.value
        if found.state is not None and found.state != group.status and not young:
            _change(turn, monitor, asked, group, found.state, at, muting)
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
            group.silenced = False  # whoever is notified of it now is notified of its end
            _tell(turn.store, monitor, asked, group, "OK", at)
        elif not muting and states.renotified(
            group.status,
            options,
            since_told=at - group.last_told,
            since_triggered=at - group.first_triggered,
            times=group.renotified,
        ):
            group.renotified += 1
            _tell(turn.store, monitor, asked, group, "OK", at, again=True)
        if vars(group) != before:
            memory.keep(turn.store, group)


def _looks(turn: _Turn, monitor: Thing, at: float, known: Mapping[str, Group]) -> dict[str, _Look]:
    """Evaluate each group of a monitor; return the results by name."""
    options = monitor["options"]
    thresholds = options.get("thresholds") or {}

    def look(name: str, by: Sequence[str], comparator: str, found: states.Evaluation) -> _Look:
        status = known[name].status if name in known else "OK"
        return _Look(
            tags=language.tags(name, by),
            value=found.value,
            state=states.evaluated(found, status, comparator, options, thresholds),
        )

    if monitor["type"] == COMPOSITE:
        tree = language.composite(monitor["query"])
        numbers = composites.constituents(tree)
        if not set(numbers) <= set(turn.monitors):
            return {}
        of = {
            number: composites.Constituent(
                by=form(turn.monitors[number], turn.monitors).by, groups=turn.groups.get(number, {})
            )
            for number in numbers
        }
        common = composites.look(tree, of, options).items()
        return {name: _Look(tags=tags, value=None, state=state) for name, (tags, state) in common}
    if monitor["type"] == SLO_ALERT:
        from sandbox.datadog.evaluation import slos

        rate = language.burn_rate(monitor["query"])
        slo = turn.store.get(slos.KIND, rate.slo)
        value = slos.burn(turn.source, slo, rate, at) if slo and not slos.fault(slo) else None
        return {"*": look("*", (), rate.comparator, states.Evaluation(value=value, full=True))}
    from sandbox.datadog.evaluation import windows

    compared = language.comparison(monitor["query"])
    found = windows.look(turn.source, compared, options, at, known)
    return {name: look(name, compared.by, compared.comparator, each) for name, each in found.items()}


def _change(
    turn: _Turn,
    monitor: Thing,
    asked: Form,
    group: Group,
    new: State,
    at: float,
    muting: list[Thing],
) -> None:
    store, old = turn.store, group.status
    told = states.told(
        old,
        new,
        muted=bool(muting),
        silenced=group.silenced,
        mute_first_recovery=any(each["attributes"]["mute_first_recovery_notification"] for each in muting),
    )
    group.status, group.since, group.last_told, group.renotified = new, at, at, 0
    group.silenced = new != "OK" and bool(muting) and (old == "OK" or group.silenced)
    told = told and not (monitor["options"].get("on_missing_data") == "show_no_data" and new == "No Data")
    if old == "OK":
        cycle = f"{monitor['id']} {group.name} {at}"
        group.cycle = str(int.from_bytes(hashlib.sha256(cycle.encode()).digest()[:8]))
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
        _tell(store, monitor, asked, group, old, at)


def _tell(
    store: Store, monitor: Thing, asked: Form, group: Group, old: State, at: float, *, again: bool = False
) -> None:
    group.last_told = at
    message = rendered(store, monitor, asked, group, old, at, again=again)
    of = scope(group) if monitor["options"].get("include_tags", True) else ""
    words = [f"{'Re-' if again else ''}{WORDS[group.status]}", *(["on", f"{{{of}}}"] if of else [])]
    subject = memory.subject(words, title(store, monitor, asked, group, old, at))
    memory.send(
        store,
        Mail(
            at=at,
            to=message.recipients,
            subject=subject,
            text=message.text,
            about="monitor",
            of=str(monitor["id"]),
            group=group.tags,
            kind=group.status,
        ),
    )
    for recipient in message.recipients:
        if recipient.startswith(webhooks.PREFIX):
            values = variables(store, monitor, asked, group, subject, message.text, at, again=again)
            webhooks.queue(store, recipient, values, at=at, monitor=monitor["id"], group=group.name)


def scope(group: Group) -> str:
    """Format a group's tags as messages show them; empty if it has none."""
    return ",".join(f"{key}:{value}" for key, value in group.tags.items())


def variables(
    store: Store, monitor: Thing, asked: Form, group: Group, subject: str, text: str, at: float, *, again: bool = False
) -> dict[str, str]:
    """Return the variables for a webhook's payload.

    Source: https://docs.datadoghq.com/integrations/webhooks/#variables
    """
    number = str(store.next("event of a monitor", 1))
    return {
        "AGGREG_KEY": hashlib.sha256(f"{monitor['id']} {group.name}".encode()).hexdigest()[:32],
        "ALERT_CYCLE_KEY": group.cycle,
        "ALERT_ID": str(monitor["id"]),
        "ALERT_METRIC": asked.metric,
        "ALERT_PRIORITY": f"P{monitor['priority']}" if monitor.get("priority") else "",
        "ALERT_QUERY": monitor["query"],
        "ALERT_SCOPE": scope(group),
        "ALERT_STATUS": "" if group.value is None else f"{messages.shown(group.value)} {asked.comparator}".strip(),
        "ALERT_TITLE": subject,
        "ALERT_TRANSITION": f"{'Re-' if again else ''}{TRANSITIONS[group.status]}",
        "ALERT_TYPE": KINDS[group.status],
        "DATE": f"{1000 * at:.0f}",
        "DATE_POSIX": f"{at:.0f}",
        "EVENT_MSG": text,
        "EVENT_TITLE": subject,
        "EVENT_TYPE": "composite_monitor" if monitor["type"] == COMPOSITE else "query_alert_monitor",
        "HOSTNAME": group.tags.get("host", ""),
        "ID": number,
        "LAST_UPDATED": f"{1000 * at:.0f}",
        "LINK": f"{store.setting('url')}/monitors/{monitor['id']}",
        "ORG_ID": "1",
        "ORG_NAME": "Sandbox",
        "PRIORITY": "normal",
        "SNAPSHOT": "",
        "TAGS": ",".join([*monitor["tags"], *(f"{key}:{value}" for key, value in group.tags.items())]),
        "TEXT_ONLY_MSG": text,
    }


def rendered(
    store: Store, monitor: Thing, asked: Form, group: Group, old: State, at: float, *, again: bool = False
) -> messages.Message:
    """Render the monitor's message for ``group``, which came from ``old``, or is renotified (``again``)."""
    more = monitor["options"].get("escalation_message") if again else ""
    text = "\n\n".join(filter(None, [monitor["message"], more]))
    return messages.render(text, old, group.status, _values(store, monitor, asked, group, at), again=again)


def title(store: Store, monitor: Thing, asked: Form, group: Group, old: State, at: float) -> str:
    """Return the monitor's name as messages show it."""
    return messages.render(monitor["name"], old, group.status, _values(store, monitor, asked, group, at)).text


def names(store: Store, groups: Iterable[Group]) -> list[tuple[Group, Thing, str]]:
    """Return groups, their monitors, and these monitors' names as in messages; as written if not evaluated."""
    monitors, found = {monitor["id"]: monitor for monitor in store.all("monitor")}, []
    for group in groups:
        if (monitor := monitors.get(group.monitor)) is None:
            continue
        try:
            name = title(store, monitor, form(monitor, monitors), group, "OK", group.since)
        except language.UnknownFormError:
            name = monitor["name"]
        found.append((group, monitor, name))
    return found


def _values(store: Store, monitor: Thing, asked: Form, group: Group, at: float) -> dict[str, str]:
    thresholds = monitor["options"].get("thresholds") or {}
    triggered = {"first_triggered_at": group.first_triggered, "last_triggered_at": group.last_triggered}
    values = {
        "value": "" if group.status == "No Data" or group.value is None else messages.shown(group.value),
        "threshold": "" if asked.number is None else messages.exact(asked.number),
        "warn_threshold": messages.exact(thresholds["warning"]) if "warning" in thresholds else "",
        "comparator": asked.comparator,
        "triggered_duration_sec": f"{at - (group.first_triggered or at):.0f}",
        **{f"{key}.name": value for key, value in group.tags.items()},
        **{f"{name}_epoch": f"{1000 * (when or at):.0f}" for name, when in triggered.items()},
        **{
            name: f"{datetime.datetime.fromtimestamp(when or at, datetime.UTC):%a %b %d %Y %H:%M:%S UTC}"
            for name, when in triggered.items()
        },
    }
    values |= {f"[{key}].name": value for key, value in group.tags.items() if "." in key}
    if "host" in group.tags:
        host = store.get("host", group.tags["host"]) or {}
        values = {**_host_tags(host), **values, "host.ip": _address(host)}
    return values


def _host_tags(host: Mapping[str, Any]) -> dict[str, str]:
    """Return a host's tags as variables; several values of a key are sorted and joined by commas.

    Source: https://docs.datadoghq.com/monitors/notify/variables/#query-group-by-host
    """
    found: dict[str, set[str]] = {}
    for tag in ((host.get("metadata") or {}).get("host-tags") or {}).get("system") or []:
        key, _, value = str(tag).partition(":")
        found.setdefault(key, set()).add(value)
    return {f"{key}.name": ",".join(sorted(values)) for key, values in found.items()}


def _address(host: Mapping[str, Any]) -> str:
    """Return a host's address as reported by its Agent; empty if none reported."""
    try:
        return str(json.loads(host["metadata"]["gohai"])["network"]["ipaddress"])
    except (KeyError, TypeError, ValueError):
        return ""


# Downtimes


def mutes(downtime: Mapping[str, Any], monitor: Mapping[str, Any]) -> bool:
    """Return whether a downtime is for a monitor, at any time."""
    identifier = downtime["attributes"]["monitor_identifier"]
    if identifier.get("monitor_id") is not None:
        return bool(identifier["monitor_id"] == monitor["id"])
    tags = set(identifier.get("monitor_tags") or [])
    return tags == {"*"} or (bool(tags) and tags <= set(monitor["tags"]))


def covers(downtime: Mapping[str, Any], group: Group) -> bool:
    """Return whether a downtime's scope covers a group; a scope with OR isn't evaluated, and covers none."""
    scope = downtime["attributes"]["scope"]
    wanted = set() if scope == "*" else {word for word in scope.split() if word != "AND"}
    excluded = {word for word in wanted if word.startswith("-")}
    tags = {f"{key}:{value}" for key, value in group.tags.items()}
    return wanted - excluded <= tags and not {word[1:] for word in excluded} & tags


def _active(store: Store, now: datetime.datetime) -> Iterator[Thing]:
    for downtime in store.all("downtime"):
        if downtimes.current(downtime["attributes"], now)["status"] == "active":
            yield downtime


def follow_downtimes(store: Store, now: datetime.datetime) -> list[Ended]:
    """Notify of downtimes scheduled, begun, cancelled or ended since the last round; return those that ended.

    Each occurrence of a recurring one begins and ends separately.
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
    of = messages.without_group(monitor["name"]) if monitor else f"{number or attributes['monitor_identifier']}"
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


# People's changes


def follow_changes(store: Store, now: datetime.datetime) -> None:
    """Notify of monitors changed or deleted since the last round, and of events that mention somebody.

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
    """Notify everybody whom the message mentions, in any block."""
    if monitor["options"].get("notify_audit"):
        memory.send(
            store,
            Mail(
                at=now.timestamp(),
                to=messages.mentioned(monitor["message"]),
                subject=memory.subject(["Monitor", what], name := messages.without_group(monitor["name"])),
                text=f"The monitor \u201c{name}\u201d was {what} by {monitor['creator']['handle']}.",
                about="change",
                of=str(monitor["id"]),
                kind=what,
            ),
        )

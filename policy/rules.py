"""The rules: pure functions of a resource's type and inputs that yield a sentence for each violation.

Inputs are read only through ``Mapping`` and ``Sequence``: Pulumi passes proxies, which raise on access to values that a
preview doesn't know yet. Secrets arrive unwrapped.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any
from zoneinfo import available_timezones

Props = Mapping[str, Any]
Rule = Callable[[str, Props], Iterator[str]]

REMOTE = ("command:remote:Command", "command:remote:CopyToRemote", "command:remote:CopyFile")
COMMANDS = (*REMOTE, "command:local:Command")
MONITOR = "datadog:index/monitor:Monitor"
DOWNTIME = "datadog:index/downtimeSchedule:DowntimeSchedule"
DASHBOARD = "datadog:index/dashboardJson:DashboardJson"

SHOWN = ("create", "update", "delete", "environment", "triggers")
"""The inputs of a command that appear in previews, logs and error messages."""

SECRET = {
    "a private key": re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----"),
    "something in the form of a Datadog key": re.compile(
        r"(?<!\w)(?!(.)\1{31})(?:[0-9a-f]{32}|[0-9a-f]{40}|ddapp_\w{34})(?!\w)"
    ),
    "a key or password that is written out": re.compile(
        r"(?:API_?KEY|APP_?KEY|PASSWORD|TOKEN)=['\"]?(?!(.)\1{7})[^\s'\"$]{8}", re.IGNORECASE
    ),
}
"""Patterns of secrets; a single repeated character is a placeholder."""

STATES = ("is_alert", "is_warning", "is_no_data", "is_recovery")
BLOCK = re.compile(r"\{\{#(\w+)\}\}(.*?)\{\{/\1\}\}", re.DOTALL)
MENTION = re.compile(r"(?<!\S)@[\w.+-]+")
WINDOW = re.compile(r"last_(\d+)([mhd])\)")
MINUTES = {"m": 1, "h": 60, "d": 1440}


def no_secret_in_commands(type_: str, props: Props) -> Iterator[str]:
    """A command takes secrets on standard input only: its other inputs appear in previews, logs and errors."""
    if type_ not in COMMANDS:
        return
    for key in SHOWN:
        text = "\n".join(_texts(props.get(key)))
        for what, pattern in SECRET.items():
            if pattern.search(text):
                yield f"`{key}` holds {what}; pass it in `stdin`, as a secret"


def host_keys_are_checked(type_: str, props: Props, accepted: Sequence[str] = ()) -> Iterator[str]:
    """A connection specifies the machine's host key; ``accepted`` lists the addresses that need none.

    Source: https://www.pulumi.com/registry/packages/command/api-docs/remote/command/#connection
    """
    if type_ in REMOTE and not props["connection"].get("hostKey") and props["connection"]["host"] not in accepted:
        yield "without `hostKey` in its connection, whoever answers at that address is taken for the machine"


def steps_change_in_place(type_: str, props: Props) -> Iterator[str]:
    """A remote command has no triggers: they replace it, and deleting the old one then undoes the new one's work."""
    if type_ in REMOTE and props.get("triggers"):
        yield "`triggers` replace the resource; let the script see what has changed through its variables or `stdin`"


def _states(props: Props) -> Sequence[str]:
    """Return the states that a monitor has to tell of.

    A composite and an alert on an objective tell of alerts; a monitor to which no data means that all is well
    (``onMissingData: resolve``) may be a composite's silent part.

    Source: https://docs.datadoghq.com/monitors/types/composite/
    """
    if props.get("type") in ("composite", "slo alert"):
        return STATES[:1]
    return () if props.get("onMissingData") == "resolve" else STATES


def monitors_tell_someone(type_: str, props: Props) -> Iterator[str]:
    """A monitor's message has a block with recipients for each state, and recipients nowhere else."""
    if type_ != MONITOR:
        return
    message = str(props["message"])
    blocks = dict(BLOCK.findall(message))
    for state in _states(props):
        if not MENTION.search(blocks.get(state, "")):
            yield f"`message` notifies nobody in a block {{{{#{state}}}}}"
    if MENTION.search(BLOCK.sub("", message)):
        yield "`message` has a recipient outside of the blocks, who is notified of every transition"
    if re.search(r"\{\{host\.\w+\}\}", message) and not re.search(r"\bby\s*\{[^}]*\bhost\b", str(props["query"])):
        yield "`message` names the host, which Datadog fills in only where the query is grouped `by {host}`"


def monitors_notice_silence(type_: str, props: Props) -> Iterator[str]:
    """A monitor notifies of missing data, after at least twice its window.

    Source: https://docs.datadoghq.com/monitors/configuration/#no-data
    """
    if type_ != MONITOR or _states(props) != STATES or props.get("onMissingData") == "show_and_notify_no_data":
        return
    if not props.get("notifyNoData") or not props.get("noDataTimeframe"):
        yield "data that stops coming goes unnoticed: set `notifyNoData` and `noDataTimeframe`"
    elif window := WINDOW.search(str(props["query"])):
        minutes = int(window[1]) * MINUTES[window[2]]
        if props["noDataTimeframe"] < 2 * minutes:
            yield f"`noDataTimeframe` has to be at least twice the window of {minutes} minutes"


def warnings_come_first(type_: str, props: Props) -> Iterator[str]:
    """A monitor warns before it alerts, and its critical threshold is the one in its query, as Datadog requires."""
    if type_ != MONITOR or props.get("type") == "composite":
        return
    comparison = re.search(r"([<>])=?\s*(-?[\d.]+)\s*$", str(props["query"]))
    # The provider adds a list of defaults under an internal key.
    given = {key: value for key, value in (props.get("monitorThresholds") or {}).items() if not key.startswith("__")}
    thresholds = {key: float(value) for key, value in given.items() if value != ""}
    if not comparison or "critical" not in thresholds:
        yield "the query has to end with a comparison, and `monitorThresholds` has to hold its `critical` number"
        return
    critical, warning = thresholds["critical"], thresholds.get("warning")
    if critical != float(comparison[2]):
        yield f"the critical threshold {critical:g} is not the number in the query, {comparison[2]}"
    if warning is None:
        if _states(props) == STATES:
            yield "there is no warning threshold"
    elif warning >= critical if comparison[1] == ">" else warning <= critical:
        yield f"the warning at {warning:g} does not come before the alert at {critical:g}"


def downtimes_have_an_anchor(type_: str, props: Props) -> Iterator[str]:
    """A recurring downtime specifies its time zone, and the start of its first occurrence.

    A one-time recurrence may begin when the downtime is created.
    """
    if type_ != DOWNTIME or not (schedule := props.get("recurringSchedule")):
        return
    if schedule.get("timezone") not in available_timezones():
        yield "`recurringSchedule` has no IANA time zone: Datadog takes UTC, and the summer moves the hours"
    for recurrence in schedule["recurrences"]:
        if recurrence.get("start") is None and re.search(r";COUNT=1(;|$)", recurrence["rrule"]):
            continue
        if not re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", recurrence.get("start") or ""):
            yield f"the recurrence {recurrence['rrule']} has no `start`: it would begin whenever `pulumi up` runs"


def dashboards_can_be_narrowed(type_: str, props: Props) -> Iterator[str]:
    """A dashboard has a template variable for the host or the customer, all by default, so that it serves them all."""
    if type_ != DASHBOARD:
        return
    variables = json.loads(props["dashboard"]).get("template_variables") or []
    if not any(each.get("prefix") in ("host", "customer") and each.get("defaults") == ["*"] for each in variables):
        yield 'template_variables lacks {"name": "host", "prefix": "host", "defaults": ["*"]}'


RULES: tuple[Rule, ...] = (
    no_secret_in_commands,
    host_keys_are_checked,
    steps_change_in_place,
    monitors_tell_someone,
    monitors_notice_silence,
    warnings_come_first,
    downtimes_have_an_anchor,
    dashboards_can_be_narrowed,
)


def _texts(value: Any) -> Iterator[str]:
    """Yield every text in ``value``; map entries become KEY=VALUE, as in an environment."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        yield from (f"{key}={text}" for key, item in value.items() for text in _texts(item))
    elif isinstance(value, Sequence):
        yield from chain.from_iterable(map(_texts, value))

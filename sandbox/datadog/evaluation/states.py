"""Decides on the state of a monitor's group, and whether to notify of a change: plain values.

Sources: https://docs.datadoghq.com/monitors/configuration/, https://docs.datadoghq.com/monitors/downtimes/,
https://docs.datadoghq.com/monitors/guide/recovery-thresholds/
"""

import operator
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from sandbox.datadog.evaluation.messages import State

COMPARE: Mapping[str, Callable[[float, float], bool]] = {
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
}


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """The evaluation of a group; ``value`` is ``None`` if its window is empty, ``full`` if no minute of it is empty.

    ``silent_for`` is the seconds since its last point, ``None`` if it never had any; ``window`` is in seconds. An empty
    window of what is ``counted`` is 0 for a monitor with `default` for missing data. ``recovering`` is the value of the
    recovery window, for monitors that have one.
    """

    value: float | None
    full: bool
    silent_for: float | None = None
    window: int = 0
    counted: bool = False
    recovering: float | None = None


def evaluated(
    found: Evaluation, status: State, comparator: str, options: Mapping[str, object], thresholds: Mapping[str, float]
) -> State | None:
    """Return the new state of a group in ``status``; ``None`` if the evaluation is skipped.

    Source of the default for ``no_data_timeframe``: https://docs.datadoghq.com/monitors/guide/monitor_api_options/
    """
    minutes = options.get("no_data_timeframe")
    patience = 60 * minutes if isinstance(minutes, int) and minutes else 2 * found.window
    silent = found.silent_for
    if options.get("notify_no_data") and patience and silent is not None and silent >= patience:
        return "No Data"
    if found.value is None:
        # Source: https://docs.datadoghq.com/monitors/guide/on_missing_data/
        match options.get("on_missing_data"):
            case "show_no_data" | "show_and_notify_no_data":
                return "No Data"
            case "resolve":
                return "OK"
            case "default" if found.counted:
                return judged(0.0, status, comparator, thresholds)
    if found.value is None or (options.get("require_full_window", False) and not found.full):
        return None
    return judged(found.value, status, comparator, thresholds, found.recovering)


def tells_of_no_data(options: Mapping[str, object]) -> bool:
    """Whether a monitor notifies of missing data."""
    return bool(options.get("notify_no_data")) or options.get("on_missing_data") == "show_and_notify_no_data"


def judged(
    value: float, status: State, comparator: str, thresholds: Mapping[str, float], recovering: float | None = None
) -> State:
    """Return a value's state; with a recovery threshold, a triggered group stays until it passes that too.

    A share of anomalies (``recovering``) can't pass 0, so it recovers when it reaches the threshold.
    """
    crosses = COMPARE[comparator]

    def stays_in(recovery: float) -> bool:
        return crosses(value, recovery) if recovering is None else COMPARE[comparator[0]](recovering, recovery)

    for state, name, stays in (("Alert", "critical", ("Alert",)), ("Warn", "warning", ("Alert", "Warn"))):
        level, recovery = thresholds.get(name), thresholds.get(f"{name}_recovery")
        if level is None:
            continue
        if crosses(value, level) or (recovery is not None and status in stays and stays_in(recovery)):
            return "Alert" if state == "Alert" else "Warn"
    return "OK"


def told(old: State, new: State, *, muted: bool, silenced: bool, mute_first_recovery: bool) -> bool:
    """Return whether to notify that a group went from ``old`` to ``new``.

    ``silenced``: it left OK while it was muted, so nobody knows. While muted, only the recovery of an earlier alert is
    notified, once, unless a downtime mutes that too.
    """
    if old == new:
        return False
    if not muted:
        return True
    return new == "OK" and not silenced and not mute_first_recovery


RENOTIFIED_FOR = 30 * 3600
"""Seconds after the first alert until renotifications stop, if their number isn't set.

Source: https://docs.datadoghq.com/monitors/notify/#renotify
"""

NAMES: Mapping[State, str] = {"Alert": "alert", "Warn": "warn", "No Data": "no data"}
"""The options' names of the states that are renotified."""


def repeated(status: State, how_it_ended: str, types: Collection[str], states: Collection[str]) -> bool:
    """Return whether to notify of a group's state again when a downtime ends: ``expired`` or ``canceled``."""
    return status in NAMES and how_it_ended in types and NAMES[status] in states


def is_renotified(status: State, options: Mapping[str, Any]) -> bool:
    """Return whether a state is renotified at all.

    Source: ``renotify_statuses`` in https://docs.datadoghq.com/api/latest/monitors/#create-a-monitor
    """
    asked = options.get("renotify_statuses") or ("alert", "no data")
    return bool(options.get("renotify_interval")) and NAMES.get(status) in asked


def renotified(
    status: State, options: Mapping[str, Any], *, since_told: float, since_triggered: float, times: int
) -> bool:
    """Return whether to renotify now: some seconds after the last notification, and ``times`` renotifications.

    Unsure: whether the 30 hours only apply if ``renotify_occurrences`` isn't set.

    Source: https://docs.datadoghq.com/monitors/notify/#renotify
    """
    most = options.get("renotify_occurrences")
    in_time = times < most if most else since_triggered <= RENOTIFIED_FOR
    return is_renotified(status, options) and in_time and since_told >= 60 * options["renotify_interval"]

"""The state of a monitor's group, and when somebody is told of a change: plain values.

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
    """What one look at a group found: ``value`` is None where its window is empty, ``full`` where no minute is.

    ``silent_for`` is how many seconds ago its last point was, None where there never was any. An empty window of what
    is ``counted`` is 0 to a monitor that says `default` of missing data.
    """

    value: float | None
    full: bool
    silent_for: float | None = None
    counted: bool = False


def evaluated(
    found: Evaluation, status: State, comparator: str, options: Mapping[str, object], thresholds: Mapping[str, float]
) -> State | None:
    """The state after a look at a group that was in ``status``; None where the look is skipped, and nothing changes."""
    minutes = options.get("no_data_timeframe")
    silent = found.silent_for
    if options.get("notify_no_data") and isinstance(minutes, int) and silent is not None and silent >= 60 * minutes:
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
    return judged(found.value, status, comparator, thresholds)


def judged(value: float, status: State, comparator: str, thresholds: Mapping[str, float]) -> State:
    """The state of a value; with a recovery threshold, a group that has triggered stays until it is past that too."""
    crosses = COMPARE[comparator]
    for state, name, stays in (("Alert", "critical", ("Alert",)), ("Warn", "warning", ("Alert", "Warn"))):
        level, recovery = thresholds.get(name), thresholds.get(f"{name}_recovery")
        if level is None:
            continue
        if crosses(value, level) or (recovery is not None and status in stays and crosses(value, recovery)):
            return "Alert" if state == "Alert" else "Warn"
    return "OK"


def told(old: State, new: State, *, muted: bool, silenced: bool, mute_first_recovery: bool) -> bool:
    """Whether somebody is told that a group goes from ``old`` to ``new``.

    ``silenced``: it left OK while it was muted, so that nobody knows of it. While muted only the recovery of what
    triggered before is told, once, unless a downtime mutes that too.
    """
    if old == new:
        return False
    if not muted:
        return True
    return new == "OK" and not silenced and not mute_first_recovery


RENOTIFIED_FOR = 30 * 3600
"""Seconds after the first alert until which is renotified where no number of times is set.

Source: https://docs.datadoghq.com/monitors/notify/#renotify
"""

NAMES: Mapping[State, str] = {"Alert": "alert", "Warn": "warn", "No Data": "no data"}
"""What options call the states that somebody is told of again."""


def repeated(status: State, how_it_ended: str, types: Collection[str], states: Collection[str]) -> bool:
    """Whether a group's state is told again when a downtime ends: ``expired`` or ``canceled``."""
    return status in NAMES and how_it_ended in types and NAMES[status] in states


def is_renotified(status: State, options: Mapping[str, Any]) -> bool:
    """Whether a state is told more than once.

    Source: ``renotify_statuses`` in https://docs.datadoghq.com/api/latest/monitors/#create-a-monitor
    """
    asked = options.get("renotify_statuses") or ("alert", "no data")
    return bool(options.get("renotify_interval")) and NAMES.get(status) in asked


def renotified(
    status: State, options: Mapping[str, Any], *, since_told: float, since_triggered: float, times: int
) -> bool:
    """Whether a group's state is told once more: some seconds after it was last told, and ``times`` renotified.

    Unsure: that the 30 hours count only where ``renotify_occurrences`` isn't set.

    Source: https://docs.datadoghq.com/monitors/notify/#renotify
    """
    most = options.get("renotify_occurrences")
    in_time = times < most if most else since_triggered <= RENOTIFIED_FOR
    return is_renotified(status, options) and in_time and since_told >= 60 * options["renotify_interval"]

"""Datadog's server rules for monitors, beyond the client's models.

Source: https://docs.datadoghq.com/api/latest/monitors/#create-a-monitor, and the errors that users report.
"""

import ast
import datetime
import re
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

from sandbox.datadog import queries
from sandbox.datadog.schema import RefusedError

QUERY = re.compile(
    r"(?:avg|sum|min|max|change|pct_change|percentile)\([^)]*last_\d+(?:m|h|d|w|mo)[^)]*\):.+"
    r"\s(?P<comparator>>=|<=|>|<|==|!=)\s*(?P<number>-?\d+(?:\.\d+)?(?:e-?\d+)?)",
    re.DOTALL,
)
"""A metric monitor's query: an aggregation over a window, an expression, a comparison."""

METRIC_TYPES = ("metric alert", "query alert")
"""Names of the same type."""

Objectives = Mapping[str, Mapping[str, float]]
"""The target in percent of each SLO, by its id and time frame."""


def check(
    monitor: Mapping[str, Any], others: Iterable[Mapping[str, Any]], objectives: Objectives = MappingProxyType({})
) -> None:
    """Refuse a monitor that Datadog would refuse; ``others`` are the existing monitors, ``objectives`` the SLOs.

    Raises:
        RefusedError: with status 400.
    """
    if not str(monitor.get("name") or "").strip():
        raise RefusedError(400, "The value provided for parameter 'name' is invalid")
    priority = monitor.get("priority")
    if priority is not None and priority not in range(1, 6):
        raise RefusedError(400, f"Invalid priority {priority}: a monitor's priority is 1 to 5")
    options = monitor.get("options") or {}
    if options.get("on_missing_data") and (options.get("notify_no_data") or options.get("no_data_timeframe")):
        raise RefusedError(400, "on_missing_data can't be used with notify_no_data or no_data_timeframe")
    others = list(others)
    thresholds = options.get("thresholds") or {}
    if monitor["type"] in METRIC_TYPES:
        _check_metric_query(monitor["query"], thresholds)
    elif monitor["type"] == "composite":
        _check_composite(monitor, others)
    elif monitor["type"] == "slo alert":
        _check_objective_query(monitor["query"], thresholds, objectives)
    else:
        raise RefusedError(400, f"The sandbox has no monitors of type {monitor['type']!r}")
    for other in others:
        if _same(monitor, other):
            raise RefusedError(400, f"Duplicate of an existing monitor_id:{other['id']} org_id:{other['org_id']}")


def _check_metric_query(query: str, thresholds: Mapping[str, float]) -> None:
    match = QUERY.fullmatch(query.strip())
    if match is None:
        raise RefusedError(400, "The value provided for parameter 'query' is invalid")
    queries.check(query)
    number, up = float(match["number"]), match["comparator"].startswith(">")
    critical, warning = thresholds.get("critical"), thresholds.get("warning")
    if critical is None:
        if warning is not None:
            raise RefusedError(400, "Alert status is required.")
        return
    if critical != number:
        raise RefusedError(400, f"Alert threshold ({critical}) does not match that used in the query ({number}).")
    if warning is not None and (warning >= critical if up else warning <= critical):
        side = "less" if up else "greater"
        raise RefusedError(400, f"Warning threshold ({warning}) must be {side} than the alert threshold ({critical}).")
    for name, level in (("critical_recovery", critical), ("warning_recovery", warning)):
        recovery = thresholds.get(name)
        if recovery is not None and (level is None or (recovery > level if up else recovery < level)):
            raise RefusedError(400, f"{name} ({recovery}) is on the wrong side of its threshold ({level})")


CONSTITUENTS = 10
"""Most monitors in a composite. Source: https://docs.datadoghq.com/monitors/types/composite/"""


def constituents(query: str) -> list[str]:
    """Return the ids of the monitors in a composite's query, each once."""
    return list(dict.fromkeys(re.findall(r"\d+", query)))


def _check_composite(monitor: Mapping[str, Any], others: Iterable[Mapping[str, Any]]) -> None:
    query, known = monitor["query"], {str(other["id"]): other for other in others}
    bare = re.sub(r"\d+", "x", query).replace("&&", " and ").replace("||", " or ").replace("!", " not ")
    try:
        tree = ast.parse(bare.strip(), mode="eval")
    except SyntaxError:
        raise RefusedError(400, "The value provided for parameter 'query' is invalid") from None
    if any(not isinstance(node, COMPOSITE_NODES) for node in ast.walk(tree)):
        raise RefusedError(400, "The value provided for parameter 'query' is invalid")
    found = constituents(query)
    if not 1 < len(found) <= CONSTITUENTS:
        raise RefusedError(400, f"A composite monitor has 2 to {CONSTITUENTS} monitors, and not {len(found)}")
    for name in found:
        if name not in known:
            raise RefusedError(400, f"Monitor {name} of the composite does not exist")
        if known[name]["type"] == "composite":
            raise RefusedError(400, f"Monitor {name} is a composite itself")


COMPOSITE_NODES = (ast.Expression, ast.BoolOp, ast.And, ast.Or, ast.UnaryOp, ast.Not, ast.Name, ast.Load)

BURN_RATE = re.compile(
    r'burn_rate\("(?P<slo>\w+)"\)\.over\("(?P<days>7|30|90)d"\)\.long_window\("(?P<long>\d+)h"\)'
    r'\.short_window\("(?P<short>\d+)m"\)\s*>\s*(?P<number>\d+(?:\.\d+)?)'
)
"""Source: https://docs.datadoghq.com/monitors/types/slo/#burn-rate-alerts"""


def _check_objective_query(query: str, thresholds: Mapping[str, float], objectives: Objectives) -> None:
    match = BURN_RATE.fullmatch(query.strip())
    if match is None:
        raise RefusedError(400, f"The sandbox doesn't know the SLO alert {query!r}")
    if match["slo"] not in objectives:
        raise RefusedError(400, f"SLO {match['slo']} does not exist")
    long, short = int(match["long"]), int(match["short"])
    if not 1 <= long <= 48 or not 60 * short < 60 * 60 * long or short > 120:
        raise RefusedError(400, "The long window is 1 to 48 hours, and the short one is shorter, at most 120 minutes")
    if thresholds.get("critical") != float(match["number"]):
        raise RefusedError(400, "Alert threshold does not match that used in the query")
    target = objectives[match["slo"]].get(f"{match['days']}d")
    if target is None:
        raise RefusedError(400, f"SLO {match['slo']} has no target over {match['days']} days")
    # Source: https://docs.datadoghq.com/service_management/service_level_objectives/burn_rate/#maximum-burn-rate-values
    if float(match["number"]) * (100 - target) > 100:
        raise RefusedError(400, f"The burn rate {match['number']} is beyond the maximum for a target of {target:g} %")


def _same(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Return whether Datadog considers two monitors identical; what answers add doesn't count."""

    def essence(monitor: Mapping[str, Any]) -> list[Any]:
        kind = "query alert" if monitor["type"] in METRIC_TYPES else monitor["type"]
        options = {**_OPTIONS, **(monitor.get("options") or {})}
        return [kind, monitor.get("name"), monitor["query"], monitor.get("message"), options]

    return essence(one) == essence(other)


_OPTIONS: dict[str, Any] = {"notify_audit": False, "silenced": {}, "include_tags": True}
"""What the API adds to a monitor's options."""


def answer(
    monitor: Mapping[str, Any], *, number: int, now: datetime.datetime, created: str | None = None
) -> dict[str, Any]:
    """Return the monitor as in the API's answers: a metric monitor reads back as ``query alert``."""
    stamp = now.isoformat()
    thresholds = (monitor.get("options") or {}).get("thresholds") or {}
    options = {**_OPTIONS, **(monitor.get("options") or {})}
    options["thresholds"] = {name: float(value) for name, value in thresholds.items() if value is not None}
    return {
        "draft_status": "published",
        "message": "",
        "restricted_roles": None,
        "tags": [],
        "priority": None,
        **monitor,
        "id": number,
        "org_id": 1,
        "type": "query alert" if monitor["type"] in METRIC_TYPES else monitor["type"],
        "options": options,
        "multi": " by {" in monitor["query"],
        "created": created or stamp,
        "modified": stamp,
        "deleted": None,
        "overall_state": "No Data",
        "creator": {"name": "Sandbox", "handle": "sandbox@example.com", "email": "sandbox@example.com"},
    }

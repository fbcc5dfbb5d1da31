"""Composite monitors: the states of the groups that all constituents have.

Source: https://docs.datadoghq.com/monitors/types/composite/
"""

import ast
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sandbox.datadog.evaluation.memory import Group
from sandbox.datadog.evaluation.messages import State

SEVERITY: Mapping[State, int] = {"OK": 1, "No Data": 2, "Warn": 3, "Alert": 4}
"""Every state but OK counts as an alert."""

Tags = dict[str, str]


@dataclass(frozen=True, kw_only=True)
class Constituent:
    """A monitor in an expression, with its groups by name; an ungrouped one without a state counts as No Data."""

    by: Sequence[str]
    groups: Mapping[str, Group]


def constituents(tree: ast.expr) -> list[int]:
    """Return the ids of the monitors in an expression."""
    return sorted({node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)})  # type: ignore[misc]


def look(
    tree: ast.expr, of: Mapping[int, Constituent], options: Mapping[str, Any]
) -> dict[str, tuple[Tags, State | None]]:
    """Return the tags and the state of each common group; ``None`` if the group keeps its state.

    A group is common if each constituent has it, or one with some of its tags: a composite of monitors by
    customer and step and of one by step has the groups of the first.
    """
    finest = max(of.values(), key=lambda constituent: len(constituent.by))
    candidates: Iterable[Mapping[str, str]] = [group.tags for group in finest.groups.values()] if finest.by else [{}]
    found: dict[str, tuple[Tags, State | None]] = {}
    for tags in candidates:
        given = {number: _state(constituent, tags) for number, constituent in of.items()}
        states = {number: state for number, state in given.items() if state is not None}
        if len(states) < len(given):
            continue
        state = evaluated(tree, states)
        unknown = state == "No Data" and not options.get("notify_no_data")
        found[",".join(tags.values()) or "*"] = dict(tags), None if unknown else state
    return found


def _state(constituent: Constituent, tags: Mapping[str, str]) -> State | None:
    """Return a constituent's state for a group; ``None`` if it has no such group.

    Compares values, as Datadog does, in the order of the constituent's grouping.
    """
    if not constituent.by:
        return constituent.groups["*"].status if "*" in constituent.groups else "No Data"
    name = ",".join(tags.get(key, "") for key in constituent.by)
    return constituent.groups[name].status if name in constituent.groups else None


def evaluated(node: ast.expr, states: Mapping[int, State]) -> State:
    """Return the state of an expression, by the documented table."""
    match node:
        case ast.Constant(value=int() as number):
            return states[number]
        case ast.UnaryOp(operand=operand):
            inner = evaluated(operand, states)
            return "No Data" if inner == "No Data" else "OK" if inner != "OK" else "Alert"
        case ast.BoolOp(op=op, values=values):
            by_severity = sorted((evaluated(value, states) for value in values), key=SEVERITY.__getitem__)
            return by_severity[0 if isinstance(op, ast.And) else -1]
    raise AssertionError(f"parsed, and yet unknown: {ast.dump(node)}")

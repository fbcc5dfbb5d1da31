"""The forms of queries and formulas that are evaluated here; any other is refused by name.

Sources: https://docs.datadoghq.com/dashboards/querying/, https://docs.datadoghq.com/dashboards/functions/,
https://docs.datadoghq.com/monitors/types/metric/
"""

import ast
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from sandbox.datadog import queries

Modifier = Literal["", "as_count", "as_rate"]
METHODS = ("avg", "sum", "min", "max", "count")
"""How ``rollup`` can put the points of an interval into one."""

TERM = re.compile(r"!?[A-Za-z][\w./-]*:[^\s,(){}!*$]+")
"""A tag that a query is narrowed to, or with ``!`` all but that."""

ROLLUP = re.compile(r"(?P<method>\w+)(?:\s*,\s*(?P<seconds>\d+))?")
COMPARISON = re.compile(
    r"(?P<how>avg|sum|min|max)\(last_(?P<count>\d+)(?P<unit>[mhd])\):(?P<query>.+?)"
    r"\s(?P<comparator>>=|<=|>|<)\s*(?P<number>-?\d+(?:\.\d+)?)",
    re.DOTALL,
)
SECONDS = {"m": 60, "h": 3600, "d": 86400}


class UnknownFormError(Exception):
    """A form that Datadog may know and the sandbox doesn't; the message names it."""


@dataclass(frozen=True, kw_only=True)
class Query:
    """One metric: ``scope`` has tags as ``key:value``, with ``!`` in front where they are excluded.

    ``interval`` is in seconds, 0 where the query leaves it to the time frame; ``rollup`` is empty for the default.
    """

    how: str
    metric: str
    scope: tuple[str, ...] = ()
    by: tuple[str, ...] = ()
    modifier: Modifier = ""
    rollup: str = ""
    interval: int = 0

    @property
    def percentile(self) -> float | None:
        """0.95 for ``p95``; None where it is no percentile."""
        return float(self.how[1:]) / 100 if queries.PERCENTILE.fullmatch(self.how) else None

    def of(self, key: str) -> "Query":
        """The same, grouped by another tag as well."""
        return self if key in self.by else replace(self, by=(*self.by, key))


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """The query of a metric monitor: ``how`` makes one value of the ``window`` (seconds), which is compared."""

    how: str
    window: int
    query: Query
    comparator: str
    number: float


@dataclass(frozen=True, kw_only=True)
class Anomalies:
    """``anomalies(NAME, 'basic', BOUNDS)``, over the query of that name."""

    name: str
    bounds: float


def parse(text: str, variables: Mapping[str, str] | None = None) -> Query:
    """A query; ``variables`` are a dashboard's, each the tag that was chosen, or ``*`` for any.

    >>> parse("avg:system.cpu.user{$host,env:dev} by {host}", {"host": "host:vm"}).scope
    ('host:vm', 'env:dev')

    Raises:
        UnknownFormError: another form.
    """
    match = queries.SELECTOR.fullmatch(text.strip())
    if match is None:
        raise UnknownFormError(f"the query {text!r}: one metric with its tags in braces is evaluated, and functions")
    if not match["how"] or match["how"] == "count":
        raise UnknownFormError(f"{text!r} without avg, sum, min, max or a percentile in front")
    modifier, rollup, interval = _functions(match["functions"])
    query = Query(
        how=match["how"],
        metric=match["metric"],
        scope=tuple(_scope(match["scope"], variables or {})),
        by=tuple(key.strip() for key in (match["by"] or "").split(",") if key.strip()),
        modifier=modifier,
        rollup=rollup,
        interval=interval,
    )
    if query.percentile is not None and (modifier or rollup):
        raise UnknownFormError(f"{match['how']} with {'rollup' if rollup else modifier}")
    return query


def _scope(text: str, variables: Mapping[str, str]) -> list[str]:
    found = []
    for entry in (entry.strip() for entry in text.split(",")):
        if entry.startswith("$") and entry[1:] not in variables:
            raise UnknownFormError(f"the template variable {entry}")
        term = variables[entry[1:]] if entry.startswith("$") else entry
        if term in ("", "*"):
            continue
        # What a variable was set to is a tag as it is, whatever its value consists of.
        if not entry.startswith("$") and not TERM.fullmatch(term):
            raise UnknownFormError(f"{{{text}}}: tags that are joined by commas, each alone or with ! in front")
        found.append(term)
    return found


def _functions(text: str) -> tuple[Modifier, str, int]:
    modifier: Modifier = ""
    rollup, interval = "", 0
    for name, arguments in queries.FUNCTION.findall(text):
        if name in ("as_count", "as_rate") and not arguments.strip() and not modifier:
            modifier = name
        elif name == "rollup" and (match := ROLLUP.fullmatch(arguments.strip())) and match["method"] in METHODS:
            rollup, interval = match["method"], int(match["seconds"] or 0)
        else:
            raise UnknownFormError(f".{name}({arguments})")
    return modifier, rollup, interval


def comparison(text: str) -> Comparison:
    """The query of a metric monitor.

    >>> comparison("avg(last_5m):avg:my_metric{env:dev} by {host} > 800").window
    300

    Raises:
        UnknownFormError: another form.
    """
    match = COMPARISON.fullmatch(text.strip())
    if match is None:
        raise UnknownFormError(f"the monitor's query {text!r}")
    return Comparison(
        how=match["how"],
        window=int(match["count"]) * SECONDS[match["unit"]],
        query=parse(match["query"]),
        comparator=match["comparator"],
        number=float(match["number"]),
    )


def formula(text: str) -> ast.expr | Anomalies:
    """A formula: numbers and names of queries with ``+ - * /``, or ``anomalies`` of one query by ``basic``.

    Raises:
        UnknownFormError: another form.
    """
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError) as error:
        raise UnknownFormError(f"the formula {text!r}") from error
    match tree:
        case ast.Call(
            func=ast.Name(id="anomalies"),
            args=[ast.Name(id=name), ast.Constant(value="basic"), ast.Constant(value=int() | float() as bounds)],
            keywords=[],
        ):
            return Anomalies(name=name, bounds=float(bounds))
    for node in ast.walk(tree):
        match node:
            case ast.BinOp() | ast.Name() | ast.Load() | ast.Constant(value=int() | float()):
                pass
            case ast.Add() | ast.Sub() | ast.Mult() | ast.Div() | ast.UnaryOp(op=ast.USub()) | ast.USub():
                pass
            case _:
                raise UnknownFormError(f"the formula {text!r}")
    return tree

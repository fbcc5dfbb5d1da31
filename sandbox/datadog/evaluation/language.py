"""Parses the forms of queries and formulas that are evaluated here, and refuses any other by name.

Sources: https://docs.datadoghq.com/dashboards/querying/, https://docs.datadoghq.com/dashboards/functions/,
https://docs.datadoghq.com/monitors/types/metric/
"""

import ast
import functools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from sandbox.datadog import queries

Modifier = Literal["", "as_count", "as_rate"]
METHODS = ("avg", "sum", "min", "max", "count")
"""The methods of ``rollup``."""

TERM = re.compile(r"!?[A-Za-z][\w./-]*:[^\s,(){}!*$]+")
"""A tag in a query's scope; ``!`` excludes it."""

KEY = re.compile(r"[A-Za-z_][\w./-]*")
"""A tag's key in a query's grouping."""

LONGEST_WINDOW = 31 * 86400
"""The longest window of a monitor, in seconds.

Source: https://docs.datadoghq.com/monitors/configuration/#evaluation-window
"""

ROLLUP = re.compile(r"(?P<method>\w+)(?:\s*,\s*(?P<seconds>\d+))?")
COMPARISON = re.compile(
    r"(?P<how>avg|sum|min|max|percentile)\(last_(?P<count>\d+)(?P<unit>[mhd])\):(?P<query>.+?)"
    r"\s*(?P<comparator>>=|<=|>|<)\s*(?P<number>-?\d+(?:\.\d+)?)",
    re.DOTALL,
)
BURN_RATE = re.compile(
    r"burn_rate\(\"(?P<slo>[^\"]+)\"\)\.over\(\"(?P<days>\d+)d\"\)\.long_window\(\"(?P<long>\d+)(?P<long_unit>[mhd])\"\)"
    r"\.short_window\(\"(?P<short>\d+)(?P<short_unit>[mhd])\"\)\s*(?P<comparator>>=|>)\s*(?P<number>\d+(?:\.\d+)?)"
)
SECONDS = {"m": 60, "h": 3600, "d": 86400}


class UnknownFormError(Exception):
    """A form that Datadog may know but the sandbox doesn't; the message names it."""


@dataclass(frozen=True, kw_only=True)
class Query:
    """One metric; ``scope`` holds tags as ``key:value``, excluded ones with a ``!`` in front.

    ``interval`` is in seconds, 0 if it follows the time frame; ``rollup`` is empty for the default.
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
        """0.95 for ``p95``; ``None`` if it is no percentile."""
        return float(self.how[1:]) / 100 if queries.PERCENTILE.fullmatch(self.how) else None

    def of(self, key: str) -> "Query":
        """The same query, grouped by another tag as well."""
        return self if key in self.by else replace(self, by=(*self.by, key))


@dataclass(frozen=True, kw_only=True)
class Anomalies:
    """``anomalies(NAME, 'basic', BOUNDS)`` over the query of that name; the rest are a monitor's arguments.

    ``direction`` is the side of the band that counts; ``interval`` and ``alert_window`` are in seconds, 0 if left out.
    """

    name: str
    bounds: float
    direction: Literal["both", "above", "below"] = "both"
    interval: int = 0
    alert_window: int = 0


@dataclass(frozen=True, kw_only=True)
class Count:
    """``count_nonzero(NAME)``: at each point, how many groups of the query of that name have a value other than zero.

    Source: https://docs.datadoghq.com/dashboards/functions/count/
    """

    name: str


Formula = ast.expr | Anomalies | Count

MOST_PARTS = 200
"""Maximum numbers, names and operations of a formula."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """The query of a metric monitor: ``how`` aggregates the ``window`` (in seconds) to the value that is compared.

    ``formula`` refers to ``queries`` by name.
    """

    how: str
    window: int
    queries: Mapping[str, Query]
    formula: Formula
    comparator: str
    number: float

    @property
    def query(self) -> Query:
        """The first query with the most groups."""
        return max(self.queries.values(), key=lambda query: len(query.by))

    @property
    def by(self) -> tuple[str, ...]:
        """The tags that the monitor is grouped by."""
        return () if isinstance(self.formula, Count) else self.query.by

    @property
    def counted(self) -> bool:
        """Whether each query is summed over the window before the formula is computed.

        Source: https://docs.datadoghq.com/monitors/guide/as-count-in-monitor-evaluations/
        """
        return self.how == "sum" and any(query.modifier == "as_count" for query in self.queries.values())


@dataclass(frozen=True, kw_only=True)
class BurnRate:
    """The query of an SLO's burn-rate alert: ``long`` and ``short`` are its windows in seconds.

    Source: https://docs.datadoghq.com/monitors/types/slo/
    """

    slo: str
    days: int
    long: int
    short: int
    comparator: str
    number: float


def parse(text: str, variables: Mapping[str, str] | None = None) -> Query:
    """Parse a query; ``variables`` maps a dashboard's variables to the chosen tag, or ``*`` for any.

    >>> parse("avg:system.cpu.user{$host,env:dev} by {host}", {"host": "host:vm"}).scope
    ('host:vm', 'env:dev')

    Raises:
        UnknownFormError: the form is unknown.
    """
    match = queries.SELECTOR.fullmatch(text.strip())
    if match is None:
        raise UnknownFormError(f"the query {text!r}: one metric with its tags in braces is evaluated, and functions")
    if not match["how"] or match["how"] == "count":
        raise UnknownFormError(f"{text!r} without avg, sum, min, max or a percentile in front")
    modifier, rollup, interval = _functions(match["functions"])
    by = tuple(dict.fromkeys(key.strip() for key in (match["by"] or "").split(",") if key.strip()))
    if strange := [key for key in by if not KEY.fullmatch(key)]:
        raise UnknownFormError(f"{text!r}, grouped by {', '.join(strange)}: keys of tags are")
    query = Query(
        how=match["how"],
        metric=match["metric"],
        scope=tuple(_scope(match["scope"], variables or {})),
        by=by,
        modifier=modifier,
        rollup=rollup,
        interval=interval,
    )
    if query.percentile is not None and (modifier or rollup):
        raise UnknownFormError(f"{match['how']} with {'rollup' if rollup else modifier}")
    if modifier and rollup not in ("", "sum"):
        raise UnknownFormError(f".{modifier}() with .rollup({rollup}): what is counted is summed")
    return query


def _scope(text: str, variables: Mapping[str, str]) -> list[str]:
    found = []
    for entry in (entry.strip() for entry in text.split(",")):
        if entry.startswith("$") and entry[1:] not in variables:
            raise UnknownFormError(f"the template variable {entry}")
        term = variables[entry[1:]] if entry.startswith("$") else entry
        if term in ("", "*"):
            continue
        if entry.startswith("$") and re.search(r"[,*]", term):
            raise UnknownFormError(f"the template variable {entry} with several values")
        # A variable's value is a tag as it is, whatever characters are in it.
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


@functools.lru_cache(maxsize=256)
def comparison(text: str) -> Comparison:
    """Parse the query of a metric monitor.

    >>> comparison("avg(last_5m):avg:my_metric{env:dev} by {host} > 800").window
    300

    Raises:
        UnknownFormError: the form is unknown.
    """
    match = COMPARISON.fullmatch(text.strip())
    if match is None:
        raise UnknownFormError(f"the monitor's query {text!r}")
    tree, found = expression(match["query"])
    compared = Comparison(
        how=match["how"],
        window=int(match["count"]) * SECONDS[match["unit"]],
        formula=tree,
        queries=found,
        comparator=match["comparator"],
        number=float(match["number"]),
    )
    _check(compared, text)
    return compared


def expression(text: str) -> tuple[Formula, dict[str, Query]]:
    """Parse a formula with its queries inline; return it, and the queries by the names given to them.

    Raises:
        UnknownFormError: the form is unknown.
    """
    found: dict[str, Query] = {}

    def named(selector: re.Match[str]) -> str:
        name = f"query{len(found)}"
        found[name] = parse(selector[0])
        return name

    tree = formula(queries.SELECTOR.sub(named, text))
    if unknown := names(tree) - found.keys():
        raise UnknownFormError(f"{', '.join(sorted(unknown))} in {text!r}")
    return tree, found


def names(tree: Formula) -> set[str]:
    """Return the names of a formula's queries."""
    if isinstance(tree, Anomalies | Count):
        return {tree.name}
    return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}


def tags(group: str, by: Sequence[str]) -> dict[str, str]:
    """Return a group's tags, given its name; the last key's value may contain commas.

    >>> tags("a,b", ("host",)), tags("*", ())
    ({'host': 'a,b'}, {})
    """
    return dict(zip(by, group.split(",", len(by) - 1), strict=False)) if by else {}


def seconds(window: str) -> int:
    """Return the length of a window in seconds.

    >>> seconds("last_15m")
    900
    """
    match = re.fullmatch(r"last_(\d+)([mhd])", window)
    if match is None:
        raise UnknownFormError(f"the window {window!r}")
    return int(match[1]) * SECONDS[match[2]]


def _check(compared: Comparison, text: str) -> None:
    """Refuse what Datadog may evaluate in an unknown way."""
    percentiles = [query for query in compared.queries.values() if query.percentile is not None]
    if not compared.queries:
        raise UnknownFormError(f"the monitor's query {text!r}, without a metric")
    if compared.window > LONGEST_WINDOW:
        raise UnknownFormError(f"a window of more than a month: {text!r}")
    if compared.how == "percentile" and not (isinstance(compared.formula, ast.Name) and percentiles):
        raise UnknownFormError(f"percentile(...) of anything but one percentile: {text!r}")
    if percentiles and compared.how != "percentile" and not isinstance(compared.formula, Anomalies):
        raise UnknownFormError(f"{compared.how}(...) of a percentile: {text!r}")
    if isinstance(compared.formula, Count) and not compared.query.interval:
        raise UnknownFormError(f"count_nonzero() without rollup(METHOD, SECONDS): {text!r}")
    if len({query.by for query in compared.queries.values() if query.by}) > 1:
        raise UnknownFormError(f"arithmetic over several groupings: {text!r}")
    if len({query.interval for query in compared.queries.values()}) > 1:
        raise UnknownFormError(f"arithmetic over several intervals: {text!r}")


def burn_rate(text: str) -> BurnRate:
    """Parse the query of an SLO's burn-rate alert.

    Raises:
        UnknownFormError: the form is unknown.
    """
    match = BURN_RATE.fullmatch(text.strip())
    if match is None:
        raise UnknownFormError(f"the SLO alert {text!r}")
    return BurnRate(
        slo=match["slo"],
        days=int(match["days"]),
        long=int(match["long"]) * SECONDS[match["long_unit"]],
        short=int(match["short"]) * SECONDS[match["short_unit"]],
        comparator=match["comparator"],
        number=float(match["number"]),
    )


def composite(text: str) -> ast.expr:
    """Parse a composite monitor's expression: ids of monitors with ``&&``, ``||``, ``!`` and brackets.

    Source: https://docs.datadoghq.com/monitors/types/composite/

    Raises:
        UnknownFormError: the form is unknown.
    """
    if not re.fullmatch(r"[\d\s()&|!]+", text):
        raise UnknownFormError(f"the composite {text!r}")
    words = text.replace("&&", " and ").replace("||", " or ").replace("!", " not ")
    try:
        tree = ast.parse(words.strip(), mode="eval").body
    except (SyntaxError, RecursionError, MemoryError) as error:
        raise UnknownFormError(f"the composite {text!r}") from error
    for node in ast.walk(tree):
        if not isinstance(node, ast.BoolOp | ast.And | ast.Or | ast.Not | ast.Constant | ast.UnaryOp):
            raise UnknownFormError(f"the composite {text!r}")
    return tree


def formula(text: str) -> Formula:
    """Parse a formula: numbers and names of queries with ``+ - * /``, ``anomalies`` with ``basic``, or a count.

    Raises:
        UnknownFormError: the form is unknown.
    """
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise UnknownFormError(f"the formula {text!r}") from error
    if sum(1 for _ in ast.walk(tree)) > MOST_PARTS:
        raise UnknownFormError(f"a formula of more than {MOST_PARTS} parts")
    match tree:
        case ast.Call(
            func=ast.Name(id="anomalies"),
            args=[ast.Name(id=name), ast.Constant(value="basic"), ast.Constant(value=int() | float() as bounds)],
        ):
            return _anomalies(name, float(bounds), tree.keywords)
        case ast.Call(func=ast.Name(id="count_nonzero"), args=[ast.Name(id=name)], keywords=[]):
            return Count(name=name)
    for node in ast.walk(tree):
        match node:
            case ast.BinOp() | ast.Name() | ast.Load() | ast.Constant(value=int() | float()):
                pass
            case ast.Add() | ast.Sub() | ast.Mult() | ast.Div() | ast.UnaryOp(op=ast.USub()) | ast.USub():
                pass
            case _:
                raise UnknownFormError(f"the formula {text!r}")
    if not names(tree):
        raise UnknownFormError(f"the formula {text!r}, which is over no query")
    return tree


def _anomalies(name: str, bounds: float, keywords: list[ast.keyword]) -> Anomalies:
    """Parse the arguments of a monitor's ``anomalies`` besides the algorithm and the bounds.

    Source: https://docs.datadoghq.com/monitors/types/anomaly/#api
    """
    given: dict[str, object] = {
        keyword.arg or "**": keyword.value.value if isinstance(keyword.value, ast.Constant) else None
        for keyword in keywords
    }
    direction, window = given.pop("direction", "both"), str(given.pop("alert_window", "last_0m"))
    interval, zero = given.pop("interval", 0), given.pop("count_default_zero", "false")
    match = re.fullmatch(r"last_(\d+)([mhd])", window)
    if given or direction not in ("both", "above", "below") or not isinstance(interval, int) or match is None:
        raise UnknownFormError(f"anomalies(...) with {', '.join(sorted(given)) or 'these arguments'}")
    if zero != "false":
        raise UnknownFormError("anomalies(...) with count_default_zero='true'")
    return Anomalies(
        name=name,
        bounds=bounds,
        direction=direction,
        interval=interval,
        alert_window=int(match[1]) * SECONDS[match[2]],
    )

"""Parses metric queries, and refuses those that by Datadog's documentation can't return anything.

Datadog draws an empty graph for a tag that the metric doesn't have. Here that is refused, since nobody wants it.

Source: https://docs.datadoghq.com/dashboards/querying/, https://docs.datadoghq.com/metrics/advanced-filtering/
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sandbox.datadog.metrics import DOCUMENTED, OWN_TAGS
from sandbox.datadog.schema import RefusedError

PERCENTILE = re.compile(r"p\d{1,2}(?:\.\d+)?")
SELECTOR = re.compile(
    r"(?:(?P<how>avg|sum|min|max|count|p\d{1,2}(?:\.\d+)?):)?(?P<metric>[A-Za-z](?:[\w.]*\w)?)"
    r"\{(?P<scope>[^{}]*)\}(?:\s*by\s*\{(?P<by>[^{}]*)\})?(?P<functions>(?:\.\w+\([^()]*\))*)"
)
"""One metric in a query: ``avg:system.cpu.user{env:dev,$host} by {host}.rollup(avg, 60)``."""

FUNCTION = re.compile(r"\.(\w+)\(([^()]*)\)")
FUNCTIONS = frozenset({"as_count", "as_rate", "rollup", "fill", "weighted"})
"""Functions that can follow a metric. Source: https://docs.datadoghq.com/dashboards/functions/"""

ALGORITHMS = ("basic", "agile", "robust")


@dataclass(frozen=True, kw_only=True)
class Selector:
    """One metric in a query; ``tags`` are the keys of its scope and grouping, variables as ``$x``."""

    how: str
    metric: str
    tags: frozenset[str]
    functions: tuple[str, ...]


def selectors(query: str) -> Iterator[Selector]:
    """Return the metrics in a query, in order."""
    for found in SELECTOR.finditer(query):
        scope = re.split(r",|\s+(?:AND|OR|NOT IN|IN)\s+", found["scope"])
        narrowed = (re.sub(r"^[!(\s-]+|[)\s]+$", "", entry).partition(":")[0] for entry in scope)
        grouped = (key.strip() for key in (found["by"] or "").split(","))
        yield Selector(
            how=found["how"] or "",
            metric=found["metric"],
            tags=frozenset(key for key in (*narrowed, *grouped) if key and key != "*"),
            functions=tuple(name for name, _ in FUNCTION.findall(found["functions"])),
        )


def faults(selector: Selector, variables: Mapping[str, str] | None = None) -> Iterator[str]:
    """Explain why a query can't return anything; ``variables`` maps a dashboard's variables to their prefixes."""
    name = selector.metric
    for function in sorted(set(selector.functions) - FUNCTIONS):
        yield f"{name}: there is no function {function}()"
    if name not in DOCUMENTED:
        return
    metric = DOCUMENTED[name]
    for tag in sorted(selector.tags):
        key = (variables or {}).get(tag.removeprefix("$"), "") if tag.startswith("$") else tag
        if not key or key in metric.carries:
            continue
        if not metric.of_a_host or key in OWN_TAGS:
            yield f"{name} carries no tag {key} ({metric.source})"
    if PERCENTILE.fullmatch(selector.how) and metric.kind != "distribution":
        yield f"{name} is a {metric.kind}: {selector.how} needs a distribution"
    if metric.kind not in ("count", "rate") and {"as_count", "as_rate"} & set(selector.functions):
        yield f"{name} is a {metric.kind}: as_count() and as_rate() need a count or a rate"


def check(query: str, variables: Mapping[str, str] | None = None) -> None:
    """Refuse a query that can't return anything.

    Raises:
        RefusedError: with status 400.
    """
    found = [fault for selector in selectors(query) for fault in faults(selector, variables)]
    if found:
        raise RefusedError(400, *(f"Error parsing query: {fault}" for fault in found))


def check_formula(formula: str, names: Iterable[str]) -> None:
    """Refuse a formula with unknown queries, or with an invalid ``anomalies``.

    Source: https://docs.datadoghq.com/dashboards/functions/algorithms/

    Raises:
        RefusedError: with status 400.
    """
    bare = re.sub(r"'[^']*'|\"[^\"]*\"", "", formula)
    unknown = set(re.findall(r"(?<![\w.])[A-Za-z_]\w*(?![\w(])(?!\s*=)", bare)) - set(names) - {"true", "false"}
    if unknown:
        raise RefusedError(400, f"Formula {formula!r} names no query of its request: {', '.join(sorted(unknown))}")
    for arguments in re.findall(r"anomalies\(([^()]*)\)", formula):
        words = [word.strip() for word in arguments.split(",")]
        algorithm, bounds = (*words[1:], "", "")[:2]
        if algorithm.strip("'\"") not in ALGORITHMS:
            raise RefusedError(400, f"anomalies: the algorithm is one of {', '.join(ALGORITHMS)}, not {algorithm}")
        if not re.fullmatch(r"[1-9]\d*(\.\d+)?", bounds):
            raise RefusedError(400, f"anomalies: the bounds are a positive number, not {bounds!r}")


def check_dashboard(dashboard: Mapping[str, Any]) -> None:
    """Refuse a dashboard with a query or a formula that can't return anything.

    Raises:
        RefusedError: with status 400.
    """
    given = dashboard.get("template_variables") or []
    variables = {variable["name"]: variable.get("prefix") or "" for variable in given}
    if len(variables) < len(given):
        raise RefusedError(400, "Two template variables have one name")
    for request in _requests(dashboard.get("widgets") or []):
        queries = request.get("queries") or []
        names = [query.get("name", "") for query in queries]
        if len(set(names)) < len(names):
            raise RefusedError(400, f"Two queries of a request have one name: {', '.join(names)}")
        for query in queries:
            if query.get("data_source") == "metrics":
                check(query["query"], variables)
        for formula in request.get("formulas") or []:
            check_formula(formula["formula"], names)


def _requests(widgets: Iterable[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    """Yield the requests of all widgets, also inside groups."""
    for widget in widgets:
        definition = widget["definition"]
        yield from _requests(definition.get("widgets") or [])
        requests = definition.get("requests") or []
        yield from requests.values() if isinstance(requests, Mapping) else requests

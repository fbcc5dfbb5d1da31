"""Makes span-based metrics: matches spans with registered metrics' queries, and turns them into points.

A metric counts from its registration on, and has only the tags that it is grouped by.

Sources: https://docs.datadoghq.com/tracing/trace_pipeline/generate_metrics/,
https://docs.datadoghq.com/tracing/trace_explorer/query_syntax/
"""

import fnmatch
import functools
import operator
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from sandbox.datadog.evaluation.language import UnknownFormError
from sandbox.datadog.store import Point, Store

KIND = "spans_metric"
"""The kind under which the store keeps registered metrics: the ``data`` of the API's answers."""

Span = Mapping[str, Any]
Matches = Callable[[Span], bool]

TOKEN = re.compile(
    r"\s*(?:(?P<sign>[()]|-(?=[@\w(]))|(?P<word>AND|OR|NOT)\b"
    r"|(?P<key>@?[A-Za-z][\w.-]*):(?P<value>\"[^\"]*\"|\((?:[^()\"]|\"[^\"]*\")*\)|[^\s()]+))"
)
COMPARED = re.compile(r"(>=|<=|>|<)(-?\d+(?:\.\d+)?)(ns|us|ms|s|m|h|)")
NANOSECONDS = {"": 1, "ns": 1, "us": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}
OPERATORS = {">": operator.gt, ">=": operator.ge, "<": operator.lt, "<=": operator.le}
FIELDS = {"@duration": "duration", "service": "service", "operation_name": "name", "resource_name": "resource"}
RESERVED = ("service", "env", "status", "operation_name", "resource_name")


def points(store: Store, traces: Iterable[Sequence[Span]]) -> Iterator[Point]:
    """Return the points that registered metrics get from traces; metrics of unknown forms get none."""
    known = [definition for definition in store.all(KIND) if not fault(definition["attributes"])]
    for trace in traces if known else ():
        for span in trace:
            for definition in known:
                yield from _points(definition["id"], definition["attributes"], span)


def fault(attributes: Mapping[str, Any]) -> str:
    """Explain why a metric can't be computed here; empty if it can."""
    try:
        query(attributes["filter"]["query"])
    except UnknownFormError as error:
        return str(error)
    return ""


def _points(name: str, attributes: Mapping[str, Any], span: Span) -> Iterator[Point]:
    if not query(attributes["filter"]["query"])(span):
        return
    tags = []
    for each in attributes.get("group_by") or []:
        value = attribute(span, each["path"])
        if value is not None:
            tags.append(f"{each.get('tag_name') or each['path'].lstrip('@')}:{value}")
    at, compute = span["start"] / 1e9, attributes["compute"]
    if compute["aggregation_type"] == "count":
        yield Point(metric=name, at=at, value=1, tags=tags, kind="count")
        return
    measured = attribute(span, compute["path"])
    if isinstance(measured, (int, float)):
        yield Point(metric=name, at=at, value=measured, tags=tags, kind="distribution")


def attribute(span: Span, path: str) -> Any:
    """Return the value of a span's attribute (``@customer.id``) or reserved attribute (``service``), or ``None``.

    Durations are in nanoseconds.
    """
    return _reader(path)(span)


@functools.lru_cache(maxsize=256)
def _reader(path: str) -> Callable[[Span], Any]:
    match path:
        case "env":
            return lambda span: (span.get("meta") or {}).get("env")
        case "status":
            return lambda span: "error" if span.get("error") else "ok"
    if path in FIELDS:
        return operator.methodcaller("get", FIELDS[path])
    if not path.startswith("@"):
        return lambda _: None
    name = path[1:]

    def tag(span: Span) -> Any:
        meta = span.get("meta") or {}
        return meta[name] if name in meta else (span.get("metrics") or {}).get(name)

    return tag


@functools.lru_cache(maxsize=256)
def query(text: str) -> Matches:
    """Parse a span query; return a function that says whether a span matches.

    Raises:
        UnknownFormError: it has more than attributes with values, wildcards, lists or comparisons, and AND, OR, NOT.
    """
    tokens, place = [], 0
    text = text.strip()
    if text in ("", "*"):
        return lambda _: True
    while place < len(text):
        match = TOKEN.match(text, place)
        if match is None:
            raise UnknownFormError(f"the span query {text!r} from {text[place:]!r} on")
        tokens.append(match)
        place = match.end()
    rest = list(reversed(tokens))
    found = _either(rest, text)
    if rest:
        raise UnknownFormError(f"the span query {text!r}")
    return found


def _is(rest: list[re.Match[str]], *texts: str) -> bool:
    return bool(rest) and (rest[-1]["sign"] or rest[-1]["word"]) in texts


def _either(rest: list[re.Match[str]], text: str) -> Matches:
    found = [_both(rest, text)]
    while _is(rest, "OR"):
        rest.pop()
        found.append(_both(rest, text))
    return found[0] if len(found) == 1 else lambda span: any(each(span) for each in found)


def _both(rest: list[re.Match[str]], text: str) -> Matches:
    """Parse terms side by side, which all have to match."""
    found = [_one(rest, text)]
    while rest and not _is(rest, "OR", ")"):
        if _is(rest, "AND"):
            rest.pop()
        found.append(_one(rest, text))
    return found[0] if len(found) == 1 else lambda span: all(each(span) for each in found)


def _one(rest: list[re.Match[str]], text: str) -> Matches:
    if not rest:
        raise UnknownFormError(f"the span query {text!r}, which ends too early")
    if _is(rest, "NOT", "-"):
        rest.pop()
        inner = _one(rest, text)
        return lambda span: not inner(span)
    token = rest.pop()
    if token["sign"] == "(":
        inner = _either(rest, text)
        if not _is(rest, ")"):
            raise UnknownFormError(f"the span query {text!r}, in which a bracket stays open")
        rest.pop()
        return inner
    if not token["key"]:
        raise UnknownFormError(f"the span query {text!r}")
    return _term(token["key"], token["value"])


def _term(key: str, value: str) -> Matches:
    if not key.startswith("@") and key not in RESERVED:
        raise UnknownFormError(f"{key}: in a span query")
    read = _reader(key)
    if value.startswith("("):
        values = re.split(r"\s+OR\s+", value[1:-1].strip())
        if not all(re.fullmatch(r"\"[^\"]*\"|[^\s\"]+", each) for each in values):
            raise UnknownFormError(f"{key}:{value} in a span query")
        any_of = [_term(key, each) for each in values]
        return lambda span: any(each(span) for each in any_of)
    if match := COMPARED.fullmatch(value):
        crosses, level = OPERATORS[match[1]], float(match[2]) * NANOSECONDS[match[3]]
        if match[3] and key != "@duration":
            raise UnknownFormError(f"{key}:{value} in a span query: only @duration has units of time")

        def compared(span: Span) -> bool:
            found = read(span)
            return isinstance(found, (int, float)) and crosses(found, level)

        return compared
    if value[0] in "><[{":
        raise UnknownFormError(f"{key}:{value} in a span query")
    if value.startswith('"'):
        return lambda span: _text(read(span)) == value[1:-1]
    if value == "*":
        return lambda span: read(span) is not None
    if "*" in value or "?" in value:
        pattern = re.compile(fnmatch.translate(re.sub(r"([\[\]])", r"[\1]", value)))
        return lambda span: (found := read(span)) is not None and bool(pattern.match(_text(found)))
    bare = re.sub(r"\\(.)", r"\1", value)
    return lambda span: _text(read(span)) == bare


def _text(value: Any) -> str:
    return "" if value is None else f"{value:g}" if isinstance(value, float) else str(value)

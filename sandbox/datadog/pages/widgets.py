"""The widgets of a dashboard's JSON: those that Watchpost uses; any other says in its place that it isn't drawn.

Source: https://docs.datadoghq.com/dashboards/graphing_json/widget_json/
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from sandbox.datadog.evaluation import formulas, language, series
from sandbox.datadog.evaluation.language import UnknownFormError
from sandbox.datadog.pages import graphs, times
from sandbox.datadog.pages.graphs import Graph, Line, Mark
from sandbox.datadog.pages.times import Frame
from sandbox.datadog.store import Store

DISPLAYS = ("line", "bars")
MARKER = re.compile(r"\s*y\s*=\s*(-?\d+(?:\.\d+)?)\s*")


@dataclass(frozen=True, kw_only=True)
class Widget:
    """A widget as its page shows it; ``fault`` says what of it isn't drawn."""

    title: str
    kind: str
    fault: str = ""
    span: str = ""
    graph: Graph | None = None
    top: list[tuple[str, float]] = field(default_factory=list)
    queries: list[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Board:
    """What the widgets of a page share: what they read, the time frame, and the tag that each variable stands for."""

    store: Store
    source: series.Source
    frame: Frame
    variables: Mapping[str, str]

    def widget(self, definition: Mapping[str, Any]) -> Widget:
        """A widget of this board."""
        kind, title = str(definition.get("type", "")), str(definition.get("title") or "")
        queries = [
            str(query.get("query", ""))
            for request in definition.get("requests") or []
            if isinstance(request, Mapping)
            for query in request.get("queries") or []
        ]
        try:
            frame, span = self._frame(definition)
            if kind == "timeseries":
                graph = self._timeseries(definition, frame)
                return Widget(title=title, kind=kind, graph=graph, span=span, queries=queries)
            if kind == "toplist":
                return Widget(title=title, kind=kind, top=self._toplist(definition, frame), span=span, queries=queries)
            raise UnknownFormError(f"widgets of type {kind!r}")
        except UnknownFormError as error:
            return Widget(title=title, kind=kind, fault=f"The sandbox does not draw {error}.", queries=queries)

    def _frame(self, definition: Mapping[str, Any]) -> tuple[Frame, str]:
        """The widget's own time frame, if it has one, and its name."""
        own = definition.get("time") or {}
        if not own:
            return self.frame, ""
        seconds = times.live_span(str(own.get("live_span", "")))
        if set(own) != {"live_span"} or seconds is None:
            raise UnknownFormError(f"the time frame {dict(own)}")
        return times.past(seconds, self.frame.end), times.NAMES.get(own["live_span"], own["live_span"])

    def _timeseries(self, definition: Mapping[str, Any], frame: Frame) -> Graph:
        lines = [line for request in definition["requests"] for line in self._lines(request, frame)]
        unit = {"left": definition.get("yaxis") or {}, "right": definition.get("right_yaxis") or {}}
        asked = [column for column in definition.get("legend_columns") or [] if column in graphs.COLUMNS]
        return Graph(
            name=str(definition.get("title") or ""),
            frame=frame,
            lines=lines,
            marks=[_mark(marker) for marker in definition.get("markers") or []],
            events=[event for each in definition.get("events") or [] for event in self._events(str(each["q"]), frame)],
            axes=unit,
            columns=asked or ("avg", "max", "value"),
        )

    def _lines(self, request: Mapping[str, Any], frame: Frame) -> Iterator[Line]:
        display = request.get("display_type", "line")
        if display not in DISPLAYS:
            raise UnknownFormError(f"display_type {display!r}")
        for name, by, every, found in self._series(request, frame, bars=display == "bars"):
            yield from graphs.lines(
                found,
                name,
                by,
                bars=display == "bars",
                right=bool(request.get("on_right_yaxis")),
                palette=str((request.get("style") or {}).get("palette", "")),
                every=every,
            )

    def _series(
        self, request: Mapping[str, Any], frame: Frame, *, bars: bool
    ) -> Iterator[tuple[str, tuple[str, ...], int, pl.DataFrame]]:
        """Each formula of a request: its name, what it is grouped by, the interval, and its series."""
        if "queries" not in request or not request.get("formulas"):
            raise UnknownFormError(f"a request with {', '.join(sorted(request))}: queries and formulas are")
        parsed = {}
        for query in request["queries"]:
            if query.get("data_source") != "metrics":
                raise UnknownFormError(f"the data source {query.get('data_source')!r}")
            parsed[query["name"]] = language.parse(query["query"], self.variables)
        read = [(language.formula(formula["formula"]), formula) for formula in request["formulas"]]
        banded = any(isinstance(tree, language.Anomalies) for tree, _ in read)
        found, intervals = {}, {}
        for name, query in parsed.items():
            every = series.interval(frame.span, bars=bars, asked=query.interval)
            # What is expected of the first points needs those before them.
            before = frame.start - (formulas.WINDOW * every if banded else 0)
            found[name] = series.evaluate(self.source, query, before, frame.end, every)
            intervals[name] = every
        for tree, formula in read:
            made = formulas.compute(tree, found).filter(
                pl.col("at") >= series.begin(frame.start, min(intervals.values()))
            )
            by = max((query.by for query in parsed.values()), key=len)
            yield str(formula.get("alias") or formula["formula"]), by, max(intervals.values()), made

    def _toplist(self, definition: Mapping[str, Any], frame: Frame) -> list[tuple[str, float]]:
        if len(definition["requests"]) != 1:
            raise UnknownFormError("a top list of several requests")
        (request,) = definition["requests"]
        ways = {query.get("aggregator", "avg") for query in request.get("queries") or []}
        formula = (request.get("formulas") or [{}])[0]
        if len(ways) != 1 or not ways <= set(series.REDUCERS) or len(request.get("formulas") or []) != 1:
            raise UnknownFormError(f"a top list by {', '.join(map(str, ways)) or 'nothing'}")
        ((_, _, _, found),) = self._series(request, frame, bars=False)
        limit = formula.get("limit") or {}
        descending = limit.get("order", "desc") == "desc"
        rows = sorted(series.reduced(found, ways.pop()).items(), key=lambda row: row[1], reverse=descending)
        return rows[: int(limit.get("count", 10))]

    def _events(self, query: str, frame: Frame) -> Iterator[tuple[float, str]]:
        """The events that an overlay shows: those with all of its tags."""
        terms = query.split()
        if not all(re.fullmatch(r"[A-Za-z][\w.-]*:\S+", term) for term in terms):
            raise UnknownFormError(f"the events {query!r}: tags that they all have are")
        for event in self.store.all("event"):
            at = float(event.get("date_happened") or 0)
            if frame.start <= at < frame.end and set(terms) <= set(event.get("tags") or []):
                yield at, str(event["title"])


def _mark(marker: Mapping[str, Any]) -> Mark:
    match = MARKER.fullmatch(str(marker.get("value", "")))
    kind, _, style = str(marker.get("display_type", "error dashed")).partition(" ")
    if match is None or kind not in ("error", "warning", "ok", "info") or style not in ("", "solid", "dashed", "bold"):
        raise UnknownFormError(f"the marker {dict(marker)}")
    return Mark(
        value=float(match[1]),
        label=str(marker.get("label") or "").strip() or str(marker["value"]),
        kind=kind,
        dashed=style == "dashed",
    )


def tags(variables: list[Mapping[str, Any]], query: Mapping[str, str]) -> dict[str, str]:
    """The tag that each template variable stands for, ``*`` for any: chosen in the address, else its default.

    Source: https://docs.datadoghq.com/dashboards/template_variables/
    """
    found = {}
    for variable in variables:
        value = chosen(variable, query)
        prefix = variable.get("prefix") or ""
        found[str(variable["name"])] = "*" if value in ("", "*") else f"{prefix}:{value}" if prefix else value
    return found


def chosen(variable: Mapping[str, Any], query: Mapping[str, str]) -> str:
    """The value of a template variable."""
    defaults = variable.get("defaults") or ["*"]
    return str(query.get(f"tpl_var_{variable['name']}", defaults[0]))

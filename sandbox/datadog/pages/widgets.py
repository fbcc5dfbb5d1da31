"""Draws the widgets of a dashboard's JSON that Watchpost uses; any other says in its place that it isn't drawn.

Source: https://docs.datadoghq.com/dashboards/graphing_json/widget_json/
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from sandbox.datadog.evaluation import formulas, language, memory, rounds, series, slos, windows
from sandbox.datadog.evaluation.language import UnknownFormError
from sandbox.datadog.evaluation.memory import Group
from sandbox.datadog.pages import graphs, objectives, times
from sandbox.datadog.pages.graphs import Graph, Line, Mark
from sandbox.datadog.pages.times import Frame
from sandbox.datadog.store import Store

DISPLAYS = ("line", "bars")
NOT_SHARED = "list_stream"
"""The widget that shared dashboards don't show.

Source: https://docs.datadoghq.com/dashboards/sharing/shared_dashboards/#not-all-widget-types-are-available
"""

LISTED = 25
STATUS_TERM = re.compile(r"(tag|group_status):(\"[^\"]*\"|[\w-]+)")
STATES = {"alert": "Alert", "warn": "Warn", "no data": "No Data", "ok": "OK"}
MARKER = re.compile(r"\s*y\s*=\s*(-?\d+(?:\.\d+)?)\s*")


@dataclass(frozen=True, kw_only=True)
class Widget:
    """A widget on a page; ``fault`` says what isn't drawn."""

    title: str
    kind: str
    fault: str = ""
    span: str = ""
    graph: Graph | None = None
    top: list[tuple[str, float]] = field(default_factory=list)
    groups: list[tuple[Group, dict[str, Any], str]] = field(default_factory=list)
    stream: list[dict[str, Any]] = field(default_factory=list)
    objective: dict[str, Any] | None = None
    queries: list[str] = field(default_factory=list)

    @property
    def outside(self) -> list[tuple[int, str, float, float, float]]:
        """The points outside their band, the newest first: time, line, value, and the band's ends."""
        found = [
            (at, line.name, value, lower, upper)
            for line in (self.graph.lines if self.graph else [])
            for at, value, lower, upper in line.outside
        ]
        return sorted(found, reverse=True)


@dataclass(frozen=True, kw_only=True)
class Board:
    """What a page's widgets share: their data, the time frame, and each variable's tag."""

    store: Store
    source: series.Source
    frame: Frame
    variables: Mapping[str, str]
    shared: bool = False

    def widget(self, definition: Mapping[str, Any]) -> Widget:
        """Draw a widget of this board."""
        kind, title = str(definition.get("type", "")), str(definition.get("title") or "")
        queries = [
            str(query.get("query", ""))
            for request in definition.get("requests") or []
            if isinstance(request, Mapping)
            for query in request.get("queries") or []
        ]
        try:
            frame, span = self._frame(definition)
            if self.shared and kind == NOT_SHARED:
                raise UnknownFormError("lists on a shared dashboard: Datadog shows none there")
            if kind == "timeseries":
                graph = self._timeseries(definition, frame)
                return Widget(title=title, kind=kind, graph=graph, span=span, queries=queries)
            if kind == "toplist":
                return Widget(title=title, kind=kind, top=self._toplist(definition, frame), span=span, queries=queries)
            if kind == "slo":
                return Widget(title=title, kind=kind, objective=self._objective(definition), span=span)
            if kind == "manage_status":
                return Widget(title=title, kind=kind, groups=self._groups(definition), queries=[definition["query"]])
            if kind == "list_stream":
                stream, query = self._stream(definition, frame)
                return Widget(title=title, kind=kind, stream=stream, span=span, queries=[query])
            raise UnknownFormError(f"widgets of type {kind!r}")
        except UnknownFormError as error:
            return Widget(title=title, kind=kind, fault=f"The sandbox does not draw {error}.", queries=queries)

    def _frame(self, definition: Mapping[str, Any]) -> tuple[Frame, str]:
        """Return the widget's own time frame, if any, and its name."""
        own = definition.get("time") or {}
        if not own:
            return self.frame, ""
        seconds = times.live_span(str(own.get("live_span", "")))
        if set(own) != {"live_span"} or seconds is None:
            raise UnknownFormError(f"the time frame {dict(own)}")
        return times.past(seconds, self.frame.end), times.NAMES.get(own["live_span"], own["live_span"])

    def _timeseries(self, definition: Mapping[str, Any], frame: Frame) -> Graph:
        requests = definition["requests"]
        found = [(each, made) for each in requests for made in self._series(each, frame, bars=_bars(each))]
        lines = [line for each, made in found for line in _lines(each, *made)]
        unit = {"left": definition.get("yaxis") or {}, "right": definition.get("right_yaxis") or {}}
        if scales := {str(axis.get("scale")) for axis in unit.values()} - {"None", "linear"}:
            raise UnknownFormError(f"an axis with the scale {', '.join(sorted(scales))}")
        asked = [column for column in definition.get("legend_columns") or [] if column in graphs.COLUMNS]
        return Graph(
            name=str(definition.get("title") or ""),
            frame=frame,
            lines=lines,
            marks=[_mark(marker) for marker in definition.get("markers") or []],
            events=[event for each in definition.get("events") or [] for event in self._events(str(each["q"]), frame)],
            axes=unit,
            columns=asked or ("avg", "max", "value"),
            stacked=sum(len(request["formulas"]) for request in requests) == 1,
            more=sum(graphs.undrawn(made) for _, (*_, made) in found),
        )

    def _series(
        self, request: Mapping[str, Any], frame: Frame, *, bars: bool
    ) -> Iterator[tuple[str, tuple[str, ...], int, pl.DataFrame]]:
        """Yield each formula of a request: its name, grouping, interval and series."""
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
            # The band of the first points depends on earlier ones.
            before = frame.start - (formulas.WINDOW * every if banded else 0)
            found[name] = series.evaluate(self.source, query, before, frame.end, every)
            intervals[name] = every
        for tree, formula in read:
            if missing := language.names(tree) - parsed.keys():
                raise UnknownFormError(f"the formula {formula['formula']!r}: there is no query {', '.join(missing)}")
            if isinstance(tree, language.Anomalies) and (tree.direction != "both" or tree.interval):
                raise UnknownFormError(f"the formula {formula['formula']!r} in a graph: direction and interval")
            if formula.get("limit"):
                raise UnknownFormError("a formula with a limit in a graph")
            made = formulas.over(tree, parsed, found)
            every = max(intervals[name] for name in language.names(tree))
            by = max((parsed[name].by for name in language.names(tree)), key=len)
            made = made.filter(pl.col("at") >= series.begin(frame.start, every))
            yield str(formula.get("alias") or formula["formula"]), by, every, made

    def _toplist(self, definition: Mapping[str, Any], frame: Frame) -> list[tuple[str, float]]:
        if len(definition["requests"]) != 1:
            raise UnknownFormError("a top list of several requests")
        (request,) = definition["requests"]
        ways = {query.get("aggregator", "avg") for query in request.get("queries") or []}
        formula = (request.get("formulas") or [{}])[0]
        if len(ways) != 1 or not ways <= set(series.REDUCERS) or len(request.get("formulas") or []) != 1:
            raise UnknownFormError(f"a top list by {', '.join(map(str, ways)) or 'nothing'}")
        found = self._scalars(request, formula["formula"], ways.pop(), frame)
        limit = formula.get("limit") or {}
        descending = limit.get("order", "desc") == "desc"
        rows = sorted(sorted(found.items()), key=lambda row: row[1], reverse=descending)
        return rows[: int(limit.get("count", 10))]

    def _scalars(self, request: Mapping[str, Any], text: str, how: str, frame: Frame) -> dict[str, float]:
        """Compute a formula over one value per query, for each group."""
        parsed, values = {}, {}
        for query in request["queries"]:
            if query.get("data_source") != "metrics":
                raise UnknownFormError(f"the data source {query.get('data_source')!r}")
            name, asked = query["name"], language.parse(query["query"], self.variables)
            every = series.interval(frame.span, asked=asked.interval)
            parsed[name] = asked
            values[name] = series.reduced(series.evaluate(self.source, asked, frame.start, frame.end, every), how)
        tree = language.formula(text)
        if isinstance(tree, language.Anomalies | language.Count) or language.names(tree) - parsed.keys():
            raise UnknownFormError(f"the formula {text!r} in a top list")
        return windows.combined(tree, parsed, values)

    def _objective(self, definition: Mapping[str, Any]) -> dict[str, Any]:
        slo = self.store.get(slos.KIND, str(definition.get("slo_id")))
        if slo is None:
            raise UnknownFormError(f"the SLO {definition.get('slo_id')}, which isn't there")
        return objectives.state(self.source, slo, self.frame.end)

    def _groups(self, definition: Mapping[str, Any]) -> list[tuple[Group, dict[str, Any], str]]:
        """Return the groups that a monitor summary lists, as `rounds.names` does, by monitors' tags and groups' state.

        Source: https://docs.datadoghq.com/monitors/manage/search/
        """
        terms = STATUS_TERM.findall(definition["query"])
        if "".join(definition["query"].split()) != "".join(f"{key}:{value}" for key, value in terms):
            raise UnknownFormError(f"the search for monitors {definition['query']!r}")
        tags = {value.strip('"') for key, value in terms if key == "tag"}
        states = {STATES.get(value.strip('"').lower()) for key, value in terms if key == "group_status"}
        known = (group for group in memory.groups(self.store) if not states or group.status in states)
        found = [row for row in rounds.names(self.store, known) if tags <= set(row[1]["tags"])]
        return sorted(found, key=lambda row: row[0].last_triggered, reverse=True)

    def _stream(self, definition: Mapping[str, Any], frame: Frame) -> tuple[list[dict[str, Any]], str]:
        """Return the monitors' notifications that a list of events shows, by the monitors' tags.

        Source: https://docs.datadoghq.com/dashboards/widgets/list/
        """
        if len(definition["requests"]) != 1:
            raise UnknownFormError("a list of several requests")
        query = definition["requests"][0].get("query") or {}
        text = str(query.get("query_string", ""))
        source, *tags = text.split() or [""]
        if (
            query.get("data_source") != "event_stream"
            or source != "source:alert"
            or not all(":" in tag for tag in tags)
        ):
            raise UnknownFormError(f"the list {dict(query)}")
        of = {str(monitor["id"]) for monitor in self.store.all("monitor") if set(tags) <= set(monitor["tags"])}
        found = [
            mail
            for mail in memory.mails(self.store)
            if mail["about"] == "monitor" and mail["of"] in of and frame.start <= mail["at"] < frame.end
        ]
        return found[-LISTED:][::-1], text

    def _events(self, query: str, frame: Frame) -> Iterator[tuple[float, str]]:
        """Return the events of an overlay: those with all of its tags."""
        terms = query.split()
        if not all(re.fullmatch(r"[A-Za-z][\w.-]*:\S+", term) for term in terms):
            raise UnknownFormError(f"the events {query!r}: tags that they all have are")
        for event in self.store.all("event"):
            at = float(event.get("date_happened") or 0)
            if frame.start <= at < frame.end and set(terms) <= set(event.get("tags") or ()):
                yield at, str(event["title"])


def _bars(request: Mapping[str, Any]) -> bool:
    display = request.get("display_type", "line")
    if display not in DISPLAYS:
        raise UnknownFormError(f"display_type {display!r}")
    return bool(display == "bars")


def _lines(
    request: Mapping[str, Any], name: str, by: tuple[str, ...], every: int, found: pl.DataFrame
) -> Iterable[Line]:
    return graphs.lines(
        found,
        name,
        by,
        bars=_bars(request),
        right=bool(request.get("on_right_yaxis")),
        palette=str((request.get("style") or {}).get("palette", "")),
        every=every,
    )


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
    """Return each template variable's tag, ``*`` for any: the URL's, else its default.

    Source: https://docs.datadoghq.com/dashboards/template_variables/
    """
    found = {}
    for variable in variables:
        value = chosen(variable, query)
        prefix = variable.get("prefix") or ""
        found[str(variable["name"])] = "*" if value in ("", "*") else f"{prefix}:{value}" if prefix else value
    return found


def chosen(variable: Mapping[str, Any], query: Mapping[str, str]) -> str:
    """Return the value of a template variable; several defaults are joined by commas."""
    defaults = variable.get("defaults") or [variable.get("default") or "*"]
    return str(query.get(f"tpl_var_{variable['name']}", ",".join(defaults)))

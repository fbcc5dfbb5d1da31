"""Pages of monitors: the query, the groups' states, past transitions, and each state's message."""

import datetime
import re
from collections.abc import Iterator, Mapping, Set
from typing import Any

import polars as pl

from sandbox.datadog.evaluation import composites, formulas, language, memory, rounds, series, states
from sandbox.datadog.evaluation.memory import Group
from sandbox.datadog.evaluation.messages import Message, State, exact
from sandbox.datadog.pages import downtimes, graphs, times
from sandbox.datadog.pages.graphs import Graph, Mark
from sandbox.datadog.pages.rendering import Asked, NotFoundError, Page
from sandbox.datadog.store import Store

NOBODY = "a-host"
"""The group whose messages are shown while no host has a state."""

HISTORY = 50
MOST = 8
"""Maximum groups with separate graphs; more share one."""

TAG = re.compile(r'tag:"([^"]+)"')
"""A tag in a search for monitors.

Source: https://docs.datadoghq.com/monitors/manage/search/
"""


def list_all(store: Store, asked: Asked) -> Page:
    """List all monitors, or those with all tags of a search such as ``tag:"env:dev"``."""
    text = asked.query.get("q", "")
    return "monitors.html", {
        **listed(store, set(TAG.findall(text))),
        "asked": text,
        "unknown": " ".join(TAG.sub(" ", text).split()),
    }


def listed(store: Store, wanted: Set[str] = frozenset()) -> dict[str, Any]:
    """Return the monitors with all ``wanted`` tags, and separately composites' constituents, the worst first."""
    states, monitors = memory.states(store), store.all("monitor")
    composed = [monitor for monitor in monitors if monitor["type"] == rounds.COMPOSITE and not rounds.fault(monitor)]
    parts = {number for each in composed for number in composites.constituents(language.composite(each["query"]))}
    found: dict[str, list[Any]] = {"rows": [], "parts_of": []}
    for state in memory.WORST_FIRST:
        for monitor in monitors:
            if states.get(monitor["id"], "No Data") == state and wanted <= set(monitor["tags"]):
                found["parts_of" if monitor["id"] in parts else "rows"].append({"monitor": monitor, "state": state})
    return found


def show(store: Store, asked: Asked) -> Page:
    """Show a monitor."""
    monitor = store.get("monitor", asked.match["id"])
    if monitor is None:
        raise NotFoundError(f"There is no monitor {asked.match['id']}.")
    now = store.now()
    frame = times.frame(asked.query, now.timestamp())
    groups, fault = memory.groups(store, monitor["id"]), rounds.fault(monitor)
    muting = [downtime for downtime in store.all("downtime") if rounds.mutes(downtime, monitor)]
    rows, ends = [], dict[tuple[str, ...], datetime.datetime | None]()
    for group in sorted(groups, key=memory.badness):
        covering = [downtime for downtime in muting if rounds.covers(downtime, group)]
        names = tuple(downtime["id"] for downtime in covering)
        if names not in ends:
            ends[names] = downtimes.muted_until(covering, now)
        rows.append({"group": group, "until": ends[names]})
    graphs_of, undrawn = [], ""
    try:
        graphs_of = [] if fault else list(_graphs(store, monitor, frame))
    except language.UnknownFormError as error:
        undrawn = str(error)
    return "monitor.html", {
        "monitor": monitor,
        "state": memory.state(store, monitor["id"]),
        "fault": fault,
        "frame": frame,
        "spans": times.NAMES,
        "thresholds": monitor["options"]["thresholds"],
        "options": {
            name: value
            for name, value in monitor["options"].items()
            if name in rounds.OPTIONS and name != "thresholds" and value not in (None, "", [], {})
        },
        "left_out": {} if fault else rounds.left_out(monitor),
        "rows": rows,
        "parts_of": _parts(store, monitor),
        "muting": [downtime for downtime in muting if downtime["attributes"]["canceled"] is None],
        "graphs": graphs_of,
        "undrawn": undrawn,
        "transitions": sorted(memory.transitions(store, monitor["id"]), key=lambda each: each.at)[-HISTORY:][::-1],
        "HISTORY": HISTORY,
        "messages": [] if fault else list(_messages(store, monitor, groups, now.timestamp())),
    }


def _parts(store: Store, monitor: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return a composite's constituents with their states."""
    if monitor["type"] != rounds.COMPOSITE or rounds.fault(monitor):
        return []
    numbers = composites.constituents(language.composite(monitor["query"]))
    found = (store.get("monitor", str(number)) for number in numbers)
    return [{"monitor": part, "state": memory.state(store, part["id"])} for part in found if part]


def _graphs(store: Store, monitor: Mapping[str, Any], frame: times.Frame) -> Iterator[Graph]:
    """Return a graph with thresholds for each group, or one for all of many groups.

    Raises:
        UnknownFormError: the query can't be drawn here.
    """
    if monitor["type"] != "query alert":
        return
    compared = language.comparison(monitor["query"])
    banded = isinstance(compared.formula, language.Anomalies)
    own = compared.formula.interval if isinstance(compared.formula, language.Anomalies) else compared.query.interval
    every = series.interval(frame.span, asked=own)
    source = series.Source(store)
    # What is expected of the first points needs those before them.
    before = frame.start - (formulas.WINDOW * every if banded else 0)
    frames = {
        name: series.evaluate(source, query, before, frame.end, every) for name, query in compared.queries.items()
    }
    found = formulas.over(compared.formula, compared.queries, frames)
    found = found.filter(pl.col("at") >= series.begin(frame.start, every))
    thresholds = monitor["options"]["thresholds"]
    marks = [
        Mark(value=thresholds[name], label=f"{label} {compared.comparator} {exact(thresholds[name])}", kind=kind)
        for name, label, kind in (("critical", "alert", "error"), ("warning", "warning", "warning"))
        if name in thresholds and not banded  # of anomalies they are shares of points
    ]
    direction = compared.formula.direction if isinstance(compared.formula, language.Anomalies) else "both"
    lines = list(graphs.lines(found, compared.query.metric, compared.by, every=every, direction=direction))
    for name, drawn in (
        [(line.name, [line]) for line in lines] if len(lines) <= MOST else [(compared.query.metric, lines)]
    ):
        columns = ("avg", "min", "max", "value")
        more = graphs.undrawn(found)
        yield Graph(name=name, frame=frame, lines=drawn, marks=marks, columns=columns, more=more)


def _messages(store: Store, monitor: dict[str, Any], groups: list[Group], now: float) -> Iterator[dict[str, Any]]:
    """Return what the monitor would send in each state, for its worst group."""
    asked = rounds.form(monitor, {each["id"]: each for each in store.all("monitor")})
    thresholds, number = monitor["options"]["thresholds"], asked.number or 0.0
    tags = min(groups, key=memory.badness).tags if groups else dict.fromkeys(asked.by, NOBODY)
    away = (abs(number) / 10 or 1.0) * (-1 if asked.comparator.startswith("<") else 1)
    warns, well = "warning" in thresholds, thresholds.get("warning", number) - away
    silence = states.tells_of_no_data(monitor["options"])
    levels: tuple[tuple[State, State, float, bool], ...] = (
        ("OK", "Alert", number + away, True),
        ("OK", "Warn", (thresholds["warning"] + number) / 2 if warns else 0.0, warns),
        ("Alert", "Warn", (thresholds["warning"] + number) / 2 if warns else 0.0, warns),
        ("OK", "No Data", 0.0, silence),
        ("Alert", "OK", well, True),
        ("Warn", "OK", well, warns),
        ("No Data", "OK", well, silence),
    )
    shown = set[tuple[State, bool, Message]]()
    for old, new, value, happens in levels:
        if not happens:
            continue
        group = Group(monitor=monitor["id"], name=",".join(tags.values()), tags=tags, status=new, value=value)
        title = rounds.title(store, monitor, asked, group, old, now)
        for again in (False, True) if states.is_renotified(new, monitor["options"]) else (False,):
            message = rounds.rendered(store, monitor, asked, group, old, now, again=again)
            if (new, again, message) not in shown:  # where it came from often makes no difference
                before = old if any(state == new for state, *_ in shown) else ""
                shown.add((new, again, message))
                yield {"state": new, "before": before, "title": title, "message": message, "again": again}

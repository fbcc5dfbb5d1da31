"""Pages of dashboards and of single widgets, and of shared dashboards, which have no navigation."""

import datetime
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import urlencode

from sandbox.datadog.evaluation.series import Source
from sandbox.datadog.pages import times, widgets
from sandbox.datadog.pages.rendering import Asked, NotFoundError, Page
from sandbox.datadog.store import Store

SHARED_SPANS = ("15m", "1h", "4h", "1d", "2d", "1w")
"""The time frames of shared dashboards."""


def show(store: Store, asked: Asked) -> Page:
    """Show a dashboard by its id, whatever the name in its URL."""
    dashboard = store.get("dashboard", asked.match["id"])
    if dashboard is None:
        raise NotFoundError(f"There is no dashboard {asked.match['id']}.")
    return _shown(store, asked, dashboard)


def show_public(store: Store, asked: Asked) -> Page:
    """Show a dashboard shared by a public link: anybody can view it, and it links nowhere else.

    Viewers can change the time frame and variables only if the share allows it.

    Source: https://docs.datadoghq.com/dashboards/sharing/shared_dashboards/#configuration-options
    """
    share = store.get("public", asked.match["token"])
    dashboard = store.get("dashboard", share["dashboard_id"]) if share else None
    if share is None or dashboard is None or not _is_open(share, store.now()):
        raise NotFoundError("There is no shared dashboard of this address.")
    live_span = (share.get("global_time") or {}).get("live_span", "1h")
    selectable = {str(each.get("name")): each for each in share.get("selectable_template_vars") or []}
    spans = _spans() if share.get("global_time_selectable_enabled") else {}
    shown = {
        "title": share["title"],
        "default_timeframe": times.default_timeframe(live_span),
        "template_variables": [
            _as_shared(each, selectable.get(each["name"])) for each in dashboard.get("template_variables") or []
        ],
    }
    query = {"span": asked.query["span"]} if asked.query.get("span") in spans else {}
    for name, variable in selectable.items():
        value = asked.query.get(f"tpl_var_{name}")
        if value is not None and value in (variable.get("visible_tags") or [value]):
            query[f"tpl_var_{name}"] = value
    name, values = _shown(store, replace(asked, query=query), {**dashboard, **shown}, shared=True)
    offered = [variable for variable in values["variables"] if variable["name"] in selectable]
    return name, {**values, "bare": True, "spans": spans, "variables": offered}


def _as_shared(variable: Mapping[str, Any], selectable: Mapping[str, Any] | None) -> dict[str, Any]:
    """Apply a share's settings to a template variable."""
    if selectable is None:
        return dict(variable)
    default, visible = selectable.get("default_value"), selectable.get("visible_tags")
    return {
        **variable,
        **({"defaults": [default]} if default else {}),
        **({"available_values": visible} if visible else {}),
    }


def _spans() -> dict[str, str]:
    """Return the time frames that viewers of a shared dashboard may choose, with their names."""
    return {span: words for span, words in times.NAMES.items() if span in SHARED_SPANS}


def _is_open(share: dict[str, Any], now: datetime.datetime) -> bool:
    """Return whether anybody may view it now: open, not paused, not expired."""
    expiration = share.get("expiration")
    if expiration is not None:
        moment = datetime.datetime.fromisoformat(expiration)
        if (moment if moment.tzinfo else moment.replace(tzinfo=datetime.UTC)) <= now:
            return False
    return bool(share["share_type"] == "open" and share["status"] == "active")


def show_embed(store: Store, asked: Asked) -> Page:
    """Show a secure embed: nothing, without the credential that only the embedding page has."""
    if store.get("embed", asked.match["token"]) is None:
        raise NotFoundError("There is no embedded dashboard of this address.")
    return "embed.html", {"bare": True}


def _shown(store: Store, asked: Asked, dashboard: dict[str, Any], *, shared: bool = False) -> Page:
    frame = times.frame(asked.query, store.now().timestamp(), dashboard.get("default_timeframe"))
    variables = dashboard.get("template_variables") or []
    board = widgets.Board(
        store=store,
        source=Source(store),
        frame=frame,
        variables=widgets.tags(variables, asked.query),
        shared=shared,
    )
    known = _values(store)
    chosen = asked.query.get("fullscreen_widget")
    kept = [widget for widget in dashboard["widgets"] if chosen in (None, str(widget["id"]))]
    if not kept and chosen is not None:
        raise NotFoundError(f"This dashboard has no widget {chosen}.")
    asked_for = {name: asked.query[name] for name in ("from_ts", "to_ts", "live", "span") if name in asked.query}
    return "dashboard.html", {
        "dashboard": dashboard,
        "frame": frame,
        "spans": times.NAMES,
        "variables": [
            {
                "name": variable["name"],
                "value": (value := widgets.chosen(variable, asked.query)),
                "values": sorted(
                    {value, *(variable.get("available_values") or {"*", *known.get(variable.get("prefix") or "", ())})}
                ),
            }
            for variable in variables
        ],
        "alone": chosen is not None,
        "widgets": [(address(dashboard, widget, **asked_for), board.widget(widget["definition"])) for widget in kept],
        "kept": {
            name: value
            for name, value in asked.query.items()
            if (name in ("from_ts", "to_ts", "live") and "span" not in asked.query) or name == "fullscreen_widget"
        },
    }


def address(dashboard: Mapping[str, Any], widget: Mapping[str, Any], **query: str) -> str:
    """Return the address of a single widget.

    Source: the links that Datadog's pages make for a widget in full screen
    """
    return f"{dashboard['url']}?{urlencode({'fullscreen_widget': widget['id'], **query})}"


def anomalies(store: Store) -> list[tuple[str, str]]:
    """Return the title and the address of each widget with anomalies."""
    return [
        (str(widget["definition"].get("title") or "without a title"), address(dashboard, widget))
        for dashboard in store.all("dashboard")
        for widget in dashboard["widgets"]
        if "anomalies(" in json.dumps(widget["definition"].get("requests", []))
    ]


def _values(store: Store) -> dict[str, set[str]]:
    """Return the values of each tag of any metric."""
    found: dict[str, set[str]] = {}
    for tag in store.tags():
        key, _, value = tag.partition(":")
        found.setdefault(key, set()).add(value)
    return found

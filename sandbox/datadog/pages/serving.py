"""Routes the pages' paths to HTML from templates, and serves the browser's files.

The pages' modules are imported with the first request for one, so that API clients never wait for them.
"""

import importlib
import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aiohttp import web

from sandbox.datadog.handling import STORE

HERE = Path(__file__).parent

PATHS: Mapping[str, tuple[str, str]] = {
    "/": ("start", "show"),
    "/dashboard/lists": ("start", "dashboards"),
    "/dashboard/{id}": ("dashboards", "show"),
    "/dashboard/{id}/{slug}": ("dashboards", "show"),
    "/p/{token}": ("dashboards", "show_public"),
    "/embed/{token}": ("dashboards", "show_embed"),
    "/monitors/manage": ("monitors", "list_all"),
    "/monitors/downtimes": ("downtimes", "show"),
    "/monitors/{id}": ("monitors", "show"),
    "/infrastructure": ("hosts", "show"),
    "/apm/services": ("services", "list_all"),
    "/apm/entity/{entity}": ("services", "show"),
    "/apm/trace/{trace}": ("services", "show_trace"),
    "/apm/traces": ("services", "list_traces"),
    "/slo": ("objectives", "show"),
    "/slo/manage": ("objectives", "show"),
    "/tickets": ("tickets", "list_all"),
    "/tickets/{id}": ("tickets", "show"),
    "/event/explorer": ("events", "list_all"),
    "/event/event": ("events", "show"),
    "/mail": ("mail", "list_all"),
    "/mail/{id}": ("mail", "show"),
}
"""Each page's module and function, by path: Datadog's own path, if Datadog has such a page.

Source: the addresses that Datadog's documentation and API answers link to; mail and tickets are the sandbox's own.
"""

STATIC = "/sandbox/static/{name}"
"""The style sheet and the scripts."""

OPEN = frozenset({*PATHS, STATIC})
"""Paths that need no key."""

CHARTS = "plotly.min.js"
"""The chart library from the package plotly."""

FILES = {
    "style.css": "text/css",
    "charts.js": "text/javascript",
    "live.js": "text/javascript",
    "icon.svg": "image/svg+xml",
}

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:;"
    " connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
"""Pages load from this server only. Charts set inline styles."""

HEADERS = {
    "Content-Security-Policy": POLICY,
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}


def routes() -> list[web.RouteDef]:
    """Return the routes of all pages and of what they load."""
    return [*(web.get(path, _page) for path in PATHS), web.get(STATIC, _file)]


def is_page(request: web.Request) -> bool:
    """Return whether a request is for a page, or for what pages load."""
    resource = request.match_info.route.resource
    return resource is not None and resource.canonical in OPEN


async def _page(request: web.Request) -> web.Response:
    from sandbox.datadog.pages import rendering

    resource = request.match_info.route.resource
    assert resource is not None
    module, function = PATHS[resource.canonical]
    show = getattr(importlib.import_module(f"sandbox.datadog.pages.{module}"), function)
    try:
        return _html(*show(request.app[STORE], rendering.Asked.of(request)))
    except rendering.NotFoundError as error:
        return _html("missing.html", {"sentence": str(error)}, 404)


def wants_page(request: web.Request) -> bool:
    """Whether a browser asks for a page, and not a program for the API."""
    return "text/html" in request.headers.get("Accept", "") and not request.path.startswith("/api/")


def missing(request: web.Request) -> web.Response:
    """Answer a path that no page has."""
    return _html("missing.html", {"sentence": f"The sandbox has no page {request.path}."}, 404)


def _html(name: str, values: Mapping[str, Any], status: int = 200) -> web.Response:
    from sandbox.datadog.pages import rendering

    # Half of a character, which JSON can hold, is none in UTF-8.
    html = rendering.html(name, values).encode(errors="replace")
    return web.Response(body=html, content_type="text/html", charset="utf-8", headers=HEADERS, status=status)


async def _file(request: web.Request) -> web.StreamResponse:
    name = request.match_info["name"]
    kept: dict[str, Any] = {"headers": {**HEADERS, "Cache-Control": "max-age=3600"}}
    if name == CHARTS:
        found = importlib.util.find_spec("plotly")
        assert found is not None
        (folder, *_) = found.submodule_search_locations or [""]
        response = web.FileResponse(Path(folder, "package_data", CHARTS), **kept)
        response.content_type = "text/javascript"
        return response
    if name not in FILES:
        raise web.HTTPNotFound
    return web.Response(body=(HERE / "static" / name).read_bytes(), content_type=FILES[name], **kept)

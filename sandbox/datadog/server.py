"""The stand-in Datadog's HTTP server: routes, keys, injected faults, and the log of requests.

Source of paths and bodies: https://docs.datadoghq.com/api/latest/ and what the real Pulumi plugin was seen to send.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from sandbox.datadog import configuration, desk, pages, permissions, signals, telemetry
from sandbox.datadog.handling import STORE
from sandbox.datadog.schema import RefusedError
from sandbox.datadog.store import Store

BODY_LIMIT = 16 * 2**20
"""Maximum size of a decompressed body, in bytes."""

API_KEY_ONLY = {
    ("GET", "/api/v1/validate"),
    ("POST", "/api/v1/series"),
    ("POST", "/api/v2/series"),
    ("POST", "/api/v1/check_run"),
    ("POST", "/api/v1/events"),
    ("POST", "/api/v2/events"),
    ("POST", "/intake/"),
    ("POST", "/api/v0.2/traces"),
    ("POST", "/api/v0.2/stats"),
}
"""Paths that need only the API key, as for an Agent."""

PUBLIC = ("/agent/", "/snapshot/", desk.PATH)
"""Paths that need no key, besides the pages: Datadog's download and picture hosts, and what isn't Datadog's."""

NAMES = ("127.0.0.1", "localhost", "10.0.2.2")
"""The server's own names, on loopback and from inside a machine. Under any other, a web page whose name was pointed at
loopback could read and write here (DNS rebinding)."""

ALWAYS = frozenset({"api_key", "application_key"})
PARAMETERS: dict[tuple[str, str], frozenset[str]] = {
    (method, path): frozenset(names.split())
    for method, path, names in (
        ("GET", "/api/v1/monitor", "group_states name tags monitor_tags with_downtimes id_offset page page_size"),
        ("POST", "/api/v1/monitor", ""),
        ("POST", "/api/v1/monitor/validate", ""),
        ("POST", "/api/v1/monitor/{id}/validate", ""),
        ("GET", "/api/v1/monitor/{id}", "group_states with_downtimes with_assets"),
        ("PUT", "/api/v1/monitor/{id}", ""),
        ("DELETE", "/api/v1/monitor/{id}", "force"),
        ("GET", "/api/v1/dashboard", "filter[shared] filter[deleted] count start"),
        ("POST", "/api/v1/dashboard", ""),
        ("GET", "/api/v1/dashboard/{id}", ""),
        ("PUT", "/api/v1/dashboard/{id}", ""),
        ("DELETE", "/api/v1/dashboard/{id}", ""),
        ("GET", "/api/v2/downtime", "current_only include page[offset] page[limit]"),
        ("POST", "/api/v2/downtime", ""),
        ("GET", "/api/v2/downtime/{id}", "include"),
        ("PATCH", "/api/v2/downtime/{id}", ""),
        ("DELETE", "/api/v2/downtime/{id}", ""),
        ("GET", "/api/v2/apm/config/metrics", ""),
        ("GET", "/api/v1/slo", "ids query tags_query metrics_query limit offset"),
        ("GET", "/api/v1/slo/{id}", "with_configured_alert_ids"),
        ("DELETE", "/api/v1/slo/{id}", "force"),
        ("GET", "/api/v1/query", "from to query"),
        ("GET", "/api/v1/graph/snapshot", "metric_query start end event_query graph_def title height width"),
    )
}
"""The known parameters of each path. Datadog may ignore others; here they are refused, as typos."""

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def application(store: Store) -> web.Application:
    """Build the application: the API over ``store``, and the pages."""
    app = web.Application(middlewares=[_guard], client_max_size=BODY_LIMIT)
    app[STORE] = store
    app.add_routes(
        [
            web.get("/api/v1/validate", validate),
            web.get("/api/v2/validate_keys", validate_keys),
            web.get("/api/v1/monitor", configuration.list_monitors),
            web.post("/api/v1/monitor", configuration.create_monitor),
            web.post("/api/v1/monitor/validate", configuration.validate_monitor),
            web.post(r"/api/v1/monitor/{id:\d+}/validate", configuration.validate_monitor),
            web.get(r"/api/v1/monitor/{id:\d+}", configuration.get_monitor),
            web.put(r"/api/v1/monitor/{id:\d+}", configuration.update_monitor),
            web.delete(r"/api/v1/monitor/{id:\d+}", configuration.delete_monitor),
            web.post("/api/v1/dashboard/public", configuration.create_public),
            web.get("/api/v1/dashboard/public/{token}", configuration.get_public),
            web.put("/api/v1/dashboard/public/{token}", configuration.update_public),
            web.delete("/api/v1/dashboard/public/{token}", configuration.delete_public),
            web.get("/api/v2/dashboard/{id}/shared", configuration.list_shared),
            web.get("/api/v1/dashboard", configuration.list_dashboards),
            web.post("/api/v1/dashboard", configuration.create_dashboard),
            web.get("/api/v1/dashboard/{id}", configuration.get_dashboard),
            web.put("/api/v1/dashboard/{id}", configuration.update_dashboard),
            web.delete("/api/v1/dashboard/{id}", configuration.delete_dashboard),
            web.post("/api/v2/dashboard/{id}/shared/secure-embed", configuration.create_embed),
            web.get("/api/v2/dashboard/{id}/shared/secure-embed/{token}", configuration.get_embed),
            web.patch("/api/v2/dashboard/{id}/shared/secure-embed/{token}", configuration.update_embed),
            web.delete("/api/v2/dashboard/{id}/shared/secure-embed/{token}", configuration.delete_embed),
            web.get("/api/v2/downtime", configuration.list_downtimes),
            web.post("/api/v2/downtime", configuration.create_downtime),
            web.get("/api/v2/downtime/{id}", configuration.get_downtime),
            web.patch("/api/v2/downtime/{id}", configuration.update_downtime),
            web.delete("/api/v2/downtime/{id}", configuration.cancel_downtime),
            *signals.ROUTES,
            web.get("/api/v1/events", telemetry.list_events),
            web.post("/api/v1/events", telemetry.create_event_v1),
            web.post("/api/v2/events", telemetry.create_event_v2),
            web.post("/api/v1/series", telemetry.take_series_v1),
            web.post("/api/v2/series", telemetry.take_series_v2),
            web.post("/api/v1/check_run", telemetry.take_checks),
            web.post("/intake/", telemetry.take_host),
            web.post("/api/v0.2/traces", telemetry.take_traces),
            web.post("/api/v0.2/stats", telemetry.take_stats),
            web.get("/api/v1/hosts", telemetry.list_hosts),
            web.get("/api/v1/query", telemetry.query),
            web.get("/api/v1/graph/snapshot", telemetry.create_snapshot),
            web.get(r"/snapshot/{name}.svg", telemetry.show_snapshot),
            web.get("/agent/install_script_agent7.sh", telemetry.agent_script),
            web.get("/agent/{kind:apt|keys}/{path:.+}", telemetry.agent_file),
            web.post("/agent/apmtelemetry", telemetry.take_install_report),
            web.post(desk.PATH, desk.receive),
            *pages.routes(),
        ]
    )
    return app


@web.middleware
async def _guard(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Handle a request: check its host, inject a fault, check the keys, call the handler; and log it."""
    store = request.app[STORE]
    text, status = "", 500
    try:
        _check_host(request)
        if request.path.startswith("/api/") and request.can_read_body:
            text = await _text(request)
        fault = store.take_fault(request.method, request.path)
        response = await _answer(request, handler, fault)
        status = response.status if isinstance(response, web.Response) else 0
    except RefusedError as refusal:
        status = refusal.status
        response = web.json_response({"errors": refusal.errors}, status=status)
    except web.HTTPException as error:
        status = 404 if error.status == 405 else error.status
        if status == 404 and pages.wants_page(request):
            return pages.missing(request)
        response = web.json_response({"errors": [f"{request.method} {request.path}: {error.reason}"]}, status=status)
    finally:
        store.log(request.method, request.path, request.query_string, signals.logged(request.path, text), status)
    return response


async def _answer(request: web.Request, handler: Handler, fault: dict[str, Any] | None) -> web.StreamResponse:
    action = fault["action"] if fault else ""
    if fault and action.isdigit():
        return web.json_response({"errors": ["ordered fault"]}, status=int(action), headers=fault["headers"])
    if action == "garbage":
        return web.Response(text="<html>not JSON, as ordered</html>", content_type="application/json")
    if action == "cut":
        return _broken(request)
    if fault and action == "slow":
        await asyncio.sleep(fault["seconds"])
    _check_keys(request)
    _check_parameters(request)
    response = await handler(request)
    if fault and action == "late":
        await asyncio.sleep(fault["seconds"])
    return _broken(request) if action == "lost" else response


def _broken(request: web.Request) -> web.StreamResponse:
    """Close the connection without an answer."""
    if request.transport is not None:
        request.transport.abort()
    return web.StreamResponse()


def _check_host(request: web.Request) -> None:
    """Refuse requests whose ``Host`` header names another server, or that another server's page sends."""
    port = request.transport.get_extra_info("sockname")[1] if request.transport else None
    here = [f"{name}:{port}" for name in NAMES]
    if request.headers.get("Host") not in here:
        raise RefusedError(421, "this server is called otherwise")
    if request.headers.get("Origin", f"http://{here[0]}").removeprefix("http://") not in here:
        raise RefusedError(403, "this server takes nothing from other servers' pages")


def _check_keys(request: web.Request) -> None:
    store, headers = request.app[STORE], request.headers
    nowhere = request.match_info.http_exception is not None and pages.wants_page(request)
    if request.path.startswith(PUBLIC) or pages.is_page(request) or nowhere:
        return
    api_key = headers.get("DD-API-KEY") or request.query.get("api_key")
    app_key = headers.get("DD-APPLICATION-KEY") or request.query.get("application_key")
    both = (request.method, request.path) not in API_KEY_ONLY
    if not api_key or (both and not app_key):
        raise RefusedError(401, "Unauthorized")
    if api_key not in store.setting("api_key").split() or (both and app_key not in store.setting("app_key").split()):
        raise RefusedError(403, "Forbidden")
    scopes = store.setting(f"scopes {app_key}") if both else ""
    resource = request.match_info.route.resource
    if scopes and resource and not permissions.allowed(request.method, resource.canonical, scopes.split()):
        raise RefusedError(403, "Forbidden")


def _check_parameters(request: web.Request) -> None:
    resource = request.match_info.route.resource
    known = PARAMETERS.get((request.method, resource.canonical)) if resource else None
    if known is not None and (unknown := set(request.query) - known - ALWAYS):
        raise RefusedError(400, f"{request.path} has no parameter {', '.join(sorted(unknown))}")


async def _text(request: web.Request) -> str:
    """Return the body for the log, if it is JSON."""
    try:
        text = await request.text()
        json.loads(text)
    except ValueError:
        return ""
    return text


async def validate(_: web.Request) -> web.Response:
    return web.json_response({"valid": True})


async def validate_keys(_: web.Request) -> web.Response:
    return web.json_response({"status": "ok"})

"""Handles monitors, dashboards and their sharing, and downtimes."""

import secrets
import uuid
from typing import Any

from aiohttp import web
from datadog_api_client.v1.model.dashboard import Dashboard
from datadog_api_client.v1.model.monitor import Monitor
from datadog_api_client.v1.model.monitor_update_request import MonitorUpdateRequest
from datadog_api_client.v1.model.shared_dashboard import SharedDashboard
from datadog_api_client.v1.model.shared_dashboard_update_request import SharedDashboardUpdateRequest
from datadog_api_client.v2.model.downtime_create_request import DowntimeCreateRequest
from datadog_api_client.v2.model.downtime_update_request import DowntimeUpdateRequest
from datadog_api_client.v2.model.secure_embed_create_request import SecureEmbedCreateRequest
from datadog_api_client.v2.model.secure_embed_update_request import SecureEmbedUpdateRequest

from sandbox.datadog import dashboards, downtimes, monitors, queries, signals
from sandbox.datadog.evaluation import memory
from sandbox.datadog.handling import STORE, page, parsed, thing
from sandbox.datadog.schema import RefusedError

# Monitors


def _monitor(request: web.Request) -> dict[str, Any]:
    return thing(request, "monitor", request.match_info["id"], "Monitor not found")


def _evaluated(request: web.Request, monitor: dict[str, Any]) -> dict[str, Any]:
    """Return a monitor with its state."""
    return {**monitor, "overall_state": memory.state(request.app[STORE], monitor["id"])}


def _check_monitor(request: web.Request, monitor: dict[str, Any]) -> None:
    name, store = request.match_info.get("id"), request.app[STORE]
    others = [other for other in store.all("monitor") if str(other["id"]) != name]
    monitors.check(monitor, others, signals.targets(store))


async def list_monitors(request: web.Request) -> web.Response:
    found = [_evaluated(request, monitor) for monitor in request.app[STORE].all("monitor")]
    if "page" in request.query:  # pages, not entries; without it, all are listed
        size = int(request.query.get("page_size", 100))
        begin = int(request.query["page"]) * size
        found = found[begin : begin + size]
    return web.json_response(found)


async def create_monitor(request: web.Request) -> web.Response:
    store, body = request.app[STORE], await parsed(request, Monitor)
    _check_monitor(request, body)
    monitor = monitors.answer(body, number=store.next("monitor", 100_000_001), now=store.now())
    store.put("monitor", str(monitor["id"]), monitor)
    return web.json_response(monitor)


async def validate_monitor(request: web.Request) -> web.Response:
    body = await parsed(request, Monitor)
    if "id" in request.match_info:
        _monitor(request)
    _check_monitor(request, body)
    return web.json_response({})


async def get_monitor(request: web.Request) -> web.Response:
    assets: dict[str, Any] = {"assets": []} if request.query.get("with_assets") == "true" else {}
    return web.json_response({**assets, **_evaluated(request, _monitor(request))})


async def update_monitor(request: web.Request) -> web.Response:
    store, old = request.app[STORE], _monitor(request)
    body = await parsed(request, MonitorUpdateRequest)
    kinds = {body.get("type", old["type"]), old["type"]}
    if len(kinds) > 1 and not kinds <= set(monitors.METRIC_TYPES):
        raise RefusedError(400, "Monitor type can't be changed")
    merged = {**old, **body}
    _check_monitor(request, merged)
    monitor = monitors.answer(merged, number=old["id"], now=store.now(), created=old["created"])
    store.put("monitor", request.match_info["id"], monitor)
    return web.json_response(monitor)


async def delete_monitor(request: web.Request) -> web.Response:
    """Delete a monitor; a composite's constituent only if forced."""
    monitor, name = _monitor(request), request.match_info["id"]
    others = request.app[STORE].all("monitor")
    used = [
        other["id"]
        for other in others
        if other["type"] == "composite" and name in monitors.constituents(other["query"])
    ]
    if used and request.query.get("force") != "true":
        raise RefusedError(400, f"monitor [{name}] is referenced in composite monitors: {used}")
    request.app[STORE].drop("monitor", name)
    return web.json_response({"deleted_monitor_id": monitor["id"]})


# Dashboards


def _dashboard(request: web.Request) -> dict[str, Any]:
    name = request.match_info["id"]
    return thing(request, "dashboard", name, f"Dashboard with ID {name} not found")


async def list_dashboards(request: web.Request) -> web.Response:
    found = page(request, request.app[STORE].all("dashboard"), offset="start", limit="count", most=100)
    return web.json_response({"dashboards": found})


async def create_dashboard(request: web.Request) -> web.Response:
    store, body = request.app[STORE], await parsed(request, Dashboard)
    dashboards.check(body)
    queries.check_dashboard(body)
    dashboard = dashboards.answer(body, name=dashboards.new_id(), now=store.now())
    store.put("dashboard", dashboard["id"], dashboard)
    return web.json_response(dashboard)


async def get_dashboard(request: web.Request) -> web.Response:
    return web.json_response(_dashboard(request))


async def update_dashboard(request: web.Request) -> web.Response:
    store, old = request.app[STORE], _dashboard(request)
    body = await parsed(request, Dashboard)
    dashboards.check(body)
    queries.check_dashboard(body)
    dashboard = dashboards.answer(body, name=old["id"], now=store.now(), created=old["created_at"])
    store.put("dashboard", old["id"], dashboard)
    return web.json_response(dashboard)


async def delete_dashboard(request: web.Request) -> web.Response:
    name = _dashboard(request)["id"]
    store = request.app[STORE]
    store.drop("dashboard", name)
    for kind in ("embed", "public"):  # shares go with their dashboard
        for share in store.all(kind):
            if share["dashboard_id"] == name:
                store.drop(kind, share["token"])
    return web.json_response({"deleted_dashboard_id": name})


# Sharing


async def create_public(request: web.Request) -> web.Response:
    store, body = request.app[STORE], await parsed(request, SharedDashboard)
    if told := sorted(SharedDashboard.read_only_vars & body.keys()):
        raise RefusedError(400, f"read-only: {', '.join(told)}")
    dashboard = thing(
        request, "dashboard", body["dashboard_id"], f"{body['dashboard_type']} {body['dashboard_id']} not found"
    )
    token = f"sandbox-{secrets.token_hex(16)}"
    given = {name: value for name, value in body.items() if value is not None}
    share = {
        "title": dashboard["title"],
        "share_type": "open",
        "status": "active",
        "global_time": {"live_span": "1h"},
        "expiration": None,
        **given,
        "token": token,
        "public_url": f"{request.url.origin()}/p/{token}",
        "created": store.now().isoformat(),
    }
    store.put("public", token, share)
    return web.json_response(share)


def _public(request: web.Request) -> dict[str, Any]:
    return thing(request, "public", request.match_info["token"], "Shared dashboard not found")


async def get_public(request: web.Request) -> web.Response:
    return web.json_response(_public(request))


async def update_public(request: web.Request) -> web.Response:
    share, body = _public(request), await parsed(request, SharedDashboardUpdateRequest)
    share |= {name: value for name, value in body.items() if value is not None or name == "expiration"}
    request.app[STORE].put("public", share["token"], share)
    return web.json_response(share)


async def delete_public(request: web.Request) -> web.Response:
    token = _public(request)["token"]
    request.app[STORE].drop("public", token)
    return web.json_response({"deleted_public_dashboard_token": token})


async def list_shared(request: web.Request) -> web.Response:
    """List all shares of a dashboard."""
    store, name = request.app[STORE], _dashboard(request)["id"]
    shares = [share for kind in ("public", "embed") for share in store.all(kind) if share["dashboard_id"] == name]
    return web.json_response({"data": [_shared(share) for share in shares], "included": []})


def _shared(share: dict[str, Any]) -> dict[str, Any]:
    attributes = {
        "created_at": share.get("created") or share["created_at"],
        "embeddable_domains": share.get("embeddable_domains", []),
        "expiration": share.get("expiration"),
        "global_time": share.get("global_time"),
        "global_time_selectable": bool(
            share.get("global_time_selectable_enabled", share.get("global_time_selectable"))
        ),
        "invitees": share.get("invitees", []),
        "last_accessed": None,
        "selectable_template_vars": share.get("selectable_template_vars", []),
        "share_type": share["share_type"].replace("_", "-"),
        "sharer_disabled": False,
        "status": share.get("status", "active"),
        "title": share.get("title", ""),
        "token": share["token"],
        "url": share.get("public_url") or share["url"],
        "viewing_preferences": {"high_density": False, "theme": "system", **share.get("viewing_preferences", {})},
    }
    relationships = {
        "dashboard": {"data": {"id": share["dashboard_id"], "type": "dashboard"}},
        "sharer": {"data": {"id": str(uuid.UUID(int=0)), "type": "user"}},
    }
    return {"id": share["token"], "type": "shared_dashboard", "attributes": attributes, "relationships": relationships}


def _embed(request: web.Request) -> dict[str, Any]:
    share = thing(request, "embed", request.match_info["token"], "Secure embed not found")
    if share["dashboard_id"] != request.match_info["id"]:
        raise RefusedError(404, "Secure embed not found")
    return share


def _embed_answer(share: dict[str, Any], kind: str, *, first: bool = False) -> web.Response:
    """Return a secure embed; the credential in full only once, then only its end."""
    credential = {"credential": share["credential"]} if first else {"credential_suffix": share["credential"][-4:]}
    attributes = {name: value for name, value in share.items() if name != "credential"} | credential
    return web.json_response({"data": {"id": share["id"], "type": kind, "attributes": attributes}})


async def create_embed(request: web.Request) -> web.Response:
    store, name = request.app[STORE], _dashboard(request)["id"]
    body = await parsed(request, SecureEmbedCreateRequest)
    token = f"sandbox-{secrets.token_hex(16)}"
    share = {
        **body["data"]["attributes"],
        "id": str(uuid.uuid4()),
        "dashboard_id": name,
        "share_type": "secure_embed",
        "token": token,
        "url": f"{request.url.origin()}/embed/{token}",
        "credential": f"fake-{secrets.token_hex(16)}",
        "created_at": store.now().isoformat(),
    }
    store.put("embed", token, share)
    return _embed_answer(share, "secure_embed_create_response", first=True)


async def get_embed(request: web.Request) -> web.Response:
    return _embed_answer(_embed(request), "secure_embed_get_response")


async def update_embed(request: web.Request) -> web.Response:
    share = _embed(request)
    body = await parsed(request, SecureEmbedUpdateRequest)
    share |= body["data"]["attributes"]
    request.app[STORE].put("embed", share["token"], share)
    return _embed_answer(share, "secure_embed_update_response")


async def delete_embed(request: web.Request) -> web.Response:
    request.app[STORE].drop("embed", _embed(request)["token"])
    return web.Response(status=204)


# Downtimes


def _current(request: web.Request, downtime: dict[str, Any]) -> dict[str, Any]:
    return {**downtime, "attributes": downtimes.current(downtime["attributes"], request.app[STORE].now())}


def _downtime(request: web.Request) -> dict[str, Any]:
    """Return the path's downtime; a cancelled one is forgotten after two days."""
    name = request.match_info["id"]
    try:
        uuid.UUID(name)
    except ValueError as error:
        raise RefusedError(400, "Invalid URL param: downtime_id must be an uuid") from error
    missing = f"Downtime {name} not found" if request.method == "DELETE" else "Downtime not found"
    downtime = thing(request, "downtime", name, missing)
    if _forgotten(request, downtime):
        raise RefusedError(404, missing)
    return downtime


def _put_downtime(request: web.Request, name: str, given: dict[str, Any], old: dict[str, Any] | None) -> web.Response:
    store = request.app[STORE]
    attributes = downtimes.attributes(
        given, old, now=store.now(), has_monitor=lambda number: store.get("monitor", str(number)) is not None
    )
    if old is None:
        twins = downtimes.twins(attributes, store.all("downtime"), store.now())
        if twins:
            raise RefusedError(400, f"{downtimes.DUPLICATE}: {twins}")
    number = attributes["monitor_identifier"].get("monitor_id")
    monitor = None if number is None else {"type": "monitor", "id": str(number)}
    downtime = {
        "id": name,
        "type": "downtime",
        "attributes": attributes,
        "relationships": {
            "created_by": {"data": {"type": "users", "id": str(uuid.UUID(int=0))}},
            "monitor": {"data": monitor},
        },
    }
    store.put("downtime", name, downtime)
    return web.json_response({"data": downtime})


def _forgotten(request: web.Request, downtime: dict[str, Any]) -> bool:
    return downtimes.forgotten(downtime["attributes"], request.app[STORE].now())


async def list_downtimes(request: web.Request) -> web.Response:
    """List all downtimes; a cancelled one for as long as it can be read."""
    kept = [downtime for downtime in request.app[STORE].all("downtime") if not _forgotten(request, downtime)]
    found = [_current(request, downtime) for downtime in kept]
    part = page(request, found, offset="page[offset]", limit="page[limit]", most=30)
    return web.json_response({"data": part, "meta": {"page": {"total_filtered_count": len(found)}}})


async def create_downtime(request: web.Request) -> web.Response:
    body = await parsed(request, DowntimeCreateRequest)
    return _put_downtime(request, str(uuid.uuid4()), body["data"]["attributes"], None)


async def get_downtime(request: web.Request) -> web.Response:
    return web.json_response({"data": _current(request, _downtime(request))})


async def update_downtime(request: web.Request) -> web.Response:
    old = _downtime(request)
    if old["attributes"]["canceled"]:  # unsure: Datadog may also say why
        raise RefusedError(404, "Downtime not found")
    body = await parsed(request, DowntimeUpdateRequest)
    return _put_downtime(request, old["id"], body["data"]["attributes"], old["attributes"])


async def cancel_downtime(request: web.Request) -> web.Response:
    store, downtime = request.app[STORE], _downtime(request)
    if downtime["attributes"]["canceled"]:  # unsure: Datadog may also take it, and do nothing
        raise RefusedError(404, f"Downtime {downtime['id']} not found")
    attributes = downtime["attributes"] | {"canceled": store.now().isoformat(), "status": "canceled"}
    store.put("downtime", downtime["id"], downtime | {"attributes": attributes})
    return web.Response(status=204)

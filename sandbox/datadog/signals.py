"""Handles span-based metrics, retention filters, service level objectives and webhooks.

Sources: https://docs.datadoghq.com/api/latest/spans-metrics/, https://docs.datadoghq.com/api/latest/apm-retention-filters/,
https://docs.datadoghq.com/api/latest/service-level-objectives/,
https://docs.datadoghq.com/api/latest/webhooks-integration/, and the answers recorded by the acceptance tests of
https://github.com/DataDog/terraform-provider-datadog
"""

import hashlib
import json
import re
import secrets
from typing import Any

from aiohttp import web
from datadog_api_client.v1.model.service_level_objective import ServiceLevelObjective
from datadog_api_client.v1.model.service_level_objective_request import ServiceLevelObjectiveRequest
from datadog_api_client.v1.model.webhooks_integration import WebhooksIntegration
from datadog_api_client.v1.model.webhooks_integration_custom_variable import WebhooksIntegrationCustomVariable
from datadog_api_client.v1.model.webhooks_integration_custom_variable_update_request import (
    WebhooksIntegrationCustomVariableUpdateRequest,
)
from datadog_api_client.v1.model.webhooks_integration_update_request import WebhooksIntegrationUpdateRequest
from datadog_api_client.v2.model.retention_filter_create_request import RetentionFilterCreateRequest
from datadog_api_client.v2.model.retention_filter_update_request import RetentionFilterUpdateRequest
from datadog_api_client.v2.model.spans_metric_create_request import SpansMetricCreateRequest
from datadog_api_client.v2.model.spans_metric_update_request import SpansMetricUpdateRequest

from sandbox.datadog import queries
from sandbox.datadog.evaluation import webhooks
from sandbox.datadog.handling import STORE, page, parsed, thing
from sandbox.datadog.schema import RefusedError
from sandbox.datadog.store import Store

METRIC = "spans_metric"
FILTER = "retention_filter"
OBJECTIVE = "slo"

METRIC_NAME = re.compile(r"[A-Za-z][\w.]{0,199}", re.ASCII)
"""Source: https://docs.datadoghq.com/metrics/custom_metrics/#naming-custom-metrics"""

WEBHOOK_NAME = re.compile(r"[\w.-]{1,80}", re.ASCII)
VARIABLE_NAME = re.compile(r"[A-Z][A-Z0-9_]*", re.ASCII)
"""Source: https://docs.datadoghq.com/integrations/webhooks/#custom-variables (in capitals)"""

# Span-based metrics


def _metric_answer(metric: dict[str, Any]) -> web.Response:
    return web.json_response({"data": metric})


def _metric(request: web.Request) -> dict[str, Any]:
    return thing(request, METRIC, request.match_info["id"], "Metric not found")


def _check_compute(attributes: dict[str, Any]) -> None:
    compute = attributes["compute"]
    timed = compute["aggregation_type"] == "distribution"
    if timed and not str(compute.get("path", "")).startswith("@"):
        raise RefusedError(400, "compute.path is required for a distribution, and begins with @")
    if not timed and {"path", "include_percentiles"} & compute.keys():
        raise RefusedError(400, "compute.path and compute.include_percentiles are for distributions alone")
    names = [group.get("tag_name", group["path"]) for group in attributes.get("group_by", [])]
    if len(set(names)) < len(names):
        raise RefusedError(400, "Two groups have one tag_name")


async def list_metrics(request: web.Request) -> web.Response:
    return web.json_response({"data": request.app[STORE].all(METRIC)})


async def create_metric(request: web.Request) -> web.Response:
    store, body = request.app[STORE], await parsed(request, SpansMetricCreateRequest)
    # The real plugin sends the id in quotes; Datadog answers it without.
    name, attributes = body["data"]["id"].strip('"'), body["data"]["attributes"]
    if not METRIC_NAME.fullmatch(name):
        raise RefusedError(400, f"{name!r} is not a metric's name")
    if store.get(METRIC, name) is not None:
        raise RefusedError(409, f"Metric {name} already exists")
    attributes = {"filter": {"query": "*"}, "group_by": [], **attributes}
    attributes["group_by"] = [{"tag_name": group["path"], **group} for group in attributes["group_by"]]
    _check_compute(attributes)
    if attributes["compute"]["aggregation_type"] == "distribution":
        attributes["compute"] = {"include_percentiles": False, **attributes["compute"]}
    metric = {"id": name, "attributes": attributes, "type": "spans_metrics"}
    store.put(METRIC, name, metric)
    return _metric_answer(metric)


async def get_metric(request: web.Request) -> web.Response:
    return _metric_answer(_metric(request))


async def update_metric(request: web.Request) -> web.Response:
    old = _metric(request)
    body = await parsed(request, SpansMetricUpdateRequest)
    attributes = {**old["attributes"], **body["data"]["attributes"]}
    attributes["compute"] = {**old["attributes"]["compute"], **attributes["compute"]}
    attributes["group_by"] = [{"tag_name": group["path"], **group} for group in attributes["group_by"]]
    _check_compute(attributes)
    metric = {**old, "attributes": attributes}
    request.app[STORE].put(METRIC, old["id"], metric)
    return _metric_answer(metric)


async def delete_metric(request: web.Request) -> web.Response:
    request.app[STORE].drop(METRIC, _metric(request)["id"])
    return web.Response(status=204)


# Retention filters


def _filter(request: web.Request) -> dict[str, Any]:
    name = request.match_info["id"]
    return thing(request, FILTER, name, f"retention filter with id: '{name}' not found")


def _kept_filter(request: web.Request, name: str, given: dict[str, Any], old: dict[str, Any] | None) -> web.Response:
    if given["filter_type"] != "spans-sampling-processor":
        raise RefusedError(400, "Field 'filter_type' is invalid, expected value is 'spans-sampling-processor'")
    for key in ("rate", "trace_rate"):
        if not 0 <= given.get(key, 0) <= 1:
            raise RefusedError(400, "Invalid Pipeline", f"'{key}' must exist and be between 0 and 1")
    stamp = int(request.app[STORE].now().timestamp())
    who = "sandbox@example.com"
    made = {"created_by": who, "created_at": stamp, "editable": True}
    kept = {} if old is None else {key: old["attributes"][key] for key in made}
    attributes = {"trace_rate": 0.0, **given, "modified_by": who, "modified_at": stamp, **made, **kept}
    found = {"id": name, "attributes": attributes, "type": "apm_retention_filter"}
    request.app[STORE].put(FILTER, name, found)
    return web.json_response({"data": found})


async def list_filters(request: web.Request) -> web.Response:
    return web.json_response({"data": request.app[STORE].all(FILTER)})


async def create_filter(request: web.Request) -> web.Response:
    body = await parsed(request, RetentionFilterCreateRequest)
    return _kept_filter(request, secrets.token_urlsafe(16), body["data"]["attributes"], None)


async def get_filter(request: web.Request) -> web.Response:
    return web.json_response({"data": _filter(request)})


async def update_filter(request: web.Request) -> web.Response:
    old, body = _filter(request), await parsed(request, RetentionFilterUpdateRequest)
    return _kept_filter(request, old["id"], body["data"]["attributes"], old)


async def delete_filter(request: web.Request) -> web.Response:
    request.app[STORE].drop(FILTER, _filter(request)["id"])
    return web.Response(status=200)


# Service level objectives


def _objective(request: web.Request) -> dict[str, Any]:
    name = request.match_info["id"]
    return thing(request, OBJECTIVE, name, f"SLO not found: {name} not found")


def targets(store: Store) -> dict[str, dict[str, float]]:
    """Return the target of each objective, by its id and time frame."""
    return {
        objective["id"]: {each["timeframe"]: each["target"] for each in objective["thresholds"]}
        for objective in store.all(OBJECTIVE)
    }


def _kept_objective(request: web.Request, body: dict[str, Any], old: dict[str, Any] | None) -> web.Response:
    store = request.app[STORE]
    if body["type"] == "metric" and not (body.get("query") or body.get("sli_specification")):
        raise RefusedError(400, "Invalid payload: must specify the query for count types")
    if old is not None and body["type"] != old["type"]:
        raise RefusedError(400, "Invalid payload: an SLO's type can't be changed")
    for query in (body.get("query") or {}).values():
        queries.check(query)
    frames = [threshold["timeframe"] for threshold in body["thresholds"] or []]
    if not frames or len(set(frames)) < len(frames):
        raise RefusedError(400, "Invalid payload: one threshold for each time frame")
    thresholds = []
    for threshold in body["thresholds"]:
        if not 0 < threshold["target"] < 100 or not threshold["target"] < threshold.get("warning", 100):
            raise RefusedError(400, "Invalid payload: target must be in (0, 100), and below the warning")
        # Source: https://docs.datadoghq.com/service_management/service_level_objectives/metric/#set-your-slo-targets
        if round(threshold["target"], 3) != threshold["target"]:
            raise RefusedError(400, "Invalid payload: target has at most three decimal places")
        shown = {f"{key}_display": _display(threshold[key]) for key in ("target", "warning") if key in threshold}
        thresholds.append({**threshold, **shown})
    stamp = int(store.now().timestamp())
    name = old["id"] if old else secrets.token_hex(16)
    found = {
        "description": "",
        "tags": [],
        "monitor_tags": [],
        **{key: value for key, value in body.items() if value is not None},
        "id": name,
        "thresholds": thresholds,
        "type_id": 1,
        "creator": {"name": "Sandbox", "handle": "sandbox@example.com", "email": "sandbox@example.com"},
        "created_at": old["created_at"] if old else stamp,
        "modified_at": stamp,
    }
    if found.get("query"):
        found["sli_specification"] = _specification(found["query"])
    store.put(OBJECTIVE, name, found)
    return web.json_response({"data": [found], "error": None})


def _specification(query: dict[str, str]) -> dict[str, Any]:
    """What Datadog answers besides a query of good and all events: the same as two queries and formulas.

    Source: TestAccDatadogServiceLevelObjective_IgnoreTagKeys of https://github.com/DataDog/terraform-provider-datadog
    """
    named = {"query1": query["numerator"], "query2": query["denominator"]}
    queries = [{"data_source": "metrics", "name": name, "query": text} for name, text in named.items()]
    formulas = {"good_events_formula": {"formula": "query1"}, "total_events_formula": {"formula": "query2"}}
    return {"count": {"queries": queries, **formulas}}


def _display(value: float) -> str:
    """A share as Datadog shows it: ``99.5``, and ``99.`` of a whole one."""
    text = f"{value:g}"
    return text if "." in text else f"{text}."


async def list_objectives(request: web.Request) -> web.Response:
    store = request.app[STORE]
    found = page(request, store.all(OBJECTIVE), offset="offset", limit="limit", most=1000)
    return web.json_response({"data": found, "errors": []})


async def create_objective(request: web.Request) -> web.Response:
    return _kept_objective(request, await parsed(request, ServiceLevelObjectiveRequest), None)


async def get_objective(request: web.Request) -> web.Response:
    return web.json_response({"data": _objective(request), "error": None})


async def update_objective(request: web.Request) -> web.Response:
    old = _objective(request)
    return _kept_objective(request, await parsed(request, ServiceLevelObjective), old)


async def delete_objective(request: web.Request) -> web.Response:
    """Delete an objective; one that a monitor alerts on only if forced."""
    store, name = request.app[STORE], _objective(request)["id"]
    used = [monitor["id"] for monitor in store.all("monitor") if f'"{name}"' in monitor["query"]]
    if used and request.query.get("force") != "true":
        raise RefusedError(409, f"SLO {name} is referenced by monitors {used}")
    store.drop(OBJECTIVE, name)
    return web.json_response({"data": [name], "error": None})


# Webhooks


def _check_headers(body: dict[str, Any]) -> None:
    for key in ("custom_headers", "payload"):
        text = body.get(key)
        if text is None:
            continue
        try:
            found = json.loads(text)
        except ValueError as error:
            raise RefusedError(400, f"{key} must be JSON: {error}") from error
        if not isinstance(found, dict):
            raise RefusedError(400, f"{key} must be a JSON object")
    if "url" in body and not re.match(r"https?://", body["url"]):
        raise RefusedError(400, "url must begin with http:// or https://")


def _create(request: web.Request, kind: str, title: str, names: re.Pattern[str], body: dict[str, Any]) -> None:
    """Create a thing that is identified by its name."""
    store, name = request.app[STORE], body["name"]
    if not names.fullmatch(name):
        raise RefusedError(400, f"{name!r} is not the name of a {title}: it must match {names.pattern}")
    if store.get(kind, name) is not None:
        raise RefusedError(409, f"{title.capitalize()} {name} already exists")
    store.put(kind, name, body)


def _change(request: web.Request, kind: str, old: dict[str, Any], body: dict[str, Any]) -> dict[str, Any]:
    """Update a thing, and rename it if its name changed."""
    store, changed = request.app[STORE], {**old, **body}
    store.drop(kind, old["name"])
    store.put(kind, changed["name"], changed)
    return changed


def _webhook(request: web.Request) -> dict[str, Any]:
    return thing(request, webhooks.KIND, request.match_info["id"], "Webhook does not exist")


async def create_webhook(request: web.Request) -> web.Response:
    body = await parsed(request, WebhooksIntegration)
    _check_headers(body)
    defaults = {"payload": webhooks.DEFAULT, "custom_headers": None, "encode_as": "json", "auth_method_id": None}
    webhook = {**defaults, **body}
    _create(request, webhooks.KIND, "webhook", WEBHOOK_NAME, webhook)
    return web.json_response(webhook, status=201)


async def get_webhook(request: web.Request) -> web.Response:
    return web.json_response(_webhook(request))


async def update_webhook(request: web.Request) -> web.Response:
    old, body = _webhook(request), await parsed(request, WebhooksIntegrationUpdateRequest)
    _check_headers(body)
    return web.json_response(_change(request, webhooks.KIND, old, body))


async def delete_webhook(request: web.Request) -> web.Response:
    request.app[STORE].drop(webhooks.KIND, _webhook(request)["name"])
    return web.json_response({})


def _variable(request: web.Request) -> dict[str, Any]:
    return thing(request, webhooks.VARIABLE, request.match_info["id"], "Custom variable does not exist")


def _variable_answer(variable: dict[str, Any], status: int = 200) -> web.Response:
    """Return a variable; without its value, if that is secret."""
    shown = {key: value for key, value in variable.items() if key != "value" or not variable["is_secret"]}
    return web.json_response(shown, status=status)


async def create_variable(request: web.Request) -> web.Response:
    body = await parsed(request, WebhooksIntegrationCustomVariable)
    _create(request, webhooks.VARIABLE, "custom variable", VARIABLE_NAME, body)
    return _variable_answer(body, 201)


async def get_variable(request: web.Request) -> web.Response:
    return _variable_answer(_variable(request))


async def update_variable(request: web.Request) -> web.Response:
    old, body = _variable(request), await parsed(request, WebhooksIntegrationCustomVariableUpdateRequest)
    return _variable_answer(_change(request, webhooks.VARIABLE, old, body))


async def delete_variable(request: web.Request) -> web.Response:
    request.app[STORE].drop(webhooks.VARIABLE, _variable(request)["name"])
    return web.json_response({})


SECRET = re.compile(r'("value": *")([^"]+)(")')


def logged(path: str, text: str) -> str:
    """Return a body for the log of requests, with a variable's value replaced by a fingerprint."""
    if "/custom-variables" not in path:
        return text
    return SECRET.sub(lambda found: f"{found[1]}{hashlib.sha256(found[2].encode()).hexdigest()[:12]}{found[3]}", text)


HOOKS = "/api/v1/integration/webhooks/configuration"

ROUTES = [
    web.get("/api/v2/apm/config/metrics", list_metrics),
    web.post("/api/v2/apm/config/metrics", create_metric),
    web.get("/api/v2/apm/config/metrics/{id}", get_metric),
    web.patch("/api/v2/apm/config/metrics/{id}", update_metric),
    web.delete("/api/v2/apm/config/metrics/{id}", delete_metric),
    web.get("/api/v2/apm/config/retention-filters", list_filters),
    web.post("/api/v2/apm/config/retention-filters", create_filter),
    web.get("/api/v2/apm/config/retention-filters/{id}", get_filter),
    web.put("/api/v2/apm/config/retention-filters/{id}", update_filter),
    web.delete("/api/v2/apm/config/retention-filters/{id}", delete_filter),
    web.get("/api/v1/slo", list_objectives),
    web.post("/api/v1/slo", create_objective),
    web.get("/api/v1/slo/{id}", get_objective),
    web.put("/api/v1/slo/{id}", update_objective),
    web.delete("/api/v1/slo/{id}", delete_objective),
    web.post(f"{HOOKS}/webhooks", create_webhook),
    web.get(f"{HOOKS}/webhooks/{{id}}", get_webhook),
    web.put(f"{HOOKS}/webhooks/{{id}}", update_webhook),
    web.delete(f"{HOOKS}/webhooks/{{id}}", delete_webhook),
    web.post(f"{HOOKS}/custom-variables", create_variable),
    web.get(f"{HOOKS}/custom-variables/{{id}}", get_variable),
    web.put(f"{HOOKS}/custom-variables/{{id}}", update_variable),
    web.delete(f"{HOOKS}/custom-variables/{{id}}", delete_variable),
]

"""The permission that each path requires of an application key with scopes.

Source: ``x-permission`` in .generator/schemas/v1/openapi.yaml of https://github.com/DataDog/datadog-api-client-python,
and for v2 each path in https://docs.datadoghq.com/api/latest/ (downtimes have no read-only one)
"""

from collections.abc import Collection

SHARE = ("dashboards_public_share", "dashboards_embed_share", "dashboards_invite_share")

HOOKS = "/api/v1/integration/webhooks/configuration"

PERMISSIONS: dict[tuple[str, str], tuple[str, ...]] = {
    ("GET", "/api/v2/validate_keys"): (),
    ("GET", "/api/v1/monitor"): ("monitors_read",),
    ("POST", "/api/v1/monitor"): ("monitors_write",),
    ("POST", "/api/v1/monitor/validate"): ("monitors_read",),
    ("POST", "/api/v1/monitor/{id}/validate"): ("monitors_read",),
    ("GET", "/api/v1/monitor/{id}"): ("monitors_read",),
    ("PUT", "/api/v1/monitor/{id}"): ("monitors_write",),
    ("DELETE", "/api/v1/monitor/{id}"): ("monitors_write",),
    ("POST", "/api/v1/dashboard/public"): SHARE,
    ("GET", "/api/v1/dashboard/public/{token}"): ("dashboards_read",),
    ("PUT", "/api/v1/dashboard/public/{token}"): SHARE,
    ("DELETE", "/api/v1/dashboard/public/{token}"): SHARE,
    ("GET", "/api/v2/dashboard/{id}/shared"): ("dashboards_read",),
    ("GET", "/api/v1/dashboard"): ("dashboards_read",),
    ("POST", "/api/v1/dashboard"): ("dashboards_write",),
    ("GET", "/api/v1/dashboard/{id}"): ("dashboards_read",),
    ("PUT", "/api/v1/dashboard/{id}"): ("dashboards_write",),
    ("DELETE", "/api/v1/dashboard/{id}"): ("dashboards_write",),
    ("POST", "/api/v2/dashboard/{id}/shared/secure-embed"): ("dashboards_embed_share",),
    ("GET", "/api/v2/dashboard/{id}/shared/secure-embed/{token}"): ("dashboards_embed_share",),
    ("PATCH", "/api/v2/dashboard/{id}/shared/secure-embed/{token}"): ("dashboards_embed_share",),
    ("DELETE", "/api/v2/dashboard/{id}/shared/secure-embed/{token}"): ("dashboards_embed_share",),
    ("GET", "/api/v2/downtime"): ("monitors_downtime",),
    ("POST", "/api/v2/downtime"): ("monitors_downtime",),
    ("GET", "/api/v2/downtime/{id}"): ("monitors_downtime",),
    ("PATCH", "/api/v2/downtime/{id}"): ("monitors_downtime",),
    ("DELETE", "/api/v2/downtime/{id}"): ("monitors_downtime",),
    ("GET", "/api/v2/apm/config/metrics"): ("apm_read",),
    ("GET", "/api/v2/apm/config/metrics/{id}"): ("apm_read",),
    ("POST", "/api/v2/apm/config/metrics"): ("apm_generate_metrics",),
    ("PATCH", "/api/v2/apm/config/metrics/{id}"): ("apm_generate_metrics",),
    ("DELETE", "/api/v2/apm/config/metrics/{id}"): ("apm_generate_metrics",),
    ("GET", "/api/v2/apm/config/retention-filters"): ("apm_retention_filter_read",),
    ("GET", "/api/v2/apm/config/retention-filters/{id}"): ("apm_retention_filter_read",),
    ("POST", "/api/v2/apm/config/retention-filters"): ("apm_retention_filter_write",),
    ("PUT", "/api/v2/apm/config/retention-filters/{id}"): ("apm_retention_filter_write",),
    ("DELETE", "/api/v2/apm/config/retention-filters/{id}"): ("apm_retention_filter_write",),
    ("GET", "/api/v1/slo"): ("slos_read",),
    ("GET", "/api/v1/slo/{id}"): ("slos_read",),
    ("POST", "/api/v1/slo"): ("slos_write",),
    ("PUT", "/api/v1/slo/{id}"): ("slos_write",),
    ("DELETE", "/api/v1/slo/{id}"): ("slos_write",),
    ("POST", f"{HOOKS}/webhooks"): ("create_webhooks",),
    ("GET", f"{HOOKS}/webhooks/{{id}}"): ("integrations_read",),
    ("PUT", f"{HOOKS}/webhooks/{{id}}"): ("manage_integrations",),
    ("DELETE", f"{HOOKS}/webhooks/{{id}}"): ("manage_integrations",),
    ("POST", f"{HOOKS}/custom-variables"): ("manage_integrations",),
    ("GET", f"{HOOKS}/custom-variables/{{id}}"): ("integrations_read",),
    ("PUT", f"{HOOKS}/custom-variables/{{id}}"): ("manage_integrations",),
    ("DELETE", f"{HOOKS}/custom-variables/{{id}}"): ("manage_integrations",),
    ("GET", "/api/v1/events"): ("events_read",),
    ("GET", "/api/v1/hosts"): ("hosts_read",),
    ("GET", "/api/v1/query"): ("timeseries_query",),
    ("GET", "/api/v1/graph/snapshot"): (),
}
"""One of these is enough; an empty tuple means that none is needed."""


def allowed(method: str, path: str, scopes: Collection[str]) -> bool:
    """Return whether these scopes allow a request; ``path`` has names in braces for variable parts."""
    needed = PERMISSIONS.get((method, path))
    return needed is not None and (not needed or not set(needed).isdisjoint(scopes))

"""Finds and removes a stack's objects in Datadog by its ownership tag.

Source: https://docs.datadoghq.com/api/latest/
"""

import contextlib
import re
import warnings
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from datadog_api_client import ApiClient
from datadog_api_client.exceptions import ApiException
from datadog_api_client.v1.api.dashboards_api import DashboardsApi
from datadog_api_client.v1.api.monitors_api import MonitorsApi
from datadog_api_client.v1.api.service_level_objectives_api import ServiceLevelObjectivesApi
from datadog_api_client.v1.api.webhooks_integration_api import WebhooksIntegrationApi
from datadog_api_client.v2.api.apm_retention_filters_api import APMRetentionFiltersApi
from datadog_api_client.v2.api.dashboard_secure_embed_api import DashboardSecureEmbedApi
from datadog_api_client.v2.api.dashboard_sharing_api import DashboardSharingApi
from datadog_api_client.v2.api.downtimes_api import DowntimesApi
from datadog_api_client.v2.api.spans_metrics_api import SpansMetricsApi

from components.datadog_api import is_missing

KINDS = {
    "datadog:index/downtimeSchedule:DowntimeSchedule": ("downtime",),
    "datadog:index/monitor:Monitor": ("monitor",),
    "datadog:index/secureEmbedDashboard:SecureEmbedDashboard": ("embed",),
    "pulumi-python:dynamic/datadog:PublicDashboard": ("link",),
    "datadog:index/dashboardJson:DashboardJson": ("dashboard",),
    "datadog:index/serviceLevelObjective:ServiceLevelObjective": ("objective",),
    "datadog:index/apmRetentionFilter:ApmRetentionFilter": ("retention-filter",),
    "datadog:index/spansMetric:SpansMetric": ("spans-metric",),
}
"""The kinds of objects, by resource type."""

NAMED = {
    "datadog:index/spansMetric:SpansMetric": "spans-metric",
    "datadog:index/webhook:Webhook": "webhook",
    "datadog:index/webhookCustomVariable:WebhookCustomVariable": "webhook-variable",
}
"""Kinds whose objects carry no tag, and the stack's own letters in their names; no API lists webhooks."""

ALL = tuple(kind for kinds in KINDS.values() for kind in kinds)
"""Every kind, in order of removal."""

CUSTOMERS = ("objective", "retention-filter", "spans-metric")
"""The kinds that ``customerExperience`` alone makes, and for which alone a key may look."""

SHARED = {"link": "open", "embed": "secure-embed"}
"""The kinds of shared dashboards, with Datadog's ``share_type``."""


@dataclass(frozen=True, kw_only=True)
class TaggedObject:
    """An object in Datadog with an ownership tag.

    ``kind`` is one of :data:`ALL` or :data:`NAMED`; ``link`` and ``embed`` share ``dashboard``.
    """

    kind: str
    identifier: str
    title: str
    dashboard: str = ""

    @property
    def shown(self) -> str:
        """The identifier; of a shared dashboard only its end, since it opens what is shared."""
        return f"...{self.identifier[-4:]}" if self.kind in SHARED else self.identifier


def find(client: ApiClient, tag: str, kinds: Collection[str] = ALL) -> Iterator[TaggedObject]:
    """Find the objects that carry ``tag``: a stack's, or that of one of its resources (``watchpost:.../NAME``).

    Raises:
        ApiException: Datadog refused the request.
    """
    ours = re.compile(re.escape(tag) + (r"(?![\w.+/-])" if "/" in tag else "/"))
    if "downtime" in kinds:
        for downtime in DowntimesApi(client).list_downtimes_with_pagination():
            text, status = downtime.attributes.get("message") or "", downtime.attributes.get("status")
            if ours.search(text) and str(status) != "canceled":
                yield TaggedObject(kind="downtime", identifier=downtime.id, title=text.splitlines()[0])
    if "monitor" in kinds:
        for monitor in MonitorsApi(client).list_monitors_with_pagination():
            if any(ours.match(found) for found in monitor.get("tags", [])):
                yield TaggedObject(kind="monitor", identifier=str(monitor.id), title=monitor.name)
    yield from _signals(client, tag, ours, kinds)
    shares = [kind for kind in SHARED if kind in kinds]
    if not shares and "dashboard" not in kinds:
        return
    of_stack = f"{tag.partition('/')[0]}/"  # what is shared is a dashboard with another resource's name
    for dashboard in DashboardsApi(client).list_dashboards_with_pagination():
        text = dashboard.get("description") or ""
        if shares and of_stack in text:
            yield from _shared(client, dashboard.id, ours, shares)
        if "dashboard" in kinds and ours.search(text):
            yield TaggedObject(kind="dashboard", identifier=dashboard.id, title=dashboard.title)


def _shared(client: ApiClient, dashboard: str, ours: re.Pattern[str], kinds: Collection[str]) -> Iterator[TaggedObject]:
    """Find what shares a dashboard and carries a tag in its title."""
    client.configuration.unstable_operations["list_shared_dashboards_by_dashboard_id"] = True
    try:
        with _in_preview():
            listed = DashboardSharingApi(client).list_shared_dashboards_by_dashboard_id(dashboard).to_dict()
    except ApiException as error:
        if not is_missing(error):  # else another search has just removed the dashboard, and its shares with it
            raise
        return
    for share in (found["attributes"] for found in listed["data"]):
        kind = next((kind for kind in kinds if SHARED[kind] == share["share_type"]), None)
        if kind and ours.search(share.get("title") or ""):
            yield TaggedObject(kind=kind, identifier=share["token"], title=share["title"], dashboard=dashboard)


@contextlib.contextmanager
def _in_preview() -> Iterator[None]:
    """Let the client call what Datadog has in preview, without a warning."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Using unstable operation")
        yield


def _signals(client: ApiClient, tag: str, ours: re.Pattern[str], kinds: Collection[str]) -> Iterator[TaggedObject]:
    """Find what makes metrics of spans and objectives of them."""
    if "objective" in kinds:
        for objective in ServiceLevelObjectivesApi(client).list_slos_with_pagination():
            if any(ours.match(found) for found in objective.get("tags", [])):
                yield TaggedObject(kind="objective", identifier=objective.id, title=objective.name)
    if "retention-filter" in kinds:
        for kept in APMRetentionFiltersApi(client).list_apm_retention_filters().data:
            if ours.search(kept.attributes.name):
                yield TaggedObject(kind="retention-filter", identifier=kept.id, title=kept.attributes.name)
    if "spans-metric" in kinds and "/" not in tag:
        for metric in SpansMetricsApi(client).list_spans_metrics().data:
            if carries(metric.id, tag):
                yield TaggedObject(kind="spans-metric", identifier=metric.id, title=metric.attributes.filter.query)


def carries(name: str, tag: str) -> bool:
    """Tell whether an object's name has the letters of the stack's ownership ``tag`` in it, as a word.

    >>> carries("watchpost.dev_abcdefghij12.orders", "watchpost:abcdefghij12")
    True
    """
    letters = re.escape(tag.partition(":")[2].partition("/")[0])
    return bool(re.search(rf"(?<![a-z0-9]){letters}(?![a-z0-9])", name.lower()))


def named(client: ApiClient, tag: str, kind: str, name: str) -> Iterator[TaggedObject]:
    """Find the object of that name, if there is one and its name says that it is the stack's.

    Raises:
        ApiException: Datadog refused the request.
    """
    if not carries(name, tag):
        return
    try:
        if kind == "spans-metric":
            SpansMetricsApi(client).get_spans_metric(name)
        elif kind == "webhook":
            WebhooksIntegrationApi(client).get_webhooks_integration(name)
        else:
            WebhooksIntegrationApi(client).get_webhooks_integration_custom_variable(name)
    except ApiException as error:
        if not is_missing(error):
            raise
        return
    yield TaggedObject(kind=kind, identifier=name, title="")


def remove(client: ApiClient, found: TaggedObject) -> None:
    """Remove an object; one that is already gone is no error.

    Raises:
        ApiException: Datadog refused the request.
    """
    try:
        if found.kind == "downtime":
            DowntimesApi(client).cancel_downtime(found.identifier)
        elif found.kind == "monitor":
            MonitorsApi(client).delete_monitor(int(found.identifier), force="true")
        elif found.kind == "link":
            DashboardsApi(client).delete_public_dashboard(found.identifier)
        elif found.kind == "embed":
            client.configuration.unstable_operations["delete_dashboard_secure_embed"] = True
            with _in_preview():
                DashboardSecureEmbedApi(client).delete_dashboard_secure_embed(found.dashboard, found.identifier)
        elif found.kind == "dashboard":
            DashboardsApi(client).delete_dashboard(found.identifier)
        elif found.kind == "objective":
            ServiceLevelObjectivesApi(client).delete_slo(found.identifier, force="true")
        elif found.kind == "retention-filter":
            APMRetentionFiltersApi(client).delete_apm_retention_filter(found.identifier)
        elif found.kind == "spans-metric":
            SpansMetricsApi(client).delete_spans_metric(found.identifier)
        elif found.kind == "webhook":
            WebhooksIntegrationApi(client).delete_webhooks_integration(found.identifier)
        else:
            WebhooksIntegrationApi(client).delete_webhooks_integration_custom_variable(found.identifier)
    except ApiException as error:
        if not is_missing(error):
            raise

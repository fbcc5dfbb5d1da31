"""Finds and removes a stack's objects in Datadog by its ownership tag.

Source: https://docs.datadoghq.com/api/latest/
"""

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from datadog_api_client import ApiClient
from datadog_api_client.exceptions import ApiException
from datadog_api_client.v1.api.dashboards_api import DashboardsApi
from datadog_api_client.v1.api.monitors_api import MonitorsApi
from datadog_api_client.v2.api.downtimes_api import DowntimesApi

KINDS = {
    "datadog:index/downtimeSchedule:DowntimeSchedule": ("downtime",),
    "datadog:index/monitor:Monitor": ("monitor",),
    "datadog:index/dashboardJson:DashboardJson": ("dashboard",),
}
"""The kinds of objects, by resource type. Secure embeds are missing: they can't carry a tag, and no API lists them."""

ALL = tuple(kind for kinds in KINDS.values() for kind in kinds)
"""Every kind, in order of removal."""


@dataclass(frozen=True, kw_only=True)
class TaggedObject:
    """An object in Datadog with an ownership tag; ``kind`` is ``monitor``, ``dashboard`` or ``downtime``."""

    kind: str
    identifier: str
    title: str


def find(client: ApiClient, tag: str, kinds: Collection[str] = ALL) -> Iterator[TaggedObject]:
    """Find the objects that carry ``tag``: a stack's, or that of one of its resources (``watchpost:.../NAME``).

    Raises:
        ApiException: Datadog refused the request.
    """
    ours = re.compile(re.escape(tag) + (r"(?![\w.+-])" if "/" in tag else "/"))
    if "downtime" in kinds:
        for downtime in DowntimesApi(client).list_downtimes_with_pagination():
            text, status = downtime.attributes.get("message") or "", downtime.attributes.get("status")
            if ours.search(text) and str(status) != "canceled":
                yield TaggedObject(kind="downtime", identifier=downtime.id, title=text.splitlines()[0])
    if "monitor" in kinds:
        for monitor in MonitorsApi(client).list_monitors_with_pagination():
            if any(ours.match(found) for found in monitor.get("tags", [])):
                yield TaggedObject(kind="monitor", identifier=str(monitor.id), title=monitor.name)
    if "dashboard" in kinds:
        for dashboard in DashboardsApi(client).list_dashboards_with_pagination():
            if ours.search(dashboard.get("description") or ""):
                yield TaggedObject(kind="dashboard", identifier=dashboard.id, title=dashboard.title)


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
        else:
            DashboardsApi(client).delete_dashboard(found.identifier)
    except ApiException as error:
        if error.status != 404:
            raise

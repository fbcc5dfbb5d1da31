"""What carries a stack's mark in Datadog: found, and removed.

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
"""What the resources of a type are called here. A secure embed has no place for a mark, and no list to be found in."""

ALL = tuple(kind for kinds in KINDS.values() for kind in kinds)
"""Every kind, in the order in which they can be removed."""


@dataclass(frozen=True, kw_only=True)
class Thing:
    """Something in Datadog that carries a mark; ``kind`` is ``monitor``, ``dashboard`` or ``downtime``."""

    kind: str
    identifier: str
    title: str


def find(client: ApiClient, own: str, kinds: Collection[str] = ALL) -> Iterator[Thing]:
    """What carries the mark ``own``: a stack's, or that of one of its resources (``watchpost:.../NAME``).

    Raises:
        ApiException: Datadog refused to say.
    """
    ours = re.compile(re.escape(own) + (r"(?![\w.+-])" if "/" in own else "/"))
    if "downtime" in kinds:
        for downtime in DowntimesApi(client).list_downtimes_with_pagination():
            text, status = downtime.attributes.get("message") or "", downtime.attributes.get("status")
            if ours.search(text) and str(status) != "canceled":
                yield Thing(kind="downtime", identifier=downtime.id, title=text.splitlines()[0])
    if "monitor" in kinds:
        for monitor in MonitorsApi(client).list_monitors_with_pagination():
            if any(ours.match(tag) for tag in monitor.get("tags", [])):
                yield Thing(kind="monitor", identifier=str(monitor.id), title=monitor.name)
    if "dashboard" in kinds:
        for dashboard in DashboardsApi(client).list_dashboards_with_pagination():
            if ours.search(dashboard.get("description") or ""):
                yield Thing(kind="dashboard", identifier=dashboard.id, title=dashboard.title)


def remove(client: ApiClient, thing: Thing) -> None:
    """Remove it; one that is gone meanwhile is fine.

    Raises:
        ApiException: Datadog refused.
    """
    try:
        if thing.kind == "downtime":
            DowntimesApi(client).cancel_downtime(thing.identifier)
        elif thing.kind == "monitor":
            MonitorsApi(client).delete_monitor(int(thing.identifier), force="true")
        else:
            DashboardsApi(client).delete_dashboard(thing.identifier)
    except ApiException as error:
        if error.status != 404:
            raise

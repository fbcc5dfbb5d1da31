"""The start page: everything that is watched, with state and link."""

from sandbox.datadog import desk, downtimes
from sandbox.datadog.evaluation import memory, slos
from sandbox.datadog.pages import dashboards as boards
from sandbox.datadog.pages import events, hosts, monitors, services
from sandbox.datadog.pages.rendering import Asked, Page
from sandbox.datadog.store import Store

LISTED = 5
"""Maximum messages and events on this page."""


def show(store: Store, _: Asked) -> Page:
    """Show everything in the account."""
    now = store.now()
    return "start.html", {
        "hosts": list(hosts.hosts(store).values()),
        "dashboards": store.all("dashboard"),
        "anomalies": boards.anomalies(store),
        "monitors": monitors.listed(store),
        "downtimes": [
            {"downtime": downtime, "attributes": downtimes.current(downtime["attributes"], now)}
            for downtime in store.all("downtime")
            if downtime["attributes"]["canceled"] is None
        ],
        "services": [
            {"service": service, "env": env, "operation": operation}
            for (service, env), operations in sorted(services.known(store).items())
            for operation in sorted(operations)
        ],
        "objectives": store.all(slos.KIND),
        "tickets": desk.tickets(store)[-LISTED:][::-1],
        "events": [events.shown(event) for event in store.all("event")[-LISTED:][::-1]],
        "mails": memory.mails(store)[-LISTED:][::-1],
    }


def dashboards(store: Store, _: Asked) -> Page:
    """List all dashboards."""
    return "dashboards.html", {"dashboards": store.all("dashboard")}

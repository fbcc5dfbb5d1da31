"""Pages of SLOs: the status, the remaining error budget, and the alerts."""

from collections.abc import Mapping
from typing import Any

from sandbox.datadog.evaluation import memory, series, slos
from sandbox.datadog.evaluation.language import UnknownFormError
from sandbox.datadog.pages.rendering import Asked, NotFoundError, Page
from sandbox.datadog.store import Store


def state(source: series.Source, slo: Mapping[str, Any], now: float) -> dict[str, Any]:
    """Return what pages show of an SLO; ``fault`` says why it can't be computed."""
    fault = slos.fault(slo)
    try:
        found = [] if fault else slos.statuses(source, slo, now)
    except UnknownFormError as error:
        fault, found = str(error), []
    return {"slo": slo, "fault": fault, "statuses": found}


def show(store: Store, asked: Asked) -> Page:
    """Show all SLOs, or the one with the URL's ``slo_id``."""
    name = asked.query.get("slo_id", "")
    found = [slo for slo in store.all(slos.KIND) if name in ("", slo["id"])]
    if name and not found:
        raise NotFoundError(f"There is no SLO {name}.")
    source, now = series.Source(store), store.now().timestamp()
    alerts = [
        {"monitor": monitor, "state": memory.state(store, monitor["id"])}
        for monitor in store.all("monitor")
        if any(f'"{slo["id"]}"' in monitor["query"] for slo in found)
    ]
    return "objectives.html", {"rows": [state(source, slo, now) for slo in found], "alerts": alerts, "one": bool(name)}

"""Datadog's documentation of the metrics that Watchpost shows: kind, unit and tags, with sources."""

from dataclasses import dataclass
from typing import Literal

Kind = Literal["gauge", "rate", "count", "distribution"]

HOST_TAGS = frozenset({"host", "env"})
"""The tags of every metric of a host, besides those of ``datadog.yaml``, which can be any.

Source: https://docs.datadoghq.com/getting_started/tagging/#tag-inheritance
"""


@dataclass(frozen=True, kw_only=True)
class Documented:
    """A metric with its own ``tags``; ``of_a_host`` says whether it also has the tags of a host."""

    kind: Kind
    unit: str
    source: str
    tags: frozenset[str] = frozenset()
    of_a_host: bool = True

    @property
    def carries(self) -> frozenset[str]:
        """Return all known tag keys of the metric."""
        return self.tags | (HOST_TAGS if self.of_a_host else frozenset())


TRACES = "https://docs.datadoghq.com/tracing/metrics/metrics_namespace/"
NETWORK = "https://github.com/DataDog/integrations-core/blob/master/network/metadata.csv"
SYSTEM = "https://docs.datadoghq.com/integrations/system/"
MYSQL = "https://github.com/DataDog/integrations-core/blob/master/mysql/metadata.csv"

_OF_SPANS = frozenset({"env", "service", "version", "resource", "resource_name", "http.status_code"})

DOCUMENTED: dict[str, Documented] = {
    "my_metric": Documented(
        kind="gauge", unit="", tags=frozenset({"custom_check"}), source="files/checks/my_metric.py"
    ),
    # The file says percent; the check sends the rate of the server's CPU seconds: 1 is one core.
    "mysql.performance.user_time": Documented(kind="gauge", unit="core", source=MYSQL),
    "system.cpu.user": Documented(kind="gauge", unit="percent", source=SYSTEM),
    "system.cpu.system": Documented(kind="gauge", unit="percent", source=SYSTEM),
    "system.net.bytes_rcvd": Documented(
        kind="gauge", unit="byte per second", tags=frozenset({"device", "device_name"}), source=NETWORK
    ),
    # Per host: the kernel counts TCP for all interfaces together.
    "system.net.tcp.in_segs": Documented(kind="gauge", unit="segment per second", source=NETWORK),
    "trace.flask.request.hits": Documented(kind="count", unit="request", tags=_OF_SPANS, source=TRACES),
    "trace.flask.request.errors": Documented(kind="count", unit="error", tags=_OF_SPANS, source=TRACES),
    "trace.flask.request": Documented(
        kind="distribution",
        unit="second",
        tags=_OF_SPANS - {"http.status_code"} | {"synthetics"},
        of_a_host=False,
        source=TRACES,
    ),
}
"""The documented metrics by name; any other may have any tags."""

OWN_TAGS = frozenset().union(*(metric.tags for metric in DOCUMENTED.values())) - HOST_TAGS
"""Tag keys of single metrics, which other metrics of a host don't have."""

"""Resources of the Datadog plugin, and the messages of its errors, for the tests of the plugin's messages."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.engine.plugin import Plugin, PluginFailedError

INDEX = "watchpost:datadog:Component$datadog:index"
MONITOR, DASHBOARD = f"{INDEX}/monitor:Monitor", f"{INDEX}/dashboardJson:DashboardJson"
DOWNTIME, OBJECTIVE = (
    f"{INDEX}/downtimeSchedule:DowntimeSchedule",
    f"{INDEX}/serviceLevelObjective:ServiceLevelObjective",
)
METRIC, FILTER = f"{INDEX}/spansMetric:SpansMetric", f"{INDEX}/apmRetentionFilter:ApmRetentionFilter"
WEBHOOK, VARIABLE = f"{INDEX}/webhook:Webhook", f"{INDEX}/webhookCustomVariable:WebhookCustomVariable"
EMBED = f"{INDEX}/secureEmbedDashboard:SecureEmbedDashboard"

WEEKLY = {"rrule": "FREQ=WEEKLY;INTERVAL=1;BYDAY=MO", "duration": "14h", "start": "2090-01-02T19:00:00"}
GOOD: dict[str, dict[str, Any]] = {
    MONITOR: {
        "name": "m", "type": "metric alert", "query": "avg(last_5m):avg:my_metric{*} > 800", "message": "text",
        "monitorThresholds": {"critical": "800"}, "notifyNoData": True, "noDataTimeframe": 10,
    },
    DASHBOARD: {"dashboard": json.dumps({"title": "t", "layout_type": "ordered", "widgets": []})},
    DOWNTIME: {
        "monitorIdentifier": {"monitorId": 1}, "scope": "*",
        "recurringSchedule": {"timezone": "Europe/Paris", "recurrences": [WEEKLY]},
    },
    OBJECTIVE: {
        "name": "o", "type": "metric", "query": {"numerator": "sum:a{*}", "denominator": "sum:b{*}"},
        "thresholds": [{"timeframe": "30d", "target": 99.5}],
    },
    METRIC: {
        "name": "a.b", "compute": {"aggregationType": "distribution", "includePercentiles": True, "path": "@duration"},
        "filter": {"query": "service:x"}, "groupBies": [{"path": "@a", "tagName": "a"}],
    },
    FILTER: {
        "name": "n", "enabled": True, "filter": {"query": "service:x"}, "filterType": "spans-sampling-processor",
        "rate": "1.0",
    },
    WEBHOOK: {"name": "n", "url": "https://example.com", "payload": "{}", "encodeAs": "json"},
    VARIABLE: {"name": "N", "value": "fake-value", "isSecret": True},
    EMBED: {"dashboardId": "abc-def-ghi", "title": "t"},
}  # fmt: skip

REFUSED = '{"errors": ["ordered fault"]}'
GARBAGE = "invalid character '<' looking for beginning of value"


def doubled(text: str) -> str:
    """Return an error as the plugin's SDKv2 half returns it."""
    return f"1 error occurred:\n\t* {text}\n\n"


def logged(text: str) -> str:
    """Return the same as it logs it."""
    return f"  sdk-v2/provider2.go:571: sdk.helper_schema: {text}: provider=datadog@5.17.0"


def failure(function: Callable[[], object]) -> PluginFailedError:
    with pytest.raises(PluginFailedError) as caught:
        function()
    return caught.value


class Resource:
    """A created resource, with everything that the engine keeps of it."""

    def __init__(self, datadog: Plugin, kind: str, inputs: dict[str, Any]) -> None:
        self.plugin, self.kind = datadog, kind
        self.inputs, _ = datadog.check(kind, inputs)
        self.id, self.state = datadog.create(kind, inputs)

    def update(self, **changes: Any) -> dict[str, Any]:
        return self.plugin.update(self.kind, self.id, self.state, {**self.inputs, **changes}, self.inputs)

    def diff(self, **changes: Any) -> Any:
        inputs, _ = self.plugin.check(self.kind, {**self.inputs, **changes})
        return self.plugin.diff(self.kind, self.id, self.state, inputs, self.inputs)

    def read(self) -> tuple[str, dict[str, Any], dict[str, Any]]:
        return self.plugin.read(self.kind, self.id, self.state, self.inputs)

    def delete(self) -> None:
        self.plugin.delete(self.kind, self.id, self.state, self.inputs)

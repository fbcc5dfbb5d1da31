"""The dashboards, in Datadog's JSON: edit ``files/dashboards/``, or paste a dashboard's exported JSON there."""

import json
from dataclasses import dataclass

import pulumi
import pulumi_datadog as datadog

from components import templates
from components.custom_check import Metric
from components.datadog_context import DatadogContext
from components.mysql import USER_TIME
from components.traced_app import OPERATION


@dataclass(frozen=True, kw_only=True)
class TimeboardsArgs:
    """The metric, with its thresholds, and the service to show for the ``context``'s env."""

    context: DatadogContext
    metric: Metric
    warning: int
    alert: int
    service: str


class Timeboards(pulumi.ComponentResource):
    """The metric's timeboard, and the dashboard for APM and infrastructure.

    ``DashboardJson`` is the only resource that can set a default time frame.

    Source: https://www.pulumi.com/registry/packages/datadog/api-docs/dashboardjson/
    """

    timeboard: pulumi.Output[str]
    """The link to the metric's timeboard, which shows the last 5 minutes."""

    apm: datadog.DashboardJson
    """The dashboard for APM and infrastructure, which may be shared."""

    apm_link: pulumi.Output[str]
    """The link to the APM dashboard."""

    def __init__(self, name: str, args: TimeboardsArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("watchpost:datadog:Timeboards", name, None, opts)
        child = pulumi.ResourceOptions(parent=self, hooks=args.context.ownership.hooks(name))
        # Both are rendered before either is created, so that a faulty template stops both.
        rendered = {f"{name}-timeboard": timeboard_json(args), f"{name}-apm": apm_json(args)}
        timeboard, self.apm = (
            datadog.DashboardJson(key, dashboard=owned(text, args.context.ownership.of(key)), opts=child)
            for key, text in rendered.items()
        )
        self.timeboard = timeboard.url.apply(args.context.links.dashboard)
        self.apm_link = self.apm.url.apply(args.context.links.dashboard)
        self.register_outputs({"timeboard": self.timeboard, "apm_link": self.apm_link})


def owned(dashboard: str, tag: pulumi.Output[str]) -> pulumi.Output[str]:
    """Append the ownership ``tag`` to the description in a dashboard's JSON."""
    document = json.loads(dashboard)
    description = document.get("description") or ""
    return tag.apply(lambda tag: json.dumps({**document, "description": f"{description} ({tag})".lstrip()}))


def timeboard_json(args: TimeboardsArgs) -> str:
    """Render the timeboard: the metric, the database's anomalies, and the metric's hourly sum."""
    return templates.json_file(
        "dashboards/timeboard.json",
        {
            "metric": args.metric.name,
            "scope": args.metric.scope(args.context.env),
            "env": args.context.env,
            "warning": args.warning,
            "alert": args.alert,
            "service": args.service,
            "user_time": USER_TIME,
        },
    )


def apm_json(args: TimeboardsArgs) -> str:
    """Render the dashboard: hits, errors, latency, and requests against CPU, loopback traffic and TCP segments."""
    return templates.json_file(
        "dashboards/apm_infrastructure.json", {"service": args.service, "env": args.context.env, "operation": OPERATION}
    )

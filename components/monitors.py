"""The metric monitor: its query, its message for each state, and when it notifies."""

from collections.abc import Mapping
from dataclasses import dataclass

import pulumi
import pulumi_datadog as datadog

from components import templates
from components.custom_check import Metric
from components.datadog_context import DatadogContext
from components.links import around_the_alert

STATES = ("alert", "warning", "no_data", "recovery")
"""The states with their own message; each names a conditional block in Datadog and a file in ``files/monitor/``.

Source: https://docs.datadoghq.com/monitors/notify/variables/#conditional-variables
"""

EVERY_MINUTE = 60
"""Longest interval between points, in seconds, that fills a window; with longer ones Datadog skips evaluations.

Source: https://docs.datadoghq.com/monitors/configuration/#evaluation-window (Require a full window of data)
"""


@dataclass(frozen=True, kw_only=True)
class MetricMonitorArgs:
    """Averages ``metric`` over ``window_minutes`` on every host of the ``context``'s env, and notifies ``mentions``.

    ``interval`` is the time between a host's points, in seconds.
    """

    context: DatadogContext
    metric: Metric
    window_minutes: int
    warning: int
    alert: int
    no_data_minutes: int
    mentions: str
    timeboard: pulumi.Input[str]
    interval: int = 45


class MetricMonitor(pulumi.ComponentResource):
    """A multi alert grouped by host, which the host's name and address in its messages require.

    Source: https://docs.datadoghq.com/monitors/types/metric/
    """

    monitor: datadog.Monitor
    """The monitor, which downtimes mute."""

    link: pulumi.Output[str]
    """The link to the monitor's page."""

    def __init__(self, name: str, args: MetricMonitorArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("watchpost:datadog:MetricMonitor", name, None, opts)
        context = args.context
        self.monitor = datadog.Monitor(
            name,
            name=f"{args.metric.name} on {{{{host.name}}}} ({context.env})",
            type="metric alert",
            query=query(args),
            message=pulumi.Output.from_input(args.timeboard).apply(lambda timeboard: message(args, timeboard)),
            monitor_thresholds=datadog.MonitorMonitorThresholdsArgs(
                critical=str(args.alert), warning=str(args.warning)
            ),
            # `on_missing_data` always waits for the length of the window; only this older pair takes its own minutes.
            # Source: docs/decisions/0004-no-data-by-the-older-pair.md
            notify_no_data=True,
            no_data_timeframe=args.no_data_minutes,
            require_full_window=args.interval <= EVERY_MINUTE,
            notify_audit=True,
            tags=[f"env:{context.env}", args.metric.tag, context.ownership.of(name)],
            opts=pulumi.ResourceOptions(parent=self, hooks=context.ownership.hooks(name)),
        )
        self.link = self.monitor.id.apply(context.links.monitor)
        self.register_outputs({"link": self.link})


def query(args: MetricMonitorArgs) -> str:
    """Render the monitor's query; Datadog requires its threshold to equal the critical one."""
    metric = f"avg:{args.metric.name}{{{args.metric.scope(args.context.env)}}} by {{host}}"
    return f"avg(last_{args.window_minutes}m):{metric} > {args.alert}"


def message(args: MetricMonitorArgs, timeboard: str) -> str:
    """Render the message: one conditional block per state, each with the recipients.

    A mention outside the blocks would be notified of every transition.
    """
    values = {
        "metric": args.metric.name,
        "check": args.metric.check,
        "window": args.window_minutes,
        "no_data": args.no_data_minutes,
        "timeboard": around_the_alert(timeboard),
        "host_page": args.context.links.host(""),
    }
    texts = {state: templates.text_file(f"monitor/{state}.md", values).strip() for state in STATES}
    return blocks(texts, args.mentions)


def blocks(texts: Mapping[str, str], mentions: str) -> str:
    """Render a message with one conditional block per state, each of which notifies ``mentions``.

    Source: https://docs.datadoghq.com/monitors/notify/variables/#conditional-variables
    """
    return "\n".join(f"{{{{#is_{state}}}}}\n{text}\n\n{mentions}\n{{{{/is_{state}}}}}" for state, text in texts.items())

"""A shared link to a dashboard, for viewers without a Datadog account."""

from dataclasses import dataclass

import pulumi
import pulumi_datadog as datadog

from components.datadog_context import DatadogContext


@dataclass(frozen=True, kw_only=True)
class SharedDashboardArgs:
    """The dashboard to share, and the title shown to viewers."""

    dashboard: datadog.DashboardJson
    title: str
    context: DatadogContext


class SharedDashboard(pulumi.ComponentResource):
    """A secure embed, the only kind of shared link with a Pulumi resource. The account has to allow sharing.

    Source: https://docs.datadoghq.com/dashboards/sharing/shared_dashboards/
    """

    link: pulumi.Output[str]
    """The shared link, a secret: anyone who has it can view the dashboard."""

    def __init__(self, name: str, args: SharedDashboardArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("watchpost:datadog:SharedDashboard", name, None, opts)
        embed = datadog.SecureEmbedDashboard(
            name,
            dashboard_id=args.dashboard.id,
            title=args.title,
            global_time_live_span="1h",
            opts=pulumi.ResourceOptions(
                parent=self,
                additional_secret_outputs=["url", "credential", "token"],
                hooks=args.context.ownership.hooks(name),
            ),
        )
        self.link = pulumi.Output.secret(embed.url)
        self.register_outputs({"link": self.link})

"""A shared link to a dashboard, for viewers without a Datadog account."""

from dataclasses import dataclass
from typing import Literal

import pulumi
import pulumi_datadog as datadog

from components import public_dashboard
from components.datadog_context import DatadogContext

LIVE_SPAN = "1h"
"""The time frame that viewers see first."""


@dataclass(frozen=True, kw_only=True)
class SharedDashboardArgs:
    """The dashboard to share, how, and the title shown to viewers.

    ``public`` opens for anybody who has the link, ``embed`` only in a page that signs each request with the embed's
    credential. The ownership tag is appended to the title, the only text that a shared link can carry.
    """

    context: DatadogContext
    dashboard: datadog.DashboardJson
    title: str
    access: Literal["public", "embed"]


class SharedDashboard(pulumi.ComponentResource):
    """A shared link. The organization has to allow this kind of sharing.

    Source: https://docs.datadoghq.com/dashboards/sharing/shared_dashboards/
    """

    link: pulumi.Output[str]
    """The shared link, a secret: anyone who has a public one can view the dashboard."""

    def __init__(self, name: str, args: SharedDashboardArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("watchpost:datadog:SharedDashboard", name, None, opts)
        ownership = args.context.ownership
        title = pulumi.Output.concat(args.title, " (", ownership.of(name), ")")
        hooks = ownership.hooks(name)
        shared: public_dashboard.PublicDashboard | datadog.SecureEmbedDashboard
        if args.access == "public":
            shared = public_dashboard.PublicDashboard(
                name,
                dashboard_id=args.dashboard.id,
                title=title,
                live_span=LIVE_SPAN,
                api_url=ownership.api_url,
                opts=pulumi.ResourceOptions(
                    parent=self,
                    provider=public_dashboard.provider(name, ownership.credentials),
                    additional_secret_outputs=["url", "token"],
                    hooks=hooks,
                ),
            )
        else:
            shared = datadog.SecureEmbedDashboard(
                name,
                dashboard_id=args.dashboard.id,
                title=title,
                global_time_live_span=LIVE_SPAN,
                opts=pulumi.ResourceOptions(
                    parent=self, additional_secret_outputs=["url", "credential", "token"], hooks=hooks
                ),
            )
        self.link = pulumi.Output.secret(shared.url)
        self.register_outputs({"link": self.link})

"""One machine and everything on it: Agent, database, custom check, traced app and load generator."""

from dataclasses import dataclass

import pulumi

from components import agent, mysql, traced_app
from components.agent import AgentService, AgentServiceArgs, DatadogAgent, DatadogAgentArgs
from components.arrival import Arrival
from components.custom_check import CustomCheck, CustomCheckArgs, Metric
from components.host import Host, HostArgs
from components.mysql import MySql, MySqlArgs
from components.traced_app import (
    CustomerLoad,
    CustomerLoadArgs,
    LoadGenerator,
    LoadGeneratorArgs,
    TracedApp,
    TracedAppArgs,
)
from settings import HostSettings, Settings


@dataclass(frozen=True, kw_only=True)
class WatchedHostArgs:
    """``machine``, whose Agent reports ``metric`` with ``api_key``, in the stack with the ownership tag ``owner``.

    ``arrival`` verifies that the Agent's data reaches the account. ``machines`` maps every host of the stack to its
    machine's identity. With a ``pseudonym_key`` the app serves the customers' journey.
    """

    machine: HostSettings
    settings: Settings
    owner: pulumi.Input[str]
    metric: Metric
    api_key: pulumi.Input[str]
    arrival: Arrival
    machines: dict[str, pulumi.Output[str]]
    pseudonym_key: pulumi.Input[str] | None = None


class WatchedHost(pulumi.ComponentResource):
    """The parent of everything on one machine, named as the machine is in Datadog."""

    ssh: pulumi.Output[str]
    """The SSH command to log in."""

    proofs: dict[str, pulumi.Output[object]]
    """Each component's evidence that it works, by name."""

    def __init__(self, name: str, args: WatchedHostArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("watchpost:host:WatchedHost", name, None, opts)
        settings, experience = args.settings, args.settings.customer_experience
        # Version 1.0 had no WatchedHost: these components were children of the stack.
        child = pulumi.ResourceOptions(parent=self, aliases=[pulumi.Alias(parent=pulumi.ROOT_STACK_RESOURCE)])
        host = Host(
            name,
            HostArgs(
                machine=args.machine,
                owner=args.owner,
                packages=[*agent.PACKAGES, *mysql.PACKAGES, *traced_app.PACKAGES],
                directories=mysql.DIRECTORIES,
                users=mysql.USERS,
                databases=mysql.DATABASES,
                clean_on_destroy=settings.on_destroy == "clean",
                repairs=settings.repairs,
                machines=args.machines,
            ),
            child,
        )
        datadog_agent = DatadogAgent(
            f"{name}-agent",
            DatadogAgentArgs(
                host=host,
                api_key=args.api_key,
                site=settings.site,
                env=settings.env,
                tags=settings.tags,
                version=settings.agent_version,
                install_script_url=settings.install_script_url,
                install_script_sha256=settings.install_script_sha256,
                agent_url=settings.agent_url,
                trace_url=settings.trace_url,
                config=settings.agent_config,
            ),
            child,
        )
        database = MySql(f"{name}-mysql", MySqlArgs(agent=datadog_agent), child)
        check = CustomCheck(
            f"{name}-my-metric",
            CustomCheckArgs(agent=datadog_agent, metric=args.metric, interval=settings.check_interval),
            child,
        )
        running_agent = AgentService(
            f"{name}-agent-service",
            AgentServiceArgs(
                agent=datadog_agent,
                reads=[database.config, *check.files],
                checks=[args.metric.check, "mysql"],
                arrival=args.arrival,
            ),
            child,
        )
        app = TracedApp(
            f"{name}-app",
            TracedAppArgs(
                host=host,
                agent=running_agent,
                service=settings.service,
                env=settings.env,
                version=settings.version,
                port=settings.app_port,
                trace_url=settings.trace_url,
                pseudonym_key=args.pseudonym_key,
                tiers=experience.tiers if experience else (),
            ),
            child,
        )
        self.ssh = host.ssh
        self.proofs = {
            "agent": running_agent.version,
            "my_metric": check.sample,
            "database": database.version,
            "user_time": database.user_time,
            "traces": app.traces,
        }
        if settings.load_requests:
            load = LoadGenerator(
                f"{name}-load",
                LoadGeneratorArgs(
                    host=host, app=app, requests=settings.load_requests, concurrency=settings.load_concurrency
                ),
                child,
            )
            self.proofs["load"] = load.report
        if settings.load_requests and experience and args.pseudonym_key is not None:
            orders = CustomerLoad(
                f"{name}-customers",
                CustomerLoadArgs(host=host, app=app, tiers=experience.tiers, rehearsal=experience.rehearsal),
                child,
            )
            self.proofs["customers"] = orders.report
        self.register_outputs({"ssh": self.ssh, "proofs": self.proofs})

"""Watchpost: settings, then what watches in Datadog, then hosts and what runs on them, then links."""

import startup

startup.prepare()  # before anything imports a provider's SDK

import pulumi

from components import agent, links, mysql, traced_app
from components.agent import AgentService, AgentServiceArgs, DatadogAgent, DatadogAgentArgs
from components.arrival import Arrival
from components.custom_check import MY_METRIC, CustomCheck, CustomCheckArgs
from components.downtimes import OfficeHoursDowntimes, OfficeHoursDowntimesArgs
from components.host import Host, HostArgs
from components.mark import Mark
from components.monitors import MetricMonitor, MetricMonitorArgs
from components.mysql import MySql, MySqlArgs
from components.provider import provider
from components.settings import HostSettings, load
from components.sharing import SharedDashboard, SharedDashboardArgs
from components.timeboards import Timeboards, TimeboardsArgs
from components.traced_app import OPERATION, LoadGenerator, LoadGeneratorArgs, TracedApp, TracedAppArgs

settings, keys = load()
site, env, service = settings.site, settings.env, settings.service
own, arrival = Mark(keys, site), Arrival(keys, site, settings.agent_url)
machines: dict[str, pulumi.Output[str]] = {}


def watched_host(name: str, machine: HostSettings, after: pulumi.Input[object]) -> dict[str, pulumi.Input[object]]:
    """Everything on one host, begun once ``after`` is known; its links and proofs."""
    host = Host(
        name,
        HostArgs(
            machine=machine,
            mark=own.text,
            packages=[*agent.PACKAGES, *mysql.PACKAGES, *traced_app.PACKAGES],
            directories=mysql.DIRECTORIES,
            users=mysql.USERS,
            clean_on_destroy=settings.on_destroy == "clean",
            repairs=settings.repairs,
            after=after,
            machines=machines,
        ),
    )
    datadog_agent = DatadogAgent(
        f"{name}-agent",
        DatadogAgentArgs(
            host=host,
            api_key=keys.api_key,
            site=site,
            env=env,
            tags=settings.tags,
            version=settings.agent_version,
            install_script_url=settings.install_script_url,
            install_script_sha256=settings.install_script_sha256,
            agent_url=settings.agent_url,
            trace_url=settings.trace_url,
            config=settings.agent_config,
        ),
    )
    database = MySql(f"{name}-mysql", MySqlArgs(agent=datadog_agent))
    check = CustomCheck(
        f"{name}-my-metric",
        CustomCheckArgs(agent=datadog_agent, metric=MY_METRIC, interval=settings.check_interval),
    )
    running = AgentService(
        f"{name}-agent-service",
        AgentServiceArgs(
            agent=datadog_agent,
            reads=[database.config, *check.files],
            checks=[MY_METRIC.check, "mysql"],
            arrival=arrival,
        ),
    )
    app = TracedApp(
        f"{name}-app",
        TracedAppArgs(
            host=host,
            agent=running,
            service=service,
            env=env,
            version=settings.version,
            port=settings.app_port,
            trace_url=settings.trace_url,
        ),
    )
    proofs: dict[str, pulumi.Input[object]] = {
        "agent": running.version,
        "my_metric": check.sample,
        "database": database.version,
        "user_time": database.user_time,
        "traces": app.traces,
    }
    if settings.load_requests:
        load_generator = LoadGenerator(
            f"{name}-load",
            LoadGeneratorArgs(
                host=host, app=app, requests=settings.load_requests, concurrency=settings.load_concurrency
            ),
        )
        proofs["load"] = load_generator.report
    return {"page": links.host(site, name), "ssh": host.ssh, "proofs": proofs}


def watched_from_datadog() -> dict[str, pulumi.Input[object]]:
    """The dashboards, the monitor and the downtimes, which cover all hosts by tag; the links to them."""
    in_datadog = pulumi.ResourceOptions(provider=provider("datadog", keys, site))
    timeboards = Timeboards(
        "watchpost",
        TimeboardsArgs(
            site=site,
            env=env,
            metric=MY_METRIC,
            warning=settings.warning_threshold,
            alert=settings.alert_threshold,
            service=service,
            mark=own,
        ),
        in_datadog,
    )
    monitor = MetricMonitor(
        "my-metric-monitor",
        MetricMonitorArgs(
            site=site,
            env=env,
            metric=MY_METRIC,
            window_minutes=settings.window_minutes,
            warning=settings.warning_threshold,
            alert=settings.alert_threshold,
            no_data_minutes=settings.no_data_minutes,
            interval=settings.check_interval,
            mentions=settings.mentions,
            timeboard=timeboards.timeboard,
            mark=own,
        ),
        in_datadog,
    )
    downtimes = OfficeHoursDowntimes(
        "closed-office",
        OfficeHoursDowntimesArgs(
            site=site,
            env=env,
            hours=settings.office_hours,
            monitor=monitor.monitor,
            metric=MY_METRIC.name,
            mentions=settings.mentions,
            mark=own,
            repairs=settings.repairs,
        ),
        in_datadog,
    )
    outputs: dict[str, pulumi.Input[object]] = {
        "timeboard": timeboards.timeboard,
        "timeboardLast5Minutes": timeboards.timeboard.apply(lambda link: links.last_minutes(link, 5)),
        "apmDashboard": timeboards.apm_link,
        "monitor": monitor.link,
        "downtimes": downtimes.links,
    }
    if settings.share_dashboards:
        shared = SharedDashboard(
            "shared-apm",
            SharedDashboardArgs(dashboard=timeboards.apm, title=f"{service} ({env})", mark=own),
            in_datadog,
        )
        outputs["sharedDashboard"] = shared.link
    return outputs


outputs: dict[str, pulumi.Input[object]] = {"service": links.service(site, service, env, OPERATION)}
if settings.part != "hosts":
    outputs |= watched_from_datadog()
elif settings.datadog_stack:
    watched_elsewhere = pulumi.StackReference(settings.datadog_stack)
    outputs |= {name: watched_elsewhere.get_output(name) for name in ("timeboard", "apmDashboard", "monitor")}
if settings.part != "datadog":
    # The steps of many hosts keep the engine busy for longer than a downtime's start may lie ahead.
    muted = outputs.get("downtimes")
    outputs["hosts"] = {name: watched_host(name, machine, muted) for name, machine in settings.hosts.items()}
for name, value in outputs.items():
    pulumi.export(name, value)

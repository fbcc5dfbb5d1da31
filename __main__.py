"""Watchpost: the settings, the monitoring in Datadog, the hosts and what runs on them, and the exported links."""

import startup

startup.prepare()  # before the first import of a provider's SDK

import pulumi

from components.arrival import Arrival
from components.custom_check import MY_METRIC
from components.datadog_context import DatadogContext
from components.downtimes import OfficeHoursDowntimes, OfficeHoursDowntimesArgs
from components.links import Links, last_minutes
from components.monitors import MetricMonitor, MetricMonitorArgs
from components.ordering import known_after
from components.ownership import OwnershipTag
from components.provider import provider
from components.sharing import SharedDashboard, SharedDashboardArgs
from components.timeboards import Timeboards, TimeboardsArgs
from components.traced_app import OPERATION
from components.watched_host import WatchedHost, WatchedHostArgs
from settings import load

settings, credentials = load()
site, env, service = settings.site, settings.env, settings.service
ownership, links = OwnershipTag(credentials, site), Links(app_url=settings.app_url)
outputs: dict[str, pulumi.Input[object]] = {"service": links.service(service, env, OPERATION)}

# Monitoring in Datadog, for all hosts, selected by tag.
if settings.part != "hosts":
    in_datadog = pulumi.ResourceOptions(provider=provider("datadog", credentials, site))
    context = DatadogContext(env=env, ownership=ownership, links=links)
    timeboards = Timeboards(
        "watchpost",
        TimeboardsArgs(
            context=context,
            metric=MY_METRIC,
            warning=settings.warning_threshold,
            alert=settings.alert_threshold,
            service=service,
        ),
        in_datadog,
    )
    monitor = MetricMonitor(
        "my-metric-monitor",
        MetricMonitorArgs(
            context=context,
            metric=MY_METRIC,
            window_minutes=settings.window_minutes,
            warning=settings.warning_threshold,
            alert=settings.alert_threshold,
            no_data_minutes=settings.no_data_minutes,
            interval=settings.check_interval,
            mentions=settings.mentions,
            timeboard=timeboards.timeboard,
        ),
        in_datadog,
    )
    downtimes = OfficeHoursDowntimes(
        "closed-office",
        OfficeHoursDowntimesArgs(
            context=context,
            hours=settings.office_hours,
            monitor=monitor.monitor,
            metric=MY_METRIC.name,
            mentions=settings.mentions,
            repairs=settings.repairs,
        ),
        in_datadog,
    )
    outputs |= {
        "timeboard": timeboards.timeboard,
        "timeboardLast5Minutes": timeboards.timeboard.apply(lambda link: last_minutes(link, 5)),
        "apmDashboard": timeboards.apm_link,
        "monitor": monitor.link,
        "downtimes": downtimes.links,
    }
    if settings.share_dashboards != "no":
        shared = SharedDashboard(
            "shared-apm",
            SharedDashboardArgs(
                context=context,
                dashboard=timeboards.apm,
                title=f"{service} ({env})",
                access=settings.share_dashboards,
            ),
            in_datadog,
        )
        outputs["sharedDashboard"] = shared.link
    if settings.customer_experience:
        # Imported here: a stack without it doesn't pay for it.
        from components.customer_experience import CustomerExperienceSystem, CustomerExperienceSystemArgs

        customers = CustomerExperienceSystem(
            "customers",
            CustomerExperienceSystemArgs(
                context=context,
                experience=settings.customer_experience,
                service=settings.customer_experience.service or service,
                hours=settings.office_hours,
                mentions=settings.mentions,
            ),
            in_datadog,
        )
        outputs["customerExperience"] = customers.links
elif settings.datadog_stack:
    datadog_stack = pulumi.StackReference(settings.datadog_stack)
    outputs |= {name: datadog_stack.get_output(name) for name in ("timeboard", "apmDashboard", "monitor")}

# The key of the customers' pseudonyms is the same on all hosts of a fleet: the stack for Datadog keeps it.
key_of_pseudonyms: pulumi.Output[str] | None = None
if settings.customer_experience:
    from components.customer_experience import pseudonym_key

    if settings.part == "hosts" and settings.datadog_stack:
        key_of_pseudonyms = datadog_stack.require_output("pseudonymKey")
    else:
        key_of_pseudonyms = pseudonym_key(settings.customer_experience.key_rotation)
    if settings.part == "datadog":
        outputs["pseudonymKey"] = key_of_pseudonyms

# The hosts wait for the downtimes: their steps can outlast the margin before a downtime's start time.
if settings.part != "datadog":
    owner = known_after(ownership.text, outputs.get("downtimes"))
    arrival = Arrival(credentials, site, settings.agent_url)
    machines: dict[str, pulumi.Output[str]] = {}
    hosts = {
        name: WatchedHost(
            name,
            WatchedHostArgs(
                machine=machine,
                settings=settings,
                owner=owner,
                metric=MY_METRIC,
                api_key=credentials.api_key,
                arrival=arrival,
                machines=machines,
                pseudonym_key=key_of_pseudonyms,
            ),
        )
        for name, machine in settings.hosts.items()
    }
    outputs["hosts"] = {
        name: {"page": links.host(name), "ssh": host.ssh, "proofs": host.proofs} for name, host in hosts.items()
    }

for name, value in outputs.items():
    pulumi.export(name, value)

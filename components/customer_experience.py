"""The Proactive Customer Experience System: notices a customer in trouble, and opens a ticket before they call.

Spans of the customers' journey become metrics; monitors look at each customer in individual care, and at the platform;
a composite for each step alerts on customers in trouble that the platform isn't in; webhooks open and close tickets.
``docs/customer-experience.md`` explains it.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pulumi
import pulumi_datadog as datadog
import pulumi_random as random

from components import templates
from components.customer_signals import (
    BURN_WINDOWS,
    FEWEST_FAILURES,
    FEWEST_UNUSUAL,
    MILLISECOND,
    PATHS,
    RECOVERED,
    SLICES,
    Signals,
    SpanMetric,
    burn_rate,
    cost,
    customer_composite,
    escaped,
    number,
)
from components.customer_tickets import FOLDER, Action, Desk, authorization, runbook, stands, variable, webhook
from components.datadog_context import DatadogContext
from components.links import Links
from components.monitors import blocks
from components.timeboards import owned
from settings import CustomerExperience, JourneyStep
from settings.model import BURN_RATES
from settings.office_hours import OfficeHours

FIRST_STEPS = {"fast": "stop deploying, and roll back the last change", "slow": "plan the repair for this week"}
"""What to do about a promise that is being broken, by the speed."""

CARE_TAG = "experience:customer"
"""The tag of the monitors that open tickets; the dashboard lists what they alert on."""


@dataclass(frozen=True, kw_only=True)
class CustomerExperienceSystemArgs:
    """Watches the journeys through ``service`` in the ``context``'s env.

    ``mentions`` are told of the platform's incidents and of promises that are being broken, not of single customers.
    """

    context: DatadogContext
    experience: CustomerExperience
    service: str
    hours: OfficeHours
    mentions: str


def pseudonym_key(rotation: str) -> pulumi.Output[str]:
    """Create the key of the customers' pseudonyms; a new ``rotation`` makes a new one, and with it new pseudonyms."""
    key = random.RandomPassword(
        "pseudonym-key", length=64, special=False, keepers={"rotation": rotation} if rotation else None
    )
    return key.result


class CustomerExperienceSystem(pulumi.ComponentResource):
    """Metrics, retention filter, monitors, webhooks, objectives and dashboard of the customers' journey."""

    links: Mapping[str, pulumi.Output[str]]
    """The links to the dashboard, the monitors that open tickets, the platform's incident, each tier's objective."""

    def __init__(
        self, name: str, args: CustomerExperienceSystemArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("watchpost:datadog:CustomerExperienceSystem", name, None, opts)
        self._name, self._args = name, args
        self._child = pulumi.ResourceOptions(parent=self, hooks=args.context.ownership.hooks(name))
        stack = pulumi.get_stack()
        self._signals = args.context.ownership.text.apply(
            lambda owner: Signals(
                experience=args.experience, owner=owner, stack=stack, service=args.service, env=args.context.env
            )
        )
        if pulumi.runtime.is_dry_run():
            pulumi.log.info(told_cost(args.experience), self)
        if args.experience.ticket_url and not args.experience.close_url:
            pulumi.log.warn(told_open(args.experience), self)
        metrics = [self._metric(key) for key in metric_keys(args.experience)]
        # Monitors of a metric that isn't there yet would find nothing; the objectives' queries are refused.
        self._after_metrics = pulumi.ResourceOptions.merge(self._child, pulumi.ResourceOptions(depends_on=metrics))
        self._retention()
        objectives = {tier: self._objective(tier) for tier in args.experience.tiers}
        board = self._dashboard(objectives)
        self._board = board.url.apply(args.context.links.dashboard)
        self._burn_rates(objectives)
        slices = {step.name: self._slices(step.name) for step in args.experience.steps}
        incident = self._platform(slices)
        self._tickets(slices)
        self._customers()
        links = args.context.links
        self.links = {
            "dashboard": self._board,
            "tickets": pulumi.Output.from_input(links.monitors(f"env:{args.context.env}", CARE_TAG)),
            "incident": incident.id.apply(links.monitor),
            **{f"slo-{tier}": slo.id.apply(links.objective) for tier, slo in objectives.items()},
        }
        self.register_outputs({"links": self.links})

    def _query(self, render: Callable[[Signals], str]) -> pulumi.Output[str]:
        return self._signals.apply(render)

    # Signals

    def _metric(self, key: str) -> datadog.SpansMetric:
        found: pulumi.Output[SpanMetric] = self._signals.apply(
            lambda signals: next(metric for metric in signals.metrics() if metric.key == key)
        )
        timed, by = metric_shape(self._args.experience, key)
        return datadog.SpansMetric(
            f"{self._name}-{key}",
            name=found.apply(lambda metric: metric.name),
            compute=datadog.SpansMetricComputeArgs(
                aggregation_type="distribution", include_percentiles=True, path="@duration"
            )
            if timed
            else datadog.SpansMetricComputeArgs(aggregation_type="count"),
            filter=datadog.SpansMetricFilterArgs(query=found.apply(lambda metric: metric.query)),
            group_bies=[datadog.SpansMetricGroupByArgs(path=PATHS[tag], tag_name=tag) for tag in by],
            opts=self._child,
        )

    def _retention(self) -> None:
        key = f"{self._name}-retention"
        datadog.ApmRetentionFilter(
            key,
            name=pulumi.Output.concat("slow and failing orders (", self._args.context.ownership.of(key), ")"),
            enabled=True,
            filter=datadog.ApmRetentionFilterFilterArgs(query=self._query(lambda signals: signals.retained)),
            filter_type="spans-sampling-processor",
            rate="1.0",
            opts=self._child,
        )

    # Monitors

    def _monitor(
        self,
        key: str,
        title: str,
        query: pulumi.Input[str],
        message: pulumi.Input[str] = "",
        *,
        type: str = "query alert",
        critical: float | None = None,
        recovered: float | None = None,
        delay: int = 0,
        tags: Sequence[str] = (),
        priority: str | None = None,
        windows: datadog.MonitorMonitorThresholdWindowsArgs | None = None,
    ) -> datadog.Monitor:
        """Create a monitor; one without a message tells nobody, as a composite's constituents should."""
        context, name = self._args.context, f"{self._name}-{key}"
        of_metrics = type == "query alert"
        thresholds = None
        if critical is not None:
            thresholds = datadog.MonitorMonitorThresholdsArgs(
                critical=number(critical), critical_recovery=None if recovered is None else number(recovered)
            )
        return datadog.Monitor(
            name,
            name=f"{title} ({context.env})",
            type=type,
            query=query,
            # Datadog requires a message.
            message=message or f"A part of the monitors named {self._name}: it tells nobody itself.",
            monitor_thresholds=thresholds,
            monitor_threshold_windows=windows,
            evaluation_delay=delay or None,
            # A group without data is as it should be; No Data would count as an alert in a composite.
            on_missing_data="resolve" if of_metrics else None,
            require_full_window=False if of_metrics else None,
            # A refresh validates too, and would fail for a composite of a monitor that somebody deleted.
            validate=None if of_metrics else False,
            priority=priority,
            tags=[f"env:{context.env}", f"service:{self._args.service}", *tags, context.ownership.of(name)],
            opts=self._after_metrics,
        )

    def _slices(self, step: str) -> list[datadog.Monitor]:
        """Look at the platform in consecutive slices of the window; the first is the one until now."""
        experience = self._args.experience
        seconds = 60 * (experience.window_minutes // SLICES)
        return [
            self._monitor(
                f"platform-{step}-{index}",
                f"platform at {step}, {'now' if index == 0 else f'{index * seconds // 60} minutes ago'}",
                self._query(lambda signals: signals.platform(step)),
                critical=experience.platform_share / 100,
                recovered=RECOVERED * experience.platform_share / 100,
                delay=index * seconds,
            )
            for index in range(SLICES)
        ]

    def _platform(self, slices: Mapping[str, Sequence[datadog.Monitor]]) -> datadog.Monitor:
        """Make one incident of a slowdown of the platform, whichever steps it is at."""
        experience, mentions = self._args.experience, self._args.mentions
        traffic = self._monitor(
            "platform-traffic",
            "enough orders to judge the platform by",
            self._query(lambda signals: signals.platform_traffic),
            critical=experience.platform_orders,
        )
        now = [found[0].id for found in slices.values()]
        values = {
            "share": experience.platform_share,
            "window": experience.window_minutes,
            "runbook": runbook(experience),
        }
        return self._monitor(
            "platform",
            f"{self._args.service}: the whole platform is slow or failing",
            pulumi.Output.all(traffic.id, *now).apply(lambda ids: f"{ids[0]} && ({' || '.join(ids[1:])})"),
            self._board.apply(
                lambda board: blocks(
                    {
                        state: text(f"platform_{state}", {**values, "dashboard": board})
                        for state in ("alert", "recovery")
                    },
                    mentions,
                )
            ),
            type="composite",
            priority="1",
            tags=["experience:platform"],
        )

    def _tickets(self, slices: Mapping[str, Sequence[datadog.Monitor]]) -> None:
        """Alert on each customer in trouble at a step where the platform isn't."""
        experience = self._args.experience
        delay = _unnamed(experience).delay
        window = f"last_{experience.window_minutes}m"
        traffic = self._monitor(
            "traffic",
            "customers with enough orders to tell anything by",
            self._query(lambda signals: signals.traffic),
            critical=experience.minimum_orders,
            delay=delay,
        )
        step_traffic = self._monitor(
            "step-traffic",
            "steps with enough orders to judge the platform by",
            self._query(lambda signals: signals.step_traffic),
            critical=experience.platform_orders,
        )
        failures = self._monitor(
            "failures",
            "customers with enough failing orders to tell anything by",
            self._query(lambda signals: signals.failures),
            critical=FEWEST_FAILURES,
            delay=delay,
        )
        anomaly = self._monitor(
            "anomaly",
            "customers whose orders take longer than they are used to",
            self._query(lambda signals: signals.anomaly),
            critical=0.75,
            delay=delay,
            windows=datadog.MonitorMonitorThresholdWindowsArgs(trigger_window=window, recovery_window=window),
        )
        history = self._monitor(
            "history",
            "customers with enough orders to tell what is unusual",
            self._query(lambda signals: signals.history),
            critical=max(FEWEST_UNUSUAL, experience.minimum_orders),
            delay=delay,
        )
        headers = self._authorization()
        for step in experience.steps:
            latency, errors = self._latency(step, delay), self._errors(step, delay)
            platform = [step_traffic, *slices[step.name]]
            webhooks = self._webhooks(step.name, headers)
            # Two composites: a customer without a failure is no group of the errors' monitor, and so of no composite
            # with it, since only groups that all constituents have in common count.
            for key, what, signs in (
                ("slow", "too slow", [[latency, traffic], [anomaly, history]]),
                ("failing", "failing", [[errors, traffic, failures]]),
            ):
                self._care(step.name, key, what, signs, platform, webhooks)

    def _latency(self, step: JourneyStep, delay: int) -> datadog.Monitor:
        return self._monitor(
            f"latency-{step.name}",
            f"customers whose orders take too long at {step.name}",
            self._query(lambda signals: signals.latency(step.name, step.objective)),
            critical=step.objective * MILLISECOND,
            delay=delay,
        )

    def _errors(self, step: JourneyStep, delay: int) -> datadog.Monitor:
        return self._monitor(
            f"errors-{step.name}",
            f"customers whose orders fail at {step.name}",
            self._query(lambda signals: signals.errors(step.name)),
            critical=self._args.experience.error_rate / 100,
            delay=delay,
        )

    def _care(
        self,
        step: str,
        key: str,
        what: str,
        signs: Sequence[Sequence[datadog.Monitor]],
        platform: Sequence[datadog.Monitor],
        webhooks: Mapping[Action, pulumi.Output[str]],
    ) -> None:
        ids = [pulumi.Output.all(*(monitor.id for monitor in group)) for group in (platform, *signs)]
        query = pulumi.Output.all(*ids).apply(lambda found: customer_composite(found[1:], found[0][0], found[0][1:]))
        self._monitor(
            f"{key}-{step}",
            f"customer {{{{customer.name}}}}: orders are {what} at {step}",
            query,
            pulumi.Output.all(self._signals, self._board, webhooks.get("open", ""), webhooks.get("close", "")).apply(
                lambda known: care_message(known[0], self._args.context.links, step, what, known[1], known[2:])
            ),
            type="composite",
            priority="2",
            tags=[CARE_TAG, f"step:{step}"],
        )

    def _customers(self) -> None:
        """Tell the team if more customers are in care than was agreed, which costs more than was agreed."""
        experience = self._args.experience
        values = {"most": experience.max_customers, "each": cost(experience).each, "runbook": runbook(experience)}
        self._monitor(
            "customers",
            "more customers in individual care than the limit",
            self._query(lambda signals: signals.customers),
            blocks({"alert": text("customers", values)}, self._args.mentions),
            critical=experience.max_customers,
            priority="4",
        )

    # Tickets

    def _webhooks(self, step: str, headers: pulumi.Output[str] | None) -> dict[Action, pulumi.Output[str]]:
        """Create the webhooks that open and close the tickets of a step; return their names."""
        experience = self._args.experience
        addresses: dict[Action, str] = {"open": experience.ticket_url, "close": experience.close_url}
        return {action: self._webhook(step, action, url, headers) for action, url in addresses.items() if url}

    def _webhook(self, step: str, action: Action, url: str, headers: pulumi.Output[str] | None) -> pulumi.Output[str]:
        payload = pulumi.Output.all(self._signals, self._board).apply(
            lambda known: Desk(signals=known[0], dashboard=known[1], hours=self._args.hours).payload(step, action)
        )
        return datadog.Webhook(
            f"{self._name}-{step}-{action}",
            name=self._signals.apply(lambda signals: webhook(signals.owner, signals.stack, step, action)),
            # Some ticket systems have the key in the address.
            url=pulumi.Output.secret(url),
            encode_as="json",
            custom_headers=headers,
            payload=payload,
            opts=pulumi.ResourceOptions.merge(
                self._child, pulumi.ResourceOptions(additional_secret_outputs=["customHeaders", "url"])
            ),
        ).name

    def _authorization(self) -> pulumi.Output[str] | None:
        """Create the secret variable with the tickets' token, if there is one; return the headers that send it."""
        token = self._args.experience.ticket_token
        if token is None:
            return None
        key = datadog.WebhookCustomVariable(
            f"{self._name}-token",
            name=self._signals.apply(lambda signals: variable(signals.owner, signals.stack)),
            value=pulumi.Output.secret(authorization(token.get_secret_value())),
            is_secret=True,
            opts=pulumi.ResourceOptions.merge(self._child, pulumi.ResourceOptions(additional_secret_outputs=["value"])),
        )
        headers: pulumi.Output[str] = key.name.apply(lambda name: json.dumps({"Authorization": f"${name}"}))
        return pulumi.Output.secret(headers)

    # Objectives

    def _objective(self, tier: str) -> datadog.ServiceLevelObjective:
        experience, context, name = self._args.experience, self._args.context, f"{self._name}-objective-{tier}"
        return datadog.ServiceLevelObjective(
            name,
            name=f"{self._args.service}: orders of {tier} customers within the objective ({context.env})",
            type="metric",
            description="The share of orders that neither failed nor took longer than the objective of their step.",
            query=datadog.ServiceLevelObjectiveQueryArgs(
                numerator=self._query(lambda signals: signals.good(tier)),
                denominator=self._query(lambda signals: signals.total(tier)),
            ),
            thresholds=[
                datadog.ServiceLevelObjectiveThresholdArgs(
                    timeframe=f"{experience.slo_days}d", target=experience.slo_target
                )
            ],
            tags=[f"env:{context.env}", f"service:{self._args.service}", f"tier:{tier}", context.ownership.of(name)],
            opts=self._after_metrics,
        )

    def _burn_rates(self, objectives: Mapping[str, datadog.ServiceLevelObjective]) -> None:
        for tier, slo in objectives.items():
            for speed, rate in zip(BURN_WINDOWS, BURN_RATES[self._args.experience.slo_days], strict=True):
                self._burn_rate(tier, slo, speed, rate)

    def _burn_rate(self, tier: str, slo: datadog.ServiceLevelObjective, speed: str, rate: float) -> None:
        experience, mentions = self._args.experience, self._args.mentions
        (long, short), days = BURN_WINDOWS[speed], experience.slo_days
        values = {
            "tier": tier,
            "speed": speed,
            "days": days,
            "target": number(experience.slo_target),
            "left": f"{days * 24 / rate:.0f} hours",
            "do": FIRST_STEPS[speed],
            "runbook": runbook(experience),
        }
        self._monitor(
            f"burn-{speed}-{tier}",
            f"{self._args.service}: the promise to {tier} customers is being broken, {speed}",
            slo.id.apply(lambda found: burn_rate(found, days, long, short, rate)),
            self._board.apply(lambda board: blocks({"alert": text("slo", {**values, "dashboard": board})}, mentions)),
            type="slo alert",
            critical=rate,
            priority="2" if speed == "fast" else "3",
        )

    # Sight

    def _dashboard(self, objectives: Mapping[str, datadog.ServiceLevelObjective]) -> datadog.DashboardJson:
        key, args = f"{self._name}-dashboard", self._args
        tag = args.context.ownership.of(key)

        def render(known: Sequence[Any]) -> pulumi.Output[str]:
            return owned(dashboard_json(known[0], dict(zip(objectives, known[1:], strict=True))), tag)

        ids = [slo.id for slo in objectives.values()]
        dashboard: pulumi.Output[str] = pulumi.Output.all(self._signals, *ids).apply(render)
        return datadog.DashboardJson(key, dashboard=dashboard, opts=self._after_metrics)


def metric_keys(experience: CustomerExperience) -> list[str]:
    """List the keys of the span-based metrics, which are known before the stack's own name is."""
    return [metric.key for metric in _unnamed(experience).metrics()]


def metric_shape(experience: CustomerExperience, key: str) -> tuple[bool, tuple[str, ...]]:
    """Return whether a metric is a duration, and its tags."""
    found = next(metric for metric in _unnamed(experience).metrics() if metric.key == key)
    return found.timed, found.by


def _unnamed(experience: CustomerExperience) -> Signals:
    return Signals(experience=experience, owner="", stack="", service="", env="")


def text(name: str, values: Mapping[str, Any]) -> str:
    """Render a monitor's text."""
    return templates.text_file(f"{FOLDER}/messages/{name}.md", values).strip()


def care_message(signals: Signals, links: Links, step: str, what: str, dashboard: str, webhooks: Sequence[str]) -> str:
    """Render the message about a customer in trouble: to the webhook that opens or closes the ticket, and a handle."""
    experience = signals.experience
    # Datadog fills in the customer, so the link ends with it.
    traces = links.traces(f"{signals.spans} {PATHS['step']}:{escaped(step)} {PATHS['customer']}:")
    values = {
        "step": step,
        "what": what,
        "orders": experience.minimum_orders,
        "minutes": experience.window_minutes,
        "stands": stands([found.name for found in experience.steps], step),
        "dashboard": f"{dashboard}?tpl_var_customer={{{{customer.name}}}}",
        "traces": f"{traces}{{{{customer.name}}}}",
        "runbook": runbook(experience),
    }
    extra = f" @{experience.ticket_mention}" if experience.ticket_mention else ""
    lines = []
    for state, name in zip(("alert", "recovery"), webhooks, strict=True):
        mention = f"@webhook-{name}" if name else ""
        lines.append(blocks({state: text(f"customer_{state}", values)}, f"{mention}{extra}".strip()))
    return "\n".join(lines)


def told_cost(experience: CustomerExperience) -> str:
    """Say what it costs at most, as the preview does."""
    found = cost(experience)
    customers, unlimited = f"the {found.customers} listed customers", ""
    if not experience.customers:
        customers = f"up to {found.customers} customers in individual care"
        unlimited = (
            f"; without a list in customers nothing stops one more, who costs {found.each} custom metrics: a monitor"
            " tells your recipients"
        )
    return (
        f"customerExperience: {customers} at {len(experience.steps)} steps make up to {found.custom_metrics} custom"
        f" metrics and {found.monitors} monitors, and each slow or failing order of theirs indexed spans{unlimited}"
    )


def told_open(experience: CustomerExperience) -> str:
    """Say that tickets stay open, and what closes them."""
    return (
        f"customerExperience: tickets are opened and not closed: {experience.ticket_system} closes none by a request to"
        " the address that opens them; set ticketCloseUrl to one that finds a ticket by its key"
        " (docs/customer-experience.md#tickets)"
    )


def dashboard_json(signals: Signals, objectives: Mapping[str, str]) -> str:
    """Render the dashboard; ``objectives`` are the ids of the tiers' objectives."""
    experience = signals.experience
    values = {
        **{metric.key.replace("-", "_"): metric.name for metric in signals.metrics()},
        "service": signals.service,
        "env": signals.env,
        "care_tag": CARE_TAG,
        "window": experience.window_minutes,
    }
    document = json.loads(templates.text(f"{FOLDER}/dashboard.json"))
    pattern = document.pop("objective_widget")
    board = templates.fill(document, values)
    board["widgets"] += [
        templates.fill(pattern, {"tier": tier, "slo": slo, "days": f"{experience.slo_days}d"})
        for tier, slo in objectives.items()
    ]
    return json.dumps(board)

"""The names and queries of the Proactive Customer Experience System: pure functions over its settings.

The spans of a customer's journey carry ``customer.id`` (a pseudonym), ``customer.tier`` and ``journey.step``.

Sources: https://docs.datadoghq.com/tracing/trace_pipeline/generate_metrics/,
https://docs.datadoghq.com/tracing/trace_explorer/query_syntax/,
https://docs.datadoghq.com/monitors/types/composite/
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from settings import CustomerExperience

CUSTOMER, TIER, STEP = "customer", "tier", "step"
"""The tags of the metrics."""

PATHS: Mapping[str, str] = {CUSTOMER: "@customer.id", TIER: "@customer.tier", STEP: "@journey.step"}
"""The attribute of the spans that each of these tags is taken from."""

MILLISECOND = 1_000_000
"""In nanoseconds, the unit of a span's ``@duration``, whose value is the metric's.

Sources: https://github.com/DataDog/pup/blob/main/docs/LLM_GUIDE.md (the unit),
https://docs.datadoghq.com/tracing/trace_pipeline/generate_metrics/ (the value)
"""

DISTRIBUTION_SERIES = 10
"""Custom metrics that one combination of tags of a distribution with percentiles costs, against 1 of a count.

Source: https://docs.datadoghq.com/account_management/billing/custom_metrics/?tab=distributions
"""

SLICES = 3
"""Consecutive slices of the window in which the platform is looked at."""

SLOWEST = 60
"""Percent of a customer's orders that take longer than the objective before a monitor says so: both of two."""

RECOVERED = 0.75
"""Part of ``platformShare`` below which a slowdown is over, so that a share close to the limit makes one incident.

Source: https://docs.datadoghq.com/monitors/guide/recovery-thresholds/
"""

FEWEST_FAILURES = 2
"""Failing orders of a customer below which nothing is said."""

FEWEST_UNUSUAL = 4
"""Orders of a customer below which nothing is unusual: two or three say little of what somebody is used to."""

BURN_WINDOWS = {"fast": ("1h", "5m"), "slow": ("6h", "30m")}
"""Long and short window of an SLO's alerts, whose rates are :data:`settings.model.BURN_RATES`.

Source: https://docs.datadoghq.com/service_management/service_level_objectives/burn_rate/#examples
"""


@dataclass(frozen=True, kw_only=True)
class SpanMetric:
    """A metric made from spans: how often ``query`` matches, or how long these spans took if ``timed``."""

    key: str
    name: str
    query: str
    by: tuple[str, ...]
    timed: bool = False


@dataclass(frozen=True, kw_only=True)
class Signals:
    """What is measured of the journeys through ``service`` in ``env``.

    ``owner`` is the ownership tag of the stack. It is part of each metric's name: span-based metrics have no tags, and
    two stacks of one organization must not share them.
    """

    experience: CustomerExperience
    owner: str
    stack: str
    service: str
    env: str

    def name(self, key: str) -> str:
        """Return the name of the metric ``key``: ``watchpost.dev_abcdefghij12.orders``."""
        return f"{prefix(self.owner, self.stack)}.{key}"

    @property
    def spans(self) -> str:
        """The query for the spans of the journeys."""
        return f"service:{escaped(self.service)} env:{escaped(self.env)} {PATHS[STEP]}:*"

    @property
    def cared_for(self) -> str:
        """The query for the spans of customers in individual care."""
        tiers = f"{self.spans} {PATHS[TIER]}:{any_of(self.experience.care_tiers)}"
        customers = self.experience.customers
        return f"{tiers} {PATHS[CUSTOMER]}:{any_of(customers)}" if customers else tiers

    @property
    def outside(self) -> str:
        """The query for spans that failed or took longer than the objective of their step."""
        slow = " OR ".join(
            f"({PATHS[STEP]}:{escaped(step.name)} @duration:>{step.objective}ms)" for step in self.experience.steps
        )
        return f"(status:error OR {slow})"

    def metrics(self) -> list[SpanMetric]:
        """List the span-based metrics: of everybody by tier, and of customers in individual care by customer."""
        everybody, customer = by_path(TIER, STEP), by_path(CUSTOMER, TIER, STEP)
        return [
            SpanMetric(key="orders", name=self.name("orders"), query=self.spans, by=everybody),
            SpanMetric(key="errors", name=self.name("errors"), query=f"{self.spans} status:error", by=everybody),
            SpanMetric(key="latency", name=self.name("latency"), query=self.spans, by=everybody, timed=True),
            SpanMetric(key="outside", name=self.name("outside"), query=f"{self.spans} {self.outside}", by=everybody),
            SpanMetric(key="within", name=self.name("within"), query=f"{self.spans} -{self.outside}", by=everybody),
            SpanMetric(key="customer-orders", name=self.name("customer.orders"), query=self.cared_for, by=customer),
            SpanMetric(
                key="customer-errors",
                name=self.name("customer.errors"),
                query=f"{self.cared_for} status:error",
                by=customer,
            ),
            SpanMetric(
                key="customer-latency",
                name=self.name("customer.latency"),
                query=self.cared_for,
                by=customer,
                timed=True,
            ),
        ]

    @property
    def retained(self) -> str:
        """The query for the spans that are kept whatever is sampled: slow or failing ones in individual care."""
        return f"{self.cared_for} {self.outside}"

    # The customers' monitors

    def latency(self, step: str, objective: int) -> str:
        """Alert on each customer most of whose orders at ``step`` take longer than ``objective`` milliseconds.

        A percentile is one of the values, and not between two of them: of two orders both have to be slow.

        Source: https://www.datadoghq.com/blog/engineering/computing-accurate-percentiles-with-ddsketch/
        """
        metric = f"p{100 - SLOWEST}:{self.name('customer.latency')}{{{STEP}:{step}}} by {{{CUSTOMER},{STEP}}}"
        return f"percentile(last_{self.minutes}m):{metric} > {objective * MILLISECOND}"

    def errors(self, step: str) -> str:
        """Alert on each customer with too many failing orders at ``step``."""
        scope = f"{{{STEP}:{step}}} by {{{CUSTOMER},{STEP}}}.as_count()"
        ratio = f"sum:{self.name('customer.errors')}{scope} / sum:{self.name('customer.orders')}{scope}"
        return f"sum(last_{self.minutes}m):{ratio} >= {number(self.experience.error_rate / 100)}"

    @property
    def failures(self) -> str:
        """Alert on each customer and step with more than one failing order, however few orders make the error rate."""
        metric = f"sum:{self.name('customer.errors')}{{*}} by {{{CUSTOMER},{STEP}}}.as_count()"
        return f"sum(last_{self.minutes}m):{metric} >= {FEWEST_FAILURES}"

    @property
    def anomaly(self) -> str:
        """Alert on each customer and step whose orders take longer than that customer is used to."""
        window, metric = self.experience.window_minutes, self.name("customer.latency")
        anomalies = (
            f"anomalies(p50:{metric}{{*}} by {{{CUSTOMER},{STEP}}}, 'basic', {self.experience.anomaly_bounds},"
            f" direction='above', interval=60, alert_window='last_{window}m', count_default_zero='false')"
        )
        return f"avg(last_4h):{anomalies} >= 0.75"

    @property
    def traffic(self) -> str:
        """Alert on each customer and step with enough orders to tell anything by."""
        return self._orders(self.experience.minimum_orders)

    @property
    def history(self) -> str:
        """Alert on each customer and step with enough orders to tell what is unusual."""
        return self._orders(max(FEWEST_UNUSUAL, self.experience.minimum_orders))

    def _orders(self, least: int) -> str:
        metric = f"sum:{self.name('customer.orders')}{{*}} by {{{CUSTOMER},{STEP}}}.as_count()"
        return f"sum(last_{self.minutes}m):{metric} >= {least}"

    # The platform's monitors

    def platform(self, step: str) -> str:
        """Alert if too many of everybody's orders at ``step`` fail or take too long, in one slice of the window."""
        scope = f"{{{STEP}:{step}}}.as_count()"
        ratio = f"sum:{self.name('outside')}{scope} / sum:{self.name('orders')}{scope}"
        return f"sum(last_{self.slice}m):{ratio} >= {number(self.experience.platform_share / 100)}"

    @property
    def step_traffic(self) -> str:
        """Alert on each step with enough orders of everybody to say how the platform does."""
        metric = f"sum:{self.name('orders')}{{*}} by {{{STEP}}}.as_count()"
        return f"sum(last_{SLICES * self.slice}m):{metric} >= {self.experience.platform_orders}"

    @property
    def platform_traffic(self) -> str:
        """Alert if there are enough orders of everybody, whatever the step, to say how the platform does."""
        metric = f"sum:{self.name('orders')}{{*}}.as_count()"
        return f"sum(last_{self.slice}m):{metric} >= {self.experience.platform_orders}"

    @property
    def customers(self) -> str:
        """Alert if more customers in individual care than the limit allows order in one hour, by which Datadog bills.

        ``count_nonzero`` counts at each point, so a point is an hour; of two hours at least one is whole.

        Sources: https://docs.datadoghq.com/dashboards/functions/count/,
        https://docs.datadoghq.com/account_management/billing/custom_metrics/
        """
        metric = f"count_nonzero(sum:{self.name('customer.orders')}{{*}} by {{{CUSTOMER}}}.rollup(sum, 3600))"
        return f"max(last_2h):{metric} > {self.experience.max_customers}"

    # Time

    @property
    def slice(self) -> int:
        """Minutes of each of the slices in which the platform is looked at."""
        return self.experience.window_minutes // SLICES

    @property
    def shows(self) -> float:
        """Minutes after which a slowdown of everybody makes up its share of a slice."""
        return self.slice * self.experience.platform_share / 100

    @property
    def delay(self) -> int:
        """Seconds by which customers are looked at later than the platform, whose slowdown is known by then."""
        return round(60 * (self.shows + 1))

    @property
    def minutes(self) -> int:
        """Minutes of a customer's orders that are looked at, which :attr:`delay` shifts.

        The slices reach back further, by what it takes them to show a slowdown: it is remembered until no customer
        shows it any more. All of it is within the window.
        """
        return int(SLICES * self.slice - self.shows - self.delay / 60)

    # Objectives

    def good(self, tier: str) -> str:
        """Count a tier's orders within the objective."""
        return f"sum:{self.name('within')}{{{TIER}:{tier}}}.as_count()"

    def total(self, tier: str) -> str:
        """Count a tier's orders."""
        return f"sum:{self.name('orders')}{{{TIER}:{tier}}}.as_count()"


def by_path(*tags: str) -> tuple[str, ...]:
    """Order tags by their paths: in any other order the Datadog provider mixes up paths and tags.

    It sorts the paths of ``group_by`` but not their ``tag_name``: https://github.com/pulumi/pulumi-datadog/issues/1249,
    seen up to 5.17. It can go once test_groups_have_to_be_listed_in_the_order_of_their_paths fails on the real plugin.

    >>> by_path("step", "tier", "customer")
    ('customer', 'tier', 'step')
    """
    return tuple(sorted(tags, key=PATHS.__getitem__))


def prefix(owner: str, stack: str) -> str:
    """Return what the names of a stack's metrics begin with.

    >>> prefix("watchpost:abcdefghij12", "My-dev")
    'watchpost.my_dev_abcdefghij12'
    """
    return f"watchpost.{re.sub(r'[^a-z0-9]+', '_', stack.lower()).strip('_')}_{owner.partition(':')[2]}"


def escaped(value: str) -> str:
    """Return a value of a span query, in which a slash has to be escaped.

    Source: https://docs.datadoghq.com/tracing/trace_explorer/query_syntax/#escaping-of-special-characters

    >>> print(escaped("shop/pay"))
    shop\\/pay
    """
    return value.replace("/", r"\/")


def any_of(values: Iterable[str]) -> str:
    """Return the value of an attribute in a span query.

    >>> any_of(["gold"]), any_of(["gold", "silver"])
    ('gold', '(gold OR silver)')
    """
    listed = [escaped(value) for value in values]
    return listed[0] if len(listed) == 1 else f"({' OR '.join(listed)})"


def number(value: float) -> str:
    """Return a number as Datadog repeats it: a query's has to equal its threshold's.

    >>> number(0.3), number(1.0)
    ('0.3', '1')
    """
    return f"{value:g}"


def burn_rate(slo: str, days: int, long: str, short: str, rate: float) -> str:
    """Alert on an SLO that is consumed too fast.

    Source: https://docs.datadoghq.com/monitors/types/slo/#burn-rate-alerts
    """
    return f'burn_rate("{slo}").over("{days}d").long_window("{long}").short_window("{short}") > {number(rate)}'


def customer_composite(signs: Iterable[Sequence[str]], step_traffic: str, slices: Iterable[str]) -> str:
    """Alert on a customer with all monitors of one of the ``signs``, unless the whole platform is slow.

    The groups that all constituents have in common count: customer and step, of which the step's traffic has the step.
    """
    shown = " || ".join(f"({' && '.join(sign)})" for sign in signs)
    return f"({shown}) && !({step_traffic} && ({' || '.join(slices)}))"


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What Datadog bills by: custom metrics, ``each`` customer's among them, and monitors (which are free)."""

    customers: int
    custom_metrics: int
    each: int
    monitors: int


def cost(experience: CustomerExperience) -> Cost:
    """Count the custom metrics and monitors at the limit of customers.

    Indexed spans depend on how many orders are slow, so they aren't in it.

    >>> cost(CustomerExperience()).custom_metrics
    2568
    """
    steps, tiers = len(experience.steps), len(experience.tiers)
    customers = len(experience.customers) or experience.max_customers
    each_combination = 4 + DISTRIBUTION_SERIES  # orders, errors, outside, within; latency
    each_customer = steps * (2 + DISTRIBUTION_SERIES)  # orders, errors; latency
    each_step = 2 + SLICES + 2  # latency, errors; the platform's slices; the two composites
    return Cost(
        customers=customers,
        custom_metrics=steps * tiers * each_combination + customers * each_customer,
        each=each_customer,
        # anomaly, failures, four of traffic, platform, limit; burn rates
        monitors=steps * each_step + 8 + 2 * tiers,
    )

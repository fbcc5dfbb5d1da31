"""The Proactive Customer Experience System as registered: which monitor tells whom what."""

import datetime
import importlib.util
import json
import re
from datetime import time
from functools import cache
from typing import Any

import pytest
import yaml

from components.customer_experience import CARE_TAG, told_cost, told_open
from components.customer_signals import Signals, cost
from components.customer_tickets import Action, Desk
from settings import CustomerExperience
from settings.model import RESERVED_TICKET_FIELDS
from settings.office_hours import OfficeHours
from tests.unit.mocks import MONITOR, ROOT, Created, Program, plain, run_program, unencrypted

TOKEN = "fake-ticket-token-0123456789"
ON = {"enabled": True, "ticketUrl": "https://tickets.example.com/hook", "ticketToken": TOKEN}
METRIC = "datadog:index/spansMetric:SpansMetric"
WEBHOOK = "datadog:index/webhook:Webhook"
OF_IT = (
    METRIC,
    WEBHOOK,
    "datadog:index/apmRetentionFilter:ApmRetentionFilter",
    "datadog:index/serviceLevelObjective:ServiceLevelObjective",
    "datadog:index/webhookCustomVariable:WebhookCustomVariable",
    "watchpost:datadog:CustomerExperienceSystem",
)


@cache
def on() -> Program:
    return run_program(customerExperience=ON)


def payload(action: Action, step: str = "pay", **changes: Any) -> Any:
    """The JSON of a webhook, as parsed."""
    experience = CustomerExperience.model_validate({**ON, **changes})
    signals = Signals(
        experience=experience, owner="watchpost:abcdefghij12", stack="dev", service="flask-app", env="dev"
    )
    hours = OfficeHours(start=time(9), end=time(19), days=("MO", "TU", "WE", "TH", "FR"), timezone="Europe/Paris")
    return json.loads(Desk(signals=signals, dashboard="https://example.com/d", hours=hours).payload(step, action))


def monitors(program: Program, kind: str = "") -> dict[str, Created]:
    """The monitors of the system, by name without its own."""
    found = [resource for resource in program.of(MONITOR) if resource.name.startswith("customers-")]
    return {m.name.removeprefix("customers-"): m for m in found if kind in ("", m.plain["type"])}


def constituents(program: Program, composite: Created) -> list[str]:
    """The names of the monitors in a composite's query."""
    numbers = {str(100_000_001 + place): monitor.name for place, monitor in enumerate(program.of(MONITOR))}
    return [numbers[number].removeprefix("customers-") for number in re.findall(r"\d+", composite.plain["query"])]


def test_off_it_registers_nothing_and_exports_nothing() -> None:
    program = run_program(customerExperience={})
    assert program.of(*OF_IT) == []
    assert len(program.of(MONITOR)) == 1
    assert "customerExperience" not in program.outputs


def test_on_it_makes_as_many_monitors_and_metrics_as_it_says() -> None:
    assert len(monitors(on())) == cost(CustomerExperience()).monitors
    assert len(on().of(METRIC)) == 8


def test_the_preview_says_whether_the_number_of_customers_is_limited() -> None:
    told = told_cost(CustomerExperience(max_customers=7))
    assert told.startswith("customerExperience: up to 7 customers in individual care at 4 steps make up to 504 custom")
    assert "without a list in customers nothing stops one more, who costs 48 custom metrics" in told
    listed = told_cost(CustomerExperience(customers=("0123456789abcdef", "fedcba9876543210")))
    assert listed.startswith("customerExperience: the 2 listed customers at 4 steps make up to 264 custom")
    assert "nothing stops" not in listed


def test_whoever_is_told_is_told_what_to_do_and_where_the_runbook_is_if_there_is_one() -> None:
    url = "https://wiki.example.com/customers"
    program = run_program(customerExperience={**ON, "runbookUrl": url})
    for which, linked in ((on(), False), (program, True)):
        told = [monitor for monitor in monitors(which).values() if "@" in monitor.plain["message"]]
        assert told
        for monitor in told:
            alert = monitor.plain["message"].partition("{{/is_alert}}")[0]
            assert "What to do: " in alert
            assert (f" More: {url}\n" in alert) == linked
            assert "docs/customer-experience.md" not in monitor.plain["message"]
        ticket = which.named("customers-pay-open").plain["payload"]
        assert "What to do: " in ticket
        assert (f" More: {url}" in ticket) == linked


def test_each_step_s_customers_alert_unless_the_platform_does() -> None:
    found = monitors(on(), "composite")
    assert set(found) == {f"{kind}-{step}" for kind in ("slow", "failing") for step in STEPS} | {"platform"}
    for step in STEPS:
        platform = ["step-traffic", *(f"platform-{step}-{index}" for index in range(3))]
        slow = [f"latency-{step}", "traffic", "anomaly", "history"]
        assert constituents(on(), found[f"slow-{step}"]) == [*slow, *platform]
        assert constituents(on(), found[f"failing-{step}"]) == [f"errors-{step}", "traffic", "failures", *platform]
        assert all(len(constituents(on(), found[f"{kind}-{step}"])) <= MOST for kind in ("slow", "failing"))
    assert constituents(on(), found["platform"]) == ["platform-traffic", *(f"platform-{step}-0" for step in STEPS)]


STEPS = ("place", "pay", "prepare", "deliver")
MOST = 10
"""Monitors of a composite. Source: https://docs.datadoghq.com/monitors/types/composite/"""


def test_the_platforms_slowdown_is_over_well_below_the_share_at_which_it_began() -> None:
    found = [m.plain["monitorThresholds"] for name, m in monitors(on(), "query alert").items() if name[-1].isdecimal()]
    assert found == [{"critical": "0.4", "criticalRecovery": "0.3"}] * (3 * len(STEPS))


def test_nothing_but_composites_burn_rates_and_the_limit_tells_anybody() -> None:
    for name, monitor in monitors(on()).items():
        mentions = re.findall(r"@[\w.-]+", monitor.plain["message"])
        tells = monitor.plain["type"] != "query alert" or name == "customers"
        assert bool(mentions) == tells, name
        if CARE_TAG in plain(monitor.plain["tags"]):
            assert all(mention.startswith("@webhook-") for mention in mentions), name


def test_a_ticket_is_opened_on_alert_and_closed_on_recovery_by_webhooks_that_exist() -> None:
    names = {hook.plain["name"] for hook in on().of(WEBHOOK)}
    for name, monitor in monitors(on(), "composite").items():
        if name == "platform":
            continue
        message = monitor.plain["message"]
        opened, closed = (
            re.search(rf"{{{{#is_{state}}}}}(.*?){{{{/is_{state}}}}}", message, re.DOTALL) for state in STATES
        )
        assert opened is not None
        assert closed is not None
        step = name.partition("-")[2]
        assert re.findall(r"@webhook-([\w-]+)", opened[1]) == [f"watchpost-dev-abcdefghij12-{step}-open"]
        assert re.findall(r"@webhook-([\w-]+)", closed[1]) == [f"watchpost-dev-abcdefghij12-{step}-close"]
        assert {*re.findall(r"@webhook-([\w-]+)", message)} <= names


STATES = ("alert", "recovery")


def test_the_token_is_a_secret_everywhere() -> None:
    for resource in on().resources:
        assert TOKEN not in " ".join(unencrypted(resource.inputs)), resource.name
    assert TOKEN not in json.dumps(on().outputs, default=str)
    (variable,) = on().of("datadog:index/webhookCustomVariable:WebhookCustomVariable")
    assert variable.plain["value"] == f"Bearer {TOKEN}"
    assert variable.plain["isSecret"] is True
    for hook in on().of(WEBHOOK):
        assert "tickets.example.com" not in " ".join(unencrypted(hook.inputs))  # a key may be in the address
        assert json.loads(hook.plain["customHeaders"]) == {"Authorization": f"${variable.plain['name']}"}


@pytest.mark.parametrize(("days", "rates"), [(7, ["16.8", "5.6"]), (30, ["14.4", "6"]), (90, ["21.6", "10.8"])])
def test_burn_rates_are_those_that_datadog_recommends_for_the_days(days: int, rates: list[str]) -> None:
    # Source: https://docs.datadoghq.com/service_management/service_level_objectives/burn_rate/#examples
    program = run_program(customerExperience={**ON, "sloDays": days, "tiers": ["gold"]})
    found = list(monitors(program, "slo alert").values())
    windows = ['.long_window("1h").short_window("5m")', '.long_window("6h").short_window("30m")']
    ends = [f'.over("{days}d"){window} > {rate}' for window, rate in zip(windows, rates, strict=True)]
    assert [monitor.plain["query"].partition(")")[2] for monitor in found] == ends
    assert [monitor.plain["monitorThresholds"]["critical"] for monitor in found] == rates


def test_a_mention_needs_no_webhook() -> None:
    program = run_program(customerExperience={"enabled": True, "ticketMention": "case-SHOP"})
    assert program.of(WEBHOOK) == []
    assert monitors(program)["slow-pay"].plain["message"].count("@case-SHOP") == len(STATES)


def test_the_dashboard_and_the_objectives_ask_for_registered_metrics_alone() -> None:
    registered = {metric.plain["name"] for metric in on().of(METRIC)}
    texts = [resource.plain for resource in on().resources if resource.name.startswith("customers-")]
    used = {name.rstrip(".") for name in re.findall(r"watchpost\.dev_abcdefghij12\.[\w.]+", json.dumps(texts))}
    assert used == registered


def test_a_customer_s_metrics_are_by_customer_tier_and_step() -> None:
    for metric in on().of(METRIC):
        tags = [group["tagName"] for group in metric.plain["groupBies"]]
        assert tags == (["customer"] if ".customer." in metric.plain["name"] else []) + ["tier", "step"]


@pytest.mark.parametrize("system", ["generic", "jira", "zendesk", "servicenow"])
@pytest.mark.parametrize("action", ["open", "close"])
def test_a_ticket_has_its_key_and_two_texts_in_each_system_s_shape(system: str, action: Action) -> None:
    document = payload(action, ticketSystem=system)
    text = json.dumps(document)
    for name in REQUIRED[system, action]:
        inner = document
        for part in name.split("."):
            inner = inner[part]
        assert inner not in ("", None), name
    assert "${" not in text
    assert "$ALERT_SCOPE" in text
    if action == "open":
        assert "place is done, pay is under way, prepare follows" in text
        assert "We noticed, before you had to tell us" in text
        assert "within the 15 minutes before this alert their orders began to take too long or fail" in text


REQUIRED = {
    # Sources: docs/customer-experience.md; https://developer.atlassian.com/cloud/jira/service-desk/rest/ (request,
    # comment); https://developer.zendesk.com/api-reference/ticketing/tickets/tickets/;
    # https://www.servicenow.com/docs/ (Table API, incident)
    ("generic", "open"): ["version", "action", "key", "monitor", "scope", "support", "customer", "tell.office_hours"],
    ("generic", "close"): ["version", "action", "key", "monitor", "scope", "customer", "tell.again_after_minutes"],
    ("jira", "open"): [
        "serviceDeskId",
        "requestTypeId",
        "requestFieldValues.summary",
        "requestFieldValues.description",
    ],
    ("jira", "close"): ["body"],
    ("zendesk", "open"): ["ticket.external_id", "ticket.subject", "ticket.comment.body", "ticket.priority"],
    ("zendesk", "close"): ["ticket.external_id", "ticket.status", "ticket.comment.body"],
    ("servicenow", "open"): ["correlation_id", "short_description", "description", "impact", "urgency"],
    ("servicenow", "close"): ["correlation_id", "close_code", "close_notes", "state"],
}


def test_fields_of_one_s_own_are_merged_into_an_opened_ticket() -> None:
    fields = {"serviceDeskId": "7", "requestFieldValues": {"priority": {"name": "High"}}}
    opened = payload("open", ticketSystem="jira", ticketFields=fields)
    assert opened["serviceDeskId"] == "7"
    assert opened["requestFieldValues"]["priority"] == {"name": "High"}
    assert opened["requestFieldValues"]["summary"]


def test_no_setting_replaces_a_field_by_which_the_desk_decides() -> None:
    assert set(RESERVED_TICKET_FIELDS) < payload("open").keys()
    assert payload("open", ticketFields={"subject": "own", "team": "a"})["subject"] == "own"
    for name in RESERVED_TICKET_FIELDS:  # of another system's ticket it is a field as any other
        assert payload("open", ticketSystem="zendesk", ticketFields={name: 1})[name] == 1


def test_a_fleet_s_stack_for_datadog_exports_the_key_as_a_secret() -> None:
    program = run_program(part="datadog", hosts={}, customerExperience={**ON, "keyRotation": "2027-01-01"})
    assert program.named("pseudonym-key").plain["keepers"] == {"rotation": "2027-01-01"}
    assert "keepers" not in on().named("pseudonym-key").plain
    assert "pseudonymKey" in program.outputs
    assert plain(program.outputs["pseudonymKey"]) not in list(unencrypted(program.outputs))
    assert "pseudonymKey" not in on().outputs


@pytest.mark.parametrize("system", ["jira", "zendesk", "servicenow"])
def test_a_recovery_is_not_sent_to_the_address_at_which_a_ticket_system_opens_tickets(system: str) -> None:
    opens = {**ON, "ticketSystem": system}
    program = run_program(customerExperience=opens)
    hooks = [hook.name for hook in program.of(WEBHOOK)]
    assert hooks == [f"customers-{step}-open" for step in STEPS]
    mentioned = " ".join(monitor.plain["message"] for monitor in monitors(program).values())
    assert set(re.findall(r"@webhook-([\w-]+)", mentioned)) == {hook.plain["name"] for hook in program.of(WEBHOOK)}
    assert "set ticketCloseUrl" in told_open(CustomerExperience.model_validate(opens))
    both = run_program(customerExperience={**opens, "ticketCloseUrl": "https://tickets.example.com/close"})
    assert {hook.name for hook in both.of(WEBHOOK)} == {hook.name for hook in on().of(WEBHOOK)}


@pytest.mark.parametrize("action", ["open", "close"])
def test_jira_s_request_and_what_closes_it_share_a_label_of_one_cycle(action: Action) -> None:
    # A label has no blank, which $ALERT_SCOPE can have. https://docs.datadoghq.com/integrations/webhooks/#variables
    document = payload(action, ticketSystem="jira")
    labels = document["requestFieldValues"]["labels"] if action == "open" else [document["label"]]
    assert "watchpost-$ALERT_CYCLE_KEY" in labels
    assert not any(" " in label or "$ALERT_SCOPE" in label for label in labels)


SAFE = {"$ALERT_ID", "$ALERT_CYCLE_KEY", "$ALERT_SCOPE", "$DATE_POSIX", "$LINK"}
"""Datadog's variables whose values have no quote and no line break, in numbers, tags and addresses."""


@pytest.mark.parametrize("system", ["generic", "jira", "zendesk", "servicenow"])
@pytest.mark.parametrize("action", ["open", "close"])
def test_no_variable_s_value_can_break_a_ticket_s_json(system: str, action: Action) -> None:
    assert set(re.findall(r"\$[A-Z_]+", json.dumps(payload(action, ticketSystem=system)))) <= SAFE


def test_the_webhooks_send_what_the_desk_takes() -> None:
    for action in ("open", "close"):
        sent = json.loads(on().named(f"customers-pay-{action}").plain["payload"])
        assert sent.keys() == payload(action).keys()
        assert sent["key"] == payload(action)["key"]


# The desk


def _desk() -> Any:
    path = ROOT / "files" / "customer_experience" / "desk.py"
    spec = importlib.util.spec_from_file_location("desk", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


desk = _desk()
MONDAY = datetime.datetime(2027, 1, 4, 12, tzinfo=datetime.UTC)
SUNDAY = MONDAY - datetime.timedelta(days=1)
MINUTE = datetime.timedelta(minutes=1)


def ticket(
    action: Action,
    *,
    monitor: int = 1,
    step: str = "pay",
    customer: str = "c1",
    at: datetime.datetime | None = None,
) -> dict[str, Any]:
    """A ticket as Datadog sends it for the `dev` stack's default settings."""
    text = (
        json.dumps(payload(action, step))
        .replace("$ALERT_SCOPE", f"customer:{customer},step:{step}")
        .replace("$ALERT_ID", str(monitor))
    )
    if at is not None:
        text = text.replace("$DATE_POSIX", f"{at.timestamp():.0f}")
    found: dict[str, Any] = json.loads(text)
    return found


def test_a_flapping_customer_is_told_once() -> None:
    taken = desk.Desk()
    turns: list[Action] = ["open", "close"] * 5
    decisions = [taken.take(ticket(action), MONDAY + number * 10 * MINUTE) for number, action in enumerate(turns)]
    assert [decision.ticket for decision in decisions] == turns
    told = [decision.tell for decision in decisions if decision.tell]
    assert len(told) == 2  # that it began, and that it is over
    assert told[0].startswith("We noticed")
    assert told[1].startswith("Your orders go as they should again")


def test_a_customer_in_trouble_at_two_steps_is_told_of_one() -> None:
    taken = desk.Desk()
    first, second = (taken.take(ticket("open", step=step), MONDAY) for step in ("pay", "deliver"))
    assert (first.ticket, second.ticket) == ("open", "open")
    assert first.tell
    assert not second.tell
    assert not taken.take(ticket("close", step="deliver"), MONDAY).tell


def test_after_the_set_time_a_customer_is_told_again() -> None:
    taken = desk.Desk()
    for minutes, is_told in ((0, True), (239, False), (241, True)):
        assert bool(taken.take(ticket("open"), MONDAY + minutes * MINUTE).tell) == is_told
        taken.take(ticket("close"), MONDAY + minutes * MINUTE)


def test_two_monitors_make_one_ticket_that_closes_with_the_last() -> None:
    taken = desk.Desk()
    asked: list[tuple[Action, int]] = [
        ("open", 1),
        ("open", 2),
        ("open", 1),
        ("close", 1),
        ("close", 1),
        ("close", 2),
        ("close", 2),
    ]
    found = [taken.take(ticket(action, monitor=monitor), MONDAY).ticket for action, monitor in asked]
    assert found == ["open", "leave", "leave", "leave", "leave", "close", "leave"]


def test_on_sunday_a_ticket_is_opened_and_its_customer_told_on_monday() -> None:
    taken, asked = desk.Desk(), ticket("open")
    decision = taken.take(asked, SUNDAY)
    assert (decision.ticket, decision.tell) == ("open", "")
    assert not taken.due(decision.key, asked, SUNDAY + 60 * MINUTE)
    assert taken.due(decision.key, asked, MONDAY).startswith("We noticed")
    assert not taken.due(decision.key, asked, MONDAY + MINUTE)
    assert taken.take(ticket("close"), MONDAY + 60 * MINUTE).tell


EVENING = datetime.datetime(2027, 1, 4, 21, tzinfo=datetime.UTC)
"""After Monday's office hours."""


def test_that_it_is_over_is_told_in_office_hours_too() -> None:
    taken, closing = desk.Desk(), ticket("close")
    assert taken.take(ticket("open"), MONDAY).tell
    decision = taken.take(closing, EVENING)
    assert (decision.ticket, decision.tell) == ("close", "")
    assert not taken.due(decision.key, closing, EVENING + 60 * MINUTE)
    morning = MONDAY + datetime.timedelta(days=1)
    assert taken.due(decision.key, closing, morning).startswith("Your orders go as they should again")
    assert not taken.due(decision.key, closing, morning + MINUTE)


def test_what_begins_again_before_its_end_was_told_is_one_trouble_to_the_customer() -> None:
    taken, closing = desk.Desk(), ticket("close")
    for action, at in (("open", MONDAY), ("close", EVENING), ("open", EVENING + 30 * MINUTE)):
        told = taken.take(ticket(action), at).tell  # type: ignore[arg-type]
        assert bool(told) == (at == MONDAY)
    morning = MONDAY + datetime.timedelta(days=1)
    assert not taken.due(closing["key"], closing, morning)
    assert taken.take(closing, morning).tell.startswith("Your orders go as they should again")


def test_who_is_told_later_is_told_since_when() -> None:
    taken, asked = desk.Desk(), ticket("open")
    key = taken.take(asked, SUNDAY).key
    told = taken.due(key, asked, MONDAY)
    assert "the last" not in told
    assert told.endswith(" We noticed it on Sunday, 3 January 2027 at 13:00 (Europe/Paris).")
    assert "We noticed it on" not in desk.Desk().take(asked, MONDAY).tell


def test_what_is_sent_again_after_its_own_recovery_opens_nothing() -> None:
    taken = desk.Desk()
    alert, recovery = ticket("open", at=MONDAY), ticket("close", at=MONDAY + 10 * MINUTE)
    assert taken.take(recovery, MONDAY + 10 * MINUTE).ticket == "leave"
    assert taken.take(alert, MONDAY + 11 * MINUTE) == desk.Decision("leave", alert["key"])
    again = ticket("open", at=MONDAY + 12 * MINUTE)
    assert taken.take(again, MONDAY + 12 * MINUTE).ticket == "open"
    assert taken.take(alert, MONDAY + 13 * MINUTE).ticket == "leave"
    assert taken.take(ticket("close", at=MONDAY + 14 * MINUTE), MONDAY + 14 * MINUTE).ticket == "close"
    # Another customer's, and another monitor's of this customer, are their own.
    for other in (ticket("open", at=MONDAY, customer="c2"), ticket("open", at=MONDAY, monitor=2)):
        assert taken.take(other, MONDAY + 15 * MINUTE).ticket == "open"


def test_the_desk_forgets_whom_it_need_not_remember() -> None:
    taken = desk.Desk()
    for number in range(50):
        at = MONDAY + datetime.timedelta(days=number)
        for action in ("open", "close"):
            taken.take(ticket(action, customer=f"c{number}", at=at), at)
    assert (len(taken.cases), len(taken.last_told), len(taken.recovered)) == (0, 1, 1)


def test_who_was_not_told_of_the_trouble_is_not_told_that_it_is_over() -> None:
    taken = desk.Desk()
    taken.take(ticket("open"), SUNDAY)
    decision = taken.take(ticket("close"), SUNDAY + 30 * MINUTE)
    assert (decision.ticket, decision.tell) == ("close", "")


@pytest.mark.parametrize("wrong", [{}, {"version": 2, "action": "open"}, {"version": 1, "action": "delete"}])
def test_what_is_no_ticket_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="version must be 1"):
        desk.Desk().take(wrong, MONDAY)


@pytest.mark.parametrize(
    ("hours", "at", "is_open"),
    [
        (None, "2027-01-03T03:00", True),
        (("09:00", "19:00"), "2027-01-04T09:00", True),
        (("09:00", "19:00"), "2027-01-04T19:00", False),
        (("22:00", "06:00"), "2027-01-05T05:59", True),  # the night that began on Monday
        (("22:00", "06:00"), "2027-01-04T05:59", False),  # the night that began on Sunday
        (("00:00", "00:00"), "2027-01-04T23:59", True),
    ],
)
def test_office_hours_are_those_of_the_settings(hours: tuple[str, str] | None, at: str, is_open: bool) -> None:
    office = hours and {"days": ["MO"], "start": hours[0], "end": hours[1], "timezone": "Europe/Paris"}
    now = datetime.datetime.fromisoformat(f"{at}+01:00")
    assert desk.is_open(office, now) == is_open


def test_the_dev_stack_has_it_on() -> None:
    dev = yaml.safe_load((ROOT / "Pulumi.dev.yaml").read_text())["config"]["customerExperience"]
    program = run_program(customerExperience=dev)
    assert len(monitors(program)) == cost(CustomerExperience()).monitors

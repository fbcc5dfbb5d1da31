"""The customers' signals as data: settings, names and queries."""

import dataclasses
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.customer_signals import PATHS, SLICES, Cost, Signals, by_path, cost, customer_composite, prefix
from settings import CustomerExperience
from settings.faults import SettingsError, validate
from settings.model import BURN_RATES
from tests.unit import mocks

ON = {"enabled": True, "ticketUrl": "https://tickets.example.com/hook"}
TOKEN = "fake-ticket-token-000000000000"


def experience(**changes: Any) -> CustomerExperience:
    found = validate(mocks.settings(customerExperience={**ON, **changes})).customer_experience
    assert found is not None
    return found


def faults(**changes: Any) -> list[str]:
    with pytest.raises(SettingsError) as error:
        validate(mocks.settings(customerExperience={**ON, **changes}))
    return error.value.faults


def signals(**changes: Any) -> Signals:
    return Signals(
        experience=experience(**changes), owner="watchpost:abcdefghij12", stack="dev", service="shop", env="prod"
    )


@pytest.mark.parametrize("off", [{}, {"enabled": False}, {"maxCustomers": 5}, {**ON, "enabled": "false"}])
def test_it_is_off_unless_enabled(off: dict[str, Any]) -> None:
    assert validate(mocks.settings(customerExperience=off)).customer_experience is None


def test_the_defaults_are_three_tiers_and_four_steps() -> None:
    found = experience()
    assert found.tiers == ("gold", "silver", "bronze")
    assert [step.name for step in found.steps] == ["place", "pay", "prepare", "deliver"]
    assert set(found.care_tiers) < set(found.tiers)


PSEUDONYMS = [f"{number:016x}" for number in range(4)]
FAULTS: list[tuple[dict[str, Any], str, str]] = [
    ({"tiers": []}, "tiers", "must have 1 to 5 entries"),
    ({"tiers": list("abcdef"), "careTiers": ["a"]}, "tiers", "must have 1 to 5 entries"),
    ({"tiers": ["gold", "gold"]}, "tiers", "must not contain duplicates"),
    ({"tiers": ["Gold"]}, "tiers[0]", "must be small letters, digits"),
    ({"careTiers": ["platinum"]}, "careTiers", "must be among the tiers (gold, silver, bronze), and not platinum"),
    ({"careTiers": []}, "careTiers", "must have at least one entry"),
    ({"maxCustomers": 0}, "maxCustomers", "must be greater than or equal to 1"),
    ({"maxCustomers": 501}, "maxCustomers", "must be less than or equal to 500"),
    ({"maxCustomers": 3, "customers": PSEUDONYMS}, "customers", "must list at most maxCustomers (3) customers"),
    ({"customers": ["jane@example.com"]}, "customers[0]", "must be a customer's pseudonym"),
    ({"steps": []}, "steps", "must have 1 to 8 steps with different names"),
    ({"steps": [{"name": f"s{n}", "objective": 1} for n in range(9)]}, "steps", "must have 1 to 8 steps"),
    ({"steps": [{"name": "pay", "objective": 1}] * 2}, "steps", "must have 1 to 8 steps with different names"),
    ({"steps": [{"name": "pay", "objective": 0}]}, "steps[0].objective", "must be greater than or equal to 1"),
    ({"steps": [{"name": "pay"}]}, "steps[0].objective", "is not set"),
    (
        {"steps": ["pay"]},
        "steps[0]",
        "must be a map of settings; set it with: pulumi config set --path 'watchpost:customer",
    ),
    ({"tellInOfficeHours": "never"}, "tellInOfficeHours", "must be true or false"),
    ({"minimumOrders": 1}, "minimumOrders", "must be greater than or equal to 2"),
    ({"windowMinutes": 5}, "windowMinutes", "must be greater than or equal to 6"),
    ({"platformShare": 90}, "platformShare", "must be less than or equal to 60"),
    ({"steps": [{"name": "pay.now", "objective": 1}, {"name": "pay-now", "objective": 1}]}, "steps", "differ in more"),
    ({"sloTarget": 100}, "sloTarget", "must be less than 100"),
    ({"sloTarget": 93}, "sloTarget", "must be at least 93.1 with sloDays 30"),
    ({"sloTarget": 94, "sloDays": 7}, "sloTarget", "must be at least 94.1 with sloDays 7"),
    ({"sloTarget": "95", "sloDays": "90"}, "sloTarget", "must be at least 95.4 with sloDays 90"),
    ({"sloTarget": 99.9995}, "sloTarget", "must have at most three decimals"),
    ({"sloDays": 31}, "sloDays", "must be 7, 30 or 90"),
    ({"ticketSystem": "paper"}, "ticketSystem", "must be 'generic', 'jira'"),
    ({"ticketUrl": "http://tickets.example.com"}, "ticketUrl", "must be an https:// address"),
    ({"ticketUrl": ""}, "", "needs `ticketUrl`, the address that opens tickets, or `ticketMention`"),
    ({"ticketUrl": "", "ticketMention": "case-shop", "ticketToken": TOKEN}, "", "no `ticketUrl` to send it to"),
    ({"ticketFields": {"key": "k", "team": "a", "tell": {}}}, "ticketFields", "must leave out key, tell, by which"),
    ({"ticketMention": "somebody"}, "ticketMention", "must be an e-mail address such as you@example.com, or a handle"),
    ({"runbookUrl": "docs/runbook.md"}, "runbookUrl", "must be an https:// address"),
    ({"tellAgainMinutes": 5}, "tellAgainMinutes", "must be greater than or equal to 15"),
    ({"keyRotation": "last week"}, "keyRotation", "must be a date or another short text"),
    ({"teirs": []}, "teirs", "is not a setting of Watchpost"),
]


@pytest.mark.parametrize(("changes", "setting", "allowed"), FAULTS)
def test_a_fault_names_the_setting_and_what_is_allowed(changes: dict[str, Any], setting: str, allowed: str) -> None:
    (fault,) = faults(**changes)
    assert fault.startswith(f"watchpost:customerExperience{'.' if setting else ''}{setting} ")
    assert allowed in fault
    assert "pulumi config " in fault
    assert "jane@example.com" not in fault


def test_a_switch_in_the_place_of_the_settings_is_told_where_it_belongs() -> None:
    with pytest.raises(SettingsError) as error:
        validate(mocks.settings(customerExperience=True))
    (fault,) = error.value.faults
    assert "must be a map of settings" in fault
    assert fault.endswith("'watchpost:customerExperience.enabled' VALUE")


@pytest.mark.parametrize(
    "changes",
    [
        {"ticketUrl": ""},
        {"maxCustomers": 0},
        {"ticketToken": [TOKEN]},
        {"ticketUrl": f"http://tickets.example.com/{TOKEN}"},
        {"ticketCloseUrl": f"http://tickets.example.com/?key={TOKEN}"},
    ],
)
def test_a_fault_never_shows_the_token(changes: dict[str, Any]) -> None:
    assert TOKEN not in " ".join(faults(**{"ticketToken": TOKEN, **changes}))


@pytest.mark.parametrize(
    "token", [f"{TOKEN}\r\nX-Other: 1", f"Bearer\n{TOKEN}", f'{TOKEN}"', f"{TOKEN}\\", f"a b {TOKEN}", f"{TOKEN}\u00e9"]
)
def test_a_token_that_is_no_header_is_refused_and_not_shown(token: str) -> None:
    (fault,) = faults(ticketToken=token)
    assert fault.startswith("watchpost:customerExperience.ticketToken is (not shown): must be a token")
    assert fault.endswith("pulumi config set --secret --path 'watchpost:customerExperience.ticketToken'")
    assert TOKEN not in fault


@pytest.mark.parametrize(("given", "kept"), [(f"{TOKEN}\n", TOKEN), (f"Basic {TOKEN}=", f"Basic {TOKEN}="), ("", None)])
def test_a_token_is_taken_without_the_line_break_that_a_file_ends_with(given: str, kept: str | None) -> None:
    token = experience(ticketToken=given).ticket_token
    assert (token and token.get_secret_value()) == kept


@pytest.mark.parametrize("days", [7, 30, 90])
@pytest.mark.parametrize("target", [95.4, 99, 99.999])
def test_no_burn_rate_is_beyond_what_datadog_takes(days: int, target: float) -> None:
    # Source: https://docs.datadoghq.com/service_management/service_level_objectives/burn_rate/
    found = experience(sloDays=days, sloTarget=target)
    fast, slow = BURN_RATES[found.slo_days]
    assert 1 < slow < fast <= 1 / (1 - found.slo_target / 100)


def test_values_set_with_pulumi_config_arrive_as_text() -> None:
    found = experience(maxCustomers="7", sloTarget="99.5", sloDays="7", tellInOfficeHours="false")
    assert (found.max_customers, found.slo_target, found.slo_days) == (7, 99.5, 7)
    assert found.tell_in_office_hours is False


def test_two_stacks_never_share_a_metric() -> None:
    assert prefix("watchpost:aaaaaaaaaaaa", "dev") != prefix("watchpost:bbbbbbbbbbbb", "dev")
    names = [metric.name for metric in signals().metrics()]
    assert all(name.startswith("watchpost.dev_abcdefghij12.") for name in names)
    assert len(set(names)) == len(names)


@given(st.text(min_size=1, max_size=100))
def test_a_metric_has_a_name_that_datadog_keeps_whatever_the_stack_is_called(stack: str) -> None:
    # Source: https://docs.datadoghq.com/metrics/custom_metrics/#naming-custom-metrics
    name = Signals(
        experience=CustomerExperience(), owner="watchpost:abcdefghij12", stack=stack, service="s", env="e"
    ).name("customer.latency")
    assert re.fullmatch(r"[a-z][a-z0-9_.]*", name)
    assert len(name) <= 200
    assert "__" not in name
    assert ".." not in name


def test_customers_are_measured_one_by_one_only_where_care_is_promised() -> None:
    found = {metric.key: metric for metric in signals(careTiers=["gold", "silver"]).metrics()}
    for key, metric in found.items():
        assert ("customer" in metric.by) == key.startswith("customer-")
        if key.startswith("customer-"):
            assert "@customer.tier:(gold OR silver)" in metric.query
    listed = signals(customers=PSEUDONYMS[:2]).metrics()[-1]
    assert listed.query.endswith(f"@customer.id:({PSEUDONYMS[0]} OR {PSEUDONYMS[1]})")


def test_the_groups_of_each_metric_are_in_the_order_of_their_paths() -> None:
    for metric in signals().metrics():
        assert metric.by == by_path(*metric.by)
        assert list(metric.by) == sorted(metric.by, key=PATHS.__getitem__), "else the provider mixes up their names"


def test_each_step_is_held_to_its_own_objective() -> None:
    found = signals(steps=[{"name": "pay", "objective": 250}, {"name": "ship", "objective": 9000}])
    assert found.outside == (
        "(status:error OR (@journey.step:pay @duration:>250ms) OR (@journey.step:ship @duration:>9000ms))"
    )
    assert found.latency("pay", 250).endswith("{step:pay} by {customer,step} > 250000000")


def test_a_slash_is_escaped_in_a_span_query_and_in_no_other() -> None:
    # Source: https://docs.datadoghq.com/tracing/trace_explorer/query_syntax/#escaping-of-special-characters
    steps = [{"name": "pay/now", "objective": 250}]
    found = signals(service="shop/web", steps=steps, tiers=["a/b", "c"], careTiers=["a/b"])
    found = dataclasses.replace(found, service="shop/web")
    assert found.cared_for == r"service:shop\/web env:prod @journey.step:* @customer.tier:a\/b"
    assert r"(@journey.step:pay\/now @duration:>250ms)" in found.outside
    assert "{step:pay/now}" in found.latency("pay/now", 250)
    assert "{tier:a/b}" in found.good("a/b")


@given(st.integers(6, 60), st.integers(10, 60))
def test_the_window_holds_all_that_is_looked_at(window: int, share: int) -> None:
    found = signals(windowMinutes=window, platformShare=share)
    looked_back = 60 * found.minutes + found.delay
    assert looked_back <= 60 * window
    assert found.minutes >= 2
    # By when a customer is looked at, a slowdown of everybody has its share of a slice, and was evaluated once.
    assert found.delay >= 60 * found.slice * share / 100 + 60 - 1
    # The platform's slices reach back further than a customer's minutes, by what it takes them to show a slowdown.
    assert 60 * SLICES * found.slice - looked_back >= 60 * found.slice * share / 100 - 1


def test_a_composite_asks_for_all_of_one_sign_and_not_for_the_platform() -> None:
    both = [["1", "2"], ["3", "4"]]
    assert customer_composite(both, "5", ["6", "7"]) == "((1 && 2) || (3 && 4)) && !(5 && (6 || 7))"
    assert customer_composite([["1", "2", "3"]], "4", ["5"]) == "((1 && 2 && 3)) && !(4 && (5))"


def test_what_is_unusual_needs_more_orders_than_what_is_slow() -> None:
    assert (signals().traffic[-4:], signals().history[-4:]) == (">= 2", ">= 4")
    assert signals(minimumOrders=9).history == signals(minimumOrders=9).traffic
    assert "p40:" in signals().latency("pay", 250)  # both of two orders, and not one of them


def test_what_it_costs_grows_with_customers_and_steps() -> None:
    few = cost(experience(maxCustomers=1))
    assert few == Cost(customers=1, custom_metrics=4 * (3 * 14 + 12), each=4 * 12, monitors=4 * 7 + 8 + 6)
    assert cost(experience(maxCustomers=2)).custom_metrics - few.custom_metrics == 4 * 12
    one_step = cost(experience(maxCustomers=1, steps=[{"name": "pay", "objective": 1}]))
    assert one_step.custom_metrics * 4 == few.custom_metrics
    assert cost(experience(customers=PSEUDONYMS)).customers == 4

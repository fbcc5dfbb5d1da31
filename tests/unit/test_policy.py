"""The guardrails of ``policy/``: each passes a good resource and names the fault of a bad one."""

import json
from typing import Any

import pytest

from policy import rules
from policy.rules import DASHBOARD, DOWNTIME, MONITOR, RULES, Rule
from tests.unit.mocks import Program, run_program

COMMAND = "command:remote:Command"
COPY = "command:remote:CopyToRemote"
LOCAL = "command:local:Command"
CONNECTION = {"host": "198.18.0.2", "hostKey": "ssh-ed25519 AAAAfake", "privateKey": "fake"}
KEY = "0123456789abcdef" * 2
BLOCKS = "".join(f"{{{{#{state}}}}}{{{{host.name}}}} @you@example.com{{{{/{state}}}}}" for state in rules.STATES)

GOOD_MONITOR: dict[str, Any] = {
    "message": BLOCKS,
    "query": "avg(last_5m):avg:my_metric{env:dev} by {host} > 800",
    "monitorThresholds": {"critical": "800", "warning": "500"},
    "notifyNoData": True,
    "noDataTimeframe": 10,
}
RECURRENCE = {"rrule": "FREQ=WEEKLY;BYDAY=SA,SU", "duration": "24h", "start": "2026-11-28T00:00:00"}


def violations(rule: Rule, type_: str, **props: Any) -> list[str]:
    """The violations that ``rule`` finds in one resource."""
    return list(rule(type_, props))


@pytest.mark.parametrize("rule", RULES)
def test_the_program_obeys(rule: Rule, dev_stack: Program) -> None:
    found = {resource.name: list(rule(resource.type, resource.plain)) for resource in dev_stack.resources}
    assert not {name: sentences for name, sentences in found.items() if sentences}


@pytest.mark.parametrize("rule", RULES)
def test_the_customers_system_obeys(rule: Rule, with_customers: Program) -> None:
    found = {resource.name: list(rule(resource.type, resource.plain)) for resource in with_customers.resources}
    assert not {name: sentences for name, sentences in found.items() if sentences}


@pytest.fixture(scope="module")
def with_customers() -> Program:
    return run_program(customerExperience={"enabled": True, "ticketUrl": "https://tickets.example.com/hook"})


COMPOSITE = {"type": "composite", "query": "1 && 2", "message": "{{#is_alert}} @you@example.com{{/is_alert}}"}
PART = {"query": GOOD_MONITOR["query"], "onMissingData": "resolve", "monitorThresholds": {"critical": "800"}}


@pytest.mark.parametrize(
    ("rule", "given", "says"),
    [
        (rules.monitors_tell_someone, {**COMPOSITE, "message": "nobody"}, "is_alert"),
        (rules.monitors_tell_someone, {**COMPOSITE, "message": f"{COMPOSITE['message']} @all"}, "outside"),
        (rules.monitors_tell_someone, {**PART, "message": "@all"}, "outside"),
        (rules.warnings_come_first, {**PART, "monitorThresholds": {"critical": "900"}}, "900"),
    ],
)
def test_a_composite_that_tells_nobody_and_a_part_that_tells_all_are_refused(
    rule: Rule, given: dict[str, Any], says: str
) -> None:
    assert says in " ".join(violations(rule, MONITOR, **given))
    for good in (COMPOSITE, {**PART, "message": "a part"}):
        assert not violations(rule, MONITOR, **good)


@pytest.mark.parametrize("rule", RULES)
def test_a_rule_says_what_it_is_for(rule: Rule) -> None:
    assert rule.__doc__


@pytest.mark.parametrize("type_", [COMMAND, LOCAL])
@pytest.mark.parametrize(
    "props",
    [
        {"create": f"install --key {KEY}"},
        {"create": "true", "delete": f"curl -H 'DD-API-KEY: {KEY}' https://example.com"},
        {"update": f"curl -H 'DD-APPLICATION-KEY: {KEY}01234567'"},
        {"update": f"curl -H 'DD-APPLICATION-KEY: ddapp_{KEY}01'"},
        {"create": "echo '-----BEGIN OPENSSH PRIVATE KEY-----'"},
        {"create": "mysql --password=FakePassword1 -e 'SELECT 1'"},
        {"environment": {"DD_API_KEY": "fake-api-key-1"}},
        {"triggers": [{"key": KEY}]},
    ],
)
def test_a_secret_in_a_command_is_refused(type_: str, props: dict[str, Any]) -> None:
    (sentence,) = {each.partition("holds")[0] for each in violations(rules.no_secret_in_commands, type_, **props)}
    assert sentence.strip("` ") in props


@pytest.mark.parametrize(
    "props",
    [
        {"create": "cat > /etc/key", "stdin": KEY},
        {"create": f"DD_API_KEY={'0' * 32} ./install.sh"},
        {"create": 'mysql --password="$password"'},
        {"create": f"echo {KEY * 2} file | sha256sum --check"},
        {"create": None, "environment": {"COUNT": "1"}},
    ],
)
def test_what_is_no_secret_passes(props: dict[str, Any]) -> None:
    assert not violations(rules.no_secret_in_commands, COMMAND, **props)


def test_a_key_outside_of_commands_is_not_this_rules_business() -> None:
    assert not violations(rules.no_secret_in_commands, MONITOR, message=KEY)


@pytest.mark.parametrize("type_", [COMMAND, COPY])
def test_a_connection_needs_a_host_key_unless_the_address_is_accepted(type_: str) -> None:
    unchecked = {"connection": {**CONNECTION, "hostKey": None}}
    assert not violations(rules.host_keys_are_checked, type_, connection=CONNECTION)
    assert violations(rules.host_keys_are_checked, type_, **unchecked)
    assert not list(rules.host_keys_are_checked(type_, unchecked, accepted=["198.18.0.2"]))
    assert list(rules.host_keys_are_checked(type_, unchecked, accepted=["198.18.0.3"]))


def test_a_host_without_host_key_is_found_in_the_program() -> None:
    host = {"address": "198.18.0.2", "user": "watchpost", "privateKey": "fake", "acceptAnyHostKey": True}
    commands = run_program(hosts={"vm": host}).commands.values()
    assert all(violations(rules.host_keys_are_checked, COMMAND, **each.plain) for each in commands)


def test_only_a_step_on_this_machine_may_have_triggers() -> None:
    assert violations(rules.steps_change_in_place, COMMAND, triggers=["1"])
    assert not violations(rules.steps_change_in_place, COMMAND, triggers=[])
    assert not violations(rules.steps_change_in_place, LOCAL, triggers=["bento/ubuntu-24.04"])


@pytest.mark.parametrize("rule", RULES)
def test_a_good_monitor_passes(rule: Rule) -> None:
    assert not violations(rule, MONITOR, **GOOD_MONITOR)


@pytest.mark.parametrize(
    ("rule", "change", "says"),
    [
        (rules.monitors_tell_someone, {"message": "no blocks"}, "is_alert is_warning is_no_data is_recovery"),
        (rules.monitors_tell_someone, {"message": BLOCKS.replace("@you@example.com", "")}, "is_no_data"),
        (rules.monitors_tell_someone, {"message": f"{BLOCKS} @all"}, "outside"),
        (rules.monitors_tell_someone, {"query": "avg(last_5m):avg:my_metric{host:a} > 800"}, "{host}"),
        (rules.monitors_notice_silence, {"notifyNoData": False}, "unnoticed"),
        (rules.monitors_notice_silence, {"noDataTimeframe": None}, "unnoticed"),
        (rules.monitors_notice_silence, {"noDataTimeframe": 9}, "twice"),
        (rules.monitors_notice_silence, {"query": GOOD_MONITOR["query"].replace("5m", "1h")}, "60"),
        (rules.warnings_come_first, {"monitorThresholds": {"critical": "800", "warning": "800"}}, "before"),
        (rules.warnings_come_first, {"monitorThresholds": {"critical": "800"}}, "no warning"),
        (rules.warnings_come_first, {"monitorThresholds": {"critical": "900", "warning": "500"}}, "900"),
        (rules.warnings_come_first, {"monitorThresholds": None}, "critical"),
        (rules.warnings_come_first, {"query": "avg(last_5m):avg:my_metric{*} < 800"}, "before"),
    ],
)
def test_a_bad_monitor_is_refused(rule: Rule, change: dict[str, Any], says: str) -> None:
    found = violations(rule, MONITOR, **{**GOOD_MONITOR, **change})
    assert found
    assert all(word in " ".join(found) for word in says.split())


def test_a_monitor_that_falls_warns_above_its_alert() -> None:
    falling = {"query": "avg(last_5m):avg:my_metric{*} <= 10", "monitorThresholds": {"critical": "10", "warning": "20"}}
    assert not violations(rules.warnings_come_first, MONITOR, **falling)


def test_the_newer_way_to_notice_silence_passes() -> None:
    newer = {"query": GOOD_MONITOR["query"], "onMissingData": "show_and_notify_no_data"}
    assert not violations(rules.monitors_notice_silence, MONITOR, **newer)


@pytest.mark.parametrize(
    ("schedule", "count"),
    [
        ({"timezone": "Europe/Paris", "recurrences": [RECURRENCE]}, 0),
        ({"recurrences": [RECURRENCE]}, 1),
        ({"timezone": "Paris", "recurrences": [RECURRENCE]}, 1),
        ({"timezone": "Europe/Paris", "recurrences": [{**RECURRENCE, "start": None}, RECURRENCE]}, 1),
        ({"timezone": "Europe/Paris", "recurrences": [{**RECURRENCE, "start": "2026-11-28T00:00:00Z"}]}, 1),
        ({"timezone": "Europe/Paris", "recurrences": [{"rrule": "FREQ=DAILY;COUNT=1", "duration": "3m"}]}, 0),
        ({"timezone": "Europe/Paris", "recurrences": [{"rrule": "FREQ=DAILY;COUNT=10", "duration": "3m"}]}, 1),
    ],
)
def test_a_recurring_downtime_needs_time_zone_and_start(schedule: dict[str, Any], count: int) -> None:
    assert len(violations(rules.downtimes_have_an_anchor, DOWNTIME, recurringSchedule=schedule)) == count


def test_a_downtime_without_recurrence_passes() -> None:
    assert not violations(rules.downtimes_have_an_anchor, DOWNTIME, oneTimeSchedule={"start": None})


@pytest.mark.parametrize(
    ("variables", "good"),
    [
        ([{"name": "host", "prefix": "host", "defaults": ["*"]}], True),
        ([{"name": "host", "prefix": "host", "defaults": ["vm"]}], False),
        ([{"name": "env", "prefix": "env", "defaults": ["*"]}], False),
        (None, False),
    ],
)
def test_a_dashboard_shows_all_hosts_and_can_be_narrowed(variables: list[Any] | None, *, good: bool) -> None:
    dashboard = json.dumps({"title": "a", "template_variables": variables})
    assert bool(violations(rules.dashboards_can_be_narrowed, DASHBOARD, dashboard=dashboard)) is not good

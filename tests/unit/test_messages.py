"""The monitor's message: a text for each state, with recipients, in Datadog's template language."""

import re
from collections.abc import Mapping
from unittest import mock

import pytest

from components import monitors
from components.custom_check import Metric
from components.datadog_context import DatadogContext
from components.downtimes import WHEN
from components.links import Links
from components.monitors import MetricMonitorArgs
from tests.unit.mocks import DOWNTIME, MONITOR, OWNER, Program, run_program

BLOCKS = {
    "is_alert", "is_warning", "is_no_data", "is_recovery", "is_alert_recovery", "is_warning_recovery",
    "is_no_data_recovery", "is_alert_to_warning", "is_renotify",
}  # fmt: skip
"""Source: https://docs.datadoghq.com/monitors/notify/variables/#conditional-variables"""

BEFORE, AFTER = (f'eval "last_triggered_at_epoch{sign}10*60*1000"' for sign in "-+")

VARIABLES = {"value", "threshold", "warn_threshold", "comparator", "host.name", "host.ip", BEFORE, AFTER}
"""Variables of a multi alert by host. Source: https://docs.datadoghq.com/monitors/notify/variables/#template-variables"""

TRANSITIONS = {
    "alert": {"is_alert"},
    "warning": {"is_warning"},
    "no_data": {"is_no_data"},
    "recovery": {"is_recovery", "is_alert_recovery"},
    "alert to warning": {"is_warning", "is_alert_to_warning"},
}
"""The blocks that Datadog shows on each transition."""

VALUES = {
    "value": "<value>",
    "threshold": "<threshold>",
    "warn_threshold": "<warn>",
    "comparator": ">",
    "host.name": "<host>",
    "host.ip": "<ip>",
    BEFORE: "<before>",
    AFTER: "<after>",
}
TOKEN = re.compile(r"\{\{(?P<kind>[#^/]?)\s*(?P<name>[^{}]*?)\s*\}\}")


class TemplateError(ValueError):
    """A message that Datadog would not render as intended."""


def rendered(message: str, blocks: set[str], values: Mapping[str, str]) -> str:
    """The message as Datadog sends it while ``blocks`` apply."""
    text, place, open_block = "", 0, ""
    for token in TOKEN.finditer(message):
        if not open_block or open_block in blocks:
            text += message[place : token.start()]
        place = token.end()
        kind, name = token["kind"], token["name"]
        if kind == "#":
            if open_block or name not in BLOCKS:
                raise TemplateError(f"{name} in {open_block or 'no block'}")
            open_block = name
        elif kind == "/":
            if name != open_block:
                raise TemplateError(f"{open_block or 'no block'} is ended by {name}")
            open_block = ""
        elif kind or name not in VARIABLES:
            raise TemplateError(f"{token[0]} is no variable of this monitor")
        elif not open_block or open_block in blocks:
            text += values[name]
    if open_block:
        raise TemplateError(f"{open_block} is never ended")
    text += message[place:]
    if "{{" in text or "}}" in text:
        raise TemplateError("braces are left over")
    return text.strip()


ARGS = MetricMonitorArgs(
    context=DatadogContext(env="stage", ownership=mock.sentinel.tag, links=Links(app_url="https://app.datadoghq.eu")),
    metric=Metric(check="the_check", name="the.metric", tag="a:b", minimum=0, maximum=9),
    window_minutes=7,
    warning=3,
    alert=6,
    no_data_minutes=21,
    mentions="@you@example.com @other@example.com",
    timeboard="https://app.datadoghq.eu/dashboard/abc",
)
MESSAGE = monitors.message(ARGS, "https://app.datadoghq.eu/dashboard/abc")
SENT = {transition: rendered(MESSAGE, blocks, VALUES) for transition, blocks in TRANSITIONS.items()}
OWN = {
    "alert": "is too high on <host>",
    "warning": "is getting high on <host>",
    "no_data": "has sent no the.metric for 21 minutes",
    "recovery": "has recovered on <host>",
}


@pytest.mark.parametrize("state", OWN)
def test_each_state_is_told_in_its_own_words_alone(state: str) -> None:
    for other, words in OWN.items():
        assert (words in SENT[state]) == (other == state)


def test_falling_from_alert_to_warning_tells_the_warning_alone() -> None:
    assert SENT["alert to warning"] == SENT["warning"]


@pytest.mark.parametrize("transition", TRANSITIONS)
def test_every_transition_mentions_each_recipient_once_on_a_line_of_their_own(transition: str) -> None:
    assert SENT[transition].splitlines()[-1] == "@you@example.com @other@example.com"
    assert SENT[transition].count("@") == 4


def test_an_alert_tells_the_value_the_threshold_and_the_host_s_address() -> None:
    for part in ("<value>", "<threshold>", "<ip>", "last 7 minutes"):
        assert part in SENT["alert"]
    assert "https://app.datadoghq.eu/dashboard/abc" in SENT["alert"]
    assert "(https://app.datadoghq.eu/infrastructure?hostname=<host>)" in SENT["alert"]


@pytest.mark.parametrize("state", ["alert", "warning"])
def test_the_timeboard_is_shown_for_that_host_around_the_alert(state: str) -> None:
    query = "tpl_var_host=<host>&from_ts=<before>&to_ts=<after>&live=false"
    assert f"(https://app.datadoghq.eu/dashboard/abc?{query})" in SENT[state]


def test_a_warning_tells_both_thresholds() -> None:
    for part in ("<value>", "<warn>", "<threshold>"):
        assert part in SENT["warning"]


def test_missing_data_has_no_value_to_tell() -> None:
    assert "<value>" not in SENT["no_data"]
    assert "datadog-agent check the_check" in SENT["no_data"]


def test_nothing_stands_outside_the_blocks() -> None:
    assert rendered(MESSAGE, set(), VALUES) == ""


def test_no_placeholder_is_left_over() -> None:
    assert "${" not in MESSAGE


@pytest.mark.parametrize(
    "broken",
    [
        "{{#is_alert}}{{#is_warning}}{{/is_warning}}{{/is_alert}}",
        "{{#is_alert}}",
        "{{#is_alert}}{{/is_warning}}",
        "{{#is_alarm}}{{/is_alarm}}",
        "{{pod.name}}",
        "{{^is_alert}}",
        "{{value}",
    ],
)
def test_the_renderer_knows_what_datadog_does_not_render(broken: str) -> None:
    with pytest.raises(TemplateError):
        rendered(broken, {"is_alert"}, VALUES)


def test_the_program_s_monitor_has_this_message_and_is_a_multi_alert_by_host(dev_stack: Program) -> None:
    monitor = dev_stack.one(MONITOR).plain
    for transition in ("alert", "warning", "no_data", "recovery"):
        sent = rendered(monitor["message"], TRANSITIONS[transition], VALUES)
        assert sent.splitlines()[-1] == "@you@example.com"
    # Only that renders {{host.name}} and {{host.ip}}.
    assert " by {host}" in monitor["query"]
    assert rendered(monitor["name"], set(), VALUES) == "my_metric on <host> (dev)"


def test_downtimes_tell_the_recipients_when_and_why(dev_stack: Program) -> None:
    messages = {downtime.plain["message"]: downtime.name for downtime in dev_stack.of(DOWNTIME)}
    assert len(messages) == 2
    for message, when in zip(sorted(messages), sorted(WHEN.values()), strict=True):
        assert when in message
        assert "open from 09:00 to 19:00 (Europe/Paris) on MO, TU, WE, TH, FR" in message
        assert message.splitlines()[-3:] == ["@you@example.com", "", f"({OWNER}/{messages[message]})"]
        assert "${" not in message


def test_several_recipients_are_all_told() -> None:
    program = run_program(recipients=["a@example.com", "b@example.com"])
    for resource in program.of(MONITOR, DOWNTIME):
        assert "@a@example.com @b@example.com" in resource.plain["message"]

"""Settings reach a host, a shell or Datadog letter by letter; those that can't are refused by name."""

import shlex
from typing import Any
from unittest import mock

import pytest
import yaml
from hypothesis import assume, example, given
from hypothesis import strategies as st

from components import agent, monitors, templates
from components.host import ssh_command
from components.traced_app import UNIT
from settings.faults import SettingsError, validate
from settings.model import Settings
from tests.unit import mocks
from tests.unit.mocks import HOST
from tests.unit.test_messages import ARGS, TRANSITIONS, VALUES, rendered

HOSTILE = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=30) | st.text(
    st.sampled_from("aZ0 _-./:,@#{}$%`'\"\\;|&<>()[]*?!~=+^\n\r\té🐶\u202e\u2028"), max_size=30
)
NAME = st.from_regex(r"[a-z0-9]([a-z0-9_./-]{0,20}[a-z0-9])?", fullmatch=True)
RECIPIENT = st.from_regex(r"[A-Za-z0-9._%+-]{1,20}@([A-Za-z0-9-]{1,9}\.){1,3}[A-Za-z]{2,5}", fullmatch=True)

LONG = 10_000


def accepted(**changes: Any) -> Settings | list[str]:
    """The settings of the `dev` stack with ``changes``, or what is wrong with them."""
    try:
        return validate(mocks.settings(**changes))
    except SettingsError as error:
        return error.faults


def one_host(**changes: str) -> dict[str, Any]:
    return {"hosts": {"vm": {**HOST, **changes}}}


TOO_LONG: dict[str, dict[str, Any]] = {
    "env": {"env": "a" * LONG},
    "service": {"service": "a" * LONG},
    "version": {"version": "1" * LONG},
    "tags[0]": {"tags": ["a:" + "b" * LONG]},
    "recipients[0]": {"recipients": ["a" * LONG + "@example.com"]},
    "timezone": {"timezone": "Europe/" + "a" * LONG},
    "officeStart": {"officeStart": "09:00" * LONG},
    "agentVersion": {"agentVersion": "7.1." + "1" * LONG},
    "checkInterval": {"checkInterval": "1" * LONG},
    "hosts.vm.address": one_host(address="a" * LONG),
    "hosts.vm.user": one_host(user="a" * LONG),
    "hosts.vm.hostKey": one_host(hostKey="ssh-ed25519 " + "A" * LONG),
    "hosts.vm.vagrant.box": {"hosts": {"vm": {"vagrant": {"box": "a" * LONG}}}},
    "hosts.": {"hosts": {"a" * LONG: HOST}},
}


@pytest.mark.parametrize("key", TOO_LONG)
def test_ten_thousand_characters_are_refused_by_name(key: str) -> None:
    found = accepted(**TOO_LONG[key])
    assert isinstance(found, list)
    assert len(found) == 1
    assert found[0].startswith(f"watchpost:{key}")
    assert len(found[0]) < (600 if key != "hosts." else 3 * LONG)  # there the long thing is the setting's own name


@given(name=HOSTILE, tags=st.lists(HOSTILE, max_size=3), key=HOSTILE)
@example(name="1e3", tags=["null", "on"], key="0" * 32)
@example(name="${api_key}", tags=["${site}"], key="'")
@example(name="0", tags=["\u2028", "\u2029x"], key="\x85")
def test_datadog_yaml_says_what_was_set(name: str, tags: list[str], key: str) -> None:
    assume("" not in (name, key))
    args = mock.Mock(site="datadoghq.com", agent_url="", trace_url="", config={}, env=name, tags=tags)
    args.host.name = name
    read = yaml.safe_load(agent.datadog_yaml(args, key))
    assert (read["hostname"], read["env"], read["tags"], read["api_key"]) == (name, name, tags, key)


@pytest.mark.parametrize("name", ["1e3", "0o17", "0x1f", "0b1", "1_000", "12e03", "1.5", "0.0e0", "2026-11-23", "1:30"])
def test_a_name_that_another_reader_of_yaml_takes_for_a_number_is_quoted(name: str) -> None:
    args = mock.Mock(site="datadoghq.com", agent_url="", trace_url="", config={}, env=name, tags=[])
    args.host.name = name
    (line,) = [line for line in agent.datadog_yaml(args, "k").splitlines() if line.startswith("hostname:")]
    assert line.removeprefix("hostname: ").strip("'\"") == name
    assert line.endswith(("'", '"'))


@given(service=NAME, env=NAME, version=NAME)
def test_a_unit_of_systemd_says_what_was_set(service: str, env: str, version: str) -> None:
    assume(isinstance(accepted(service=service, env=env, version=version), Settings))
    values = {"service": service, "env": env, "version": version, "port": 5050, "journey": "", "program": "app.py"}
    lines = templates.text_file(f"traced_app/{UNIT}", values).splitlines()
    assert f"Environment=DD_SERVICE={service} DD_ENV={env} DD_VERSION={version}" in lines
    assert len(lines) == len(templates.text(f"traced_app/{UNIT}").splitlines())


@given(file=HOSTILE, port=st.integers(1, 65535))
@example(file="/home/me/my keys/$(reboot)", port=22)
def test_the_command_that_logs_in_is_the_same_words_to_a_shell(file: str, port: int) -> None:
    words = ["ssh", *(["-i", file.replace("%", "%%")] if file else []), "-p", str(port), "watchpost@198.18.0.2"]
    assert shlex.split(ssh_command("198.18.0.2", port, "watchpost", file)) == words


@given(recipients=st.lists(RECIPIENT, min_size=1, max_size=3))
def test_no_recipient_changes_what_datadog_renders_or_for_whom(recipients: list[str]) -> None:
    settings = accepted(recipients=recipients)
    assume(isinstance(settings, Settings))
    assert isinstance(settings, Settings)
    changed = {**vars(ARGS), "mentions": settings.mentions}
    message = monitors.message(monitors.MetricMonitorArgs(**changed), "https://app.datadoghq.eu/dashboard/abc")
    for blocks in TRANSITIONS.values():
        assert rendered(message, blocks, VALUES).splitlines()[-1].split() == [f"@{name}" for name in recipients]


@given(value=HOSTILE)
@example(value="{{#is_alert}}@all{{/is_alert}}")
@example(value="$(reboot)")
@example(value="${password}")
def test_nothing_that_is_a_name_may_hold_a_template_or_a_command(value: str) -> None:
    for changes in (
        {"env": value},
        {"service": value},
        {"tags": [f"a:{value}"]},
        {"recipients": [f"{value}@example.com"]},
    ):
        found = accepted(**changes)
        if isinstance(found, Settings):
            assert not set(value) & set("{}$`'\"\\;|&<>()[]*?!~=^#, \n\r\t")
            assert value.isascii()

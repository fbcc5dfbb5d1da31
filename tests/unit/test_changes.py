"""The summary of a preview shows operations, names and properties, and never an address."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watchpost import changes

URN = "urn:pulumi:prod::watchpost::watchpost:host:Host$command:remote:Command::web-1-ready"
HOSTS = {"web-1": {"address": "web.example.net", "user": "me"}, "web-2": {"address": "192.0.2.7"}}


def digest(**other: Any) -> dict[str, Any]:
    """Build what ``pulumi preview --json`` prints."""
    steps = [
        {"op": "same", "urn": URN.replace("ready", "proof")},
        {
            "op": "update",
            "urn": URN,
            "detailedDiff": {"connection.host": {"kind": "update"}, "create": {"kind": "update"}},
            "oldState": {"inputs": {"connection": {"host": "192.0.2.7"}}},
            "newState": {"inputs": {"connection": {"host": "web.example.net"}}},
        },
        {"op": "delete", "urn": "urn:pulumi:prod::watchpost::datadog:index/monitor:Monitor::old"},
    ]
    config = {"watchpost:hosts": json.dumps(HOSTS), "watchpost:recipients": '["me@example.com"]'}
    return {"config": config, "steps": steps, "changeSummary": {"same": 1, "update": 1, "delete": 1}, **other}


def test_a_change_is_named_by_resource_and_property_without_values() -> None:
    assert changes.summary(digest()).splitlines() == [
        "update web-1-ready (command:remote:Command): connection.host, create",
        "delete old (datadog:index/monitor:Monitor)",
        "1 delete, 1 same, 1 update",
    ]
    assert changes.summary({}) == "nothing to change"


def test_what_went_wrong_is_told_without_addresses() -> None:
    said = [
        {"severity": "info", "message": "192.0.2.7"},
        {
            "severity": "error",
            "message": "<{%fg 1%}>dial tcp 192.0.2.7:22, [2001:db8::7]:22 and web.example.net: no<{%reset%}>\n",
        },
        {"severity": "warning", "message": "me@example.com is told of /etc/x at 12:30"},
    ]
    assert changes.summary(digest(steps=[], changeSummary={}, diagnostics=said)).splitlines() == [
        "nothing to change",
        "error: dial tcp ***:22, [***]:22 and ***: no",
        "warning: *** is told of /etc/x at 12:30",
    ]


@given(
    st.ip_addresses().filter(lambda address: not address.is_loopback and not address.is_unspecified),
    st.sampled_from(["{}", "x {}: no", "({})", "'{}'", "[{}]:22"]),
)
def test_no_ip_address_survives(address: Any, where: str) -> None:
    assert str(address) not in changes.masked(where.format(address))


@pytest.mark.parametrize("text", ["", "{", "Updating: 192.0.2.7\n", "[]", '{"steps": 1}', '{"steps": [{}]}', "null"])
def test_what_is_no_preview_is_no_traceback_and_shows_nothing(text: str) -> None:
    assert "192.0.2.7" not in changes.read(text)


def test_a_preview_that_failed_tells_its_errors() -> None:
    said = "Previewing update (prod):\nwarning: x\nerror: getting stack: 192.0.2.7 doesn't answer\n"
    assert changes.read(said) == "error: getting stack: *** doesn't answer"

"""``components.plugin_errors``: each row of the table by what a real plugin, or the library in it, was seen to say."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.plugin_errors import CUT_OFF, DUPLICATE, KEPT, REFUSED, KnownError, may_have_created, was_cut_off

BROKEN_OFF = {
    "wait: remote command exited without exit status or exit signal": 0,
    "EOF": 1,
    "unexpected EOF": 1,
    "ssh: unexpected packet in response to channel open: <nil>": 2,
    "ssh: disconnect, reason 2: Too many authentication failures": 3,
    "ssh: disconnect, reason 11: disconnected\nby the administrator": 3,
    "read tcp 10.0.0.1:50000->203.0.113.10:22: read: connection reset by peer": 4,
    "read tcp [2001:db8::1]:50000->[2001:db8::2]:22: read: connection timed out": 4,
    "write tcp 10.0.0.1:50000->203.0.113.10:22: write: broken pipe": 4,
    "write tcp 10.0.0.1:50000->203.0.113.10:22: use of closed network connection": 4,
    "read tcp 10.0.0.1:50000->203.0.113.10:22: use of closed network connection": 4,
    "read tcp 10.0.0.1:50000->203.0.113.10:22: i/o timeout": 4,
    "Process exited with status 143": 5,
    "Process exited with status 129": 5,
    "Process exited with status 137 from signal KILL": 5,
    "Process exited with status 143 from signal TERM. Reason was: Terminated": 5,
}
"""Reasons of a command that was cut off, each with its row."""

TO_ITS_END = [
    "Process exited with status 1",
    "Process exited with status 100",
    "Process exited with status 1430",
    "Process exited with status 134 from signal ABRT",
    "Process exited with status 139 from signal SEGV. Reason was: EOF",
    "ssh: command reboot failed",
    'could not set environment variable "A": ssh: setenv failed',
    "ssh: no key found",
    "ssh: this private key is passphrase protected",
    "failed to parse host key: ssh: invalid curve point",
    "dial unix /tmp/agent: connect: no such file or directory",
    "context canceled",
]
"""Reasons of a command that failed by itself, or could not begin for good."""

NO_CONNECTION = [
    "dial tcp 203.0.113.10:22: i/o timeout",
    "dial tcp 203.0.113.10:22: connect: connection refused",
    "dial tcp: lookup vm.example.com on 192.0.2.53:53: no such host",
    "ssh: handshake failed: EOF",
    "ssh: handshake failed: read tcp 10.0.0.1:50000->203.0.113.10:22: read: connection reset by peer",
    "ssh: handshake failed: ssh: host key mismatch",
    "ssh: handshake failed: ssh: disconnect, reason 2: Too many authentication failures",
    "ssh: handshake failed: ssh: unable to authenticate, attempted methods [none], no supported methods remain",
]

NOT_MADE = {
    'error validating monitor from /api/v1/monitor/validate: 400 Bad Request: {"errors":["no"]}': 0,
    'error validating monitor (url.Error): Post "https://api.datadoghq.com/api/v1/monitor/validate": EOF': 0,
    'error creating monitor from /api/v1/monitor: 403 Forbidden: {"errors":["Forbidden"]}': 1,
    "error creating resource from /api/v1/dashboard: 429 Too Many Requests: {}": 1,
    'error retrieving DowntimeSchedule: 400 Bad Request: {"errors":["no"]}': 2,
    'error creating service level objective from /api/v1/slo: 403 Forbidden: {"errors":["Forbidden"]}': 3,
    'error retrieving retention filter: 403 Forbidden: {"errors":["Forbidden"]}': 4,
    'error creating spans metric: 400 Bad Request: {"errors":["no"]}': 5,
    'error creating webhooks custom variable: 403 Forbidden: {"errors":["Forbidden"]}': 5,
    'Error creating secure embed: API error (status 403): 403 Forbidden — {"errors":["Forbidden"]}': 6,
    "the public link of dashboard abc can't be created: Datadog at https://example.com refused: 403 Forbidden: {}": 7,
    "the public link of dashboard abc can't be created: export DD_APP_KEY": 7,
    "the public link of dashboard abc can't be created: Datadog at https://example.com is busy (429 Too Many": 7,
    "the public link of dashboard abc can't be created: https://x doesn't answer as Datadog's API does (HTTP 404)": 7,
}
"""Errors of a create that Datadog refused, each with its row."""

IN_DOUBT = [
    'error creating monitor (url.Error): Post "https://api.datadoghq.com/api/v1/monitor": EOF',
    "error creating monitor from /api/v1/monitor: 408 Request Timeout: {}",
    "error creating resource from /api/v1/dashboard: 504 Gateway Timeout: {}",
    'error creating resource (url.Error): Post "https://api.datadoghq.com/api/v1/dashboard": net/http: timeout',
    "invalid character '<' looking for beginning of value",
    'error retrieving DowntimeSchedule: url.Error: Post "https://api.datadoghq.com/api/v2/downtime": EOF ',
    "error retrieving DowntimeSchedule: 500 Internal Server Error: {}",
    'Error creating secure embed: API error (status 0): Post "https://api.datadoghq.com/api/v2/dashboard/abc": EOF',
    "the public link of dashboard abc can't be created: Datadog's API at https://example.com can't be reached: it ends",
    "the public link of dashboard abc can't be created: Datadog at https://example.com failed (502 Bad",
    "Error parsing create response: invalid character '<' looking for beginning of value",
    'error creating spans metric: url.Error: Post "https://api.datadoghq.com/api/v2/apm/config/metrics": EOF ',
    'error creating spans metric: 409 Conflict: {"errors":["conflict: a metric already exists with that name"]}',
    'error creating webhooks custom variable: 409 Conflict: {"errors":["already exists"]}',
    "error creating service level objective from /api/v1/slo: 502 Bad Gateway: {}",
    "error retrieving retention filter: 408 Request Timeout: {}",
    'error creating monitor from /api/v1/monitor: 400 Bad Request: ["Duplicate of an existing monitor_id:1"]',
]
"""Errors of a create that may have been made."""


def doubled(error: str) -> str:
    """Return an error as the engine passes it on for the plugin's SDKv2 half.

    Source: https://github.com/hashicorp/go-multierror format.go
    """
    return f"1 error occurred:\n\t* {error}\n\n"


def fitting(rows: tuple[KnownError, ...], text: str) -> list[int]:
    return [number for number, row in enumerate(rows) if re.search(row.pattern, text)]


def test_every_row_has_an_example_and_a_source() -> None:
    assert set(BROKEN_OFF.values()) == set(range(len(CUT_OFF)))
    assert set(NOT_MADE.values()) == set(range(len(REFUSED)))
    for row in (*CUT_OFF, *REFUSED, KEPT, DUPLICATE):
        assert row.source.startswith("https://")
        assert row.meaning


@pytest.mark.parametrize(("reason", "row"), BROKEN_OFF.items())
def test_a_command_that_broke_off_is_known_by_one_row(reason: str, row: int) -> None:
    assert [n for n, words in enumerate(CUT_OFF) if re.fullmatch(words.pattern, reason, re.DOTALL)] == [row]
    assert was_cut_off(f'{reason}: running "bash -c ...":\nReading package lists...\n')
    assert was_cut_off(reason)


@pytest.mark.parametrize("reason", TO_ITS_END)
def test_a_command_that_failed_by_itself_did_not_break_off(reason: str) -> None:
    assert not was_cut_off(f'{reason}: running "bash -c ...":\n')
    assert not was_cut_off(reason)


@pytest.mark.parametrize("reason", NO_CONNECTION)
@pytest.mark.parametrize("proxy", ["", "proxy: "])
def test_a_connection_that_never_came_about_is_not_tried_again(reason: str, proxy: str) -> None:
    assert not was_cut_off(f"{proxy}after 20 failed attempts: {reason}")


@given(
    said=st.lists(st.sampled_from([*BROKEN_OFF, *NO_CONNECTION, ': running "x":', "Reading package lists..."])),
    reason=st.sampled_from(TO_ITS_END),
    command=st.sampled_from(["true", *BROKEN_OFF, 'echo ": running \\"x\\":"']),
)
def test_what_a_script_says_or_holds_means_nothing(said: list[str], reason: str, command: str) -> None:
    assert not was_cut_off("\n".join([f'{reason}: running "{command}":', *said]))


@pytest.mark.parametrize(("error", "row"), NOT_MADE.items())
def test_what_datadog_refused_is_not_in_doubt(error: str, row: int) -> None:
    for text in (error, doubled(error)):
        assert fitting(REFUSED, text) == [row]
        assert not may_have_created(text)


def test_what_the_state_knows_of_is_not_in_doubt() -> None:
    urn = "urn:pulumi:dev::watchpost::x$datadog:index/dashboardJson:DashboardJson::y"
    error = f"creating {urn}: {doubled('403 Forbidden')}"
    assert not may_have_created(error)
    assert not may_have_created(doubled(error))


@pytest.mark.parametrize("error", IN_DOUBT)
def test_what_datadog_may_have_made_is_in_doubt(error: str) -> None:
    assert may_have_created(error)
    assert may_have_created(doubled(error))

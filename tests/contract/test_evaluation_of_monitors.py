"""Monitors have the documented states and messages: minute by minute, each case with its source.

A group's values are written as one per minute, ``.`` if silent; the result as its states after each minute, and who is
notified of what. The letters stand for OK, Warn, Alert and No Data.
"""

import datetime
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from components.monitors import STATES
from sandbox.datadog import Account, downtimes, monitors
from sandbox.datadog.evaluation import memory, messages, rounds, states
from sandbox.datadog.store import Point, Store, opened
from sandbox.testing.processes import wait_until

from . import program

CONFIGURATION = "https://docs.datadoghq.com/monitors/configuration/"
METRIC = "https://docs.datadoghq.com/monitors/types/metric/"
DOWNTIMES = "https://docs.datadoghq.com/monitors/downtimes/"
RECOVERY = "https://docs.datadoghq.com/monitors/guide/recovery-thresholds/"
ALERTS = "https://docs.datadoghq.com/monitors/guide/troubleshooting-monitor-alerts/"
VARIABLES = "https://docs.datadoghq.com/monitors/notify/variables/"
API_OPTIONS = "https://docs.datadoghq.com/monitors/guide/monitor_api_options/"
NOTIFY = "https://docs.datadoghq.com/monitors/notify/"
RENOTIFY = "https://docs.datadoghq.com/monitors/notify/#renotify"

BEGIN = datetime.datetime(2026, 3, 2, 9, 0, tzinfo=datetime.UTC)
MINUTE = datetime.timedelta(minutes=1)
MESSAGE = "".join(
    f"{{{{#{block}}}}}{block} {{{{host.name}}}} {{{{value}}}} @{block}@example.com{{{{/{block}}}}}\n"
    for block in ("is_alert", "is_warning", "is_no_data", "is_recovery")
)
LETTERS: Mapping[str, str] = {"OK": "O", "Warn": "W", "Alert": "A", "No Data": "N"}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with opened(tmp_path) as store:
        yield store


def put_monitor(store: Store, **options: Any) -> dict[str, Any]:
    body = {
        "name": "m on {{host.name}}",
        "type": "metric alert",
        "query": options.pop("query", "avg(last_1m):avg:m{*} by {host} > 800"),
        "message": options.pop("message", MESSAGE),
        "tags": ["team:a"],
        "options": {"thresholds": {"critical": 800, "warning": 500}, "new_group_delay": 0, **options},
    }
    monitor = monitors.answer(body, number=store.next("monitor", 1), now=BEGIN)
    store.put("monitor", str(monitor["id"]), monitor)
    return monitor


def put_downtime(store: Store, monitor: int, minutes: tuple[int, int], **given: Any) -> str:
    """Create a downtime from one minute to another; ``canceled`` is the minute when somebody cancels it."""
    begin, end = (BEGIN + minute * MINUTE for minute in minutes)
    schedule = {"start": begin.isoformat(), "end": end.isoformat()}
    body = {"monitor_identifier": {"monitor_id": monitor}, "scope": "*", "schedule": schedule, **given}
    attributes = downtimes.attributes(body, None, now=BEGIN, has_monitor=lambda _: True)
    name = f"downtime-{store.next('downtime', 1)}"
    store.put("downtime", name, {"id": name, "type": "downtime", "attributes": attributes})
    return name


def run(store: Store, canceled: tuple[str, int] | None = None, **hosts: str) -> str:
    """Feed each host one value per minute, evaluating after each minute; return the first host's states."""
    first, seen = next(iter(hosts)), ""
    for minute in range(max(len(values.split()) for values in hosts.values())):
        for host, values in hosts.items():
            value = (values.split() + ["."] * 99)[minute]
            at = (BEGIN + minute * MINUTE).timestamp() + 30
            if value != ".":
                store.add_points([Point(metric="m", at=at, value=float(value), host=host)])
        now = BEGIN + (minute + 1) * MINUTE
        if canceled and minute == canceled[1]:
            downtime = store.get("downtime", canceled[0])
            assert downtime
            downtime["attributes"] |= {"canceled": now.isoformat(), "status": "canceled"}
            store.put("downtime", canceled[0], downtime)
        rounds.follow_changes(store, now)
        rounds.evaluate(store, now)
        found = next((group for group in memory.groups(store) if group.name == first), None)
        seen += LETTERS[found.status] if found else "-"
    return seen


def told(store: Store) -> list[str]:
    """Return the monitors' notifications, each as minute and state: ``2 A``."""
    return [
        f"{round((mail['at'] - BEGIN.timestamp()) / 60)} {LETTERS[mail['kind']]}"
        for mail in memory.mails(store)
        if mail["about"] == "monitor"
    ]


CASES = [
    # values, options, states, notifications, source
    ("1 1 1", {}, "OOO", [], METRIC),
    ("900 900 900", {}, "AAA", ["1 A"], METRIC),  # once per transition, not again while it lasts
    ("800 801", {}, "WA", ["1 W", "2 A"], METRIC),  # above, not at the threshold
    ("600 600 900 600 1", {}, "WWAWO", ["1 W", "3 A", "4 W", "5 O"], CONFIGURATION),
    ("1 900 1 900", {}, "OAOA", ["2 A", "3 O", "4 A"], CONFIGURATION),
    # An empty window is skipped: the state stays.
    ("900 . . .", {}, "AAAA", ["1 A"], ALERTS),
    (". . 900", {}, "--A", ["3 A"], CONFIGURATION),
    # No data: only after data, as many minutes after its last point, and back.
    ("1 . . .", {"notify_no_data": True, "no_data_timeframe": 2}, "OONN", ["3 N"], CONFIGURATION),
    ("1 . . . 1", {"notify_no_data": True, "no_data_timeframe": 2}, "OONNO", ["3 N", "5 O"], CONFIGURATION),
    ("1 . . . 900", {"notify_no_data": True, "no_data_timeframe": 2}, "OONNA", ["3 N", "5 A"], CONFIGURATION),
    (". . . .", {"notify_no_data": True, "no_data_timeframe": 2}, "----", [], CONFIGURATION),
    ("1 . . . .", {"no_data_timeframe": 2}, "OOOOO", [], CONFIGURATION),
    ("1 . . . .", {"notify_no_data": True}, "OONNN", ["3 N"], API_OPTIONS),  # twice the window, where nothing is said
    ("1 . . . .", {"notify_no_data": True, "no_data_timeframe": None}, "OONNN", ["3 N"], API_OPTIONS),
    # A full window: no evaluation before it is filled.
    (
        "900 900 900",
        {"query": "avg(last_3m):avg:m{*} by {host} > 800", "require_full_window": True},
        "OOA",
        ["3 A"],
        CONFIGURATION,
    ),
    (
        "900 900 . 900 900 900",
        {"query": "avg(last_3m):avg:m{*} by {host} > 800", "require_full_window": True},
        "OOOOOA",
        ["6 A"],
        CONFIGURATION,
    ),
    ("900 900", {"query": "avg(last_3m):avg:m{*} by {host} > 800"}, "AA", ["1 A"], CONFIGURATION),
    # Aggregations of the window: average, maximum, minimum, sum.
    ("1 1700", {"query": "avg(last_2m):avg:m{*} by {host} > 800"}, "OA", ["2 A"], CONFIGURATION),
    ("900 1 1", {"query": "max(last_2m):avg:m{*} by {host} > 800"}, "AAO", ["1 A", "3 O"], CONFIGURATION),
    ("900 1 900", {"query": "min(last_2m):avg:m{*} by {host} > 800"}, "AOO", ["1 A", "2 O"], CONFIGURATION),
    ("401 401", {"query": "sum(last_2m):sum:m{*} by {host} > 800"}, "OA", ["2 A"], CONFIGURATION),
    # The query's own interval, which may be of points of several minutes.
    ("401 401 401", {"query": "max(last_2m):sum:m{*} by {host}.rollup(sum, 120) > 800"}, "OAO", ["2 A", "3 O"], METRIC),
    # A window that ends earlier holds what is in it, and nothing of before.
    (
        "900 1 1 1",
        {"query": "max(last_1m):avg:m{*} by {host} > 800", "evaluation_delay": 25},
        "AOOO",
        ["1 A", "2 O"],
        CONFIGURATION,
    ),
    # Below a threshold, with the warning above the alert.
    (
        "30 15 5",
        {"query": "avg(last_1m):avg:m{*} by {host} < 10", "thresholds": {"critical": 10, "warning": 20}},
        "OWA",
        ["2 W", "3 A"],
        METRIC,
    ),
    # A recovery threshold holds the state until it is passed.
    (
        "900 790 690",
        {"thresholds": {"critical": 800, "critical_recovery": 700}},
        "AAO",
        ["1 A", "3 O"],
        RECOVERY,
    ),
    ("790", {"thresholds": {"critical": 800, "critical_recovery": 700}}, "O", [], RECOVERY),
    # Told once more, as many minutes after it was told last: of alert and no data, unless the monitor says otherwise.
    ("900 900 900 900 900", {"renotify_interval": 2}, "AAAAA", ["1 A", "3 A", "5 A"], RENOTIFY),
    ("900 900 900 1 1", {"renotify_interval": 2}, "AAAOO", ["1 A", "3 A", "4 O"], RENOTIFY),
    ("900 900 900 900", {"renotify_interval": 1, "renotify_occurrences": 1}, "AAAA", ["1 A", "2 A"], RENOTIFY),
    ("600 600 600", {"renotify_interval": 1}, "WWW", ["1 W"], RENOTIFY),
    (
        "600 600 900 900",
        {"renotify_interval": 1, "renotify_statuses": ["warn"]},
        "WWAA",
        ["1 W", "2 W", "3 A"],
        RENOTIFY,
    ),
    (
        "900 900 900 600 600 600",
        {"renotify_interval": 1, "renotify_occurrences": 1, "renotify_statuses": ["alert", "warn"]},
        "AAAWWW",
        ["1 A", "2 A", "4 W", "5 W"],
        RENOTIFY,
    ),
    (
        "1 . . . .",
        {"notify_no_data": True, "no_data_timeframe": 2, "renotify_interval": 1},
        "OONNN",
        ["3 N", "4 N", "5 N"],
        RENOTIFY,
    ),
    # A new group is evaluated after a minute, unless configured otherwise.
    ("900 900 900", {"new_group_delay": 120}, "OOA", ["3 A"], CONFIGURATION),
    ("900 900 900", {"new_group_delay": None}, "OAA", ["2 A"], API_OPTIONS),
]


@pytest.mark.parametrize(("values", "options", "expected", "mails", "source"), CASES)
def test_a_group_has_its_documented_states(
    store: Store, values: str, options: dict[str, Any], expected: str, mails: list[str], source: str
) -> None:
    put_monitor(store, **options)
    assert run(store, a=values) == expected, source
    assert told(store) == mails, source


MUTED = [
    # values, the downtime's minutes, its options, states, notifications, source
    ("1 900 900 1", (0, 9), {}, "OAAO", [], DOWNTIMES),
    # When it ends, remaining alerts are sent.
    ("1 900 900 900 1", (0, 3), {}, "OAAAO", ["3 A", "5 O"], DOWNTIMES),
    ("900 900 900 900", (1, 3), {}, "AAAA", ["3 A"], DOWNTIMES),
    ("900 900 900 900", (2, 3), {}, "AAAA", ["1 A", "3 A"], DOWNTIMES),
    ("1 900 900 900 1", (0, 3), {"notify_end_types": []}, "OAAAO", ["5 O"], DOWNTIMES),
    ("1 900 900 900 1", (0, 3), {"notify_end_states": ["warn"]}, "OAAAO", ["5 O"], DOWNTIMES),
    ("1 600 600 600", (0, 3), {"notify_end_states": ["warn"]}, "OWWW", ["3 W"], DOWNTIMES),
    # A recovery of an earlier alert is sent, once, unless that is muted too.
    ("900 1 900 1", (2, 9), {}, "AOAO", ["1 A", "2 O"], DOWNTIMES),
    ("900 1 900 1", (2, 9), {"mute_first_recovery_notification": True}, "AOAO", ["1 A"], DOWNTIMES),
    # Whoever was told when a downtime ended is told of the recovery, also in the next one.
    ("900 900 900 900 1", ((0, 2), (3, 9)), {}, "AAAAO", ["2 A", "5 O"], DOWNTIMES),
    # A scope mutes only its groups.
    ("900 900", (0, 9), {"scope": "host:b"}, "AA", ["1 A"], DOWNTIMES),
    ("900 900", (0, 9), {"scope": "host:a"}, "AA", [], DOWNTIMES),
    ("900 900", (0, 9), {"scope": "-host:b"}, "AA", [], DOWNTIMES),
    ("900 900", (0, 9), {"scope": "-host:a"}, "AA", ["1 A"], DOWNTIMES),
    ("900 900", (0, 9), {"monitor_identifier": {"monitor_tags": ["team:a"]}}, "AA", [], DOWNTIMES),
    ("900 900", (0, 9), {"monitor_identifier": {"monitor_tags": ["team:b"]}}, "AA", ["1 A"], DOWNTIMES),
]


@pytest.mark.parametrize(("values", "minutes", "given", "expected", "mails", "source"), MUTED)
def test_a_muted_group_has_states_and_tells_what_is_documented(
    store: Store,
    values: str,
    minutes: Any,
    given: dict[str, Any],
    expected: str,
    mails: list[str],
    source: str,
) -> None:
    number = put_monitor(store)["id"]
    for each in minutes if isinstance(minutes[0], tuple) else [minutes]:
        put_downtime(store, number, each, **given)
    assert run(store, a=values) == expected, source
    assert told(store) == mails, source


@pytest.mark.parametrize(("types", "mails"), [(["expired"], []), (["canceled"], ["3 A"])])
def test_a_cancelled_downtime_repeats_only_when_told_to(store: Store, types: list[str], mails: list[str]) -> None:
    name = put_downtime(store, put_monitor(store)["id"], (0, 9), notify_end_types=types)
    run(store, canceled=(name, 2), a="1 900 900 900")
    assert told(store) == mails, DOWNTIMES


def test_a_downtime_tells_whom_it_mentions_of_its_life(store: Store) -> None:
    put_downtime(store, put_monitor(store)["id"], (1, 3), message="closed @me@example.com")
    run(store, a="1 1 1 1")
    kinds = [(mail["kind"], mail["to"]) for mail in memory.mails(store) if mail["about"] == "downtime"]
    assert kinds == [(kind, ["me@example.com"]) for kind in ("scheduled", "started", "ended")], DOWNTIMES
    subjects = [mail["subject"] for mail in memory.mails(store) if mail["about"] == "downtime"]
    assert subjects == [f"[Downtime {kind}] m on" for kind in ("scheduled", "started", "ended")]  # of no group


def test_each_occurrence_of_a_recurring_downtime_begins_and_ends(store: Store) -> None:
    number = put_monitor(store)["id"]
    recurrence = {"rrule": "FREQ=DAILY", "start": "2026-03-02T10:00:00", "duration": "1h"}
    schedule = {"timezone": "UTC", "recurrences": [recurrence]}
    given = {"monitor_identifier": {"monitor_id": number}, "scope": "*", "schedule": schedule, "message": "@me@x.org"}
    attributes = downtimes.attributes(given, None, now=BEGIN, has_monitor=lambda _: True)
    store.put("downtime", "d", {"id": "d", "type": "downtime", "attributes": attributes})
    kinds: list[list[str]] = []
    for hours in (0, 1, 2, 24, 25, 26):
        rounds.evaluate(store, BEGIN + datetime.timedelta(hours=hours))
        kinds.append([mail["kind"] for mail in memory.mails(store)][sum(len(each) for each in kinds) :])
    assert kinds == [["scheduled"], ["started"], ["ended"], [], ["started"], ["ended"]]


def test_each_group_has_a_state_of_its_own(store: Store) -> None:
    put_monitor(store)
    assert run(store, a="900 900 1", b="1 600 600") == "AAO"
    assert {group.name: group.status for group in memory.groups(store)} == {"a": "OK", "b": "Warn"}, ALERTS
    subjects = [mail["subject"] for mail in memory.mails(store)]
    assert subjects == ["[Triggered on {host:a}] m on a", "[Warn on {host:b}] m on b", "[Recovered on {host:a}] m on a"]


def test_only_the_block_that_fires_is_sent_and_only_to_those_in_it(store: Store) -> None:
    put_monitor(store, notify_no_data=True, no_data_timeframe=2)
    run(store, a="900 600.25 . . . 1")
    found = [(mail["to"], mail["text"]) for mail in memory.mails(store)]
    assert found == [
        (["is_alert@example.com"], "is_alert a 900 @is_alert@example.com"),
        (["is_warning@example.com"], "is_warning a 600.25 @is_warning@example.com"),
        (["is_no_data@example.com"], "is_no_data a  @is_no_data@example.com"),
        (["is_recovery@example.com"], "is_recovery a 1 @is_recovery@example.com"),
    ], VARIABLES


BLOCKS = [
    ("is_alert", {"OA", "WA", "NA"}),
    ("is_warning", {"OW", "AW", "NW"}),
    ("is_no_data", {"ON", "AN", "WN"}),
    ("is_recovery", {"AO", "WO", "NO"}),
    ("is_alert_recovery", {"AO"}),
    ("is_warning_recovery", {"WO"}),
    ("is_no_data_recovery", {"NO"}),
    ("is_alert_to_warning", {"AW"}),
    ("is_renotify", set()),
]
"""The transitions that send each block."""


@pytest.mark.parametrize(("name", "transitions"), BLOCKS)
def test_a_block_is_sent_at_its_transitions(name: str, transitions: set[str]) -> None:
    text = f"{{{{#{name}}}}}yes{{{{/{name}}}}}{{{{^{name}}}}}no{{{{/{name}}}}}"
    kinds: tuple[messages.State, ...] = ("OK", "Warn", "Alert", "No Data")
    for old in kinds:
        for new in kinds:
            if old != new:
                expected = "yes" if LETTERS[old] + LETTERS[new] in transitions else "no"
                assert messages.render(text, old, new, {}).text == expected, (old, new, VARIABLES)


def test_whom_an_alerts_recovery_mentions_is_told_of_the_way_down_without_its_text() -> None:
    text = "{{#is_alert_recovery}}well @a@x.org{{/is_alert_recovery}}{{#is_warning}}so so @b@x.org{{/is_warning}}"
    assert messages.render(text, "Alert", "Warn", {}) == messages.Message(
        text="so so @b@x.org", recipients=("b@x.org", "a@x.org")
    ), VARIABLES
    assert messages.render(text, "OK", "Warn", {}).recipients == ("b@x.org",)
    assert messages.render(text, "Alert", "OK", {}).recipients == ("a@x.org",)


VALUES = {"host.name": "web-1", "env.name": "production", "value": "5"}
NESTED = [
    # message, text, recipients
    ('{{#is_alert}}a {{#is_match "host.name" "web"}}b @w{{/is_match}} c{{/is_alert}}', "a b @w c", ["w"]),
    ('{{#is_alert}}a {{#is_match "host.name" "db"}}b @w{{/is_match}} c{{/is_alert}}', "a  c", []),
    ('{{#is_warning}}{{#is_match "host.name" "web"}}b @w{{/is_match}}{{/is_warning}}', "", []),
    ('{{#is_match "env" "production"}}p{{/is_match}}', "p", []),
    ("{{#is_match 'env' 'stage' 'prod'}}p{{/is_match}}", "p", []),
    ('{{^is_match "env.name" "prod"}}p{{/is_match}}{{^is_match "env.name" "x"}}q{{/is_match}}', "q", []),
    ('{{#is_match "env.name" "x"}}p @p{{else}}q @q{{/is_match}}', "q @q", ["q"]),
    ('{{#is_alert}}{{#is_match "env.name" "x"}}p{{else}}q{{/is_match}}{{else}}r{{/is_alert}}', "q", []),
    ('{{#is_match "role.name" ""}}some{{else}}none{{/is_match}}', "none", []),  # a tag that the host doesn't carry
    ('{{#is_match "env.name" ""}}some{{else}}none{{/is_match}}', "some", []),
    ('{{#is_exact_match "host.name" "web"}}p{{else}}q{{/is_exact_match}}', "q", []),
    ('{{#is_exact_match "value" "5.0"}}five{{/is_exact_match}}', "five", []),
    ("one\n{{#is_alert}}\n  two\n{{/is_alert}}\n{{#is_warning}}\nthree\n{{/is_warning}}\nfour", "one\n  two\nfour", []),
    ('{{eval "value/2"}}', "2.5", []),
    ("{{[a.b].name}} {{{value}}}", "[the sandbox has no {{[a.b].name}}] 5", []),
    ("{{#is_alert}}open @w", "[the sandbox does not evaluate {{#is_alert}} without its end]", []),
    ("{{/is_alert}}", "[the sandbox does not evaluate {{/is_alert}} without its beginning]", []),
    ("{{#if x}}a{{/if}}", "[the sandbox does not evaluate {{#if x}}]", []),
    ("{{#is_priority 'P1'}}a{{/is_priority}}", "[the sandbox does not evaluate {{#is_priority 'P1'}}]", []),
    ("{{local_time 'last_triggered_at' 'Asia/Tokyo'}}", None, []),
]


@pytest.mark.parametrize(("message", "text", "recipients"), NESTED)
def test_blocks_are_evaluated_inside_of_blocks(message: str, text: str | None, recipients: list[str]) -> None:
    found = messages.render(message, "OK", "Alert", VALUES)
    assert found.text == (text if text is not None else f"[the sandbox has no {message}]"), VARIABLES
    assert list(found.recipients) == recipients


def test_a_message_has_the_tags_of_the_host_and_of_keys_with_periods(store: Store) -> None:
    tags = {"host-tags": {"system": ["role:web", "role:api", "env:dev"]}}
    store.put("host", "a", {"name": "a", "metadata": tags})
    query = "avg(last_1m):avg:m{*} by {host,dot.key} > 800"
    put_monitor(store, query=query, message="{{role.name}} {{env.name}} {{[dot.key].name}} {{host.name}} @x")
    store.add_points([Point(metric="m", at=BEGIN.timestamp() + 30, value=900, host="a", tags=["dot.key:five"])])
    rounds.evaluate(store, BEGIN + MINUTE)
    assert [mail["text"] for mail in memory.mails(store)] == ["api,web dev five a @x"], VARIABLES


def test_a_host_may_have_a_comma_in_its_name(store: Store) -> None:
    put_monitor(store)
    store.add_points([Point(metric="m", at=BEGIN.timestamp() + 30, value=900, host="a,b")])
    rounds.evaluate(store, BEGIN + MINUTE)
    assert [group.tags for group in memory.groups(store)] == [{"host": "a,b"}]


def test_a_monitor_that_fails_does_not_end_the_others(store: Store) -> None:
    monitor = put_monitor(store)
    store.put("monitor", "0", {**monitor, "id": 0, "options": {"thresholds": {"critical": "none"}}})
    store.add_points([Point(metric="m", at=BEGIN.timestamp() + 30, value=900, host="a")])
    rounds.evaluate(store, BEGIN + MINUTE)
    assert [group.status for group in memory.groups(store, monitor["id"])] == ["Alert"]


def test_an_anomaly_is_over_when_its_recovery_window_holds_none(store: Store) -> None:
    """Source: https://docs.datadoghq.com/monitors/types/anomaly/#options"""
    windows = {"trigger_window": "last_5m", "recovery_window": "last_10m"}
    put_monitor(
        store,
        query=(
            "avg(last_1h):anomalies(avg:m{*} by {host}, 'basic', 3, direction='both', interval=60,"
            " alert_window='last_5m', count_default_zero='false') >= 0.4"
        ),
        thresholds={"critical": 0.4, "critical_recovery": 0},
        threshold_windows=windows,
    )
    steady = " ".join(str(100 + minute % 5) for minute in range(40))
    seen = run(store, a=f"{steady} 900 900 {' '.join(['102'] * 20)}")
    assert re.fullmatch(r"O+A+O+", seen), seen
    assert seen.count("A") == 10, seen  # from the second one on, until it is older than ten minutes


def test_a_muted_group_is_told_of_again_only_when_it_is_muted_no_more(store: Store) -> None:
    put_downtime(store, put_monitor(store, renotify_interval=1)["id"], (2, 4))
    assert run(store, a="900 900 900 900 900 900") == "AAAAAA"
    assert told(store) == ["1 A", "4 A", "5 A", "6 A"], RENOTIFY


def test_a_renotification_says_what_the_first_one_did_and_what_is_for_it_alone(store: Store) -> None:
    message = "{{#is_alert}}slow{{/is_alert}}{{^is_renotify}} @one@example.com{{/is_renotify}}"
    message += "{{#is_renotify}} still @boss@example.com{{/is_renotify}}"
    put_monitor(store, message=message, renotify_interval=1, escalation_message="Wake @all@example.com")
    run(store, a="900 900")
    found = [(mail["subject"], mail["to"], " ".join(mail["text"].split())) for mail in memory.mails(store)]
    assert found == [
        ("[Triggered on {host:a}] m on a", ["one@example.com"], "slow @one@example.com"),
        (
            "[Re-Triggered on {host:a}] m on a",
            ["boss@example.com", "all@example.com"],
            "slow still @boss@example.com Wake @all@example.com",
        ),
    ], RENOTIFY


@pytest.mark.parametrize(
    ("hours", "options", "expected"),
    [(29, {}, True), (31, {}, False), (31, {"renotify_occurrences": 9}, True), (1, {"renotify_occurrences": 5}, False)],
)
def test_renotifications_end_after_30_hours_or_as_many_times_as_is_set(
    hours: int, options: dict[str, Any], expected: bool
) -> None:
    again = states.renotified(
        "Alert", {"renotify_interval": 60, **options}, since_told=3600, since_triggered=3600 * hours, times=5
    )
    assert again == expected, RENOTIFY


def test_a_subject_has_the_tags_of_its_group_unless_the_monitor_says_otherwise(store: Store) -> None:
    """Source: ``include_tags`` in https://docs.datadoghq.com/api/latest/monitors/#create-a-monitor"""
    put_monitor(store, include_tags=False)
    run(store, a="900")
    assert [mail["subject"] for mail in memory.mails(store)] == ["[Triggered] m on a"]


def test_a_message_says_what_it_could_not_evaluate() -> None:
    text = '{{#is_match "host.name" "x"}}secret{{/is_match}} {{log.link}} {{eval "a*2"}} {{eval "a-10*60*1000"}}'
    found = messages.render(text, "OK", "Alert", {"a": "1700000000000"}).text
    assert found == (
        '[the sandbox does not evaluate {{#is_match "host.name" "x"}}] [the sandbox has no {{log.link}}]'
        " 3400000000000 1699999400000"
    )


def test_who_is_told_of_a_changed_monitor_is_whom_its_message_mentions(store: Store) -> None:
    monitor = put_monitor(store, notify_audit=True)
    rounds.follow_changes(store, BEGIN)
    store.put("monitor", str(monitor["id"]), monitor | {"priority": 2})
    rounds.follow_changes(store, BEGIN)
    store.drop("monitor", str(monitor["id"]))
    rounds.follow_changes(store, BEGIN)
    rounds.follow_changes(store, BEGIN)
    found = [(mail["kind"], len(mail["to"])) for mail in memory.mails(store)]
    assert found == [("modified", 4), ("deleted", 4)], NOTIFY
    assert not memory.groups(store)


def test_nobody_is_told_of_a_changed_monitor_that_does_not_ask_for_it(store: Store) -> None:
    monitor = put_monitor(store)
    rounds.follow_changes(store, BEGIN)
    store.put("monitor", str(monitor["id"]), monitor | {"priority": 2})
    rounds.follow_changes(store, BEGIN)
    assert memory.mails(store) == []


def test_an_event_is_mailed_to_whom_it_mentions(store: Store) -> None:
    for number, text in ((1, "%%%\n![x](y)\n\n@me@example.com\n%%%"), (2, "nobody: me@example.com")):
        store.put("event", str(number), {"id": number, "title": "Snapshot", "text": text})
    rounds.follow_changes(store, BEGIN)
    rounds.follow_changes(store, BEGIN)
    (mail,) = memory.mails(store)
    assert (mail["to"], mail["subject"]) == (["me@example.com"], "Snapshot")


def test_a_monitor_that_is_not_evaluated_says_so_by_name(store: Store) -> None:
    monitor = put_monitor(store, query="avg(last_5m):avg:m{*}.fill(zero) > 1")
    assert ".fill(zero)" in rounds.fault(monitor)
    rounds.evaluate(store, BEGIN)
    assert "composite" in rounds.fault(monitor | {"type": "composite"})
    odd = put_monitor(store, threshold_windows={"trigger_window": "last_1w", "recovery_window": None})
    assert "the window 'last_1w'" in rounds.fault(odd)


def test_an_option_that_is_not_evaluated_is_named(store: Store) -> None:
    monitor = put_monitor(store, timeout_h=24, notify_by=["*"], renotify_interval=60, new_host_delay=300, locked=True)
    assert rounds.left_out(monitor) == {"timeout_h": 24, "notify_by": ["*"]}


def test_the_programs_own_monitor_tells_each_state_in_its_own_words(
    store: Store, resources: dict[str, program.Inputs]
) -> None:
    (made,) = resources["defaults"]["datadog:index/monitor:Monitor"]
    options = {
        "thresholds": {"critical": float(made["monitorThresholds"]["critical"]), "warning": 500.0},
        "notify_no_data": made["notifyNoData"],
        "no_data_timeframe": made["noDataTimeframe"],
        "new_group_delay": 0,
    }
    put_monitor(store, query=re.sub(r"my_metric\{[^}]*\}", "m{*}", made["query"]), **options)
    (number,) = [thing["id"] for thing in store.all("monitor")]
    monitor = store.get("monitor", str(number))
    assert monitor
    store.put("monitor", str(number), monitor | {"message": made["message"], "name": made["name"]})
    run(store, a=" ".join(["600"] * 6 + ["1500"] * 6 + ["."] * 12 + ["1"]))
    kinds = [mail["kind"] for mail in memory.mails(store)]
    assert set(kinds) == {"Warn", "Alert", "No Data", "OK"}
    assert len(STATES) == len(set(kinds))
    for mail in memory.mails(store):
        assert mail["to"] == ["you@example.com"]
        assert "{{" not in json.dumps(mail)
        assert "the sandbox has no" not in mail["text"]


def test_a_running_account_evaluates_at_each_minute_of_its_clock(tmp_path: Path) -> None:
    account = Account.start(tmp_path)
    try:
        with opened(tmp_path) as store:
            put_monitor(store)
            now = store.now()
            middle = now.replace(second=30).timestamp()
            store.add_points([Point(metric="m", at=middle, value=900, host="a")])
        account.travel(now + MINUTE)
        wait_until(account.mails, "a message")
        assert account.mails()[0]["to"] == ["is_alert@example.com"]
        assert [each["new"] for each in account.transitions()] == ["Alert"]
    finally:
        account.stop()


@given(values=st.lists(st.sampled_from(["1", "600", "900", "."]), min_size=1, max_size=12), mute=st.booleans())
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whoever_is_told_of_every_transition_knows_the_state(
    tmp_path_factory: pytest.TempPathFactory, values: list[str], mute: bool
) -> None:
    """Unmuted, the last notification is the state; muted from the start, there is none."""
    with opened(tmp_path_factory.mktemp("store")) as store:
        monitor = put_monitor(store, notify_no_data=True, no_data_timeframe=2)
        if mute:
            put_downtime(store, monitor["id"], (0, 99))
        seen = run(store, a=" ".join(values)).replace("-", "O")
        kinds = [mail.split()[1] for mail in told(store)]
    changes = [new for old, new in zip("O" + seen, seen, strict=False) if old != new]
    assert kinds == ([] if mute else changes)


@pytest.mark.parametrize("comparator", sorted(states.COMPARE))
@given(value=st.floats(-1e3, 1e3), critical=st.floats(-1e3, 1e3), gap=st.floats(0.1, 100))
@settings(max_examples=30, deadline=None)
def test_without_recovery_thresholds_a_value_alone_makes_the_state(
    comparator: str, value: float, critical: float, gap: float
) -> None:
    warning = critical - gap if comparator.startswith(">") else critical + gap
    plain = "Alert" if states.COMPARE[comparator](value, critical) else None
    plain = plain or ("Warn" if states.COMPARE[comparator](value, warning) else "OK")
    for status in ("OK", "Warn", "Alert", "No Data"):
        thresholds = {"critical": critical, "warning": warning}
        assert states.judged(value, status, comparator, thresholds) == plain

"""``make demo`` takes the monitor through its states while nothing mutes it, and leaves the clock as it was."""

import datetime
from pathlib import Path
from typing import Any

import pytest

from sandbox.datadog import Account, demo, downtimes, monitors
from sandbox.datadog.store import Point, opened
from sandbox.progress import SandboxError

MESSAGE = "".join(
    f"{{{{#{block}}}}}@{block}@example.com{{{{/{block}}}}}"
    for block in ("is_alert", "is_warning", "is_no_data", "is_recovery")
)


def fill(folder: Path, now: datetime.datetime) -> None:
    """A monitor of short windows, which is muted for the next two hours, and a host."""
    options: dict[str, Any] = {"notify_no_data": True, "no_data_timeframe": 2, "new_group_delay": 0}
    body = {
        "name": "m",
        "type": "metric alert",
        "query": "avg(last_1m):avg:m{*} by {host} > 800",
        "message": MESSAGE,
        "tags": [],
        "options": {"thresholds": {"critical": 800, "warning": 500}, **options},
    }
    schedule = {"start": now.isoformat(), "end": (now + datetime.timedelta(hours=2)).isoformat()}
    given = {"monitor_identifier": {"monitor_id": 1}, "scope": "*", "schedule": schedule}
    attributes = downtimes.attributes(given, None, now=now, has_monitor=lambda _: True)
    with opened(folder) as store:
        store.put("monitor", "1", monitors.answer(body, number=1, now=now))
        store.put("downtime", "d", {"id": "d", "type": "downtime", "attributes": attributes})
        store.add_points([Point(metric="m", at=now.timestamp(), value=1, host="a")])


def test_every_state_is_told_once_and_the_clock_comes_back(tmp_path: Path) -> None:
    now = datetime.datetime.now(datetime.UTC)
    fill(tmp_path, now)
    account, said = Account.start(tmp_path), list[str]()
    try:
        demo.run(account, said.append)
        mails = account.mails()
        with opened(tmp_path) as store:
            assert abs((store.now() - datetime.datetime.now(datetime.UTC)).total_seconds()) < 1
    finally:
        account.stop()
    assert [mail["kind"] for mail in mails] == ["Warn", "Alert", "No Data", "OK"]
    assert mails[0]["at"] > (now + datetime.timedelta(hours=2)).timestamp()
    for mail in mails:
        assert any(mail["subject"] in line for line in said)
    assert said[-1].endswith("/mail")


def test_without_a_monitor_or_a_host_it_says_what_is_missing(tmp_path: Path) -> None:
    account = Account(folder=tmp_path)
    with pytest.raises(SandboxError, match="make up"):
        demo.run(account, print)
    now = datetime.datetime.now(datetime.UTC)
    body = {"name": "m", "type": "metric alert", "query": "avg(last_5m):avg:m{*} by {host} > 800"}
    with opened(tmp_path) as store:
        store.put("monitor", "1", monitors.answer(body, number=1, now=now))
    with pytest.raises(SandboxError, match="no host has sent m"):
        demo.run(account, print)

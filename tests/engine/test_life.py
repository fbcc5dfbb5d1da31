"""The life of a stack on the real engine: up, no change, one change of each kind, no drift, destroyed without a trace.

The tests run in order, each on the last one's result.
"""

import datetime
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

import pytest
import urllib3
from dateutil.rrule import rrulestr

from sandbox import browser, paths
from sandbox.agent import repository
from sandbox.progress import SandboxError
from sandbox.stack import Stack
from sandbox.testing.account import NONE, content
from sandbox.testing.processes import wait_until
from sandbox.testing.stacks import host_state, inode, logins, starts, up
from tests.engine.recorded import EMBED, RECORDED, assert_as_recorded

CHECK_CODE = "/etc/datadog-agent/checks.d/my_metric.py"
CHECK_YAML = "/etc/datadog-agent/conf.d/my_metric.d/conf.yaml"

T = TypeVar("T")

before: set[str] = set()


def test_up_takes_a_bare_machine_to_a_watched_one(stack: Stack) -> None:
    before.update(host_state(stack.machines["vm"]))
    done = up(stack)
    assert done.code == 0, done.text
    assert len(stack.account.monitors()) == 1
    assert len(stack.account.dashboards()) == 2
    assert len(stack.account.downtimes()) == 2
    assert len(stack.account.public_dashboards()) == 1


def test_the_outputs_link_to_everything_and_prove_everything(stack: Stack) -> None:
    outputs = stack.outputs()
    monitor = stack.account.monitors()[0]
    assert outputs["monitor"] == f"{stack.account.url}/monitors/{monitor['id']}"
    assert set(outputs["downtimes"]) == {"nights", "closed-days"}
    assert outputs["timeboard"].startswith(f"{stack.account.url}/dashboard/")
    assert outputs["timeboardLast5Minutes"].startswith(outputs["timeboard"] + "?")
    assert outputs["sharedDashboard"] == stack.account.public_dashboards()[0]["public_url"]
    proofs = outputs["hosts"]["vm"]["proofs"]
    assert proofs["agent"].startswith("Agent 7.")
    assert 0 <= proofs["my_metric"]["value"] <= 1000
    assert proofs["my_metric"]["interval_s"] == 45
    assert proofs["my_metric"]["tags"] == ["custom_check:my_metric"]
    assert re.match(r"\d+\.\d+", proofs["database"])
    assert proofs["user_time"]["value"] >= 0
    assert proofs["traces"]["traces"] > 0
    assert {path: (load["requests"], load["errors"]) for path, load in proofs["load"].items()} == {
        "/": (50, 0),
        "/api/apm": (50, 0),
        "/api/trace": (50, 0),
    }


def test_the_state_holds_what_the_real_plugins_write(stack: Stack) -> None:
    assert_as_recorded(stack, set(RECORDED) - {EMBED})


def test_the_agent_reports_to_the_account(stack: Stack) -> None:
    points = reported(lambda: stack.account.series("my_metric"))
    assert {point["host"] for point in points} == {"vm"}
    assert {"custom_check:my_metric", "env:dev", "project:watchpost"} <= set(points[0]["tags"])
    assert reported(lambda: stack.account.series("trace.flask.request.hits"))
    assert reported(lambda: [p for p in stack.account.series("system.net.bytes_rcvd") if "device:lo" in p["tags"]])
    assert reported(lambda: stack.account.series("mysql.performance.user_time"))
    assert any("deployed_by:watchpost" in event.get("tags", []) for event in reported(stack.account.events))


def test_every_link_of_the_outputs_opens(stack: Stack) -> None:
    for link in links(stack):
        assert urllib3.request("GET", link, retries=False).status == 200, link


@pytest.mark.long
def test_a_browser_shows_something_at_every_link_and_asks_nobody_else(stack: Stack, tmp_path: Path) -> None:
    """Follow each link without an account: of the pages that it leads to, each has a title and no error."""
    assert up(stack).code == 0
    faults: list[str] = []
    try:
        with browser.profile(tmp_path) as context:
            page = context.new_page()
            page.on("console", lambda message: faults.append(f"{page.url}: {message.text}"))
            page.on("pageerror", lambda error: faults.append(f"{page.url}: {error}"))
            page.on("request", lambda request: faults.append(request.url) if foreign(stack, request.url) else None)
            for link in links(stack):
                page.goto(link)
                page.wait_for_load_state("networkidle")
                assert page.get_by_role("heading", level=1).inner_text(), link
    except SandboxError as error:
        pytest.skip(str(error))
    assert faults == []


def foreign(stack: Stack, url: str) -> bool:
    """Whether a request goes anywhere but to the account."""
    return urlsplit(url).scheme != "data" and not url.startswith(f"{stack.account.url}/")


def links(stack: Stack) -> list[str]:
    """Return the links to the account's pages that ``make up`` prints."""
    found = [link for link in texts(stack.outputs()) if link.startswith(stack.account.url)]
    assert len(found) >= 9
    return found


def texts(value: object) -> Iterator[str]:
    """Yield every text in an output."""
    if isinstance(value, dict):
        for entry in value.values():
            yield from texts(entry)
    elif isinstance(value, str):
        yield value


def test_the_app_is_a_service_that_is_not_root_and_comes_back(stack: Stack) -> None:
    machine = stack.machines["vm"]
    user = "ps -o user= -p $(systemctl show -p MainPID --value watchpost-app)"
    assert machine.run(user).stdout.strip() not in ("", "root")
    machine.run("systemctl kill --signal=KILL watchpost-app")
    machine.run("for i in $(seq 30); do curl -sf http://127.0.0.1:5050/ && exit 0; sleep 1; done; exit 1")


def test_the_downtimes_in_datadog_mute_exactly_outside_office_hours(stack: Stack) -> None:
    zone = ZoneInfo("Europe/Paris")
    begin = datetime.datetime.now(zone).replace(second=0, microsecond=0) + datetime.timedelta(minutes=5)
    muted = _muted(stack)
    for minute in range(0, 60 * 24 * 60, 5):
        at = (begin.astimezone(datetime.UTC) + datetime.timedelta(minutes=minute)).astimezone(zone)
        closed = at.weekday() >= 5 or not 9 <= at.hour < 19
        assert any(since <= at < until for since, until in muted) == closed, at


def test_a_preview_has_nothing_to_change_and_touches_nothing(stack: Stack) -> None:
    machine = stack.machines["vm"]
    writes, seen = len(stack.account.writes()), logins(machine)
    stack.pulumi("preview", "--stack", stack.name, "--expect-no-changes")
    second = up(stack, "--expect-no-changes")
    assert second.code == 0, second.text
    assert len(stack.account.writes()) == writes
    assert logins(machine) == seen + 1  # from counting


def test_a_refresh_finds_no_drift(stack: Stack) -> None:
    stack.pulumi("refresh", "--yes", "--skip-preview", "--stack", stack.name, "--expect-no-changes")


def test_another_interval_and_other_host_tags_change_a_file_each_and_restart_the_agent_once(stack: Stack) -> None:
    machine = stack.machines["vm"]
    code, config, restarts = inode(machine, CHECK_CODE), inode(machine, CHECK_YAML), starts(machine, "datadog-agent")
    stack.configure(checkInterval=20, tags=["project:watchpost", "team:example"])
    done = up(stack)
    assert done.names("create", "delete", "replace") == set()
    assert done.names("update") == {
        "vm-my-metric-conf.yaml",
        "vm-my-metric-proof",
        "vm-agent-datadog.yaml",
        "vm-agent-service-restart",
    }
    assert inode(machine, CHECK_CODE) == code
    assert inode(machine, CHECK_YAML) != config
    assert starts(machine, "datadog-agent") == restarts + 1
    assert stack.outputs()["hosts"]["vm"]["proofs"]["my_metric"]["interval_s"] == 20
    assert "team:example" in machine.run("cat /etc/datadog-agent/datadog.yaml").stdout


def test_other_thresholds_change_the_monitor_and_the_timeboard_in_place(stack: Stack) -> None:
    identifier = stack.account.monitors()[0]["id"]
    stack.configure(warningThreshold=400, alertThreshold=700)
    done = up(stack)
    assert done.names("update") == {"my-metric-monitor", "watchpost-timeboard"}
    assert done.names("create", "delete", "replace") == set()
    (monitor,) = stack.account.monitors()
    assert monitor["id"] == identifier
    assert monitor["query"].endswith("> 700")
    assert monitor["options"]["thresholds"] == {"critical": 700, "warning": 400}


def test_other_office_hours_make_other_downtimes(stack: Stack) -> None:
    machine, old = stack.machines["vm"], {downtime["id"] for downtime in stack.account.downtimes()}
    seen = logins(machine)
    stack.configure(officeStart="08:30", officeEnd="17:30")
    done = up(stack)
    assert done.code == 0, done.text
    downtimes = stack.account.downtimes()
    assert len(downtimes) == 2
    # Both messages name the hours; a downtime is created and cancelled, never changed.
    assert not old & {downtime["id"] for downtime in downtimes}
    told = [downtime["attributes"]["schedule"]["recurrences"][0] for downtime in downtimes]
    assert {(each["start"][11:16], each["duration"]) for each in told} == {("17:30", "15h"), ("00:00", "24h")}
    assert logins(machine) == seen + 1


def test_another_version_of_the_agent_is_installed_started_and_proven_in_the_same_run(stack: Stack) -> None:
    machine = stack.machines["vm"]
    for version in (repository.NEWER, repository.OLDER):  # the newer package doesn't restart it
        stack.configure(agentVersion=version)
        done = up(stack)
        assert done.code == 0, done.text
        assert {"vm-agent-install", "vm-agent-service-restart"} <= done.names("update")
        assert stack.outputs()["hosts"]["vm"]["proofs"]["agent"].startswith(f"Agent {version} ")
        assert machine.run("systemctl is-active datadog-agent datadog-agent-trace").stdout == "active\nactive\n"
    assert up(stack, "--expect-no-changes").code == 0


def test_another_version_of_the_app_is_deployed_and_loaded_anew(stack: Stack) -> None:
    stack.configure(version="1.1.0")
    done = up(stack)
    assert done.names("update") == {"vm-app-unit", "vm-app-service", "vm-app-proof", "vm-load-run"}
    assert reported(lambda: [e for e in stack.account.events() if "version:1.1.0" in e.get("tags", [])])


def test_a_snapshot_is_sent_to_a_person(stack: Stack) -> None:
    words = ["snapshot", "--stack", stack.name, "--to", "other@example.com"]
    stack.python("-m", "watchpost", *words, cwd=stack.project)
    texts = [event["text"] for event in stack.account.events() if "Snapshot" in event["title"]]
    assert len(texts) == 1
    assert "@other@example.com" in texts[0]
    assert "![my_metric](http" in texts[0]


def test_all_changes_taken_back_leave_nothing_to_change(stack: Stack) -> None:
    keys = (
        "checkInterval",
        "warningThreshold",
        "alertThreshold",
        "officeStart",
        "officeEnd",
        "tags",
        "version",
        "agentVersion",
    )
    stack.configure(recipients=None, **dict.fromkeys(keys))
    assert up(stack).code == 0
    assert up(stack, "--expect-no-changes").code == 0


def test_destroy_leaves_nothing_in_datadog_and_the_host_as_it_was(stack: Stack) -> None:
    stack.pulumi("destroy", "--yes", "--skip-preview", "--stack", stack.name)
    account = stack.account
    assert content(account) == NONE
    after = host_state(stack.machines["vm"])
    assert sorted(before ^ after) == []


def test_nothing_was_written_to_the_clone() -> None:
    assert "encryptionsalt" not in (paths.ROOT / "Pulumi.dev.yaml").read_text()
    assert not (paths.ROOT / ".pulumi").exists()


def _muted(stack: Stack) -> list[tuple[datetime.datetime, datetime.datetime]]:
    """Return when the account's downtimes mute, over the next two months and a bit."""
    horizon = datetime.datetime.now() + datetime.timedelta(days=65)  # noqa: DTZ005 - wall clock time, like the rules
    spans = []
    for downtime in stack.account.downtimes():
        schedule = downtime["attributes"]["schedule"]
        for recurrence in schedule["recurrences"]:
            amount, unit = int(recurrence["duration"][:-1]), recurrence["duration"][-1]
            lasts = datetime.timedelta(**{{"m": "minutes", "h": "hours", "d": "days"}[unit]: amount})
            first = datetime.datetime.fromisoformat(recurrence["start"])
            for start in rrulestr(recurrence["rrule"], dtstart=first).between(first, horizon, inc=True):
                since = start.replace(tzinfo=ZoneInfo(schedule["timezone"])).astimezone(datetime.UTC)
                spans.append((since, since + lasts))
    return spans


def reported(look: Callable[[], list[T]]) -> list[T]:
    """Wait until ``look`` finds something in the account, and return it."""
    return wait_until(look, "it is reported", 60)

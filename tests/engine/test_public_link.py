"""The life of a public link on the real engine, which runs the dynamic provider in a process of its own.

The tests run in order, each on the last one's result; the stack has no hosts.
"""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import urllib3

from sandbox import paths
from sandbox.stack import Stack
from sandbox.testing.account import NONE, ONE_OF_EACH, call, content
from sandbox.testing.processes import wait_until
from sandbox.testing.stacks import begin, recover, up
from tests.engine.recorded import kind, resources

TYPE = "pulumi-python:dynamic/datadog:PublicDashboard"
SHARE = "/api/v1/dashboard/public"
LEFT = "was left behind by an interrupted update"


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    """A stack without hosts, brought up."""
    folder: Path = paths.local() / "tests" / "test_public_link"
    with Stack(folder=folder, hosts=()).afresh() as stack:
        stack.configure(part="datadog")
        done = up(stack)
        assert done.code == 0, done.text
        yield stack


def share(stack: Stack) -> dict[str, str]:
    """Return the only link, as Datadog has it."""
    (found,) = stack.account.public_dashboards()
    return found


def test_the_link_opens_without_an_account_and_nothing_changes_again(stack: Stack) -> None:
    link = stack.outputs()["sharedDashboard"]
    assert link == share(stack)["public_url"]
    shown = urllib3.request("GET", link, retries=False)
    assert shown.status == 200
    assert share(stack)["title"] in shown.data.decode()
    assert up(stack, "--expect-no-changes").code == 0


def test_the_state_holds_no_key_and_the_link_only_encrypted(stack: Stack) -> None:
    account, token = stack.account, share(stack)["token"]
    words = ["stack", "export", "--stack", stack.name]
    assert token not in stack.pulumi(*words).stdout
    plain = stack.pulumi(*words, "--show-secrets").stdout
    assert token in plain
    assert account.api_key not in plain
    assert account.app_key not in plain
    (link,) = resources(stack, {TYPE})
    assert {name: kind(link["outputs"][name]) for name in ("token", "url")} == {"token": "secret", "url": "secret"}


def test_a_link_that_somebody_paused_is_drift_and_what_datadog_refuses_is_one_sentence(stack: Stack) -> None:
    link = share(stack)
    changed = {"status": "paused", "title": "another", "expiration": "2020-01-01T00:00:00+00:00"}
    call(stack, "PUT", f"{SHARE}/{link['token']}", changed)
    assert urllib3.request("GET", link["public_url"], retries=False).status == 404
    shown = stack.pulumi("preview", "--refresh", "--expect-no-changes", "--stack", stack.name, check=False)
    assert shown.returncode != 0
    stack.account.fault("PUT", f"{SHARE}/*", 403)
    refused = up(stack, "--refresh")
    assert refused.code != 0
    assert "can't be updated: Datadog at " in refused.text
    assert "the application key needs dashboards_public_share" in refused.text
    assert "Traceback" not in refused.text
    assert up(stack).names("update") == {"shared-apm"}
    assert share(stack) == link


def test_a_link_that_somebody_revoked_is_drift_and_another_is_made(stack: Stack) -> None:
    link = share(stack)
    call(stack, "DELETE", f"{SHARE}/{link['token']}")
    done = up(stack, "--refresh")
    assert done.names("create") == {"shared-apm"}
    assert share(stack)["token"] != link["token"]
    assert stack.outputs()["sharedDashboard"] == share(stack)["public_url"]


@pytest.mark.long
def test_a_link_of_the_same_dashboard_that_a_person_made_stays(stack: Stack) -> None:
    link = share(stack)
    theirs = {"dashboard_id": link["dashboard_id"], "dashboard_type": "custom_timeboard", "title": "theirs"}
    call(stack, "POST", SHARE, theirs)
    call(stack, "DELETE", f"{SHARE}/{link['token']}")
    assert up(stack, "--refresh").code == 0
    assert recover(stack).stdout == "nothing was left behind\n"
    (other,) = [found for found in stack.account.public_dashboards() if found["title"] == "theirs"]
    assert len(stack.account.public_dashboards()) == 2
    call(stack, "DELETE", f"{SHARE}/{other['token']}")


def test_keys_of_the_stack_are_in_its_state_only_encrypted_and_another_changes_no_link(stack: Stack) -> None:
    account, link = stack.account, share(stack)
    keys = {"apiKey": account.api_key, "appKey": account.app_key}
    for name, value in keys.items():
        stack.pulumi("config", "set", "--secret", f"datadog:{name}", value, "--stack", stack.name)
    without = {"DD_API_KEY": "", "DD_APP_KEY": ""}
    done = up(stack, environment=without)
    assert done.names("create", "update", "delete", "replace") == {"datadog", "shared-apm"}, done.text  # the providers
    assert up(stack, "--refresh", "--expect-no-changes", environment=without).code == 0
    assert share(stack) == link
    state = stack.pulumi("stack", "export", "--stack", stack.name).stdout
    assert not any(value in state for value in keys.values())


def test_a_link_that_was_made_as_the_engine_was_killed_is_found_and_removed(stack: Stack) -> None:
    stack.configure(shareDashboards="no")
    assert up(stack).code == 0
    assert content(stack.account)["shared"] == 0
    stack.configure(shareDashboards="public")
    stack.account.fault("POST", SHARE, "late", seconds=60)
    process = begin(stack, "up", "--yes", "--skip-preview", output=subprocess.DEVNULL)
    try:
        wait_until(lambda: content(stack.account)["shared"] == 1 or process.poll() is not None, "the link is made", 120)
        assert process.poll() is None
    finally:
        process.kill()
        process.wait()
    stack.account.clear_faults()
    token = share(stack)["token"]
    looked = recover(stack, "--json")
    found = [finding for finding in json.loads(looked.stdout) if finding["kind"] == "link"]
    assert [finding["identifier"] for finding in found] == [f"...{token[-4:]}"]
    assert token not in looked.stdout
    stack.pulumi("cancel", "--yes", stack.name)
    assert recover(stack, "--yes").returncode == 0
    assert content(stack.account)["shared"] == 0
    assert recover(stack).stdout == "nothing was left behind\n"


def test_a_link_whose_creation_lost_its_answer_is_replaced_by_the_next_run(stack: Stack) -> None:
    stack.account.fault("POST", SHARE, "lost")
    failed = up(stack)
    assert "python -m watchpost recover --stack dev shows it" in failed.text
    assert "Traceback" not in failed.text
    token = share(stack)["token"]
    again = up(stack)
    assert again.code == 0, again.text
    assert LEFT in again.text
    assert share(stack)["token"] != token
    assert content(stack.account) == ONE_OF_EACH


def test_a_destroy_leaves_nothing_though_somebody_was_faster(stack: Stack) -> None:
    call(stack, "DELETE", f"{SHARE}/{share(stack)['token']}")
    stack.pulumi("destroy", "--yes", "--skip-preview", "--stack", stack.name)
    assert content(stack.account) == NONE

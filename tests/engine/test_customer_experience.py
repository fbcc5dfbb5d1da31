"""The Proactive Customer Experience System on the real engine: switched on, drifted, interrupted, switched off."""

import json
import os
import signal
import subprocess
from collections import Counter
from collections.abc import Iterator, Mapping

import pytest
import urllib3

from sandbox import paths
from sandbox.datadog import signals
from sandbox.datadog.evaluation import webhooks
from sandbox.datadog.store import opened
from sandbox.stack import Stack
from sandbox.testing.account import call
from sandbox.testing.processes import wait_until
from sandbox.testing.stacks import begin, recover, up

TOKEN = "fake-ticket-token-0123456789"
ON = {"enabled": True, "ticketUrl": "https://tickets.example.com/hook"}
HOOKS = "/api/v1/integration/webhooks/configuration"
CREATED = {
    "/api/v2/apm/config/metrics": 8,
    "/api/v2/apm/config/retention-filters": 1,
    "/api/v1/slo": 3,
    f"{HOOKS}/webhooks": 8,
    f"{HOOKS}/custom-variables": 1,
    "/api/v1/monitor": 42,
    "/api/v1/dashboard": 1,
}


OTHERS = {"monitor": 1, "dashboard": 2}
"""What the stack has in Datadog without the system."""

OF_IT = {
    signals.METRIC: 8,
    signals.FILTER: 1,
    signals.OBJECTIVE: 3,
    webhooks.KIND: 8,
    webhooks.VARIABLE: 1,
    "monitor": 42,
    "dashboard": 1,
}
"""What the system adds."""

ALL = {kind: count + OTHERS.get(kind, 0) for kind, count in OF_IT.items()}


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    """A stack without hosts, brought up without the system, which is switched on then."""
    with Stack(folder=paths.local() / "tests" / "test_customer_experience", hosts=()).afresh() as stack:
        stack.configure(part="datadog", hosts={}, customerExperience={})
        done = up(stack)
        assert done.code == 0, done.text
        switch_on(stack)
        yield stack


def switch_on(stack: Stack) -> None:
    """Set what a user sets."""
    stack.configure(customerExperience=ON)
    setting = "watchpost:customerExperience.ticketToken"
    stack.pulumi("config", "set", "--secret", "--path", setting, TOKEN, "--stack", stack.name)


def things(stack: Stack) -> dict[str, dict[str, Mapping[str, object]]]:
    """Return what the account holds, by kind and by what identifies it; also what its API doesn't list."""
    with opened(stack.account.folder) as store:
        return {kind: {str(thing.get("id", thing.get("name"))): thing for thing in store.all(kind)} for kind in OF_IT}


def counted(stack: Stack) -> dict[str, int]:
    return {kind: len(found) for kind, found in things(stack).items()}


def posted(stack: Stack, since: int) -> Counter[str]:
    """Count the objects created after the first ``since`` requests."""
    return Counter(
        request["path"]
        for request in stack.account.requests()[since:]
        if request["method"] == "POST" and request["status"] < 300 and not request["path"].endswith("/validate")
    )


def test_off_nothing_of_it_exists_and_on_everything_does(stack: Stack) -> None:
    before = stack.account.requests()
    assert not [request for request in before if request["path"].startswith(("/api/v2/apm", "/api/v1/slo", HOOKS))]
    preview = stack.pulumi("preview", "--stack", stack.name)
    assert "up to 50 customers in individual care at 4 steps" in preview.stdout + preview.stderr
    done = up(stack)
    assert done.code == 0, done.text
    assert posted(stack, len(before)) == CREATED
    again = up(stack, "--expect-no-changes", "--refresh")
    assert again.code == 0, again.text


def test_its_links_open(stack: Stack) -> None:
    links = stack.outputs()["customerExperience"]
    assert set(links) == {"dashboard", "tickets", "incident", "slo-gold", "slo-silver", "slo-bronze"}
    for name, link in links.items():
        answer = urllib3.request("GET", link, headers={"Accept": "text/html"}, timeout=30)
        assert answer.status == 200, (name, link)


def test_no_secret_is_in_plain_state_nor_answered_by_datadog(stack: Stack) -> None:
    state = stack.pulumi("stack", "export", "--stack", stack.name).stdout
    shown = stack.pulumi("stack", "export", "--show-secrets", "--stack", stack.name).stdout
    key = next(
        resource["outputs"]["result"]
        for resource in json.loads(shown)["deployment"]["resources"]
        if resource["type"] == "random:index/randomPassword:RandomPassword"
    )
    text = json.loads(key["plaintext"]) if isinstance(key, dict) else key
    assert TOKEN in shown
    assert TOKEN not in state
    assert text not in state
    assert TOKEN not in json.dumps(stack.account.requests())
    assert "Authorization" not in state


@pytest.mark.long
def test_drift_is_named_and_put_right(stack: Stack) -> None:
    switch_on(stack)
    assert up(stack).code == 0
    made = things(stack)
    objective = call(stack, "GET", "/api/v1/slo")["data"][0]
    changed = {name: objective[name] for name in ("query", "type", "tags")}
    changed |= {"thresholds": [{"target": 50, "timeframe": "30d"}], "name": "changed by hand"}
    call(stack, "PUT", f"/api/v1/slo/{objective['id']}", changed)
    metric, kept = next(iter(made[signals.METRIC])), next(iter(made[signals.FILTER]))
    call(stack, "DELETE", f"/api/v2/apm/config/metrics/{metric}")
    call(stack, "DELETE", f"/api/v2/apm/config/retention-filters/{kept}")
    webhook = next(name for name in made[webhooks.KIND] if name.endswith("-pay-open"))
    call(stack, "PUT", f"{HOOKS}/webhooks/{webhook}", {"payload": json.dumps({"customer": "changed by hand"})})
    named = stack.pulumi("preview", "--refresh", "--expect-no-changes", "--stack", stack.name, check=False)
    assert named.returncode != 0
    for name in ("customers-retention", "customers-pay-open", "customers-objective-", "spansMetric"):
        assert name.lower() in (named.stdout + named.stderr).lower(), name
    done = up(stack, "--refresh")
    assert done.code == 0, done.text
    after = things(stack)
    assert counted(stack) == ALL
    assert metric in after[signals.METRIC]
    assert (
        after[signals.OBJECTIVE][objective["id"]]["thresholds"]
        == made[signals.OBJECTIVE][objective["id"]]["thresholds"]
    )
    assert after[webhooks.KIND][webhook]["payload"] == made[webhooks.KIND][webhook]["payload"]
    assert up(stack, "--expect-no-changes", "--refresh").code == 0


def killed(stack: Stack, path: str, kind: str, count: int) -> None:
    """Kill an update once ``count`` things were created by a POST to ``path``, before Datadog's answers arrived."""
    stack.account.fault("POST", path, "late", seconds=60, times=ALL[kind])
    process = begin(stack, "up", "--yes", "--skip-preview", output=subprocess.DEVNULL)
    try:
        wait_until(
            lambda: counted(stack)[kind] >= count + OTHERS.get(kind, 0) or process.poll() is not None,
            f"there are {count} of {path}",
            120,
        )
        assert process.poll() is None
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    stack.account.clear_faults()
    stack.pulumi("cancel", "--yes", stack.name)


@pytest.mark.long
def test_killed_while_it_is_created_the_next_update_makes_one_of_each(stack: Stack) -> None:
    stack.configure(customerExperience={})
    assert up(stack).code == 0
    switch_on(stack)
    # Each run takes up what the one before has left, and gets further. Other resources are created meanwhile.
    killed(stack, "/api/v2/apm/config/metrics", signals.METRIC, 2)
    killed(stack, "/api/v1/slo", signals.OBJECTIVE, 2)
    killed(stack, f"{HOOKS}/webhooks", webhooks.KIND, 1)  # the plugin creates one after another
    killed(stack, "/api/v1/monitor", "monitor", 3)
    done = up(stack)
    assert done.code == 0, done.text
    assert "was left behind by an interrupted update: it was removed and is created again" in done.text
    assert counted(stack) == ALL
    recover(stack, "--yes")
    assert recover(stack).stdout == "nothing was left behind\n"
    assert counted(stack) == ALL
    again = up(stack, "--expect-no-changes", "--refresh")
    assert again.code == 0, again.text


LOST = {path for path in CREATED if path not in ("/api/v1/monitor", "/api/v1/dashboard")}


@pytest.mark.long
def test_what_lost_answers_left_is_taken_up(stack: Stack) -> None:
    stack.configure(customerExperience={})
    assert up(stack).code == 0
    switch_on(stack)
    since = len(stack.account.requests())
    for path in LOST:
        stack.account.fault("POST", path, "lost", times=1)
    codes = [up(stack).code]
    while codes[-1] and len(codes) <= len(LOST):
        codes.append(up(stack).code)
    assert codes[-1] == 0
    asked = stack.account.requests()[since:]
    assert {request["path"] for request in asked if request["method"] == "POST" and not request["status"]} == LOST
    for path in LOST:
        if not path.startswith(HOOKS):
            assert len(call(stack, "GET", path)["data"]) == CREATED[path]
    looked = recover(stack)
    assert looked.returncode == 0, looked.stdout + looked.stderr


@pytest.mark.long
def test_of_what_datadog_refuses_nothing_is_in_doubt(stack: Stack) -> None:
    stack.configure(customerExperience={})
    assert up(stack).code == 0
    switch_on(stack)
    since = len(stack.account.requests())
    for path in CREATED:
        stack.account.fault("POST", path, 403, times=1)
    runs = [up(stack)]
    while runs[-1].code and len(runs) <= len(CREATED):
        runs.append(up(stack))
    assert runs[-1].code == 0
    assert "403 Forbidden" in runs[0].text
    assert not [run.text for run in runs if "may exist in Datadog" in run.text]
    asked = stack.account.requests()[since:]
    assert {request["path"] for request in asked if request["status"] == 403} == set(CREATED)
    assert counted(stack) == ALL


def delete_what_others_are_made_of(stack: Stack) -> None:
    """Delete by hand a monitor that composites are made of, and an objective that monitors alert on."""
    (monitor,) = [
        each
        for each in stack.account.monitors()
        if each["name"].startswith("customers with enough orders to tell anything by")
    ]
    objective = call(stack, "GET", "/api/v1/slo")["data"][0]
    for path in (f"monitor/{monitor['id']}", f"slo/{objective['id']}"):
        call(stack, "DELETE", f"/api/v1/{path}?force=true")


@pytest.mark.long
def test_what_was_deleted_or_renamed_by_hand_is_recreated_and_the_renamed_left_alone(stack: Stack) -> None:
    switch_on(stack)
    assert up(stack).code == 0
    renamed, deleted = sorted(things(stack)[webhooks.KIND])[:2]
    call(stack, "PUT", f"{HOOKS}/webhooks/{renamed}", {"name": f"{renamed}-mine"})
    call(stack, "DELETE", f"{HOOKS}/webhooks/{deleted}")
    delete_what_others_are_made_of(stack)
    done = up(stack, "--refresh")  # a refresh would fail at the composites, were they validated
    assert done.code == 0, done.text
    assert {renamed, deleted, f"{renamed}-mine"} <= set(things(stack)[webhooks.KIND])
    call(stack, "DELETE", f"{HOOKS}/webhooks/{renamed}-mine")
    assert counted(stack) == ALL


def test_switched_off_all_of_it_is_gone_and_nothing_else_is_touched(stack: Stack) -> None:
    switch_on(stack)
    assert up(stack).code == 0
    before, since = things(stack), len(stack.account.requests())
    stack.configure(customerExperience={})
    done = up(stack)
    assert done.code == 0, done.text
    assert not done.names("create", "update", "replace") - {"watchpost-dev"}
    after = things(stack)
    assert {kind: len(found) for kind, found in after.items()} == {**dict.fromkeys(OF_IT, 0), **OTHERS}
    for kind, found in after.items():
        assert {name: before[kind][name] for name in found} == found
    asked = [request for request in stack.account.requests()[since:] if not request["path"].endswith("/validate")]
    assert {request["method"] for request in asked} <= {"GET", "DELETE"}


@pytest.mark.long
def test_recover_finds_webhooks_which_no_api_lists(stack: Stack) -> None:
    stack.configure(customerExperience={})
    assert up(stack).code == 0
    switch_on(stack)
    killed(stack, f"{HOOKS}/webhooks", webhooks.KIND, 1)
    left = things(stack)[webhooks.KIND]
    shown = recover(stack)
    assert shown.returncode == 1
    for name in left:
        assert f"webhook   {name}\n" in shown.stdout
    assert recover(stack, "--yes").returncode == 0
    assert not things(stack)[webhooks.KIND]
    done = up(stack)
    assert done.code == 0, done.text
    assert "was left behind" not in done.text
    assert counted(stack) == ALL


def test_destroyed_nothing_of_it_is_left(stack: Stack) -> None:
    switch_on(stack)
    assert up(stack).code == 0
    assert counted(stack) == ALL
    delete_what_others_are_made_of(stack)
    destroyed = stack.destroy()
    assert destroyed.returncode == 0
    assert counted(stack) == dict.fromkeys(OF_IT, 0)

"""The Proactive Customer Experience System on the real engine: switched on, drifted, interrupted, switched off."""

import json
from collections import Counter
from collections.abc import Iterator

import pytest
import urllib3

from sandbox import paths
from sandbox.stack import Stack
from sandbox.testing.account import call
from sandbox.testing.stacks import recover, up

TOKEN = "fake-ticket-token-0123456789"
ON = {"enabled": True, "ticketUrl": "https://tickets.example.com/hook"}
HOOKS = "/api/v1/integration/webhooks/configuration"
CREATED = {
    "/api/v2/apm/config/metrics": 8,
    "/api/v2/apm/config/retention-filters": 1,
    "/api/v1/slo": 3,
    f"{HOOKS}/webhooks": 8,
    f"{HOOKS}/custom-variables": 1,
    "/api/v1/monitor": 40,
    "/api/v1/dashboard": 1,
}


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
    assert "at most 50 customers in individual care at 4 steps" in preview.stdout + preview.stderr
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
def test_drift_is_noticed_and_put_right(stack: Stack) -> None:
    objective = call(stack, "GET", "/api/v1/slo")["data"][0]
    changed = {name: objective[name] for name in ("id", "query", "type", "thresholds", "tags")}
    changed["thresholds"] = [{"target": 50, "timeframe": "30d"}]
    call(stack, "PUT", f"/api/v1/slo/{objective['id']}", {**changed, "name": "changed by hand"})
    metric = call(stack, "GET", "/api/v2/apm/config/metrics")["data"][0]
    call(stack, "DELETE", f"/api/v2/apm/config/metrics/{metric['id']}")
    kept = call(stack, "GET", "/api/v2/apm/config/retention-filters")["data"][0]
    call(stack, "DELETE", f"/api/v2/apm/config/retention-filters/{kept['id']}")
    done = up(stack, "--refresh")
    assert done.code == 0, done.text
    names = {found["name"] for found in call(stack, "GET", "/api/v1/slo")["data"]}
    assert objective["name"] in names
    assert "changed by hand" not in names
    assert metric["id"] in {found["id"] for found in call(stack, "GET", "/api/v2/apm/config/metrics")["data"]}
    assert len(call(stack, "GET", "/api/v2/apm/config/retention-filters")["data"]) == 1
    assert up(stack, "--expect-no-changes", "--refresh").code == 0


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


def test_switched_off_it_leaves_nothing(stack: Stack) -> None:
    stack.configure(customerExperience={})
    done = up(stack)
    assert done.code == 0, done.text
    for path in ("/api/v2/apm/config/metrics", "/api/v2/apm/config/retention-filters", "/api/v1/slo"):
        assert call(stack, "GET", path)["data"] == []
    assert len(stack.account.monitors()) == 1
    destroyed = stack.destroy()
    assert destroyed.returncode == 0
    assert stack.account.monitors() == []

"""The customers' journey on a host: drift, another key of the pseudonyms, switched off, destroyed.

The tests run in order, in one life of one stack.
"""

import hashlib
import hmac
import time

import pytest

from components.traced_app import KEY
from sandbox.machine import Machine
from sandbox.stack import Stack
from sandbox.testing.account import NONE, call, content
from sandbox.testing.processes import wait_until
from sandbox.testing.stacks import drift, host_state, starts, up
from tests.engine.leaks import Search, generated_password

pytestmark = pytest.mark.long

CUSTOMERS = True

APP, AGENT = "watchpost-app", "datadog-agent"
CUSTOMER = "jane.doe@example.com"
ORDER = f"""curl -sS --fail -o /dev/null -X POST -H 'X-Customer: {CUSTOMER}' -H 'X-Customer-Tier: gold' \
http://127.0.0.1:5050/api/orders"""

bare: set[str] = set()


@pytest.fixture(scope="module", autouse=True)
def _up(stack: Stack) -> None:
    bare.update(host_state(machine_of(stack)))
    stack.configure(loadRequests=0)
    done = up(stack)
    assert done.code == 0, done.text


def machine_of(stack: Stack) -> Machine:
    return stack.machines["vm"]


def key(stack: Stack) -> str:
    return generated_password(stack, "pseudonym-key")


def pseudonym(of: str) -> str:
    """The customer's pseudonym under a key, as docs/customer-experience.md computes it."""
    return hmac.new(of.encode(), CUSTOMER.encode(), hashlib.sha256).hexdigest()[:16]


def seen(stack: Stack, since: float = 0.0) -> set[str]:
    """The customers' pseudonyms that reached Datadog."""
    listed = call(stack, "GET", "/api/v2/apm/config/metrics")["data"]
    metric = next(found["id"] for found in listed if found["id"].endswith(".customer.orders"))
    points = [point for point in stack.account.series(metric) if point["at"] >= since]
    return {tag.partition(":")[2] for point in points for tag in point["tags"] if tag.startswith("customer:")}


def ordered(stack: Stack) -> set[str]:
    """Place an order; return whose it is for Datadog."""
    since = time.time()
    machine_of(stack).run(ORDER)
    wait_until(lambda: seen(stack, since), "the order reaches Datadog", 60)
    return seen(stack, since)


def is_installed(stack: Stack) -> None:
    """Assert that the key is on the host for root alone."""
    found = machine_of(stack).run(f"stat -c '%a %U:%G' {KEY}; cat {KEY}").stdout
    assert found.split() == ["600", "root:root", key(stack)]


@pytest.mark.parametrize(
    ("change", "step", "reason"),
    [
        pytest.param(
            f"echo changed >{KEY}",
            "vm-app-pseudonym-key",
            f"{KEY} has another content",
            id="the key is overwritten",
        ),
        pytest.param(
            f"chmod 0644 {KEY}",
            "vm-app-pseudonym-key",
            "pseudonym-key is root:root 644 instead of root:root 600",
            id="the key's mode is changed",
        ),
        pytest.param(
            "rm /opt/watchpost-app/journey.py", "vm-app-journey.py", "journey.py", id="the journey's code is removed"
        ),
    ],
)
def test_a_change_on_the_host_is_named_and_repaired(stack: Stack, change: str, step: str, reason: str) -> None:
    is_installed(stack)
    machine_of(stack).run(change)
    looked = drift(stack, "--repair", "--only", "hosts")
    assert looked.returncode == 1
    named = [line for line in looked.stdout.splitlines() if line.startswith("vm-")]
    assert [line.partition(": ")[0] for line in named] == [step]
    assert reason in named[0]
    assert Search({"key": key(stack)}).names(looked.stdout + looked.stderr) == set()
    done = up(stack)
    assert done.code == 0, done.text
    is_installed(stack)
    assert ordered(stack) == {pseudonym(key(stack))}
    assert drift(stack).returncode == 0


def test_another_key_restarts_the_app_once_and_gives_everybody_another_pseudonym(stack: Stack) -> None:
    machine, old = machine_of(stack), key(stack)
    before = {unit: starts(machine, unit) for unit in (APP, AGENT)}
    stack.configure(customerExperience={**stack.setting("customerExperience"), "keyRotation": "2027-01-01"})
    done = up(stack)
    assert done.code == 0, done.text
    assert done.names("replace") == {"pseudonym-key"}
    assert {name for name in done.names("update") if name.startswith("vm-")} == {
        "vm-app-pseudonym-key",
        "vm-app-service",
    }
    assert key(stack) != old
    is_installed(stack)
    assert {unit: starts(machine, unit) for unit in (APP, AGENT)} == {**before, APP: before[APP] + 1}
    assert ordered(stack) == {pseudonym(key(stack))}
    # History stays, and belongs to nobody.
    assert seen(stack) >= {pseudonym(old), pseudonym(key(stack))}
    assert Search({"old key": old}).on_machine(machine) == {}
    shown = stack.pulumi("stack", "export", "--show-secrets", "--stack", stack.name).stdout
    assert Search({"old key": old}).names(shown) == set()
    assert up(stack, "--expect-no-changes").code == 0


def test_switched_off_the_app_is_that_of_the_exercise_alone(stack: Stack) -> None:
    machine, agent = machine_of(stack), starts(machine_of(stack), AGENT)
    stack.configure(customerExperience={**stack.setting("customerExperience"), "enabled": False})
    done = up(stack)
    assert done.code == 0, done.text
    on_the_host = {name for name in done.names("delete", "update", "replace", "create") if name.startswith("vm-")}
    assert on_the_host == {
        *("vm-app-journey.py", "vm-app-pseudonym-key", "vm-app-unit", "vm-app-service", "vm-app-proof")
    }
    left = machine.run(f"ls {KEY} /opt/watchpost-app/journey.py 2>/dev/null; systemctl cat {APP}", check=False).stdout
    assert "ourney" not in left
    assert "pseudonym" not in left
    assert starts(machine, AGENT) == agent
    assert machine.run(ORDER, check=False).returncode != 0
    machine.run("curl -sS --fail http://127.0.0.1:5050/api/trace")
    assert call(stack, "GET", "/api/v2/apm/config/metrics")["data"] == []
    assert content(stack.account)["monitors"] == 1


def test_destroyed_while_on_it_leaves_the_host_as_it_was_and_the_account_empty(stack: Stack) -> None:
    stack.configure(customerExperience={**stack.setting("customerExperience"), "enabled": True})
    done = up(stack)
    assert done.code == 0, done.text
    is_installed(stack)
    destroyed = stack.destroy(check=False)
    assert destroyed.returncode == 0, destroyed.stdout + destroyed.stderr
    assert sorted(bare ^ host_state(machine_of(stack))) == []
    assert content(stack.account) == NONE
    for path in ("/api/v2/apm/config/metrics", "/api/v2/apm/config/retention-filters", "/api/v1/slo"):
        assert call(stack, "GET", path)["data"] == []

"""Drift, in Datadog or on the host, is reported, and ``up`` repairs it."""

import pytest

from components.step_command import LIBRARY
from sandbox.stack import Stack
from sandbox.testing.account import call
from sandbox.testing.stacks import drift, starts, up

pytestmark = pytest.mark.long

CHECK_CODE = "/etc/datadog-agent/checks.d/my_metric.py"

MYSQL = "$(command -v mariadb || command -v mysql) -e"


@pytest.fixture(scope="module", autouse=True)
def _up(stack: Stack) -> None:
    stack.configure(loadRequests=0)
    done = up(stack)
    assert done.code == 0, done.text


def test_hosts_that_nobody_touched_have_no_drift(stack: Stack) -> None:
    looked = drift(stack)
    assert looked.returncode == 0, looked.stdout + looked.stderr
    assert "as the stack left them" in looked.stdout


@pytest.mark.parametrize(
    ("change", "steps", "reason"),
    [
        pytest.param(
            f"echo '# edited' >> {CHECK_CODE}",
            {"vm-my-metric-code"},
            f"{CHECK_CODE} has another content",
            id="the check's file is edited",
        ),
        pytest.param(
            "chmod 0666 /etc/datadog-agent/datadog.yaml",
            {"vm-agent-datadog.yaml"},
            "datadog.yaml is dd-agent:dd-agent 666 instead of dd-agent:dd-agent 640",
            id="a mode is changed",
        ),
        pytest.param(
            "systemctl stop datadog-agent",
            {"vm-agent-service-restart"},
            "the Agent's service is enabled,inactive",
            id="the Agent is stopped",
        ),
        pytest.param(
            f"{MYSQL} \"ALTER USER 'datadog'@'127.0.0.1' IDENTIFIED BY 'another'\"",
            {"vm-mysql-user", "vm-mysql-proof"},
            "vm-mysql-user: ",
            id="the database password is changed",
        ),
        pytest.param(
            f"{MYSQL} \"DROP USER 'datadog'@'127.0.0.1'\"",
            {"vm-mysql-user", "vm-mysql-proof"},
            "vm-mysql-user: ",
            id="the database user is dropped",
        ),
        pytest.param(
            "systemctl stop watchpost-app",
            {"vm-app-service"},
            "watchpost-app.service is enabled,inactive",
            id="the app is stopped",
        ),
    ],
)
def test_a_change_on_the_host_is_reported_and_repaired(stack: Stack, change: str, steps: set[str], reason: str) -> None:
    machine = stack.machines["vm"]
    machine.run(change)
    restarts = starts(machine, "datadog-agent")
    looked = drift(stack, "--repair")
    assert looked.returncode == 1
    found = {line.partition(": ")[0] for line in looked.stdout.splitlines() if line.startswith("vm-")}
    assert found == steps, looked.stdout + looked.stderr
    assert reason in looked.stdout
    done = up(stack)
    assert done.code == 0, done.text
    assert done.names("update") >= steps
    assert drift(stack).returncode == 0
    assert starts(machine, "datadog-agent") <= restarts + 1


def test_a_library_that_is_gone_is_reported_and_put_back(stack: Stack) -> None:
    machine = stack.machines["vm"]
    machine.run(f"rm -r {LIBRARY}")
    looked = drift(stack, "--repair")
    assert looked.returncode == 1
    assert f"vm-library: {LIBRARY}/mask-" in looked.stdout
    assert f"vm-packages: watchpost: {LIBRARY}/cause-" in looked.stdout
    left = stack.destroy(check=False)
    assert left.returncode != 0
    assert "and then `pulumi up`" in left.stdout + left.stderr
    done = up(stack)
    assert done.code == 0, done.text
    assert drift(stack).returncode == 0


def test_a_host_that_cannot_be_reached_is_reported(stack: Stack) -> None:
    machine = stack.machines["vm"]
    machine.run("systemctl stop ssh.socket ssh.service 2>/dev/null & sleep 0.2", check=False)
    looked = drift(stack)
    assert looked.returncode == 1
    assert "vm-ready: can't check the host: " in looked.stdout
    machine.start()


def test_changes_in_datadog_are_reported_and_repaired(stack: Stack) -> None:
    account = stack.account
    (monitor,) = account.monitors()
    options = {**monitor["options"], "thresholds": {"critical": 900, "warning": 100}}
    query = monitor["query"].replace("> 800", "> 900")
    call(stack, "PUT", f"/api/v1/monitor/{monitor['id']}", {"query": query, "options": options})
    call(stack, "DELETE", f"/api/v1/dashboard/{account.dashboards()[0]['id']}")
    call(stack, "DELETE", f"/api/v2/downtime/{account.downtimes()[0]['id']}")
    shown = stack.pulumi("preview", "--refresh", "--expect-no-changes", "--stack", stack.name, check=False)
    assert shown.returncode != 0
    looked = drift(stack, "--repair", "--only", "datadog")  # a refresh takes a cancelled downtime for an existing one
    assert "the downtime was cancelled in Datadog and mutes nothing any more" in looked.stdout
    done = up(stack, "--refresh")
    assert done.code == 0, done.text
    (monitor,) = account.monitors()
    assert monitor["options"]["thresholds"] == {"critical": 800, "warning": 500}
    assert [len(account.dashboards()), len(account.downtimes())] == [2, 2]
    assert up(stack, "--refresh", "--expect-no-changes").code == 0

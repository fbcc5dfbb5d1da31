"""The worst values that settings accept, on the real engine: host and Datadog get them unchanged."""

import json
import shutil
import subprocess
from typing import Any

import pytest
import yaml

from sandbox.stack import Stack
from sandbox.testing.processes import wait_until
from sandbox.testing.stacks import up

HOST = "1e3.a-b.0x1f"
ENV = "0o17/a.b-c_d"
SERVICE = "1/s.v-c_" + "x" * 92
VERSION = "1e3"
TAGS = ["a/b.c-d_e:f/g.h-i_j:k:1", "null:true", "on:1e3", "n:" + "0" * 198]
RECIPIENTS = ["%._+-@a-b.c-d.example", "A%20b@EXAMPLE.com"]


@pytest.fixture(scope="module")
def outputs(stack: Stack) -> dict[str, Any]:
    """The outputs of a stack with all of them; its key file's folder has a name that a shell would expand."""
    (entry,) = yaml.safe_load(stack.stack_file.read_text())["config"]["watchpost:hosts"].values()
    folder = stack.folder / "project" / "a 'key' $(touch ran) `id` {{value}} é🐶"
    folder.mkdir()
    key = folder / "key"
    shutil.copy(stack.machines["vm"].private_key_file, key)
    values = {"env": ENV, "service": SERVICE, "tags": TAGS, "recipients": RECIPIENTS}
    stack.configure(hosts={HOST: {**entry, "privateKeyFile": str(key)}}, loadRequests=1, **values)
    # Set by Pulumi: PyYAML would write it so that Pulumi reads the number 1000.
    stack.pulumi("config", "set", "watchpost:version", VERSION, "--stack", stack.name)
    done = up(stack)
    assert done.code == 0, done.text
    return stack.outputs()


def test_the_agent_s_files_hold_them_letter_by_letter(stack: Stack, outputs: dict[str, Any]) -> None:
    assert outputs["hosts"][HOST]["proofs"]["agent"]
    read = yaml.safe_load(stack.machines["vm"].run("cat /etc/datadog-agent/datadog.yaml").stdout)
    assert (read["hostname"], read["env"], read["tags"]) == (HOST, ENV, TAGS)


def test_the_app_runs_with_them(stack: Stack, outputs: dict[str, Any]) -> None:
    assert outputs["hosts"][HOST]["proofs"]["load"]["/"]["requests"] == 1
    pid = "$(systemctl show -p MainPID --value watchpost-app)"
    environment = stack.machines["vm"].run(f"tr '\\0' '\\n' </proc/{pid}/environ").stdout.splitlines()
    assert {f"DD_SERVICE={SERVICE}", f"DD_ENV={ENV}", f"DD_VERSION={VERSION}"} <= set(environment)


def test_datadog_has_them_in_every_query_and_message(stack: Stack, outputs: dict[str, Any]) -> None:
    assert outputs["monitor"]
    (monitor,) = stack.account.monitors()
    assert f"env:{ENV}}}" in monitor["query"]
    assert monitor["message"].count(" ".join(f"@{recipient}" for recipient in RECIPIENTS)) == 4
    boards = json.dumps(stack.account.dashboards())
    assert SERVICE in boards
    assert f"env:{ENV}" in boards
    points = stack.account.series("my_metric")
    assert {point["host"] for point in points} <= {HOST}
    deployed = wait_until(
        lambda: [event for event in stack.account.events() if f"service:{SERVICE}" in event.get("tags", [])],
        "the deployment is an event",
    )
    assert {f"env:{ENV}", f"version:{VERSION}", *TAGS} <= set(deployed[0]["tags"])


def test_the_command_of_the_outputs_logs_in_and_runs_nothing_else(stack: Stack, outputs: dict[str, Any]) -> None:
    command = outputs["hosts"][HOST]["ssh"]
    assert "'" in command  # quoted for a shell
    machine = stack.machines["vm"]
    assert machine.running()
    options = f"-o StrictHostKeyChecking=no -o UserKnownHostsFile={stack.folder}/known -o LogLevel=ERROR"
    done = subprocess.run(
        ["sh", "-c", f"{command.replace('ssh ', f'ssh {options} ', 1)} hostname"],
        capture_output=True, text=True, cwd=stack.folder, check=False,
    )  # fmt: skip
    assert done.stdout.strip() == "vm", done.stderr
    assert not (stack.folder / "ran").exists()


def test_nothing_is_left_to_change(stack: Stack, outputs: dict[str, Any]) -> None:
    assert outputs
    assert up(stack, "--expect-no-changes").code == 0

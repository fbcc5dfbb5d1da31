"""API key, application key, database password and SSH key: each rotated while the Agent runs, by the manual.

The tests run in order: one stack, four rotations, and finally a check of all reported points.
"""

import itertools
import shutil
import subprocess
import time
from dataclasses import dataclass, field

import pytest
import yaml

from sandbox.machine import Machine
from sandbox.stack import Stack
from sandbox.testing.processes import wait_until
from sandbox.testing.stacks import logins, starts, up
from tests.engine.leaks import Search, fake_key, generated_password, set_secret

pytestmark = pytest.mark.long

INTERVAL = 5
"""Seconds between two runs of the check."""

WITHOUT_KEYS = {"DD_API_KEY": "", "DD_APP_KEY": ""}

PROVIDERS = {"datadog", "shared-apm"}
"""Which know the account's keys: of Datadog's objects, and of the public link."""

ON_THE_HOST = {"vm-agent-datadog.yaml", "vm-agent-service-restart"}


@dataclass
class Rotating:
    """A running stack: its keys, when its Agent began to report, and the retired secrets."""

    stack: Stack
    api_key: str
    app_key: str
    since: float = 0
    old: dict[str, str] = field(default_factory=dict)

    @property
    def machine(self) -> Machine:
        return self.stack.machines["vm"]

    def reported(self, since: float, metric: str = "my_metric") -> list[float]:
        """Return the times of the metric's points from ``since`` on, in Unix seconds."""
        return [point["at"] for point in self.stack.account.series(metric) if point["at"] >= since]


@pytest.fixture(scope="module")
def rotating(stack: Stack) -> Rotating:
    rotating = Rotating(stack, fake_key(32), fake_key(40))
    stack.account.accept([rotating.api_key], [rotating.app_key])
    set_secret(stack, "datadog:apiKey", rotating.api_key)
    set_secret(stack, "datadog:appKey", rotating.app_key)
    stack.configure(loadRequests=0, checkInterval=INTERVAL)
    done = up(stack, environment=WITHOUT_KEYS)
    assert done.code == 0, done.text
    wait_until(lambda: rotating.reported(0), "the Agent reports", 60)
    rotating.since = rotating.reported(0)[0]
    return rotating


def test_another_api_key_restarts_the_agent_once_and_the_old_one_can_be_revoked(rotating: Rotating) -> None:
    stack, old, new = rotating.stack, rotating.api_key, fake_key(32)
    restarts = starts(rotating.machine, "datadog-agent")
    stack.account.accept([old, new], [rotating.app_key])
    set_secret(stack, "datadog:apiKey", new)
    done = up(stack, environment=WITHOUT_KEYS)
    assert done.code == 0, done.text
    assert done.names("update") == {*PROVIDERS, *ON_THE_HOST}
    assert starts(rotating.machine, "datadog-agent") == restarts + 1
    stack.account.accept([new], [rotating.app_key])
    rotating.api_key, rotating.old["API key"] = new, old
    revoked = time.time()
    wait_until(lambda: rotating.reported(revoked), "the Agent reports", 60)


def test_another_application_key_touches_no_host_and_nothing_in_datadog(rotating: Rotating) -> None:
    stack, old, new = rotating.stack, rotating.app_key, fake_key(40)
    seen, writes = logins(rotating.machine), len(stack.account.writes())
    stack.account.accept([rotating.api_key], [new])
    set_secret(stack, "datadog:appKey", new)
    done = up(stack, environment=WITHOUT_KEYS)
    assert done.code == 0, done.text
    assert done.names("update") == PROVIDERS
    assert len(stack.account.writes()) == writes
    assert logins(rotating.machine) == seen + 1  # from counting
    rotating.app_key, rotating.old["application key"] = new, old


def test_another_generated_password_by_one_option_of_up(rotating: Rotating) -> None:
    stack, machine, old = rotating.stack, rotating.machine, generated_password(rotating.stack)
    assert logs_in(machine, old)
    done = up(stack, "--replace", "**vm-mysql-password", environment=WITHOUT_KEYS)
    assert done.code == 0, done.text
    followers = {"vm-mysql-user", "vm-mysql-conf.yaml", "vm-mysql-proof", "vm-agent-service-restart"}
    assert done.names("update") == followers
    assert done.names("replace") == {"vm-mysql-password"}
    changed = time.time()
    assert generated_password(stack) != old
    assert logs_in(machine, generated_password(stack))
    assert not logs_in(machine, old)
    wait_until(lambda: rotating.reported(changed, "mysql.net.max_connections"), "the Agent reports", 60)
    rotating.old["database password"] = old


def test_another_ssh_key_runs_every_step_again_and_the_old_one_can_be_removed(rotating: Rotating) -> None:
    stack, machine = rotating.stack, rotating.machine
    old, new = machine.private_key_file, stack.folder / "project" / "new_key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "new", "-f", str(new)], check=True)
    restarts = starts(machine, "datadog-agent")
    machine.run("cat >>~watchpost/.ssh/authorized_keys", input=new.with_suffix(".pub").read_text())
    (entry,) = yaml.safe_load(stack.stack_file.read_text())["config"]["watchpost:hosts"].values()
    stack.configure(hosts={"vm": {**entry, "privateKeyFile": str(new)}})
    done = up(stack, environment=WITHOUT_KEYS)
    assert done.code == 0, done.text
    assert {"vm-ready", "vm-packages", "vm-app-proof"} <= done.names("update")
    assert done.names("create", "delete", "replace") == set()
    assert starts(machine, "datadog-agent") == restarts + 1
    rotating.old["private key"] = old.read_text()
    machine.run("sed -i '/ new$/!d' ~watchpost/.ssh/authorized_keys")
    assert subprocess.run([*machine.ssh(), "true"], capture_output=True, check=False).returncode == 255
    for suffix in ("", ".pub"):  # the sandbox's own login
        shutil.copy(f"{new}{suffix}", f"{old}{suffix}")
    stack.configure(tags=["project:watchpost", "key:new"])
    done = up(stack, environment=WITHOUT_KEYS)
    assert done.names("update") == ON_THE_HOST


def test_the_agent_missed_no_two_runs_of_its_check(rotating: Rotating) -> None:
    end = time.time()
    wait_until(lambda: rotating.reported(end), "the Agent reports", 60)
    at = rotating.reported(rotating.since)
    gaps = [after - before for before, after in itertools.pairwise(at)]
    assert at[-1] - at[0] > 20
    assert max(gaps) <= 2 * INTERVAL
    refused = [r for r in rotating.stack.account.requests() if r["at"] >= rotating.since and r["status"] in (401, 403)]
    assert refused == []


def test_nothing_of_the_old_ones_is_left_on_the_host_or_in_the_state(rotating: Rotating) -> None:
    stack, search = rotating.stack, Search(rotating.old)
    assert len(rotating.old) == 4
    assert search.on_machine(rotating.machine) == {}
    export = stack.pulumi("stack", "export", "--show-secrets", "--stack", stack.name).stdout
    assert search.names(export) == set()
    assert Search({"new": rotating.api_key}).names(export) == {"new"}


def logs_in(machine: Machine, password: str) -> bool:
    """Whether the Agent's database user has this password."""
    client = "mariadb --defaults-extra-file=/dev/stdin --host 127.0.0.1 --execute 'SELECT 1'"
    return machine.run(client, input=f"[client]\nuser=datadog\npassword={password}\n", check=False).returncode == 0

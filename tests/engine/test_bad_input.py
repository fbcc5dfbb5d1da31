"""Bad input and aborted updates on the real engine: each ends with its reason, and a later ``up`` continues.

The tests run in order, each on the state and machine that the last one left.
"""

import os
import re
import shutil
import signal
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from sandbox import paths
from sandbox.machine import Machine
from sandbox.stack import Stack
from sandbox.testing.account import NONE, content
from sandbox.testing.stacks import Update, host_state, logins, steered, up

WRONG_KEYS = {"DD_API_KEY": "fake-of-another-account", "DD_APP_KEY": "fake-of-another-person"}

WRONG_HOST_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIjYFjCNJWxfkNX7ZqxYkaBmnX/8Xr2DCjQKLvpHb9yJ"

HOLD_APT = """
import fcntl, time
with open("/var/lib/dpkg/lock-frontend", "w") as lock:
    fcntl.lockf(lock, fcntl.LOCK_EX)
    time.sleep(60)
"""
"""Holds apt's lock like another apt."""

before: set[str] = set()


@dataclass(frozen=True)
class Refusing:
    """A running update of a stack whose hosts all refuse it: users on another stack's machine."""

    stack: Stack
    done: Future[Update]


@pytest.fixture(scope="module")
def refusing(stack: Stack) -> Iterator[Refusing]:
    """Start an update with a closed port, a wrong host key and a user without sudo; dialing takes a minute."""
    machine, host = stack.machines["vm"], host_entry(stack)
    machine.run("useradd -m -s /bin/bash guest && cp -r ~watchpost/.ssh ~guest && chown -R guest: ~guest/.ssh")
    hosts = {
        "closed": {**host, "port": 1},
        "impostor": {**host, "hostKey": WRONG_HOST_KEY},
        "guest": {**host, "user": "guest"},
    }
    other = Stack(folder=stack.folder.with_name("test_bad_input_hosts"), hosts=())
    other.stop()

    def begin() -> Update:
        other.start()
        other.configure(loadRequests=0, hosts=hosts)
        # Otherwise hosts not yet dialed when the first one fails would never be tried.
        return up(other, "--continue-on-error")

    try:
        with ThreadPoolExecutor() as pool:
            yield Refusing(other, pool.submit(begin))
    finally:
        other.stop()
        shutil.rmtree(other.folder, ignore_errors=True)


def test_faults_of_the_settings_and_missing_keys_are_told_together_before_anything_is_touched(stack: Stack) -> None:
    seen = logins(stack.machines["vm"])
    faults = {
        "site": "datadog.example",
        "timezone": "Europe/Pariss",
        "recipients": [],
        "warningThreshold": 900,
        "alertThreshold": 800,
    }
    stack.configure(**faults)
    done = up(stack, environment={"DD_API_KEY": "", "DD_APP_KEY": ""})
    stack.configure(**dict.fromkeys(faults))
    refused(
        stack,
        done,
        "watchpost:site is \"datadog.example\": must be 'datadoghq.com', ",
        'watchpost:timezone is "Europe/Pariss": must be an IANA time zone such as Europe/Paris',
        "watchpost:recipients is []: must have at least one entry",
        'watchpost:alertThreshold is "800": must be above warningThreshold (900)',
        "datadog:apiKey is not set: `pulumi config set --secret datadog:apiKey`",
        "datadog:appKey is not set: `pulumi config set --secret datadog:appKey`",
        "pulumi config set 'watchpost:timezone' VALUE",
    )
    assert done.names("create") == {"watchpost-dev"}
    assert stack.account.requests() == []
    assert logins(stack.machines["vm"]) == seen + 1  # from counting


def test_a_broken_dashboard_is_named_before_anything_is_created(
    stack: Stack,
    tmp_path: Path,
    refusing: Refusing,  # noqa: ARG001 - starts here, to be done when its own test comes
) -> None:
    for folder in ("components", "files", "settings", "startup"):
        shutil.copytree(paths.ROOT / folder, tmp_path / folder)
    for file in ("__main__.py", "Pulumi.yaml"):
        shutil.copy(paths.ROOT / file, tmp_path)
    broken = tmp_path / "files/dashboards/apm_infrastructure.json"
    broken.write_text(broken.read_text().rstrip().removesuffix("}"))
    project = stack.folder / "project" / "Pulumi.yaml"
    text = project.read_text()
    project.write_text(yaml.safe_dump({**yaml.safe_load(text), "main": str(tmp_path)}))
    done = up(stack)
    project.write_text(text)
    refused(stack, done, "files/dashboards/apm_infrastructure.json is not valid JSON: Expecting ',' delimiter: line ")
    assert stack.account.writes() == []


@pytest.mark.parametrize(
    ("environment", "sentence"),
    [
        (WRONG_KEYS, "DD_API_KEY is refused by {url} (403 Forbidden): it was revoked, or is of another site's account"),
        (
            {"DD_APP_KEY": WRONG_KEYS["DD_APP_KEY"]},
            "DD_APP_KEY is refused by {url} (403 Forbidden): it was revoked, or is of another account",
        ),
        ({"DD_API_KEY": "fake key\n"}, "DD_API_KEY holds a blank, a line end or another character that no key has"),
    ],
)
def test_wrong_keys_are_told_before_anything_is_made(stack: Stack, environment: dict[str, str], sentence: str) -> None:
    sentence = sentence.format(url=stack.account.url)
    done = up(stack, environment=environment)
    refused(stack, done, sentence)
    assert not done.names("create") - {"watchpost-dev"}
    assert stack.account.writes() == []
    preview = stack.pulumi("preview", "--stack", stack.name, check=False, environment=environment)
    refused(stack, Update({}, preview.stdout + preview.stderr, preview.returncode), sentence)


def test_an_update_killed_while_dpkg_unpacks_leaves_a_lock_and_a_pending_operation(stack: Stack) -> None:
    machine = stack.machines["vm"]
    before.update(host_state(machine))

    def kill(group: int) -> None:
        os.killpg(group, signal.SIGKILL)
        machine.run("pkill -KILL '^(apt-get|dpkg)$'")  # otherwise the install would run to completion

    done = steered(stack, ("Unpacking mariadb-server", kill))
    assert "mariadb-server" in machine.run("dpkg --audit", check=False).stdout
    assert done.code != 0
    assert list((stack.folder / "state/.pulumi/locks").rglob("*.json"))
    assert "vm-packages" in str(exported(stack)["pending_operations"])


def test_the_next_one_waits_for_another_apt_and_ends_in_order_on_ctrl_c(stack: Stack) -> None:
    machine = stack.machines["vm"]
    service(machine, "other-apt", f"python3 -c '{HOLD_APT}'")
    stack.start()
    done = steered(
        stack,
        ("Waiting for cache lock", lambda _: machine.run("systemctl stop other-apt")),
        ("Setting up mariadb-server", lambda group: os.killpg(group, signal.SIGINT)),
    )
    refused(stack, done, "^C received; cancelling.")


def test_a_failing_step_ends_with_the_reason(stack: Stack) -> None:
    stack.start()
    machine = stack.machines["vm"]
    # MySQL's port is taken while it is stopped, by a server of an install script that installs nothing.
    machine.run("systemctl stop mariadb || true; mkdir /srv/other && echo true >/srv/other/install.sh")
    service(machine, "other", "python3 -m http.server --bind 127.0.0.1 --directory /srv/other 3306")
    url = yaml.safe_load(stack.stack_file.read_text())["config"]["watchpost:installScriptUrl"]
    stack.configure(installScriptUrl="http://127.0.0.1:3306/install.sh")
    done = up(stack)
    stack.configure(installScriptUrl=url)
    refused(
        stack,
        done,
        "watchpost: the install script left Agent '' instead of 7.78.4 (watchpost:agentVersion)",
        "Address already in use",
    )


def test_the_first_good_update_goes_on_from_there_and_makes_one_of_each(stack: Stack) -> None:
    stack.machines["vm"].run("systemctl stop other; rm -r /srv/other")
    done = up(stack)
    assert done.code == 0, done.text
    account = stack.account
    made = [account.monitors(), account.dashboards(), account.downtimes(), account.public_dashboards()]
    assert [len(things) for things in made] == [1, 2, 2, 1]
    assert len(account.writes()) == 6


def test_destroy_leaves_nothing_of_all_that(stack: Stack) -> None:
    stack.pulumi("destroy", "--yes", "--skip-preview", "--stack", stack.name)
    account = stack.account
    assert content(account) == NONE
    assert sorted(before ^ host_state(stack.machines["vm"])) == []


def test_hosts_that_refuse_are_told_with_their_reasons(refusing: Refusing) -> None:
    stack, done = refusing.stack, refusing.done.result()
    refused(stack, done)
    assert "dial tcp 127.0.0.1:1: connect: connection refused" in reason(done, "closed-ready")
    assert reason(done, "impostor-ready").startswith(
        "error: after 20 failed attempts: ssh: handshake failed: ssh: host key mis"
    )
    assert (
        "watchpost: guest may not use sudo without a password on vm: sudo: a password is required; allow it"
        in done.text
    )
    assert not {name for name in done.names("create") if name.endswith(("-ready", "-packages"))}


@pytest.mark.long
def test_the_command_that_was_told_gives_sudo_and_the_update_goes_on(refusing: Refusing, stack: Stack) -> None:
    told = re.search(r"allow it there with: (echo .*)$", refusing.done.result().text, re.MULTILINE)
    assert told
    stack.machines["vm"].run(told[1])
    refusing.stack.configure(hosts={"guest": {**host_entry(stack), "user": "guest"}})
    done = up(refusing.stack)
    assert done.code == 0, done.text
    assert {"guest-ready", "guest-app-proof"} <= done.names("create")


def host_entry(stack: Stack) -> dict[str, Any]:
    """Return the machine's entry in ``watchpost:hosts``."""
    entry: dict[str, Any] = yaml.safe_load(stack.stack_file.read_text())["config"]["watchpost:hosts"]["vm"]
    return entry


def service(machine: Machine, name: str, command: str) -> None:
    """Run ``command`` on the machine in the background, until ``systemctl stop``."""
    machine.run(f"systemd-run --quiet --unit {name} {command}")


def exported(stack: Stack) -> dict[str, Any]:
    """Return the stack's state."""
    deployment: dict[str, Any] = yaml.safe_load(stack.pulumi("stack", "export", "--stack", stack.name).stdout)
    return dict(deployment["deployment"])


def reason(done: Update, name: str) -> str:
    """Return the diagnostics of the resource ``name``."""
    found = re.search(rf"^  \S+ \({name}\):\n    (.*)$", done.text, re.MULTILINE)
    assert found, done.text
    return found[1]


def refused(stack: Stack, done: Update, *sentences: str) -> None:
    """Assert that the update failed with all of ``sentences`` and leaked nothing."""
    assert done.code != 0
    for sentence in sentences:
        assert sentence in done.text, done.text
    clean(stack, done.text)


def clean(stack: Stack, text: str) -> None:
    """Assert that ``text`` has no traceback and no secret."""
    for word in (
        "Traceback",
        "PRIVATE KEY",
        stack.account.api_key,
        stack.account.app_key,
        *WRONG_KEYS.values(),
        "fake key",
    ):
        assert word not in text, text

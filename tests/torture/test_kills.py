"""Killed anywhere, it converges: a random thing dies at a random point of ``up``, of an update or of ``destroy``.

Afterwards a person's remedy is applied: the same command again, and whatever its failure advises.
``WATCHPOST_KILLS`` is how often, ``WATCHPOST_SEED`` repeats a run: the same choices, though not to the millisecond.
`make torture` tries many, with another seed each time.
"""

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from sandbox import paths
from sandbox.datadog import Account
from sandbox.machine import Machine, cgroup
from sandbox.stack import Stack
from sandbox.testing.account import NONE, ONE_OF_EACH, content
from sandbox.testing.stacks import Update, begin, host_state

KILLS = int(os.environ.get("WATCHPOST_KILLS", "1"))
SEED = int(os.environ.get("WATCHPOST_SEED") or 6)

VICTIMS = ("engine", "ssh", "machine", "datadog")
SECONDS = {"up": 30.0, "update": 8.0, "destroy": 12.0}
"""Approximate duration of a run, within which the kill is placed; updated as runs are measured."""

START = 1.5
"""Seconds that the engine takes to start."""

ATTEMPTS = 1
"""How often the same command may be needed, as with a host that just reboots."""


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    """A stack for this test, not yet brought up."""
    stack = Stack(folder=paths.local() / "tests" / "test_kills")
    stack.stop()
    try:
        stack.start()
        stack.configure(loadRequests=0)
        yield stack
    finally:
        stack.stop()


def test_killed_anywhere_it_converges(stack: Stack, capsys: pytest.CaptureFixture[str]) -> None:
    dice = random.Random(SEED)  # noqa: S311 - a game
    with capsys.disabled():
        print(f"\nWATCHPOST_SEED={SEED} WATCHPOST_KILLS={KILLS}")
        tried, lost = torture(stack, dice)
        print(f"kills tried: {tried}, converged: {tried}, things lost: {lost}")
    assert lost == 0


def torture(stack: Stack, dice: random.Random) -> tuple[int, int]:
    """Kill and converge; return the number of kills, and of objects lost or duplicated in Datadog."""
    machine, seconds, tried, lost = stack.machines["vm"], dict(SECONDS), 0, 0
    bare = host_state(machine)
    port, is_up, wanted = stack.account.port, False, _settings(dice)
    while tried < KILLS:
        operation = ("destroy" if dice.random() < 0.25 else "update") if is_up else "up"
        wanted = _settings(dice)
        stack.configure(**wanted)
        victim, moment = dice.choice(VICTIMS), dice.uniform(START, seconds[operation])
        began = time.monotonic()
        ended = killed(stack, operation, victim, moment)
        at = time.monotonic() - began
        revive(stack.account, port)
        machine.start()
        again = converge(stack, operation)
        tried += ended  # else it was over before
        is_up = operation != "destroy"
        expected = ONE_OF_EACH if is_up else NONE
        found = content(stack.account)
        lost += sum(abs(found[kind] - expected[kind]) for kind in expected)
        number = tried if ended else ""
        when = f"{'at' if ended else 'after'} {moment:5.1f} s of {seconds[operation]:4.1f}"
        print(
            f"{number:>3} {operation:<8} {victim:<8} {when}: {again[0]} ({again[1]} run{'s' * (again[1] > 1)}),"
            f" {found}, {time.monotonic() - began:.0f} s",
            flush=True,
        )
        if not ended:
            seconds[operation] = at
        if is_up:
            assert_as_wanted(stack, machine, wanted)
    if is_up:
        done = run(stack, "destroy")
        assert done.code == 0, done.text
    assert content(stack.account) == NONE
    assert sorted(bare ^ host_state(machine)) == []
    return tried, lost


def _settings(dice: random.Random) -> dict[str, Any]:
    """Return settings that change a dashboard, the monitor, a downtime, a file of the Agent and the app."""
    return {
        "alertThreshold": dice.randrange(600, 900),
        "checkInterval": dice.randrange(20, 60),
        "officeStart": f"{dice.randrange(6, 11):02}:{dice.randrange(0, 60, 5):02}",
        "tags": ["project:watchpost", f"kill:{dice.randrange(1000)}"],
        "version": f"1.0.{dice.randrange(1000)}",
    }


def words(operation: str) -> list[str]:
    """Return the arguments of ``pulumi`` for an operation."""
    verbs = ["destroy", "--refresh"] if operation == "destroy" else ["up"]
    return [*verbs, "--yes", "--skip-preview"]


def run(stack: Stack, operation: str) -> Update:
    """Run an operation to completion; changes are not recorded."""
    with begin(stack, *words(operation), output=subprocess.PIPE) as process:
        text, _ = process.communicate(timeout=900)
    return Update({}, text, process.returncode)


def killed(stack: Stack, operation: str, victim: str, moment: float) -> bool:
    """Run an operation and kill something ``moment`` seconds in; return False if it had ended by then."""
    with (stack.folder / "killed.log").open("w") as output:
        process = begin(stack, *words(operation), output=output.fileno())
    try:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(moment)
            return False
        strike(stack, victim, process.pid)
        if victim == "machine":
            stack.machines["vm"].start()
        process.wait(900)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    return True


def strike(stack: Stack, victim: str, engine: int) -> None:
    """Kill the engine and its plugins, the host's SSH sessions, the machine, or Datadog."""
    machine = stack.machines["vm"]
    if victim == "engine":
        os.killpg(engine, signal.SIGKILL)
    elif victim == "ssh":
        for process in cgroup.processes(machine.id):
            with contextlib.suppress(OSError):
                if Path(f"/proc/{process}/cmdline").read_bytes().startswith(b"sshd: "):
                    os.kill(process, signal.SIGKILL)
    elif victim == "machine":
        cgroup.remove(machine.id)
    else:
        stack.account.stop()


def revive(account: Account, port: int) -> None:
    """Restart Datadog at the same address, which is in the state, if it is down."""
    if account.running:
        return
    words = [sys.executable, "-m", "sandbox.datadog", "--folder", str(account.folder), "--port", str(port)]
    with (account.folder / "server.log").open("a") as log:
        subprocess.run(["setsid", "--fork", *words], cwd=paths.ROOT, stdout=log, stderr=log, check=True)
    while not account.running:
        time.sleep(0.05)


def converge(stack: Stack, operation: str) -> tuple[str, int]:
    """Repeat the command, and whatever its failures advise, until it succeeds; return that and the number of runs."""
    needed = []
    for attempt in range(ATTEMPTS):
        done = run(stack, operation)
        if "pulumi cancel" in done.text:
            stack.pulumi("cancel", "--yes", stack.name)
            needed.append("cancel")
            done = run(stack, operation)
        if done.code == 0:
            removed = done.text.count("was left behind by an interrupted update")
            return ", ".join([*needed, *([f"{removed} replaced"] if removed else [])]) or "as it was", attempt + 1
    log = (stack.folder / "killed.log").read_text()
    raise AssertionError(f"seed {SEED}: {operation} does not converge:\n{done.text}\nafter\n{log}")


def assert_as_wanted(stack: Stack, machine: Machine, wanted: Mapping[str, Any]) -> None:
    """Assert that monitor and host match the settings, both services run, and nothing half-made is left."""
    (monitor,) = stack.account.monitors()
    assert monitor["query"].endswith(f"> {wanted['alertThreshold']}")
    look = machine.run(
        "cat /etc/datadog-agent/datadog.yaml /etc/datadog-agent/conf.d/my_metric.d/conf.yaml;"
        " systemctl is-active datadog-agent watchpost-app;"
        " systemctl show -p Environment watchpost-app; dpkg --audit;"
        " find /etc /opt /var/lib/watchpost -name '*.watchpost' -o -name '*.new' | sed 's/^/left /';"
        " curl -sS --fail -o /dev/null -w 'app %{http_code}\\n' http://127.0.0.1:5050/",
        check=False,
    ).stdout
    for line in (
        f"- {wanted['tags'][1]}\n",
        f"min_collection_interval: {wanted['checkInterval']}\n",
        "active\nactive\n",
        f"DD_VERSION={wanted['version']}",
        "app 200\n",
    ):
        assert line in look, look
    assert "left " not in look, look

"""A fleet on the real engine: shards in PostgreSQL and in files, hosts that fail alone, many hosts.

The hosts are simulated: an SSH server that answers every step as a host would. For a long run over many of them:
``FLEET_HOSTS=256 FLEET_SHARDS=16 python -m pytest tests/engine/test_fleet.py``.
"""

import json
import os
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from sandbox import debian, paths
from sandbox.stack import Stack
from sandbox.testing.fleets import Fleet
from sandbox.testing.processes import free_port
from sandbox.testing.simulated import Simulated, simulated_hosts
from watchpost.fleet.shards import shard_of

pytestmark = pytest.mark.long

HOSTS = int(os.environ.get("FLEET_HOSTS", "6"))
SHARDS = int(os.environ.get("FLEET_SHARDS", "3"))
NAMES = [f"host-{number}" for number in range(HOSTS)]
DEAD = max(NAMES, key=lambda name: sum(shard_of(name, SHARDS) == shard_of(other, SHARDS) for other in NAMES))
"""The dead host; it shares its stack with others."""


@pytest.fixture(scope="module")
def simulated() -> Iterator[Simulated]:
    """Running simulated hosts."""
    with simulated_hosts() as hosts:
        yield hosts


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    """Run a PostgreSQL server for the tests; yield its URL as a Pulumi backend."""
    debian.install("the test of the PostgreSQL backend", {"pg_lsclusters": "postgresql"})
    tools = max(Path("/usr/lib/postgresql").glob("*/bin"))
    folder = paths.local() / "tests" / "test_fleet_postgres"
    port = free_port()
    stop = as_postgres(tools / "pg_ctl", "-D", folder, "-m", "immediate", "-w", "stop")
    subprocess.run(stop, capture_output=True, check=False, timeout=60)  # left by an earlier test run
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    shutil.chown(folder, "postgres", "postgres")
    options = f"-c listen_addresses=127.0.0.1 -c port={port} -c unix_socket_directories='' -c fsync=off"
    start = as_postgres(tools / "pg_ctl", "-D", folder, "-l", folder / "log", "-w", "-o", options, "start")
    try:
        subprocess.run(
            as_postgres(tools / "initdb", "-D", folder, "-A", "trust"), check=True, capture_output=True, timeout=60
        )
        subprocess.run(start, check=True, capture_output=True, timeout=60)
        yield f"postgres://postgres@127.0.0.1:{port}/postgres?sslmode=disable"
    finally:
        subprocess.run(stop, capture_output=True, check=False, timeout=60)
        shutil.rmtree(folder, ignore_errors=True)


def as_postgres(*words: str | Path) -> list[str]:
    """Wrap a command to run as PostgreSQL's user: it refuses root."""
    return ["runuser", "-u", "postgres", "--", *map(str, words)]


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Stack]:
    """An account, an engine and its plugins; no machines."""
    with Stack(folder=paths.local() / "tests" / "test_fleet", hosts=()).afresh() as stack:
        yield stack


@pytest.fixture(scope="module")
def in_postgres(sandbox: Stack, simulated: Simulated, postgres: str) -> Fleet:
    """The fleet of most tests."""
    return Fleet(sandbox, simulated, postgres, "many", NAMES, SHARDS)


@pytest.fixture(scope="module")
def with_a_dead_host(in_postgres: Fleet) -> "Iterator[Future[subprocess.CompletedProcess[str]]]":
    """Start an update with one host that doesn't answer; dialing takes a minute."""
    in_postgres.write(**{DEAD: free_port()})
    with ThreadPoolExecutor() as pool:
        yield pool.submit(in_postgres.run, "up")


def test_a_new_fleet_can_be_previewed_and_leaves_nothing_in_datadog(
    sandbox: Stack,
    simulated: Simulated,
    with_a_dead_host: "Future[subprocess.CompletedProcess[str]]",  # noqa: ARG001 - starts here
) -> None:
    fleet = Fleet(sandbox, simulated, sandbox.backend, "new", NAMES, SHARDS)
    fleet.write()
    done = fleet.run("preview", "--shard", "datadog", "--shard", "0")
    assert done.returncode == 0, done.stdout + done.stderr
    assert fleet.stacks() >= {"new-datadog", "new-0"}
    done = fleet.run("destroy", "--shard", "datadog", "--shard", "0")
    assert done.returncode == 0, done.stdout + done.stderr
    assert not {name for name in fleet.stacks() if name.startswith("new-")}


def test_a_dead_host_fails_alone_and_is_named(
    in_postgres: Fleet, with_a_dead_host: "Future[subprocess.CompletedProcess[str]]"
) -> None:
    done = with_a_dead_host.result()
    assert done.returncode == 1, done.stdout + done.stderr
    assert f"host {DEAD} (many-{shard_of(DEAD, SHARDS)}): " in done.stdout
    assert "connection refused" in done.stdout
    assert done.stdout.count("host host-") == 1
    assert "Traceback" not in done.stdout + done.stderr
    steps = in_postgres.hosts.steps
    assert {steps[name] for name in NAMES if name != DEAD} == {max(steps.values())}
    assert DEAD not in steps


def test_no_secret_stands_in_the_state_of_a_shard(in_postgres: Fleet) -> None:
    state = json.dumps(in_postgres.state(f"many-{shard_of(DEAD, SHARDS)}"))
    assert "PRIVATE KEY" not in state
    assert in_postgres.sandbox.account.api_key not in state


def test_once_it_is_back_the_host_is_finished_and_no_other_one_is_touched(in_postgres: Fleet) -> None:
    before, written = Counter(in_postgres.hosts.steps), len(in_postgres.sandbox.account.writes())
    in_postgres.write()
    done = in_postgres.run("up")
    assert done.returncode == 0, done.stdout + done.stderr
    assert {name for name, steps in in_postgres.hosts.steps.items() if steps != before[name]} == {DEAD}
    assert in_postgres.hosts.steps[DEAD] == max(before.values())
    assert len(in_postgres.sandbox.account.writes()) == written
    outputs = in_postgres.state(f"many-{shard_of(DEAD, SHARDS)}")["resources"][0]["outputs"]
    assert DEAD in outputs["hosts"]
    assert outputs["timeboard"].startswith("https://app.datadoghq.com/dashboard/")


def test_destroy_leaves_no_stack_and_nothing_in_datadog(in_postgres: Fleet) -> None:
    done = in_postgres.run("destroy")
    assert done.returncode == 0, done.stdout + done.stderr
    assert not in_postgres.stacks()
    assert in_postgres.sandbox.account.monitors() == []

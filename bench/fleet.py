"""Growing fleets of simulated hosts: about eight hosts per stack, four stacks at a time."""

import contextlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import partial
from math import ceil

from bench import growth
from bench.growth import COUNTS
from bench.report import Report
from sandbox import paths
from sandbox.progress import SandboxError, say
from sandbox.stack import Stack
from sandbox.testing.fleets import Fleet
from sandbox.testing.simulated import simulated_hosts

SHARD = 8
"""Hosts per stack, on average."""

PARALLEL = 4
"""Stacks brought up at the same time."""

HEADER = (
    "hosts", "shards", "`up`", "a host", "`up` again", "a host again", "steps over SSH", "calls of Datadog's API",
    "on disk", "engine", "program",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Cost(growth.Cost):
    """A fleet's cost; ``steps`` over SSH are those of the first `up`, and of each further one."""

    shards: int
    steps: tuple[int, int]

    def row(self) -> list[str]:
        """Return the table row."""
        of_a_fleet = {"shards": str(self.shards), "steps over SSH": "{} + {}".format(*self.steps)}
        return [{**self.cells(), **of_a_fleet}[column] for column in HEADER]


def run(runs: int) -> Report:
    """Bring up fleets of several sizes, each from scratch."""
    costs = []
    for count in COUNTS:
        with of_simulated_hosts(count) as fleet:
            costs.append(measure(fleet, runs))
    return Report(
        title="Many hosts in a fleet, simulated",
        header=HEADER,
        rows=[cost.row() for cost in costs],
        notes=[f"{PARALLEL} stacks at once, one of them Datadog's side alone; the state in compressed files"],
        figures={str(cost.hosts): asdict(cost) for cost in costs},
    )


def measure(fleet: Fleet, runs: int) -> Cost:
    """Bring up ``fleet``, then ``runs`` times more with nothing to change."""
    sandbox, bring_up = fleet.sandbox, partial(up, fleet)
    done = growth.ups(bring_up, bring_up, runs, fleet.hosts.steps.total, partial(growth.configuring, sandbox))
    states = [file for file in growth.state_folder(sandbox).glob("*.json*") if ".bak" not in file.suffixes]
    cost = Cost(
        hosts=len(fleet.names),
        shards=fleet.shards,
        first=done.first,
        again=done.again,
        steps=done.counts[0],
        calls=done.counts[1],
        stored=sum(file.stat().st_size for file in states) / 1024,
        engine=done.peak.megabytes["engine"],
        program=done.peak.megabytes["program"],
    )
    say(" | ".join(cost.row()))
    return cost


def up(fleet: Fleet) -> None:
    """Bring up all stacks.

    Raises:
        SandboxError: one of them failed.
    """
    done = fleet.run("up", "--parallel", str(PARALLEL))
    if done.returncode:
        raise SandboxError(f"the fleet did not come up: {(done.stdout + done.stderr)[-3000:]}")


@contextlib.contextmanager
def of_simulated_hosts(count: int) -> Iterator[Fleet]:
    """Prepare a fleet of ``count`` hosts, not yet brought up."""
    folder = paths.local() / "bench" / "fleet"
    with simulated_hosts() as hosts, Stack(folder=folder, hosts=()).afresh() as stack:
        fleet = Fleet(stack, hosts, stack.backend, "fleet", growth.names(count), ceil(count / SHARD))
        fleet.write()
        yield fleet

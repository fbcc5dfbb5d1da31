"""More and more hosts in a fleet, simulated ones: about eight to a stack, four stacks brought up at once."""

import contextlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import partial
from math import ceil
from statistics import median

from bench import growth
from bench.growth import COUNTS
from bench.measure import peaks, timed
from bench.report import Report, seconds
from sandbox import paths
from sandbox.progress import SandboxError, say
from sandbox.stack import Stack
from sandbox.testing.fleets import Fleet
from sandbox.testing.simulated import simulated_hosts

SHARD = 8
"""How many hosts a stack has on average."""

PARALLEL = 4
"""How many stacks are brought up at once."""

HEADER = (
    "hosts", "shards", "`up`", "a host", "`up` again", "a host", "steps over SSH", "calls of Datadog's API", "on disk",
    "engine", "program",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What a fleet of so many ``hosts`` costs; sizes are in kB on disk and in MB of memory for one stack at most."""

    hosts: int
    shards: int
    first: float
    again: list[float]
    steps: tuple[int, int]
    calls: tuple[int, int]
    stored: float
    engine: float
    program: float

    def row(self) -> tuple[str, ...]:
        """The line of the table."""
        return (
            str(self.hosts),
            str(self.shards),
            f"{self.first:.1f} s",
            f"{self.first / self.hosts:.2f} s",
            seconds(self.again),
            f"{median(self.again) / self.hosts:.2f} s",
            f"{self.steps[0]} + {self.steps[1]}",
            f"{self.calls[0]} + {self.calls[1]}",
            f"{self.stored:.0f} kB",
            f"{self.engine:.0f} MB",
            f"{self.program:.0f} MB",
        )


def run(runs: int) -> Report:
    """Bring up fleets of several sizes, each from nothing."""
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
    """Bring up ``fleet``, and again ``runs`` times with nothing to change."""
    sandbox = fleet.sandbox
    with peaks(every=0.5) as peak:
        first = timed(partial(up, fleet))
        steps, calls = fleet.hosts.steps.total(), len(growth.configuring(sandbox))
        again = [timed(partial(up, fleet)) for _ in range(runs)]
    states = [file for file in growth.state_folder(sandbox).glob("*.json*") if ".bak" not in file.suffixes]
    cost = Cost(
        hosts=len(fleet.names),
        shards=fleet.shards,
        first=first,
        again=again,
        steps=(steps, fleet.hosts.steps.total() - steps),
        calls=(calls, (len(growth.configuring(sandbox)) - calls) // runs),
        stored=sum(file.stat().st_size for file in states) / 1024,
        engine=peak.megabytes["engine"],
        program=peak.megabytes["program"],
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
    """A fleet of ``count`` hosts with nothing up."""
    folder = paths.local() / "bench" / "fleet"
    with simulated_hosts() as hosts, Stack(folder=folder, hosts=()).afresh() as stack:
        fleet = Fleet(stack, hosts, f"file://{folder / 'state'}", "fleet", growth.names(count), ceil(count / SHARD))
        fleet.write()
        yield fleet

"""Growing numbers of simulated hosts in one stack; they answer at once, so this measures Watchpost's own cost."""

import contextlib
from collections.abc import Iterator

from bench import growth
from bench.growth import COUNTS, MANY
from bench.report import Report
from sandbox import paths
from sandbox.stack import Stack
from sandbox.testing.simulated import simulated_hosts


def run(runs: int) -> Report:
    """Bring up stacks of several sizes, and one with a dead host."""
    sizes = []
    for count in COUNTS:
        with stack(count) as measured:
            sizes.append(growth.measure(measured, runs))
    report = growth.grown("Many hosts in one stack, simulated", sizes)
    if MANY in COUNTS:
        with stack(MANY) as measured:
            report.notes += growth.with_a_dead_host(measured)
    return report


@contextlib.contextmanager
def stack(count: int) -> Iterator[Stack]:
    """Prepare a stack of ``count`` hosts, not yet brought up."""
    folder = paths.local() / "bench" / "simulated"
    with simulated_hosts() as hosts, Stack(folder=folder, hosts=()).afresh() as stack:
        stack.configure(hosts=hosts.entries(growth.names(count), stack.project), loadRequests=0)
        yield stack

"""`pulumi up` on a bare machine, compared with the same scripts run in order in one SSH session."""

from functools import partial

from bench import stage
from bench.measure import timed
from bench.report import Report, ratio, seconds, verdict
from bench.steps import by_hand, steps
from sandbox.progress import say

BOUND = 1.15
"""Bound on an `up`, as a multiple of its own scripts' time."""


def run(runs: int) -> Report:
    """Time Watchpost on a bare machine, reset the machine, and time the same scripts by hand."""
    figures: dict[str, list[float]] = {"the same scripts by one SSH session": [], "Watchpost": []}
    scripts, ours = figures.values()
    for _ in range(runs):
        with stage.stack("up") as stack:
            ours.append(timed(partial(stage.up, stack)))
            taken, machine = steps(stack), stack.machines["vm"]
            machine.reset()
            scripts.append(timed(partial(by_hand, machine, taken)))
        say(f"by hand {scripts[-1]:.1f} s, Watchpost {ours[-1]:.1f} s")
    return Report(
        title="`up` on a bare machine",
        header=("way", "wall time", "times the scripts'"),
        rows=[(name, seconds(values), f"{ratio(values, scripts):.2f}") for name, values in figures.items()],
        notes=[
            f"beside its own scripts: {verdict(ratio(ours, scripts), BOUND)}",
            f"{len(taken)} steps; Watchpost also makes everything in Datadog; hosts wait for its downtimes alone",
        ],
        figures={"seconds": figures},
    )

"""`pulumi up` with nothing to change: as fast as a preview, no SSH connection, no write to Datadog."""

from bench import stage
from bench.measure import in_turns, timed
from bench.report import Report, beside_empty, ratio, seconds
from sandbox.stack import Stack
from sandbox.testing.stacks import logins

BOUND = 1.25
"""Bound, as a multiple of an empty program's time."""


def run(runs: int) -> Report:
    """Bring a stack up, then time further runs of `up` alternating with other programs."""
    with stage.stack("noop", shareDashboards="no") as stack:
        stage.up(stack)
        words = ("up", "--yes", "--skip-preview", "--stack")
        empty = stage.Program(stack, "empty", stage.NOTHING).start()
        plugins = stage.Program(stack, "plugins", stage.PROVIDERS).start()
        before = touched(stack)
        figures = in_turns(
            {
                "an empty program": lambda: timed(lambda: empty.pulumi(*words, "empty")),
                "an empty program with the plugins": lambda: timed(lambda: plugins.pulumi(*words, "plugins")),
                "Watchpost": lambda: timed(lambda: stage.up(stack, "--expect-no-changes")),
            },
            runs,
        )
        after = touched(stack)
    connections, writes = after[0] - before[0] - 1, after[1] - before[1]  # counting is itself a connection
    base = figures["an empty program"]
    report = Report(
        title="`up` with nothing to change",
        header=("program", "wall time", "times the empty one's"),
        rows=[(name, seconds(values), f"{ratio(values, base):.2f}") for name, values in figures.items()],
        figures={"seconds": figures, "connections": connections, "writes": writes},
    )
    report.notes += [
        *beside_empty(figures, BOUND),
        f"in all {runs} runs: {connections} SSH connections, {writes} writes to Datadog",
    ]
    return report


def touched(stack: Stack) -> tuple[int, int]:
    """Return logins on the first machine, this one included, and writes to Datadog."""
    return logins(next(iter(stack.machines.values()))), len(stack.account.writes())

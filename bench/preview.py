"""`pulumi preview` with nothing to change, compared with a program that does nothing."""

from collections.abc import Callable
from contextlib import ExitStack
from functools import partial

from bench import stage
from bench.measure import in_turns, peaks, timed
from bench.report import Report, beside_empty, ratio, seconds, verdict
from sandbox.stack import Stack

BOUND = 1.25
"""Bound on a preview, as a multiple of an empty program's time."""

MEMORY = 80
"""Maximum memory of the program's process, in MB."""

NO_CACHE = {"XDG_CACHE_HOME": "/dev/null/none"}
"""Disables the cache of slim SDKs, so that they are imported whole."""


def run(runs: int) -> Report:
    """Bring stacks up, then time previews of them alternating with those of other programs."""
    with ExitStack() as stacks:
        stack = stacks.enter_context(stage.stack("preview", shareDashboards="no"))
        linked = stacks.enter_context(stage.stack("linked", shareDashboards="public"))
        whole = stacks.enter_context(stage.stack("whole", shareDashboards="public", customers=True))
        for each in (stack, linked, whole):
            stage.up(each)
        words = ("preview", "--stack")

        def unchanged(stack: Stack) -> None:
            stack.pulumi(*words, stack.name, "--expect-no-changes")

        empty = stage.Program(stack, "empty", stage.NOTHING).start()
        plugins = stage.Program(stack, "plugins", stage.PROVIDERS).start()
        variants: dict[str, Callable[[], object]] = {
            "an empty program": lambda: empty.pulumi(*words, "empty"),
            "an empty program with the plugins": lambda: plugins.pulumi(*words, "plugins"),
            "Watchpost": lambda: unchanged(stack),
            "Watchpost with a public link": lambda: unchanged(linked),
            "Watchpost with a public link and customers": lambda: unchanged(whole),
            "Watchpost, SDK imported whole": lambda: stack.pulumi(*words, stack.name, environment=NO_CACHE),
        }
        memory = {}
        for name, variant in variants.items():
            variant()  # compiles bytecode
            with peaks() as memory[name]:
                variant()
        figures = in_turns({name: partial(timed, variant) for name, variant in variants.items()}, runs)
    base = figures["an empty program"]
    report = Report(
        title="Preview with nothing to change",
        header=("program", "wall time", "times the empty one's", "program MB", "engine MB"),
        figures={"seconds": figures, "megabytes": {name: peak.megabytes for name, peak in memory.items()}},
    )
    for name, values in figures.items():
        peak = memory[name].megabytes
        report.rows.append(
            (name, seconds(values), f"{ratio(values, base):.2f}", f"{peak['program']:.0f}", f"{peak['engine']:.0f}")
        )
    report.notes += [
        *beside_empty(figures, BOUND),
        f"the program's memory in MB: {verdict(memory['Watchpost'].megabytes['program'], MEMORY)}",
    ]
    return report

"""The unit tests, and all of `make unit`: with the start of make, pytest and two workers."""

import re
import subprocess
from statistics import median

from bench.measure import in_turns, timed
from bench.report import Report, seconds, verdict
from sandbox import paths
from sandbox.progress import SandboxError

TESTS_BOUND, MAKE_BOUND = 10, 12
"""Maximum seconds of the tests, by pytest's count, and of the whole command."""


def run(runs: int) -> Report:
    """Time `make unit` after one warm-up run."""
    _make()
    tests: list[float] = []
    whole = in_turns({"`make unit`": lambda: timed(lambda: tests.append(_make()))}, runs)["`make unit`"]
    figures = {"the tests": tests, "`make unit`": whole}
    return Report(
        title="Unit tests",
        header=("what", "wall time"),
        rows=[(name, seconds(values)) for name, values in figures.items()],
        notes=[
            f"the tests in seconds: {verdict(median(tests), TESTS_BOUND)}",
            f"`make unit` in seconds: {verdict(median(whole), MAKE_BOUND)}",
        ],
        figures={"seconds": figures},
    )


def _make() -> float:
    """Run `make unit`; return the seconds that pytest reports.

    Raises:
        SandboxError: a test failed.
    """
    done = subprocess.run(
        ["make", "unit"], cwd=paths.ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    said = re.search(r"\d+ passed.* in ([\d.]+)s", done.stdout)
    if done.returncode or not said:
        raise SandboxError(f"`make unit` failed: {done.stdout[-2000:]}{done.stderr[-2000:]}")
    return float(said[1])

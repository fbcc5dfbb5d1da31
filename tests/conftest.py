"""Everything that a test run starts ends with it: each pytest process is a run of the sandbox."""

import pytest

from sandbox import runs

_run = pytest.StashKey[runs.Run | None]()


def pytest_configure(config: pytest.Config) -> None:
    """Begin a run for this process; xdist's workers are runs within it."""
    config.stash[_run] = runs.begin()


def pytest_unconfigure(config: pytest.Config) -> None:
    """End everything that is left."""
    run = config.stash.get(_run, None)
    if run is not None:
        run.end()

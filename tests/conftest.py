"""What a test begins ends with it, however it ends: each process of pytest is a run."""

import pytest

from sandbox import runs

_run = pytest.StashKey[runs.Run | None]()


def pytest_configure(config: pytest.Config) -> None:
    """Begin the run, of this process alone: the workers of xdist are runs of their own within it."""
    config.stash[_run] = runs.begin()


def pytest_unconfigure(config: pytest.Config) -> None:
    """End what is left."""
    run = config.stash.get(_run, None)
    if run is not None:
        run.end()

"""Stacks on the sandbox for the engine tests; what one leaves behind, the next run removes."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox import paths
from sandbox.stack import Stack


def pytest_configure(config: pytest.Config) -> None:
    """Let pulumi-command warn of a resource of its own that nothing here uses."""
    config.addinivalue_line("filterwarnings", "ignore:This resource is deprecated:DeprecationWarning:pulumi_command")


@pytest.fixture(autouse=True)
def _real_where_there_is_one(request: pytest.FixtureRequest) -> None:
    """Skip a test that only a stand-in can pass, where the engine would run the real plugin."""
    for marker in request.node.iter_markers("stand_in"):
        (name,) = marker.args
        if shutil.which(f"pulumi-resource-{name}"):
            pytest.skip(f"the real plugin {name} is in use: {marker.kwargs['reason']}")


@pytest.fixture(scope="module")
def stack(request: pytest.FixtureRequest) -> Iterator[Stack]:
    """A stack of the test module's own, with nothing up yet."""
    folder: Path = paths.local() / "tests" / request.module.__name__.rpartition(".")[2]
    try:
        with Stack(folder=folder).afresh() as stack:
            stack.configure(loadRequests=50, loadConcurrency=5)
            yield stack
    finally:
        shutil.rmtree(folder, ignore_errors=True)

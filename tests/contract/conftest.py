"""Fixtures of the contract tests."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

import startup
from sandbox import debian, paths
from sandbox.datadog import Account
from sandbox.datadog.store import Store, opened
from sandbox.environments import environment
from sandbox.progress import SandboxError

from . import program


def pytest_configure(config: pytest.Config) -> None:
    """Import slim SDKs, and install the programs that tests run, where possible; tests skip missing ones."""
    startup.prepare()
    with contextlib.suppress(SandboxError):
        debian.install("The contract tests", {"ab": "apache2-utils", "vagrant": "vagrant"})
    # pulumi-command warns about one of its own resources, unused here.
    config.addinivalue_line("filterwarnings", "ignore:This resource is deprecated:DeprecationWarning:pulumi_command")


@pytest.fixture
def store(account: Account) -> Iterator[Store]:
    """The store of the test module's running account."""
    with opened(account.folder) as store:
        yield store


@pytest.fixture(scope="session")
def agent_python() -> Path:
    """A Python with Datadog's check library and test agent."""
    return environment("agent", paths.ROOT / "sandbox" / "agent" / "requirements.txt")


@pytest.fixture(scope="session")
def app_python() -> Path:
    """A Python with the traced app's requirements."""
    return environment("app", paths.ROOT / "files" / "traced_app" / "requirements.txt")


@pytest.fixture(scope="session")
def resources() -> dict[str, program.Inputs]:
    """Return the inputs of the program's resources, by settings."""
    return program.inputs()


@pytest.fixture(scope="session", params=program.SETTINGS)
def files(request: pytest.FixtureRequest, resources: dict[str, program.Inputs]) -> dict[str, str]:
    """The content of the program's files on a host, by path."""
    return program.files(resources[request.param])

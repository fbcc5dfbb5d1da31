"""Fixtures of the unit tests."""

import gc

import pytest
from hypothesis import settings

import startup
from tests.unit.mocks import Program, run_program

# The same examples on every run: a test fails because of a change, not by chance.
settings.register_profile("watchpost", max_examples=50, deadline=None, derandomize=True, database=None)
settings.load_profile("watchpost")


def pytest_configure() -> None:
    """Prepare as the program does, before any test module imports a provider's SDK."""
    startup.prepare()


@pytest.fixture(scope="session")
def dev_stack() -> Program:
    """The whole program with the settings of the `dev` stack and one host; don't change it."""
    return run_program()


@pytest.fixture(scope="session", autouse=True)
def quick_collections(dev_stack: Program) -> None:  # noqa: ARG001 - by then everything is imported
    """Freeze the hundreds of thousands of objects of pulumi-datadog's classes, to spare the garbage collector."""
    gc.collect()
    gc.freeze()

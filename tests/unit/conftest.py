"""What all unit tests share."""

import gc

import pytest
from hypothesis import settings

import startup
from tests.unit.mocks import Program, run_program

# The same examples on every run: a test fails for what has changed, not by luck.
settings.register_profile("watchpost", max_examples=50, deadline=None, derandomize=True, database=None)
settings.load_profile("watchpost")


def pytest_configure() -> None:
    """Do as the program does, before any module of the tests imports a provider's SDK."""
    startup.prepare()


@pytest.fixture(scope="session")
def dev_stack() -> Program:
    """The whole program with the settings of the `dev` stack and one host: to be looked at only."""
    return run_program()


@pytest.fixture(scope="session", autouse=True)
def quick_collections(dev_stack: Program) -> None:  # noqa: ARG001 - by then everything is imported
    """Spare the collector the hundreds of thousands of objects that pulumi-datadog's classes are made of."""
    gc.collect()
    gc.freeze()

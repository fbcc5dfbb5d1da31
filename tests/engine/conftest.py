"""Fixtures of the engine tests: stacks, machines and accounts of the sandbox, and the Datadog plugin."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sandbox import paths
from sandbox.datadog import API_KEY, APP_KEY, Account
from sandbox.machine import Machine
from sandbox.stack import Stack
from tests.engine import lives
from tests.engine.plugin import Plugin, plugin


def pytest_configure(config: pytest.Config) -> None:
    """Allow pulumi-command's warning about one of its own resources, unused here."""
    config.addinivalue_line("filterwarnings", "ignore:This resource is deprecated:DeprecationWarning:pulumi_command")


LONGEST = (
    "test_life",
    "test_faults",
    "test_database",
    "test_secrets",
    "test_bad_input",
    "test_install",
    "test_vagrant",
    "test_hostile",
    "test_pages",
    "test_packages",
    "test_public_link",
    "test_interrupted",
    "test_downtimes",
    "test_ends",
    "test_customer_experience",
    "test_hosts_as_they_are",
    "test_agent_service",
    "test_journey",
    "test_pins",
    "test_host_file",
)
"""The modules that take 20 seconds or more, the longest first."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the longest modules first, so that no worker ends up alone with one."""
    places = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path.stem, len(places)))


@pytest.fixture(autouse=True)
def _real_where_there_is_one(request: pytest.FixtureRequest) -> None:
    """Skip a test for the stand-in only, where the engine would run the real plugin."""
    for marker in request.node.iter_markers("stand_in"):
        (name,) = marker.args
        if shutil.which(f"pulumi-resource-{name}"):
            pytest.skip(f"the real plugin {name} is in use: {marker.kwargs['reason']}")


@pytest.fixture(scope="module")
def stack(request: pytest.FixtureRequest) -> Iterator[Stack]:
    """A stack for the test module, not yet brought up; with customers if the module sets ``CUSTOMERS``."""
    folder: Path = paths.local() / "tests" / request.module.__name__.rpartition(".")[2]
    try:
        with Stack(folder=folder, customers=getattr(request.module, "CUSTOMERS", False)).afresh() as stack:
            stack.configure(loadRequests=50, loadConcurrency=5)
            yield stack
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def account(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Account]:
    """An empty account for the test module."""
    account = Account.start(tmp_path_factory.mktemp("datadog"))
    try:
        yield account
    finally:
        account.stop()
    assert not account.running


@pytest.fixture(scope="module")
def datadog(account: Account) -> Iterator[Plugin]:
    """The Datadog plugin, real or the stand-in, configured for the module's account."""
    with plugin("datadog") as running:
        running.configure(apiKey=API_KEY, appKey=APP_KEY, apiUrl=account.url)
        yield running


@pytest.fixture
def no_faults_left(account: Account, datadog: Plugin) -> Iterator[None]:
    """Forget the plugin's log before a test, and the account's faults after it."""
    datadog.log()
    yield
    account.clear_faults()


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """A bare machine for the test module, which may prepare it in a fixture of the same name."""
    machine = Machine("vm", tmp_path_factory.mktemp("machine") / "vm")
    try:
        machine.start()
        yield machine
    finally:
        machine.stop()


@pytest.fixture
def life(record_property: Callable[[str, object], None]) -> Callable[..., lives.Life]:
    """Record how a host with some traits fares: ``life("login shell fish", "umask 077")``."""
    return lambda *traits: lives.Life(record_property, traits)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print how hosts with each trait fared in each phase of a stack's life."""
    reports = [report for found in terminalreporter.stats.values() for report in found]
    noted = [
        value
        for report in reports
        if getattr(report, "when", "") == "call"
        for name, value in report.user_properties
        if name == lives.PROPERTY
    ]
    if noted:
        terminalreporter.section("hosts as they are, in the life of a stack")
        terminalreporter.write_line("\n".join(lives.table(noted)))

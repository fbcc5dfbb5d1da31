"""Accounts with something on every page, and Debian's Chromium, without which these tests are skipped."""

import datetime
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import BrowserContext, Dialog, Page, Request

import startup
from sandbox.browser import executable, profile
from sandbox.datadog import Account, desk
from sandbox.datadog.evaluation import slos
from sandbox.datadog.store import Store, opened
from sandbox.progress import SandboxError
from sandbox.testing import sample_data
from sandbox.testing.customers import BOARD
from sandbox.testing.customers import in_trouble as in_trouble_at


@dataclass(frozen=True, kw_only=True)
class Shown:
    """A running account, and the ids of its content, by their names in paths."""

    url: str
    ids: Mapping[str, Any]


@dataclass(kw_only=True)
class Watched:
    """A browser page, and its faults: console messages, and requests that leave this machine."""

    page: Page
    shown: Shown
    faults: list[str] = field(default_factory=list)

    def note(self, fault: str) -> None:
        """Record a fault."""
        self.faults.append(fault)

    def dismiss(self, dialog: Dialog) -> None:
        """Record that foreign code ran on the page."""
        self.note(f"dialog: {dialog.message}")
        dialog.dismiss()

    def follow(self, request: Request) -> None:
        """Record requests to anywhere but the account."""
        if urlsplit(request.url).netloc not in (urlsplit(self.shown.url).netloc, ""):
            self.note(f"request: {request.url}")

    def open(self, path: str) -> Page:
        """Open a page of the account; return once its graphs are drawn, two frames after loading."""
        self.page.goto(self.shown.url + path.format(**self.shown.ids))
        self.page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
        return self.page


def pytest_runtest_setup() -> None:
    """Skip these tests without a Chromium; here, not in a fixture, so that one line reports them all."""
    try:
        executable()
    except SandboxError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="package")
def context(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrowserContext]:
    """The browser of all tests here; pages store nothing in it, as each test asserts.

    It ends with them: its event loop runs in this thread, where other tests begin theirs.
    """
    with profile(tmp_path_factory.mktemp("profile")) as context:
        yield context


@pytest.fixture(scope="package")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shown]:
    """Hosts, a monitor that went through its states, dashboards, downtimes, services."""
    yield from _account(tmp_path_factory.mktemp("shown"), _fill, hostile=False)


@pytest.fixture(scope="package")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shown]:
    """The same with hostile texts."""
    yield from _account(tmp_path_factory.mktemp("hostile"), _fill, hostile=True)


@pytest.fixture(scope="package")
def in_trouble(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an account some of whose customers are in trouble."""
    folder = tmp_path_factory.mktemp("in_trouble")
    startup.prepare()
    at = in_trouble_at(folder)
    with opened(folder) as store:
        store.set("clock", str((at - datetime.datetime.now(datetime.UTC)).total_seconds()))
    return folder


@pytest.fixture(scope="package")
def customers(in_trouble: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shown]:
    """Customers in trouble: their tickets, the monitors, SLOs and the dashboard."""
    folder = shutil.copytree(in_trouble, tmp_path_factory.mktemp("customers") / "account")
    yield from _account(folder, _customers, hostile=False)


@pytest.fixture(scope="package")
def hostile_customers(in_trouble: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shown]:
    """The same with hostile texts."""
    folder = shutil.copytree(in_trouble, tmp_path_factory.mktemp("hostile_customers") / "account")
    yield from _account(folder, _customers, hostile=True)


def _account(folder: Path, ids: Callable[[Store], Mapping[str, Any]], *, hostile: bool) -> Iterator[Shown]:
    with opened(folder) as store:
        found = ids(store)
        if hostile:
            sample_data.make_hostile(store)
    account = Account.start(folder)
    yield Shown(url=account.url, ids=found)
    account.stop()


def _fill(store: Store) -> Mapping[str, Any]:
    return vars(sample_data.fill(store))


def _customers(store: Store) -> Mapping[str, Any]:
    (ticket, *_) = desk.tickets(store)
    monitors = {monitor["type"]: monitor["id"] for monitor in store.all("monitor")}
    return {
        "board": BOARD,
        "ticket": ticket["id"],
        "care": ticket["asked"]["monitor"],
        "metric": monitors["query alert"],
        "burn": monitors["slo alert"],
        "slo": store.all(slos.KIND)[0]["id"],
    }


@pytest.fixture
def watched(context: BrowserContext, request: pytest.FixtureRequest) -> Iterator[Watched]:
    """A browser page on the account ``shown``, or on the one that the test names."""
    account: Shown = request.getfixturevalue(getattr(request, "param", "shown"))
    found = Watched(page=context.new_page(), shown=account)
    found.page.set_viewport_size({"width": 1280, "height": 900})
    found.page.on("console", lambda message: found.note(f"{message.type}: {message.text}"))
    found.page.on("pageerror", lambda error: found.note(f"error: {error}"))
    found.page.on("dialog", found.dismiss)
    found.page.on("request", found.follow)
    yield found
    found.page.close()
    assert context.cookies() == []

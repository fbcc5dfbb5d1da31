"""An account with something on every page, and Debian's Chromium, without which these tests are skipped."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import BrowserContext, Dialog, Page, Request

from sandbox.browser import profile
from sandbox.datadog import Account
from sandbox.datadog.store import opened
from sandbox.progress import SandboxError
from sandbox.testing import made


@dataclass(frozen=True, kw_only=True)
class Shown:
    """An account that runs, and what is in it."""

    url: str
    made: made.Made


@dataclass(kw_only=True)
class Watched:
    """A page of the browser, and what went wrong on it: messages of the console, requests that left this machine."""

    page: Page
    url: str
    faults: list[str] = field(default_factory=list)

    def note(self, fault: str) -> None:
        """Something went wrong."""
        self.faults.append(fault)

    def dismiss(self, dialog: Dialog) -> None:
        """Something on the page ran that wasn't its own."""
        self.note(f"dialog: {dialog.message}")
        dialog.dismiss()

    def follow(self, request: Request) -> None:
        """Note what goes anywhere but to the account."""
        if urlsplit(request.url).netloc not in (urlsplit(self.url).netloc, ""):
            self.note(f"request: {request.url}")

    def open(self, path: str) -> Page:
        """Open a page of the account; when it has loaded, its graphs are drawn, at the latest two frames later."""
        self.page.goto(self.url + path)
        self.page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
        return self.page


@pytest.fixture(scope="session")
def context(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrowserContext]:
    """The one browser of all tests; pages keep nothing in it, as each test asserts."""
    with contextlib.ExitStack() as stack:
        try:
            context = stack.enter_context(profile(tmp_path_factory.mktemp("profile")))
        except SandboxError as error:
            pytest.skip(str(error))
        yield context


@pytest.fixture(scope="session")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shown]:
    yield from _account(tmp_path_factory.mktemp("shown"), hostile=False)


@pytest.fixture(scope="session")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shown]:
    yield from _account(tmp_path_factory.mktemp("hostile"), hostile=True)


def _account(folder: Path, *, hostile: bool) -> Iterator[Shown]:
    with opened(folder) as store:
        found = made.fill(store)
        if hostile:
            made.make_hostile(store)
    account = Account.start(folder)
    yield Shown(url=account.url, made=found)
    account.stop()


@pytest.fixture
def watched(context: BrowserContext, request: pytest.FixtureRequest) -> Iterator[Watched]:
    """A page of the browser on the account ``shown``, or on the one that the test names."""
    account: Shown = request.getfixturevalue(getattr(request, "param", "shown"))
    found = Watched(page=context.new_page(), url=account.url)
    found.page.set_viewport_size({"width": 1280, "height": 900})
    found.page.on("console", lambda message: found.note(f"{message.type}: {message.text}"))
    found.page.on("pageerror", lambda error: found.note(f"error: {error}"))
    found.page.on("dialog", found.dismiss)
    found.page.on("request", found.follow)
    yield found
    found.page.close()
    assert context.cookies() == []

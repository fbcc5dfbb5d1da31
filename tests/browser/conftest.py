"""An account with something on every page, and Debian's Chromium, without which these tests are skipped."""

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Dialog, Page, Request, sync_playwright

from sandbox.datadog import Account
from sandbox.datadog.store import opened

from . import made

NAMES = ("chromium", "chromium-browser", "google-chrome")
MISSING = "no Chromium on PATH: as root, `apt-get install chromium` gets Debian's"


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
        """Open a page of the account, and wait until its graphs are drawn."""
        self.page.goto(self.url + path)
        self.page.wait_for_load_state("networkidle")
        return self.page


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    found = next((path for name in NAMES if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip(MISSING)
    # Chromium has no sandbox of its own for root, whose pages here are this clone's alone.
    options = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=options)
        yield browser
        browser.close()


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
def watched(chromium: Browser, request: pytest.FixtureRequest) -> Iterator[Watched]:
    """A page of the browser on the account ``shown``, or on the one that the test names."""
    account: Shown = request.getfixturevalue(getattr(request, "param", "shown"))
    context = chromium.new_context(viewport={"width": 1280, "height": 900})
    found = Watched(page=context.new_page(), url=account.url)
    found.page.on("console", lambda message: found.note(f"{message.type}: {message.text}"))
    found.page.on("pageerror", lambda error: found.note(f"error: {error}"))
    found.page.on("dialog", found.dismiss)
    found.page.on("request", found.follow)
    yield found
    assert context.cookies() == []
    context.close()

"""Runs Debian's Chromium by playwright, which downloads nothing here, for pictures and tests of the pages."""

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, BrowserContext, sync_playwright

from sandbox.progress import SandboxError

NAMES = ("chromium", "chromium-browser", "google-chrome")
MISSING = "no Chromium on PATH: as root, `apt-get install chromium` gets Debian's"


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """Run a headless Chromium.

    Raises:
        SandboxError: there is none on PATH.
    """
    options = _options()
    with sync_playwright() as playwright, playwright.chromium.launch(**options) as browser:
        yield browser


@contextlib.contextmanager
def profile(folder: Path) -> Iterator[BrowserContext]:
    """Run a headless Chromium with a profile folder, so that it compiles the chart library once, not at each page.

    Raises:
        SandboxError: there is none on PATH.
    """
    options = _options()
    with sync_playwright() as playwright, playwright.chromium.launch_persistent_context(folder, **options) as context:
        yield context


def executable() -> str:
    """Return the path of Chromium.

    Raises:
        SandboxError: there is none on PATH.
    """
    found = next((path for name in NAMES if (path := shutil.which(name))), None)
    if found is None:
        raise SandboxError(MISSING)
    return found


def _options() -> dict[str, Any]:
    # Chromium has no sandbox for root; all pages here are this clone's own.
    return {"executable_path": executable(), "args": ["--no-sandbox"] if os.geteuid() == 0 else []}

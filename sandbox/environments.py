"""Separate Python environments for packages whose pins conflict with the program's."""

import platform
import shutil
import sys
from pathlib import Path

from sandbox import cache, paths
from sandbox.progress import SandboxError, run, say

PINNED = ("--require-hashes", "--only-binary", ":all:")
"""Install only wheels, pinned by hash."""


def environment(name: str, requirements: Path) -> Path:
    """Return the Python of a virtual environment with ``requirements``, created once in the user's cache.

    Keyed by the file's content and the Python version.

    Raises:
        SandboxError: the packages can't be installed; the message names the log.
    """
    folder = paths.keyed(f"environment-{name}", requirements, platform.python_version())
    python, complete = folder / "bin" / "python", folder / "complete"
    with cache.locked(folder):
        # Scripts in an environment contain its path, so it is built in place; the last file marks it complete.
        if not (complete.exists() and python.exists()):
            _make(name, folder, requirements)
            complete.touch()
    return python


def _make(name: str, folder: Path, requirements: Path) -> None:
    """Create the environment with uv, else with pip, which also honours a package index in ``pip.conf``."""
    shutil.rmtree(folder, ignore_errors=True)
    python, title = folder / "bin" / "python", f"install the Python packages of {name}"
    uv: list[str | Path] = [sys.executable, "-m", "uv"]
    try:
        run(f"make the Python environment of {name}", [*uv, "venv", "--python", sys.executable, folder])
        run(title, [*uv, "pip", "install", "--python", python, *PINNED, "--requirement", requirements])
    except SandboxError as error:
        say(f"uv failed, so pip installs them ({str(error).splitlines()[0]})")
        shutil.rmtree(folder, ignore_errors=True)
        run(f"make the Python environment of {name} by venv", [sys.executable, "-m", "venv", folder])
        run(f"{title} by pip", [python, "-m", "pip", "install", *PINNED, "--requirement", requirements])

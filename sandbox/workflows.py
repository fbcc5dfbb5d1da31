"""Lints ``.github``: actionlint, built from the Go module proxy, and zizmor; ``python -m sandbox.workflows``."""

import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from sandbox import paths

ACTIONLINT = "github.com/rhysd/actionlint/cmd/actionlint@v1.7.12"
"""What the workflows mean. Go compares it with its checksum database. Source: https://github.com/rhysd/actionlint"""

ZIZMOR = ("--offline", "--no-progress", "--quiet", "--strict-collection", "--persona=auditor")
"""What they give away. Source: https://docs.zizmor.sh/usage/"""

GITHUB = paths.ROOT / ".github"


class MissingError(Exception):
    """A linter can't be had here; the message says why."""


def actionlint() -> Path:
    """The linter, built once for each of its versions and kept in the user's cache.

    Raises:
        MissingError: there is no Go, or it can't build.
    """
    go = shutil.which("go")
    if go is None:
        raise MissingError("Go, which builds actionlint, is not installed")
    folder = paths.keyed("actionlint", ACTIONLINT)
    with folder.with_name(f"{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            with tempfile.TemporaryDirectory(dir=folder.parent) as made:
                environment = os.environ | {"GOBIN": f"{made}/bin", "GOFLAGS": "-mod=mod"}
                done = subprocess.run(
                    [go, "install", ACTIONLINT],
                    env=environment,
                    capture_output=True,
                    text=True,
                    check=False,
                    timeout=600,
                )
                if done.returncode:
                    raise MissingError(f"Go can't build actionlint: {done.stderr.strip()[-300:]}")
                Path(made, "bin").rename(folder)
    return folder / "actionlint"


def zizmor() -> Path:
    """The linter of the virtual environment.

    Raises:
        MissingError: the environment is older than requirements-dev.txt.
    """
    found = Path(sys.prefix) / "bin" / "zizmor"
    if not found.exists():
        raise MissingError("zizmor is not in the virtual environment: remove .venv/ready, and make installs it")
    return found


def findings(github: Path = GITHUB) -> str:
    """What the linters say of the workflows and actions in ``github``; nothing if all is well.

    Raises:
        MissingError: one of them can't be had here.
    """
    shellcheck = shutil.which("shellcheck", path=Path(sys.prefix) / "bin") or "shellcheck"
    commands: list[list[str | Path]] = [
        [actionlint(), "-no-color", "-shellcheck", shellcheck, *sorted(github.glob("workflows/*.yml"))],
        [zizmor(), *ZIZMOR, "--config", GITHUB / "zizmor.yml", github],
    ]
    told = []
    for command in commands:
        done = subprocess.run(command, cwd=paths.ROOT, capture_output=True, text=True, check=False, timeout=120)
        if done.returncode:
            told.append(f"{done.stdout}{done.stderr}" or f"{command[0]} failed with {done.returncode}")
    return "\n".join(told)


def main() -> None:
    """Lint; where a linter is missing that is told, and in CI it is an error."""
    try:
        if told := findings():
            sys.exit(told)
    except MissingError as error:
        if os.environ.get("CI"):
            sys.exit(f"watchpost: the workflows can't be linted: {error}")
        print(f"watchpost: the workflows are not linted: {error}", file=sys.stderr)


if __name__ == "__main__":
    main()

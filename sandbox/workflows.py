"""Lints ``.github``: actionlint, built from the Go module proxy, and zizmor; ``python -m sandbox.workflows``."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from sandbox import cache, paths
from sandbox.progress import SandboxError, run
from sandbox.pulumi.engine import go

ACTIONLINT = "github.com/rhysd/actionlint/cmd/actionlint@v1.7.12"
"""Checks semantics. Go verifies it against its checksum database. Source: https://github.com/rhysd/actionlint"""

ZIZMOR = ("--offline", "--no-progress", "--quiet", "--strict-collection", "--persona=auditor")
"""Checks security. Source: https://docs.zizmor.sh/usage/"""

GITHUB = paths.ROOT / ".github"


def actionlint() -> Path:
    """Return actionlint, built once per version.

    Raises:
        SandboxError: it can't be built.
    """

    def make(folder: Path) -> None:
        environment = go.environment(GOBIN=str(folder), GOFLAGS="-mod=mod -trimpath", CGO_ENABLED="0")
        run("build actionlint (once)", [go.ensure(), "install", "-v", ACTIONLINT], env=environment)

    return cache.once(paths.keyed("actionlint", ACTIONLINT), make) / "actionlint"


def zizmor() -> Path:
    """Return zizmor from the virtual environment.

    Raises:
        SandboxError: the environment is older than requirements-dev.txt.
    """
    found = Path(sys.prefix) / "bin" / "zizmor"
    if not found.exists():
        raise SandboxError("zizmor is not in the virtual environment: remove .venv/ready, and make installs it")
    return found


def findings(github: Path = GITHUB) -> str:
    """Return the linters' findings on the workflows and actions in ``github``; empty if there are none.

    Raises:
        SandboxError: a linter isn't available here.
    """
    shellcheck = shutil.which("shellcheck", path=Path(sys.prefix) / "bin") or "shellcheck"
    commands: list[list[str | Path]] = [
        [actionlint(), "-no-color", "-shellcheck", shellcheck, *sorted(github.glob("workflows/*.yml"))],
        [zizmor(), *ZIZMOR, "--config", GITHUB / "zizmor.yml", github],
    ]
    said = []
    for command in commands:
        done = subprocess.run(command, cwd=paths.ROOT, capture_output=True, text=True, check=False, timeout=120)
        if done.returncode:
            said.append(f"{done.stdout}{done.stderr}" or f"{command[0]} failed with {done.returncode}")
    return "\n".join(said)


def main() -> None:
    """Lint; a missing linter is an error in CI, elsewhere a message."""
    try:
        if said := findings():
            sys.exit(said)
    except SandboxError as error:
        if os.environ.get("CI"):
            sys.exit(f"watchpost: the workflows can't be linted: {error}")
        print(f"watchpost: the workflows are not linted: {error}", file=sys.stderr)


if __name__ == "__main__":
    main()

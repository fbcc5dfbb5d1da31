"""The ``pulumi`` CLI and its Python language host: installed ones, else built once from Go modules."""

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from sandbox import cache, paths, signals
from sandbox.progress import run
from sandbox.pulumi import versions
from sandbox.pulumi.engine import go

TOOLS = ("pulumi", "pulumi-language-python", "pulumi-language-python-exec", "pulumi-resource-pulumi-python")
CLI = Path(__file__).with_name("cli")
LANGUAGE_HOST = Path(__file__).with_name("language")
SDK_MODULE = "github.com/pulumi/pulumi/sdk/v3"

FLAGS = (
    "-trimpath",
    "-tags=osusergo,grpcnotrace",
    "-gcflags=all=-dwarf=false",
    f"-ldflags=-s -w -X {SDK_MODULE}/go/common/version.Version=v{versions.ENGINE}",
)
"""The build flags of Pulumi's releases; they also set the CLI's version.

Source: https://github.com/pulumi/pulumi/blob/master/.goreleaser.yml
"""

QUIET_END = (
    "    exit_code = 1\n",
    "    exit_code = 1\n    import signal\n    signal.signal(signal.SIGINT, lambda *_: os._exit(exit_code))\n",
)
"""Patch for the old language host: the engine interrupts a program when one of its resources fails, and the traceback
of wherever it was would hide the reason."""


def ensure(*beside: Callable[[], object]) -> Path:
    """Return the folder to put on PATH for ``pulumi`` to run Python programs.

    Builds what isn't installed: 4 minutes on 2 cores, and 2 GB of Go's caches. ``beside`` runs meanwhile, but only if
    something has to be built.

    Raises:
        SandboxError: the build failed, for instance without access to the Go module proxy.
    """
    if (installed := _installed()) is not None:
        return installed
    modules = [part / name for part in (CLI, LANGUAGE_HOST) for name in ("go.mod", "go.sum")]
    folder = paths.keyed("engine", *modules, *FLAGS, *QUIET_END, *TOOLS)
    if not folder.exists():
        signals.together(lambda: cache.once(folder, _build), *beside)
    return folder


def _installed() -> Path | None:
    """Return the folder of a ``pulumi`` on PATH whose Python language host is beside it or on PATH too."""
    found = shutil.which("pulumi")
    if found is None:
        return None
    folder = Path(found).parent
    search = os.pathsep.join([str(folder), os.environ.get("PATH", "")])
    return folder if all(shutil.which(tool, path=search) for tool in TOOLS) else None


def _build(folder: Path) -> None:
    program = go.ensure()
    environment = go.environment(GOBIN=str(folder), GOFLAGS="-mod=readonly -buildvcs=false", CGO_ENABLED="0")
    # In sequence: both need much of Go's standard library, which each would compile by itself.
    for title, module in (
        ("build Pulumi (once, some minutes)", CLI),
        ("build the Python language host (once)", LANGUAGE_HOST),
    ):
        run(title, [program, "install", "-C", module, "-v", *FLAGS, "tool"], env=environment)
    sdk: list[str | Path] = [program, "list", "-C", LANGUAGE_HOST, "-m", "-f", "{{.Dir}}", SDK_MODULE]
    source = subprocess.run(sdk, env=environment, capture_output=True, text=True, check=True).stdout.strip()
    for script in (Path(f"{source}/python/cmd/{TOOLS[2]}"), Path(f"{source}/python/dist/{TOOLS[3]}")):
        (folder / script.name).write_text(script.read_text().replace(*QUIET_END))
        (folder / script.name).chmod(0o755)

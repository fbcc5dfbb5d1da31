"""Pulumi's resource plugins: the real ones where they can be had, else stand-ins written in Python.

A plugin on PATH or in the engine's home always wins. Without access to Pulumi's downloads each missing one becomes a
small script that runs this clone's ``sandbox.plugins.NAME``, so a changed stand-in counts at once.
"""

import importlib.metadata
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from sandbox import paths
from sandbox.progress import SandboxError, say

NAMES = ("command", "random", "datadog")
LAUNCH = Path(__file__).with_name("launch.py")

DOWNLOAD_SECONDS = 300
"""How long one plugin may take to download; without a network the attempt ends after 3 s by itself."""


def install(environment: Mapping[str, str], folder: Path) -> None:
    """Have every plugin that the program uses, at the version of its installed Python SDK.

    ``environment`` is what the engine runs with (``PULUMI_HOME``, ``PATH``), ``folder`` the one that holds ``pulumi``.

    Raises:
        SandboxError: a stand-in can't be installed.
    """
    home = Path(environment.get("PULUMI_HOME") or Path.home() / ".pulumi")
    online, stand_ins = True, []
    for name in NAMES:
        version = importlib.metadata.version(f"pulumi-{name}")
        installed = home / "plugins" / f"resource-{name}-v{version}"
        if shutil.which(f"pulumi-resource-{name}", path=environment.get("PATH")) or _usable(name, installed):
            continue
        shutil.rmtree(installed, ignore_errors=True)
        pulumi = [str(folder / "pulumi"), "plugin", "install", "resource", name, version]
        if online:
            online = _run(pulumi, environment).returncode == 0
        if not online:
            _install_stand_in(name, pulumi, environment)
            stand_ins.append(name)
    if stand_ins:
        say(f"Pulumi's plugins can't be downloaded: stand-ins for {', '.join(stand_ins)}")


def _usable(name: str, installed: Path) -> bool:
    """Whether there is a plugin in ``installed``; a stand-in of another clone or interpreter doesn't count."""
    program = installed / f"pulumi-resource-{name}"
    if not program.exists():
        return False
    content = program.read_bytes()
    return not content.startswith(b"#!") or content == _wrapper(name).encode()


def _install_stand_in(name: str, pulumi: list[str], environment: Mapping[str, str]) -> None:
    source = paths.local() / "plugins" / name
    source.mkdir(parents=True, exist_ok=True)
    program = source / f"pulumi-resource-{name}"
    program.write_text(_wrapper(name))
    program.chmod(0o755)
    done = _run([*pulumi, "--file", str(source)], environment)
    if done.returncode:
        raise SandboxError(f"the stand-in for the plugin {name} can't be installed: {done.stderr.strip()}")


def _wrapper(name: str) -> str:
    """The program that the engine starts: this clone's stand-in in this interpreter."""
    return (
        "#!/bin/sh\n"
        f"# A stand-in for Pulumi's {name} plugin.\n"
        f"PYTHONPATH={shlex.quote(str(paths.ROOT))}${{PYTHONPATH:+:$PYTHONPATH}} "
        f'exec {shlex.quote(sys.executable)} -I -S {shlex.quote(str(LAUNCH))} {name} "$@"\n'
    )


def _run(command: list[str], environment: Mapping[str, str]) -> "subprocess.CompletedProcess[str]":
    try:
        return subprocess.run(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=DOWNLOAD_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(command, 1, "", f"no answer within {DOWNLOAD_SECONDS} s")

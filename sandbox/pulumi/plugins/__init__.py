"""Pulumi's resource plugins: the real ones if they can be downloaded, else stand-ins written in Python.

A plugin on PATH or in the engine's home always wins. Without access to Pulumi's downloads, each missing one becomes a
small script that runs this clone's current stand-in, from a pool: a process that stays until :func:`stop_pool`.
"""

import importlib.metadata
import os
import shlex
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from sandbox import paths
from sandbox.progress import SandboxError, say

NAMES = ("command", "random", "datadog")
LAUNCH = Path(__file__).with_name("launch.py")

GRACE = 10.0
"""Seconds allowed for starting and ending the pool."""

DOWNLOAD_SECONDS = 300
"""Seconds allowed for one plugin's download; without a network the attempt ends by itself after 3 s."""


def install(environment: Mapping[str, str], folder: Path) -> None:
    """Install every plugin that the program uses, at the version of its Python SDK.

    ``environment`` is the engine's (``PULUMI_HOME``, ``PATH``), ``folder`` contains ``pulumi``.

    Raises:
        SandboxError: a stand-in can't be installed, or does not start.
    """
    home = Path(environment.get("PULUMI_HOME") or Path.home() / ".pulumi").absolute()
    online, new, stand_ins = True, [], False
    for name in NAMES:
        if shutil.which(f"pulumi-resource-{name}", path=environment.get("PATH")):
            continue
        version = importlib.metadata.version(f"pulumi-{name}")
        installed = home / "plugins" / f"resource-{name}-v{version}"
        program, wrapper = installed / f"pulumi-resource-{name}", _wrapper(name, home)
        if not _usable(program, wrapper):
            shutil.rmtree(installed, ignore_errors=True)
            pulumi = [str(folder / "pulumi"), "plugin", "install", "resource", name, version]
            online = online and _run(pulumi, environment).returncode == 0
            if not online:
                _install_stand_in(name, wrapper, pulumi, environment)
                new.append(name)
        stand_ins = stand_ins or _stands_in(program, wrapper)
    if new:
        say(f"Pulumi's plugins can't be downloaded: stand-ins for {', '.join(new)}")
    if stand_ins:
        start_pool(home)


def _usable(program: Path, wrapper: str) -> bool:
    """Whether the plugin exists; a stand-in of another clone or interpreter doesn't count."""
    if not program.exists():
        return False
    with program.open("rb") as file:
        script = file.read(2) == b"#!"
    return not script or _stands_in(program, wrapper)


def _stands_in(program: Path, wrapper: str) -> bool:
    """Whether a plugin is this clone's stand-in, by size first: the real ones have many megabytes."""
    expected = wrapper.encode()
    return program.stat().st_size == len(expected) and program.read_bytes() == expected


def _install_stand_in(name: str, wrapper: str, pulumi: list[str], environment: Mapping[str, str]) -> None:
    source = paths.local() / "plugins" / name
    source.mkdir(parents=True, exist_ok=True)
    program = source / f"pulumi-resource-{name}"
    program.write_text(wrapper)
    program.chmod(0o755)
    done = _run([*pulumi, "--file", str(source)], environment)
    if done.returncode:
        raise SandboxError(f"the stand-in for the plugin {name} can't be installed: {done.stderr.strip()}")


def _wrapper(name: str, home: Path) -> str:
    """Return the script that the engine starts: this clone's stand-in in this interpreter, from ``home``'s pool."""
    return (
        "#!/bin/sh\n"
        f"# A stand-in for Pulumi's {name} plugin.\n"
        f"PYTHONPATH={shlex.quote(str(paths.ROOT))}${{PYTHONPATH:+:$PYTHONPATH}} "
        f'exec {shlex.quote(sys.executable)} -I -S {shlex.quote(str(LAUNCH))} {address(home)} {name} "$@"\n'
    )


def address(home: Path) -> str:
    """Return the abstract socket address of the pool for ``home`` and the current stand-in code."""
    return paths.keyed("watchpost-plugins", str(home.absolute()), *sorted(LAUNCH.parent.rglob("*.py"))).name


def start_pool(home: Path) -> None:
    """Start the stand-in pool of ``home``; does nothing if it runs.

    Raises:
        SandboxError: it does not start.
    """
    pool = address(home)
    if listening(pool) is not None:
        return
    # Not the engine's environment, which holds keys.
    kept = ("PATH", "HOME", "LANG", "PYTHONPYCACHEPREFIX", "XDG_CACHE_HOME")
    log = home / "stand-ins.log"
    with log.open("w") as output:
        subprocess.run(
            ["setsid", "--fork", sys.executable, "-m", "sandbox.pulumi.plugins.pool", pool, str(home)],
            cwd=paths.ROOT,
            env={key: os.environ[key] for key in kept if key in os.environ},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            check=True,
        )
    deadline = time.monotonic() + GRACE
    while listening(pool) is None:
        if time.monotonic() > deadline:
            raise SandboxError(f"the stand-in plugins do not start; their log is {log}: {log.read_text()[-500:]}")
        time.sleep(0.02)


def stop_pool(home: Path) -> None:
    """Stop the stand-in pool of ``home``, if any; plugins at work end with the engine."""
    pool = address(home)
    process = listening(pool)
    if process is not None:
        os.kill(process, signal.SIGTERM)
        deadline = time.monotonic() + GRACE
        while listening(pool) == process and time.monotonic() < deadline:
            time.sleep(0.02)


def listening(pool: str) -> int | None:
    """Return this user's process that listens at an abstract socket address."""
    with socket.socket(socket.AF_UNIX) as connection:
        try:
            connection.connect(f"\0{pool}")
        except OSError:
            return None
        process, user = peer(connection)
    return process if user == os.getuid() else None


def peer(connection: socket.socket) -> tuple[int, int]:
    """Return the process and user of a local connection's peer."""
    process, user, _ = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    return process, user


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

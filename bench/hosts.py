"""Growing numbers of machines in one stack.

They start from an image with all packages, the Agent and the app's environment installed, so that the steps are
measured and not the distribution's mirrors.
"""

import contextlib
import re
import shutil
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bench import growth, stage
from bench.growth import COUNTS, MANY
from bench.report import Report
from sandbox import paths
from sandbox.machine import Machine, tree
from sandbox.progress import SandboxError, step
from sandbox.stack import Stack

MEGABYTES = 300
"""Memory that a machine needs with everything on it."""

WATCHES = 8
"""inotify instances that a machine's systemd and services use."""

PREPARE = """
printf '[mariadbd]\ninnodb_buffer_pool_size=16M\ninnodb_log_file_size=8M\n' >/etc/mysql/mariadb.conf.d/90-small.cnf
systemctl restart mariadb
systemctl stop mariadb datadog-agent watchpost-app
"""
"""Shrinks the database so that many fit on one host, and stops the services."""

PACK = "tar --one-file-system --xattrs -C / -cf - ."


def run(runs: int) -> Report:
    """Bring up stacks of several sizes, as far as this host can run them, and one with a dead host."""
    start_from, sizes, notes = image(), [], []
    for count in COUNTS:
        if lacking := lack(count):
            notes.append(f"not measured: {lacking}")
            continue
        with stack(start_from, count) as measured:
            sizes.append(growth.measure(measured, runs))
    if MANY in [size.hosts for size in sizes]:
        with stack(start_from, MANY) as measured:
            notes += growth.with_a_dead_host(measured)
    report = growth.grown("Many machines in one stack", sizes)
    report.notes += notes
    return report


def lack(count: int) -> str:
    """Why this host can't run so many machines; empty if it can."""
    match = re.search(r"^MemAvailable: +(\d+) kB", Path("/proc/meminfo").read_text(), re.MULTILINE)
    free = int(match[1]) // 1024 if match else 0
    if count * MEGABYTES > free:
        return f"{count} machines need {count * MEGABYTES} MB of memory, and {free} MB are available here"
    allowed = int(Path("/proc/sys/fs/inotify/max_user_instances").read_text())
    if count * WATCHES > allowed:
        return f"{count} machines need `sysctl fs.inotify.max_user_instances={count * WATCHES}`; it is {allowed} here"
    return ""


def image() -> Path:
    """The file system of a machine with everything installed, cached until its sources change."""
    sources = [path for folder in ("files", "sandbox/agent") for path in sorted((paths.ROOT / folder).rglob("*"))]
    key = paths.keyed("image", str(tree.ensure()), Path(__file__), *(path for path in sources if _counts(path))).name
    made = paths.local() / "bench" / key
    if not made.exists():
        for older in made.parent.glob("image-*"):
            shutil.rmtree(older)
        part = made.with_suffix(".part")
        part.mkdir(mode=0o700)  # it holds programs that run as root
        with stage.stack("image") as installed, step("make the image of the machines"):
            stage.up(installed)
            _copy(installed.machines["vm"], part / "root")
        part.rename(made)
    return made / "root"


def _counts(path: Path) -> bool:
    return path.is_file() and "__pycache__" not in path.parts


def _copy(machine: Machine, root: Path) -> None:
    """Copy the file system of ``machine``, without Watchpost's own state."""
    root.mkdir()
    machine.run(PREPARE)
    packing = [*machine.ssh(), "--", f"sudo {PACK}"]
    with subprocess.Popen(packing, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL) as source:
        unpacking = ["tar", "--numeric-owner", "--xattrs", "-C", str(root), "-xpf", "-"]
        subprocess.run(unpacking, stdin=source.stdout, check=True)
    if source.returncode not in (0, 1):  # 1: a file grew while it was read
        raise SandboxError("the machine could not be copied")
    (root / "etc" / "machine-id").write_text("")
    shutil.rmtree(root / "var" / "lib" / "watchpost")


@contextlib.contextmanager
def stack(start_from: Path, count: int) -> Iterator[Stack]:
    """A stack of ``count`` machines that start from ``start_from``, not yet brought up."""
    stack = Stack(folder=paths.local() / "bench" / "hosts", hosts=growth.names(count), tree=start_from)
    stack.stop()
    try:
        with ThreadPoolExecutor(max_workers=4) as pool:
            list(pool.map(Machine.start, stack.machines.values()))
        stack.start()
        stack.configure(**stage.LOAD)
        yield stack
    finally:
        stack.stop()

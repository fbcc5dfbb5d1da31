"""More and more hosts in one stack: what each of them costs Watchpost itself.

The machines start from one that has been up: its packages, its Agent and the app's environment are there, so that what
is measured is the steps and not the distribution's mirrors.
"""

import contextlib
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from statistics import median

from bench import stage
from bench.measure import peaks, timed
from bench.report import Report, seconds
from sandbox import paths
from sandbox.progress import SandboxError, say, step
from sandbox.stack import Stack

COUNTS = (1, 4, 16, 64)

MEGABYTES = 450
"""What a machine with everything on it needs of the host's memory."""

COPY = "systemctl stop mariadb datadog-agent watchpost-app; tar --one-file-system --xattrs -C / -cf - ."


def run(runs: int) -> Report:
    """Bring up stacks of several sizes, as many as fit into this host's memory."""
    report = Report(
        title="Many hosts in one stack",
        header=("hosts", "resources", "`up`", "`up` again", "state kB", "writes to Datadog", "engine MB", "program MB"),
    )
    with image() as tree:
        for count in COUNTS:
            if count * MEGABYTES > (free := available()):
                needed = count * MEGABYTES
                report.notes.append(f"{count} hosts need {needed} MB of memory, and {free} MB are available here")
                continue
            with stack(tree, count) as measured, peaks(every=0.5) as peak:
                first = timed(partial(stage.up, measured))
                again = [timed(partial(stage.up, measured, "--expect-no-changes")) for _ in range(runs)]
                state = measured.folder / "state" / ".pulumi" / "stacks" / "watchpost" / f"{measured.name}.json"
                resources = len(json.loads(state.read_text())["checkpoint"]["latest"]["resources"])
                size, writes = state.stat().st_size / 1024, len(measured.account.writes())
            figures = (first, median(again), size, peak.megabytes["engine"], peak.megabytes["program"])
            report.figures[str(count)] = figures
            report.rows.append(
                (
                    str(count),
                    str(resources),
                    f"{first:.1f} s",
                    seconds(again),
                    f"{size:.0f}",
                    str(writes),
                    *(f"{megabytes:.0f}" for megabytes in figures[3:]),
                )
            )
            say(" | ".join(report.rows[-1]))
    return report


def available() -> int:
    """How many MB of memory this host could give to programs."""
    match = re.search(r"^MemAvailable: +(\d+) kB", Path("/proc/meminfo").read_text(), re.MULTILINE)
    return int(match[1]) // 1024 if match else 0


@contextlib.contextmanager
def image() -> Iterator[Path]:
    """The tree of a machine on which everything is installed, without what Watchpost remembers of it."""
    tree = paths.local() / "bench" / "image" / "root"
    shutil.rmtree(tree.parent, ignore_errors=True)
    tree.mkdir(parents=True)
    tree.parent.chmod(0o700)  # it holds programs that run as root
    try:
        with stage.stack("hosts") as stack, step("make the image of the hosts"):
            stage.up(stack)
            source = subprocess.Popen(
                [*stack.machines["vm"].ssh(), "--", f"sudo sh -c '{COPY}'"],
                stdout=subprocess.PIPE,
                stdin=subprocess.DEVNULL,
            )
            unpack = ["tar", "--numeric-owner", "--xattrs", "-C", str(tree), "-xpf", "-"]
            subprocess.run(unpack, stdin=source.stdout, check=True)
            if source.wait() not in (0, 1):  # 1: a file grew while it was read
                raise SandboxError("the machine could not be copied")
        (tree / "etc" / "machine-id").write_text("")
        shutil.rmtree(tree / "var" / "lib" / "watchpost")
        yield tree
    finally:
        shutil.rmtree(tree.parent, ignore_errors=True)


@contextlib.contextmanager
def stack(tree: Path, count: int) -> Iterator[Stack]:
    """A stack of ``count`` machines that start from ``tree``, with nothing up."""
    stack = Stack(folder=paths.local() / "bench" / "hosts", hosts=[f"vm{number:02}" for number in range(count)])
    stack.stop()
    try:
        for machine in stack.machines.values():
            # As if it had been started from this tree before.
            (machine.folder / "upper").mkdir(parents=True)
            (machine.folder / "machine.json").write_text(json.dumps({"tree": str(tree)}))
        stack.start()
        stack.configure(**stage.LOAD)
        yield stack
    finally:
        stack.stop()

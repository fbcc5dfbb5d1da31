"""Runs the benchmark, or the parts of it that are named; prints tables and writes JSON beside them."""

import importlib
import signal
import sys
from types import FrameType

import click

from bench.report import machine
from sandbox import paths
from sandbox.progress import SandboxError

PARTS = ("unit", "preview", "noop", "settings", "up", "ansible", "hosts", "simulated", "fleet")


@click.command(help=__doc__)
@click.argument("parts", nargs=-1, type=click.Choice(PARTS))
@click.option("--runs", default=5, show_default=True, help="How often each thing is measured.")
def main(parts: tuple[str, ...], runs: int) -> None:
    """Measure."""
    # SIGINT too: where it is ignored, as in a background job of a shell, the children would ignore it as well, and the
    # engine, which ends its own by it, would wait 5 s for them.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    (paths.local() / "bench").mkdir(exist_ok=True)
    try:
        for part in parts or PARTS:
            report = importlib.import_module(f"bench.{part}").run(runs)
            file = report.write(part)
            click.echo(f"{report.markdown()}\nMeasured on {machine()}; every figure is in {file}.\n")
    except SandboxError as error:
        sys.exit(f"watchpost: {error}")


def _interrupt(number: int, _: FrameType | None) -> None:
    # One that is ended in order still removes its machines.
    raise KeyboardInterrupt(f"signal {number}")


if __name__ == "__main__":
    main()

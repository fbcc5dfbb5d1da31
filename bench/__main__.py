"""Runs the benchmark, or some parts of it; prints tables and writes the figures as JSON."""

import importlib
import sys

import click

from bench.report import machine
from sandbox import paths
from sandbox.progress import SandboxError, say
from sandbox.runs import begin

PARTS = ("unit", "preview", "noop", "settings", "up", "ansible", "hosts", "simulated", "fleet", "customers", "pages")


@click.command(help=__doc__)
@click.argument("parts", nargs=-1, type=click.Choice(PARTS))
@click.option("--runs", default=5, show_default=True, help="How often each thing is measured.")
def main(parts: tuple[str, ...], runs: int) -> None:
    """Run the benchmark."""
    run = begin()
    (paths.local() / "bench").mkdir(exist_ok=True)
    try:
        for part in parts or PARTS:
            report = importlib.import_module(f"bench.{part}").run(runs)
            file = report.write(part)
            click.echo(f"{report.markdown()}\nMeasured on {machine()}; every figure is in {file}.\n")
    except SandboxError as error:
        sys.exit(f"watchpost: {error}")
    except KeyboardInterrupt:
        say("interrupted: everything it started has ended")
        sys.exit(130)
    finally:
        if run is not None:
            run.end()


if __name__ == "__main__":
    main()

"""Plan, preview, deploy and destroy a fleet of hosts described in INVENTORY. Guide: docs/fleet.md."""

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.table import Table

from watchpost.errors import WatchpostError
from watchpost.fleet import inventory
from watchpost.fleet.inventory import Inventory
from watchpost.fleet.shards import DATADOG, HOSTS, plan, stack_name

if TYPE_CHECKING:
    from watchpost.fleet.deployment import Operation

INVENTORY = click.argument("path", metavar="INVENTORY", type=click.Path(exists=True, dir_okay=False, path_type=Path))


@click.group(help=__doc__)
def commands() -> None:
    """Group the fleet's commands."""


@commands.command("plan")
@INVENTORY
@click.option("--json", "as_json", is_flag=True, help="Print JSON: name, shard and hosts of each stack.")
def show(path: Path, as_json: bool) -> None:
    """Show the hosts of each stack; works offline."""
    fleet = inventory.load(path)
    stacks = plan(fleet)
    rows = [(name, shard, list(stacks[name].get(HOSTS, {}))) for shard, name in names(fleet).items()]
    if as_json:
        click.echo(json.dumps([{"stack": name, "shard": shard, "hosts": hosts} for name, shard, hosts in rows]))
        return
    table = Table("stack", "hosts", "names")
    for name, _, hosts in rows:
        table.add_row(name, str(len(hosts)), ", ".join(hosts))
    Console().print(table)


def names(fleet: Inventory) -> dict[str, str]:
    """Map the values of ``--shard`` to the stacks' names."""
    return {str(shard): stack_name(fleet, shard) for shard in (DATADOG, *range(fleet.shards))}


def operation(name: "Operation", text: str) -> None:
    """Add the command that runs the operation ``name`` on all stacks of a plan, or on selected ones."""

    @commands.command(name, help=text)
    @INVENTORY
    @click.option(
        "--parallel",
        type=click.IntRange(1),
        default=os.cpu_count() or 1,
        show_default="one per CPU",
        help="How many stacks to run at the same time.",
    )
    @click.option(
        "--shard",
        "chosen",
        multiple=True,
        metavar="K",
        help=f"Only this shard: its number, or `{DATADOG}`; repeatable.",
    )
    @click.option("--json", "as_json", is_flag=True, help="Print JSON: the outcome of each stack.")
    def command(path: Path, parallel: int, chosen: tuple[str, ...], as_json: bool) -> None:
        from watchpost.fleet import runner  # imported here: half a second, which `--help` shouldn't take
        from watchpost.fleet.progress import summary

        fleet = inventory.load(path)
        outcomes = runner.run(name, selected(fleet, chosen), parallel=parallel)
        if as_json:
            click.echo(json.dumps([outcome.document() for outcome in outcomes]))
        else:
            summary(outcomes, Console())
        if any(outcome.failed for outcome in outcomes):
            sys.exit(1)


def selected(fleet: Inventory, chosen: tuple[str, ...]) -> dict[str, dict[str, Any]]:
    """Select the part of the plan given by ``--shard``.

    Raises:
        WatchpostError: a shard doesn't exist.
    """
    stacks, known = plan(fleet), names(fleet)
    if unknown := [shard for shard in chosen if shard not in known]:
        raise WatchpostError(f"there is no shard {', '.join(unknown)}: there are {DATADOG} and 0 to {fleet.shards - 1}")
    return {known[shard]: stacks[known[shard]] for shard in chosen or known}


operation("up", "Create or update every stack, as INVENTORY says.")
operation("preview", "Count what `up` would change.")
operation("destroy", "Destroy and remove every stack.")


@commands.command("kubernetes")
@INVENTORY
@click.option("--repository", required=True, help="The https:// or ssh:// address of this program's Git repository.")
@click.option("--branch", default="main", show_default=True, help="The branch to follow.")
@click.option("--backend", default=None, help="The state's backend, such as s3://bucket.  [default: Pulumi Cloud]")
def kubernetes_manifests(path: Path, repository: str, branch: str, backend: str | None) -> None:
    """Print manifests for the Pulumi Kubernetes Operator.

    One Stack for each stack of the plan, for `kubectl apply`.
    """
    from watchpost.fleet import kubernetes

    source = kubernetes.Source(repository=repository, branch=branch, backend=backend)
    click.echo(kubernetes.manifests(inventory.load(path), source), nl=False)

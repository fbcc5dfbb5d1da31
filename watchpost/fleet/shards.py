"""Which host is in which stack, and what each stack is configured with: pure functions."""

import hashlib
from typing import Any

from settings.project import PROJECT
from watchpost.fleet.inventory import Inventory

DATADOG = "datadog"
"""What the stack of the Datadog side is called, where the others have a number."""

HOSTS = f"{PROJECT}:hosts"


def shard_of(name: str, shards: int) -> int:
    """The shard of the host ``name``, from 0 to ``shards`` - 1, by rendezvous hashing.

    Each shard draws a number for the host, and the highest wins. So the other hosts don't matter, and a shard more
    takes only those hosts for which it draws higher than all others: one in ``shards`` + 1.

    Source: https://en.wikipedia.org/wiki/Rendezvous_hashing
    """
    return max(range(shards), key=lambda shard: hashlib.sha256(f"{shard}/{name}".encode()).digest())


def stack_name(inventory: Inventory, shard: int | str) -> str:
    """The stack of a shard, or of :data:`DATADOG`, without its organization and project."""
    return f"{inventory.stack}-{shard}"


def full_name(inventory: Inventory, stack: str) -> str:
    """A stack's name as a reference from another stack has it."""
    return f"{inventory.organization}/{PROJECT}/{stack}"


def plan(inventory: Inventory) -> dict[str, dict[str, Any]]:
    """The configuration of every stack by its name, the Datadog side first; secrets are still ``fromEnvironment``.

    A shard may have no host: its ``watchpost:hosts`` is empty then, and the stack is not to exist.
    """
    datadog = stack_name(inventory, DATADOG)
    stacks: dict[str, dict[str, Any]] = {datadog: {**inventory.settings, f"{PROJECT}:part": "datadog"}}
    for shard in range(inventory.shards):
        stacks[stack_name(inventory, shard)] = {
            **inventory.settings,
            f"{PROJECT}:part": "hosts",
            f"{PROJECT}:datadogStack": full_name(inventory, datadog),
            HOSTS: {},
        }
    for name, entry in sorted(inventory.hosts.items()):
        shard = shard_of(name, inventory.shards)
        stacks[stack_name(inventory, shard)][HOSTS][name] = {**inventory.host, **entry}
    return stacks

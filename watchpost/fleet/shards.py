"""Assigns hosts to stacks and builds each stack's configuration: pure functions."""

import hashlib
from typing import Any

from settings.project import PROJECT
from watchpost.fleet.inventory import Inventory

DATADOG = "datadog"
"""The shard name of the Datadog stack; the others are numbered."""

HOSTS = f"{PROJECT}:hosts"


def shard_of(name: str, shards: int) -> int:
    """Return the shard of the host ``name``, from 0 to ``shards`` - 1, by rendezvous hashing.

    Each shard scores the host, and the highest score wins. A host's shard is therefore independent of the other hosts,
    and an additional shard takes over only the hosts that it scores highest: one in ``shards`` + 1.

    Source: https://en.wikipedia.org/wiki/Rendezvous_hashing
    """
    return max(range(shards), key=lambda shard: hashlib.sha256(f"{shard}/{name}".encode()).digest())


def stack_name(inventory: Inventory, shard: int | str) -> str:
    """Return the name of a shard's stack, or of the :data:`DATADOG` one, without organization and project."""
    return f"{inventory.stack}-{shard}"


def full_name(inventory: Inventory, stack: str) -> str:
    """Return a stack's fully qualified name, as a stack reference takes it."""
    return f"{inventory.organization}/{PROJECT}/{stack}"


def plan(inventory: Inventory) -> dict[str, dict[str, Any]]:
    """Build the configuration of every stack, by name, the Datadog stack first; secrets are still ``fromEnvironment``.

    A shard without hosts has an empty ``watchpost:hosts``: its stack should not exist.
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

"""A fleet of simulated hosts, as ``python -m watchpost fleet`` brings it up."""

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from sandbox import paths
from sandbox.stack import Stack
from sandbox.testing.simulated import Simulated


@dataclass(frozen=True)
class Fleet:
    """A fleet with its inventory file; runs ``python -m watchpost fleet`` on it."""

    sandbox: Stack
    hosts: Simulated
    backend: str
    prefix: str
    names: Sequence[str]
    shards: int

    @property
    def inventory(self) -> Path:
        """The inventory file."""
        return self.sandbox.folder / f"{self.prefix}.yaml"

    def write(self, **ports: int) -> None:
        """Write the inventory; ``ports`` overrides single hosts' ports."""
        document = {
            "stack": self.prefix,
            "shards": self.shards,
            "settings": {
                "recipients": ["you@example.com"],
                "loadRequests": 0,
                "datadog:apiUrl": self.sandbox.account.url,
            },
            "host": {
                "address": "127.0.0.1",
                "port": self.hosts.port,
                "hostKey": self.hosts.host_key,
                "privateKey": {"fromEnvironment": "FLEET_TEST_KEY"},
            },
            "hosts": {name: {"user": name, **({"port": ports[name]} if name in ports else {})} for name in self.names},
        }
        self.inventory.write_text(yaml.safe_dump(document))

    def environment(self) -> dict[str, str]:
        """Return the environment for the commands."""
        return {
            **self.sandbox.environment(),
            "PULUMI_BACKEND_URL": self.backend,
            "FLEET_TEST_KEY": self.hosts.private_key,
            "COLUMNS": "200",
        }

    def run(self, *words: str) -> "subprocess.CompletedProcess[str]":
        """Run a command of ``python -m watchpost fleet`` on the inventory."""
        command, *options = words
        return subprocess.run(
            [sys.executable, "-m", "watchpost", "fleet", command, str(self.inventory), *options],
            env=self.environment(), cwd=paths.ROOT, capture_output=True, text=True, check=False, timeout=3600,
        )  # fmt: skip

    def state(self, stack: str) -> dict[str, Any]:
        """Export a stack's state."""
        done = self.sandbox.pulumi("stack", "export", "--stack", stack, environment=self.environment())
        state: dict[str, Any] = json.loads(done.stdout)["deployment"]
        return state

    def stacks(self) -> set[str]:
        """List the names of all stacks."""
        done = self.sandbox.pulumi("stack", "ls", "--json", environment=self.environment())
        return {stack["name"] for stack in json.loads(done.stdout)}

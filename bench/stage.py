"""The stacks to measure, in separate folders below the sandbox's; nothing of them remains."""

import contextlib
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

from sandbox import paths
from sandbox.stack import Stack

LOAD = {"loadRequests": 50, "loadConcurrency": 5}
"""A small load, to time Watchpost and not the app."""

NOTHING = "import pulumi\n"
"""An empty program."""

PROVIDERS = """import pulumi

for name, settings in {"command": {}, "random": {}, "datadog": {"validate": "false"}}.items():
    pulumi.ProviderResource(name, name, settings)
"""
"""An empty program that makes the engine start Watchpost's plugins."""


@contextlib.contextmanager
def stack(name: str, *hosts: str, customers: bool = False, **settings: object) -> Iterator[Stack]:
    """Prepare a stack with bare machines, not yet brought up; removed afterwards, even if a run was killed.

    ``customers`` and ``settings`` are as for :class:`Stack` and its ``configure``.
    """
    folder = paths.local() / "bench" / name
    with Stack(folder=folder, hosts=hosts or ("vm",), customers=customers).afresh() as stack:
        stack.configure(**LOAD, **settings)
        yield stack


def up(stack: Stack, *words: str) -> None:
    """Bring ``stack`` up."""
    stack.pulumi("up", "--yes", "--skip-preview", "--stack", stack.name, *words)


@dataclass(frozen=True)
class Program:
    """Another program, as a separate project and stack, on the engine and plugins of ``stack``."""

    stack: Stack
    name: str
    source: str

    @property
    def folder(self) -> Path:
        """The project's folder."""
        return self.stack.folder / "programs" / self.name

    def start(self) -> "Program":
        """Create it and bring it up."""
        self.folder.mkdir(parents=True, exist_ok=True)
        runtime = yaml.safe_load((self.stack.folder / "project" / "Pulumi.yaml").read_text())["runtime"]
        (self.folder / "Pulumi.yaml").write_text(yaml.safe_dump({"name": self.name, "runtime": runtime}))
        (self.folder / "__main__.py").write_text(self.source)
        self.pulumi("stack", "init", self.name)
        self.pulumi("up", "--yes", "--skip-preview", "--stack", self.name)
        return self

    def pulumi(self, *words: str) -> None:
        """Run ``pulumi`` on it."""
        subprocess.run(
            ["pulumi", "--non-interactive", "-C", str(self.folder), *words],
            env=self.stack.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            check=True,
        )

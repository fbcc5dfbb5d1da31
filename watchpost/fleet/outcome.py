"""What became of one stack, read off the engine's events."""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from pulumi.automation.events import EngineEvent

MARKUP = re.compile(r"<\{%.*?%\}>")
"""How the engine's messages carry colours."""

COMMAND = re.compile(r': running "(?:[^"\\]|\\.)*"')
"""How pulumi-command's messages carry the whole command, which is a whole script here."""

UNCHANGED = ("same", "read", "refresh")


@dataclass
class Outcome:
    """One operation on one stack: ``failures`` are messages by host, ``error`` is what concerns no single host."""

    stack: str
    hosts: tuple[str, ...]
    changes: Counter[str] = field(default_factory=Counter)
    steps: int = 0
    failures: dict[str, str] = field(default_factory=dict)
    error: str = ""
    failed: bool = False
    seconds: float = 0.0
    parents: dict[str, str] = field(default_factory=dict, repr=False)
    """The parent of each resource: as the state has it before, for what is deleted."""

    @property
    def failed_hosts(self) -> list[str]:
        """The hosts that are not as they should be: all of the stack if it failed before it came to single ones."""
        return sorted(self.failures) or (sorted(self.hosts) if self.failed else [])

    def note(self, event: EngineEvent) -> None:
        """Take in one event of the engine."""
        if before := event.resource_pre_event:
            if before.metadata.new:
                self.parents[before.metadata.urn] = before.metadata.new.parent
            elif before.metadata.old:
                self.parents[before.metadata.urn] = before.metadata.old.parent
        elif after := event.res_outputs_event:
            self.steps += 1
            if after.metadata.op.value not in UNCHANGED:
                self.changes[after.metadata.op.value] += 1
        elif (said := event.diagnostic_event) and said.severity == "error":
            self._fail(said.urn or "", COMMAND.sub("", MARKUP.sub("", said.message)).strip())

    def _fail(self, urn: str, message: str) -> None:
        host = host_of(urn, self.parents)
        if host:
            self.failures.setdefault(host, message)
        elif not self.error or self.error == "update failed":
            self.error = message


def host_of(urn: str, parents: Mapping[str, str]) -> str | None:
    """The host that a resource is on: the name of the ``WatchedHost`` above it. ``None`` for one of no host."""
    while urn:
        kind, _, name = urn.rpartition("::")
        if kind.endswith("watchpost:host:WatchedHost"):
            return name
        urn = parents.get(urn, "")
    return None

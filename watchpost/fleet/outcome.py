"""The outcome of an operation on one stack, collected from the engine's events."""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from pulumi.automation.events import EngineEvent

from watchpost.changes import MARKUP, UNCHANGED

COMMAND = re.compile(r': running "(?:[^"\\]|\\.)*"')
"""The full command in pulumi-command's messages, here an entire script."""


@dataclass
class Outcome:
    """One operation on one stack: ``failures`` are messages by host, ``error`` is one that concerns no single host."""

    stack: str
    hosts: tuple[str, ...]
    changes: Counter[str] = field(default_factory=Counter)
    steps: int = 0
    failures: dict[str, str] = field(default_factory=dict)
    error: str = ""
    failed: bool = False
    seconds: float = 0.0
    parents: dict[str, str] = field(default_factory=dict, repr=False)
    """The parent of each resource; for deleted ones, from the previous state."""

    @property
    def failed_hosts(self) -> list[str]:
        """The hosts that failed; all of the stack's hosts if it failed without naming one."""
        return sorted(self.failures) or (sorted(self.hosts) if self.failed else [])

    def document(self) -> dict[str, object]:
        """Return the outcome for other programs: ``failures`` by host, ``error`` if it concerns no single host."""
        return {
            "stack": self.stack,
            "hosts": list(self.hosts),
            "changes": dict(self.changes),
            "failed": self.failed,
            "failures": self.failures,
            "error": "" if self.failures else self.error,
            "seconds": round(self.seconds, 1),
        }

    def note(self, event: EngineEvent) -> None:
        """Record one event of the engine."""
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
    """Return a resource's host, the name of its ``WatchedHost`` ancestor; ``None`` if it has none."""
    while urn:
        kind, _, name = urn.rpartition("::")
        if kind.endswith("watchpost:host:WatchedHost"):
            return name
        urn = parents.get(urn, "")
    return None

"""What became of one stack: read off the engine's events while it is at work."""

import re
from collections import Counter
from collections.abc import Iterable
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
    _parents: dict[str, str] = field(default_factory=dict, repr=False)

    @property
    def failed_hosts(self) -> list[str]:
        """The hosts that are not as they should be: all of the stack if it failed before it came to single ones."""
        return sorted(self.failures) or (sorted(self.hosts) if self.failed else [])

    def note(self, event: EngineEvent) -> None:
        """Take in one event of the engine."""
        if before := event.resource_pre_event:
            if before.metadata.new:
                self._parents[before.metadata.urn] = before.metadata.new.parent
            elif before.metadata.old:
                self._parents[before.metadata.urn] = before.metadata.old.parent
        elif after := event.res_outputs_event:
            self.steps += 1
            if after.metadata.op.value not in UNCHANGED:
                self.changes[after.metadata.op.value] += 1
        elif (said := event.diagnostic_event) and said.severity == "error":
            self._fail(said.urn or "", COMMAND.sub("", MARKUP.sub("", said.message)).strip())

    def _fail(self, urn: str, message: str) -> None:
        host = host_of(urn, self._parents.get(urn, ""), self.hosts)
        if host:
            self.failures.setdefault(host, message)
        elif not self.error or self.error == "update failed":
            self.error = message


def host_of(urn: str, parent: str, hosts: Iterable[str]) -> str | None:
    """The host to which a resource belongs, by the URNs of it and of its parent: ``None`` for one of no host.

    A host's component bears its name; the other components of it are named HOST-WHAT.
    """
    for identifier in (parent, urn):
        kind, _, name = identifier.rpartition("::")
        if kind.endswith("watchpost:host:Host") and name in hosts:
            return name
        if found := [host for host in hosts if name.startswith(f"{host}-")]:
            return max(found, key=len)
    return None

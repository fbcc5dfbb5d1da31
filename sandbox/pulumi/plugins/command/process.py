"""A running command: what goes in, what comes out, and how its failure is told."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from sandbox.pulumi.plugins.serve import PluginError

STDOUT_VARIABLE = "PULUMI_COMMAND_STDOUT"
STDERR_VARIABLE = "PULUMI_COMMAND_STDERR"

LOGGED = {
    None: {"stdout", "stderr"},
    "stdout": {"stdout"},
    "stderr": {"stderr"},
    "stdoutAndStderr": {"stdout", "stderr"},
    "none": set[str](),
}
"""The streams that each value of ``logging`` shows."""

CHUNK = 32 * 1024

LONGEST_LINE = 64 * 1024
"""Bytes of a line that is shown: one as long as that stops the real plugin for good, since nobody reads on behind it.

Source: bufio.MaxScanTokenSize in LogOutput, https://github.com/pulumi/pulumi-command/blob/v1.2.1/provider/pkg/provider/util/util.go
"""

Say = Callable[[str], Awaitable[None]]
"""Shows one line with the resource while it is at work."""


class Reader(Protocol):
    """The side of a process that the plugin reads, of a subprocess or of an SSH channel."""

    async def read(self, n: int = -1, /) -> bytes: ...


@dataclass
class Output:
    """What a command wrote: each stream by itself, and both in the order in which they came."""

    logging: str | None
    say: Say
    streams: dict[str, bytearray] = field(default_factory=lambda: {"stdout": bytearray(), "stderr": bytearray()})
    both: bytearray = field(default_factory=bytearray)
    line: bytes = b""

    async def gather(self, **readers: Reader) -> None:
        """Read each stream to its end, showing its lines as they come."""
        await asyncio.gather(*(self._gather(name, reader) for name, reader in readers.items()))
        if self.line:
            await self.say(_text(self.line))

    async def _gather(self, name: str, reader: Reader) -> None:
        shown = name in LOGGED[self.logging]
        while chunk := await reader.read(CHUNK):
            self.streams[name] += chunk
            self.both += chunk
            if shown:
                await self._show(chunk)

    async def _show(self, chunk: bytes) -> None:
        """Show each line that ``chunk`` ends; what is shown of the two streams comes through one pipe."""
        *lines, rest = (self.line + chunk).split(b"\n")
        if any(len(line) >= LONGEST_LINE for line in (*lines, rest)):
            await asyncio.Event().wait()  # for good
        self.line = rest
        for whole in lines:
            await self.say(_text(whole.removesuffix(b"\r")))

    def stored(self) -> dict[str, str]:
        """The two streams as the state keeps them, each without its last newline."""
        return {name: _text(content).removesuffix("\n") for name, content in self.streams.items()}

    def failure(self, reason: str, command: str) -> PluginError:
        """The error of a command that failed for ``reason``: the whole command and all that it wrote."""
        return PluginError(f"{reason}: running {json.dumps(command, ensure_ascii=False)}:\n{_text(self.both)}")


def previous_output(state: Mapping[str, Any]) -> dict[str, str]:
    """The variables by which a command sees what the one before it wrote."""
    if state.get("addPreviousOutputInEnv") is False:
        return {}
    given = {STDOUT_VARIABLE: state.get("stdout"), STDERR_VARIABLE: state.get("stderr")}
    return {name: value for name, value in given.items() if value}


def _text(content: bytes | bytearray) -> str:
    return content.decode(errors="replace")

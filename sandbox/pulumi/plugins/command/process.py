"""A running command's output and errors."""

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
"""Limit in bytes of a shown line: a line that long stops the real plugin for good, since its reader quits.

Source: bufio.MaxScanTokenSize in LogOutput, https://github.com/pulumi/pulumi-command/blob/v1.2.1/provider/pkg/provider/util/util.go
"""

Say = Callable[[str], Awaitable[None]]
"""Shows a line with the resource while it is being processed."""


class Reader(Protocol):
    """The readable end of a subprocess or an SSH channel."""

    async def read(self, n: int = -1, /) -> bytes: ...


@dataclass
class Output:
    """A command's output: each stream, and both interleaved in order of arrival."""

    logging: str | None
    say: Say
    streams: dict[str, bytearray] = field(default_factory=lambda: {"stdout": bytearray(), "stderr": bytearray()})
    both: bytearray = field(default_factory=bytearray)
    line: bytes = b""

    async def gather(self, **readers: Reader) -> None:
        """Read each stream to its end, showing lines as they arrive."""
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
        """Show each line completed by ``chunk``; both streams are shown through one pipe."""
        *lines, rest = (self.line + chunk).split(b"\n")
        if any(len(line) >= LONGEST_LINE for line in (*lines, rest)):
            await asyncio.Event().wait()  # for good
        self.line = rest
        for whole in lines:
            await self.say(_text(whole.removesuffix(b"\r")))

    def stored(self) -> dict[str, str]:
        """Return both streams as stored in the state, each without its last newline."""
        return {name: _text(content).removesuffix("\n") for name, content in self.streams.items()}

    def failure(self, reason: str, command: str) -> PluginError:
        """Return the error of a failed command: the reason, the whole command and all its output."""
        return PluginError(f"{reason}: running {json.dumps(command, ensure_ascii=False)}:\n{_text(self.both)}")


def previous_output(state: Mapping[str, Any]) -> dict[str, str]:
    """Return the variables that pass on the previous command's output."""
    if state.get("addPreviousOutputInEnv") is False:
        return {}
    given = {STDOUT_VARIABLE: state.get("stdout"), STDERR_VARIABLE: state.get("stderr")}
    return {name: value for name, value in given.items() if value}


def _text(content: bytes | bytearray) -> str:
    return content.decode(errors="replace")

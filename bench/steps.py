"""The steps that a stack has taken on its host, read off its state, and the same done by hand."""

import base64
import json
import re
import shlex
import subprocess
from dataclasses import dataclass
from typing import Any

from sandbox.machine import Machine
from sandbox.progress import SandboxError
from sandbox.stack import Stack


@dataclass(frozen=True, kw_only=True)
class Step:
    """One remote command: the shell command line and what it reads, secrets included."""

    name: str
    command: str
    stdin: str

    @property
    def content(self) -> str:
        """What the script itself reads: without the line that says who claims the machine."""
        return self.stdin.partition("\n")[2]

    @property
    def script(self) -> str:
        """The script of ``files/`` that it runs."""
        return self.command.rpartition(" ")[0].rpartition(" ")[2]

    @property
    def variables(self) -> dict[str, str]:
        """The script's variables."""
        # Behind the line that hands the command to bash.
        words = shlex.split(re.split(r"(?:^| )bash -c '", self.command.partition("\n")[2], maxsplit=1)[0])
        return {name: value for name, equals, value in (word.partition("=") for word in words) if equals}


def steps(stack: Stack) -> list[Step]:
    """The steps of ``stack``, each after those that it depends on."""
    exported = json.loads(stack.pulumi("stack", "export", "--show-secrets", "--stack", stack.name).stdout)
    return [
        Step(
            name=resource["urn"].rpartition("::")[2],
            command=resource["inputs"]["create"],
            stdin=_plain(resource["inputs"].get("stdin", "")),
        )
        for resource in exported["deployment"]["resources"]
        if resource["type"] == "command:remote:Command"
    ]


def _plain(value: Any) -> str:
    return str(json.loads(value["plaintext"]) if isinstance(value, dict) else value)


def by_hand(machine: Machine, steps: list[Step]) -> None:
    """Run ``steps`` one after the other in one SSH session.

    Raises:
        SandboxError: one of them failed.
    """
    lines = [f"echo {_packed(step.stdin)} | base64 -d | bash -c {_unpacked(step.command)}" for step in steps]
    done = subprocess.run(
        [*machine.ssh(), "bash", "-eu", "-o", "pipefail", "-s"],
        input="\n".join([*lines, ""]),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SandboxError(f"the scripts failed by hand: {done.stdout[-1000:]}{done.stderr[-1000:]}")


def _packed(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def _unpacked(text: str) -> str:
    return f'"$(echo {_packed(text)} | base64 -d)"'

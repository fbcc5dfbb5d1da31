"""Reads a stack's steps from its state, and runs the same steps by hand."""

import base64
import json
import subprocess
from dataclasses import dataclass

from components.step_command import StepCommand
from sandbox.machine import Machine
from sandbox.progress import SandboxError
from sandbox.stack import Stack
from watchpost.stack import name_of, plain, resources


@dataclass(frozen=True, kw_only=True)
class Step:
    """One remote command: its command line and standard input, secrets included."""

    name: str
    command: str
    stdin: str

    @property
    def content(self) -> str:
        """The script's own input: without the owner line."""
        return self.stdin.partition("\n")[2]

    @property
    def script(self) -> str:
        """The script in ``files/`` that it runs."""
        return f"files/{StepCommand.parse(self.command).script}"

    @property
    def variables(self) -> dict[str, str]:
        """The script's variables."""
        return dict(StepCommand.parse(self.command).variables)


def steps(stack: Stack) -> list[Step]:
    """Return the steps of ``stack``, in dependency order."""
    exported = json.loads(stack.pulumi("stack", "export", "--show-secrets", "--stack", stack.name).stdout)
    return [
        Step(
            name=name_of(resource),
            command=resource["inputs"]["create"],
            stdin=plain(resource["inputs"].get("stdin", "")),
        )
        for resource in resources(exported["deployment"], "command:remote:Command")
    ]


def by_hand(machine: Machine, steps: list[Step]) -> None:
    """Run ``steps`` in order, in one SSH session.

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

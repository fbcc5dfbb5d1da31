"""Runs single steps of ``files/`` on a machine, as the program does, without the engine."""

import base64
import gzip
import shlex
import subprocess
from collections.abc import Mapping

from components import step_command, templates
from components.step_command import StepCommand, library
from sandbox.machine import Machine

Done = subprocess.CompletedProcess[str]


OWNER = "tests/host"
"""The machine's owner."""


LIBRARY = "/run/systemd/tests-library"
"""The machine's library of files that scripts share."""


def claimed(command: str) -> str:
    """Wrap a step's command to claim the machine for :data:`OWNER`, and to bring along the library that it needs.

    Both are out of sight of Watchpost's own.
    """
    shared = base64.b64encode(gzip.compress(library().encode())).decode()
    keep = shlex.quote(templates.text("host/library.sh").replace(step_command.LIBRARY, LIBRARY))
    return (
        f"[ -e /run/systemd/tests-owner ] || echo {OWNER} | sudo -n tee /run/systemd/tests-owner >/dev/null\n"
        f"[ -e {LIBRARY}/{step_command.library_name(step_command.SHARED[-1])} ] ||"
        f" echo {shared} | base64 -d | gunzip | sudo -n env LC_ALL=C.UTF-8 bash -c {keep} library apply\n"
        + command.replace("claim=/var/lib/watchpost/owner", "claim=/run/systemd/tests-owner", 1).replace(
            step_command.LIBRARY, LIBRARY
        )
    )


def step(machine: Machine, script: str, verb: str, variables: Mapping[str, str | int], stdin: str = "") -> Done:
    """Run a step and return its result, success or failure."""
    command = claimed(StepCommand.of(script, verb, variables, sudo=False).render())
    return machine.run(command, check=False, input=f"{OWNER}\n{stdin}")


def went_well(done: Done) -> str:
    """Assert that the step succeeded; return its output."""
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def sentence(done: Done) -> str:
    """Assert that the step failed with one sentence; return it."""
    assert done.returncode == 1, done.stdout + done.stderr
    found = [line for line in done.stderr.splitlines() if line.startswith("watchpost: ")]
    assert len(found) == 1, done.stderr
    return found[0].removeprefix("watchpost: ")


def in_background(machine: Machine, unit: str, command: str) -> None:
    """Run a shell command on the machine until it ends or the unit is stopped."""
    machine.run(f"systemd-run --quiet --collect --unit {unit} bash -c {shlex.quote(command)}")


def hold_lock(machine: Machine, path: str, seconds: float) -> None:
    """Hold a lock as another apt would, for some seconds; returns once it is held."""
    program = (
        "import fcntl, sys, time; lock = open(sys.argv[1], 'w'); fcntl.lockf(lock, fcntl.LOCK_EX);"
        " open('/run/held', 'w').close(); time.sleep(float(sys.argv[2]))"
    )
    machine.run("rm -f /run/held")
    in_background(machine, "held-lock", f"python3 -c {shlex.quote(program)} {path} {seconds}; rm -f /run/held")
    machine.run("timeout 20 bash -c 'until [ -e /run/held ]; do sleep 0.1; done'")

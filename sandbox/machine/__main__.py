"""Manual control: ``python -m sandbox.machine start|stop|reset NAME FOLDER`` or ``run NAME FOLDER COMMAND``."""

import argparse
import shlex
import sys
from pathlib import Path

from sandbox.machine import Machine
from sandbox.progress import SandboxError


def main() -> None:
    """Start, stop or reset a machine, or run a command on it as root."""
    parser = argparse.ArgumentParser(prog="python -m sandbox.machine", description=__doc__)
    parser.add_argument("action", choices=("start", "stop", "reset", "run"))
    parser.add_argument("name")
    parser.add_argument("folder", type=Path)
    parser.add_argument("command", nargs="?", default="true")
    given = parser.parse_args()
    machine = Machine(given.name, given.folder)
    if given.action == "stop":
        machine.stop()
    elif given.action == "run":
        done = machine.run(given.command, check=False)
        sys.stdout.write(done.stdout)
        sys.stderr.write(done.stderr)
        sys.exit(done.returncode)
    else:
        machine.start() if given.action == "start" else machine.reset()
        print(shlex.join(machine.ssh()))


if __name__ == "__main__":
    try:
        main()
    except SandboxError as error:
        sys.exit(str(error))

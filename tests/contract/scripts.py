"""Runs scripts of ``files/`` as the program does, with fake programs for them to call."""

import os
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from unittest import mock

from components import step_command, templates
from components.step_command import StepCommand

Done = subprocess.CompletedProcess[str]


def command(script: str, verb: str, variables: Mapping[str, str | int]) -> list[str]:
    """Return a step's command, as sshd passes it to root's shell, on a machine claimed for it.

    Its report is printed as is, and its standard input has no owner line.
    """
    bare = """[ "$result" = null ] || sed 's/^"\\(.*\\)"$/\\1/' <<<"$result\""""
    # Instead of step.sh's finish, and of the library on a host.
    with mock.patch.multiple(step_command, END=bare, LIBRARY=str(library())):
        line = StepCommand.of(script, verb, variables, sudo=False).render()
    owned = line.replace(
        "read -r claimant\nclaim=/var/lib/watchpost/owner\n", "claimant=tests/host\nclaim=/dev/fd/8\n", 1
    )
    assert owned != line
    return ["bash", "-c", f"exec 8<<<tests/host\n{owned}"]


@cache
def library() -> Path:
    """Write the files that scripts share to a folder that everybody may read."""
    folder = Path(tempfile.mkdtemp(prefix="library-"))
    folder.chmod(0o755)
    for path in step_command.SHARED:
        (folder / step_command.library_name(path)).write_text(templates.text(path))
    return folder


def run(
    script: str,
    verb: str = "apply",
    *,
    variables: Mapping[str, str | int],
    stdin: str = "",
    programs: Path | None = None,
    inside: Sequence[str | Path] = (),
) -> Done:
    """Run a step to completion, with ``programs`` first on PATH, within the command ``inside``."""
    path = os.pathsep.join([*([str(programs)] if programs else []), os.environ["PATH"]])
    return subprocess.run(
        [*inside, *command(script, verb, variables)],
        input=stdin,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def stand_in(folder: Path, name: str, text: str) -> None:
    """Write the shell script ``text`` as the program ``name`` in ``folder``."""
    folder.mkdir(exist_ok=True)
    file = folder / name
    file.write_text(f"#!/bin/sh\n{text}\n")
    file.chmod(0o755)

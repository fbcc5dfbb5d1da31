"""Renders and parses the command line of a step on a host."""

import hashlib
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath
from typing import Self

from components import templates

LIBRARY = "/var/lib/watchpost/library"
"""The folder on a host with the files of ``files/`` that scripts share, so that each is sent and stored once."""

SHARED = ("host/mask.py", "host/cause.sh", "host/folder.sh", "host/dpkg.sh")
"""Those files."""

USE = re.compile(r"(?<=^use )files/(\S+)$|(?<=\bmask=)files/(\S+)$", re.MULTILINE)
"""Where a script names one of them, by its path in the clone."""

BEGIN, END = "host/step.sh", 'finish "$1"'
"""The prologue and epilogue of every script."""

MASKED = "host/masked.sh"
"""The prologue of a step that handles secrets; it masks them in the output."""

CSH = (
    """test -z "$shell" || eval 'exec env WATCHPOST=`base64 -w0 /proc/$$/cmdline` bash -c '"'"'"""
    """mapfile -d "" -t words < <(base64 -d <<<"$WATCHPOST"); unset WATCHPOST; exec bash -c "${words[2]}"'"'"\n"""
)
"""Hands the whole command to bash if the login shell is a csh, recognized by its variable ``shell``.

A csh reads a command line by line and can't quote across lines; all other shells continue with the next line.
"""

_WORD = re.compile(r"(?:'[^']*'|\\.|[^\s'\\])+", re.DOTALL)
_QUOTED = re.compile(r"'([^']*)'|\\(.)", re.DOTALL)


@dataclass(frozen=True, kw_only=True)
class StepCommand:
    """``script``, a path under ``files/``, run for ``verb``, such as ``apply``, with ``variables`` set.

    ``text`` is the bash code, free of secrets; standard input is left to the script.

    >>> step = StepCommand(script="host/x.sh", verb="apply", variables={"path": "it's"}, sudo=True, text="echo 'a'!")
    >>> StepCommand.parse(step.render()) == step
    True
    """

    script: str
    verb: str
    text: str = field(repr=False)
    variables: Mapping[str, str] = field(default_factory=dict)
    sudo: bool = False

    @classmethod
    def of(
        cls, script: str, verb: str, variables: Mapping[str, str | int], *, sudo: bool, masked: bool = False
    ) -> Self:
        """Build the command for a script in ``files/``; if ``masked``, its output shows nothing of standard input."""
        parts = [*([MASKED] if masked else []), BEGIN, script]
        text = "\n".join(templates.text(part).rstrip("\n") for part in parts)
        text = USE.sub(lambda file: f"{LIBRARY}/{library_name(file[1] or file[2])}", f"{text}\n{END}")
        values = {name: str(value) for name, value in variables.items()}
        return cls(script=script, verb=verb, text=text, variables=values, sudo=sudo)

    @classmethod
    def parse(cls, command: str) -> Self:
        """Parse a command that :meth:`render` wrote, in this version or an earlier one.

        Raises:
            ValueError: the command isn't a step of Watchpost.
        """
        line = command.partition("\n")[2] if command.startswith('test -z "$shell"') else command
        words = [
            _QUOTED.sub(lambda part: part[1] if part[2] is None else part[2], word) for word in _WORD.findall(line)
        ]
        match words:
            case [*before, "bash", "-c", text, script, ("apply" | "check" | "remove") as verb]:
                sudo = before[:2] == ["sudo", "-n"]
                assignments = [word.partition("=") for word in before if "=" in word]
                return cls(
                    script=script.removeprefix("files/"),
                    verb=verb,
                    text=text,
                    variables={name: value for name, _, value in assignments},
                    sudo=sudo,
                )
        raise ValueError(f"no step of Watchpost: {command[:80]!r}")

    def with_verb(self, verb: str) -> Self:
        """Return the same step with another verb."""
        return replace(self, verb=verb)

    def render(self) -> str:
        """Render the command; it works in any login shell."""
        assignments = [f"{name}={_word(value)}" for name, value in self.variables.items()]
        words = [*(["sudo", "-n"] if self.sudo else []), *(["env", *assignments] if assignments else [])]
        return f"{CSH}{' '.join([*words, 'bash', '-c', _word(self.text)])} files/{self.script} {self.verb}"


def library_name(path: str) -> str:
    """Return a shared file's name on a host; it changes with the content, so scripts that use the file run again."""
    file = PurePosixPath(path)
    return f"{file.stem}-{hashlib.sha256(templates.text(path).encode()).hexdigest()[:12]}{file.suffix}"


def library() -> str:
    """Render the shared files as ``host/library.sh`` reads them: each after a line with its name and length."""
    texts = {library_name(path): templates.text(path) for path in SHARED}
    return "".join(f"{name} {len(text)}\n{text}" for name, text in texts.items())


def _word(text: str) -> str:
    """Quote ``text`` as one word for any shell, with what csh or fish expand inside quotes escaped outside of them."""
    if text and shlex.quote(text) == text:
        return text
    return "'" + re.sub(r"['\\!]", r"'\\\g<0>'", text) + "'"

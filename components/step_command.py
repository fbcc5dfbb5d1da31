"""The command line of a step on a host: the only place that writes one, and takes one apart again."""

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Self

from components import templates

INCLUDE = re.compile(r"^\. files/(\S+)\n", re.MULTILINE)
"""A line of a script that stands for another file of ``files/``, since hosts have none of them."""

BEGIN, END = "host/step.sh", 'finish "$1"'
"""What precedes and follows every script."""

MASKED = "host/masked.sh"
"""What precedes a step that handles secrets, so that nothing that it prints shows them."""

CSH = (
    """test -z "$shell" || eval 'exec env WATCHPOST=`base64 -w0 /proc/$$/cmdline` bash -c '"'"'"""
    """mapfile -d "" -t words < <(base64 -d <<<"$WATCHPOST"); unset WATCHPOST; exec bash -c "${words[2]}"'"'"\n"""
)
"""Hands the whole command to bash where the login shell is of csh's family, the one with a variable ``shell``.

Such a shell reads a command line by line and can't quote across lines; all others go on to the next line.
"""

_WORD = re.compile(r"(?:'[^']*'|\\.|[^\s'\\])+", re.DOTALL)
_QUOTED = re.compile(r"'([^']*)'|\\(.)", re.DOTALL)


@dataclass(frozen=True, kw_only=True)
class StepCommand:
    """``script``, a path under ``files/``, run for ``verb``, such as ``apply``, with ``variables`` set.

    ``text`` is the bash that does it, free of secrets; standard input is the script's own.

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
        """The command for a script as it stands in ``files/`` now; ``masked``, it prints nothing of standard input."""
        parts = [*([MASKED] if masked else []), BEGIN, script]
        text = "\n".join(templates.text(part).rstrip("\n") for part in parts)
        text = INCLUDE.sub(lambda line: templates.text(line[1]), f"{text}\n{END}")
        values = {name: str(value) for name, value in variables.items()}
        return cls(script=script, verb=verb, text=text, variables=values, sudo=sudo)

    @classmethod
    def parse(cls, command: str) -> Self:
        """The step of a command that :meth:`render` has written, be it of an earlier version.

        Raises:
            ValueError: it isn't one.
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
        """The same step for another verb."""
        return replace(self, verb=verb)

    def render(self) -> str:
        """The command for any login shell."""
        assignments = [f"{name}={_word(value)}" for name, value in self.variables.items()]
        words = [*(["sudo", "-n"] if self.sudo else []), *(["env", *assignments] if assignments else [])]
        return f"{CSH}{' '.join([*words, 'bash', '-c', _word(self.text)])} files/{self.script} {self.verb}"


def _word(text: str) -> str:
    """``text`` as one word of any shell: in quotes, except for what csh or fish would take for something there."""
    if text and shlex.quote(text) == text:
        return text
    return "'" + re.sub(r"['\\!]", r"'\\\g<0>'", text) + "'"

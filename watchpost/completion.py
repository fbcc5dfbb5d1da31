"""Shell completion of commands, options and stack names.

Source: https://click.palletsprojects.com/en/stable/shell-completion/
"""

import re
import shlex
import sys

import click
from click.shell_completion import get_completion_class

from settings.project import ROOT

NAME = "watchpost"
"""The command's name in a shell with completion."""

FUNCTIONS = {
    "bash": 'watchpost() { PROGRAM "$@"; }',
    "zsh": 'watchpost() { PROGRAM "$@"; }',
    "fish": "function watchpost\n    PROGRAM $argv\nend",
}
"""The shell functions that define the command, since no such program is on PATH."""


def source(shell: str, root: click.Command) -> str:
    """Generate code for ``shell`` that defines the command :data:`NAME`, usable from any folder, and its completion."""
    program = f"env PYTHONPATH={shlex.quote(str(ROOT))} {shlex.quote(sys.executable)} -m {__package__}"
    kind = get_completion_class(shell)
    assert kind is not None  # click knows each of FUNCTIONS
    code = kind(root, {}, NAME, f"_{NAME.upper()}_COMPLETE").source()
    # Click's code runs the program by name through `env`, which can't run a shell function.
    code = re.sub(rf"(_COMPLETE={shell}_complete) (?:\$1|{NAME})", lambda found: f"{found[1]} {program}", code)
    code = "".join(line for line in code.splitlines(keepends=True) if "$+commands[" not in line)
    return f"{FUNCTIONS[shell].replace('PROGRAM', program)}\n{code}"


@click.command()
@click.argument("shell", type=click.Choice(list(FUNCTIONS)))
@click.pass_context
def command(context: click.Context, shell: str) -> None:
    """Print code for shell completion.

    It also defines the command `watchpost`, which runs from any folder.

    \b
    bash, zsh   eval "$(.venv/bin/python -m watchpost completion bash)"
    fish        .venv/bin/python -m watchpost completion fish | source
    """
    click.echo(source(shell, context.find_root().command), nl=False)

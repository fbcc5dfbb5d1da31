"""Operate Watchpost stacks: find drift, recover from interrupted updates, send snapshots, and run fleets of hosts.

Datadog's keys are those of the stack's configuration, else DD_API_KEY and DD_APP_KEY. Guide: docs/operating.md.
"""

import sys
from collections.abc import Sequence

try:
    import click
except ModuleNotFoundError:  # another Python than the project's
    sys.exit("watchpost: run it with the Python of the virtual environment: .venv/bin/python -m watchpost ...")

from watchpost import changes, completion, drift, recover, snapshot
from watchpost.errors import WatchpostError
from watchpost.fleet import commands as fleet


@click.group(help=__doc__, context_settings={"help_option_names": ["-h", "--help"]})
def watchpost() -> None:
    """Group all commands."""


for name, command in {
    "drift": drift.command,
    "recover": recover.command,
    "snapshot": snapshot.command,
    "changes": changes.command,
    "fleet": fleet.commands,
    "completion": completion.command,
}.items():
    watchpost.add_command(command, name)


def main(words: Sequence[str]) -> int:
    """Run a command and return its exit code; failures print one sentence instead of a traceback."""
    try:
        watchpost(words, prog_name="python -m watchpost", complete_var="_WATCHPOST_COMPLETE", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except WatchpostError as error:
        print(f"watchpost: {error}", file=sys.stderr)
        return 1
    except click.Abort:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

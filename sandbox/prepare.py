"""Builds the slow, cached parts in parallel; ``python -m sandbox.prepare``.

Uses only the standard library, so ``make up`` runs it while the virtual environment is installed.
"""

import sys
from pathlib import Path

from sandbox import machine, runs
from sandbox.machine import tree
from sandbox.progress import SandboxError
from sandbox.pulumi import engine


def ensure(*, trees: bool = True) -> Path:
    """Return the engine's folder; if it has to be built, build the machines' tree meanwhile (with ``trees``).

    Raises:
        SandboxError: one of them isn't available here; the message says what to do.
    """
    return engine.ensure(*([_tree] if trees else []))


def _tree() -> None:
    machine.require()
    tree.ensure()


def main() -> None:
    """Build everything; errors are one sentence, and an interruption leaves nothing running."""
    run = runs.begin()
    try:
        ensure()
        _tree()
    except (SandboxError, KeyboardInterrupt) as error:
        sys.exit(130 if isinstance(error, KeyboardInterrupt) else f"watchpost: {error}")
    finally:
        if run is not None:
            run.end()


if __name__ == "__main__":
    main()

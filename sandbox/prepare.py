"""Makes what takes minutes and stays in the user's cache, side by side; ``python -m sandbox.prepare``.

It needs nothing but the standard library, so ``make up`` runs it while the virtual environment is installed.
"""

import sys
from pathlib import Path

from sandbox import machine, runs
from sandbox.machine import tree
from sandbox.progress import SandboxError
from sandbox.pulumi import engine


def ensure(*, trees: bool = True) -> Path:
    """Return the engine's folder; where that has to be built, the machines' tree is made meanwhile, if ``trees``.

    Raises:
        SandboxError: one of them can't be had here; the message says what to do.
    """
    return engine.ensure(*([_tree] if trees else []))


def _tree() -> None:
    machine.require()
    tree.ensure()


def main() -> None:
    """Make all of it; a fault is one sentence, and an interruption leaves nothing running."""
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

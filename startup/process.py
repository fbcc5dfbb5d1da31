"""Tunes the interpreter for a short process."""

import atexit
import gc
import os

import pulumi

DEBUG = "WATCHPOST_DEBUG"
"""The environment variable that has Pulumi's SDK send its debug messages, which `pulumi up --debug` shows."""

YOUNG = 50_000
"""How many new objects there are when garbage is looked for; by default 700, which imports make again and again."""


def tune() -> None:
    """Save work that a short process doesn't need done; call it before anything is registered."""
    gc.set_threshold(YOUNG)
    # What is frozen isn't looked through for garbage when the interpreter ends.
    atexit.register(gc.freeze)
    if not os.environ.get(DEBUG):
        # The SDK sends some for each resource, and waits for the engine to take each, which throws it away (`_log` in
        # sdk/python/lib/pulumi/log.py). This can go once the SDK asks whether anybody wants them.
        pulumi.log.debug = _unsent


def _unsent(*_: object, **__: object) -> None: ...

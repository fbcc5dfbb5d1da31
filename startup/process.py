"""Tunes the interpreter for a short-lived process."""

import atexit
import gc
import os

import pulumi

DEBUG = "WATCHPOST_DEBUG"
"""The environment variable that keeps the SDK's debug messages, which `pulumi up --debug` shows."""

YOUNG = 50_000
"""The garbage collector's first threshold, in new objects; the default of 700 is exceeded over and over by imports."""


def tune() -> None:
    """Skip work that a short-lived process doesn't need; call it before any resource is registered."""
    gc.set_threshold(YOUNG)
    # The collector skips frozen objects when the interpreter exits.
    atexit.register(gc.freeze)
    if not os.environ.get(DEBUG):
        # For each resource the SDK sends debug messages and waits for the engine, which discards them (`_log` in
        # sdk/python/lib/pulumi/log.py). Remove once the SDK checks whether they are wanted.
        pulumi.log.debug = _unsent


def _unsent(*_: object, **__: object) -> None: ...

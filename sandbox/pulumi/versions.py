"""Pulumi versions. ``make update`` upgrades them; ``tests/contract/test_pins.py`` holds all files to them."""

ENGINE = "3.274.1"
"""The CLI that the sandbox builds and the workflows install: the newest ``pkg/v3`` that the Go module proxy serves.

Pulumi tags that module after publishing the release on GitHub, so the workflows find one.
Source: https://github.com/pulumi/pulumi/blob/master/.github/workflows/on-push.yml
"""

SDK = "3.272.0"
"""The Python SDK of the program and its policy pack: the newest on PyPI."""

LOWEST = "3.259.0"
"""``requiredPulumiVersion``: the oldest engine that the tests pass with."""

LANGUAGE_HOST = "3.79.0"
"""The sandbox's Python language host: the last one in a module that the Go module proxy serves, ``sdk/v3``.

Later ones are in a separate module, which the proxy doesn't serve. This old host works with today's engine and SDK,
except, on the sandbox only:

- Python policy packs and plugins don't start: it misreads the engine's newer ``RunPlugin`` request and runs the program
  instead. Executables do (``tests/engine/test_policy.py``).
- It ignores the project's ``virtualenv`` and ``toolchain``: the environment's ``bin`` has to be first on PATH.
- An interrupted program ends with a traceback; ``engine`` removes that when it builds the host.
"""

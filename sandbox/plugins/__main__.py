"""A stand-in plugin by itself, ``python -m sandbox.plugins NAME ENGINE``: what the engine starts where no pool is."""

import argparse
import os
import sys

from sandbox.plugins import serve


def main() -> None:
    """Serve until the engine that started this process is gone: a plugin must not outlive it."""
    parser = argparse.ArgumentParser(description="A stand-in for one of Pulumi's plugins, started by the engine.")
    parser.add_argument("name", choices=serve.PROVIDERS)
    parser.add_argument("engine", nargs="?", default="", help="the engine's address")
    options, _ = parser.parse_known_args()
    parent = os.getppid()
    serve.run(options.name, options.engine, say=_print, lives=lambda: os.getppid() == parent)


def _print(port: str) -> None:
    sys.stdout.write(port)
    sys.stdout.flush()


if __name__ == "__main__":
    main()

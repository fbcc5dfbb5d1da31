"""Serves a stand-in plugin without a pool.

``python -m sandbox.pulumi.plugins NAME ENGINE``
"""

import os
import sys

from sandbox.pulumi.plugins import serve


def main() -> None:
    """Serve until the engine that started this process is gone."""
    parent = os.getppid()
    serve.run(sys.argv[1:], say=_print, lives=lambda: os.getppid() == parent)


def _print(port: str) -> None:
    sys.stdout.write(port)
    sys.stdout.flush()


if __name__ == "__main__":
    main()

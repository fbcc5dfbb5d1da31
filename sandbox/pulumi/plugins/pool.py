"""Pre-forks a stack's stand-in plugins, as long as FOLDER exists.

``python -m sandbox.pulumi.plugins.pool NAME FOLDER``

For each ``launch.py`` that the engine starts, the pool forks a copy of itself from before anything was served, with
everything imported. The copy adopts that process's environment and folder, and ends with it. The pool ends when a
module that it has imported changes on disk, so the engine never runs stale code.
"""

import gc
import os
import select
import signal
import socket
import sys
import threading
from pathlib import Path

from sandbox import paths
from sandbox.pulumi.plugins import peer, serve

LOOK = 2.0
"""Seconds between checks of the folder."""


def _sources() -> list[str]:
    """Return the source files of the clone's imported modules."""
    files = [str(getattr(module, "__file__", None)) for module in list(sys.modules.values())]
    return [file for file in files if file.startswith(f"{paths.ROOT / 'sandbox'}{os.sep}")]


def _modified(sources: list[str]) -> list[float]:
    """Return their modification times."""
    return [os.path.getmtime(file) if os.path.exists(file) else 0 for file in sources]  # noqa: PTH110, PTH204 - quicker


def main(address: str, folder: Path) -> None:
    """Fork copies until the folder is gone or the code has changed."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(f"\0{address}")
    for package in serve.PROVIDERS:
        serve.provider(package)
        serve.version(package)
    gc.collect()
    gc.freeze()  # keeps a copy's garbage collection off shared memory
    sources = _sources()
    modified = _modified(sources)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    listener.listen()
    while folder.exists() and _modified(sources) == modified:
        if not select.select([listener], [], [], LOOK)[0]:
            continue
        connection, _ = listener.accept()
        process, user = peer(connection)
        if user == os.getuid() and _modified(sources) == modified and not os.fork():
            listener.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            _stand_in(connection, process, address)
        connection.close()


def _stand_in(connection: socket.socket, process: int, address: str) -> None:
    """In a copy: serve as the plugin for ``process``, started by the engine, as long as that lives."""
    os.setsid()
    if not connection.recv(1):
        os._exit(0)  # it only probed for a pool
    threading.Thread(target=_end_with, args=[connection], daemon=True).start()
    started = Path(f"/proc/{process}")
    words = (started / "cmdline").read_text().rstrip("\0").split("\0")
    variables = (started / "environ").read_bytes().rstrip(b"\0").split(b"\0")
    os.environb.clear()
    os.environb.update({key: value for key, _, value in (variable.partition(b"=") for variable in variables)})
    os.chdir((started / "cwd").readlink())
    serve.run(words[words.index(address) + 1 :], say=lambda port: connection.sendall(port.encode()), lives=lambda: True)
    os._exit(0)


def _end_with(connection: socket.socket) -> None:
    """Exit when the peer is gone: the engine has ended it."""
    connection.recv(1)
    os._exit(1)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))

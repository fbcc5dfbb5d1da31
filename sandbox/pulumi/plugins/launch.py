"""Launches a stand-in plugin for the engine: ``python launch.py POOL NAME ENGINE``.

Compiled plugins start at once; a Python one takes a quarter of a second to import Pulumi. So this asks the stack's pool
(``pool.py``) for a copy of a process that has imported it, prints the copy's port, and lives as long as the copy.
Without a pool it becomes the plugin itself.
"""

# The public modules would take as long to import as all else here.
import _signal  # type: ignore[import-not-found]
import _socket
import os
import select
import sys

CREDENTIALS = 12
"""Size of the kernel's peer credentials: process, user and group."""


def main(pool: str, words: list[str]) -> None:
    """Serve as the plugin named in ``words``, by a copy from ``pool`` or directly."""
    _signal.signal(_signal.SIGINT, _signal.SIG_DFL)  # the engine ends a plugin with it
    engine = os.getppid()
    connection = _socket.socket(_socket.AF_UNIX)
    port = b""
    try:
        connection.connect(f"\0{pool}")
        user = connection.getsockopt(_socket.SOL_SOCKET, _socket.SO_PEERCRED, CREDENTIALS)[4:8]
        # An abstract address has no owner: another user's process might have taken it.
        if int.from_bytes(user, sys.byteorder) == os.getuid():
            connection.send(b"!")
            port = connection.recv(16)
    except OSError:
        pass
    if not port:
        os.execv(sys.executable, [sys.executable, "-m", "sandbox.pulumi.plugins", *words])  # noqa: S606
    os.write(1, port)
    select.select([connection.fileno(), os.pidfd_open(engine)], [], [])


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])

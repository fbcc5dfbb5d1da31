"""What the engine starts as a stand-in plugin: ``python launch.py POOL NAME ENGINE``.

The real plugins are compiled programs, which are up in no time; a Python one takes a quarter of a second to import
Pulumi. So this asks the stack's pool (``pool.py``) for a copy of a process that has imported it, says
the copy's port, and lives as long as the copy does. Without a pool it becomes the plugin itself.
"""

# Those without an underscore would take as long to import as all else here.
import _signal  # type: ignore[import-not-found]
import _socket
import os
import select
import sys

CREDENTIALS = 12
"""The size of what the kernel says of the other side of a connection: its process, its user and its group."""


def main(pool: str, words: list[str]) -> None:
    """Be the plugin that ``words`` name, by a copy from ``pool`` or by itself."""
    _signal.signal(_signal.SIGINT, _signal.SIG_DFL)  # the engine's way to end a plugin
    engine = os.getppid()
    connection = _socket.socket(_socket.AF_UNIX)
    port = b""
    try:
        connection.connect(f"\0{pool}")
        user = connection.getsockopt(_socket.SOL_SOCKET, _socket.SO_PEERCRED, CREDENTIALS)[4:8]
        # An address of this kind has no owner: another user's process might have taken it.
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

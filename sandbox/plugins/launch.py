"""Starts a stand-in plugin: ``python launch.py NAME [ARGUMENT...]``, which the engine runs once for each plugin.

The real plugins are compiled programs. A Python one takes most of its start to import Pulumi, so the first that an
engine starts offers to be copied (:func:`offer`), and those that the engine starts after it are copies (`fork`) of it
from before it began to serve. What is copied waits for the end of the engine, and a copy for that of the process that
asked for it, which the engine takes for the plugin. They are process groups of their own, since the engine ends groups.
"""

import json
import os
import runpy
import select
import signal
import socket
import struct
import sys
import threading

SIZE_BYTES = 8

_is_copy = False


def offer() -> None:
    """Be copied from now on for the engine that is this process's parent, unless another plugin does that already."""
    if _is_copy or sys.platform != "linux":
        return
    engine = os.getppid()
    listener = socket.socket(socket.AF_UNIX)
    try:
        listener.bind(_address(engine))
    except OSError:
        listener.close()
        return
    listener.listen()
    if os.fork():
        listener.close()
        return
    os.setpgid(0, 0)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # whoever asked for a copy sees its end by the connection
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in range(3):
        os.dup2(nothing, stream)
    end = os.pidfd_open(engine)
    while end not in select.select([listener.fileno(), end], [], [])[0]:
        connection, _ = listener.accept()
        if _same_user(connection) and not os.fork():
            listener.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            _become(connection)
        connection.close()
    os._exit(0)


def _become(connection: socket.socket) -> None:
    """In a copy: take over streams, environment and arguments of the process that asked, and be its plugin."""
    global _is_copy
    _is_copy = True
    os.setpgid(0, 0)
    size, streams, _, _ = socket.recv_fds(connection, SIZE_BYTES, 3)
    request = json.loads(connection.makefile("rb").read(int.from_bytes(size)))
    threading.Thread(target=_end_with, args=[connection], daemon=True).start()
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.environ.clear()
    os.environ.update(request["environment"])
    name, sys.argv[1:] = request["arguments"][0], request["arguments"][1:]
    code = 0
    try:
        runpy.run_module(f"sandbox.plugins.{name}", run_name="__main__")
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    os._exit(code)  # the connection is closed by that, too


def _end_with(connection: socket.socket) -> None:
    """Die when the other side is gone: the engine has ended it, and waits for the streams to be closed."""
    connection.recv(1)
    os._exit(1)


def _address(engine: int) -> str:
    return f"\0watchpost-plugins-{engine}"


def _same_user(connection: socket.socket) -> bool:
    """Whether the other side is this user's: an abstract address has no owner."""
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    return bool(struct.unpack("3i", credentials)[1] == os.getuid())


def main() -> None:
    """Ask the engine's first plugin for a copy and wait for its end, or become the first."""
    engine = os.getppid()
    with socket.socket(socket.AF_UNIX) as connection:
        try:
            connection.connect(_address(engine))
        except OSError:
            os.execv(  # noqa: S606
                sys.executable, [sys.executable, "-m", f"sandbox.plugins.{sys.argv[1]}", *sys.argv[2:]]
            )
        request = json.dumps({"arguments": sys.argv[1:], "environment": dict(os.environ)}).encode()
        socket.send_fds(connection, [len(request).to_bytes(SIZE_BYTES)], [0, 1, 2])
        connection.sendall(request)
        select.select([connection.fileno(), os.pidfd_open(engine)], [], [])


if __name__ == "__main__":
    main()

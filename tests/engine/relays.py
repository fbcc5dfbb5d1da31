"""Relays IPv6 into and out of a machine's network namespace, which has only IPv4 to the host."""

import contextlib
import ctypes
import os
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from sandbox.machine import Machine, cgroup

NEWNET = 0x40000000
"""CLONE_NEWNET of setns(2)."""

MACHINE = "fd00:5::2"
"""The machine's address in its own network."""


class ByIPv6(Machine):
    """A machine reachable by IPv6 only."""

    address = "::1"

    def __init__(self, machine: Machine, port: int) -> None:
        super().__init__(machine.name, machine.folder, machine.start_from)
        self.way_in = port

    @property
    def port(self) -> int:
        """The port on ``::1`` relayed to its SSH."""
        return self.way_in


def _network(machine: Machine) -> int:
    """Open the machine's network namespace; its supervisor runs outside."""
    own = Path("/proc/self/ns/net").stat().st_ino
    for pid in cgroup.processes(machine.id):
        with contextlib.suppress(OSError):  # ended meanwhile
            network = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY)
            if os.fstat(network).st_ino != own:
                return network
            os.close(network)
    raise AssertionError("the machine has no process")


def _in_network(network: int, work: Callable[[], socket.socket]) -> socket.socket:
    """Create a socket in that namespace, in a thread that enters it."""

    def enter() -> socket.socket:
        if ctypes.CDLL(None, use_errno=True).setns(network, NEWNET):
            raise OSError(ctypes.get_errno(), "setns")
        return work()

    with ThreadPoolExecutor(1) as thread:
        return thread.submit(enter).result()


def _pump(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)


def _relay(listener: socket.socket, connect: Callable[[], socket.socket]) -> None:
    """Relay each client to a new connection from ``connect``, until the listener is shut down."""

    def join(client: socket.socket) -> None:
        with client, connect() as server:
            back = threading.Thread(target=_pump, args=(server, client), daemon=True)
            back.start()
            _pump(client, server)
            back.join()

    with contextlib.suppress(OSError):
        while True:
            threading.Thread(target=join, args=(listener.accept()[0],), daemon=True).start()


@contextlib.contextmanager
def by_ipv6(machine: Machine, outside: int) -> Iterator[int]:
    """Relay a port at ``::1``, which it yields, to the machine's SSH at :data:`MACHINE`, and the machine's loopback
    port ``outside`` to the same port of the host, so that it needs no IPv4 beyond that."""
    machine.run(f"ip -6 address replace {MACHINE}/128 dev lo")
    network = _network(machine)
    way_in = socket.create_server(("::1", 0), family=socket.AF_INET6)
    way_out = _in_network(network, lambda: socket.create_server(("127.0.0.1", outside)))

    def to_machine() -> socket.socket:
        return _in_network(network, lambda: socket.create_connection((MACHINE, 22)))

    def to_outside() -> socket.socket:
        return socket.create_connection(("127.0.0.1", outside))

    try:
        for listener, connect in ((way_in, to_machine), (way_out, to_outside)):
            threading.Thread(target=_relay, args=(listener, connect), daemon=True).start()
        yield int(way_in.getsockname()[1])
    finally:
        for listener in (way_in, way_out):
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()
        os.close(network)


@contextlib.contextmanager
def another_port(machine: Machine) -> Iterator[int]:
    """Relay another loopback port to the machine's SSH."""
    listener = socket.create_server(("127.0.0.1", 0))

    def to_machine() -> socket.socket:
        return socket.create_connection((machine.address, machine.port))

    try:
        threading.Thread(target=_relay, args=(listener, to_machine), daemon=True).start()
        yield int(listener.getsockname()[1])
    finally:
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()

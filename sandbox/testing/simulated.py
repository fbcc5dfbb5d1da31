"""Simulated hosts: an SSH server that answers every step at once, as a host would.

They cost only Watchpost's and the engine's own time, and any number can run.
"""

import asyncio
import contextlib
import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import asyncssh

ANSWERS = {
    "files/agent/prove_check.sh": '{"value": 1, "tags": [], "interval_s": 45}',
    "files/agent/service.sh": '"simulated"',
    "files/mysql/user.sh": '"simulated"',
    "files/traced_app/prove_traces.sh": '{"traces": 3, "tracer": "simulated"}',
    "files/load/run.sh": '{"/": {}, "/api/apm": {}, "/api/trace": {}}',
    "files/load/customers.sh": '{"customers": 1, "orders": 1, "delivered": 1, "troubled": 0}',
}
"""Reports of the steps whose results are used."""


@dataclass
class Simulated:
    """An SSH server for all hosts; each logs in as a user named after it."""

    port: int = 0
    private_key: str = ""
    host_key: str = ""
    steps: Counter[str] = field(default_factory=Counter)
    """Number of steps run by each host."""

    def serve(self, started: threading.Event, ended: threading.Event) -> None:
        """Serve on loopback until ``ended``."""
        asyncio.run(self._serve(started, ended))

    async def _serve(self, started: threading.Event, ended: threading.Event) -> None:
        key, user_key = (asyncssh.generate_private_key("ssh-ed25519") for _ in range(2))
        self.host_key = key.export_public_key().decode().strip()
        self.private_key = user_key.export_private_key().decode()
        users = asyncssh.import_authorized_keys(user_key.export_public_key().decode())
        server = await asyncssh.listen(
            "127.0.0.1", 0, server_host_keys=[key], authorized_client_keys=users, process_factory=self._answer,
            backlog=1000, gss_host=None,
        )  # fmt: skip
        self.port = server.get_port()
        started.set()
        await asyncio.to_thread(ended.wait)
        server.close()

    async def _answer(self, process: "asyncssh.SSHServerProcess[str]") -> None:
        await process.stdin.read()
        script, verb = (process.command or "").split()[-2:]
        self.steps[process.get_extra_info("username")] += 1
        user = process.get_extra_info("username")
        answer = f'{{"machine": "{user}"}}' if script == "files/host/ready.sh" else ANSWERS.get(script, "null")
        process.stdout.write(f"simulated {verb}\n\n=watchpost= {answer}\n")
        process.exit(0)

    def entries(self, names: Iterable[str], folder: Path) -> dict[str, dict[str, object]]:
        """Return entries of ``watchpost:hosts`` for ``names``; writes their private key to a file in ``folder``."""
        key = folder / f"{self.port}.key"
        key.touch(mode=0o600)
        key.write_text(self.private_key)
        entry = {"address": "127.0.0.1", "port": self.port, "hostKey": self.host_key, "privateKeyFile": str(key)}
        return {name: {**entry, "user": name} for name in names}


@contextlib.contextmanager
def simulated_hosts() -> Iterator[Simulated]:
    """Run simulated hosts."""
    hosts, started, ended = Simulated(), threading.Event(), threading.Event()
    thread = threading.Thread(target=hosts.serve, args=(started, ended), daemon=True)
    thread.start()
    try:
        assert started.wait(10)
        yield hosts
    finally:
        ended.set()
        thread.join(10)

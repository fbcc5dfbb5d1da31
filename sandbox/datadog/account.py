"""Controls the stand-in Datadog: starts and stops it, inspects it, and injects faults."""

import datetime
import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from sandbox import paths
from sandbox.datadog.store import EVALUATED, opened
from sandbox.progress import SandboxError

API_KEY = "fake" + "0" * 28
"""The account's default API key: of the right length, and nobody's."""

APP_KEY = "fake" + "0" * 36
"""The account's default application key."""

PATIENCE = 30.0
"""Timeout of starting and of stopping, in seconds."""

Fault = int | Literal["cut", "lost", "slow", "late", "garbage"]
"""Kinds of faults: an HTTP status; ``cut``, the connection breaks before the request counts; ``lost``, after it;
``slow``, the request is delayed; ``late``, only its answer is; ``garbage``, the answer is not JSON."""


def held(folder: Path) -> bool:
    """Return whether a server runs on ``folder``: it holds a lock there until it ends, however it ends."""
    try:
        with (folder / "lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except FileNotFoundError:
        pass
    return False


@dataclass(frozen=True, kw_only=True)
class Account:
    """A Datadog account, stored in ``folder``; readable even while its server is stopped."""

    folder: Path
    api_key: str = API_KEY
    app_key: str = APP_KEY

    @classmethod
    def start(cls, folder: Path, api_key: str = API_KEY, app_key: str = APP_KEY) -> "Account":
        """Return the account in ``folder`` with its server running on loopback; start it unless it runs.

        Raises:
            SandboxError: the server did not come up.
        """
        account = cls(folder=folder.absolute(), api_key=api_key, app_key=app_key)
        account.folder.mkdir(parents=True, exist_ok=True)
        with (account.folder / "start.lock").open("a") as lock:  # if two start it at once, only one does
            fcntl.flock(lock, fcntl.LOCK_EX)
            with opened(account.folder) as store:
                store.set("api_key", api_key)
                store.set("app_key", app_key)
            if not account.running:
                account._spawn()
        return account

    def _spawn(self) -> None:
        log = self.folder / "server.log"
        port = self._last_port()
        (self.folder / "address.json").unlink(missing_ok=True)
        # `setsid --fork` hands the server to init: it neither dies with this process nor becomes its zombie.
        command = ["setsid", "--fork", sys.executable, "-m", "sandbox.datadog", "--folder", str(self.folder)]
        command += ["--port", str(port)]
        with log.open("w") as output:
            subprocess.run(
                command, check=True, cwd=paths.ROOT, stdin=subprocess.DEVNULL, stdout=output, stderr=output, timeout=10
            )
        deadline = time.monotonic() + PATIENCE
        while not self.running:
            if time.monotonic() > deadline:
                raise SandboxError(f"the stand-in Datadog did not start; its log is {log}: {log.read_text()[-500:]}")
            time.sleep(0.02)

    def _last_port(self) -> int:
        """Return the server's previous port, if free, since the stack's state has its address; else 0, for any."""
        try:
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(("127.0.0.1", self.port))
                return self.port
        except (SandboxError, OSError):
            return 0

    def _address(self) -> dict[str, Any]:
        try:
            address: dict[str, Any] = json.loads((self.folder / "address.json").read_text())
        except FileNotFoundError as error:
            raise SandboxError(f"the stand-in Datadog in {self.folder} is not running: start it first") from error
        return address

    @property
    def running(self) -> bool:
        """Whether the server is running."""
        return held(self.folder) and (self.folder / "address.json").exists()

    @property
    def url(self) -> str:
        """The API's address: ``http://127.0.0.1:PORT``."""
        return str(self._address()["url"])

    @property
    def port(self) -> int:
        """The port of the API on loopback."""
        return int(self.url.rpartition(":")[2])

    def stop(self) -> None:
        """Stop the server, if it runs; its data stays in the folder."""
        if not self.running:
            return
        os.kill(int(self._address()["pid"]), signal.SIGTERM)
        deadline = time.monotonic() + PATIENCE
        while held(self.folder):
            if time.monotonic() > deadline:
                raise SandboxError(f"the stand-in Datadog in {self.folder} does not stop: kill the pid in address.json")
            time.sleep(0.02)

    def accept(self, api_keys: Sequence[str], app_keys: Sequence[str]) -> None:
        """Make these keys the only valid ones; several of a kind while one replaces another."""
        with opened(self.folder) as store:
            store.set("api_key", " ".join(api_keys))
            store.set("app_key", " ".join(app_keys))

    def restrict(self, app_key: str, scopes: Collection[str]) -> None:
        """Restrict an application key to these scopes, which are permissions; none lifts the restriction."""
        with opened(self.folder) as store:
            store.set(f"scopes {app_key}", " ".join(scopes))

    def monitors(self) -> list[dict[str, Any]]:
        """Return the monitors, as in the API's answers."""
        return self._all("monitor")

    def dashboards(self) -> list[dict[str, Any]]:
        """Return the dashboards, as in the API's answers."""
        return self._all("dashboard")

    def downtimes(self, include_cancelled: bool = False) -> list[dict[str, Any]]:
        """Return the downtimes: the ``data`` of the API's answers, with the status when last read or written."""
        return [
            downtime
            for downtime in self._all("downtime")
            if include_cancelled or downtime["attributes"]["status"] != "canceled"
        ]

    def embeds(self) -> list[dict[str, Any]]:
        """Return the secure embeds: the attributes of the API's answers, with the credential."""
        return self._all("embed")

    def public_dashboards(self) -> list[dict[str, Any]]:
        """Return the dashboards shared by a public URL."""
        return self._all("public")

    def events(self) -> list[dict[str, Any]]:
        """Return the posted events."""
        return self._all("event")

    def checks(self) -> list[dict[str, Any]]:
        """Return the submitted service checks."""
        return self._all("check")

    def hosts(self) -> list[dict[str, Any]]:
        """Return the hosts that reported."""
        return self._all("host")

    @property
    def evaluated(self) -> datetime.datetime:
        """The last minute, by the account's clock in UTC, at which its monitors were evaluated."""
        with opened(self.folder) as store:
            return datetime.datetime.fromisoformat(store.setting(EVALUATED, "0001-01-01T00:00:00+00:00"))

    def mails(self) -> list[dict[str, Any]]:
        """Return the mail that people would have got, oldest first; ``at`` is in Unix seconds."""
        return self._all("mail")

    def transitions(self) -> list[dict[str, Any]]:
        """Return the transitions of monitors' groups, oldest first."""
        return self._all("transition")

    def series(self, metric: str | None = None) -> list[dict[str, Any]]:
        """Return the points of one metric, or of all: metric, at (Unix seconds), value, host, tags."""
        with opened(self.folder) as store:
            return store.points(metric)

    def requests(self) -> list[dict[str, Any]]:
        """Return all requests so far: at, method, path, query, status, and, below ``/api/``, body, parsed from JSON."""
        with opened(self.folder) as store:
            return store.requests()

    def writes(self) -> list[dict[str, Any]]:
        """Return the requests that changed configuration: all but reads, validations and Agents' submissions."""
        return [
            request
            for request in self.requests()
            if request["method"] != "GET"
            and not request["path"].endswith("/validate")
            and request["path"].startswith(("/api/v1/monitor", "/api/v1/dashboard", "/api/v2/d"))
        ]

    def fault(
        self,
        method: str,
        path: str,
        action: Fault,
        *,
        times: int = 1,
        headers: Mapping[str, str] | None = None,
        seconds: float = 5.0,
    ) -> None:
        """Make the next ``times`` requests fail whose method and path match these globs (``*`` also matches ``/``).

        ``headers`` are added to the answer of an HTTP status; ``seconds`` is the delay of ``slow`` and ``late``.
        """
        with opened(self.folder) as store:
            store.add_fault(method, path, str(action), times, headers or {}, seconds)

    def clear_faults(self) -> None:
        """Discard the remaining faults."""
        with opened(self.folder) as store:
            store.clear_faults()

    def travel(self, to: datetime.datetime | None) -> None:
        """Set the account's clock to ``to``, an aware time, from which it runs on; ``None`` resets it."""
        offset = 0.0 if to is None else (to - datetime.datetime.now(datetime.UTC)).total_seconds()
        with opened(self.folder) as store:
            store.set("clock", str(offset))

    def _all(self, kind: str) -> list[dict[str, Any]]:
        with opened(self.folder) as store:
            return store.all(kind)

"""The owner's side of the stand-in Datadog: start and stop it, look into it, order faults."""

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
"""The account's API key unless told otherwise: of the right length, and nobody's."""

APP_KEY = "fake" + "0" * 36
"""The account's application key unless told otherwise."""

PATIENCE = 30.0
"""Seconds that starting and stopping may take."""

Fault = int | Literal["cut", "lost", "slow", "late", "garbage"]
"""What goes wrong: an HTTP status; ``cut``, the connection breaks before the request counts; ``lost``, it breaks after;
``slow``, the request takes its time; ``late``, it is done at once and only the answer takes its time; ``garbage``, the
answer is not JSON."""


def held(folder: Path) -> bool:
    """Whether a server runs on ``folder``: it holds a lock there for as long as it lives, whatever happens to it."""
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
    """A Datadog account of one's own, kept in ``folder``; also readable when its server is stopped."""

    folder: Path
    api_key: str = API_KEY
    app_key: str = APP_KEY

    @classmethod
    def start(cls, folder: Path, api_key: str = API_KEY, app_key: str = APP_KEY) -> "Account":
        """The account in ``folder``, with its server running on loopback; one that runs already is used.

        Raises:
            SandboxError: the server did not come up.
        """
        account = cls(folder=folder.absolute(), api_key=api_key, app_key=app_key)
        account.folder.mkdir(parents=True, exist_ok=True)
        with (account.folder / "start.lock").open("a") as lock:  # of two who start it at once, one does
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
        # `setsid --fork` gives the server to init, so that it neither dies with this process nor stays its zombie.
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
        """The port that the server had before, if it is free: the stack's state holds its address. Else 0, any."""
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
        """Whether the server is up."""
        return held(self.folder) and (self.folder / "address.json").exists()

    @property
    def url(self) -> str:
        """Where the API is: ``http://127.0.0.1:PORT``."""
        return str(self._address()["url"])

    @property
    def port(self) -> int:
        """The port of the API on loopback."""
        return int(self.url.rpartition(":")[2])

    def stop(self) -> None:
        """Stop the server, if it runs; what it kept stays in the folder."""
        if not self.running:
            return
        os.kill(int(self._address()["pid"]), signal.SIGTERM)
        deadline = time.monotonic() + PATIENCE
        while held(self.folder):
            if time.monotonic() > deadline:
                raise SandboxError(f"the stand-in Datadog in {self.folder} does not stop: kill the pid in address.json")
            time.sleep(0.02)

    def accept(self, api_keys: Sequence[str], app_keys: Sequence[str]) -> None:
        """From now on these keys are valid and no others: several of a kind while one replaces another."""
        with opened(self.folder) as store:
            store.set("api_key", " ".join(api_keys))
            store.set("app_key", " ".join(app_keys))

    def restrict(self, app_key: str, scopes: Collection[str]) -> None:
        """Give an application key these scopes, which are permissions; with none it may do everything again."""
        with opened(self.folder) as store:
            store.set(f"scopes {app_key}", " ".join(scopes))

    def monitors(self) -> list[dict[str, Any]]:
        """The monitors, as the API answers them."""
        return self._all("monitor")

    def dashboards(self) -> list[dict[str, Any]]:
        """The dashboards, as the API answers them."""
        return self._all("dashboard")

    def downtimes(self, include_cancelled: bool = False) -> list[dict[str, Any]]:
        """The downtimes: the ``data`` of the API's answers, their status as when they were last read or written."""
        return [
            downtime
            for downtime in self._all("downtime")
            if include_cancelled or downtime["attributes"]["status"] != "canceled"
        ]

    def embeds(self) -> list[dict[str, Any]]:
        """The secure embeds: the attributes of the API's answers, with the credential."""
        return self._all("embed")

    def public_dashboards(self) -> list[dict[str, Any]]:
        """The dashboards shared by a public URL."""
        return self._all("public")

    def events(self) -> list[dict[str, Any]]:
        """The events that were posted."""
        return self._all("event")

    def checks(self) -> list[dict[str, Any]]:
        """The service checks that were submitted."""
        return self._all("check")

    def hosts(self) -> list[dict[str, Any]]:
        """The hosts that reported."""
        return self._all("host")

    @property
    def evaluated(self) -> datetime.datetime:
        """The last minute of the account's clock at which its monitors were evaluated, in UTC."""
        with opened(self.folder) as store:
            return datetime.datetime.fromisoformat(store.setting(EVALUATED, "0001-01-01T00:00:00+00:00"))

    def mails(self) -> list[dict[str, Any]]:
        """What people would have got by mail, oldest first: at (Unix seconds), to, subject, text, about, of, kind."""
        return self._all("mail")

    def transitions(self) -> list[dict[str, Any]]:
        """How groups of monitors went from one state to another, oldest first."""
        return self._all("transition")

    def series(self, metric: str | None = None) -> list[dict[str, Any]]:
        """The points of one metric, or of all: metric, at (Unix seconds), value, host, tags."""
        with opened(self.folder) as store:
            return store.points(metric)

    def requests(self) -> list[dict[str, Any]]:
        """Every request so far: at, method, path, query, status, and body, the parsed JSON of those below ``/api/``."""
        with opened(self.folder) as store:
            return store.requests()

    def writes(self) -> list[dict[str, Any]]:
        """The requests that changed configuration: all but reads, validations and what Agents submit."""
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
        """Make the next ``times`` requests go wrong whose method and path match these globs (``*`` also matches ``/``).

        ``headers`` are added to an answer that is an HTTP status; ``seconds`` is how slow slow is.
        """
        with opened(self.folder) as store:
            store.add_fault(method, path, str(action), times, headers or {}, seconds)

    def clear_faults(self) -> None:
        """Forget the fault orders that are left."""
        with opened(self.folder) as store:
            store.clear_faults()

    def travel(self, to: datetime.datetime | None) -> None:
        """Set the account's clock to ``to``, an aware time, and let it run on; None brings it back."""
        offset = 0.0 if to is None else (to - datetime.datetime.now(datetime.UTC)).total_seconds()
        with opened(self.folder) as store:
            store.set("clock", str(offset))

    def _all(self, kind: str) -> list[dict[str, Any]]:
        with opened(self.folder) as store:
            return store.all(kind)

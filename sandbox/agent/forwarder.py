"""Sends to Datadog what the Agent collects; keeps it while Datadog can't be reached, and never logs the key."""

import json
import logging
import threading
import time
import urllib.error
import urllib.request
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any

from .samples import Serie

INTERVAL = 5.0
"""Seconds between two attempts to send what is queued."""
QUEUED = 1000
"""Payloads kept while Datadog is out of reach; the oldest go first."""

log = logging.getLogger(__name__)


class Forwarder(threading.Thread):
    """A queue of payloads and the thread that empties it; ``base_url`` is ``dd_url`` or the site's API."""

    def __init__(self, base_url: str, api_key: str, host: str, tags: Sequence[str] = ()) -> None:
        super().__init__(name="forwarder", daemon=True)
        self._base_url, self._api_key, self._host, self._tags = base_url, api_key, host, list(tags)
        self._queue: deque[tuple[str, bytes]] = deque(maxlen=QUEUED)
        self._ended = threading.Event()
        self._key_status = "Unable to validate API Key"
        self.sent = self.dropped = self.errors = 0

    def series(self, series: Iterable[Serie]) -> None:
        """Queue metrics, with the host's tags."""
        if payload := [serie.for_api(self._tags) for serie in series]:
            self._put("/api/v2/series", {"series": payload})

    def service_checks(self, checks: Iterable[dict[str, Any]]) -> None:
        """Queue service checks (``check``, ``status``, ``tags``, ``message``), with the host's name and tags."""
        now = int(time.time())
        if payload := [
            {"host_name": self._host, "timestamp": now, **check, "tags": [*check["tags"], *self._tags]}
            for check in checks
        ]:
            self._put("/api/v1/check_run", payload)

    def event(self, event: dict[str, Any]) -> None:
        """Queue one event in the form of ``POST /api/v1/events``, with the host's name and tags."""
        tags = [*event.get("tags", []), *self._tags]
        self._put("/api/v1/events", {"host": self._host, "date_happened": int(time.time()), **event, "tags": tags})

    def metadata(self, version: str) -> None:
        """Queue what Datadog knows of the host: its name, its tags, the Agent's version."""
        meta = {"hostname": self._host, "socket-hostname": self._host}
        payload = {"internalHostname": self._host, "agentVersion": version, "os": "linux", "meta": meta}
        self._put("/intake/", payload | {"host-tags": {"system": self._tags}})

    def _put(self, path: str, payload: Any) -> None:
        self._queue.append((path, json.dumps(payload).encode()))

    def run(self) -> None:
        """Send until :meth:`stop`."""
        while not self._ended.wait(INTERVAL):
            self.flush()

    def stop(self) -> None:
        """End the thread after one last, short attempt to send."""
        self._ended.set()
        self.join(timeout=1.0)
        self.flush(timeout=0.5)

    def flush(self, timeout: float = 10.0) -> None:
        """Send what is queued; what a network or server error stops is kept, what Datadog refuses is dropped."""
        while self._queue:
            path, body = self._queue[0]
            try:
                self._post(path, body, timeout)
                self.sent += 1
            except urllib.error.HTTPError as error:
                if error.code == 403:
                    self._key_status = "API Key invalid"
                if error.code in {408, 429} or error.code >= 500:
                    self._failed(path, error)
                    return
                self.dropped += 1
                log.error("%s refused a payload and it is dropped: HTTP %s %s", path, error.code, error.read(500))
            except OSError as error:
                self._failed(path, error)
                return
            if self._queue and self._queue[0] == (path, body):
                self._queue.popleft()

    def _failed(self, path: str, error: Exception) -> None:
        self.errors += 1
        log.warning("Sending to %s%s failed, will be retried: %s", self._base_url, path, error)

    def _post(self, path: str, body: bytes, timeout: float) -> None:
        headers = {"DD-API-KEY": self._api_key, "Content-Type": "application/json"}
        request = urllib.request.Request(self._base_url + path, data=body, headers=headers)  # noqa: S310
        with urllib.request.urlopen(request, timeout=timeout):  # noqa: S310
            self._key_status = "API Key valid"

    def status(self) -> dict[str, Any]:
        """The ``forwarderStats`` of ``datadog-agent status``."""
        return {
            "APIKeyStatus": {f"API key ending with {self._api_key[-5:]}": self._key_status},
            "Transactions": {"Success": self.sent, "Dropped": self.dropped, "Errors": self.errors},
            "Queued": len(self._queue),
        }

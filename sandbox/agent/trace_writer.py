"""Sends the trace agent's payloads to ``apm_config.apm_dd_url``, or to the site's address for traces.

It is JSON here, where the real trace agent sends protobuf and msgpack. Sources, in
https://github.com/DataDog/datadog-agent: ``pkg/trace/writer/sender.go`` for what is retried,
``trace.go`` and ``stats.go`` beside it for paths and figures.
"""

import json
import logging
from collections import Counter, deque
from typing import Any

from . import sending

TRACES, STATS = "/api/v0.2/traces", "/api/v0.2/stats"
QUEUED = 100

log = logging.getLogger(__name__)


class Writer:
    """The payloads for one path, oldest first; their producer calls ``flush``."""

    def __init__(self, url: str, path: str, api_key: str) -> None:
        self._url, self._api_key = url + path, api_key
        self._queue: deque[bytes] = deque(maxlen=QUEUED)
        self._counted: Counter[str] = Counter()

    def put(self, payload: dict[str, Any] | None) -> None:
        """Queue a payload, if there is one."""
        if payload is not None:
            # Spans hold whatever their app put in, even bytes, which JSON can't hold.
            self._queue.append(json.dumps(payload, default=repr).encode())

    def flush(self, timeout: float = 10.0) -> None:
        """Send the queue; keep payloads without an answer or with a 5xx, drop refused ones."""
        headers = {"DD-Api-Key": self._api_key, "Content-Type": "application/json"}
        while self._queue:
            body = self._queue[0]
            try:
                code, answer = sending.request(self._url, body, headers, timeout)
            except sending.UnreachableError as error:
                code, answer = 599, str(error)
            if code >= 500:
                self._counted["Retries"] += 1
                log.error("Retrying to flush payload to %s; error: %s", self._url, answer)
                return
            self._queue.popleft()
            if code < 300:
                self._counted["Payloads"] += 1
                self._counted["Bytes"] += len(body)
            else:
                self._counted["Errors"] += 1
                log.warning("Payload rejected by edge: %d %s", code, answer)

    def status(self) -> dict[str, int]:
        """Return its part of ``apmStats``."""
        return {name: self._counted[name] for name in ("Payloads", "Bytes", "Errors", "Retries")}

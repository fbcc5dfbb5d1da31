"""Sends the core Agent's payloads to Datadog, validates the key, and never logs it.

Sources, in https://github.com/DataDog/datadog-agent: ``transaction.go`` below ``comp/forwarder/defaultforwarder`` for
what is kept, dropped and counted, ``forwarder_health.go`` there for the key, and
``pkg/config/utils/endpoints.go`` for the addresses.
"""

import json
import logging
import re
import socket
import threading
import time
from collections import Counter, deque
from collections.abc import Iterable, Sequence
from typing import Any

from . import sending
from .samples import Serie

INTERVAL = 1.0
"""Seconds between attempts to send the queue."""
QUEUED = 1000
"""Payloads kept while Datadog is unreachable; the oldest are dropped first."""
TIMEOUT = 20.0
"""Timeout of a request, in seconds (``forwarder_timeout``)."""
VALIDATION = 3600.0
"""Seconds between validations of the key (``forwarder_apikey_validation_interval``)."""
VALIDATION_TIMEOUT = 10.0
FAKE_KEY = "0" * 32
"""The key of tests and examples, which the real Agent doesn't validate either."""
ENDPOINTS = {
    "/api/v2/series": "series_v2",
    "/api/v1/check_run": "check_run_v1",
    "/api/v1/events": "intake",
    "/intake/": "metadata_v1",
}
"""The names of the paths in ``status``."""

VALID = "API Key valid"
INVALID = "API Key invalid"
FAKE = "Fake API Key that skips validation"
UNREACHABLE = "Unable to reach the API Key validation endpoint"
UNEXPECTED = "Unexpected response code from the API Key validation endpoint"

SITE = re.compile(r"([a-z]{2,}\d{1,2}\.)?(datadoghq\.[a-z]+|ddog-gov\.com)\.?$")

log = logging.getLogger(__name__)


def of_version(url: str, version: str) -> str:
    """Return the address that metrics go to: Datadog's own ones get the Agent's version in front."""
    numbers = "-".join(version.split(".")[:3])
    if not SITE.search(url):
        return url
    return re.sub(r"^(https?://)app(?=(\.mrf)?\.[^/]*$)", rf"\g<1>{numbers}-app.agent", url)


def validating(url: str) -> str:
    """Return the address that validates the key: the site's API, or where metrics go."""
    site = SITE.search(url)
    return f"https://api.{site[0].rstrip('.')}" if site else url


def address() -> str:
    """Return the host's address towards other networks, empty if there is no route; sends nothing to find out."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return ""
        return str(probe.getsockname()[0])


class Forwarder(threading.Thread):
    """A queue of payloads and the thread that sends it; ``base_url`` is ``dd_url`` or the site's address."""

    def __init__(self, base_url: str, api_key: str, host: str, tags: Sequence[str] = (), version: str = "7") -> None:
        super().__init__(name="forwarder", daemon=True)
        self._base_url, self._api_key, self._host, self._tags = base_url, api_key, host, list(tags)
        self._url = of_version(base_url, version)
        self._queue: deque[tuple[str, bytes]] = deque(maxlen=QUEUED)
        self._ended = threading.Event()
        self.key_status = ""
        """The result of the last validation of the key; empty before the first."""
        self._counted: Counter[str] = Counter()
        self._succeeded: Counter[str] = Counter()
        self._dropped: Counter[str] = Counter()
        self._codes: Counter[str] = Counter()

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
        """Queue an event in the form of ``POST /api/v1/events``, with the host's name and tags."""
        tags = [*event.get("tags", []), *self._tags]
        self._put("/api/v1/events", {"host": self._host, "date_happened": int(time.time()), **event, "tags": tags})

    def metadata(self, version: str) -> None:
        """Queue the host's metadata: name, tags, address, the Agent's version."""
        meta = {"hostname": self._host, "socket-hostname": self._host}
        payload = {"internalHostname": self._host, "agentVersion": version, "os": "linux", "meta": meta}
        gohai = {"network": {"ipaddress": address()}}
        self._put("/intake/", payload | {"host-tags": {"system": self._tags}, "gohai": json.dumps(gohai)})

    def _put(self, path: str, payload: Any) -> None:
        self._queue.append((path, json.dumps(payload).encode()))

    def run(self) -> None:
        """Send until :meth:`stop`."""
        threading.Thread(target=self._watch_the_key, name="forwarder-health", daemon=True).start()
        while not self._ended.wait(INTERVAL):
            self.flush()

    def stop(self) -> None:
        """Stop the thread after a last, short attempt to send."""
        self._ended.set()
        self.join(timeout=1.0)
        self.flush(timeout=0.5)

    @property
    def healthy(self) -> bool:
        """Return whether ``health`` lists the forwarder as healthy: the key was validated and not refused.

        An unreachable Datadog doesn't count: the real Agent says PASS then.
        """
        return self.key_status not in {"", INVALID}

    def _watch_the_key(self) -> None:
        while True:
            self.validate()
            if self._ended.wait(VALIDATION):
                return

    def validate(self) -> None:
        """Ask Datadog whether the key is valid."""
        if self._api_key == FAKE_KEY:
            self.key_status = FAKE
            return
        url = validating(self._base_url)
        try:
            code, _ = sending.request(f"{url}/api/v1/validate?api_key={self._api_key}", timeout=VALIDATION_TIMEOUT)
        except sending.UnreachableError:
            self.key_status = UNREACHABLE
            return
        refused = code == 403 or not self._api_key
        self.key_status = VALID if code == 200 else INVALID if refused else UNEXPECTED
        if refused:
            log.warning("api_key '%s' for domain %s is invalid", f"***{self._api_key[-4:]}", url)
            log.error("No valid api key found, reporting the forwarder as unhealthy.")

    def flush(self, timeout: float = TIMEOUT) -> None:
        """Send the queue; keep what can't be sent now, and drop what Datadog rejects (400, 403, 413)."""
        while self._queue:
            path, body = self._queue[0]
            url = self._url + path
            headers = {"DD-API-KEY": self._api_key, "Content-Type": "application/json"}
            try:
                code, answer = sending.request(url, body, headers, timeout)
            except sending.UnreachableError as error:
                self._counted["Errors"] += 1
                self._counted["Retried"] += 1
                log.error(
                    "Error while processing transaction: error while sending transaction, rescheduling it: %s", error
                )
                return
            if code >= 400:
                self._counted["HTTPErrors"] += 1
                self._codes[str(code)] += 1
            if code >= 400 and code not in {400, 403, 413}:
                self._counted["Errors"] += 1
                self._counted["Retried"] += 1
                log.error(
                    'Error while processing transaction: error "%d" while sending transaction to "%s", rescheduling it:'
                    " %s", code, url, answer,
                )  # fmt: skip
                return
            self._end(ENDPOINTS[path], url, code, answer)
            if self._queue and self._queue[0] == (path, body):
                self._queue.popleft()

    def _end(self, endpoint: str, url: str, code: int, answer: str) -> None:
        if code < 400:
            self._counted["Success"] += 1
            self._succeeded[endpoint] += 1
            if self._counted["Success"] == 1:
                log.info(
                    'Successfully posted payload to "%s" (%d), the agent will only log transaction success every 500'
                    " transactions", url, code,
                )  # fmt: skip
            return
        self._counted["Dropped"] += 1
        self._dropped[endpoint] += 1
        if code == 403:
            log.error("API Key invalid, dropping transaction for %s", url)
        else:
            log.error(
                'Error code "%d" received while sending transaction to "%s": "%s", dropping it', code, url, answer
            )

    def status(self) -> dict[str, Any]:
        """Return the ``forwarderStats`` of ``datadog-agent status``: an invalid key is only among the failures."""
        label = {f"API key ending with {self._api_key[-5:]}": self.key_status} if self.key_status else {}
        invalid = self.key_status == INVALID
        names = ("Success", "Dropped", "Errors", "HTTPErrors", "Retried", "Requeued")
        return {
            "APIKeyStatus": {} if invalid else label,
            "APIKeyFailure": label if invalid else {},
            "Transactions": {
                **{name: self._counted[name] for name in names},
                "SuccessByEndpoint": dict(self._succeeded),
                "DroppedByEndpoint": dict(self._dropped),
                "HTTPErrorsByCode": dict(self._codes),
                "RetryQueueSize": len(self._queue) if self._counted["Retried"] else 0,
            },
        }

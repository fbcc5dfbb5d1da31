"""Datadog's HTTP API as the real plugin uses it: keys, retries, and errors in one sentence."""

import json
from dataclasses import dataclass, field
from typing import Any

import urllib3
from datadog_api_client.rest import ClientRetry

from sandbox.plugins.serve import PluginError

RETRIED = frozenset({429, *range(500, 600)})
"""The statuses that are tried again, whatever the method."""


class MissingError(Exception):
    """Datadog has no such thing (any more)."""


class _Backoff(ClientRetry):
    """As the real plugin: 429 waits for ``X-RateLimit-Reset`` or ``Retry-After``, else ``multiplier * base ** n``."""

    base = 2.0
    multiplier = 2.0

    def new(self, **changes: Any) -> "_Backoff":
        following: _Backoff = super().new(**changes)
        following.base, following.multiplier = self.base, self.multiplier
        return following

    def get_backoff_time(self) -> float:
        return float(self.multiplier * self.base ** (len(self.history) - 1))

    def get_retry_after(self, response: Any) -> float | None:
        for header in ("X-RateLimit-Reset", "Retry-After"):
            if header in response.headers:
                seconds: float = self.parse_retry_after(response.headers[header])
                return seconds
        return None


@dataclass(frozen=True, kw_only=True)
class Client:
    """An account's API."""

    url: str
    api_key: str = field(repr=False)
    app_key: str = field(repr=False)
    retries: int = 3
    base: float = 2.0
    multiplier: float = 2.0
    timeout: float = 60.0
    """Seconds that one request may take."""
    pool: urllib3.PoolManager = field(default_factory=lambda: urllib3.PoolManager(maxsize=16))

    def call(self, doing: str, method: str, path: str, body: Any = None) -> Any:
        """The parsed answer, None if it is empty; ``doing`` begins the sentence of an error ("error creating monitor").

        Raises:
            MissingError: a 404.
            PluginError: anything else that is no success.
        """
        url = self.url.rstrip("/") + path
        retry = _Backoff(
            total=self.retries, connect=0, read=0, other=0, status_forcelist=RETRIED, raise_on_status=False
        )
        retry.base, retry.multiplier = self.base, self.multiplier
        headers = {"DD-API-KEY": self.api_key, "DD-APPLICATION-KEY": self.app_key, "Accept": "application/json"}
        try:
            response = self.pool.request(
                method, url, headers=headers, json=body, retries=retry, timeout=self.timeout, redirect=False
            )
        except urllib3.exceptions.HTTPError as error:
            cause = getattr(error, "reason", None) or error
            raise PluginError(f"{doing} from {url}: {cause}") from error
        if response.status == 404:
            raise MissingError(f"{doing} from {url}: 404 Not Found: {response.data.decode(errors='replace')}")
        if response.status >= 300:
            text = response.data.decode(errors="replace")
            raise PluginError(f"{doing} from {url}: {response.status} {response.reason}: {text}")
        try:
            return json.loads(response.data) if response.data else None
        except ValueError as error:
            raise PluginError(f"{doing} from {url}: the answer is not JSON: {response.data[:60]!r}") from error

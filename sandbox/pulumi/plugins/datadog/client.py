"""Datadog's HTTP API as the real plugin uses it: keys, retries, and error texts.

Source: https://github.com/DataDog/datadog-api-client-go/blob/v2.64.0/api/datadog/client.go (CallAPI)
"""

import json
import os
import socket
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import urllib3
from datadog_api_client.rest import ClientRetry

from sandbox.pulumi.plugins.datadog.go_json import go_json_error
from sandbox.pulumi.plugins.serve import PluginError

RETRIED = frozenset({429, *range(500, 600)})
"""Statuses that are retried, whatever the method."""

DIAL_SECONDS = 30
"""Timeout for connecting; an answer has none."""


class DatadogError(Exception):
    """A request without a good answer; ``path`` is the requested one, if there was any answer."""

    path: str | None = None
    status: int | None = None

    @property
    def short(self) -> str:
        """The short form of Go's error."""
        return str(self)


class StatusError(DatadogError):
    """An unsuccessful answer: ``403 Forbidden`` and its body."""

    def __init__(self, path: str, status: int, reason: str, body: str) -> None:
        super().__init__(f"{status} {reason}: {body}")
        self.path, self.status, self._short, self.body = path, status, f"{status} {reason}", body

    @property
    def short(self) -> str:
        return self._short


class UnreadableError(DatadogError):
    """An answer that is not JSON."""

    def __init__(self, path: str, content: bytes) -> None:
        text = content.decode(errors="replace")
        self._short = go_json_error(text) or "json: cannot unmarshal"
        super().__init__(f"{self._short}: {text}")
        self.path = path

    @property
    def short(self) -> str:
        return self._short


class UrlError(DatadogError):
    """No answer: Go's ``url.Error``."""


class _Backoff(ClientRetry):
    """Backs off as the real plugin: 429 waits for ``X-RateLimit-Reset``, all else for ``base * multiplier ** n``."""

    base = 2.0
    multiplier = 2.0

    def new(self, **changes: Any) -> "_Backoff":
        following: _Backoff = super().new(**changes)
        following.base, following.multiplier = self.base, self.multiplier
        return following

    def get_backoff_time(self) -> float:
        return float(self.base * self.multiplier ** (len(self.history) - 1))

    def get_retry_after(self, response: Any) -> float | None:
        reset = response.headers.get("X-RateLimit-Reset", "") if response.status == 429 else ""
        return float(reset) if reset.isdigit() else None


@dataclass(frozen=True, kw_only=True)
class Client:
    """An account's API."""

    url: str
    api_key: str = field(repr=False)
    app_key: str = field(repr=False)
    retries: int = 3
    base: float = 2.0
    multiplier: float = 2.0
    pool: urllib3.PoolManager = field(default_factory=lambda: urllib3.PoolManager(maxsize=16))

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """Return the parsed answer, None if it is empty.

        Raises:
            DatadogError: there is no good one.
        """
        url = self.url.rstrip("/") + path
        headers = {"DD-API-KEY": self.api_key, "DD-APPLICATION-KEY": self.app_key, "Accept": "application/json"}
        asked = f'{method.capitalize()} "{url}": '
        for name, value in headers.items():
            if any(ord(character) < 32 or ord(character) == 127 for character in value):
                canonical = "-".join(part.capitalize() for part in name.split("-"))
                raise UrlError(f'{asked}net/http: invalid header field value for "{canonical}"')
        retry = _Backoff(
            total=self.retries, connect=0, read=0, other=0, status_forcelist=RETRIED, raise_on_status=False
        )
        retry.base, retry.multiplier = self.base, self.multiplier
        timeout = urllib3.Timeout(connect=DIAL_SECONDS, read=None)
        try:
            response = self.pool.request(
                method, url, headers=headers, json=body, retries=retry, timeout=timeout, redirect=False
            )
        except urllib3.exceptions.HTTPError as error:
            raise UrlError(asked + _go_network_error(getattr(error, "reason", None) or error, url)) from error
        shown = path.partition("?")[0]
        if response.status >= 300:
            text = response.data.decode(errors="replace")
            raise StatusError(shown, response.status, str(response.reason), text)
        try:
            return json.loads(response.data) if response.data else None
        except ValueError as error:
            raise UnreadableError(shown, response.data) from error


def _go_network_error(error: BaseException, url: str) -> str:
    """Return Go's text for a request without an answer.

    Raises:
        PluginError: this stand-in doesn't know them.
    """
    parts = urlsplit(url)
    address = f"{parts.hostname}:{parts.port or {'http': 80, 'https': 443}[parts.scheme]}"
    causes: list[BaseException] = []
    pending: BaseException | None = error
    while pending is not None and pending not in causes:
        causes.append(pending)
        pending = pending.__cause__ or pending.__context__
    if name := next((cause for cause in causes if isinstance(cause, socket.gaierror)), None):
        raise PluginError(f"this stand-in doesn't know what the real plugin says of a name: {name}")
    if refused := next((cause for cause in causes if isinstance(cause, ConnectionRefusedError)), None):
        return f"dial tcp {address}: connect: {os.strerror(refused.errno or 0).lower()}"
    if any(isinstance(cause, ConnectionResetError | urllib3.exceptions.ProtocolError) for cause in causes):
        return "EOF"
    if any(type(cause) is urllib3.exceptions.ConnectTimeoutError for cause in causes):
        return f"dial tcp {address}: i/o timeout"
    raise PluginError(f"this stand-in doesn't know what the real plugin says of: {error}")

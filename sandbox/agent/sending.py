"""Sends requests to the stand-in Datadog, and never to Datadog itself or elsewhere on the internet."""

import ipaddress
import urllib.error
import urllib.request
from collections.abc import Mapping
from http.client import HTTPException
from urllib.parse import urlsplit

SITES = ("datadoghq.com", "datadoghq.eu", "ddog-gov.com")


class UnreachableError(Exception):
    """There was no answer: refused, timed out, broken, or blocked here."""


def kept_back(url: str) -> bool:
    """Return whether an address is outside this machine's own networks, so that nothing is sent there."""
    host = (urlsplit(url).hostname or "").rstrip(".")
    try:
        return not ipaddress.ip_address(host).is_private
    except ValueError:
        return host != "localhost" and not host.endswith((".localhost", ".test", ".internal"))


def request(
    url: str, body: bytes | None = None, headers: Mapping[str, str] | None = None, timeout: float = 10.0
) -> tuple[int, str]:
    """Send a GET, or with a ``body`` a POST; return the status and the start of the answer.

    Raises:
        UnreachableError: there was no answer.
    """
    method = "GET" if body is None else "POST"
    shown = url.partition("?")[0]
    if kept_back(url):
        raise UnreachableError(f'{method} "{shown}": the sandbox has no way there, and nothing is sent')
    try:
        asked = urllib.request.Request(url, data=body, headers=dict(headers or {}))  # noqa: S310
        with urllib.request.urlopen(asked, timeout=timeout) as answer:  # noqa: S310
            return int(answer.status), str(answer.read(1000).decode(errors="replace"))
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read(1000).decode(errors="replace")
    except (OSError, ValueError, HTTPException) as error:
        raise UnreachableError(f'{method} "{shown}": {error}') from error

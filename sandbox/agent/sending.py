"""One request to Datadog, or to what stands for it; never to Datadog itself, nor to anywhere else on the internet."""

import ipaddress
import urllib.error
import urllib.request
from collections.abc import Mapping
from http.client import HTTPException
from urllib.parse import urlsplit

SITES = ("datadoghq.com", "datadoghq.eu", "ddog-gov.com")


class UnreachableError(Exception):
    """No answer came: refused, timed out, broken, or kept back here."""


def kept_back(url: str) -> bool:
    """Whether an address is none of this machine's own networks: nothing is sent there."""
    host = (urlsplit(url).hostname or "").rstrip(".")
    try:
        return not ipaddress.ip_address(host).is_private
    except ValueError:
        return host != "localhost" and not host.endswith((".localhost", ".test", ".internal"))


def request(
    url: str, body: bytes | None = None, headers: Mapping[str, str] | None = None, timeout: float = 10.0
) -> tuple[int, str]:
    """The status and the beginning of the answer to a GET, or with a ``body`` to a POST.

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

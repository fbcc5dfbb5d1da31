"""Validates the account's keys with Datadog before any resource is created.

The Datadog provider reports a wrong API key only as ``403 Forbidden``, a wrong application key not before a monitor is
validated, and an unreachable API as ``EOF``; hosts may be half installed by then.

Sources: https://docs.datadoghq.com/api/latest/authentication/#validate-api-key,
https://docs.datadoghq.com/api/latest/key-management/validate-api-and-application-keys/
"""

import http.client
import json
import os
import socket
import ssl
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from threading import Thread
from urllib.parse import urlsplit

API_KEY, BOTH_KEYS = "/api/v1/validate", "/api/v2/validate_keys"
"""The endpoints that validate the API key, and both keys."""

MONITORS = "/api/v1/monitor?page=0&page_size=1"
"""A request that every application key of Watchpost must be allowed (docs/operating.md, least privilege)."""

SECONDS = 15.0
"""Timeout of one request."""

TRIES = 2
"""Attempts if the connection closes without an answer."""

REFUSED = (401, 403)

ENDED = (ConnectionResetError, BrokenPipeError, ssl.SSLEOFError)
"""Errors of a connection that closes without an answer."""


@dataclass(frozen=True, kw_only=True)
class Key:
    """A key and the setting that holds it; ``remedy`` is how to set another, up to the word `another`."""

    value: str = field(repr=False)
    setting: str
    remedy: str

    @property
    def fault(self) -> str | None:
        """Why the key can't be sent in an HTTP header, such as whitespace in it; ``None`` if it can."""
        if all("!" <= character <= "~" for character in self.value):
            return None
        return (
            f"{self.setting} holds a blank, a line end or another character that no key has:"
            f" {self.remedy} the key alone"
        )


class UnreachableError(Exception):
    """The API gave no answer; the message says why, phrased to follow `can't be reached:`."""


class Check:
    """A validation that runs in the background; :meth:`faults` waits for its result."""

    def __init__(self, url: str, url_setting: str, api_key: Key, app_key: Key | None) -> None:
        """Start validating with the API at ``url``, set by ``url_setting``; without ``app_key``, only the API key."""
        self._url, self._url_setting, self._api_key, self._app_key = url.rstrip("/"), url_setting, api_key, app_key
        self._answers: dict[str, int | UnreachableError] = {}
        self._threads = [Thread(target=self._note, args=[path], daemon=True) for path in self._paths()]
        for thread in self._threads:
            thread.start()

    def _paths(self) -> list[str]:
        return [API_KEY, BOTH_KEYS] if self._app_key else [API_KEY]

    def _note(self, path: str) -> None:
        try:
            self._answers[path] = self._ask(path)
        except UnreachableError as error:
            self._answers[path] = error

    def _ask(self, path: str) -> int:
        headers = {"DD-API-KEY": self._api_key.value, "Accept": "application/json"}
        if self._app_key:
            headers["DD-APPLICATION-KEY"] = self._app_key.value
        return status(f"{self._url}{path}", headers)

    def faults(self) -> list[str]:
        """Describe each fault in a sentence; transient ones, such as a busy API, are left to the provider's retries."""
        for thread in self._threads:
            thread.join()
        answer = self._answers[API_KEY]
        if isinstance(answer, UnreachableError):
            if self._app_key is None:
                return []  # nothing else here talks to the API
            return [f"Datadog's API at {shown(self._url)} can't be reached: {answer}; {self._url_setting}"]
        if answer in REFUSED:
            return [self._refused(self._api_key, answer)]
        if 300 <= answer < 500 and answer not in (408, 429):
            what = f"{shown(self._url)} doesn't answer as Datadog's API does (HTTP {answer} at {API_KEY})"
            return [f"{what}; {self._url_setting}"]
        both = self._answers.get(BOTH_KEYS)
        if self._app_key and both in REFUSED and self._cannot_read_monitors():
            return [self._refused(self._app_key, both)]
        return []

    def _cannot_read_monitors(self) -> bool:
        """Return whether a refused application key can't even read monitors; otherwise it is valid, but scoped."""
        try:
            return self._ask(MONITORS) in REFUSED
        except UnreachableError:
            return False

    def _refused(self, key: Key, code: object) -> str:
        reason = {401: "Unauthorized", 403: "Forbidden"}
        whose = "of another account, or may not read monitors" if key is self._app_key else "of another site's account"
        return (
            f"{key.setting} is refused by {shown(self._url)} ({code} {reason[int(str(code))]}): it was revoked, or is"
            f" {whose}; {key.remedy} another, or where the account is on another site, {self._url_setting}"
        )


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """Refuses redirects: keys are sent only to the address that the user chose."""

    def redirect_request(self, *_: object) -> None:
        return None


def status(url: str, headers: dict[str, str]) -> int:
    """Return the HTTP status of a GET; proxies and CA files are taken from the environment, as by the provider.

    Raises:
        UnreachableError: there was no answer, or it wasn't HTTP or JSON.
    """
    for tries in range(TRIES):
        try:
            return _status(url, headers)
        except (http.client.HTTPException, *ENDED) as error:
            if tries + 1 == TRIES:
                raise UnreachableError(why(ConnectionResetError(), url)) from error
    raise AssertionError("never reached")


def _status(url: str, headers: dict[str, str]) -> int:
    handlers: list[urllib.request.BaseHandler] = [_NoRedirects()]
    if url.startswith("https:"):
        handlers.append(urllib.request.HTTPSHandler(context=_trusted()))
    opener = urllib.request.build_opener(*handlers)
    try:
        with opener.open(urllib.request.Request(url, headers=headers), timeout=SECONDS) as response:  # noqa: S310 - http, https
            json.loads(response.read())
            return int(response.status)
    except urllib.error.HTTPError as error:
        return error.code
    except urllib.error.URLError as error:
        if isinstance(error.reason, ENDED):
            raise ConnectionResetError from error
        raise UnreachableError(why(error.reason, url)) from error
    except ENDED:
        raise
    except TimeoutError as error:
        raise UnreachableError(f"it gives no answer within {SECONDS:.0f} s") from error
    except OSError as error:  # while it answers
        raise UnreachableError(why(error, url)) from error
    except ValueError as error:
        raise UnreachableError("what answers there isn't Datadog's API") from error


def _trusted() -> ssl.SSLContext:
    """Create a TLS context that trusts the system's CAs, or those in SSL_CERT_FILE, as the provider does."""
    context = ssl.create_default_context()
    if not context.cert_store_stats()["x509_ca"] and not os.environ.get("SSL_CERT_FILE"):
        import certifi  # this interpreter finds no system CAs

        context.load_verify_locations(certifi.where())
    return context


def proxy_for(url: str) -> str:
    """Return the environment's proxy for ``url``, with its scheme; empty if there is none."""
    parts = urlsplit(url)
    proxy = urllib.request.getproxies().get(parts.scheme, "")
    names = (parts.netloc.rpartition("@")[2], parts.hostname or "")  # NO_PROXY may name a port, or an IPv6 address
    if not proxy or any(map(urllib.request.proxy_bypass, names)):
        return ""
    return proxy if "://" in proxy else f"http://{proxy}"


def why(reason: object, url: str, seconds: float = SECONDS) -> str:
    """Explain why there is no answer; ``seconds`` is how long one was waited for."""
    parts = urlsplit(url)
    asked, through = shown(url).partition("://")[2].partition("/")[0], ""
    if proxy := proxy_for(url):
        asked = proxy.rpartition("@")[2].rpartition("//")[2].rstrip("/")
        through = f"through the proxy {asked} ({parts.scheme.upper()}_PROXY, NO_PROXY), "
    text = str(reason)
    match reason:
        case socket.gaierror():
            told = f"the name {asked} doesn't resolve, check this machine's DNS"
        case ConnectionRefusedError():
            told = f"{asked} refuses the connection"
        case TimeoutError():
            told = f"{asked} gives no answer within {seconds:.0f} s"
        case ConnectionResetError() | BrokenPipeError() | ssl.SSLEOFError():
            told = "it closes the connection without an answer"
        case ssl.SSLCertVerificationError():
            told = (
                f"its certificate isn't trusted ({reason.verify_message}), where a proxy of the company answers with a"
                " CA of its own, name the file of that CA in SSL_CERT_FILE"
            )
        case ssl.SSLError():
            told = f"what answers there doesn't speak TLS ({text})"
        case _:
            told = text
    return f"{through}{told}"


def shown(url: str) -> str:
    """Return a URL without its credentials."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()

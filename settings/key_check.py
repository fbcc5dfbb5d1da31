"""Asks Datadog whether the account's keys are good, before anything is made.

The Datadog provider says no more of a wrong API key than ``403 Forbidden``, of a wrong application key nothing until a
monitor is checked, and of an API that can't be reached ``EOF``; hosts may be half installed by then.

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
"""What tells whether the API key is good, and whether both are."""

MONITORS = "/api/v1/monitor?page=0&page_size=1"
"""What an application key of Watchpost has to be allowed in any case (docs/operating.md, least privilege)."""

SECONDS = 15.0
"""How long an answer may take."""

TRIES = 2
"""How often a connection that ends without an answer is tried."""

REFUSED = (401, 403)


@dataclass(frozen=True, kw_only=True)
class Key:
    """A key with the setting that it comes from; ``remedy`` is how to set another, up to the word `another`."""

    value: str = field(repr=False)
    setting: str
    remedy: str

    @property
    def fault(self) -> str | None:
        """A sentence if no HTTP header can carry it: it holds a blank, a line end or the like."""
        if all("!" <= character <= "~" for character in self.value):
            return None
        return (
            f"{self.setting} holds a blank, a line end or another character that no key has:"
            f" {self.remedy} the key alone"
        )


class UnreachableError(Exception):
    """The API gives no answer; the message says why, to follow `it can't be reached:`."""


class Check:
    """The question, under way from its beginning; :meth:`faults` waits for the answer."""

    def __init__(self, url: str, url_setting: str, api_key: Key, app_key: Key | None) -> None:
        """Begin to ask the API at ``url``, which ``url_setting`` chooses; without ``app_key`` of the API key alone."""
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
        """A sentence for each thing that is wrong. What passes, as a busy API, is left to the provider to survive."""
        for thread in self._threads:
            thread.join()
        answer = self._answers[API_KEY]
        if isinstance(answer, UnreachableError):
            if self._app_key is None:
                return []  # nothing here talks to the API but this check
            return [f"Datadog's API at {shown(self._url)} can't be reached: {answer}; {self._url_setting}"]
        if answer in REFUSED:
            return [self._refused(self._api_key, answer)]
        if 300 <= answer < 500 and answer not in (408, 429):
            what = f"{shown(self._url)} doesn't answer as Datadog's API does (HTTP {answer} at {API_KEY})"
            return [f"{what}; {self._url_setting}"]
        both = self._answers.get(BOTH_KEYS)
        if self._app_key and both in REFUSED and self._may_not_even_look():
            return [self._refused(self._app_key, both)]
        return []

    def _may_not_even_look(self) -> bool:
        """Whether a key that was refused is good for nothing: it may be one with scopes."""
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
    """Keys go nowhere but where the user said."""

    def redirect_request(self, *_: object) -> None:
        return None


def status(url: str, headers: dict[str, str]) -> int:
    """The HTTP status of a GET; what a proxy or a CA file is set to in the environment counts, as with the provider.

    Raises:
        UnreachableError: no answer came, or one that isn't HTTP or not JSON.
    """
    for tries in range(TRIES):
        try:
            return _status(url, headers)
        except (http.client.HTTPException, ConnectionResetError, BrokenPipeError) as error:
            if tries + 1 == TRIES:
                raise UnreachableError("it ends the connection without an answer") from error
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
        if isinstance(error.reason, ConnectionResetError | BrokenPipeError | ssl.SSLEOFError):
            raise ConnectionResetError from error
        raise UnreachableError(_why(error.reason, url)) from error
    except TimeoutError as error:
        raise UnreachableError(f"it gives no answer within {SECONDS:.0f} s") from error
    except ValueError as error:
        raise UnreachableError("what answers there isn't Datadog's API") from error


def _trusted() -> ssl.SSLContext:
    """Who may vouch for the API: the system's authorities or those in SSL_CERT_FILE, as for the provider."""
    context = ssl.create_default_context()
    if not context.cert_store_stats()["x509_ca"] and not os.environ.get("SSL_CERT_FILE"):
        import certifi  # this interpreter knows of no authorities of the system

        context.load_verify_locations(certifi.where())
    return context


def _why(reason: object, url: str) -> str:
    """Why no connection came about."""
    parts = urlsplit(url)
    asked, through = shown(url).partition("://")[2].partition("/")[0], ""
    proxy = urllib.request.getproxies().get(parts.scheme)
    if proxy and not urllib.request.proxy_bypass(parts.netloc):
        asked = proxy.rpartition("@")[2].rpartition("//")[2].rstrip("/")
        through = f"through the proxy {asked} ({parts.scheme.upper()}_PROXY, NO_PROXY), "
    text = str(reason)
    match reason:
        case socket.gaierror():
            why = f"the name {asked} doesn't resolve, check this machine's DNS"
        case ConnectionRefusedError():
            why = f"{asked} refuses the connection"
        case TimeoutError():
            why = f"{asked} gives no answer within {SECONDS:.0f} s"
        case ssl.SSLCertVerificationError():
            why = (
                f"its certificate isn't trusted ({reason.verify_message}), where a proxy of the company answers with a"
                " CA of its own, name the file of that CA in SSL_CERT_FILE"
            )
        case ssl.SSLError():
            why = f"what answers there doesn't speak TLS ({text})"
        case _:
            why = text
    return f"{through}{why}"


def shown(url: str) -> str:
    """A URL without what logs in."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()

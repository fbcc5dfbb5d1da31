"""Datadog's API client, for what the Pulumi provider can't do; it reports every failure in one sentence.

Import it where it is needed: it takes half a second, and most runs of the program don't call Datadog directly.
"""

import contextlib
import json
import logging
import os
import ssl
from collections.abc import Iterator
from urllib.parse import unquote, urlsplit

import certifi
import urllib3
from datadog_api_client import ApiClient, Configuration
from datadog_api_client.exceptions import ApiException, OpenApiException

from settings import key_check
from settings.credentials import VARIABLES
from settings.key_check import shown

logging.getLogger("urllib3").setLevel(logging.ERROR)  # else each retry is a warning on standard error

SECONDS = 30.0
"""Timeout of one request."""

LONGEST_WAIT = 30.0
"""Longest wait before a retry, in seconds, if Datadog asks for one."""

TRANSIENT = frozenset({408, 429, *range(500, 600)})
"""Statuses that a retry may change; a POST isn't retried, since Datadog may have done it."""


class AccountError(Exception):
    """A call of Datadog failed; the message is a sentence. ``status`` is the answer's, 0 if there was none."""

    def __init__(self, sentence: str, status: int = 0) -> None:
        super().__init__(sentence)
        self.status = status

    @property
    def is_transient(self) -> bool:
        """Whether a later request may succeed."""
        return self.status in TRANSIENT or not self.status


@contextlib.contextmanager
def client(url: str, api_key: str, app_key: str) -> Iterator[ApiClient]:
    """Provide a client for the API at ``url``, with the environment's proxies and CAs, as the provider does.

    Raises:
        AccountError: a request in the block failed, or couldn't be sent.
    """
    keys = {"apiKey": api_key, "appKey": app_key}
    for name, value in keys.items():
        # The HTTP library would show such a key in its error.
        if fault := key_check.Key(value=value, setting=f"datadog:{name} ({VARIABLES[name][0]})", remedy="set").fault:
            raise AccountError(fault)
    if urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).hostname:
        raise AccountError(f"{shown(url)!r} is not the address of Datadog's API: see datadog:apiUrl or DD_HOST")
    configuration = Configuration(host=url, ssl_ca_cert=_authorities(), request_timeout=SECONDS, retry_policy=_Retry())
    configuration.api_key |= {"apiKeyAuth": api_key, "appKeyAuth": app_key}
    _use_proxy(configuration, url)
    try:
        with ApiClient(configuration) as datadog:
            yield datadog
    except ApiException as error:
        # Something else at that address may answer 404 to everything, which says nothing of an object.
        elsewhere = error.status == 404 and not is_missing(error)
        raise AccountError(_refusal(url, error), 0 if elsewhere else error.status or 0) from None
    except urllib3.exceptions.HTTPError as error:
        raise AccountError(_unreachable(url, error)) from None
    except (OpenApiException, UnicodeDecodeError):
        raise AccountError(f"what answers at {shown(url)} isn't Datadog's API") from None


def is_missing(error: ApiException) -> bool:
    """Whether Datadog itself, not something else at its address, answered that an object doesn't exist."""
    return bool(error.status == 404 and isinstance(error.body, dict) and error.body.get("errors"))


class _Retry(urllib3.Retry):
    """Retries transient failures; follows no redirect, so that keys go only to the address that the user chose."""

    def __init__(self, **settings: object) -> None:
        chosen: dict[str, object] = {
            "total": 3,
            "connect": 1,
            "read": 1,
            "redirect": False,
            "status_forcelist": TRANSIENT,
            "allowed_methods": {"GET", "PUT", "DELETE"},
            "backoff_factor": 0.5,
            "raise_on_status": False,
        }
        super().__init__(**(chosen | settings))  # type: ignore[arg-type]

    def get_retry_after(self, response: urllib3.BaseHTTPResponse) -> float | None:
        """Return how many seconds Datadog asks to wait. Source: https://docs.datadoghq.com/api/latest/rate-limits/"""
        reset = response.headers.get("X-RateLimit-Reset", "")
        return min(float(reset), LONGEST_WAIT) if reset.isdigit() else None


def _authorities() -> str | None:
    """Return certifi's CAs if neither the system nor SSL_CERT_FILE has any."""
    paths = ssl.get_default_verify_paths()
    if paths.cafile or (paths.capath and any(os.scandir(paths.capath))):
        return None
    return certifi.where()


def _use_proxy(configuration: Configuration, url: str) -> None:
    proxy = key_check.proxy_for(url)
    if not proxy:
        return
    if urlsplit(proxy).scheme not in ("http", "https"):
        variable = f"{urlsplit(url).scheme.upper()}_PROXY"
        raise AccountError(
            f"Datadog's API at {shown(url)} can't be reached through {shown(proxy)} ({variable}):"
            " only the Datadog provider takes such a proxy; set the address of an HTTP proxy, or NO_PROXY"
        )
    login, _, _ = urlsplit(proxy).netloc.rpartition("@")
    configuration.proxy = shown(proxy)
    if login:
        configuration.proxy_headers = urllib3.make_headers(proxy_basic_auth=unquote(login))


def _refusal(url: str, error: ApiException) -> str:
    """Explain an answer that isn't a success."""
    answered = f"{error.status} {error.reason}"
    if not error.status:  # how Datadog's client reports a TLS failure
        return _unreachable(url, error)
    if error.status == 429:
        return f"Datadog at {shown(url)} is busy ({answered}): try again in a minute"
    if error.status in TRANSIENT:
        return f"Datadog at {shown(url)} failed ({answered}): try again later"
    refused = f"Datadog at {shown(url)} refused: {answered}"
    if error.status in key_check.REFUSED:
        return (
            f"{refused}: the API key or the application key was revoked, is of another site or account, or lacks a"
            " permission (docs/operating.md, Least privilege); see datadog:apiKey and datadog:appKey, or DD_API_KEY and"
            " DD_APP_KEY"
        )
    if not isinstance(error.body, dict):
        return f"{shown(url)} doesn't answer as Datadog's API does (HTTP {error.status})"
    said = error.body.get("errors") or error.body
    said = said if isinstance(said, list) else [said]
    return f"{refused}: {'; '.join(text if isinstance(text, str) else json.dumps(text) for text in said)}"


def _unreachable(url: str, error: BaseException) -> str:
    """Explain why there is no answer, by the system's error beneath the HTTP library's."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, OSError):
        held = (getattr(cause, "reason", None), *cause.args, cause.__cause__, cause.__context__)
        cause = next((below for below in held if isinstance(below, BaseException)), None)
    return f"Datadog's API at {shown(url)} can't be reached: {key_check.why(cause or error, url, SECONDS)}"

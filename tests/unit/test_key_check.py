"""``settings.key_check``: what it reports of keys and APIs, with servers on loopback."""

import http.client
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from settings import key_check
from settings.key_check import API_KEY, BOTH_KEYS, MONITORS, Check, Key, shown

GOOD = Key(
    value="fake-api-key", setting="datadog:apiKey", remedy="`pulumi config set --secret datadog:apiKey` asks for"
)
APP = Key(value="fake-app-key", setting="DD_APP_KEY", remedy="export DD_APP_KEY with")
SITE = 'watchpost:site is "datadoghq.com", set another with: pulumi config set watchpost:site SITE'


class Server(ThreadingHTTPServer):
    """Answers each path with a status, or does something else with the connection."""

    daemon_threads = True
    answers: dict[str, int | str]

    def handle_error(self, *_: Any) -> None: ...


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        assert self.headers["DD-API-KEY"] == GOOD.value
        answer = self.server.answers.get(self.path, 404)
        if answer == "cut":
            self.close_connection = True
            return
        body = b"<html>" if answer == "garbage" else b"{}"
        self.send_response(200 if isinstance(answer, str) else answer)
        if answer == 302:
            self.send_header("Location", "/elsewhere")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None: ...


@contextmanager
def served(
    answers: dict[str, int | str], wrap: Callable[[socket.socket], socket.socket] | None = None
) -> Iterator[int]:
    """The port of a server that answers so."""
    server = Server(("127.0.0.1", 0), Handler)
    server.answers = answers
    if wrap:
        server.socket = wrap(server.socket)
    thread = threading.Thread(target=server.serve_forever, args=[0.01])
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy", "SSL_CERT_FILE"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def faults(answers: dict[str, int | str], app_key: Key | None = APP) -> tuple[str, list[str]]:
    """The address of an API that answers so, and what is said of it."""
    with served(answers) as port:
        url = f"http://127.0.0.1:{port}"
        return url, Check(f"{url}/", SITE, GOOD, app_key).faults()


@pytest.mark.parametrize(
    "answers",
    [
        {API_KEY: 200, BOTH_KEYS: 200},
        {API_KEY: 200, BOTH_KEYS: 404},  # an API that has no such path
        {API_KEY: 200, BOTH_KEYS: "cut"},
        {API_KEY: 200, BOTH_KEYS: 403, MONITORS: 200},  # a key with scopes that don't cover the question
        {API_KEY: 429, BOTH_KEYS: 429},
        {API_KEY: 503, BOTH_KEYS: 503},
    ],
)
def test_good_keys_and_a_busy_api_are_no_fault(answers: dict[str, int | str]) -> None:
    assert faults(answers)[1] == []


@pytest.mark.parametrize(("code", "word"), [(401, "Unauthorized"), (403, "Forbidden")])
def test_a_wrong_api_key_is_told_with_the_way_to_another(code: int, word: str) -> None:
    url, found = faults({API_KEY: code, BOTH_KEYS: code, MONITORS: code})
    assert len(found) == 1
    assert found[0] == (
        f"datadog:apiKey is refused by {url} ({code} {word}): it was revoked, or is of another site's account;"
        " `pulumi config set --secret datadog:apiKey` asks for another, or where the account is on another site,"
        f" {SITE}"
    )


def test_a_wrong_application_key_is_told_where_the_stack_needs_one() -> None:
    answers: dict[str, int | str] = {API_KEY: 200, BOTH_KEYS: 403, MONITORS: 403}
    url, (fault,) = faults(answers)
    assert fault.startswith(
        f"DD_APP_KEY is refused by {url} (403 Forbidden): it was revoked, or is of another account, or may not read"
        " monitors; export DD_APP_KEY with another"
    )
    assert faults(answers, app_key=None)[1] == []


@pytest.mark.parametrize("answer", [404, 302, 400])
def test_what_is_no_api_of_datadog_is_told(answer: int) -> None:
    url, found = faults({API_KEY: answer, "/elsewhere": 200})
    assert found == [f"{url} doesn't answer as Datadog's API does (HTTP {answer} at {API_KEY}); {SITE}"]


@pytest.mark.parametrize(
    ("answer", "why"),
    [("cut", "it closes the connection without an answer"), ("garbage", "what answers there isn't Datadog's API")],
)
def test_an_api_without_an_answer_is_told(answer: str, why: str) -> None:
    url, found = faults({API_KEY: answer})
    assert found == [f"Datadog's API at {url} can't be reached: {why}; {SITE}"]


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (OSError(113, "No route to host"), "No route to host"),
        (ssl.SSLError(1, "bad record mac"), "bad record mac"),
        (ssl.SSLEOFError(8, "EOF occurred"), "closes the connection without an answer"),
        (BrokenPipeError(), "closes the connection without an answer"),
        (TimeoutError(), "gives no answer within"),
    ],
)
def test_an_answer_that_breaks_off_is_told(error: OSError, told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def read(*_: object) -> None:
        raise error

    monkeypatch.setattr(http.client.HTTPResponse, "read", read)
    _, (fault,) = faults({API_KEY: 200, BOTH_KEYS: 200})
    assert told in fault


def test_a_stack_that_only_has_hosts_needs_no_api() -> None:
    assert faults({API_KEY: "cut"}, app_key=None)[1] == []


def unreachable(url: str) -> str:
    """Why the API can't be reached, as it is told."""
    (fault,) = Check(url, SITE, GOOD, APP).faults()
    beginning, end = f"Datadog's API at {url} can't be reached: ", f"; {SITE}"
    assert fault.startswith(beginning)
    assert fault.endswith(end)
    assert GOOD.value not in fault
    return fault.removeprefix(beginning).removesuffix(end)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def test_a_closed_port_and_a_name_that_does_not_resolve_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    port = free_port()
    assert unreachable(f"http://127.0.0.1:{port}") == f"127.0.0.1:{port} refuses the connection"

    def resolve(*_: object, **__: object) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    assert unreachable("https://api.datadoghq.com") == (
        "the name api.datadoghq.com doesn't resolve, check this machine's DNS"
    )


def test_silence_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(key_check, "SECONDS", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert "gives no answer within" in unreachable(f"http://127.0.0.1:{server.getsockname()[1]}")


def test_a_certificate_that_nobody_vouches_for_and_no_tls_at_all_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, certificate = tmp_path / "key", tmp_path / "certificate"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"),
            *("-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", certificate),
        ],
        check=True,
        capture_output=True,
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    answers: dict[str, int | str] = {API_KEY: 200, BOTH_KEYS: 200}
    with served(answers, lambda plain: context.wrap_socket(plain, server_side=True)) as port:
        url = f"https://127.0.0.1:{port}"
        assert unreachable(url) == (
            "its certificate isn't trusted (self-signed certificate), where a proxy of the company answers with a CA of"
            " its own, name the file of that CA in SSL_CERT_FILE"
        )
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        assert Check(url, SITE, GOOD, APP).faults() == []
    with served(answers) as port:
        assert unreachable(f"https://127.0.0.1:{port}").startswith("what answers there doesn't speak TLS (")


def test_a_proxy_is_named_without_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    port = free_port()
    monkeypatch.setenv("HTTPS_PROXY", f"http://me:fake-password@127.0.0.1:{port}")
    assert unreachable("https://api.datadoghq.com") == (
        f"through the proxy 127.0.0.1:{port} (HTTPS_PROXY, NO_PROXY), 127.0.0.1:{port} refuses the connection"
    )
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    other = free_port()
    assert unreachable(f"https://127.0.0.1:{other}") == f"127.0.0.1:{other} refuses the connection"


@pytest.mark.parametrize("value", ["fake\n", " fake", "fa ke", "fake\r\n", "fäke", "fake\t", "fake\x7f"])
def test_what_can_be_no_key_is_never_sent_or_shown(value: str) -> None:
    key = Key(value=value, setting="DD_API_KEY", remedy="export DD_API_KEY with")
    assert key.fault == (
        "DD_API_KEY holds a blank, a line end or another character that no key has:"
        " export DD_API_KEY with the key alone"
    )
    assert value not in repr(key)


def test_an_address_is_shown_without_what_logs_in() -> None:
    assert shown("https://me:fake@dd.example.com:8443/x") == "https://dd.example.com:8443/x"

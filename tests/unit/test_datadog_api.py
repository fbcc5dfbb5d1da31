"""``components.datadog_api``: whatever Datadog answers, or doesn't, ends as one sentence without a key."""

import base64
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from datadog_api_client.v1.api.monitors_api import MonitorsApi
from datadog_api_client.v2.api.downtimes_api import DowntimesApi
from hypothesis import given
from hypothesis import strategies as st

from components import datadog_api
from components.datadog_api import AccountError, client

KEYS = ("fake-api-key", "fake-app-key")

Answer = tuple[int, bytes, dict[str, str]] | None
"""Status, body and headers; ``None`` closes the connection."""


class Server(ThreadingHTTPServer):
    """Gives its answers one after another, the last one again and again, and notes the requests."""

    daemon_threads = True
    answers: list[Answer]
    asked: list[tuple[str, dict[str, str]]]

    def handle_error(self, *_: Any) -> None: ...


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.asked.append((self.path, {name.title(): value for name, value in self.headers.items()}))
        answer = self.server.answers.pop(0) if len(self.server.answers) > 1 else self.server.answers[0]
        if answer is None:
            self.close_connection = True
            return
        status, body, headers = answer
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None: ...


@contextmanager
def served(*answers: Answer) -> Iterator[Server]:
    server = Server(("127.0.0.1", 0), Handler)
    server.answers, server.asked = list(answers), []
    thread = threading.Thread(target=server.serve_forever, args=[0.01])
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def url(server: Server) -> str:
    return f"http://127.0.0.1:{server.server_port}"


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setattr(datadog_api._Retry, "sleep", lambda *_: None)


def ask(address: str, keys: tuple[str, str] = KEYS) -> None:
    with client(address, *keys) as datadog:
        DowntimesApi(datadog).get_downtime("00000000-0000-0000-0000-000000000000").data.attributes.to_dict()


def told(address: str, function: Callable[[str], None] = ask) -> AccountError:
    """What is said of a failing request."""
    with pytest.raises(AccountError) as caught:
        function(address)
    assert not set(KEYS) & set(str(caught.value).split())
    assert "\n" not in str(caught.value)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    return caught.value


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (
            (403, b'{"errors": ["Forbidden"]}', {}),
            (
                "Datadog at {url} refused: 403 Forbidden: the API key or the application key was revoked, is of another"
                " site or account, or lacks a permission (docs/operating.md, Least privilege); see datadog:apiKey and"
                " datadog:appKey, or DD_API_KEY and DD_APP_KEY"
            ),
        ),
        (
            (400, b'{"errors": ["no", {"detail": "so"}]}', {}),
            'Datadog at {url} refused: 400 Bad Request: no; {"detail": "so"}',
        ),
        ((400, b'{"errors": "no"}', {}), "Datadog at {url} refused: 400 Bad Request: no"),
        ((400, b'{"errors": 5}', {}), "Datadog at {url} refused: 400 Bad Request: 5"),
        ((400, b"{}", {}), "Datadog at {url} refused: 400 Bad Request: {}"),
        ((404, b"<html>no</html>", {}), "{url} doesn't answer as Datadog's API does (HTTP 404)"),
        ((200, b"<html>Sign in</html>", {}), "what answers at {url} isn't Datadog's API"),
        ((200, b"", {}), "what answers at {url} isn't Datadog's API"),
        ((200, b"{}", {}), "what answers at {url} isn't Datadog's API"),
        ((200, b"[]", {}), "what answers at {url} isn't Datadog's API"),
        ((200, b'{"data": "x"}', {}), "what answers at {url} isn't Datadog's API"),
        ((400, b"\xff\xfe", {}), "what answers at {url} isn't Datadog's API"),
        (
            (429, b'{"errors": ["slow"]}', {"X-RateLimit-Reset": "5"}),
            "Datadog at {url} is busy (429 Too Many Requests): try again in a minute",
        ),
        (
            (502, b"<html>\nBad\nGateway</html>", {}),
            "Datadog at {url} failed (502 Bad Gateway): try again later",
        ),
        (None, "Datadog's API at {url} can't be reached: it closes the connection without an answer"),
    ],
)
def test_an_answer_that_is_none_is_told_in_a_sentence(answer: Answer, sentence: str) -> None:
    with served(answer) as server:
        assert str(told(url(server))) == sentence.replace("{url}", url(server))


@pytest.mark.parametrize(
    ("body", "status"), [(b'{"errors": ["not found"]}', 404), (b"<html>no</html>", 0), (b"{}", 0), (b"[]", 0), (b"", 0)]
)
def test_only_datadogs_own_404_tells_of_an_object(body: bytes, status: int) -> None:
    with served((404, body, {})) as server:
        assert told(url(server)).status == status


@given(status=st.sampled_from([200, 201, 302, 400, 401, 403, 404, 409, 422, 500, 503]), body=st.binary(max_size=60))
def test_no_answer_is_a_traceback(status: int, body: bytes) -> None:
    with served((status, body, {})) as server:
        told(url(server))


@pytest.mark.parametrize("status", [429, 500, 503])
def test_what_passes_is_asked_again(status: int) -> None:
    refused: Answer = (status, b"{}", {})
    with served(refused, refused, (200, b"[]", {})) as server, client(url(server), *KEYS) as api:
        assert MonitorsApi(api).list_monitors() == []
        assert len(server.asked) == 3


def test_keys_do_not_go_where_a_redirect_points() -> None:
    with served((200, b"[]", {})) as other, served((302, b"", {"Location": url(other)})) as server:
        assert str(told(url(server))) == f"{url(server)} doesn't answer as Datadog's API does (HTTP 302)"
        assert other.asked == []


def test_an_api_that_cannot_be_reached_is_told() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        reached = f"Datadog's API at http://127.0.0.1:{port} can't be reached: 127.0.0.1:{port} refuses the connection"
        assert str(told(f"http://127.0.0.1:{port}")) == reached
    name = "http://datadog.invalid"
    unknown = "the name datadog.invalid doesn't resolve, check this machine's DNS"
    assert str(told(name)) == f"Datadog's API at {name} can't be reached: {unknown}"


def test_an_api_that_takes_its_time_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datadog_api, "SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        late = f"{address.removeprefix('http://')} gives no answer within 0 s"
        assert str(told(address)) == f"Datadog's API at {address} can't be reached: {late}"


def test_an_api_without_tls_is_told() -> None:
    with served((200, b"[]", {})) as server:
        address = url(server).replace("http:", "https:")
        assert str(told(address)).startswith(f"Datadog's API at {address} can't be reached: what answers there doesn't")


@pytest.mark.parametrize("keys", [("fake key", "fake-app-key"), ("fake-api-key", "fake\nkey")])
def test_a_key_that_cannot_be_sent_is_not_shown(keys: tuple[str, str]) -> None:
    error = str(told("http://127.0.0.1:1", lambda address: ask(address, keys)))
    assert error.startswith(("datadog:apiKey (DD_API_KEY) holds a blank", "datadog:appKey (DD_APP_KEY) holds a blank"))
    assert "fake" not in error


@pytest.mark.parametrize("address", ["nonsense", "ftp://example.com", "http://"])
def test_an_address_that_is_none_is_told(address: str) -> None:
    assert str(told(address)).startswith(f"'{address}' is not the address of Datadog's API: ")


@pytest.mark.parametrize("scheme", ["http", "HTTP"])
def test_the_environment_s_proxy_is_used_as_by_the_provider(scheme: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with served((200, b"[]", {})) as proxy:
        monkeypatch.setenv("http_proxy", f"{scheme}://me:pass%20word@127.0.0.1:{proxy.server_port}")
        with client("http://api.datadog.invalid", *KEYS) as api:
            assert MonitorsApi(api).list_monitors() == []
        ((path, headers),) = proxy.asked
        assert path.startswith("http://api.datadog.invalid/api/v1/monitor")
        assert headers["Proxy-Authorization"] == f"Basic {base64.b64encode(b'me:pass word').decode()}"
        monkeypatch.setenv("no_proxy", "api.datadog.invalid")
        told("http://api.datadog.invalid")
        assert len(proxy.asked) == 1


def test_a_proxy_that_is_gone_is_named_without_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "me:fake-word@127.0.0.1:1")
    error = str(told("http://api.datadog.invalid"))
    assert "through the proxy 127.0.0.1:1 (HTTP_PROXY, NO_PROXY), 127.0.0.1:1 refuses the connection" in error
    assert "fake-word" not in error


def test_a_proxy_that_only_the_provider_takes_is_told_without_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "socks5h://me:fake-word@127.0.0.1:1080")
    error = str(told("https://api.datadog.invalid"))
    assert "can't be reached through socks5h://127.0.0.1:1080 (HTTPS_PROXY)" in error
    assert "fake-word" not in error

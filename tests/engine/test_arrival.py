"""An ``up`` reports when the Agent's data doesn't arrive: it asks the account and the Agent itself.

The tests build on each other in their order.
"""

import contextlib
import json
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import pytest

from sandbox.stack import INSIDE, Stack
from sandbox.testing.stacks import up

pytestmark = pytest.mark.long


class Swallowing(BaseHTTPRequestHandler):
    """Accepts and drops everything that an Agent sends, like an unrelated server."""

    paths: ClassVar[set[str]] = set()

    def do_GET(self) -> None:
        """Answer as Datadog to a valid key."""
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.paths.add(self.path.partition("?")[0])
        self.send_response(200 if self.command == "GET" else 202)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    do_POST = do_GET  # noqa: N815 - the library's own name

    def log_message(self, *_: object) -> None:
        """Log nothing."""


@contextlib.contextmanager
def swallowing() -> Iterator[str]:
    """The address of such a server, as seen from a machine."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Swallowing)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://{INSIDE}:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)


def nobody() -> str:
    """An address where nothing listens, as seen from a machine."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"http://{INSIDE}:{server.getsockname()[1]}"


def test_data_that_arrives_is_seen_and_nothing_is_said(stack: Stack) -> None:
    stack.configure(loadRequests=0)
    done = up(stack)
    assert done.code == 0, done.text
    assert "was seen" not in done.text
    assert "was not asked" not in done.text
    asked = [r for r in stack.account.requests() if r["path"] == "/api/v1/query"]
    assert all("datadog.agent.running" in request["query"] for request in asked)
    assert asked


def test_with_nothing_to_change_nobody_is_asked(stack: Stack) -> None:
    asked = sum(request["path"] == "/api/v1/query" for request in stack.account.requests())
    assert up(stack, "--expect-no-changes").code == 0
    assert sum(request["path"] == "/api/v1/query" for request in stack.account.requests()) == asked


def test_traces_that_can_not_be_sent_fail_and_name_the_setting(stack: Stack) -> None:
    url, good = nobody(), stack.setting("traceUrl")
    stack.configure(traceUrl=url)
    done = up(stack)
    assert done.code != 0
    assert f"watchpost: the Agent can not send its traces to {url}: check watchpost:traceUrl" in done.text
    stack.configure(traceUrl=good)


def test_an_address_that_swallows_everything_is_a_warning_that_names_the_setting(stack: Stack) -> None:
    good = stack.setting("agentUrl")
    with swallowing() as url:
        stack.configure(agentUrl=url)
        done = up(stack)
    assert done.code == 0, done.text
    assert "no data from vm" in done.text
    assert f"{url} (watchpost:agentUrl)" in done.text
    assert "/api/v2/series" in Swallowing.paths
    assert not any(path.startswith("/api/v0.2") for path in Swallowing.paths)
    stack.configure(agentUrl=good)


def test_an_address_where_nobody_answers_fails_and_the_right_one_heals_it(stack: Stack) -> None:
    url, good = nobody(), stack.setting("agentUrl")
    stack.configure(agentUrl=url)
    done = up(stack)
    assert done.code != 0
    assert f"watchpost: the Agent gets no answer from {url} (watchpost:agentUrl)" in done.text
    stack.configure(agentUrl=good)
    done = up(stack)
    assert done.code == 0, done.text
    assert "was seen" not in done.text
    assert json.dumps(stack.outputs()["hosts"]["vm"]["proofs"])

"""The load generator's report is correct, with the real ApacheBench."""

import json
import os
import shutil
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from sandbox.testing.processes import free_port

from .scripts import Done, run, stand_in

pytestmark = pytest.mark.skipif(shutil.which("ab") is None, reason="ApacheBench (apache2-utils) is not installed")


class Server(ThreadingHTTPServer):
    """Answers every path, but after the 40th request every fourth fails: at /bad with 500, at /flaky with no answer.

    Never answers /silent.
    """

    request_queue_size = 200
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.seen: Counter[str] = Counter()
        self.lock = threading.Lock()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: only the client's view counts."""


class _Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        with self.server.lock:
            self.server.seen[self.path] += 1
            number = self.server.seen[self.path]
        broken = number > 40 and number % 4 == 0
        if self.path == "/silent" or (self.path == "/flaky" and broken):
            return
        body = b"something went wrong" if self.path == "/bad" and broken else b"well"
        self.send_response(500 if self.path == "/bad" and broken else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextmanager
def serving() -> Iterator[Server]:
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def server() -> Iterator[Server]:
    """A running server."""
    with serving() as running:
        yield running


def load(port: int, endpoints: str, requests: int, concurrency: int) -> Done:
    """Run the load generator."""
    return run(
        "load/run.sh",
        variables={"port": port, "endpoints": endpoints, "requests": requests, "concurrency": concurrency},
    )


def report(done: Done) -> dict[str, Any]:
    """Return its report."""
    assert done.returncode == 0, done.stderr
    printed: dict[str, Any] = json.loads(done.stdout)
    return printed


def test_every_request_is_sent_and_every_error_counted(server: Server) -> None:
    printed = report(load(server.server_port, "/ /bad /flaky /api/apm", 400, 8))
    assert {path: (of["requests"], of["errors"]) for path, of in printed.items()} == {
        "/": (400, 0),
        "/bad": (400, 90),
        "/flaky": (400, 90),
        "/api/apm": (400, 0),
    }
    assert server.seen == dict.fromkeys(printed, 400)


@pytest.mark.parametrize(("requests", "concurrency"), [(1, 1), (3, 10), (50, 5), (51, 100), (200, 10)])
def test_percentiles_never_fall(server: Server, requests: int, concurrency: int) -> None:
    of = report(load(server.server_port, "/", requests, concurrency))["/"]
    assert server.seen["/"] == of["requests"] == requests
    latencies = [of["latency_ms"][name] for name in ("p50", "p90", "p95", "p99")]
    assert latencies == sorted(latencies)
    assert 0 <= latencies[0] <= latencies[-1] <= 1000 * of["seconds"] + 1


def test_an_answer_that_never_comes_is_an_error(server: Server) -> None:
    done = load(server.server_port, "/silent", 20, 2)
    assert done.returncode != 0 or report(done)["/silent"]["errors"] == 20


def test_a_port_where_nobody_listens_is_said_so() -> None:
    done = load(free_port(), "/ /api/apm", 20, 2)
    assert (done.returncode, done.stdout) == (1, "")
    sentences = [line for line in done.stderr.splitlines() if line.startswith("watchpost: ")]
    assert len(sentences) == 2
    assert all("Connection refused" in sentence for sentence in sentences)


@pytest.mark.skipif(os.geteuid() != 0, reason="steps run as root")
def test_the_generator_is_not_root() -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        Path(folder).chmod(0o755)
        stand_in(Path(folder, "bin"), "ab", "id -u >&2; grep -E '^(CapEff|NoNewPrivs)' /proc/self/status >&2; exit 1")
        variables: dict[str, str | int] = {"port": 1, "endpoints": "/", "requests": 1, "concurrency": 1}
        done = run("load/run.sh", variables=variables, programs=Path(folder, "bin"))
    assert done.stderr.splitlines()[:3] == ["/: 65534", "/: CapEff:\t0000000000000000", "/: NoNewPrivs:\t1"]


def test_removal_sends_nothing(server: Server) -> None:
    done = run(
        "load/run.sh",
        "remove",
        variables={"port": server.server_port, "endpoints": "/", "requests": 10, "concurrency": 1},
    )
    assert (done.returncode, done.stdout) == (0, "")
    assert not server.seen

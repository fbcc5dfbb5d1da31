"""The app sends the traces that the dashboards query: under the real tracer, to Datadog's own test agent."""

import json
import re
import shlex
import signal
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from components.traced_app import ENDPOINTS, OPERATION
from sandbox.testing.processes import free_port, listens, running, wait_until

UNIT = "/etc/systemd/system/watchpost-app.service"
ANSWERS = {"/": "Entrypoint to the Application", "/api/apm": "Getting APM Started", "/api/trace": "Posting Traces"}


@dataclass(frozen=True, kw_only=True)
class App:
    """The running app: its process, port, environment from systemd, and its agent's port."""

    process: "subprocess.Popen[bytes]"
    port: int
    environment: dict[str, str]
    agent_port: int
    log: Path

    def get(self, path: str, **options: Any) -> tuple[int, str]:
        """Return status and text of the answer at ``path``."""
        return get(f"http://127.0.0.1:{self.port}{path}", **options)

    def spans(self, count: int) -> list[dict[str, Any]]:
        """Wait for ``count`` root spans of received traces, and return them."""
        traces: list[list[dict[str, Any]]] = []

        def received() -> bool:
            traces[:] = json.loads(get(f"http://127.0.0.1:{self.agent_port}/test/session/traces")[1])
            return len(traces) >= count

        wait_until(received, f"{count} traces of the app are received")
        assert len(traces) == count
        return [span for trace in traces for span in trace if not span.get("parent_id")]


def get(url: str, **options: Any) -> tuple[int, str]:
    """Return status and text of the answer at a local address."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, **options), timeout=10) as answer:  # noqa: S310
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def unit_environment(unit: str) -> dict[str, str]:
    """Return the variables that a unit sets."""
    lines = re.findall(r"^Environment=(.*)$", unit, re.MULTILINE)
    return dict(pair.split("=", 1) for line in lines for pair in shlex.split(line))


@pytest.fixture
def app(files: dict[str, str], app_python: Path, agent_python: Path, tmp_path: Path) -> Iterator[App]:
    """The app as started by its unit, except for its ports and folder."""
    (tmp_path / "app.py").write_text(files["/opt/watchpost-app/app.py"])
    start = re.findall(r"^ExecStart=(.*)$", files[UNIT], re.MULTILINE)[0]
    command = shlex.split(start.replace("/opt/watchpost-app/venv/bin", str(app_python.parent)))
    port, agent_port, log = free_port(), free_port(), tmp_path / "app.log"
    environment = unit_environment(files[UNIT])
    environment |= {"APP_PORT": str(port), "DD_TRACE_AGENT_PORT": str(agent_port)}
    checks = {"ENABLED_CHECKS": "trace_count_header,meta_tracer_version_header,trace_content_length"}
    agent: list[str | Path] = [agent_python.with_name("ddapm-test-agent"), "--port", str(agent_port)]
    with (
        running(agent, tmp_path / "agent.log", port=agent_port, env=checks, cwd=tmp_path),
        running(command, log, port=port, env=environment, cwd=tmp_path) as process,
    ):
        yield App(process=process, port=port, environment=environment, agent_port=agent_port, log=log)


def test_each_endpoint_is_answered_and_traced_by_its_name(app: App) -> None:
    assert {path: app.get(path) for path in ENDPOINTS} == {path: (200, text) for path, text in ANSWERS.items()}
    spans = app.spans(len(ENDPOINTS))
    assert {span["resource"] for span in spans} == {f"GET {path}" for path in ENDPOINTS}
    for span in spans:
        assert (span["name"], span["type"], span["error"]) == (OPERATION, "web", 0)
        assert span["service"] == app.environment["DD_SERVICE"]
        assert span["meta"]["env"] == app.environment["DD_ENV"]
        assert span["meta"]["version"] == app.environment["DD_VERSION"]
        assert span["meta"]["http.status_code"] == "200"
    status, summary = get(f"http://127.0.0.1:{app.agent_port}/test/trace_check/summary")
    assert status == 200
    assert {check["Failed_Checks"] for check in json.loads(summary).values()} == {0}
    assert app.log.read_text().count("GET /") == 0


@pytest.mark.parametrize("files", ["defaults"], indirect=True)
def test_other_paths_are_not_found_and_are_no_errors_of_the_service(app: App) -> None:
    assert app.get("/api/nothing")[0] == 404
    assert app.get("/api/apm", method="POST")[0] == 405
    spans = app.spans(2)
    assert [(span["meta"]["http.status_code"], span["error"]) for span in spans] == [("404", 0), ("405", 0)]


@pytest.mark.parametrize("files", ["defaults"], indirect=True)
def test_the_app_ends_when_systemd_asks_it_to(app: App) -> None:
    app.get("/")
    app.process.send_signal(signal.SIGTERM)
    # Exit codes that systemd calls clean, https://www.freedesktop.org/software/systemd/man/latest/systemd.service.html
    assert app.process.wait(10) in (0, -signal.SIGTERM)
    assert not listens(app.port)
    assert "Traceback" not in app.log.read_text()


@pytest.mark.parametrize("files", ["defaults"], indirect=True)
def test_the_app_answers_when_no_agent_listens(files: dict[str, str], app_python: Path, tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(files["/opt/watchpost-app/app.py"])
    port = free_port()
    environment = unit_environment(files[UNIT]) | {"APP_PORT": str(port), "DD_TRACE_AGENT_PORT": str(free_port())}
    command: list[str | Path] = [app_python.with_name("ddtrace-run"), app_python, "app.py"]
    with running(command, tmp_path / "log", port=port, env=environment, cwd=tmp_path):
        assert get(f"http://127.0.0.1:{port}/api/apm") == (200, ANSWERS["/api/apm"])

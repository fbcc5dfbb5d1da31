"""The account is queried for data after an Agent was restarted, and never otherwise."""

import asyncio
import threading
import time
from collections.abc import Iterable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from unittest import mock

import pulumi
import pytest

from components import arrival
from components.arrival import Arrival, BusyError, RefusedError, point_arrives
from tests.unit.mocks import run_program

QUERY = "avg:datadog.agent.running{host:vm}"


def ask(*answers: Iterable[float]) -> Any:
    """Make an account that gives these answers in order, repeating the last one."""
    left = list(answers)

    def answer(query: str, since: float) -> Iterable[float]:
        assert query == QUERY
        assert since > 0
        return left.pop(0) if len(left) > 1 else left[0]

    return answer


@pytest.fixture(autouse=True)
def _without_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrival, "PAUSES", (0.0, 0.0))


def test_a_point_since_then_is_an_arrival_and_an_older_one_is_none() -> None:
    now = time.time()
    assert asyncio.run(point_arrives(ask([], [now - 30], [now - 30, now + 1]), QUERY, now))
    assert not asyncio.run(point_arrives(ask([now - 30]), QUERY, now, patience=0))


def test_an_account_that_is_busy_is_asked_again() -> None:
    now = time.time()
    answers: list[BusyError | list[float]] = [BusyError("429"), BusyError("502"), [now + 1]]

    def answer(_: str, __: float) -> list[float]:
        found = answers.pop(0)
        if isinstance(found, BusyError):
            raise found
        return found

    assert asyncio.run(point_arrives(answer, QUERY, now))
    answers.append(BusyError("429"))
    with pytest.raises(RefusedError, match="429"):
        asyncio.run(point_arrives(answer, QUERY, now, patience=0))


@pytest.mark.parametrize(
    ("status", "kind"),
    [(403, RefusedError), (400, RefusedError), (429, BusyError), (503, BusyError), (None, BusyError)],
)
def test_what_the_account_answers_instead_is_told_in_a_sentence(status: int | None, kind: type) -> None:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if status:
                self.send_response(status)
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"{}")

        def log_message(self, *_: object) -> None:
            """Log nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        url = f"http://127.0.0.1:{server.server_address[1]}"
        with pytest.raises(RefusedError) as refused:
            arrival.points(url, "fake-api-key", "fake-app-key", QUERY, time.time())
        server.shutdown()
        thread.join(10)
    assert type(refused.value) is kind
    assert url in str(refused.value)
    assert "\n" not in str(refused.value)
    assert "fake-app-key" not in str(refused.value)
    assert ("timeseries_query" in str(refused.value)) == (status == 403)


@pytest.fixture
def warned(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The warnings given."""
    warnings: list[str] = []
    monkeypatch.setattr(pulumi.log, "warn", lambda message, *_: warnings.append(message))
    monkeypatch.setattr(arrival, "PATIENCE", 0.0)
    return warnings


def waited(monkeypatch: pytest.MonkeyPatch, points: Any, url: str = "", said: str = "Agent 7.78.4", **keys: Any) -> str:
    """Return the version for a host whose Agent was just restarted."""
    monkeypatch.setattr(arrival, "points", points)
    account = mock.Mock(missing=keys.get("missing", []), url=lambda site: f"https://api.{site}")
    account.api_key = account.app_key = "fake"
    watched = Arrival(account, "datadoghq.eu", url)

    async def version() -> str:
        with mock.patch.object(pulumi, "ResourceHook", lambda _, function: function):
            watched.hook("vm")(mock.Mock())
        found = mock.Mock(apply=lambda function: function(said))
        output = watched.awaited("vm", found)
        return await output  # type: ignore[misc,no-any-return]

    return asyncio.run(version())


@pytest.mark.parametrize(
    ("url", "setting"),
    [("", "datadoghq.eu (watchpost:site)"), ("https://x.example", "https://x.example (watchpost:agentUrl)")],
)
def test_what_was_not_seen_is_a_warning_that_names_the_setting(
    url: str, setting: str, monkeypatch: pytest.MonkeyPatch, warned: list[str]
) -> None:
    assert waited(monkeypatch, lambda *_: [], url) == "Agent 7.78.4"
    (warning,) = warned
    assert warning.startswith("no data from vm")
    assert setting in warning
    assert "\n" not in warning


def test_an_account_that_does_not_say_is_a_warning_and_no_failure(
    monkeypatch: pytest.MonkeyPatch, warned: list[str]
) -> None:
    def refuse(*_: object) -> list[float]:
        raise RefusedError("Datadog at https://api.datadoghq.eu refused: 403 Forbidden")

    assert waited(monkeypatch, refuse) == "Agent 7.78.4"
    assert warned == [
        "whether data from vm arrives was not checked: Datadog at https://api.datadoghq.eu refused: 403 Forbidden"
    ]


@pytest.mark.parametrize("case", [{"said": "simulated apply"}, {"missing": ["appKey"]}])
def test_nobody_is_asked_where_there_is_no_agent_or_no_application_key(
    case: dict[str, Any], monkeypatch: pytest.MonkeyPatch, warned: list[str]
) -> None:
    points = mock.Mock()
    waited(monkeypatch, points, **case)
    points.assert_not_called()
    assert warned == []


def test_a_stack_without_an_application_key_says_that_nobody_was_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    monkeypatch.setattr(pulumi.log, "info", told.append)
    assert waited(monkeypatch, mock.Mock(), missing=["appKey"]) == "Agent 7.78.4"
    assert [line.partition(":")[0] for line in told] == ["whether data from vm arrives is not checked"]


def test_a_run_that_restarts_no_agent_asks_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    points = mock.Mock()
    monkeypatch.setattr(arrival, "points", points)
    program = run_program()
    assert not program.warnings
    points.assert_not_called()
    hooks = program.commands["vm-agent-service-restart"].request.hooks
    assert list(hooks.after_create) == list(hooks.after_update) == ["vm-agent-restarted"]

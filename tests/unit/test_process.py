"""Start-up tuning skips what it should, and nothing else."""

import importlib
from collections.abc import Iterator

import pulumi
import pytest

from startup import process


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The messages that Pulumi's own log module sends to an engine, as if it had just been imported."""
    log = importlib.reload(pulumi.log)
    messages: list[str] = []
    monkeypatch.setattr(log, "get_engine", object)
    monkeypatch.setattr(log, "_log", lambda _engine, _severity, message, *_: messages.append(message))
    yield messages
    monkeypatch.undo()
    importlib.reload(pulumi.log)
    process.tune()


def test_debug_messages_are_not_sent_and_all_others_are(sent: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(process.DEBUG, raising=False)
    process.tune()
    pulumi.log.debug("a debug message", stream_id=1)
    pulumi.log.info("an info")
    pulumi.log.warn("a warning")
    pulumi.log.error("an error")
    assert sent == ["an info", "a warning", "an error"]


def test_debug_messages_are_sent_to_who_asks_for_them(sent: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(process.DEBUG, "true")
    process.tune()
    pulumi.log.debug("a debug message")
    assert sent == ["a debug message"]

"""Sends the webhooks that monitors' messages mention as ``@webhook-NAME``, with Datadog's variables filled in.

Only to loopback, whatever a webhook's address: nothing leaves the machine.

Source: https://docs.datadoghq.com/integrations/webhooks/
"""

import json
import re
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sandbox.datadog.store import Store

KIND, VARIABLE = "webhook", "webhook_variable"
"""The kinds under which the store keeps webhooks and their custom variables, by name."""

DELIVERY = "delivery"
PREFIX = "webhook-"
RETRIES = 5
TIMEOUT = 15.0
"""Timeout of a receiver's answer, in seconds."""

LOOPBACK = ("127.0.0.1", "localhost", "::1")
NAME = re.compile(r"\$([A-Z][A-Z0-9_]*)(?:\[([^\]]+)\])?")
DEFAULT = (
    '{"body": "$EVENT_MSG", "last_updated": "$LAST_UPDATED", "event_type": "$EVENT_TYPE", "title": "$EVENT_TITLE",'
    ' "date": "$DATE", "org": {"id": "$ORG_ID", "name": "$ORG_NAME"}, "id": "$ID"}'
)
"""The payload of a webhook that doesn't set one."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """A request to post."""

    url: str
    headers: Mapping[str, str]
    body: bytes


def queue(store: Store, recipient: str, values: Mapping[str, str], *, at: float, monitor: int, group: str) -> None:
    """Queue the webhook that ``@webhook-NAME`` mentions; ``values`` are Datadog's variables."""
    number = store.next(DELIVERY, 1)
    kept = {
        "id": number,
        "at": at,
        "webhook": recipient.removeprefix(PREFIX),
        "monitor": monitor,
        "group": group,
        "transition": values["ALERT_TRANSITION"],
        "values": dict(values),
        "tries": 0,
        "state": "pending",
        "answer": "",
    }
    store.put(DELIVERY, str(number), kept)


def deliveries(store: Store) -> list[dict[str, Any]]:
    """Return all deliveries, sent or pending, oldest first."""
    return sorted(store.all(DELIVERY), key=lambda delivery: int(delivery["id"]))


def pending(store: Store) -> Iterator[tuple[dict[str, Any], Request]]:
    """Return pending deliveries with their requests; mark those that can't be sent."""
    for delivery in deliveries(store):
        if delivery["state"] != "pending":
            continue
        hook = store.get(KIND, delivery["webhook"])
        if hook is None:
            _note(store, delivery, "failed", f"there is no webhook {delivery['webhook']}")
            continue
        try:
            made = request(store, hook, delivery["values"])
        except ValueError as error:
            _note(store, delivery, "failed", f"its headers are no JSON: {error}")
            continue
        if urllib.parse.urlsplit(made.url).hostname not in LOOPBACK:
            _note(store, delivery, "failed", "the sandbox sends to loopback only")
            continue
        yield delivery, made


def answered(store: Store, delivery: dict[str, Any], status: int | None) -> None:
    """Record a receiver's answer; 5xx, or none in time, is retried, at most five times."""
    delivery["tries"] += 1
    answer = f"status {status}" if status is not None else "no answer"
    if status is not None and status < 400:
        _note(store, delivery, "sent", answer)
    elif status is not None and status < 500:
        _note(store, delivery, "failed", answer)
    else:
        _note(store, delivery, "pending" if delivery["tries"] <= RETRIES else "failed", answer)


def deliver(store: Store, post: Callable[[Request], int | None]) -> None:
    """Send each pending delivery once; ``post`` returns the status, or ``None`` without an answer in time."""
    for delivery, made in pending(store):
        answered(store, delivery, post(made))


def post(made: Request) -> int | None:
    """Post a request and return the answer's status; ``None`` if there is none in time."""
    asked = urllib.request.Request(made.url, made.body, dict(made.headers), method="POST")  # noqa: S310 - loopback only
    try:
        with urllib.request.urlopen(asked, timeout=TIMEOUT) as answer:  # noqa: S310
            return int(answer.status)
    except urllib.error.HTTPError as error:
        error.close()
        return error.code
    except OSError:
        return None


def _note(store: Store, delivery: dict[str, Any], state: str, answer: str) -> None:
    delivery |= {"state": state, "answer": answer}
    store.put(DELIVERY, str(delivery["id"]), delivery)


def request(store: Store, hook: Mapping[str, Any], values: Mapping[str, str]) -> Request:
    """Build a webhook's request; variables are filled into the parsed JSON's texts, so they can't break it."""
    known = {**{each["name"]: each["value"] for each in store.all(VARIABLE)}, **values}
    payload = hook.get("payload") or DEFAULT
    try:
        filled = _filled(json.loads(payload), known)
    except ValueError:
        filled = None
    if hook.get("encode_as") == "form":
        form = {name: text if isinstance(text, str) else json.dumps(text) for name, text in (filled or {}).items()}
        body, kind = urllib.parse.urlencode(form).encode(), "application/x-www-form-urlencoded"
    else:
        body = (_text(payload, known) if filled is None else json.dumps(filled)).encode()
        kind = "application/json"
    headers = json.loads(hook.get("custom_headers") or "{}")
    return Request(
        url=_text(hook["url"], known),
        headers={"Content-Type": kind, **{name: _text(str(text), known) for name, text in headers.items()}},
        body=body,
    )


def _filled(value: Any, known: Mapping[str, str]) -> Any:
    if isinstance(value, dict):
        return {name: _filled(inner, known) for name, inner in value.items()}
    if isinstance(value, list):
        return [_filled(inner, known) for inner in value]
    return _text(value, known) if isinstance(value, str) else value


def _text(text: str, known: Mapping[str, str]) -> str:
    """Fill in ``$NAME`` and ``$TAGS[key]``; unknown ones stay as they are."""

    def value(match: re.Match[str]) -> str:
        name, key = match.groups()
        if key is not None and name == "TAGS":
            tags = dict(tag.partition(":")[::2] for tag in known.get("TAGS", "").split(",") if ":" in tag)
            return tags.get(key, "")
        return known.get(name, match[0]) if key is None else match[0]

    return NAME.sub(value, text)

"""Pages of events, with their pictures and mentions."""

from collections.abc import Mapping
from typing import Any

from sandbox.datadog.evaluation.messages import mentioned
from sandbox.datadog.pages.rendering import Asked, NotFoundError, Page
from sandbox.datadog.store import Store

LISTED = 100


def list_all(store: Store, _: Asked) -> Page:
    """List the latest events, newest first."""
    return "events.html", {"events": [shown(event) for event in store.all("event")[-LISTED:][::-1]], "LISTED": LISTED}


def show(store: Store, asked: Asked) -> Page:
    """Show the event with the URL's ``id``."""
    event = store.get("event", asked.query.get("id", ""))
    if event is None:
        raise NotFoundError(f"There is no event {asked.query.get('id', '')}.")
    return "event.html", {"event": shown(event)}


def shown(event: Mapping[str, Any]) -> dict[str, Any]:
    """Return what pages show of an event."""
    text = str(event.get("text") or "")
    return {
        "id": event["id"],
        "title": event["title"],
        "text": text,
        "at": event.get("date_happened") or 0,
        "host": event.get("host") or "",
        "tags": event.get("tags") or [],
        "mentioned": mentioned(text),
    }

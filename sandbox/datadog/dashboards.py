"""Builds the API's answers for dashboards.

Source: https://docs.datadoghq.com/api/latest/dashboards/
"""

import datetime
import random
import re
import string
from collections.abc import Mapping
from typing import Any

from sandbox.datadog.schema import RefusedError


def new_id() -> str:
    """Generate an id like Datadog's: ``abc-def-ghi``."""
    alphabet = string.ascii_lowercase + string.digits
    return "-".join("".join(random.choices(alphabet, k=3)) for _ in range(3))  # noqa: S311 - names, not secrets


def _without_nulls(value: Any) -> Any:
    match value:
        case Mapping():
            return {name: _without_nulls(entry) for name, entry in value.items() if entry is not None}
        case list():
            return [_without_nulls(entry) for entry in value]
        case _:
            return value


def _numbered(widgets: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Give each widget an id, also inside groups."""
    answered = []
    for widget in widgets:
        definition = dict(widget["definition"])
        if "widgets" in definition:
            definition["widgets"] = _numbered(definition["widgets"])
        number = widget.get("id") or random.randrange(10**15, 10**16)  # noqa: S311 - names, not secrets
        answered.append({**widget, "id": number, "definition": definition})
    return answered


def answer(body: Mapping[str, Any], *, name: str, now: datetime.datetime, created: str | None = None) -> dict[str, Any]:
    """Return the dashboard as in the API's answers.

    Nulls are left out, and so is ``pause_auto_refresh`` when false; ``is_read_only`` is no longer functional.
    """
    kept = {key: value for key, value in _without_nulls(body).items() if (key, value) != ("pause_auto_refresh", False)}
    # Of a long title the beginning: no server takes an address of any length.
    slug = re.sub(r"[^a-z0-9]+", "-", kept["title"].lower())[:100].strip("-") or "untitled"
    return {
        **kept,
        "id": name,
        "url": f"/dashboard/{name}/{slug}",
        "is_read_only": False,
        "author_handle": "sandbox@example.com",
        "author_name": "Sandbox",
        "created_at": created or now.isoformat(),
        "modified_at": now.isoformat(),
        "widgets": _numbered(kept["widgets"]),
    }


def check(dashboard: Mapping[str, Any]) -> None:
    """Refuse a dashboard that Datadog would refuse, in the words that its clients' tests have recorded.

    Raises:
        RefusedError: with status 400.
    """
    if any(not tag.startswith("team:") for tag in dashboard.get("tags") or []):
        raise RefusedError(400, "Invalid tag format. Valid tag keys are: team.")
    for variable in dashboard.get("template_variables") or []:
        defaults = variable.get("defaults")
        if defaults is not None and variable.get("default") is not None:
            raise RefusedError(400, "'template_variables' is invalid")
        if not all(defaults or []):
            raise RefusedError(400, "Minimum length of parameter 'defaults' should be 1")

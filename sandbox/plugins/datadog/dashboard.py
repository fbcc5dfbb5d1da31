"""``datadog:index/dashboardJson:DashboardJson``."""

import json
from collections.abc import Iterator
from typing import Any, ClassVar

from pulumi.runtime.rpc import UNKNOWN

from sandbox.plugins.datadog.client import Client
from sandbox.plugins.datadog.kind import Kind, Properties, Shape

COMPUTED = ("id", "author_handle", "author_name", "created_at", "modified_at", "url")
"""What Datadog adds to a dashboard; a difference there is none."""
PATH = "/api/v1/dashboard"


def _parsed(text: str) -> dict[str, Any]:
    value = json.loads(text)
    if not isinstance(value, dict):
        raise ValueError(f"expected an object, got {type(value).__name__}")
    return value


def _without_ids(widgets: list[Any]) -> list[Any]:
    """The widgets without their ids; those inside groups too."""
    stripped = []
    for widget in widgets:
        definition = dict(widget["definition"])
        if "widgets" in definition:
            definition["widgets"] = _without_ids(definition["widgets"])
        stripped.append({name: entry for name, entry in widget.items() if name != "id"} | {"definition": definition})
    return stripped


def normal(text: str) -> str:
    """A dashboard's JSON in the one form in which two are compared and kept."""
    board = {name: value for name, value in _parsed(text).items() if name not in COMPUTED}
    if isinstance(board.get("widgets"), list):
        board["widgets"] = _without_ids(board["widgets"])
    if isinstance(board.get("restricted_roles"), list):
        board.pop("is_read_only", None)
    else:
        board.setdefault("is_read_only", False)
    if isinstance(board.get("notify_list"), list):
        board["notify_list"] = sorted(board["notify_list"])
    return json.dumps(board, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


class DashboardJson(Kind):
    """A dashboard as its JSON."""

    title = "dashboard"
    shape: ClassVar[dict[str, Shape]] = {"dashboard": str, "dashboardLists": [int], "url": str}
    required = frozenset({"dashboard"})

    def problems(self, inputs: Properties) -> Iterator[tuple[str, str]]:
        text = inputs.get("dashboard", UNKNOWN)
        if text == UNKNOWN:
            return
        try:
            normal(text)
        except ValueError as error:
            yield "dashboard", f'"dashboard" contains an invalid JSON: {error}'
        except (AttributeError, KeyError, TypeError) as error:
            yield "dashboard", f'"dashboard" is not a dashboard, each widget an object with a definition: {error!r}'

    def plan(self, inputs: Properties, old: Properties | None) -> Properties:
        text = inputs["dashboard"]
        old = old or {}
        title_is_new = text == UNKNOWN or not old or json.loads(text).get("title") != self._title(old)
        return {
            "dashboard": text if text == UNKNOWN else normal(text),
            "dashboardLists": inputs.get("dashboardLists"),
            "dashboardListsRemoveds": old.get("dashboardListsRemoveds", []),
            "url": UNKNOWN if title_is_new else old.get("url"),
        }

    @staticmethod
    def _title(old: Properties) -> Any:
        return json.loads(old["dashboard"]).get("title")

    def same(self, name: str, old: Properties, new: Properties) -> bool:
        # Where a dashboard is follows from what it is.
        return name == "url" or super().same(name, old, new)

    def _state(self, answer: Properties, kept: Properties) -> Properties:
        return {
            "dashboard": normal(json.dumps(answer)),
            "dashboardLists": kept.get("dashboardLists"),
            "dashboardListsRemoveds": [],
            "url": answer["url"],
        }

    def create(self, client: Client, inputs: Properties) -> tuple[str, Properties]:
        answer = client.call("error creating resource", "POST", PATH, _parsed(inputs["dashboard"]))
        return answer["id"], self._state(answer, inputs)

    def read(self, client: Client, name: str, old: Properties) -> Properties:
        return self._state(client.call("error getting dashboard", "GET", f"{PATH}/{name}"), old)

    def update(self, client: Client, name: str, inputs: Properties, old: Properties) -> Properties:
        del old
        answer = client.call("error updating dashboard", "PUT", f"{PATH}/{name}", _parsed(inputs["dashboard"]))
        return self._state(answer, inputs)

    def delete(self, client: Client, name: str, old: Properties) -> None:
        del old
        client.call("error deleting dashboard", "DELETE", f"{PATH}/{name}")

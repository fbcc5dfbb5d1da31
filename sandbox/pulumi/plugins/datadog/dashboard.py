"""``datadog:index/dashboardJson:DashboardJson``."""

import json
from collections.abc import Iterator
from typing import Any, ClassVar

from pulumi.runtime.rpc import UNKNOWN

from sandbox.pulumi.plugins.datadog.client import Client, DatadogError, UnreadableError
from sandbox.pulumi.plugins.datadog.go_json import go_json_error
from sandbox.pulumi.plugins.datadog.kind import (
    DiagnosticError,
    Kind,
    MissingError,
    PartlyCreatedError,
    Properties,
    Shape,
)

COMPUTED = ("id", "author_handle", "author_name", "created_at", "modified_at", "url")
"""Properties that Datadog adds to a dashboard; differences in them don't count."""
PATH = "/api/v1/dashboard"


def _parsed(text: str) -> dict[str, Any]:
    if fault := go_json_error(text):
        raise ValueError(fault)
    value = json.loads(text)
    if not isinstance(value, dict):
        raise ValueError(f"expected an object, got {type(value).__name__}")
    return value


def _without_ids(widgets: list[Any]) -> list[Any]:
    """Return the widgets without ids, also inside groups."""
    stripped = []
    for widget in widgets:
        definition = dict(widget["definition"])
        if "widgets" in definition:
            definition["widgets"] = _without_ids(definition["widgets"])
        stripped.append({name: entry for name, entry in widget.items() if name != "id"} | {"definition": definition})
    return stripped


def normal(text: str) -> str:
    """Return a dashboard's JSON in the canonical form for comparison and state."""
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
    """A dashboard given as JSON."""

    shape: ClassVar[dict[str, Shape]] = {"dashboard": str, "dashboardLists": [int], "url": str}
    required = frozenset({"dashboard"})
    normalized = frozenset({"dashboard"})

    def problems(self, inputs: Properties) -> Iterator[tuple[str, str]]:
        if inputs.get("dashboardLists"):
            yield "dashboardLists", "this stand-in doesn't know lists of dashboards"
        text = inputs.get("dashboard", UNKNOWN)
        if text == UNKNOWN:
            return
        try:
            normal(text)
        except ValueError as error:
            yield "dashboard", f'"dashboard" contains an invalid JSON: {go_json_error(text) or error}'
        except (AttributeError, KeyError, TypeError) as error:
            yield "dashboard", f'"dashboard" is not a dashboard, each widget an object with a definition: {error!r}'

    def plan(self, inputs: Properties, old: Properties | None) -> Properties:
        text = inputs["dashboard"]
        old = old or dict.fromkeys(("dashboardListsRemoveds", "url"), UNKNOWN)
        return {
            "dashboard": text if text == UNKNOWN else normal(text),
            "dashboardLists": inputs.get("dashboardLists"),
            "dashboardListsRemoveds": old.get("dashboardListsRemoveds", []),
            "url": old.get("url"),
        }

    def _state(self, answer: Properties, kept: Properties) -> Properties:
        return {
            "dashboard": normal(json.dumps(answer)),
            "dashboardLists": kept.get("dashboardLists"),
            "dashboardListsRemoveds": [],
            "url": answer["url"],
        }

    def create(self, client: Client, inputs: Properties) -> tuple[str, Properties]:
        body = _parsed(inputs["dashboard"])
        body.pop("is_read_only", None)  # no longer accepted by the API
        answer = self._ask(client, "error creating resource", "POST", PATH, body)
        name, outputs = answer["id"], self._state(answer, inputs)
        try:
            client.call("GET", f"{PATH}/{name}")  # the real plugin waits until it is readable
        except DatadogError as error:
            raise PartlyCreatedError(error.short, name, outputs | {"url": None, "id": name}) from error
        return name, outputs

    def _ask(self, client: Client, doing: str, method: str, path: str, body: Any = None) -> Any:
        """Like :meth:`ask`, but with the real plugin's short error for an answer that is not JSON."""
        try:
            return self.ask(client, doing, method, path, body)
        except DiagnosticError as error:
            if isinstance(error.__cause__, UnreadableError):
                raise DiagnosticError(error.__cause__.short) from error
            raise

    def read(self, client: Client, name: str, old: Properties) -> Properties:
        try:
            return self._state(client.call("GET", f"{PATH}/{name}"), old)
        except DatadogError as error:
            if error.status == 404:
                raise MissingError from error
            raise DiagnosticError(error.short) from error

    def update(self, client: Client, name: str, inputs: Properties, old: Properties) -> Properties:
        body = _parsed(inputs["dashboard"])
        body.pop("is_read_only", None)
        try:
            answer = self._ask(client, "error updating dashboard", "PUT", f"{PATH}/{name}", body)
        except DiagnosticError as error:
            # Recorded as done, except for what Datadog computes; the next run retries it all the same.
            planned = self.plan(inputs, old) | {"url": old.get("url"), "id": name}
            raise PartlyCreatedError(error.summary, name, planned) from error
        return self._state(answer, inputs)

    def delete(self, client: Client, name: str, old: Properties) -> None:
        del old
        self.ask(client, "error deleting dashboard", "DELETE", f"{PATH}/{name}")

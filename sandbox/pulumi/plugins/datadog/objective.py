"""``datadog:index/serviceLevelObjective:ServiceLevelObjective`` of the type ``metric``, with a query.

Source: datadog/resource_datadog_service_level_objective.go in
https://github.com/DataDog/terraform-provider-datadog/tree/v4.19.0
"""

from collections.abc import Iterator
from typing import Any, ClassVar

from pulumi.runtime.rpc import UNKNOWN

from sandbox.pulumi.plugins.datadog.client import Client, DatadogError
from sandbox.pulumi.plugins.datadog.kind import HalfMadeError, Kind, MissingError, Properties, Shape, ToldError
from sandbox.pulumi.plugins.serve import has_unknown

PATH = "/api/v1/slo"
EMPTY = (
    "forceDelete", "groups", "ignoreTagKeys", "monitorIds", "sliSpecification", "targetThreshold", "timeframe",
    "validate", "warningThreshold",
)  # fmt: skip
"""Outputs of inputs that this stand-in doesn't know."""


class ServiceLevelObjective(Kind):
    """A service level objective by good and all events."""

    shape: ClassVar[dict[str, Shape]] = {
        "description": str,
        "forceDelete": bool,
        "name": str,
        "query": {"denominator": str, "numerator": str},
        "tags": [str],
        "thresholds": [{"target": object, "timeframe": str, "warning": object}],
        "type": str,
    }
    required = frozenset({"name", "thresholds", "type"})
    replaced_by = frozenset({"type"})
    read_back = frozenset({"tags"})

    def problems(self, inputs: Properties) -> Iterator[tuple[str, str]]:
        if inputs.get("type", UNKNOWN) not in (UNKNOWN, "metric"):
            yield "type", "this stand-in knows metric alone"
        elif "query" not in inputs:
            yield "query", "query or sli_specification is required for metric SLOs"

    def plan(self, inputs: Properties, old: Properties | None) -> Properties:
        displays = {
            threshold["timeframe"]: threshold for threshold in (old or {}).get("thresholds") or [] if old is not None
        }
        thresholds = inputs["thresholds"]
        if thresholds != UNKNOWN:
            thresholds = [
                {
                    "target": threshold.get("target"),
                    "targetDisplay": (displays.get(threshold.get("timeframe")) or {}).get("targetDisplay", ""),
                    "timeframe": threshold.get("timeframe"),
                    "warning": threshold.get("warning", 0),
                    "warningDisplay": "",
                }
                for threshold in thresholds
            ]
        return dict.fromkeys(EMPTY) | {
            "description": str(inputs.get("description", "")).strip(),
            "forceDelete": inputs.get("forceDelete"),
            "name": inputs["name"],
            "query": inputs["query"],
            "tags": inputs.get("tags", (old or {}).get("tags", [])),
            "thresholds": thresholds,
            "type": inputs["type"],
        }

    def same(self, name: str, old: Properties, new: Properties) -> bool:
        was, now = old.get(name), new.get(name)
        if has_unknown(now):
            return False
        if name == "tags":
            return sorted(was or []) == sorted(now or [])
        if name == "thresholds":
            return _essence(was) == _essence(now)
        return bool(was == now) or not (was or now)

    @staticmethod
    def _body(inputs: Properties) -> Properties:
        body: Properties = {"name": inputs["name"], "query": inputs["query"], "type": inputs["type"]}
        if inputs.get("description"):
            body["description"] = inputs["description"]
        if inputs.get("tags"):
            body["tags"] = sorted(inputs["tags"])
        body["thresholds"] = [
            {name: value for name, value in threshold.items() if value} for threshold in inputs["thresholds"]
        ]
        return body

    @staticmethod
    def _state(answer: Any, kept: Properties) -> Properties:
        return dict.fromkeys(EMPTY) | {
            "description": answer.get("description") or "",
            "forceDelete": kept.get("forceDelete"),
            "name": answer["name"],
            "query": answer["query"],
            "tags": answer.get("tags") or [],
            "thresholds": [
                {
                    "target": threshold["target"],
                    "targetDisplay": threshold.get("target_display", ""),
                    "timeframe": threshold["timeframe"],
                    "warning": threshold.get("warning", 0),
                    "warningDisplay": threshold.get("warning_display", ""),
                }
                for threshold in answer["thresholds"]
            ],
            "type": answer["type"],
        }

    def create(self, client: Client, inputs: Properties) -> tuple[str, Properties]:
        answer = self.ask(client, "error creating service level objective", "POST", PATH, self._body(inputs))
        (made,) = answer["data"]
        return made["id"], self._state(made, inputs)

    def read(self, client: Client, name: str, old: Properties) -> Properties:
        try:
            answer = self.ask(client, "error getting service level objective", "GET", f"{PATH}/{name}")
        except ToldError as error:
            if isinstance(error.__cause__, DatadogError) and error.__cause__.status == 404:
                raise MissingError from error
            raise
        return self._state(answer["data"], old)

    def update(self, client: Client, name: str, inputs: Properties, old: Properties) -> Properties:
        body = self._body(inputs) | {"id": name}
        try:
            answer = self.ask(client, "error updating service level objective", "PUT", f"{PATH}/{name}", body)
        except ToldError as error:
            raise HalfMadeError(error.summary, name, self.plan(inputs, old) | {"id": name}) from error
        (changed,) = answer["data"]
        return self._state(changed, inputs)

    def delete(self, client: Client, name: str, old: Properties) -> None:
        force = "?force=true" if old.get("forceDelete") else ""
        self.ask(client, "error deleting service level objective", "DELETE", f"{PATH}/{name}{force}")


def _essence(thresholds: Any) -> list[tuple[str, float, float]]:
    return [
        (threshold["timeframe"], float(threshold["target"]), float(threshold.get("warning") or 0))
        for threshold in thresholds or []
    ]

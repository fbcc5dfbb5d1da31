"""``datadog:index/serviceLevelObjective:ServiceLevelObjective`` of the type ``metric``, with a query.

Source: datadog/resource_datadog_service_level_objective.go in
https://github.com/DataDog/terraform-provider-datadog/tree/v4.19.0
"""

from collections.abc import Iterable, Iterator
from typing import Any, ClassVar

from pulumi.runtime.rpc import UNKNOWN

from sandbox.pulumi.plugins.datadog.client import Client, DatadogError
from sandbox.pulumi.plugins.datadog.kind import (
    DiagnosticError,
    Enum,
    Kind,
    MissingError,
    PartlyCreatedError,
    Properties,
    Shape,
)
from sandbox.pulumi.plugins.serve import PluginError, has_unknown

PATH = "/api/v1/slo"
TIMEFRAMES = Enum("SLOTimeframe", ("7d", "30d", "90d", "custom"))
EMPTY = (
    "forceDelete", "groups", "ignoreTagKeys", "monitorIds", "sliSpecification", "targetThreshold", "timeframe",
    "validate", "warningThreshold",
)  # fmt: skip
"""Outputs of inputs that this stand-in doesn't know."""
DECIDED = ("targetThreshold", "timeframe", "warningThreshold")
"""Those that Datadog may decide."""


class ServiceLevelObjective(Kind):
    """A service level objective by good and all events."""

    shape: ClassVar[dict[str, Shape]] = {
        "description": str,
        "forceDelete": bool,
        "name": str,
        "query": {"denominator": str, "numerator": str},
        "tags": [str],
        "thresholds": [{"target": float, "timeframe": TIMEFRAMES, "warning": float}],
        "type": Enum("SLOType", ("metric", "monitor", "time_slice")),
    }
    required = frozenset(
        {"name", "query.denominator", "query.numerator", "thresholds", "thresholds[].target", "thresholds[].timeframe"}
        | {"type"}
    )
    replaced_by = frozenset({"type"})
    sets = frozenset({"tags"})
    normalized = frozenset({"description", "query.denominator", "query.numerator", "tags[]"})

    def problems(self, inputs: Properties) -> Iterator[tuple[str, str]]:
        if inputs.get("type", UNKNOWN) not in (UNKNOWN, "metric"):
            yield "type", "this stand-in knows metric alone"
        elif "query" not in inputs:
            yield "query", "this stand-in knows objectives with a query alone"

    def plan(self, inputs: Properties, old: Properties | None) -> Properties:
        thresholds = inputs["thresholds"]
        if thresholds != UNKNOWN:
            was = (old or {}).get("thresholds") or []
            thresholds = [
                self._threshold(threshold, None if old is None else was[number] if number < len(was) else {})
                for number, threshold in enumerate(thresholds)
            ]
        tags = inputs.get("tags", UNKNOWN)
        if tags == UNKNOWN and old is not None:
            tags = old.get("tags", [])  # the real plugin doesn't see this change coming
        return dict.fromkeys(EMPTY) | {
            **{name: UNKNOWN if old is None else old.get(name) for name in DECIDED},
            "description": inputs.get("description"),
            "forceDelete": inputs.get("forceDelete"),
            "name": inputs["name"],
            "query": inputs["query"],
            "tags": UNKNOWN if has_unknown(tags) else sorted({*_small(tags or ())}),
            "thresholds": thresholds,
            "type": inputs["type"],
        }

    @staticmethod
    def _threshold(given: Properties, was: Properties | None) -> Properties:
        """Plan a threshold; ``was`` is the one in its place, ``None`` if the objective is new."""
        displays = ("targetDisplay", "warningDisplay")
        return {
            "warning": 0 if (was or {}).get("warning") == 0 else None,
            **given,
            **{name: UNKNOWN if was is None else was.get(name) for name in displays},
        }

    def same(self, name: str, old: Properties, new: Properties) -> bool:
        was, now = old.get(name), new.get(name)
        if has_unknown(now):
            return False
        if name == "tags":
            return {*_small(was or ())} == {*_small(now or ())}
        if name == "description":
            return str(was or "").strip() == str(now or "").strip()
        if name == "query":
            return _trimmed(was) == _trimmed(now)
        if name == "thresholds":
            return _essence(was) == _essence(now)
        return bool(was == now) or not (was or now)

    @staticmethod
    def _body(inputs: Properties) -> Properties:
        body: Properties = {"name": inputs["name"], "query": inputs["query"], "type": inputs["type"]}
        if inputs.get("description"):
            body["description"] = inputs["description"]
        if inputs.get("tags"):
            body["tags"] = list(dict.fromkeys(_small(inputs["tags"])))
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
            "query": {name: answer["query"][name] for name in ("denominator", "numerator")},
            "tags": sorted({*_small(answer.get("tags") or ())}),
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
        except DiagnosticError as error:
            if isinstance(error.__cause__, DatadogError) and error.__cause__.status == 404:
                raise MissingError from error
            raise
        if not old.get("query") and answer["data"].get("sli_specification"):
            raise PluginError("this stand-in can't import an objective: the real plugin takes its specification")
        return self._state(answer["data"], old)

    def update(self, client: Client, name: str, inputs: Properties, old: Properties) -> Properties:
        body = self._body(inputs) | {"id": name}
        try:
            if "tags" not in inputs and old.get("tags"):
                body["tags"] = old["tags"]
            answer = self.ask(client, "error updating service level objective", "PUT", f"{PATH}/{name}", body)
        except DiagnosticError as error:
            raise PartlyCreatedError(error.summary, name, self.plan(inputs, old) | {"id": name}) from error
        (changed,) = answer["data"]
        return self._state(changed, inputs)

    def delete(self, client: Client, name: str, old: Properties) -> None:
        force = "?force=true" if old.get("forceDelete") else ""
        self.ask(client, "error deleting service level objective", "DELETE", f"{PATH}/{name}{force}")


def _small(tags: Iterable[str]) -> list[str]:
    """Return tags as the real plugin compares them."""
    return [tag.strip().lower() for tag in tags]


def _trimmed(query: Any) -> dict[str, str]:
    return {name: str(text).strip() for name, text in (query or {}).items()}


def _essence(thresholds: Any) -> list[tuple[str, float, float]]:
    return [
        (threshold["timeframe"], float(threshold["target"]), float(threshold.get("warning") or 0))
        for threshold in thresholds or []
    ]

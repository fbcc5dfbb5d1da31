"""``datadog:index/monitor:Monitor``."""

from collections.abc import Iterator
from typing import Any, ClassVar

from pulumi.runtime.rpc import UNKNOWN

from sandbox.pulumi.plugins.datadog.client import Client, DatadogError
from sandbox.pulumi.plugins.datadog.kind import HalfMadeError, Kind, MissingError, Properties, Shape, ToldError, snake
from sandbox.pulumi.plugins.serve import has_unknown

THRESHOLDS = {
    "ok": "ok",
    "warning": "warning",
    "critical": "critical",
    "unknown": "unknown",
    "warningRecovery": "warning_recovery",
    "criticalRecovery": "critical_recovery",
    "criticalQuery": "critical_query",
    "criticalRecoveryQuery": "critical_recovery_query",
}
QUERIES = ("criticalQuery", "criticalRecoveryQuery")
"""Thresholds that are text, not numbers."""

OPTIONS: dict[str, tuple[str, Any]] = {
    "enableLogsSample": ("enable_logs_sample", None),
    "enableSamples": ("enable_samples", None),
    "escalationMessage": ("escalation_message", ""),
    "evaluationDelay": ("evaluation_delay", 0),
    "groupRetentionDuration": ("group_retention_duration", ""),
    "groupbySimpleMonitor": ("groupby_simple_monitor", None),
    "includeTags": ("include_tags", True),
    "newGroupDelay": ("new_group_delay", 0),
    "newHostDelay": ("new_host_delay", 300),
    "noDataTimeframe": ("no_data_timeframe", 0),
    "notificationPresetName": ("notification_preset_name", ""),
    "notifyAudit": ("notify_audit", False),
    "notifyBies": ("notify_by", None),
    "notifyNoData": ("notify_no_data", False),
    "onMissingData": ("on_missing_data", ""),
    "renotifyInterval": ("renotify_interval", 0),
    "renotifyOccurrences": ("renotify_occurrences", 0),
    "renotifyStatuses": ("renotify_statuses", None),
    "requireFullWindow": ("require_full_window", True),
    "timeoutH": ("timeout_h", 0),
}
"""A monitor's options: Datadog's name and the default output."""

ALWAYS_SENT = ("includeTags", "newHostDelay", "notifyNoData", "requireFullWindow")
COMPUTED = ("assets", "evaluationDelay", "newGroupDelay", "restrictedRoles")
"""Properties that Datadog computes if left out."""
SETS = ("notifyBies", "renotifyStatuses", "restrictedRoles", "tags")
METRIC_TYPES = {"metric alert", "query alert"}
PATH = "/api/v1/monitor"


def _number(value: float) -> str:
    return str(int(value)) if float(value).is_integer() else str(value)


def _thresholds(given: Properties) -> Properties:
    """Return a body's thresholds: those set, as numbers."""
    return {
        THRESHOLDS[name]: value if name in QUERIES else _plain_number(value) for name, value in given.items() if value
    }


def _plain_number(text: str) -> float:
    number = float(text)
    return int(number) if number.is_integer() else number


class Monitor(Kind):
    """A monitor; Datadog validates it at each preview."""

    shape: ClassVar[dict[str, Shape]] = {
        **{name: bool for name, (_, default) in OPTIONS.items() if default is None or isinstance(default, bool)},
        **{name: int for name, (_, default) in OPTIONS.items() if type(default) is int},
        **{name: str for name, (_, default) in OPTIONS.items() if default == ""},
        "notifyBies": [str],
        "renotifyStatuses": [str],
        "assets": [dict.fromkeys(("category", "name", "url", "resourceKey", "resourceType"), str)],
        "draftStatus": str,
        "forceDelete": bool,
        "ignoreTagKeys": [str],
        "message": str,
        "monitorThresholdWindows": {"recoveryWindow": str, "triggerWindow": str},
        "monitorThresholds": dict.fromkeys(THRESHOLDS, str),
        "name": str,
        "priority": str,
        "query": str,
        "restrictedRoles": [str],
        "schedulingOptions": object,
        "tags": [str],
        "type": str,
        "validate": bool,
    }
    required = frozenset({"message", "name", "query", "type"})
    defaults: ClassVar[Properties] = {"draftStatus": "published", "includeTags": True, "requireFullWindow": True}
    replaced_by = frozenset({"type"})
    read_back = frozenset({"tags", "type"})

    def problems(self, inputs: Properties) -> Iterator[tuple[str, str]]:
        for name, value in (inputs.get("monitorThresholds") or {}).items():
            if value and name not in QUERIES and value != UNKNOWN:
                try:
                    float(value)
                except ValueError:
                    yield f"monitorThresholds.{name}", f"expected a number, got {value!r}"
        if inputs.get("onMissingData"):
            for name in ("notifyNoData", "noDataTimeframe"):
                if inputs.get(name):
                    yield "onMissingData", f"onMissingData conflicts with {name}"

    def plan(self, inputs: Properties, old: Properties | None) -> Properties:
        planned = {name: inputs.get(name, default) for name, (_, default) in OPTIONS.items()}
        planned |= {
            "assets": inputs.get("assets", []),
            "draftStatus": inputs.get("draftStatus"),
            "forceDelete": inputs.get("forceDelete"),
            "ignoreTagKeys": inputs.get("ignoreTagKeys"),
            "monitorThresholdWindows": inputs.get("monitorThresholdWindows"),
            "monitorThresholds": self._threshold_outputs(inputs.get("monitorThresholds")),
            "name": inputs["name"],
            "priority": inputs.get("priority", ""),
            "restrictedRoles": inputs.get("restrictedRoles", []),
            "schedulingOptions": inputs.get("schedulingOptions"),
            "tags": inputs.get("tags", []),
            "type": inputs["type"],
            "validate": inputs.get("validate"),
            "variables": None,
        }
        for name in ("message", "query", "escalationMessage"):
            planned[name] = str(inputs.get(name, "")).strip()
        if old is not None:
            planned |= {name: old.get(name) for name in COMPUTED if name not in inputs}
            if {planned["type"], old.get("type")} <= METRIC_TYPES:
                planned["type"] = old["type"]
        return planned

    @staticmethod
    def _threshold_outputs(given: Properties | None) -> Properties | None:
        return dict.fromkeys(THRESHOLDS, "") | given if given else None

    def same(self, name: str, old: Properties, new: Properties) -> bool:
        was, now = old.get(name), new.get(name)
        if has_unknown(now):
            return False
        if name == "type":
            return bool(was == now) or {was, now} <= METRIC_TYPES
        if name == "validate" or (name == "noDataTimeframe" and not new.get("notifyNoData")):
            return True
        if name in SETS:
            return sorted(was or []) == sorted(now or [])
        if name == "monitorThresholds":
            return _thresholds(was or {}) == _thresholds(now or {})
        if name in ("message", "query"):
            return str(was or "").strip() == str(now or "").strip()
        return bool(was == now) or not (was or now)

    def _body(self, inputs: Properties) -> Properties:
        options: Properties = {"thresholds": _thresholds(inputs.get("monitorThresholds") or {})}
        skipped = ("notifyNoData", "noDataTimeframe") if inputs.get("onMissingData") else ()
        for name, (key, default) in OPTIONS.items():
            value = inputs.get(name, default)
            if (value or name in ALWAYS_SENT) and name not in skipped:
                options[key] = value
        for name, key in (
            ("monitorThresholdWindows", "threshold_windows"),
            ("schedulingOptions", "scheduling_options"),
        ):
            if inputs.get(name):
                options[key] = snake(inputs[name])
        body: Properties = {
            "draft_status": inputs.get("draftStatus", "published"),
            "message": inputs["message"].strip(),
            "name": inputs["name"],
            "options": options,
            "priority": int(inputs["priority"]) if inputs.get("priority") else None,
            "query": inputs["query"].strip(),
            "restricted_roles": sorted(inputs["restrictedRoles"]) if inputs.get("restrictedRoles") else None,
            "tags": sorted(inputs.get("tags") or []),
            "type": inputs["type"],
        }
        if inputs.get("assets"):
            body["assets"] = snake(inputs["assets"])
        return body

    def _state(self, answer: Properties, kept: Properties) -> Properties:
        """Return the outputs; ``kept`` (inputs or old outputs) has the properties that Datadog doesn't store."""
        options = answer["options"]
        thresholds = options.get("thresholds") or {}
        outputs = {name: options.get(key) or default for name, (key, default) in OPTIONS.items()}
        # Values that Datadog answers with false or 0 although the default is something else.
        outputs |= {name: options[key] for name, (key, default) in OPTIONS.items() if default and key in options}
        outputs |= {
            "assets": answer.get("assets") or [],
            "draftStatus": answer["draft_status"],
            "message": answer["message"],
            "monitorThresholdWindows": None,
            "monitorThresholds": None,
            "name": answer["name"],
            "priority": str(answer["priority"] or ""),
            "query": answer["query"],
            "restrictedRoles": answer.get("restricted_roles") or [],
            "schedulingOptions": kept.get("schedulingOptions"),
            "tags": sorted(answer["tags"]),
            "type": answer["type"],
            "variables": None,
            **{name: kept.get(name) for name in ("forceDelete", "ignoreTagKeys", "validate")},
        }
        if thresholds:
            outputs["monitorThresholds"] = {
                name: ""
                if thresholds.get(key) is None
                else thresholds[key]
                if name in QUERIES
                else _number(thresholds[key])
                for name, key in THRESHOLDS.items()
            }
        if windows := options.get("threshold_windows"):
            outputs["monitorThresholdWindows"] = {
                "recoveryWindow": windows.get("recovery_window", ""),
                "triggerWindow": windows.get("trigger_window", ""),
            }
        return outputs

    def validate(self, client: Client, inputs: Properties, name: str | None) -> None:
        if inputs.get("validate") is False or UNKNOWN in (inputs.get("query"), inputs.get("type")):
            return
        path = f"{PATH}/{name}/validate" if name else f"{PATH}/validate"
        self.ask(client, "error validating monitor", "POST", path, self._body(known(inputs)))

    def create(self, client: Client, inputs: Properties) -> tuple[str, Properties]:
        answer = self.ask(client, "error creating monitor", "POST", PATH, self._body(inputs))
        return str(answer["id"]), self._state(answer, inputs)

    def read(self, client: Client, name: str, old: Properties) -> Properties:
        try:
            return self._state(self.ask(client, "error getting monitor", "GET", f"{PATH}/{name}?with_assets=true"), old)
        except ToldError as error:
            if isinstance(error.__cause__, DatadogError) and error.__cause__.status == 404:
                raise MissingError from error
            raise

    def update(self, client: Client, name: str, inputs: Properties, old: Properties) -> Properties:
        body = self._body(inputs) | {"id": int(name)}
        try:
            answer = self.ask(client, "error updating monitor", "PUT", f"{PATH}/{name}", body)
        except ToldError as error:
            # Recorded as done; the next run retries it all the same.
            raise HalfMadeError(error.summary, name, self.plan(inputs, old) | {"id": name}) from error
        return self._state(answer, inputs)

    def delete(self, client: Client, name: str, old: Properties) -> None:
        force = "?force=true" if old.get("forceDelete") else ""
        self.ask(client, "error deleting monitor", "DELETE", f"{PATH}/{name}{force}")


def known(inputs: Properties) -> Properties:
    """Return inputs as the real plugin validates them in a preview: unknowns left out, unknown texts empty."""
    empty: Properties = {"message": "", "name": ""}
    return {
        name: empty.get(name) if has_unknown(value) else value
        for name, value in inputs.items()
        if not has_unknown(value) or name in empty
    }

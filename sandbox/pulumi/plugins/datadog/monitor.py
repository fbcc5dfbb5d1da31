"""``datadog:index/monitor:Monitor``."""

import re
from collections.abc import Iterator
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
    snake,
)
from sandbox.pulumi.plugins.serve import PluginError, has_unknown

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
NULL_PANICS = frozenset({"ok", "unknown", "warning", "critical_recovery", "warning_recovery"})
"""Thresholds that Datadog's client for Go lets be null, which the real plugin takes for numbers."""
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
COMPUTED = ("evaluationDelay", "restrictedRoles", "tags")
"""Properties that Datadog decides if they are left out: leaving one out later changes nothing."""
KEPT = (
    "draftStatus", "forceDelete", "ignoreTagKeys", "message", "monitorThresholdWindows", "name", "priority", "query",
    "restrictedRoles", "schedulingOptions", "tags", "validate",
)  # fmt: skip
STAYING = ("newHostDelay", "noDataTimeframe", "notifyNoData", "renotifyStatuses")
"""Options that stay what they were where Datadog's answer lacks them."""
TYPES = Enum(
    "MonitorType",
    (
        "composite", "event alert", "log alert", "metric alert", "process alert", "query alert", "rum alert",
        "service check", "synthetics alert", "trace-analytics alert", "slo alert", "event-v2 alert", "audit alert",
        "ci-pipelines alert", "ci-tests alert", "error-tracking alert", "database-monitoring alert",
        "network-performance alert", "cost alert", "data-quality alert", "network-path alert", "data-jobs alert",
        "llm-observability alert",
    ),
)  # fmt: skip
PRESETS = Enum(
    "MonitorOptionsNotificationPresets",
    (
        "show_all", "hide_query", "hide_handles", "hide_all", "hide_query_and_handles", "show_only_snapshot",
        "hide_handles_and_footer",
    ),
)  # fmt: skip
METRIC_TYPES = {"metric alert", "query alert"}
PATH = "/api/v1/monitor"
NUMBER = r"-?\d+(\.\d+)?(e[+-]?\d+)?"


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
        "renotifyStatuses": [Enum("MonitorRenotifyStatusType", ("alert", "warn", "no data"))],
        "notificationPresetName": PRESETS,
        "assets": [dict.fromkeys(("category", "name", "url", "resourceKey", "resourceType"), str)],
        "draftStatus": Enum("MonitorDraftStatus", ("draft", "published")),
        "forceDelete": bool,
        "ignoreTagKeys": [str],
        "message": str,
        "monitorThresholdWindows": {"recoveryWindow": str, "triggerWindow": str},
        "monitorThresholds": dict.fromkeys(THRESHOLDS, str),
        "name": str,
        "priority": str,
        "query": str,
        "restrictedRoles": [str],
        "tags": [str],
        "type": TYPES,
        "validate": bool,
    }
    required = frozenset({"message", "name", "query", "type"})
    conflicts: ClassVar[dict[str, tuple[str, ...]]] = {
        "noDataTimeframe": ("onMissingData",),
        "notifyNoData": ("onMissingData",),
        "onMissingData": ("notifyNoData", "noDataTimeframe"),
    }
    defaults: ClassVar[Properties] = {
        "draftStatus": "published",
        "includeTags": True,
        "noDataTimeframe": 10,
        "requireFullWindow": True,
    }
    replaced_by = frozenset({"type"})
    normalized = frozenset({"escalationMessage", "message", "query"})
    sets = frozenset({"ignoreTagKeys", "notifyBies", "renotifyStatuses", "restrictedRoles", "tags"})

    def problems(self, inputs: Properties) -> Iterator[tuple[str, str]]:
        thresholds = inputs.get("monitorThresholds")
        for name, value in thresholds.items() if isinstance(thresholds, dict) else ():
            if value and name not in QUERIES and value != UNKNOWN and not re.fullmatch(NUMBER, value):
                yield f"monitorThresholds.{name}", f"this stand-in takes only a number, not {value!r}"
        if (priority := inputs.get("priority")) not in (None, "", UNKNOWN) and not re.fullmatch(r"\d+", priority):
            yield "priority", f"this stand-in takes only a number, not {priority!r}"

    def plan(self, inputs: Properties, old: Properties | None) -> Properties:
        given = self._given(inputs, old)
        planned = {name: given.get(name, self._left_out(name, old)) for name in (*OPTIONS, *KEPT)}
        planned |= {
            "assets": given.get("assets", []),
            "monitorThresholds": self._threshold_outputs(inputs.get("monitorThresholds"), old),
            "type": given["type"],
            "variables": None,
        }
        if planned["tags"] == UNKNOWN and old is not None:
            planned["tags"] = old.get("tags")  # the real plugin doesn't see this change coming
        elif planned["tags"] not in (None, UNKNOWN):
            planned["tags"] = UNKNOWN if has_unknown(planned["tags"]) else sorted({*planned["tags"]})
        return planned

    @staticmethod
    def _left_out(name: str, old: Properties | None) -> Any:
        """Return what is planned for a property that isn't given: its default, or what it was if that says nothing."""
        if old is None and name in COMPUTED:
            return UNKNOWN
        default = OPTIONS[name][1] if name in OPTIONS and (old is not None or name != "notifyAudit") else None
        nothing = None if default in ("", 0) and default is not False else default
        was = (old or {}).get(name)
        return was if old is not None and was in ("", 0, []) and nothing is None else nothing

    @staticmethod
    def _given(inputs: Properties, old: Properties | None) -> Properties:
        """Return the inputs as the real plugin plans them: with what Datadog has decided, and without what is moot."""
        given = dict(inputs)
        if old is not None:
            given = {name: old[name] for name in COMPUTED if old.get(name) is not None} | given
            if {given["type"], old.get("type")} <= METRIC_TYPES:
                given["type"] = old["type"]
        if not given.get("notifyNoData"):
            given.pop("noDataTimeframe", None)
            if old is not None and old.get("noDataTimeframe") is not None:
                given["noDataTimeframe"] = old["noDataTimeframe"]
        return given

    @staticmethod
    def _threshold_outputs(given: Any, old: Properties | None) -> Any:
        if not given or given == UNKNOWN:
            return given or None
        was = (old or {}).get("monitorThresholds") or {}
        return {name: "" if was.get(name) == "" else None for name in THRESHOLDS} | given

    def same(self, name: str, old: Properties, new: Properties) -> bool:
        was, now = old.get(name), new.get(name)
        if has_unknown(now):
            return False
        if name == "type":
            return bool(was == now) or {was, now} <= METRIC_TYPES
        if name == "validate" or (name == "noDataTimeframe" and not new.get("notifyNoData")):
            return True
        if name in self.sets:
            return {*(was or ())} == {*(now or ())}
        if name == "monitorThresholds":
            return _thresholds(was or {}) == _thresholds(now or {})
        if name in self.normalized:
            return str(was or "") == str(now or "").strip()
        return bool(was == now) or not (was or now)

    def _body(self, inputs: Properties) -> Properties:
        options: Properties = {"thresholds": _thresholds(inputs.get("monitorThresholds") or {})}
        skipped = ("noDataTimeframe",) if inputs.get("onMissingData") else ()
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
            "message": inputs["message"],
            "name": inputs["name"],
            "options": options,
            "priority": int(inputs["priority"]) if inputs.get("priority") else None,
            "query": inputs["query"],
            "restricted_roles": sorted(inputs["restrictedRoles"]) if inputs.get("restrictedRoles") else None,
            "tags": sorted({*(inputs.get("tags") or ())}),
            "type": inputs["type"],
        }
        if inputs.get("assets"):
            body["assets"] = snake(inputs["assets"])
        return body

    def _state(self, answer: Properties, kept: Properties) -> Properties:
        """Return the outputs; ``kept`` has what was planned or known before, which stays where Datadog says nothing.

        Source: updateMonitorState in datadog/resource_datadog_monitor.go of the provider
        """
        options = answer["options"]
        thresholds = options.get("thresholds") or {}
        outputs = {
            name: options.get(key) or (default if default in ("", 0) else None)
            for name, (key, default) in OPTIONS.items()
        }
        outputs |= {name: bool(options.get(OPTIONS[name][0])) for name in ("includeTags", "requireFullWindow")}
        staying = {name: options.get(OPTIONS[name][0]) for name in STAYING}
        outputs |= {name: kept.get(name) if value in (None, []) else value for name, value in staying.items()}
        if options.get("no_data_timeframe", 0) is None:
            outputs["noDataTimeframe"] = 0
        outputs |= {
            "assets": answer.get("assets") or [],
            "draftStatus": answer.get("draft_status") or "published",
            "message": answer.get("message") or "",
            "monitorThresholdWindows": kept.get("monitorThresholdWindows"),
            "monitorThresholds": kept.get("monitorThresholds"),
            "name": answer.get("name") or "",
            "priority": "" if answer.get("priority") is None else str(answer["priority"]),
            "query": answer["query"],
            "restrictedRoles": answer.get("restricted_roles") or [],
            "schedulingOptions": kept.get("schedulingOptions"),
            "tags": sorted({*(answer.get("tags") or ())}),
            "type": answer["type"],
            "variables": None,
            **{name: kept.get(name) for name in ("forceDelete", "ignoreTagKeys", "validate")},
        }
        if any(thresholds[key] is None for key in thresholds.keys() & NULL_PANICS):
            raise PluginError("the real plugin panics where one of these thresholds is null")
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

    def validate(self, client: Client, inputs: Properties, name: str | None, old: Properties | None) -> None:
        if inputs.get("validate") is False or {inputs.get("query"), inputs.get("type")} & {"", UNKNOWN}:
            return
        path = f"{PATH}/{name}/validate" if name else f"{PATH}/validate"
        decided = {key: value for key in COMPUTED if (value := (old or {}).get(key)) is not None}
        self.ask(client, "error validating monitor", "POST", path, self._body(known(decided | inputs, old or {})))

    def create(self, client: Client, inputs: Properties) -> tuple[str, Properties]:
        given = self._given(inputs, None)
        answer = self.ask(client, "error creating monitor", "POST", PATH, self._body(given))
        return str(answer["id"]), self._state(answer, given)

    def read(self, client: Client, name: str, old: Properties) -> Properties:
        try:
            found = self._state(
                self.ask(client, "error getting monitor", "GET", f"{PATH}/{name}?with_assets=true"), old
            )
            return found | {"notifyBies": found["notifyBies"] or []}
        except DiagnosticError as error:
            if isinstance(error.__cause__, DatadogError) and error.__cause__.status == 404:
                raise MissingError from error
            raise

    def update(self, client: Client, name: str, inputs: Properties, old: Properties) -> Properties:
        given = self._given(inputs, old)
        body = self._body(given) | {"id": int(name)}
        try:
            answer = self.ask(client, "error updating monitor", "PUT", f"{PATH}/{name}", body)
        except DiagnosticError as error:
            # Recorded as done; the next run retries it all the same.
            raise PartlyCreatedError(error.summary, name, self.plan(inputs, old) | {"id": name}) from error
        return self._state(answer, given)

    def delete(self, client: Client, name: str, old: Properties) -> None:
        force = "?force=true" if old.get("forceDelete") else ""
        self.ask(client, "error deleting monitor", "DELETE", f"{PATH}/{name}{force}")


def known(inputs: Properties, old: Properties) -> Properties:
    """Return inputs as the real plugin validates them in a preview: unknowns empty or left out.

    Of thresholds, only the unknown ones are left out; if all are, they are those of the ``old`` outputs.
    """
    empty: Properties = {"message": "", "name": "", **dict.fromkeys(("includeTags", "requireFullWindow"), False)}
    given = {name: value for name, value in inputs.items() if not has_unknown(value)}
    given |= {name: value for name, value in empty.items() if has_unknown(inputs.get(name))}
    thresholds = inputs.get("monitorThresholds")
    if thresholds == UNKNOWN:
        given["monitorThresholds"] = old.get("monitorThresholds")
    elif thresholds:
        given["monitorThresholds"] = {name: value for name, value in thresholds.items() if value != UNKNOWN}
    return given

"""``datadog:index/downtimeSchedule:DowntimeSchedule``."""

import copy
import re
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from pulumi.runtime.rpc import UNKNOWN

from sandbox.pulumi.plugins.datadog.client import Client, DatadogError
from sandbox.pulumi.plugins.datadog.kind import (
    DiagnosticError,
    Kind,
    MissingError,
    Properties,
    Shape,
    go_text,
    snake_name,
)

PATH = "/api/v2/downtime"
DOING = "error retrieving DowntimeSchedule"
"""The real plugin says this of creates and updates too."""
NAMES = {
    "displayTimezone": "display_timezone",
    "message": "message",
    "muteFirstRecoveryNotification": "mute_first_recovery_notification",
    "notifyEndStates": "notify_end_states",
    "notifyEndTypes": "notify_end_types",
    "scope": "scope",
}
COMPUTED = ("displayTimezone", "muteFirstRecoveryNotification", "notifyEndStates", "notifyEndTypes")
"""Properties that Datadog computes if left out, besides a schedule's time zone and starts."""


FORMS = {
    "2006-01-02T15:04:05": r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d",
    "2006-01-02T15:04:05Z": r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ",
}
"""Forms of a local time and of one in UTC, as Go writes them."""


def _moments(inputs: Properties) -> Iterator[tuple[str, str, Any]]:
    """Yield the known times in inputs: their names in Terraform, their forms and values."""
    local, universal = FORMS
    recurring, once = inputs.get("recurringSchedule"), inputs.get("oneTimeSchedule")
    recurrences = recurring.get("recurrences") if isinstance(recurring, Mapping) else None
    for number, recurrence in enumerate(recurrences if isinstance(recurrences, list) else ()):
        if isinstance(recurrence, Mapping) and recurrence.get("start") not in (None, UNKNOWN):
            yield f"recurring_schedule.recurrence[{number}].start", local, recurrence["start"]
    for name in ("start", "end"):
        if isinstance(once, Mapping) and once.get(name) not in (None, UNKNOWN):
            yield f"one_time_schedule.{name}", universal, once[name]


class DowntimeSchedule(Kind):
    """A downtime, once or recurring."""

    framework = True
    decided = frozenset(COMPUTED)
    shape: ClassVar[dict[str, Shape]] = {
        "displayTimezone": str,
        "message": str,
        "monitorIdentifier": {"monitorId": int, "monitorTags": [str]},
        "muteFirstRecoveryNotification": bool,
        "notifyEndStates": [str],
        "notifyEndTypes": [str],
        "oneTimeSchedule": {"start": str, "end": str},
        "recurringSchedule": {"timezone": str, "recurrences": [{"duration": str, "rrule": str, "start": str}]},
        "scope": str,
    }
    descriptions: ClassVar[dict[str, str]] = {
        "recurringSchedule.recurrences[].duration": (
            "The length of the downtime. Must begin with an integer and end with one of 'm', 'h', d', or 'w'."
        ),
        "recurringSchedule.recurrences[].rrule": (
            "The `RRULE` standard for defining recurring events. For example, to have a recurring event on the first"
            " day of each month, set the type to `rrule` and set the `FREQ` to `MONTHLY` and `BYMONTHDAY` to `1`. Most"
            " common `rrule` options from the [iCalendar Spec](https://tools.ietf.org/html/rfc5545) are supported. "
            " **Note**: Attributes specifying the duration in `RRULE` are not supported (for example, `DTSTART`,"
            " `DTEND`, `DURATION`). More examples available in this [downtime guide](https://docs.datadoghq.com/"
            "monitors/guide/suppress-alert-with-downtimes/?tab=api)."
        ),
        "scope": (
            "The scope to which the downtime applies. Must follow the [common search syntax]"
            "(https://docs.datadoghq.com/logs/explorer/search_syntax/)."
        ),
    }
    blocks = frozenset({"monitorIdentifier"})

    def refusals(self, inputs: Properties) -> Iterator[str]:
        for name, form, moment in _moments(inputs):
            if not re.fullmatch(FORMS[form], go_text(moment)):
                yield f'property "{name}" must be of the format {form}: was {go_text(moment)}'

    def problems(self, inputs: Properties) -> Iterator[tuple[str, str]]:
        identifier = inputs.get("monitorIdentifier")
        if isinstance(identifier, Mapping) and len(given := [entry for entry in identifier.values() if entry]) != 1:
            found = f"{len(given)} attributes" if given else "No attribute"
            only = "when one (and only one) of [monitor_identifier.monitor_id.<.monitor_tags] is required"
            yield "monitorIdentifier.monitorId", f"Invalid Attribute Combination. {found} specified {only}"
        one, other = "oneTimeSchedule", "recurringSchedule"
        if inputs.get(one) and inputs.get(other):
            for name, against in ((one, other), (other, one)):
                both = f'"{snake_name(against)}" cannot be specified when "{snake_name(name)}" is specified'
                yield name, f"Invalid Attribute Combination. Attribute {both}"
        elif not (inputs.get(one) or inputs.get(other)):
            yield "", f"this stand-in needs {one} or {other}"

    def plan(self, inputs: Properties, old: Properties | None) -> Properties:
        old = old or {}
        planned = self._planned(inputs, old)
        if any(not self.same(name, old, planned) for name in self.shape):
            # In the real plugin, any change makes computed properties unknown.
            planned = self._planned(inputs, {})
        return planned

    @staticmethod
    def _planned(inputs: Properties, old: Properties) -> Properties:
        planned = {name: value for name, value in copy.deepcopy(inputs).items() if value is not None}
        for name in COMPUTED:
            planned.setdefault(name, old.get(name, UNKNOWN))
        recurring, one_time = planned.get("recurringSchedule", UNKNOWN), planned.get("oneTimeSchedule", UNKNOWN)
        if recurring != UNKNOWN:
            was = old.get("recurringSchedule") or {}
            recurring.setdefault("timezone", was.get("timezone", UNKNOWN))
            if recurring["recurrences"] != UNKNOWN:
                starts = [recurrence.get("start") for recurrence in was.get("recurrences", [])]
                for number, recurrence in enumerate(recurring["recurrences"]):
                    recurrence.setdefault("start", starts[number] if number < len(starts) else UNKNOWN)
        if one_time != UNKNOWN:
            one_time.setdefault("start", (old.get("oneTimeSchedule") or {}).get("start", UNKNOWN))
        return planned

    def same(self, name: str, old: Properties, new: Properties) -> bool:
        was, now = old.get(name), new.get(name)
        if name in ("notifyEndStates", "notifyEndTypes") and isinstance(was, list) and isinstance(now, list):
            return sorted(was) == sorted(now)
        return bool(was == now)

    def _body(self, inputs: Properties, *, update: bool) -> Properties:
        """Return the body; the real plugin omits missing starts (null in an update) and sends an empty zone."""
        identifier = inputs["monitorIdentifier"]
        attributes: Properties = {
            "display_timezone": inputs.get("displayTimezone", ""),
            "monitor_identifier": (
                {"monitor_id": identifier["monitorId"]}
                if identifier.get("monitorId") is not None
                else {"monitor_tags": identifier["monitorTags"]}
            ),
            "mute_first_recovery_notification": inputs.get("muteFirstRecoveryNotification", False),
            "schedule": self._schedule(inputs, update=update),
            "scope": inputs["scope"],
        }
        for name in ("message", "notifyEndStates", "notifyEndTypes"):
            if inputs.get(name) is not None:
                attributes[NAMES[name]] = inputs[name]
            elif update and name == "message":
                attributes["message"] = None
        # The real plugin sends an empty id with an update.
        return {"data": {"attributes": attributes, "type": "downtime", **({"id": ""} if update else {})}}

    @staticmethod
    def _schedule(inputs: Properties, *, update: bool) -> Properties:
        recurring = inputs.get("recurringSchedule")
        if recurring is None:
            once = inputs["oneTimeSchedule"]
            moments = {"end": once.get("end"), "start": once.get("start")}
            return moments if update or moments["start"] else {"end": moments["end"]}
        recurrences = []
        for given in recurring["recurrences"]:
            recurrence = {"duration": given["duration"], "rrule": given["rrule"]}
            if given.get("start") or update:
                recurrence["start"] = given.get("start")
            recurrences.append(recurrence)
        return {"recurrences": recurrences, "timezone": recurring.get("timezone", "")}

    def _state(self, answer: Any, kept: Properties) -> Properties:
        """Return the outputs; what the answer lacks stays as ``kept``, so a message that is gone isn't noticed.

        Source: updateState in datadog/fwprovider/resource_datadog_downtime_schedule.go of the provider
        """
        attributes = answer["data"]["attributes"]
        outputs = {name: kept[name] for name in self.shape if kept.get(name) not in (None, UNKNOWN)}
        outputs |= {name: attributes[key] for name, key in NAMES.items() if attributes.get(key) is not None}
        outputs |= {"id": answer["data"].get("id", ""), "scope": attributes.get("scope", "")}
        identifier, schedule = attributes["monitor_identifier"], attributes.get("schedule") or {}
        if "monitor_id" in identifier:
            outputs["monitorIdentifier"] = {"monitorId": identifier["monitor_id"]}
        else:
            outputs["monitorIdentifier"] = {"monitorTags": identifier["monitor_tags"]}
        # A schedule of the other kind is added: the one of this kind stays.
        if "recurrences" in schedule:
            names = ("duration", "rrule", "start")
            recurrences = [{name: found[name] for name in names if name in found} for found in schedule["recurrences"]]
            zone = {"timezone": schedule["timezone"]} if "timezone" in schedule else {}
            outputs["recurringSchedule"] = {"recurrences": recurrences, **zone}
        elif schedule.get("start"):
            moments = {"start": schedule["start"], "end": schedule.get("end")}
            outputs["oneTimeSchedule"] = {
                name: moment.replace("+00:00", "Z") for name, moment in moments.items() if moment is not None
            }
        return outputs

    def _written(self, answer: Any, planned: Properties) -> Properties:
        """Return the outputs after a create or an update, in which Datadog has to decide what was left out."""
        outputs = self._state(answer, planned)
        if any(name not in outputs for name in COMPUTED):
            raise DiagnosticError("unexpected unknown property value")
        return outputs

    def create(self, client: Client, inputs: Properties) -> tuple[str, Properties]:
        self._check(inputs)
        answer = self.ask(client, DOING, "POST", PATH, self._body(inputs, update=False))
        return answer["data"]["id"], self._written(answer, inputs)

    def read(self, client: Client, name: str, old: Properties) -> Properties:
        """Return its outputs; like the real plugin, finds a cancelled one as long as Datadog keeps it."""
        try:
            return self._state(self.ask(client, DOING, "GET", f"{PATH}/{name}"), old)
        except DiagnosticError as error:
            if isinstance(error.__cause__, DatadogError) and error.__cause__.status == 404:
                raise MissingError from error
            raise

    def update(self, client: Client, name: str, inputs: Properties, old: Properties) -> Properties:
        del old
        self._check(inputs)
        body = self._body(inputs, update=True)
        return self._written(self.ask(client, DOING, "PATCH", f"{PATH}/{name}", body), inputs)

    @staticmethod
    def _check(inputs: Properties) -> None:
        if "recurringSchedule" in inputs and not inputs["recurringSchedule"].get("recurrences"):
            raise DiagnosticError("Must provide one or more recurrence definitions", "")

    def delete(self, client: Client, name: str, old: Properties) -> None:
        del old
        try:
            self.ask(client, "error deleting downtime_schedule", "DELETE", f"{PATH}/{name}")
        except DiagnosticError as error:
            if not (isinstance(error.__cause__, DatadogError) and error.__cause__.status == 404):
                raise

"""``datadog:index/downtimeSchedule:DowntimeSchedule``."""

import copy
from collections.abc import Iterator
from typing import Any, ClassVar

from pulumi.runtime.rpc import UNKNOWN

from sandbox.plugins.datadog.client import Client, MissingError
from sandbox.plugins.datadog.kind import Kind, Properties, Shape
from sandbox.plugins.serve import PluginError

PATH = "/api/v2/downtime"
NAMES = {
    "displayTimezone": "display_timezone",
    "message": "message",
    "muteFirstRecoveryNotification": "mute_first_recovery_notification",
    "notifyEndStates": "notify_end_states",
    "notifyEndTypes": "notify_end_types",
    "scope": "scope",
}
COMPUTED = ("displayTimezone", "muteFirstRecoveryNotification", "notifyEndStates", "notifyEndTypes")
"""What Datadog decides where it is left out; besides these, a schedule's time zone and starts."""


class DowntimeSchedule(Kind):
    """A downtime, once or recurring."""

    title = "downtime"
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
    required = frozenset({"monitorIdentifier", "scope"})

    def problems(self, inputs: Properties) -> Iterator[tuple[str, str]]:
        identifier = inputs.get("monitorIdentifier", UNKNOWN)
        if identifier != UNKNOWN and len(identifier) != 1:
            yield "monitorIdentifier", "exactly one of monitorId and monitorTags must be set"
        if ("oneTimeSchedule" in inputs) == ("recurringSchedule" in inputs):
            yield "recurringSchedule", "exactly one of oneTimeSchedule and recurringSchedule must be set"
        recurring = inputs.get("recurringSchedule", UNKNOWN)
        if recurring != UNKNOWN and not recurring.get("recurrences"):
            yield "recurringSchedule.recurrences", "Must provide one or more recurrence definitions"

    def plan(self, inputs: Properties, old: Properties | None) -> Properties:
        old = old or {}
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
        """What is left out goes as the real plugin sends it: a start is now (null in an update), the zone is empty."""
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

    def _state(self, answer: Any) -> Properties:
        attributes = answer["data"]["attributes"]
        if "notify_end_states" not in attributes or "notify_end_types" not in attributes:
            raise PluginError("error reading downtime: unexpected unknown property value")
        outputs = {name: attributes[key] for name, key in NAMES.items() if attributes.get(key) is not None}
        identifier, schedule = attributes["monitor_identifier"], attributes["schedule"]
        if "monitor_id" in identifier:
            outputs["monitorIdentifier"] = {"monitorId": identifier["monitor_id"]}
        else:
            outputs["monitorIdentifier"] = {"monitorTags": identifier["monitor_tags"]}
        if "recurrences" in schedule:
            recurrences = [
                {name: recurrence[name] for name in ("duration", "rrule", "start")}
                for recurrence in schedule["recurrences"]
            ]
            outputs["recurringSchedule"] = {"recurrences": recurrences, "timezone": schedule["timezone"]}
        else:
            moments = {"start": schedule.get("start"), "end": schedule.get("end")}
            outputs["oneTimeSchedule"] = {
                name: moment.replace("+00:00", "Z") for name, moment in moments.items() if moment is not None
            }
        return outputs

    def create(self, client: Client, inputs: Properties) -> tuple[str, Properties]:
        answer = client.call("error creating downtime", "POST", PATH, self._body(inputs, update=False))
        return answer["data"]["id"], self._state(answer)

    def read(self, client: Client, name: str, old: Properties) -> Properties:
        del old
        answer = client.call("error retrieving DowntimeSchedule", "GET", f"{PATH}/{name}")
        if answer["data"]["attributes"].get("status") == "canceled":
            raise MissingError(f"downtime {name} is canceled")
        return self._state(answer)

    def update(self, client: Client, name: str, inputs: Properties, old: Properties) -> Properties:
        del old
        body = self._body(inputs, update=True)
        return self._state(client.call("error updating downtime", "PATCH", f"{PATH}/{name}", body))

    def delete(self, client: Client, name: str, old: Properties) -> None:
        del old
        client.call("error deleting downtime_schedule", "DELETE", f"{PATH}/{name}")

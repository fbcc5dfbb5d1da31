"""``datadog:index/spansMetric:SpansMetric`` and ``datadog:index/apmRetentionFilter:ApmRetentionFilter``.

Source: datadog/fwprovider/resource_datadog_spans_metric.go and resource_datadog_apm_retention_filter.go in
https://github.com/DataDog/terraform-provider-datadog/tree/v4.19.0
"""

from collections.abc import Iterator
from typing import Any, ClassVar
from urllib.parse import quote

from pulumi.runtime.rpc import UNKNOWN

from sandbox.pulumi.plugins.datadog.client import Client, DatadogError
from sandbox.pulumi.plugins.datadog.kind import Kind, MissingError, Properties, Shape, ToldError
from sandbox.pulumi.plugins.serve import PluginError, has_unknown

METRICS = "/api/v2/apm/config/metrics"
FILTERS = "/api/v2/apm/config/retention-filters"


class NewerKind(Kind):
    """A type of the newer half, to which reading or deleting what is gone is no error."""

    framework = True

    def read_at(self, client: Client, doing: str, path: str) -> Any:
        """Return the answer to a GET.

        Raises:
            MissingError: it is gone.
        """
        try:
            return self.ask(client, doing, "GET", path)
        except ToldError as error:
            if isinstance(error.__cause__, DatadogError) and error.__cause__.status == 404:
                raise MissingError from error
            raise

    def delete_at(self, client: Client, doing: str, path: str) -> None:
        """Delete it; one that is gone already is no error."""
        try:
            self.ask(client, doing, "DELETE", path)
        except ToldError as error:
            if not (isinstance(error.__cause__, DatadogError) and error.__cause__.status == 404):
                raise


class SpansMetric(NewerKind):
    """A metric made from spans; its name can't be changed."""

    shape: ClassVar[dict[str, Shape]] = {
        "compute": {"aggregationType": str, "includePercentiles": bool, "path": str},
        "filter": {"query": str},
        "groupBies": [{"path": str, "tagName": str}],
        "name": str,
    }
    required = frozenset({"compute", "filter", "name"})
    replaced_by = frozenset({"name"})

    def problems(self, inputs: Properties) -> Iterator[tuple[str, str]]:
        compute = inputs.get("compute", UNKNOWN)
        if has_unknown(compute):
            return
        if "aggregationType" not in compute:
            yield "compute.aggregationType", "Missing required property 'aggregationType'"
        elif compute["aggregationType"] != "distribution" and compute.get("includePercentiles") is not None:
            yield (
                "compute.includePercentiles",
                "include_percentiles can only be set when aggregation_type is 'distribution'",
            )

    def plan(self, inputs: Properties, old: Properties | None) -> Properties:
        was = (old or {}).get("compute") or {}
        compute = inputs["compute"]
        if not has_unknown(compute):
            compute = dict(compute)
            if compute["aggregationType"] == "distribution":
                compute.setdefault("includePercentiles", was.get("includePercentiles", UNKNOWN))
            if was and (compute.get("path"), compute["aggregationType"]) != (was.get("path"), was["aggregationType"]):
                raise PluginError("this stand-in doesn't know what a change of a metric's computation does")
        planned: Properties = {
            "compute": compute,
            "filter": {"query": "*"} | inputs["filter"] if isinstance(inputs["filter"], dict) else inputs["filter"],
            "name": inputs["name"],
        }
        if inputs.get("groupBies"):
            planned["groupBies"] = inputs["groupBies"]
        return planned

    def same(self, name: str, old: Properties, new: Properties) -> bool:
        if name == "groupBies" and not has_unknown(new.get(name)):
            return _sorted(old.get(name)) == _sorted(new.get(name))
        return super().same(name, old, new)

    @staticmethod
    def _attributes(inputs: Properties) -> Properties:
        compute = inputs["compute"]
        names = {"aggregationType": "aggregation_type", "includePercentiles": "include_percentiles", "path": "path"}
        attributes: Properties = {
            "compute": {key: compute[name] for name, key in names.items() if compute.get(name) is not None},
            "filter": {"query": inputs["filter"].get("query", "*")},
        }
        if inputs.get("groupBies"):
            attributes["group_by"] = [
                {"path": each["path"], **({"tag_name": each["tagName"]} if each.get("tagName") else {})}
                for each in inputs["groupBies"]
            ]
        return attributes

    @staticmethod
    def _state(answer: Any) -> Properties:
        data = answer["data"]
        attributes = data["attributes"]
        names = {"aggregation_type": "aggregationType", "include_percentiles": "includePercentiles", "path": "path"}
        outputs: Properties = {
            "compute": {
                name: attributes["compute"][key] for key, name in names.items() if key in attributes["compute"]
            },
            "filter": attributes["filter"],
            "name": data["id"],
        }
        if attributes.get("group_by"):
            outputs["groupBies"] = [
                {"path": each["path"], "tagName": each["tag_name"]} for each in attributes["group_by"]
            ]
        return outputs

    def create(self, client: Client, inputs: Properties) -> tuple[str, Properties]:
        # The real plugin sends the name in quotes, which Datadog takes off.
        data = {"attributes": self._attributes(inputs), "id": f'"{inputs["name"]}"', "type": "spans_metrics"}
        outputs = self._state(self.ask(client, "error creating spans metric", "POST", METRICS, {"data": data}))
        return outputs["name"], outputs

    def read(self, client: Client, name: str, old: Properties) -> Properties:
        del old
        return self._state(self.read_at(client, "error retrieving spans metric", f"{METRICS}/{quote(name)}"))

    def update(self, client: Client, name: str, inputs: Properties, old: Properties) -> Properties:
        del old
        attributes: Properties = {"group_by": [], **self._attributes(inputs)}
        percentiles = attributes["compute"].get("include_percentiles")
        attributes["compute"] = {} if percentiles is None else {"include_percentiles": percentiles}
        body = {"data": {"attributes": attributes, "type": "spans_metrics"}}
        return self._state(self.ask(client, "error updating spans metric", "PATCH", f"{METRICS}/{quote(name)}", body))

    def delete(self, client: Client, name: str, old: Properties) -> None:
        del old
        self.delete_at(client, "error deleting spans metric", f"{METRICS}/{quote(name)}")


def _sorted(groups: Any) -> list[tuple[str, str]]:
    return sorted((each["path"], each.get("tagName", "")) for each in groups or [])


class ApmRetentionFilter(NewerKind):
    """A filter that keeps spans; Datadog's rate is a number, the property a text with its own precision."""

    shape: ClassVar[dict[str, Shape]] = {
        "enabled": bool,
        "filter": {"query": str},
        "filterType": str,
        "name": str,
        "rate": str,
        "traceRate": str,
    }
    required = frozenset({"enabled", "filter", "filterType", "name", "rate"})

    def problems(self, inputs: Properties) -> Iterator[tuple[str, str]]:
        if inputs.get("filterType", UNKNOWN) not in (UNKNOWN, "spans-sampling-processor"):
            yield "filterType", "is not spans-sampling-processor"
        for name in ("rate", "traceRate"):
            if (value := inputs.get(name, UNKNOWN)) != UNKNOWN and not _is_share(value):
                yield name, f"{value!r} is not a number from 0 to 1"

    def plan(self, inputs: Properties, old: Properties | None) -> Properties:
        del old
        return {name: inputs[name] for name in self.shape if inputs.get(name) is not None}

    @staticmethod
    def _body(inputs: Properties, *, update: bool) -> Properties:
        attributes = {
            "enabled": inputs["enabled"],
            "filter": {"query": inputs["filter"].get("query", "*")},
            "filter_type": inputs["filterType"],
            "name": inputs["name"],
            "rate": float(inputs["rate"]),
        }
        if inputs.get("traceRate") not in (None, "", "0.0"):
            attributes["trace_rate"] = float(inputs["traceRate"])
        # The real plugin sends an empty id with an update.
        return {"data": {"attributes": attributes, "type": "apm_retention_filter", **({"id": ""} if update else {})}}

    @staticmethod
    def _state(answer: Any, kept: Properties) -> Properties:
        attributes = answer["data"]["attributes"]
        precision = len(str(kept.get("rate", "")).partition(".")[2])
        outputs = {
            "enabled": attributes["enabled"],
            "filter": attributes["filter"],
            "filterType": attributes["filter_type"],
            "name": attributes["name"],
            "rate": f"{attributes['rate']:.{precision}f}" if precision else f"{attributes['rate']:g}",
        }
        if attributes.get("trace_rate"):
            outputs["traceRate"] = f"{attributes['trace_rate']:.{precision or 1}f}"
        return outputs

    def create(self, client: Client, inputs: Properties) -> tuple[str, Properties]:
        doing = "error retrieving retention filter"  # the real plugin says this of creates and updates too
        answer = self.ask(client, doing, "POST", FILTERS, self._body(inputs, update=False))
        return answer["data"]["id"], self._state(answer, inputs)

    def read(self, client: Client, name: str, old: Properties) -> Properties:
        return self._state(self.read_at(client, "error retrieving retention filter", f"{FILTERS}/{name}"), old)

    def update(self, client: Client, name: str, inputs: Properties, old: Properties) -> Properties:
        del old
        body = self._body(inputs, update=True)
        return self._state(
            self.ask(client, "error retrieving retention filter", "PUT", f"{FILTERS}/{name}", body), inputs
        )

    def delete(self, client: Client, name: str, old: Properties) -> None:
        del old
        self.delete_at(client, "error deleting retention filter", f"{FILTERS}/{name}")


def _is_share(value: str) -> bool:
    try:
        return 0 <= float(value) <= 1
    except ValueError:
        return False

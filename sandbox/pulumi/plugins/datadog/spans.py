"""``datadog:index/spansMetric:SpansMetric`` and ``datadog:index/apmRetentionFilter:ApmRetentionFilter``.

Source: datadog/fwprovider/resource_datadog_spans_metric.go and resource_datadog_apm_retention_filter.go in
https://github.com/DataDog/terraform-provider-datadog/tree/v4.19.0
"""

from collections.abc import Iterator
from typing import Any, ClassVar
from urllib.parse import quote

from pulumi.runtime.rpc import UNKNOWN

from sandbox.pulumi.plugins.datadog.client import Client, DatadogError, UnreadableError
from sandbox.pulumi.plugins.datadog.kind import DiagnosticError, Kind, MissingError, Properties, Shape
from sandbox.pulumi.plugins.serve import PluginError, has_unknown

AGGREGATION = "compute.aggregationType"
RATES = {"rate": "rate", "traceRate": "trace_rate"}
BETWEEN = "Value must be between 0.00 and 1.00."
METRICS = "/api/v2/apm/config/metrics"
FILTERS = "/api/v2/apm/config/retention-filters"


class NewerKind(Kind):
    """A type of the framework half, to which reading or deleting what is gone is no error."""

    framework = True

    def read_at(self, client: Client, doing: str, path: str) -> Any:
        """Return the answer to a GET.

        Raises:
            MissingError: it is gone.
        """
        try:
            return self.ask(client, doing, "GET", path)
        except DiagnosticError as error:
            if isinstance(error.__cause__, DatadogError) and error.__cause__.status == 404:
                raise MissingError from error
            raise

    def delete_at(self, client: Client, doing: str, path: str) -> None:
        """Delete it; one that is gone already is no error."""
        try:
            self.ask(client, doing, "DELETE", path)
        except DiagnosticError as error:
            gone = isinstance(error.__cause__, DatadogError) and error.__cause__.status == 404
            if not (gone or isinstance(error.__cause__, UnreadableError)):  # the answer isn't looked at
                raise


class SpansMetric(NewerKind):
    """A metric made from spans; its name can't be changed."""

    shape: ClassVar[dict[str, Shape]] = {
        "compute": {"aggregationType": str, "includePercentiles": bool, "path": str},
        "filter": {"query": str},
        "groupBies": [{"path": str, "tagName": str}],
        "name": str,
    }
    descriptions: ClassVar[dict[str, str]] = {
        "compute.aggregationType": "The type of aggregation to use. This field can't be updated after creation.",
        "groupBies[].path": "The path to the value the span-based metric will be aggregated over.",
        "name": "The name of the span-based metric. This field can't be updated after creation.",
    }
    blocks = frozenset({"compute", "filter"})
    sets = frozenset({"groupBies"})
    replaced_by = frozenset({"name"})

    def problems(self, inputs: Properties) -> Iterator[tuple[str, str]]:
        compute = inputs.get("compute")
        if compute in (None, UNKNOWN):
            if compute == UNKNOWN:
                yield "", f"Missing required property 'compute.aggregationType': {self.descriptions[AGGREGATION]}"
            yield "compute", "this stand-in needs to know it"
            return
        kind, percentiles = compute.get("aggregationType"), compute.get("includePercentiles")
        if kind != "distribution" and percentiles not in (None, UNKNOWN):
            only = "include_percentiles can only be set when aggregation_type is 'distribution'"
            yield "compute.includePercentiles", f"Invalid configuration. {only}"
        groups = inputs.get("groupBies")
        if isinstance(groups, list) and not has_unknown(groups) and len(set(_sorted(groups))) < len(groups):
            yield "groupBies", "Duplicate Set Element. This stand-in doesn't say which"

    def plan(self, inputs: Properties, old: Properties | None) -> Properties:
        was = (old or {}).get("compute") or {}
        compute = inputs["compute"]
        if not has_unknown(compute):
            compute = dict(compute)
            if compute["aggregationType"] == "distribution":
                compute.setdefault("includePercentiles", was.get("includePercentiles", UNKNOWN))
            if was.get("path") == compute.get("path") and was and was["aggregationType"] != compute["aggregationType"]:
                raise PluginError("this stand-in doesn't know what a change of a metric's aggregation alone does")
        planned: Properties = {
            "compute": compute,
            "filter": {"query": "*"} | inputs["filter"] if isinstance(inputs["filter"], dict) else inputs["filter"],
            "name": inputs["name"],
        }
        groups = inputs.get("groupBies") or []
        planned["groupBies"] = groups if has_unknown(groups) else _ordered(groups)
        return planned

    def replaces(self, name: str, old: Properties, new: Properties) -> bool:
        if name == "compute" and new[name] != UNKNOWN:
            return bool((old.get(name) or {}).get("path") != new[name].get("path"))
        return super().replaces(name, old, new)

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
            # The real plugin sends an empty name for one that is left out.
            attributes["group_by"] = [
                {"path": each["path"], "tag_name": "" if each["tagName"] == UNKNOWN else each["tagName"]}
                for each in _ordered(inputs["groupBies"])
            ]
        return attributes

    @staticmethod
    def _state(answer: Any, kept: Properties) -> Properties:
        data = answer["data"]
        attributes = data["attributes"]
        names = {"aggregation_type": "aggregationType", "include_percentiles": "includePercentiles", "path": "path"}
        outputs: Properties = {
            "compute": {
                name: attributes["compute"][key] for key, name in names.items() if key in attributes["compute"]
            },
            "filter": {"query": attributes["filter"]["query"]},
            "id": data["id"],
            "name": data["id"],
        }
        # The real plugin doesn't notice that all groups are gone.
        outputs["groupBies"] = kept.get("groupBies") or []
        if attributes.get("group_by"):
            groups = [{"path": each["path"], "tagName": each["tag_name"]} for each in attributes["group_by"]]
            outputs["groupBies"] = sorted(groups, key=lambda group: str(group["path"]))
        return outputs

    def create(self, client: Client, inputs: Properties) -> tuple[str, Properties]:
        # The real plugin sends the name in quotes, which Datadog takes off.
        data = {"attributes": self._attributes(inputs), "id": f'"{inputs["name"]}"', "type": "spans_metrics"}
        outputs = self._state(self.ask(client, "error creating spans metric", "POST", METRICS, {"data": data}), inputs)
        return outputs["name"], outputs

    def read(self, client: Client, name: str, old: Properties) -> Properties:
        return self._state(self.read_at(client, "error retrieving spans metric", f"{METRICS}/{quote(name)}"), old)

    def update(self, client: Client, name: str, inputs: Properties, old: Properties) -> Properties:
        del old
        attributes: Properties = {"group_by": [], **self._attributes(inputs)}
        percentiles = attributes["compute"].get("include_percentiles")
        attributes["compute"] = {} if percentiles is None else {"include_percentiles": percentiles}
        body = {"data": {"attributes": attributes, "type": "spans_metrics"}}
        path = f"{METRICS}/{quote(name)}"
        return self._state(self.ask(client, "error updating spans metric", "PATCH", path, body), inputs)

    def delete(self, client: Client, name: str, old: Properties) -> None:
        del old
        self.delete_at(client, "error deleting spans metric", f"{METRICS}/{quote(name)}")


def _ordered(groups: Any) -> list[Any]:
    """Return the groups as the real plugin plans them: it sorts the paths but not the tags' names.

    https://github.com/pulumi/pulumi-datadog/issues/1249: a program has to list them in the order of their paths.
    """
    names = [each.get("tagName", UNKNOWN) for each in groups]
    return [
        {"path": path, "tagName": name}
        for path, name in zip(sorted(each["path"] for each in groups), names, strict=True)
    ]


def _sorted(groups: Any) -> list[tuple[str, str]]:
    return sorted((each.get("path", ""), each.get("tagName") or "") for each in groups or [])


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
    descriptions: ClassVar[dict[str, str]] = {
        "enabled": "the status of the retention filter.",
        "filterType": (
            "The type of the retention filter, currently only spans-processing-sampling is available. Valid values are"
            " `spans-sampling-processor`."
        ),
        "name": "The name of the retention filter.",
        "rate": (
            "Sample rate to apply to spans going through this retention filter as a string; a value of 1.0 keeps all"
            f" spans matching the query. {BETWEEN}"
        ),
    }
    blocks = frozenset({"filter"})

    def refusals(self, inputs: Properties) -> Iterator[str]:
        if inputs.get("filterType") not in (None, UNKNOWN, "spans-sampling-processor"):
            yield 'invalid value: invalid value for "filter_type". valid values are [spans-sampling-processor]'
        for name in RATES:
            if inputs.get(name) not in (None, UNKNOWN) and _float(inputs[name]) is None:
                yield f"value must be float: was {inputs[name]}"

    def problems(self, inputs: Properties) -> Iterator[tuple[str, str]]:
        for name, key in RATES.items():
            value = None if inputs.get(name) in (None, UNKNOWN) else _float(inputs[name])
            if value is not None and not 0 <= value <= 1:
                yield name, f"Invalid Attribute Value. Attribute {key} {BETWEEN}, got: {value:f}"

    def plan(self, inputs: Properties, old: Properties | None) -> Properties:
        del old
        planned = {name: inputs[name] for name in self.shape if inputs.get(name) is not None}
        if isinstance(planned["filter"], dict):
            planned["filter"] = {"query": "*"} | planned["filter"]
        return planned

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
        _, point, decimals = str(kept.get("rate", "")).partition(".")

        def with_its_precision(rate: float) -> str:
            return f"{rate:.{len(decimals)}f}" if point else f"{rate:g}"

        outputs = {
            "enabled": attributes["enabled"],
            "filter": {"query": attributes["filter"]["query"]},
            "filterType": attributes["filter_type"],
            "id": answer["data"]["id"],
            "name": attributes["name"],
            "rate": with_its_precision(attributes["rate"]),
        }
        if attributes.get("trace_rate"):
            outputs["traceRate"] = with_its_precision(attributes["trace_rate"])
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


def _float(value: Any) -> float | None:
    try:
        return float(value)
    except ValueError:
        return None

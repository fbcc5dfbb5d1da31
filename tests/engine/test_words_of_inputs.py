"""What the Datadog plugin says of inputs that it refuses, before anything is asked of Datadog; real one or stand-in.

Sources: pkg/tfbridge/check_failures.go and pkg/pf/tfbridge/provider_check.go of pulumi-terraform-bridge v3.135.0,
helper/schema/schema.go of terraform-plugin-sdk, datadog/internal/validators of terraform-provider-datadog v4.19.0, and
answers observed of the plugin built from these.
"""
# ruff: noqa: E501 - a message is one line

from typing import Any

import pytest

from tests.engine.datadog_plugin import (
    DASHBOARD,
    DOWNTIME,
    EMBED,
    FILTER,
    GOOD,
    METRIC,
    MONITOR,
    OBJECTIVE,
    VARIABLE,
    WEBHOOK,
    WEEKLY,
)
from tests.engine.plugin import UNKNOWN, Plugin, PluginFailedError, secret

ENCODE = "cannot encode resource inputs to call ValidateResourceConfig: objectEncoder failed on property "
SLO_TYPES = "valid values are [metric monitor time_slice]"


def without(inputs: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in inputs.items() if value is not None}


@pytest.mark.parametrize("kind", GOOD)
def test_good_inputs_are_taken(datadog: Plugin, kind: str) -> None:
    checked, failures = datadog.check(kind, GOOD[kind])
    assert failures == []
    assert set(GOOD[kind]) <= set(checked)


@pytest.mark.parametrize(
    ("kind", "change", "where", "said"),
    [
        (MONITOR, {"foo": 1}, "foo", "Invalid or unknown key"),
        (MONITOR, {"monitorThresholds": {"foo": "1"}}, "monitorThresholds.foo", "Invalid or unknown key"),
        (MONITOR, {"name": None}, "name", "Missing required argument. The argument \"name\" is required, but no definition was found."),
        (MONITOR, {"name": ["m"]}, "name", "Attribute must be a single value, not a list"),
        (MONITOR, {"query": {"a": "b"}}, "query", "Attribute must be a single value, not a map"),
        (MONITOR, {"monitorThresholds": "800"}, "monitorThresholds", "Expected Object Type. Expected object, got string"),
        (MONITOR, {"notifyNoData": "maybe"}, "notifyNoData", "cannot parse '' as bool: strconv.ParseBool: parsing \"maybe\": invalid syntax"),
        (MONITOR, {"noDataTimeframe": True}, "noDataTimeframe", "Attribute must be a whole number, got true"),
        (MONITOR, {"draftStatus": "x"}, "draftStatus", "Invalid enum value. `invalid value 'x' for MonitorDraftStatus: valid values are [draft published]`"),
        (MONITOR, {"renotifyStatuses": ["x"]}, "renotifyStatuses", "Invalid enum value. `invalid value 'x' for MonitorRenotifyStatusType: valid values are [alert warn no data]`"),
        (DASHBOARD, {"dashboard": "{nonsense"}, "dashboard", "\"dashboard\" contains an invalid JSON: invalid character 'n' looking for beginning of object key string"),
        (DASHBOARD, {"dashboard": "<html>"}, "dashboard", "\"dashboard\" contains an invalid JSON: invalid character '<' looking for beginning of value"),
        (DASHBOARD, {"dashboard": '{"a": tru}'}, "dashboard", "\"dashboard\" contains an invalid JSON: invalid character '}' in literal true (expecting 'e')"),
        (DASHBOARD, {"dashboard": '{"a": 1'}, "dashboard", '"dashboard" contains an invalid JSON: unexpected end of JSON input'),
        (DASHBOARD, {"dashboard": '{"a": [1 2]}'}, "dashboard", "\"dashboard\" contains an invalid JSON: invalid character '2' after array element"),
        (DASHBOARD, {"dashboard": '{"a": NaN}'}, "dashboard", "\"dashboard\" contains an invalid JSON: invalid character 'N' looking for beginning of value"),
        (OBJECTIVE, {"type": "x"}, "type", f"Invalid enum value. `invalid value 'x' for SLOType: {SLO_TYPES}`"),
        (OBJECTIVE, {"query": {"numerator": "a"}}, "query.denominator", "Missing required argument. The argument \"query.0.denominator\" is required, but no definition was found."),
        (OBJECTIVE, {"thresholds": [{"timeframe": "30d"}]}, "thresholds[0].target", "Missing required argument. The argument \"thresholds.0.target\" is required, but no definition was found."),
        (OBJECTIVE, {"thresholds": [{"timeframe": "5d", "target": 99}]}, "thresholds[0].timeframe", "Invalid enum value. `invalid value '5d' for SLOTimeframe: valid values are [7d 30d 90d custom]`"),
        (OBJECTIVE, {"thresholds": [{"timeframe": "7d", "target": "x"}]}, "thresholds[0].target", "cannot parse '' as float: strconv.ParseFloat: parsing \"x\": invalid syntax"),
        (DOWNTIME, {"monitorIdentifier": {}}, "monitorIdentifier.monitorId", "Invalid Attribute Combination. No attribute specified when one (and only one) of [monitor_identifier.monitor_id.<.monitor_tags] is required"),
        (DOWNTIME, {"monitorIdentifier": {"monitorId": 1, "monitorTags": ["a"]}}, "monitorIdentifier.monitorId", "Invalid Attribute Combination. 2 attributes specified when one (and only one) of [monitor_identifier.monitor_id.<.monitor_tags] is required"),
        (DOWNTIME, {"monitorIdentifier": None}, "monitorIdentifier", "Invalid Block. Block monitor_identifier must have a configuration value as the provider has marked it as required"),
        (METRIC, {"filter": None}, "filter", "Invalid Block. Block filter must have a configuration value as the provider has marked it as required"),
        (METRIC, {"compute": {"aggregationType": "count", "includePercentiles": False}}, "compute.includePercentiles", "Invalid configuration. include_percentiles can only be set when aggregation_type is 'distribution'"),
        (FILTER, {"rate": "2"}, "rate", "Invalid Attribute Value. Attribute rate Value must be between 0.00 and 1.00., got: 2.000000"),
        (FILTER, {"traceRate": "-1"}, "traceRate", "Invalid Attribute Value. Attribute trace_rate Value must be between 0.00 and 1.00., got: -1.000000"),
    ],
)  # fmt: skip
def test_a_wrong_input_is_told_with_its_place(
    datadog: Plugin, kind: str, change: dict[str, Any], where: str, said: str
) -> None:
    _, failures = datadog.check(kind, without(GOOD[kind] | change))
    assert failures == [("", f"{said}. Examine values at 'thing.{where}'.")]


@pytest.mark.parametrize(
    ("kind", "change", "said"),
    [
        (METRIC, {"name": None}, "'name': The name of the span-based metric. This field can't be updated after creation."),
        (METRIC, {"compute": {}}, "'compute.aggregationType': The type of aggregation to use. This field can't be updated after creation."),
        (METRIC, {"groupBies": [{"tagName": "a"}]}, "'groupBies.path': The path to the value the span-based metric will be aggregated over."),
        (FILTER, {"name": None}, "'name': The name of the retention filter."),
        (FILTER, {"enabled": None}, "'enabled': the status of the retention filter."),
        (WEBHOOK, {"url": None}, "'url': The URL of the webhook."),
        (VARIABLE, {"value": None}, "'value': The value of the custom variable."),
        (EMBED, {"title": None}, "'title': Title of the secure embed share."),
        (EMBED, {"selectableTemplateVars": [{}]}, "'selectableTemplateVars[0].name': The name of the template variable."),
        (DOWNTIME, {"scope": None}, "'scope': The scope to which the downtime applies. Must follow the [common search syntax](https://docs.datadoghq.com/logs/explorer/search_syntax/)."),
        (DOWNTIME, {"recurringSchedule": {"recurrences": [{"rrule": "FREQ=DAILY"}]}}, "'recurringSchedule.recurrences[0].duration': The length of the downtime. Must begin with an integer and end with one of 'm', 'h', d', or 'w'."),
    ],
)  # fmt: skip
def test_what_the_framework_half_misses_is_told_with_its_description(
    datadog: Plugin, kind: str, change: dict[str, Any], said: str
) -> None:
    assert datadog.check(kind, without(GOOD[kind] | change))[1] == [("", f"Missing required property {said}")]


@pytest.mark.parametrize(
    ("kind", "change", "said"),
    [
        (MONITOR, {"noDataTimeframe": "x"}, 'no_data_timeframe: strconv.ParseInt: parsing "x": invalid syntax'),
        (FILTER, {"rate": "x"}, "value must be float: was x"),
        (FILTER, {"filterType": "x"}, 'invalid value: invalid value for "filter_type". valid values are [spans-sampling-processor]'),
        (FILTER, {"enabled": "yes"}, f'{ENCODE}"enabled": Expected a Boolean'),
        (WEBHOOK, {"encodeAs": "xml"}, 'invalid value: invalid value for "encode_as". valid values are [json form]'),
        (WEBHOOK, {"payload": {"a": 1}}, f'{ENCODE}"payload": Expected a string, got: {{map[a:{{1}}]}}'),
        (VARIABLE, {"isSecret": "maybe"}, f'{ENCODE}"is_secret": Expected a Boolean'),
        (METRIC, {"groupBies": ["@a"]}, f'{ENCODE}"group_by": set encoder failed: encoding element 0 ({{@a}}): Expected an Object PropertyValue, found string ("{{@a}}")'),
        (DOWNTIME, {"notifyEndTypes": "canceled"}, f'{ENCODE}"notify_end_types": set encoder failed: expected an Array PropertyValue, got a resource.PropertyValue'),
        (DOWNTIME, {"monitorIdentifier": {"monitorId": "x"}}, f'{ENCODE}"monitor_identifier": objectEncoder failed on property "monitor_id": Expected a Number, got resource.PropertyValue{{V:"x"}} true'),
        (DOWNTIME, {"recurringSchedule": {"recurrences": [WEEKLY | {"start": "tomorrow"}]}}, 'property "recurring_schedule.recurrence[0].start" must be of the format 2006-01-02T15:04:05: was tomorrow'),
        (DOWNTIME, {"recurringSchedule": None, "oneTimeSchedule": {"end": "2090-01-01"}}, 'property "one_time_schedule.end" must be of the format 2006-01-02T15:04:05Z: was 2090-01-01'),
        (EMBED, {"selectableTemplateVars": "x"}, f'{ENCODE}"selectable_template_vars": Expected an Array PropertyValue'),
    ],
)  # fmt: skip
def test_a_wrong_input_that_is_an_error(datadog: Plugin, kind: str, change: dict[str, Any], said: str) -> None:
    with pytest.raises(PluginFailedError) as caught:
        datadog.check(kind, without(GOOD[kind] | change))
    assert caught.value.text == said


def test_inputs_that_exclude_each_other_are_each_told(datadog: Plugin) -> None:
    _, failures = datadog.check(MONITOR, GOOD[MONITOR] | {"onMissingData": "resolve"})
    assert [reason for _, reason in failures] == [
        f"Conflicting configuration arguments. \"{one}\": conflicts with {other}. Examine values at 'thing.{place}'."
        for one, other, place in (
            ("no_data_timeframe", "on_missing_data", "noDataTimeframe"),
            ("notify_no_data", "on_missing_data", "notifyNoData"),
            ("on_missing_data", "notify_no_data", "onMissingData"),
        )
    ]
    once = {"oneTimeSchedule": {"end": "2090-01-01T00:00:00Z"}}
    assert len(datadog.check(DOWNTIME, GOOD[DOWNTIME] | once)[1]) == 2


def test_what_is_missing_is_told_all_at_once(datadog: Plugin) -> None:
    for kind, missing in ((MONITOR, 4), (OBJECTIVE, 3), (WEBHOOK, 2), (VARIABLE, 3), (FILTER, 5), (DOWNTIME, 2)):
        assert len([reason for _, reason in datadog.check(kind, {})[1] if "this stand-in" not in reason]) == missing


def test_the_sdkv2_half_converts_what_it_can(datadog: Plugin) -> None:
    change = {"name": 5, "message": True, "noDataTimeframe": "15", "requireFullWindow": "false", "tags": "a:1"}
    checked, failures = datadog.check(MONITOR, GOOD[MONITOR] | change | {"monitorThresholds": {"critical": 800}})
    assert failures == []
    assert [checked[name] for name in change] == ["5", "true", 15, False, ["a:1"]]
    assert checked["monitorThresholds"]["critical"] == "800"


def test_the_sdkv2_half_adds_minutes_without_data_unless_another_input_excludes_them(datadog: Plugin) -> None:
    bare = {name: value for name, value in GOOD[MONITOR].items() if name not in ("notifyNoData", "noDataTimeframe")}
    checked, _ = datadog.check(MONITOR, bare)
    assert checked["noDataTimeframe"] == 10
    assert checked["__defaults"] == ["draftStatus", "includeTags", "noDataTimeframe", "requireFullWindow"]
    assert "noDataTimeframe" not in datadog.check(MONITOR, bare | {"onMissingData": "resolve"})[0]


def test_which_inputs_are_secret_is_for_the_engine_to_remember(datadog: Plugin) -> None:
    checked, _ = datadog.check(WEBHOOK, GOOD[WEBHOOK] | {"customHeaders": secret("{}")})
    assert checked["customHeaders"] == "{}"
    checked, _ = datadog.check(VARIABLE, GOOD[VARIABLE])
    assert checked["value"] == secret("fake-value")


@pytest.mark.parametrize("kind", GOOD)
def test_unknown_values_are_taken(datadog: Plugin, kind: str) -> None:
    texts = {name: UNKNOWN for name, value in GOOD[kind].items() if isinstance(value, str)}
    checked, failures = datadog.check(kind, GOOD[kind] | texts)
    assert failures == []
    assert texts.items() <= {name: value for name, value in checked.items() if isinstance(value, str)}.items() or (
        kind == VARIABLE and checked["value"] == secret(UNKNOWN)
    )

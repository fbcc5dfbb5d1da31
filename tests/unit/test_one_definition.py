"""Metric, tags, thresholds, hours, service and environment are defined once; everything that uses them follows."""

import json
import re
from collections.abc import Iterator
from typing import Any
from unittest import mock

import pytest
import yaml

from components import agent
from components.custom_check import MY_METRIC, Metric
from sandbox.agent import repository
from tests.unit.mocks import COMMAND, DASHBOARD, DOWNTIME, MONITOR, ROOT, Program, plain, run_program

OTHER = Metric(check="my_metric", name="queue.depth", tag="made_by:watchpost", minimum=10, maximum=90)


def dashboards(program: Program) -> dict[str, dict[str, Any]]:
    return {resource.name: json.loads(resource.plain["dashboard"]) for resource in program.of(DASHBOARD)}


def queries(document: object) -> Iterator[str]:
    """Every query of metrics in a dashboard."""
    if isinstance(document, dict):
        if document.get("data_source") == "metrics":
            yield document["query"]
        for value in document.values():
            yield from queries(value)
    elif isinstance(document, list):
        for value in document:
            yield from queries(value)


def check_yaml(program: Program) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(program.commands["vm-my-metric-conf.yaml"].stdin)["instances"][0]
    return found


def in_datadog(program: Program) -> str:
    """Everything sent to Datadog."""
    return json.dumps([resource.plain for resource in program.of(DASHBOARD, MONITOR, DOWNTIME)])


@pytest.mark.parametrize("metric", [MY_METRIC, OTHER], ids=lambda metric: metric.name)
def test_what_the_check_submits_is_what_dashboards_and_monitor_ask_for(metric: Metric) -> None:
    with mock.patch("components.custom_check.MY_METRIC", metric):
        program = run_program()
    instance = check_yaml(program)
    assert instance["metric"] == metric.name
    assert instance["tags"] == [metric.tag]
    assert (instance["minimum"], instance["maximum"]) == (metric.minimum, metric.maximum)
    scope = f"{metric.tag},env:dev"
    assert program.one(MONITOR).plain["query"] == f"avg(last_5m):avg:{metric.name}{{{scope}}} by {{host}} > 800"
    asked = list(queries(dashboards(program)["watchpost-timeboard"]))
    assert f"avg:{metric.name}{{$host,{scope}}} by {{host}}" in asked
    assert f"sum:{metric.name}{{$host,{scope}}}.rollup(sum, 3600)" in asked
    assert f" metric={metric.name} " in program.commands["vm-my-metric-proof"].plain["create"]
    for resource in program.of(MONITOR, DOWNTIME):
        assert metric.name in resource.plain["message"]


def test_another_metric_leaves_nothing_of_the_old_one_but_the_check_s_own_name() -> None:
    with mock.patch("components.custom_check.MY_METRIC", OTHER):
        told = in_datadog(run_program())
    assert told.replace("datadog-agent check my_metric", "").count("my_metric") == 0


def test_the_check_s_code_holds_none_of_what_its_yaml_holds(dev_stack: Program) -> None:
    code = dev_stack.commands["vm-my-metric-code"].stdin
    body = code.partition("class ")[2]
    for literal in ("my_metric", "custom_check", "1000", "45"):
        assert literal not in body


def test_thresholds_are_the_same_in_query_monitor_and_markers() -> None:
    program = run_program(warningThreshold=111, alertThreshold=222)
    monitor = program.one(MONITOR).plain
    assert monitor["query"].endswith(" > 222")
    assert monitor["monitorThresholds"] == {"critical": "222", "warning": "111"}
    markers = dashboards(program)["watchpost-timeboard"]["widgets"][0]["definition"]["markers"]
    assert [marker["value"] for marker in markers] == ["y = 222", "y = 111"]
    assert not re.search(r"\b(500|800)\b", in_datadog(program))


def test_window_and_silence_are_the_same_in_query_monitor_and_message() -> None:
    program = run_program(windowMinutes=7, noDataMinutes=33)
    monitor = program.one(MONITOR).plain
    assert monitor["query"].startswith("avg(last_7m):")
    assert monitor["noDataTimeframe"] == 33
    assert monitor["notifyNoData"] is True
    assert "onMissingData" not in monitor
    assert "for 33 minutes" in monitor["message"]
    assert monitor["message"].count("the last 7 minutes") == 2


def test_the_environment_is_the_same_everywhere() -> None:
    program = run_program(env="stage")
    agent = yaml.safe_load(program.commands["vm-agent-datadog.yaml"].stdin)
    assert agent["env"] == "stage"
    assert "env:stage" in program.one(MONITOR).plain["query"]
    assert "env:stage" in program.one(MONITOR).plain["tags"]
    assert "DD_ENV=stage" in program.commands["vm-app-unit"].stdin
    assert ",env:stage," in program.commands["vm-app-service"].plain["create"]
    assert "?env=stage&" in program.outputs["service"]
    variables = dashboards(program)["watchpost-apm"]["template_variables"]
    assert next(variable for variable in variables if variable["name"] == "env")["defaults"] == ["stage"]
    assert not re.search(r"\bdev\b", in_datadog(program))
    steps = [(step.command.variables, plain(step.inputs.get("stdin", ""))) for step in program.of(COMMAND)]
    assert not re.search(r"env[:=]dev\b|ENV=dev\b|'env': 'dev'", str(steps))


def test_the_service_is_the_same_in_app_dashboards_events_and_link() -> None:
    program = run_program(service="shop", version="2.3")
    unit = program.commands["vm-app-unit"].stdin
    assert "DD_SERVICE=shop DD_ENV=dev DD_VERSION=2.3" in unit
    assert (
        "tags=service:shop,env:dev,version:2.3,deployed_by:watchpost"
        in program.commands["vm-app-service"].plain["create"]
    )
    boards = dashboards(program)
    assert "deployed_by:watchpost service:shop env:dev" in json.dumps(boards["watchpost-timeboard"])
    assert "deployed_by:watchpost service:shop env:dev" in json.dumps(boards["watchpost-apm"])
    variables = boards["watchpost-apm"]["template_variables"]
    assert next(variable for variable in variables if variable["name"] == "service")["defaults"] == ["shop"]
    assert "/apm/entity/service%3Ashop?" in program.outputs["service"]
    assert "flask-app" not in in_datadog(program)


def test_office_hours_are_the_same_in_schedule_and_message() -> None:
    program = run_program(officeStart="08:00", officeEnd="16:30", timezone="Asia/Tokyo", officeDays=["MO", "WE"])
    for downtime in program.of(DOWNTIME):
        inputs = downtime.plain
        assert inputs["displayTimezone"] == inputs["recurringSchedule"]["timezone"] == "Asia/Tokyo"
        assert "from 08:00 to 16:30 (Asia/Tokyo) on MO, WE." in inputs["message"]
        assert downtime.name.endswith("-Asia-Tokyo")
    assert not re.search(r"Paris|(?<!:)(19|09):00", in_datadog(program))


def test_host_and_tags_are_what_the_agent_reports_as() -> None:
    program = run_program(tags=["team:core", "role:db"])
    agent = yaml.safe_load(program.commands["vm-agent-datadog.yaml"].stdin)
    assert agent["hostname"] == "vm"
    assert agent["tags"] == ["team:core", "role:db"]
    assert plain(program.outputs["hosts"])["vm"]["page"].endswith("hostname=vm")


def test_dashboards_use_no_deprecated_query_and_only_their_own_variables(dev_stack: Program) -> None:
    for board in dashboards(dev_stack).values():
        known = {f"${variable['name']}" for variable in board["template_variables"]}
        for query in queries(board):
            assert set(re.findall(r"\$\w+", query)) <= known
            assert "${" not in query
        assert '"q":' not in json.dumps([widget["definition"]["requests"] for widget in board["widgets"]])


def test_the_timeboard_opens_on_five_minutes_and_draws_anomalies_and_the_hourly_sum(dev_stack: Program) -> None:
    board = dashboards(dev_stack)["watchpost-timeboard"]
    assert board["default_timeframe"] == {"type": "live", "unit": "minute", "value": 5}
    assert "anomalies(query1, 'basic', 3)" in json.dumps(board)
    assert any("mysql.performance.user_time" in query for query in queries(board))
    assert any(query.endswith(".rollup(sum, 3600)") for query in queries(board))
    proof = dev_stack.commands["vm-mysql-proof"].plain["create"]
    assert "metric=mysql.performance.user_time twice=yes" in proof


def test_the_agent_s_default_version_is_the_same_in_the_docs_and_on_the_sandbox() -> None:
    declared = yaml.safe_load((ROOT / "Pulumi.yaml").read_text())["config"]["agentVersion"]["description"]
    assert f"empty for {agent.VERSION}," in declared
    assert f"`installScriptSha256` | {agent.VERSION}, " in (ROOT / "README.md").read_text()
    assert agent.VERSION == repository.DEFAULT

"""Datadog's own models accept every body that customerExperience sends, and the plugin's stand-in settles on it.

The monitors' queries and the metrics' filters are of forms that the sandbox evaluates.
"""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from sandbox.datadog import Account, queries
from sandbox.datadog.evaluation import language, slos, spans
from sandbox.datadog.evaluation.language import UnknownFormError
from sandbox.pulumi.plugins.datadog.checks import checked
from sandbox.pulumi.plugins.datadog.client import Client, DatadogError
from sandbox.pulumi.plugins.datadog.kind import DiagnosticError, Kind, MissingError, Properties
from sandbox.pulumi.plugins.datadog.provider import KINDS
from sandbox.pulumi.plugins.datadog.spans import SpansMetric
from tests.contract.program import _whole
from tests.unit.mocks import Program, run_program

ON = {"enabled": True, "ticketUrl": "https://tickets.example.com/hook", "ticketToken": "fake-ticket-token-0123456789"}

OBJECTIVE = "serviceLevelObjective:ServiceLevelObjective"

Thing = tuple[str, Kind, str, Properties, Properties]
"""A resource's name, kind, id, inputs and outputs."""


@pytest.fixture(scope="module", params=["defaults", "other"])
def program_(request: pytest.FixtureRequest) -> Program:
    other = {
        "tiers": ["vip", "standard"], "careTiers": ["vip", "standard"], "steps": [{"name": "buy.now", "objective": 5}],
        "customers": ["0123456789abcdef", "fedcba9876543210"], "ticketSystem": "zendesk", "windowMinutes": 31,
        "sloDays": 7, "sloTarget": 99.95,
    }  # fmt: skip
    return run_program(customerExperience={**ON, **(other if request.param == "other" else {})})


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory, program_: Program) -> Iterator[Client]:
    account = Account.start(tmp_path_factory.mktemp("datadog"))
    assert program_.resources  # each run of the program has an account of its own
    yield Client(url=account.url, api_key=account.api_key, app_key=account.app_key, retries=0)
    account.stop()


@pytest.fixture(scope="module")
def things(client: Client, program_: Program) -> list[Thing]:
    """Everything that the program registers in Datadog, created."""
    made: list[Thing] = []
    for resource in program_.resources:
        kind = KINDS.get(resource.type)
        if kind is None or resource.type.endswith(("DowntimeSchedule", "SecureEmbedDashboard")):
            continue
        text = json.dumps(_whole(resource.plain))
        for name, _, identifier, _, _ in made:
            text = text.replace(f"{name}-id", identifier)
        inputs, _, faults = checked(kind, resource.name, json.loads(text))
        assert faults == []
        identifier, outputs = kind.create(client, inputs)
        made.append((resource.name, kind, identifier, inputs, outputs))
    return made


def test_what_was_created_needs_no_change_and_reads_back_the_same(client: Client, things: list[Thing]) -> None:
    for name, kind, identifier, inputs, outputs in things:
        for state in (outputs, kind.read(client, identifier, outputs)):
            planned = kind.plan(inputs, state)
            assert [key for key in kind.shape if not kind.same(key, state, planned)] == [], name


def test_an_update_with_the_same_is_taken(client: Client, things: list[Thing]) -> None:
    for name, kind, identifier, inputs, outputs in things:
        changed = kind.update(client, identifier, inputs, outputs)
        planned = kind.plan(inputs, changed)
        assert [key for key in kind.shape if not kind.same(key, changed, planned)] == [], name


def test_a_metric_s_name_is_sent_in_quotes_and_kept_without(things: list[Thing]) -> None:
    metrics = [thing for thing in things if type(thing[1]) is SpansMetric]
    assert len(metrics) == 8
    for _, _, identifier, inputs, outputs in metrics:
        assert identifier == inputs["name"] == outputs["name"]
        assert '"' not in identifier


def test_every_query_is_of_a_form_that_the_sandbox_evaluates(things: list[Thing]) -> None:
    composites = 0
    for name, kind, _, inputs, _ in things:
        match type(kind).__name__:
            case "SpansMetric":
                spans.query(inputs["filter"]["query"])
            case "ServiceLevelObjective":
                assert not slos.fault({"type": inputs["type"], "query": inputs["query"]}), name
            case "Monitor" if inputs["type"] == "composite":
                language.composite(inputs["query"])
                composites += 1
            case "Monitor" if inputs["type"] == "slo alert":
                language.burn_rate(inputs["query"])
            case "Monitor":
                language.comparison(inputs["query"])
            case "DashboardJson":
                queries.check_dashboard(json.loads(inputs["dashboard"]))
    assert composites >= 3


@pytest.mark.parametrize(
    "change",
    [
        {"query": "1 && 2"},
        {"query": "100000001"},
        {"query": " && ".join(map(str, range(100_000_001, 100_000_012)))},
        {"query": "100000001 &&"},
        {"type": "slo alert", "query": 'burn_rate("x").over("30d").long_window("1h").short_window("5m") > 2'},
    ],
)
@pytest.mark.usefixtures("things")
def test_a_composite_of_too_many_or_of_what_is_not_there_is_refused(client: Client, change: dict[str, Any]) -> None:
    kind = KINDS["datadog:index/monitor:Monitor"]
    with pytest.raises(DiagnosticError) as refused:
        kind.create(client, {"name": "n", "message": "m", "type": "composite", **kind.defaults, **change})
    assert isinstance(refused.value.__cause__, DatadogError)
    assert refused.value.__cause__.status == 400


@pytest.mark.parametrize(
    ("target", "rate", "refused"),
    [(99.0, "14.4", False), (93.05, "14.4", True), (93.06, "14.4", False), (95, "21.6", True)],
)
def test_a_burn_rate_beyond_the_maximum_is_refused(client: Client, target: float, rate: str, refused: bool) -> None:
    # Source: https://docs.datadoghq.com/service_management/service_level_objectives/burn_rate/#maximum-burn-rate-values
    objective, monitor = (KINDS[f"datadog:index/{name}"] for name in (OBJECTIVE, "monitor:Monitor"))
    query = {"numerator": "sum:a{*}.as_count()", "denominator": "sum:b{*}.as_count()"}
    thresholds = [{"timeframe": "30d", "target": target}]
    promise = {"name": f"{target} {rate}", "type": "metric", "query": query, "thresholds": thresholds}
    slo, outputs = objective.create(client, {**objective.defaults, **promise})
    burns = f'burn_rate("{slo}").over("30d").long_window("1h").short_window("5m") > {rate}'
    named = {"name": f"{target} {rate}", "message": "m", "type": "slo alert", "query": burns}
    alert = {**monitor.defaults, **named, "monitorThresholds": {"critical": rate}}
    if refused:
        with pytest.raises(DiagnosticError) as told:
            monitor.create(client, alert)
        assert isinstance(told.value.__cause__, DatadogError)
        assert told.value.__cause__.status == 400
    else:
        monitor.delete(client, *monitor.create(client, alert))
    objective.delete(client, slo, outputs)


def test_an_objective_has_three_decimals_at_most(client: Client) -> None:
    # Source: https://docs.datadoghq.com/service_management/service_level_objectives/metric/#set-your-slo-targets
    objective = KINDS[f"datadog:index/{OBJECTIVE}"]
    query = {"numerator": "sum:a{*}.as_count()", "denominator": "sum:b{*}.as_count()"}
    thresholds = [{"timeframe": "30d", "target": 99.9995}]
    with pytest.raises(DiagnosticError) as told:
        objective.create(client, {"name": "n", "type": "metric", "query": query, "thresholds": thresholds})
    assert isinstance(told.value.__cause__, DatadogError)
    assert told.value.__cause__.status == 400


def test_what_others_are_made_of_is_not_deleted(client: Client, things: list[Thing]) -> None:
    by_name = {thing[0]: thing for thing in things}
    for name in ("customers-traffic", next(name for name in by_name if name.startswith("customers-objective-"))):
        _, kind, identifier, _, outputs = by_name[name]
        with pytest.raises(DiagnosticError, match="referenced"):
            kind.delete(client, identifier, outputs)


def test_a_second_metric_of_one_name_is_refused(client: Client, things: list[Thing]) -> None:
    (_, kind, _, inputs, _), *_ = [thing for thing in things if thing[0] == "customers-orders"]
    with pytest.raises(DiagnosticError):
        kind.create(client, inputs)


def test_what_is_gone_is_missing_and_deleting_it_is_fine(client: Client, things: list[Thing]) -> None:
    for name, kind, identifier, _, outputs in reversed(things):
        if not kind.framework:
            continue
        kind.delete(client, identifier, outputs)
        with pytest.raises(MissingError):
            kind.read(client, identifier, outputs)
        kind.delete(client, identifier, outputs)
        assert name


def test_an_unknown_form_is_refused_by_name() -> None:
    with pytest.raises(UnknownFormError):
        spans.query("service:shop @duration:[1 TO 2]")

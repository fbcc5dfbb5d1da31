"""Datadog's own models accept every request body of the program, and its servers' known rules refuse none."""

import copy
import json
from collections.abc import Iterator
from typing import Any

import pytest
from datadog_api_client.configuration import Configuration
from datadog_api_client.model_utils import OpenApiModel, validate_and_convert_types
from datadog_api_client.v1.model.dashboard import Dashboard
from datadog_api_client.v1.model.monitor import Monitor
from datadog_api_client.v2.model.downtime_create_request import DowntimeCreateRequest
from datadog_api_client.v2.model.secure_embed_create_request import SecureEmbedCreateRequest

from sandbox.datadog import Account, schema
from sandbox.pulumi.plugins.datadog.client import Client
from sandbox.pulumi.plugins.datadog.dashboard import DashboardJson
from sandbox.pulumi.plugins.datadog.downtime import DowntimeSchedule
from sandbox.pulumi.plugins.datadog.embed import SecureEmbedDashboard
from sandbox.pulumi.plugins.datadog.monitor import Monitor as MonitorKind
from tests.unit.mocks import MONITOR_ID

from . import program

Body = tuple[type[OpenApiModel], dict[str, Any]]

MODELS: dict[str, type[OpenApiModel]] = {
    "/api/v1/dashboard": Dashboard,
    "/api/v1/monitor": Monitor,
    "/api/v1/monitor/validate": Monitor,
    "/api/v2/downtime": DowntimeCreateRequest,
    "secure-embed": SecureEmbedCreateRequest,
}
"""Models by path; the secure embed's is matched by its suffix."""


@pytest.fixture(scope="module", params=program.SETTINGS)
def sent(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[Body]:
    """The bodies sent for the program's resources, none refused by the stand-in's server rules."""
    account = Account.start(tmp_path_factory.mktemp("datadog"))
    # Computed now: a start from another test's run of the program may have passed.
    inputs = program.inputs()[request.param]
    try:
        client = Client(url=account.url, api_key=account.api_key, app_key=account.app_key, retries=0)
        boards = [
            DashboardJson().create(client, board)[0] for board in inputs["datadog:index/dashboardJson:DashboardJson"]
        ]
        for monitor in inputs["datadog:index/monitor:Monitor"]:
            MonitorKind().validate(client, monitor, None, None)
            assert MonitorKind().create(client, monitor)[0] == MONITOR_ID
        for downtime in inputs["datadog:index/downtimeSchedule:DowntimeSchedule"]:
            DowntimeSchedule().create(client, downtime)
        for embed in inputs.get("datadog:index/secureEmbedDashboard:SecureEmbedDashboard", []):
            SecureEmbedDashboard().create(client, embed | {"dashboardId": boards[-1]})
    finally:
        account.stop()
    return [
        (MODELS.get(row["path"]) or MODELS[row["path"].rpartition("/")[2]], row["body"])
        for row in account.requests()
        if row["method"] != "GET"
    ]


def parsed(model: type[OpenApiModel], body: Any) -> Any:
    """Parse the body as Datadog's library does."""
    settings = Configuration()
    return validate_and_convert_types(body, (model,), [], True, True, configuration=settings)


def keys(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Yield the path of every key in a document."""
    match value:
        case dict():
            for name, entry in value.items():
                yield (*path, name)
                yield from keys(entry, (*path, name))
        case list():
            for number, entry in enumerate(value):
                yield from keys(entry, (*path, number))


def misspelt(body: dict[str, Any], place: tuple[str | int, ...]) -> dict[str, Any]:
    """Return the body with the last letter of one key doubled."""
    changed = copy.deepcopy(body)
    holder: Any = changed
    for step in place[:-1]:
        holder = holder[step]
    name = str(place[-1])
    holder[name + name[-1]] = holder.pop(name)
    return changed


def test_every_kind_of_body_is_sent(sent: list[Body]) -> None:
    kinds = [model for model, _ in sent]
    assert kinds.count(Dashboard) == 2
    assert kinds.count(Monitor) == 2  # one of them only to validate
    assert DowntimeCreateRequest in kinds


def test_datadogs_models_know_all_of_each_body(sent: list[Body]) -> None:
    for model, body in sent:
        schema.check(body, model)


def test_datadogs_models_lose_nothing_of_a_body(sent: list[Body]) -> None:
    for model, body in sent:
        assert json.loads(json.dumps(parsed(model, body).to_dict())) == body


def test_no_key_of_a_body_can_be_misspelt_unnoticed(sent: list[Body]) -> None:
    # Once per kind of path: a dashboard's widgets are alike.
    places = {
        (model, *(step for step in place if isinstance(step, str))): (model, body, place)
        for model, body in sent
        for place in keys(body)
    }
    assert len(places) > 60
    unnoticed = []
    for model, body, place in places.values():
        try:
            schema.check(misspelt(body, place), model)
        except schema.RefusedError:
            continue
        unnoticed.append((model.__name__, place))
    assert unnoticed == []


def test_a_value_out_of_range_is_refused(sent: list[Body]) -> None:
    board = next(copy.deepcopy(body) for model, body in sent if model is Dashboard)
    board["widgets"][0]["definition"]["requests"][0]["display_type"] = "lines"
    with pytest.raises(schema.RefusedError, match="no known form"):
        schema.check(board, Dashboard)

"""The stand-in Datadog refuses what Datadog refuses, stores the rest, and fails on demand."""

import copy
import datetime
import gzip
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import urllib3
from datadog_api_client.v1.api.dashboards_api import DashboardsApi
from datadog_api_client.v1.api.monitors_api import MonitorsApi
from datadog_api_client.v2.api.downtimes_api import DowntimesApi
from datadog_api_client.v2.model.list_shared_dashboards_response import ListSharedDashboardsResponse

from components import datadog_api
from sandbox.datadog import API_KEY, APP_KEY, Account, pages, schema
from sandbox.datadog.evaluation import memory
from sandbox.datadog.evaluation.memory import Group
from sandbox.datadog.permissions import PERMISSIONS
from sandbox.datadog.server import API_KEY_ONLY, application
from sandbox.datadog.store import Point, opened
from sandbox.pulumi.plugins.datadog.client import Client, StatusError, UnreadableError, UrlError

Call = Callable[..., tuple[int, Any]]
Json = dict[str, Any]

MONITOR: Json = {
    "name": "my_metric",
    "type": "metric alert",
    "query": "avg(last_5m):avg:my_metric{*} by {host} > 800",
    "message": "{{#is_alert}}{{value}} on {{host.name}} {{host.ip}}{{/is_alert}} @me@example.com",
    "tags": ["team:a"],
    "options": {"thresholds": {"critical": 800, "warning": 500}, "notify_no_data": True, "no_data_timeframe": 10},
}
WIDGET: Json = {
    "definition": {
        "type": "timeseries",
        "title": "t",
        "requests": [
            {
                "response_format": "timeseries",
                "queries": [{"data_source": "metrics", "name": "query1", "query": "avg:my_metric{$host}"}],
                "formulas": [{"formula": "query1"}],
            }
        ],
    }
}
DASHBOARD: Json = {"title": "My board!", "layout_type": "ordered", "description": None, "widgets": [WIDGET]}
EMBED: Json = {
    "title": "shared",
    "status": "active",
    "global_time": {"live_span": "1h"},
    "global_time_selectable": True,
    "selectable_template_vars": [],
    "viewing_preferences": {"high_density": False, "theme": "system"},
}


@pytest.fixture
def call(account: Account) -> Iterator[Call]:
    keys = {"DD-API-KEY": API_KEY, "DD-APPLICATION-KEY": APP_KEY}
    pool = urllib3.PoolManager(retries=False)

    def send(method: str, path: str, body: Any = None, *, headers: dict[str, str] = keys) -> tuple[int, Any]:
        response = pool.request(method, account.url + path, json=body, headers=headers, timeout=10)
        return response.status, response.json() if response.data else None

    yield send
    account.clear_faults()
    pool.clear()


@pytest.fixture
def monitor(call: Call) -> Iterator[int]:
    status, answer = call("POST", "/api/v1/monitor", MONITOR)
    assert status == 200
    yield answer["id"]
    assert call("DELETE", f"/api/v1/monitor/{answer['id']}")[0] == 200


@pytest.fixture
def dashboard(call: Call) -> Iterator[str]:
    answer = call("POST", "/api/v1/dashboard", DASHBOARD)[1]
    yield answer["id"]
    assert call("DELETE", f"/api/v1/dashboard/{answer['id']}")[0] == 200


def changed(body: Json, path: str, value: Any) -> Json:
    """Return ``body`` with the entry at a dotted path set."""
    result = copy.deepcopy(body)
    *outer, last = path.split(".")
    place: Any = result
    for name in outer:
        place = place[int(name)] if isinstance(place, list) else place[name]
    place[last] = value
    return result


def refusal(answer: tuple[int, Any]) -> str:
    status, body = answer
    assert status == 400, answer
    return " ".join(body["errors"])


def downtime(identifier: Json, *recurrences: Json, timezone: str = "Europe/Paris") -> Json:
    schedule = {"timezone": timezone, "recurrences": list(recurrences)}
    attributes = {"monitor_identifier": identifier, "scope": "*", "schedule": schedule}
    return {"data": {"type": "downtime", "attributes": attributes}}


def recurrence(**changes: Any) -> Json:
    return {"rrule": "FREQ=WEEKLY;BYDAY=SA,SU", "duration": "24h", "start": "2037-01-03T00:00:00"} | changes


class TestKeys:
    def test_good_keys_are_valid(self, call: Call) -> None:
        assert call("GET", "/api/v1/validate") == (200, {"valid": True})

    @pytest.mark.parametrize(
        ("headers", "status"),
        [({}, 401), ({"DD-API-KEY": API_KEY}, 401), ({"DD-API-KEY": "x", "DD-APPLICATION-KEY": APP_KEY}, 403)],
    )
    def test_other_keys_are_refused_in_datadogs_form(self, call: Call, headers: Json, status: int) -> None:
        answered, body = call("GET", "/api/v1/monitor", headers=headers)
        assert answered == status
        assert body in ({"errors": ["Unauthorized"]}, {"errors": ["Forbidden"]})

    def test_an_agent_needs_the_api_key_alone(self, call: Call) -> None:
        assert call("POST", "/api/v2/series", {"series": []}, headers={"DD-API-KEY": API_KEY})[0] == 202

    def test_an_unknown_path_is_404_and_noted(self, account: Account, call: Call) -> None:
        assert call("GET", "/api/v9/nothing")[0] == 404
        assert {"path": "/api/v9/nothing", "status": 404}.items() <= account.requests()[-1].items()


SCOPED = "fake" + "1" * 36
"""An application key with scopes."""

WITH_SCOPES = {"DD-API-KEY": API_KEY, "DD-APPLICATION-KEY": SCOPED}

PREVIEWS = ("monitors_read",)
DRIFTS = ("monitors_read", "dashboards_read", "monitors_downtime")
"""The scopes of the keys in ``.github/workflows``."""


class TestScopes:
    """Source of each path's permission: see ``sandbox/datadog/permissions.py``."""

    @pytest.fixture
    def scoped(self, account: Account, call: Call) -> Iterator[Callable[..., int]]:
        account.accept([API_KEY], [APP_KEY, SCOPED])

        def status(scopes: tuple[str, ...], method: str, path: str, body: Any = None) -> int:
            account.restrict(SCOPED, scopes)
            return call(method, path, body, headers=WITH_SCOPES)[0]

        yield status
        account.restrict(SCOPED, ())
        account.accept([API_KEY], [APP_KEY])

    @pytest.mark.parametrize("scopes", [PREVIEWS, DRIFTS])
    def test_the_keys_of_previews_and_of_drift_read_and_change_nothing_but_downtimes(
        self, scoped: Callable[..., int], monitor: int, dashboard: str, scopes: tuple[str, ...]
    ) -> None:
        assert scoped(scopes, "GET", "/api/v1/monitor") == 200
        assert scoped(scopes, "GET", f"/api/v1/monitor/{monitor}") == 200
        assert scoped(scopes, "POST", "/api/v1/monitor/validate", changed(MONITOR, "name", "other")) == 200
        assert scoped(scopes, "POST", f"/api/v1/monitor/{monitor}/validate", MONITOR) == 200
        assert scoped(scopes, "POST", "/api/v1/monitor", MONITOR) == 403
        assert scoped(scopes, "PUT", f"/api/v1/monitor/{monitor}", MONITOR) == 403
        assert scoped(scopes, "DELETE", f"/api/v1/monitor/{monitor}") == 403
        assert scoped(scopes, "POST", "/api/v1/dashboard", DASHBOARD) == 403
        assert scoped(scopes, "PUT", f"/api/v1/dashboard/{dashboard}", DASHBOARD) == 403
        assert scoped(scopes, "DELETE", f"/api/v1/dashboard/{dashboard}") == 403
        assert scoped(scopes, "GET", f"/api/v1/dashboard/{dashboard}") == (200 if scopes == DRIFTS else 403)
        assert scoped(scopes, "GET", "/api/v2/downtime") == (200 if scopes == DRIFTS else 403)
        assert scoped(scopes, "GET", "/api/v2/validate_keys") == 200

    def test_a_key_without_scopes_may_do_everything(self, scoped: Callable[..., int], monitor: int) -> None:
        assert scoped((), "GET", f"/api/v1/monitor/{monitor}") == 200
        assert scoped((), "GET", "/api/v1/events") == 200

    def test_every_path_that_takes_an_application_key_has_its_permission(self, account: Account) -> None:
        with opened(account.folder) as store:
            routes = [
                (route.method, route.resource.canonical)
                for route in application(store).router.routes()
                if route.resource and route.method != "HEAD"
            ]
        needing = {
            route
            for route in routes
            if route not in API_KEY_ONLY
            and not route[1].startswith(("/agent/", "/snapshot/", "/desk/"))
            and route not in {("GET", path) for path in pages.OPEN}
        }
        assert needing == set(PERMISSIONS)


class TestHost:
    @pytest.mark.parametrize("name", ["127.0.0.1:{port}", "localhost:{port}", "10.0.2.2:{port}"])
    def test_it_answers_to_its_own_names(self, account: Account, call: Call, name: str) -> None:
        keys = {"DD-API-KEY": API_KEY, "DD-APPLICATION-KEY": APP_KEY, "Host": name.format(port=account.port)}
        assert call("GET", "/api/v1/monitor", headers=keys)[0] == 200

    @pytest.mark.parametrize(
        "name", ["example.com", "example.com:{port}", "127.0.0.1", "127.0.0.1:1", "", "127.0.0.1.example.com:{port}"]
    )
    @pytest.mark.parametrize("path", ["/api/v1/monitor", "/agent/install_script_agent7.sh", "/snapshot/x.svg", "/x"])
    def test_a_page_that_was_pointed_at_loopback_gets_nothing(
        self, account: Account, call: Call, name: str, path: str
    ) -> None:
        keys = {"DD-API-KEY": API_KEY, "DD-APPLICATION-KEY": APP_KEY, "Host": name.format(port=account.port)}
        assert call("GET", path, headers=keys)[0] == 421


class TestMonitors:
    @pytest.mark.parametrize(
        ("path", "value", "sentence"),
        [
            ("titel", "x", "unknown property 'titel'"),
            ("options.thresholds.critical", 900, "does not match that used in the query"),
            ("options.thresholds.warning", 900, "must be less than"),
            ("options.thresholds", {"warning": 500}, "Alert status is required"),
            ("options.on_missing_data", "show_no_data", "on_missing_data"),
            ("query", "avg:my_metric{*} > 800", "'query' is invalid"),
            ("query", "avg(last_5m):avg:my_metric{*} < 800", "must be greater than"),
            ("type", "metrical alert", "is not one of"),
            ("priority", 6, "priority"),
            ("query", "avg(last_5m):avg:system.cpu.user{*} by {resource_name} > 800", "carries no tag resource_name"),
            ("query", "avg(last_5m):p95:system.cpu.user{*} > 800", "needs a distribution"),
            ("name", "", "'name' is invalid"),
        ],
    )
    @pytest.mark.parametrize("where", ["/api/v1/monitor", "/api/v1/monitor/validate"])
    def test_what_datadog_refuses_is_refused(
        self, call: Call, where: str, path: str, value: Any, sentence: str
    ) -> None:
        assert sentence in refusal(call("POST", where, changed(MONITOR, path, value)))

    def test_an_identical_second_monitor_is_refused(self, call: Call, monitor: int) -> None:
        assert f"Duplicate of an existing monitor_id:{monitor}" in refusal(call("POST", "/api/v1/monitor", MONITOR))
        assert call("POST", f"/api/v1/monitor/{monitor}/validate", MONITOR) == (200, {})

    def test_a_metric_alert_reads_back_as_query_alert(self, call: Call, monitor: int) -> None:
        answer = call("GET", f"/api/v1/monitor/{monitor}")[1]
        assert answer["type"] == "query alert"
        assert answer["multi"] is True

    def test_an_update_keeps_the_rest_but_not_the_type(self, call: Call, monitor: int) -> None:
        assert call("PUT", f"/api/v1/monitor/{monitor}", {"name": "other"})[1]["query"] == MONITOR["query"]
        assert "type" in refusal(call("PUT", f"/api/v1/monitor/{monitor}", {"type": "service check"}))

    def test_what_was_deleted_is_not_found(self, call: Call) -> None:
        assert call("GET", "/api/v1/monitor/1") == (404, {"errors": ["Monitor not found"]})


BOARD: Json = {"title": "t", "layout_type": "ordered", "widgets": []}
KEPT: Json = {
    "name": "n", "enabled": True, "filter": {"query": "*"}, "filter_type": "spans-sampling-processor", "rate": 2,
}  # fmt: skip


class TestRecordedRefusals:
    """What tests of Datadog's own clients have recorded of its servers.

    Sources: tests/v1/cassettes and tests/v2/cassettes of https://github.com/DataDog/datadog-api-client-python,
    datadog/tests/cassettes of https://github.com/DataDog/terraform-provider-datadog
    """

    NOBODY = "00000000-0000-1234-0000-000000000000"
    HOOKS = "/api/v1/integration/webhooks/configuration"

    @pytest.mark.parametrize(
        ("method", "path", "said"),
        [
            ("GET", f"/api/v2/downtime/{NOBODY}", "Downtime not found"),
            ("DELETE", f"/api/v2/downtime/{NOBODY}", f"Downtime {NOBODY} not found"),
            ("GET", "/api/v1/slo/1", "SLO not found: 1 not found"),
            ("DELETE", "/api/v1/slo/1", "SLO not found: 1 not found"),
            ("GET", "/api/v1/dashboard/abc-def-ghi", "Dashboard with ID abc-def-ghi not found"),
            ("DELETE", "/api/v1/dashboard/abc-def-ghi", "Dashboard with ID abc-def-ghi not found"),
            ("DELETE", "/api/v1/monitor/0", "Monitor not found"),
            ("DELETE", "/api/v2/apm/config/retention-filters/x", "retention filter with id: 'x' not found"),
            ("GET", f"{HOOKS}/webhooks/x", "Webhook does not exist"),
            ("GET", f"{HOOKS}/custom-variables/X", "Custom variable does not exist"),
        ],
    )
    def test_what_is_not_there(self, call: Call, method: str, path: str, said: str) -> None:
        assert call(method, path) == (404, {"errors": [said]})

    def test_an_id_that_is_none(self, call: Call) -> None:
        said = "Invalid URL param: downtime_id must be an uuid"
        assert call("GET", "/api/v2/downtime/INVALID") == (400, {"errors": [said]})

    @pytest.mark.parametrize(
        ("path", "body", "said"),
        [
            ("dashboard", BOARD | {"tags": ["tm:x"]}, ["Invalid tag format. Valid tag keys are: team."]),
            (
                "dashboard",
                BOARD | {"template_variables": [{"name": "a", "default": "x", "defaults": ["x"]}]},
                ["'template_variables' is invalid"],
            ),
            (
                "dashboard",
                BOARD | {"template_variables": [{"name": "a", "defaults": [""]}]},
                ["Minimum length of parameter 'defaults' should be 1"],
            ),
            (
                "slo",
                {"name": "x", "type": "metric", "thresholds": [{"target": 95, "timeframe": "7d"}]},
                ["Invalid payload: must specify the query for count types"],
            ),
        ],
    )
    def test_a_body_that_does_not_do(self, call: Call, path: str, body: Json, said: list[str]) -> None:
        assert call("POST", f"/api/v1/{path}", body) == (400, {"errors": said})

    def test_a_rate_and_a_scope_that_do_not_do(self, call: Call) -> None:
        body = {"data": {"type": "apm_retention_filter", "attributes": KEPT}}
        said = ["Invalid Pipeline", "'rate' must exist and be between 0 and 1"]
        assert call("POST", "/api/v2/apm/config/retention-filters", body) == (400, {"errors": said})
        identifier = {"monitor_tags": ["cat:hat"]}
        attributes = {"monitor_identifier": identifier, "schedule": {"start": None}, "scope": "WITHOUT_A_KEY"}
        body = {"data": {"type": "downtime", "attributes": attributes}}
        assert call("POST", "/api/v2/downtime", body) == (400, {"errors": ["All values must have a key"]})

    def test_a_dashboard_that_is_shared_but_is_not_there(self, call: Call) -> None:
        body = {"dashboard_id": "abc-123-def", "dashboard_type": "custom_timeboard", "share_type": "open"}
        assert call("POST", "/api/v1/dashboard/public", body) == (
            404,
            {"errors": ["custom_timeboard abc-123-def not found"]},
        )


class TestDashboards:
    @pytest.mark.parametrize(
        ("path", "value"),
        [
            ("titel", "x"),
            ("default_timeframe", {"type": "live", "unit": "fortnight", "value": 5}),
            ("widgets.0.definition.titel", "x"),
            ("widgets.0.definition.type", "timeserious"),
            ("widgets.0.definition.requests.0.queries.0.qery", "x"),
        ],
    )
    def test_what_the_models_do_not_know_is_refused(self, call: Call, path: str, value: Any) -> None:
        assert refusal(call("POST", "/api/v1/dashboard", changed(DASHBOARD, path, value)))

    @pytest.mark.parametrize(
        ("query", "formula", "sentence"),
        [
            ("avg:my_metric{*}", "query2", "names no query of its request: query2"),
            ("avg:my_metric{*}", "anomalies(query1, 'simple', 3)", "the algorithm is one of"),
            ("p95:trace.flask.request{$host}", "query1", "trace.flask.request carries no tag host"),
            ("avg:system.net.tcp.in_segs{device:lo}", "query1", "carries no tag device"),
        ],
    )
    @pytest.mark.parametrize("change", [False, True], ids=["create", "update"])
    def test_a_graph_that_stays_empty_is_refused(
        self, call: Call, dashboard: str, query: str, formula: str, sentence: str, change: bool
    ) -> None:
        board = DASHBOARD | {"template_variables": [{"name": "host", "prefix": "host", "defaults": ["*"]}]}
        board = changed(board, "widgets.0.definition.requests.0.queries.0.query", query)
        board = changed(board, "widgets.0.definition.requests.0.formulas.0.formula", formula)
        where = ("PUT", f"/api/v1/dashboard/{dashboard}") if change else ("POST", "/api/v1/dashboard")
        assert sentence in refusal(call(*where, board))

    def test_two_of_one_name_are_refused(self, call: Call) -> None:
        variable: Json = {"name": "host", "prefix": "host", "defaults": ["*"]}
        assert "one name" in refusal(
            call("POST", "/api/v1/dashboard", DASHBOARD | {"template_variables": [variable] * 2})
        )
        (query,) = WIDGET["definition"]["requests"][0]["queries"]
        twice = changed(DASHBOARD, "widgets.0.definition.requests.0.queries", [query, query])
        assert "one name" in refusal(call("POST", "/api/v1/dashboard", twice))

    def test_the_answer_adds_what_datadog_adds(self, call: Call, dashboard: str) -> None:
        answer = call("GET", f"/api/v1/dashboard/{dashboard}")[1]
        assert answer["url"] == f"/dashboard/{dashboard}/my-board"
        assert [len(part) for part in dashboard.split("-")] == [3, 3, 3]
        assert isinstance(answer["widgets"][0]["id"], int)
        assert "description" not in answer

    def test_a_secure_embed_tells_its_credential_once(self, call: Call, account: Account, dashboard: str) -> None:
        path = f"/api/v2/dashboard/{dashboard}/shared/secure-embed"
        status, made = call("POST", path, {"data": {"type": "secure_embed_request", "attributes": EMBED}})
        attributes = made["data"]["attributes"]
        assert status == 200
        read = call("GET", f"{path}/{attributes['token']}")[1]["data"]["attributes"]
        assert "credential" not in read
        assert attributes["credential"].endswith(read["credential_suffix"])
        pause = {"data": {"type": "secure_embed_update_request", "attributes": {"status": "paused"}}}
        assert call("PATCH", f"{path}/{attributes['token']}", pause)[0] == 200
        assert account.embeds()[-1]["status"] == "paused"
        assert call("DELETE", f"{path}/{attributes['token']}")[0] == 204
        assert call("GET", f"{path}/{attributes['token']}")[0] == 404

    def test_five_minutes_can_not_be_shared(self, call: Call, dashboard: str) -> None:
        share: Json = {"dashboard_id": dashboard, "dashboard_type": "custom_timeboard"}
        assert refusal(call("POST", "/api/v1/dashboard/public", share | {"global_time": {"live_span": "5m"}}))
        answer = call("POST", "/api/v1/dashboard/public", share | {"global_time": {"live_span": "15m"}})[1]
        assert answer["public_url"].endswith(answer["token"])

    def test_a_public_link_is_changed_as_the_model_allows_and_shows_nothing_while_paused(
        self, call: Call, dashboard: str
    ) -> None:
        share: Json = {"dashboard_id": dashboard, "dashboard_type": "custom_timeboard"}
        assert refusal(call("POST", "/api/v1/dashboard/public", share | {"token": "fake"})) == "read-only: token"
        made = call("POST", "/api/v1/dashboard/public", share)[1]
        path = f"/api/v1/dashboard/public/{made['token']}"
        for change in ({"dashboard_id": "abc-def-ghi"}, {"token": "fake"}, {"status": "gone"}, {"tittle": "T"}):
            assert refusal(call("PUT", path, change)), change
        for change, status in (({"status": "paused", "title": "T"}, 404), ({"status": "active"}, 200)):
            changed = call("PUT", path, change)[1]
            assert changed == call("GET", path)[1]
            assert (changed["title"], changed["token"]) == ("T", made["token"])
            assert urllib3.request("GET", made["public_url"], retries=False).status == status
        assert call("PUT", path, {"expiration": "2020-01-01T00:00:00+00:00"})[0] == 200
        assert urllib3.request("GET", made["public_url"], retries=False).status == 404
        assert call("PUT", f"{path}-other", {"status": "active"})[0] == 404

    def test_all_shares_of_a_dashboard_are_listed_as_the_model_has_them(self, call: Call, dashboard: str) -> None:
        embed = f"/api/v2/dashboard/{dashboard}/shared/secure-embed"
        call("POST", embed, {"data": {"type": "secure_embed_request", "attributes": EMBED}})
        call("POST", "/api/v1/dashboard/public", {"dashboard_id": dashboard, "dashboard_type": "custom_timeboard"})
        status, listed = call("GET", f"/api/v2/dashboard/{dashboard}/shared")
        assert status == 200
        schema.check(listed, ListSharedDashboardsResponse)
        assert {"open", "secure-embed"} == {share["attributes"]["share_type"] for share in listed["data"]}
        assert call("GET", "/api/v2/dashboard/abc-def-ghi/shared")[0] == 404


class TestDowntimes:
    @pytest.mark.parametrize(
        ("change", "sentence"),
        [
            ({"start": "2037-01-03T00:00:00+01:00"}, "without an offset"),
            ({"start": "2020-01-03T00:00:00"}, "cannot be in the past"),
            ({"duration": "1 day"}, "duration"),
            ({"duration": "0h"}, "duration"),
            ({"rrule": "FREQ=MINUTELY"}, "FREQ"),
            ({"rrule": "BYDAY=MO"}, "FREQ"),
            ({"rrule": "FREQ=WEEKLY;DTSTART=20370101T000000"}, "not supported"),
            ({"rrule": "DTSTART:20370101T000000\nRRULE:FREQ=WEEKLY"}, "rrule"),
            ({"rrule": "FREQ=WEEKLY;DURATION=PT1H"}, "not supported"),
            ({"rrule": "FREQ=WEEKLY;BYDAY=XX"}, "rrule"),
            ({"rrule": "FREQ=WEEKLY;UNTIL=20200101T000000"}, "no future occurrence"),
            ({"rrule": "FREQ=DAILY;COUNT=1;UNTIL=20370101T000000"}, "no future occurrence"),
            ({"strat": "2037-01-03T00:00:00"}, "unknown property 'strat'"),
        ],
    )
    def test_a_bad_recurrence_is_refused(self, call: Call, change: Json, sentence: str) -> None:
        body = downtime({"monitor_tags": ["team:a"]}, recurrence(**change))
        assert sentence in refusal(call("POST", "/api/v2/downtime", body))

    def test_six_recurrences_are_too_many(self, call: Call) -> None:
        many = downtime({"monitor_tags": ["*"]}, *[recurrence()] * 6)
        assert "1 to 5" in refusal(call("POST", "/api/v2/downtime", many))

    @pytest.mark.parametrize(
        "scope", ["prod", "env:a OR env:b", "service:auth?", "en&v:prod", "", "env:(a OR (b AND c))", "env:"]
    )
    def test_a_scope_that_datadog_does_not_know_is_refused(self, call: Call, scope: str) -> None:
        body = changed(downtime({"monitor_tags": ["*"]}, recurrence()), "data.attributes.scope", scope)
        said = "Invalid scope" if ":" in scope else "All values must have a key"
        assert said in refusal(call("POST", "/api/v2/downtime", body))

    @pytest.mark.parametrize("scope", ["*", "env:(a OR b)", "service:shop AND -env:prod", "host:db-*", "a:b c:d"])
    def test_a_scope_of_datadog_s_own_examples_is_taken(self, call: Call, scope: str) -> None:
        body = changed(downtime({"monitor_tags": ["*"]}, recurrence()), "data.attributes.scope", scope)
        status, made = call("POST", "/api/v2/downtime", body)
        assert status == 200
        assert call("DELETE", f"/api/v2/downtime/{made['data']['id']}")[0] == 204

    def test_a_second_one_for_a_monitor_at_the_same_times_is_refused(self, call: Call, monitor: int) -> None:
        body = downtime({"monitor_id": monitor}, recurrence())
        made = call("POST", "/api/v2/downtime", body)[1]["data"]["id"]
        assert f"duplicate of one or more existing downtimes: ['{made}']" in refusal(
            call("POST", "/api/v2/downtime", body)
        )
        assert call("DELETE", f"/api/v2/downtime/{made}")[0] == 204
        status, again = call("POST", "/api/v2/downtime", body)
        assert status == 200
        assert call("DELETE", f"/api/v2/downtime/{again['data']['id']}")[0] == 204

    def test_a_downtime_has_32_monitor_tags_at_most(self, call: Call) -> None:
        many = downtime({"monitor_tags": [f"team:{number}" for number in range(33)]}, recurrence())
        assert "1 to 32" in refusal(call("POST", "/api/v2/downtime", many))

    def test_a_start_that_has_passed_is_refused_once_it_was_taken_too(self, call: Call) -> None:
        once = {"start": "2020-01-01T00:00:00Z", "end": "2037-01-01T00:00:00Z"}
        body = changed(downtime({"monitor_tags": ["*"]}), "data.attributes.schedule", once)
        assert "cannot be in the past" in refusal(call("POST", "/api/v2/downtime", body))

    def test_a_monitor_or_zone_that_does_not_exist_is_refused(self, call: Call) -> None:
        assert "Monitor 1 " in refusal(call("POST", "/api/v2/downtime", downtime({"monitor_id": 1}, recurrence())))
        nowhere = downtime({"monitor_tags": ["*"]}, recurrence(), timezone="Europe/Atlantis")
        assert "Atlantis" in refusal(call("POST", "/api/v2/downtime", nowhere))

    def test_the_answer_computes_what_was_left_out(self, call: Call, monitor: int) -> None:
        unanchored = {name: value for name, value in recurrence(rrule="FREQ=DAILY").items() if name != "start"}
        answer = call("POST", "/api/v2/downtime", downtime({"monitor_id": monitor}, unanchored))[1]["data"]
        attributes = answer["attributes"]
        assert attributes["status"] == "active"
        assert attributes["notify_end_states"] == ["alert", "no data", "warn"]
        assert attributes["notify_end_types"] == ["expired"]
        assert attributes["display_timezone"] == "UTC"
        assert datetime.datetime.fromisoformat(attributes["schedule"]["recurrences"][0]["start"]).tzinfo is None
        assert call("DELETE", f"/api/v2/downtime/{answer['id']}")[0] == 204

    def test_the_start_of_an_active_one_is_fixed_and_the_rest_is_not(self, call: Call, account: Account) -> None:
        made = call("POST", "/api/v2/downtime", downtime({"monitor_tags": ["*"]}, recurrence()))[1]["data"]
        assert made["attributes"]["status"] == "scheduled"
        path = f"/api/v2/downtime/{made['id']}"

        def patch(**changes: Any) -> tuple[int, Any]:
            body = downtime({"monitor_tags": ["*"]}, recurrence(**changes))
            body["data"]["id"] = ""
            return call("PATCH", path, body)

        assert patch(start="2037-01-10T00:00:00")[0] == 200
        assert patch()[0] == 200
        begin = datetime.datetime.fromisoformat(made["attributes"]["schedule"]["current_downtime"]["start"])
        account.travel(begin + datetime.timedelta(hours=1))
        try:
            assert call("GET", path)[1]["data"]["attributes"]["status"] == "active"
            assert "in progress cannot be changed" in refusal(patch(start="2037-01-10T00:00:00"))
            assert "in progress cannot be changed" in refusal(patch(start=None))
            assert "cannot be in the past" in refusal(patch(duration="20h"))
            assert "cannot be in the past" in refusal(patch())
            message: Json = {"data": {"id": "", "type": "downtime", "attributes": {"message": "other"}}}
            assert call("PATCH", path, message)[1]["data"]["attributes"]["message"] == "other"
            assert call("DELETE", path)[0] == 204
            assert call("GET", path)[1]["data"]["attributes"]["status"] == "canceled"
            assert made["id"] not in {downtime["id"] for downtime in account.downtimes()}
            assert call("PATCH", path, message) == (404, {"errors": ["Downtime not found"]})
            assert call("DELETE", path) == (404, {"errors": [f"Downtime {made['id']} not found"]})
            listed = {
                entry["id"]: entry["attributes"]["status"] for entry in call("GET", "/api/v2/downtime")[1]["data"]
            }
            assert listed[made["id"]] == "canceled"
            account.travel(begin + datetime.timedelta(days=2, hours=2))
            assert call("GET", path)[0] == 404
            assert made["id"] not in str(call("GET", "/api/v2/downtime"))
        finally:
            account.travel(None)


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Account]:
    account = Account.start(tmp_path_factory.mktemp("filled"))
    pool = urllib3.PoolManager(headers={"DD-API-KEY": API_KEY, "DD-APPLICATION-KEY": APP_KEY})
    for number in range(31):
        for path, body in (
            ("/api/v1/monitor", MONITOR | {"name": f"monitor {number}"}),
            ("/api/v1/dashboard", DASHBOARD),
            ("/api/v2/downtime", downtime({"monitor_tags": ["*"]}, recurrence())),
        ):
            assert pool.request("POST", account.url + path, json=body, timeout=10).status == 200
    pool.clear()
    yield account
    account.stop()


class TestLists:
    """Datadog's own client reads lists page by page, until a page isn't full."""

    @pytest.mark.parametrize("size", [1, 10, 31, 32])
    def test_every_page_size_finds_everything_once(self, filled: Account, size: int) -> None:
        with datadog_api.client(filled.url, API_KEY, APP_KEY) as datadog:
            for found in (
                [monitor.id for monitor in MonitorsApi(datadog).list_monitors_with_pagination(page_size=size)],
                [board.id for board in DashboardsApi(datadog).list_dashboards_with_pagination(count=size)],
                [mute.id for mute in DowntimesApi(datadog).list_downtimes_with_pagination(page_limit=size)],
            ):
                assert len(set(found)) == len(found) == 31

    def test_without_a_size_thirty_downtimes_and_all_monitors_are_listed(self, filled: Account) -> None:
        with datadog_api.client(filled.url, API_KEY, APP_KEY) as datadog:
            assert len(DowntimesApi(datadog).list_downtimes().data) == 30
            assert len(MonitorsApi(datadog).list_monitors()) == 31

    @pytest.mark.parametrize("path", ["/api/v1/monitor?pgae=1", "/api/v2/downtime?page[ofset]=1"])
    def test_a_parameter_that_the_path_does_not_know_is_refused(self, call: Call, path: str) -> None:
        assert "has no parameter" in refusal(call("GET", path))

    def test_a_page_that_is_no_number_is_refused(self, call: Call) -> None:
        assert "must be numbers" in refusal(call("GET", "/api/v1/dashboard?start=x"))


class TestAgents:
    def test_gzipped_series_are_kept_and_queried(self, call: Call, account: Account) -> None:
        now = int(time.time())
        series = {
            "metric": "my_metric",
            "type": 3,
            "points": [{"timestamp": now, "value": 7.5}],
            "resources": [{"type": "host", "name": "vm"}],
            "tags": ["env:dev"],
        }
        answer = urllib3.request(
            "POST",
            f"{account.url}/api/v2/series",
            body=gzip.compress(json.dumps({"series": [series]}).encode()),
            headers={"DD-API-KEY": API_KEY, "Content-Encoding": "gzip", "Content-Type": "application/json"},
        )
        assert answer.status == 202
        assert account.series("my_metric")[-1]["host"] == "vm"
        window = f"from={now - 10}&to={now + 10}"
        found = call("GET", f"/api/v1/query?{window}&query=avg:my_metric%7Bhost:vm,env:dev%7D")[1]
        assert found["series"][0]["pointlist"] == [[now * 1000, 7.5]]
        assert call("GET", f"/api/v1/query?{window}&query=avg:my_metric%7Bhost:other%7D")[1]["series"] == []
        assert "vm" in {host["name"] for host in call("GET", "/api/v1/hosts")[1]["host_list"]}

    def test_a_query_is_evaluated_by_group_and_what_is_not_known_is_refused_by_name(
        self, call: Call, account: Account
    ) -> None:
        end = int(time.time()) // 60 * 60
        with opened(account.folder) as store:
            store.add_points(
                Point(metric="q", at=end - 60 + second, value=value + second, host=host, tags=[f"host:{host}"])
                for host, value in (("a", 10), ("b", 30))
                for second in range(0, 60, 10)
            )
        window = f"from={end - 60}&to={end}"

        def series(query: str) -> dict[str, list[list[float]]]:
            answer = call("GET", f"/api/v1/query?{window}&query={quote(query)}")[1]
            return {found["scope"]: found["pointlist"] for found in answer["series"]}

        means = {"host:a": 35.0, "host:b": 55.0}
        assert series("avg:q{*} by {host}.rollup(avg, 60)") == {
            host: [[1000 * (end - 60), mean]] for host, mean in means.items()
        }
        assert series("sum:q{*}.rollup(avg, 60)") == {"*": [[1000 * (end - 60), 90.0]]}
        assert series("max:q{host:a}.rollup(max, 60)") == {"host:a": [[1000 * (end - 60), 60.0]]}
        refused = call("GET", f"/api/v1/query?{window}&query={quote('avg:q{*}.fill(last)')}")
        assert "fill" in refusal(refused)

    def test_a_monitor_is_in_the_worst_state_of_its_groups(self, call: Call, account: Account) -> None:
        number = call("POST", "/api/v1/monitor", {**MONITOR, "name": "worst"})[1]["id"]
        path = f"/api/v1/monitor/{number}"
        assert call("GET", path)[1]["overall_state"] == "No Data"
        with opened(account.folder) as store:
            for host, status in (("a", "OK"), ("b", "Warn")):
                group = Group(monitor=number, name=host, tags={"host": host}, status=status)  # type: ignore[arg-type]
                memory.keep(store, group)
        assert call("GET", path)[1]["overall_state"] == "Warn"
        listed = {monitor["id"]: monitor["overall_state"] for monitor in call("GET", "/api/v1/monitor")[1]}
        assert listed[number] == "Warn"
        call("DELETE", path)

    def test_a_snapshot_is_a_picture_that_says_who_drew_it(self, call: Call, account: Account) -> None:
        answer = call("GET", "/api/v1/graph/snapshot?start=1&end=2&metric_query=avg:my_metric%7B*%7D")[1]
        picture = urllib3.request("GET", answer["snapshot_url"])
        assert answer["snapshot_url"].startswith(account.url)
        assert b"drawn by the sandbox" in picture.data

    @pytest.mark.parametrize(
        ("query", "sentence"),
        [
            ("start=2&end=1&metric_query=avg:my_metric%7B*%7D", "start must be before end"),
            ("start=1&end=2", "metric_query or graph_def"),
            ("start=1&end=2&graph_def=%7B%7D", "graph_def must be JSON"),
            ("start=1&end=2&metric_query=p95:trace.flask.request%7Bhost:vm%7D", "carries no tag host"),
            ("start=1&end=2&metric_qery=avg:my_metric%7B*%7D", "no parameter metric_qery"),
        ],
    )
    def test_a_bad_snapshot_is_refused(self, call: Call, query: str, sentence: str) -> None:
        assert sentence in refusal(call("GET", f"/api/v1/graph/snapshot?{query}"))

    def test_a_long_or_old_event_is_refused(self, call: Call) -> None:
        event = {"title": "t", "text": "x"}
        assert "4000" in refusal(call("POST", "/api/v1/events", event | {"text": "x" * 4001}))
        assert "18 hours" in refusal(call("POST", "/api/v1/events", event | {"date_happened": 1}))

    def test_an_event_is_kept(self, call: Call, account: Account) -> None:
        event = {"title": "Timeboard", "text": "@me@example.com look"}
        assert call("POST", "/api/v1/events", event)[0] == 202
        assert event.items() <= account.events()[-1].items()
        assert "titel" in refusal(call("POST", "/api/v1/events", event | {"titel": "x"}))


class TestFaults:
    def test_what_was_ordered_goes_wrong_that_many_times(self, call: Call, account: Account) -> None:
        account.fault("GET", "/api/v1/mon*", 503, times=2, headers={"Retry-After": "1"})
        assert [call("GET", "/api/v1/monitor")[0] for _ in range(3)] == [503, 503, 200]

    @pytest.mark.parametrize("action", ["cut", "lost"])
    def test_a_broken_connection_is_told_as_go_tells_it(self, account: Account, action: Any, client: Client) -> None:
        account.fault("GET", "*", action)
        with pytest.raises(UrlError, match=r'^Get "http://.*/api/v1/monitor": EOF$'):
            client.call("GET", "/api/v1/monitor")

    def test_garbage_is_told_as_go_tells_it(self, account: Account, client: Client) -> None:
        account.fault("GET", "*", "garbage")
        with pytest.raises(UnreadableError, match=r"^invalid character '<' looking for beginning of value: <html>"):
            client.call("GET", "/api/v1/monitor")

    @pytest.fixture
    def client(self, account: Account) -> Iterator[Client]:
        client = Client(url=account.url, api_key=API_KEY, app_key=APP_KEY, base=1, multiplier=0.01)
        yield client
        client.pool.clear()
        account.clear_faults()

    @pytest.mark.parametrize("status", [429, 500, 502])
    def test_the_plugin_tries_four_times(self, account: Account, client: Client, status: int) -> None:
        account.fault("POST", "*", status, times=3)
        assert client.call("POST", "/api/v1/monitor/validate", MONITOR) == {}
        account.fault("POST", "*", status, times=4)
        with pytest.raises(StatusError, match=str(status)):
            client.call("POST", "/api/v1/monitor/validate", MONITOR)

    def test_the_plugin_waits_as_long_as_datadog_says(self, account: Account, client: Client) -> None:
        account.fault("GET", "*", 429, headers={"X-RateLimit-Reset": "1"})
        began = time.monotonic()
        client.call("GET", "/api/v1/monitor")
        assert 1 <= time.monotonic() - began < 3

    def test_a_refusal_is_not_tried_again(self, account: Account, client: Client) -> None:
        before = len(account.requests())
        with pytest.raises(StatusError, match="404 Not Found"):
            client.call("GET", "/api/v1/monitor/1")
        assert len(account.requests()) == before + 1


def test_a_server_that_runs_is_used_and_what_it_kept_outlives_it(tmp_path: Path) -> None:
    account = Account.start(tmp_path)
    try:
        assert Account.start(tmp_path).url == account.url
    finally:
        account.stop()
    assert not account.running
    again = Account.start(tmp_path, api_key="f" * 32)
    try:
        pool = urllib3.PoolManager()
        assert pool.request("GET", f"{again.url}/api/v1/validate", headers={"DD-API-KEY": API_KEY}).status == 403
        pool.clear()
    finally:
        again.stop()
    assert again.requests()[-1]["status"] == 403

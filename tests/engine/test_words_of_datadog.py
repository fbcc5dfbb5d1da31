"""The Datadog plugin's messages, state and diffs: of the real one or the stand-in, whichever the engine would run.

Sources: terraform-provider-datadog v4.19.0 (datadog/resource_datadog_monitor.go, resource_datadog_dashboard_json.go,
fwprovider/resource_datadog_downtime_schedule.go, resource_datadog_secure_embed_dashboard.go, internal/utils/utils.go);
datadog-api-client-go v2.64.0 (api/datadog/client.go); pulumi-terraform-bridge v3.135.0 (pkg/tfbridge/provider.go,
pkg/pf/tfbridge/provider_diagnostics.go); and answers observed of the plugin built from these.
"""

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from sandbox.datadog import API_KEY, APP_KEY, Account
from sandbox.datadog.account import Fault
from sandbox.testing.account import request
from sandbox.testing.processes import wait_until
from tests.engine.datadog_plugin import (
    DASHBOARD,
    DOWNTIME,
    EMBED,
    GARBAGE,
    MONITOR,
    REFUSED,
    WEEKLY,
    Resource,
    doubled,
    failure,
    logged,
)
from tests.engine.plugin import UNKNOWN, Plugin, plugin, secret, urn

pytestmark = pytest.mark.usefixtures("no_faults_left")

QUERY = "avg(last_5m):avg:my_metric{*} by {host} > 800"
A_MONITOR: dict[str, Any] = {
    "name": "m", "type": "metric alert", "query": QUERY, "message": "text", "tags": ["b:2", "a:1"],
    "monitorThresholds": {"critical": "800", "warning": "500"}, "notifyNoData": True, "noDataTimeframe": 10,
}  # fmt: skip
WIDGET = {"definition": {"type": "note", "content": "text"}}
A_DASHBOARD = {"dashboard": json.dumps({"title": "t", "layout_type": "ordered", "widgets": [WIDGET]})}


@pytest.fixture(scope="module")
def monitor(datadog: Plugin) -> Resource:
    return Resource(datadog, MONITOR, {**A_MONITOR, "name": "the monitor"})


@pytest.fixture(scope="module")
def dashboard(datadog: Plugin) -> Resource:
    return Resource(datadog, DASHBOARD, A_DASHBOARD)


@pytest.fixture(scope="module")
def downtime(datadog: Plugin, monitor: Resource) -> Resource:
    return Resource(datadog, DOWNTIME, a_downtime(monitor))


@pytest.fixture(scope="module")
def embed(datadog: Plugin, dashboard: Resource) -> Resource:
    return Resource(datadog, EMBED, {"dashboardId": dashboard.id, "title": "shared"})


def a_downtime(monitor: Resource) -> dict[str, Any]:
    return {
        "monitorIdentifier": {"monitorId": int(monitor.id)}, "scope": "*", "message": "text",
        "displayTimezone": "Europe/Paris", "recurringSchedule": {"timezone": "Europe/Paris", "recurrences": [WEEKLY]},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (403, "403 Forbidden"),
        (404, "404 Not Found"),
        ("cut", 'Get "{url}/api/v1/validate": EOF'),
        ("garbage", GARBAGE),
    ],
)
def test_keys_that_are_refused_and_an_api_that_does_not_answer(account: Account, fault: Fault, said: str) -> None:
    account.fault("GET", "/api/v1/validate", fault, times=9)
    with plugin("datadog") as fresh:
        error = failure(lambda: fresh.configure(apiKey=API_KEY, appKey=APP_KEY, apiUrl=account.url))
    assert error.text == doubled(said.format(url=account.url))


def test_settings_that_can_be_none(account: Account) -> None:
    with plugin("datadog") as fresh:
        error = failure(lambda: fresh.configure(apiKey=API_KEY, appKey=APP_KEY, apiUrl="http://127.0.0.1:1"))
    refused = "dial tcp 127.0.0.1:1: connect: connection refused"
    assert error.text == doubled(f'Get "http://127.0.0.1:1/api/v1/validate": {refused}')
    with plugin("datadog") as fresh:
        error = failure(lambda: fresh.configure(apiKey=f"{API_KEY}\n", appKey=APP_KEY, apiUrl=account.url))
    invalid = 'net/http: invalid header field value for "Dd-Api-Key"'
    assert error.text == doubled(f'Get "{account.url}/api/v1/validate": {invalid}')
    with plugin(
        "datadog", dict.fromkeys(("DD_API_KEY", "DD_APP_KEY", "DATADOG_API_KEY", "DATADOG_APP_KEY"), "")
    ) as fresh:
        error = failure(lambda: fresh.configure(apiUrl=account.url))
    missing = "api_key and app_key, bearer_token, or orgUUID must be set unless validate = false"
    assert error.text == f"2 errors occurred:\n\t* {doubled(missing)}\n\t* {missing}: \n\n"


@pytest.mark.parametrize("second", [False, True])
def test_the_environment_is_looked_into_in_this_order(account: Account, second: bool) -> None:
    good, bad = {"API_KEY": API_KEY, "APP_KEY": APP_KEY, "HOST": account.url}, {"API_KEY": "fake-other"}
    first, other = ({}, good) if second else (good, bad)
    variables = {f"DD_{key}": first.get(key, "") for key in good} | {
        f"DATADOG_{key}": other.get(key, "") for key in good
    }
    with plugin("datadog", variables) as fresh:
        fresh.configure()


@pytest.mark.parametrize(
    ("name", "value", "fault"),
    [
        ("validate", "no", 'expected validate to be one of ["true" "false"], got no'),
        ("httpClientRetryEnabled", "0", 'expected http_client_retry_enabled to be one of ["true" "false"], got 0'),
        ("httpClientRetryMaxRetries", "0", "Max retries must be between 0 and 5"),
        ("httpClientRetryMaxRetries", "6", "Max retries must be between 0 and 5"),
        ("httpClientRetryBackoffBase", "0", "Backoff base must be greater than 0."),
        ("httpClientRetryBackoffMultiplier", "0", "Backoff multiplier must be greater than 0."),
        ("nonsense", "x", "Invalid or unknown key"),
    ],
)
def test_a_setting_of_the_provider_that_does_not_do(datadog: Plugin, name: str, value: str, fault: str) -> None:
    _, failures = datadog.check_settings(apiKey=API_KEY, appKey=APP_KEY, **{name: value})
    assert failures == [
        ("", f"could not validate provider configuration: {fault}. Examine values at 'datadog.{name}'.")
    ]
    if name != "nonsense":
        with plugin("datadog") as fresh:
            failure(
                lambda: fresh.configure(apiKey=API_KEY, appKey=APP_KEY, apiUrl="http://127.0.0.1:1", **{name: value})
            )


def test_keys_are_made_secret_and_a_path_of_the_api_is_ignored(account: Account) -> None:
    with plugin("datadog") as fresh:
        checked, failures = fresh.check_settings(apiKey=API_KEY, appKey=APP_KEY, apiUrl=account.url)
        assert (checked["apiKey"], checked["appKey"], failures) == (secret(API_KEY), secret(APP_KEY), [])
        fresh.configure(apiKey=API_KEY, appKey=APP_KEY, apiUrl=f"{account.url}/path/")
    assert account.requests()[-1]["path"] == "/api/v1/validate"


def test_what_is_under_way_is_finished_though_the_engine_asks_to_end(datadog: Plugin, account: Account) -> None:
    account.fault("POST", "/api/v1/dashboard", "late", seconds=1)
    before = len(account.dashboards())
    with ThreadPoolExecutor() as pool:
        made = pool.submit(datadog.create, DASHBOARD, A_DASHBOARD)
        wait_until(lambda: len(account.dashboards()) > before, "the dashboard is made")
        datadog.cancel()
        assert made.result()[0] == account.dashboards()[-1]["id"]


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (403, f"error creating monitor from /api/v1/monitor: 403 Forbidden: {REFUSED}"),
        ("cut", 'error creating monitor (url.Error): Post "{url}/api/v1/monitor": EOF'),
        ("garbage", f"error creating monitor from /api/v1/monitor: {GARBAGE}: <html>not JSON, as ordered</html>"),
    ],
)
def test_a_monitor_that_is_not_made(datadog: Plugin, account: Account, fault: Fault, said: str) -> None:
    said = said.replace("{url}", account.url)
    account.fault("POST", "/api/v1/monitor", fault)
    error = failure(lambda: datadog.create(MONITOR, A_MONITOR))
    assert (error.text, error.reasons) == (doubled(said), ())
    assert datadog.log() == [logged(said)]


@pytest.mark.long
def test_four_requests_and_no_more_of_one_that_is_told_to_wait(datadog: Plugin, account: Account) -> None:
    account.fault("POST", "/api/v1/monitor", 429, headers={"X-RateLimit-Reset": "0"}, times=9)
    before = len(account.requests())
    error = failure(lambda: datadog.create(MONITOR, A_MONITOR))
    assert error.text == doubled(f"error creating monitor from /api/v1/monitor: 429 Too Many Requests: {REFUSED}")
    posts = [request for request in account.requests()[before:] if request["path"] == "/api/v1/monitor"]
    assert len(posts) == 4


@pytest.mark.parametrize("preview", [True, False])
def test_a_monitor_that_does_not_do_is_told_before_it_is_made(datadog: Plugin, account: Account, preview: bool) -> None:
    account.fault("POST", "/api/v1/monitor/validate", 400)
    said = f"error validating monitor from /api/v1/monitor/validate: 400 Bad Request: {REFUSED}"
    error = failure(lambda: datadog.create(MONITOR, A_MONITOR, preview=preview))
    assert error.text == f"diffing {urn(MONITOR)}: {doubled(said)}"
    assert datadog.log() == [logged(said)]


def test_what_is_not_known_yet_is_empty_where_a_preview_checks_the_monitor(datadog: Plugin, account: Account) -> None:
    datadog.create(MONITOR, {**A_MONITOR, "message": UNKNOWN, "tags": ["a:1", UNKNOWN]}, preview=True)
    body = account.requests()[-1]["body"]
    assert (body["message"], body["tags"], body["name"]) == ("", [], "m")


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (403, f"error creating resource from /api/v1/dashboard: 403 Forbidden: {REFUSED}"),
        ("cut", 'error creating resource (url.Error): Post "{url}/api/v1/dashboard": EOF'),
        ("garbage", GARBAGE),
    ],
)
def test_a_dashboard_that_is_not_made(datadog: Plugin, account: Account, fault: Fault, said: str) -> None:
    said = said.replace("{url}", account.url)
    account.fault("POST", "/api/v1/dashboard", fault)
    error = failure(lambda: datadog.create(DASHBOARD, A_DASHBOARD))
    assert (error.text, error.reasons) == (doubled(said), ())
    assert datadog.log() == [logged(said)]


def test_a_dashboard_that_is_made_but_cannot_be_seen_is_kept(datadog: Plugin, account: Account) -> None:
    account.fault("GET", "/api/v1/dashboard/*", 403)
    error = failure(lambda: datadog.create(DASHBOARD, A_DASHBOARD))
    assert error.text == f"creating {urn(DASHBOARD)}: {doubled('403 Forbidden')}"
    assert error.reasons == (error.text,)
    assert error.state["id"] == account.dashboards()[-1]["id"]


@pytest.mark.parametrize(
    ("fault", "detail"),
    [
        (403, f"403 Forbidden: {REFUSED}"),
        ("cut", 'url.Error: Post "{url}/api/v2/downtime": EOF '),
        ("garbage", f"{GARBAGE}: <html>not JSON, as ordered</html>"),
    ],
)
def test_a_downtime_that_is_not_made(
    datadog: Plugin, account: Account, monitor: Resource, fault: Fault, detail: str
) -> None:
    detail = detail.replace("{url}", account.url)
    account.fault("POST", "/api/v2/downtime", fault)
    error = failure(lambda: datadog.create(DOWNTIME, a_downtime(monitor)))
    assert error.text == f"error retrieving DowntimeSchedule: {detail}"
    assert datadog.log() == [f"[ERROR] {detail}: error retrieving DowntimeSchedule"]


@pytest.mark.parametrize(
    ("fault", "summary", "detail"),
    [
        (403, "Error creating secure embed", f"API error (status 403): 403 Forbidden — {REFUSED}"),
        ("cut", "Error creating secure embed", 'API error (status 0): Post "{url}": EOF'),
        ("garbage", "Error parsing create response", GARBAGE),
    ],
)
def test_an_embed_that_is_not_made(
    datadog: Plugin, account: Account, dashboard: Resource, fault: Fault, summary: str, detail: str
) -> None:
    path = f"/api/v2/dashboard/{dashboard.id}/shared/secure-embed"
    detail = detail.replace("{url}", f"{account.url}{path}")
    account.fault("POST", path, fault)
    error = failure(lambda: datadog.create(EMBED, {"dashboardId": dashboard.id, "title": "shared"}))
    assert error.text == f"{summary}: {detail}"
    assert datadog.log() == [f"[ERROR] {detail}: {summary}"]


def test_an_update_of_the_sdkv2_half_that_fails_is_kept_as_if_it_were_done(
    account: Account, monitor: Resource, dashboard: Resource
) -> None:
    account.fault("PUT", "/api/v1/*", 403, times=2)
    error = failure(lambda: monitor.update(message="other"))
    said = f"error updating monitor from /api/v1/monitor/{monitor.id}: 403 Forbidden: {REFUSED}"
    assert error.text == f"updating {urn(MONITOR)}: {doubled(said)}"
    assert error.reasons == (error.text,)
    assert error.state["message"] == "other"
    error = failure(lambda: dashboard.update(dashboard=A_DASHBOARD["dashboard"].replace('"t"', '"u"')))
    said = f"error updating dashboard from /api/v1/dashboard/{dashboard.id}: 403 Forbidden: {REFUSED}"
    assert error.text == f"updating {urn(DASHBOARD)}: {doubled(said)}"
    assert json.loads(error.state["dashboard"])["title"] == "u"


def test_an_update_of_the_framework_half_that_fails_is_not(
    account: Account, downtime: Resource, embed: Resource
) -> None:
    account.fault("PATCH", "/api/v2/*", 403, times=2)
    error = failure(lambda: downtime.update(message="other"))
    assert (error.text, error.reasons) == (f"error retrieving DowntimeSchedule: 403 Forbidden: {REFUSED}", ())
    error = failure(lambda: embed.update(title="other"))
    said = f"API error (status 403): 403 Forbidden — {REFUSED}"
    assert (error.text, error.reasons) == (f"Error updating secure embed: {said}", ())


def test_a_monitor_reads_back_as_a_query_alert_and_its_inputs_follow(monitor: Resource) -> None:
    assert monitor.state["type"] == "query alert"
    assert monitor.state["tags"] == ["a:1", "b:2"]
    name, state, inputs = monitor.read()
    assert (name, state["type"], inputs["type"], inputs["tags"]) == (
        monitor.id,
        "query alert",
        "query alert",
        ["a:1", "b:2"],
    )
    assert inputs["message"] == "text"


def test_the_sdkv2_half_notes_in_its_inputs_what_it_added(
    monitor: Resource, dashboard: Resource, downtime: Resource
) -> None:
    assert monitor.inputs["__defaults"] == ["draftStatus", "includeTags", "requireFullWindow"]
    assert monitor.inputs["monitorThresholds"]["__defaults"] == []
    assert dashboard.inputs["__defaults"] == []
    assert "__defaults" not in downtime.inputs


def test_an_embed_s_credential_is_a_secret(embed: Resource) -> None:
    assert embed.state["credential"] == secret(embed.state["credential"]["value"])


@pytest.mark.parametrize("fixture", ["monitor", "dashboard", "downtime", "embed"])
def test_nothing_changed_is_no_difference(request: pytest.FixtureRequest, fixture: str) -> None:
    thing: Resource = request.getfixturevalue(fixture)
    assert thing.diff().changes == 1  # none


def test_a_difference_of_the_sdkv2_half_names_the_entry(
    account: Account, monitor: Resource, dashboard: Resource
) -> None:
    body = {"type": "metric alert", "query": "avg(last_5m):avg:my_metric{*} > 1"}
    others = [request(account, "POST", "/api/v1/monitor", body | {"name": name}).json()["id"] for name in "ab"]
    answer = monitor.diff(monitorThresholds={"critical": "800", "warning": "400"})
    assert (list(answer.diffs), list(answer.detailedDiff)) == (["monitorThresholds"], ["monitorThresholds.warning"])
    assert not answer.detailedDiff["monitorThresholds.warning"].inputDiff
    assert list(monitor.diff(type="composite", query=f"{others[0]} && !{others[1]}").replaces) == ["type"]
    for other in others:
        request(account, "DELETE", f"/api/v1/monitor/{other}")
    answer = dashboard.diff(dashboard=A_DASHBOARD["dashboard"].replace('"t"', '"u"'))
    assert list(answer.detailedDiff) == ["dashboard"]


def test_a_difference_in_a_set_names_who_left_and_who_came(monitor: Resource) -> None:
    def named(*tags: str) -> dict[str, int]:
        return {path: entry.kind for path, entry in monitor.diff(tags=list(tags)).detailedDiff.items()}

    assert named("b:2", "a:1", "b:2") == {}
    assert named("b:2") == {"tags[0]": 2}  # the state has them in order: a:1 is deleted
    assert named("c:3", "a:1") == {"tags[0]": 0, "tags[1]": 2}
    assert named() == {"tags": 2}


def test_unknown_tags_are_not_expected_to_change(monitor: Resource) -> None:
    assert monitor.diff(tags=UNKNOWN).changes == 1  # none
    assert list(monitor.diff(tags=["a:1", UNKNOWN]).detailedDiff) == ["tags"]


def test_unknown_thresholds_are_left_out_or_as_they_were_where_a_preview_checks_the_monitor(
    account: Account, monitor: Resource
) -> None:
    monitor.diff(monitorThresholds={"critical": "800", "warning": UNKNOWN}, requireFullWindow=UNKNOWN)
    options = account.requests()[-1]["body"]["options"]
    assert (options["thresholds"], options["require_full_window"]) == ({"critical": 800}, False)
    monitor.diff(monitorThresholds=UNKNOWN)
    assert account.requests()[-1]["body"]["options"]["thresholds"] == {"critical": 800, "warning": 500}
    error = failure(lambda: monitor.diff(monitorThresholds={"critical": UNKNOWN, "warning": "500"}))
    assert "400 Bad Request" in error.text


def test_a_refresh_leaves_inputs_that_the_sdkv2_half_normalizes(account: Account, monitor: Resource) -> None:
    path = f"/api/v1/monitor/{monitor.id}"
    found = request(account, "GET", path).json()
    options = {**found["options"], "thresholds": {"critical": 800}}
    assert request(account, "PUT", path, {"message": "by hand", "options": options, "tags": ["c:3"]}).status == 200
    _, state, inputs = monitor.read()
    assert (state["message"], inputs["message"]) == ("by hand", "text")
    assert inputs["monitorThresholds"] == {"critical": "800", "warning": ""}
    assert (state["tags"], inputs["tags"]) == (["c:3"], ["c:3"])
    monitor.update()


def test_a_refresh_adds_no_input_that_the_program_left_out(
    datadog: Plugin, account: Account, monitor: Resource
) -> None:
    recurrence = {"rrule": "FREQ=DAILY;INTERVAL=1", "duration": "1h"}
    inputs = {**a_downtime(monitor), "scope": "env:other", "recurringSchedule": {"recurrences": [recurrence]}}
    mute = Resource(datadog, DOWNTIME, inputs)
    start = mute.state["recurringSchedule"]["recurrences"][0]["start"]
    longer = {"timezone": "UTC", "recurrences": [{**recurrence, "duration": "2h", "start": start}]}
    data = {"type": "downtime", "id": mute.id, "attributes": {"schedule": longer}}
    assert request(account, "PATCH", f"/api/v2/downtime/{mute.id}", {"data": data}).status == 200
    _, state, inputs = mute.read()
    assert state["recurringSchedule"] == longer
    assert inputs["recurringSchedule"] == {"recurrences": [{**recurrence, "duration": "2h"}]}
    mute.delete()


def test_a_refresh_does_not_notice_that_a_downtime_s_message_is_gone(account: Account, downtime: Resource) -> None:
    path = f"/api/v2/downtime/{downtime.id}"
    for message, noticed in ((None, "text"), ("other", "other"), ("text", "text")):
        data = {"type": "downtime", "id": downtime.id, "attributes": {"message": message}}
        assert request(account, "PATCH", path, {"data": data}).status == 200
        assert downtime.read()[1]["message"] == noticed


def test_a_variable_of_an_embed_that_leaves_much_out_is_no_difference(datadog: Plugin, dashboard: Resource) -> None:
    variable = {"name": "host", "prefix": "host", "defaultValues": ["a"], "visibleTags": ["a"]}
    inputs = {"dashboardId": dashboard.id, "title": "with a variable", "selectableTemplateVars": [variable]}
    embed = Resource(datadog, EMBED, inputs)
    assert embed.diff().changes == 1  # none
    embed.delete()


def test_a_difference_of_the_framework_half_names_what_datadog_decides_besides(
    downtime: Resource, embed: Resource
) -> None:
    answer = downtime.diff(message="other")
    decided = ["muteFirstRecoveryNotification", "notifyEndStates", "notifyEndTypes"]
    assert (list(answer.diffs), list(answer.detailedDiff)) == (["message", *decided], [])
    assert list(embed.diff(title="other").diffs) == ["title", "url"]
    answer = embed.diff(dashboardId="abc-def-ghi")
    assert (list(answer.diffs), list(answer.replaces)) == (["dashboardId", "url"], ["dashboardId"])


def test_a_delete_that_is_refused(account: Account, monitor: Resource, downtime: Resource, embed: Resource) -> None:
    account.fault("DELETE", "*", 403, times=3)
    said = f"error deleting monitor from /api/v1/monitor/{monitor.id}: 403 Forbidden: {REFUSED}"
    assert failure(monitor.delete).text == f"deleting {urn(MONITOR)}: {doubled(said)}"
    assert failure(downtime.delete).text == f"error deleting downtime_schedule: 403 Forbidden: {REFUSED}"
    assert failure(embed.delete).text == "Error deleting secure embed: 403 Forbidden"


def test_what_is_gone_is_an_error_to_the_sdkv2_half_and_none_to_the_framework_half(
    monitor: Resource, dashboard: Resource, downtime: Resource, embed: Resource
) -> None:
    """Must be last: it deletes the shared resources."""
    for thing in (downtime, embed):
        thing.delete()
        thing.delete()
    assert downtime.read()[0] == downtime.id  # cancelled, but readable
    assert embed.read()[0] == ""
    missing = '404 Not Found: {"errors": ["Downtime not found"]}'
    assert failure(lambda: downtime.update(message="other")).text.startswith(
        ("error retrieving DowntimeSchedule: 400 Bad Request: ", f"error retrieving DowntimeSchedule: {missing}")
    )
    for thing, kind, path, said in (
        (monitor, "monitor", f"/api/v1/monitor/{monitor.id}", "Monitor not found"),
        (dashboard, "dashboard", f"/api/v1/dashboard/{dashboard.id}", f"Dashboard with ID {dashboard.id} not found"),
    ):
        thing.delete()
        gone = f'404 Not Found: {{"errors": ["{said}"]}}'
        error = failure(thing.delete)
        assert error.text == f"deleting {urn(thing.kind)}: {doubled(f'error deleting {kind} from {path}: {gone}')}"
        assert thing.read()[0] == ""
    gone = f"/api/v1/monitor/{monitor.id}/validate: 404 Not Found: " + '{"errors": ["Monitor not found"]}'
    assert failure(monitor.diff).text == f"diffing {urn(MONITOR)}: {doubled(f'error validating monitor from {gone}')}"
    assert failure(lambda: dashboard.update(dashboard=A_DASHBOARD["dashboard"].replace('"t"', '"u"'))).reasons


def test_a_type_that_there_is_not_is_an_error(datadog: Plugin) -> None:
    failure(lambda: datadog.check("datadog:index/nonsense:Nonsense", {}))

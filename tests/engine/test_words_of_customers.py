"""The Datadog plugin's messages and habits for what makes metrics of spans and tells somebody of them.

Sources: terraform-provider-datadog v4.19.0 (datadog/fwprovider/resource_datadog_spans_metric.go and its neighbours,
datadog/resource_datadog_service_level_objective.go, resource_datadog_monitor.go), and answers observed of the plugin
built from these.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from sandbox.datadog import Account
from sandbox.datadog.account import Fault
from sandbox.testing.account import request
from tests.engine.datadog_plugin import (
    FILTER,
    GARBAGE,
    GOOD,
    METRIC,
    MONITOR,
    OBJECTIVE,
    REFUSED,
    VARIABLE,
    WEBHOOK,
    Resource,
    doubled,
    failure,
    logged,
)
from tests.engine.plugin import UNKNOWN, Plugin, secret

pytestmark = pytest.mark.usefixtures("no_faults_left")

HOOKS = "/api/v1/integration/webhooks/configuration"
COUNTED = {"numerator": "sum:a{*}.as_count()", "denominator": "sum:b{*}.as_count()"}
FAILURES: dict[str, Any] = {
    "name": "failures", "type": "query alert", "message": "text", "monitorThresholds": {"critical": "3"},
    "query": "sum(last_10m):sum:a.b{env:dev} by {customer}.as_count() >= 3", "evaluationDelay": 60,
    "onMissingData": "resolve", "requireFullWindow": False, "tags": ["env:dev"],
}  # fmt: skip


def sent(account: Account, method: str, path: str) -> Any:
    """The body of the last request to a path that begins so."""
    asked = [each for each in account.requests() if each["method"] == method and each["path"].startswith(path)]
    return asked[-1]["body"]


FRAMEWORK = {
    METRIC: ("/api/v2/apm/config/metrics", "error creating spans metric", "error retrieving spans metric"),
    FILTER: (
        "/api/v2/apm/config/retention-filters",
        "error retrieving retention filter",
        "error retrieving retention filter",
    ),
    WEBHOOK: (f"{HOOKS}/webhooks", "error creating webhooks custom variable", "error getting webhook"),
    VARIABLE: (
        f"{HOOKS}/custom-variables",
        "error creating webhooks custom variable",
        "error getting webhooks custom variable",
    ),
}
"""Types of the framework half: their path, and what begins the errors of a create and a read."""


@pytest.mark.parametrize(
    ("fault", "detail"),
    [
        (403, f"403 Forbidden: {REFUSED}"),
        (409, f"409 Conflict: {REFUSED}"),
        ("cut", 'url.Error: Post "{url}": EOF '),
        ("garbage", f"{GARBAGE}: <html>not JSON, as ordered</html>"),
    ],
)
@pytest.mark.parametrize("kind", FRAMEWORK)
def test_what_is_not_made(datadog: Plugin, account: Account, kind: str, fault: Fault, detail: str) -> None:
    path, doing, _ = FRAMEWORK[kind]
    account.fault("POST", path, fault)
    error = failure(lambda: datadog.create(kind, GOOD[kind]))
    detail = detail.replace("{url}", f"{account.url}{path}")
    assert (error.text, error.reasons) == (f"{doing}: {detail}", ())
    assert datadog.log() == [f"[ERROR] {detail}: {doing}"]


@pytest.mark.parametrize("kind", FRAMEWORK)
def test_what_is_gone_or_refused_once_it_is_made(datadog: Plugin, account: Account, kind: str) -> None:
    path, _, reading = FRAMEWORK[kind]
    thing = Resource(datadog, kind, GOOD[kind] | {"name": "GONE"})
    assert thing.diff().changes == 1  # none
    account.fault("GET", f"{path}/*", 403)
    assert failure(thing.read).text == f"{reading}: 403 Forbidden: {REFUSED}"
    account.fault("DELETE", f"{path}/*", 403)
    assert failure(thing.delete).text.endswith(f": 403 Forbidden: {REFUSED}")
    account.fault("DELETE", f"{path}/*", "garbage")
    thing.delete()  # the answer isn't looked at
    thing.delete()
    thing.delete()
    assert thing.read()[0] == ""
    assert "404 Not Found" in failure(lambda: thing.update(**CHANGES[kind])).text


CHANGES: dict[str, dict[str, Any]] = {
    METRIC: {"filter": {"query": "other"}},
    FILTER: {"rate": "0.5"},
    WEBHOOK: {"url": "https://example.org"},
    VARIABLE: {"value": "fake-other"},
}


def test_groups_have_to_be_listed_in_the_order_of_their_paths(datadog: Plugin, account: Account) -> None:
    def groups(*pairs: tuple[str, str]) -> list[dict[str, str]]:
        return [{"path": path, "tagName": name} for path, name in pairs]

    datadog.create(METRIC, GOOD[METRIC] | {"name": "in.order", "groupBies": groups(("@a", "a"), ("@b", "b"))})
    attributes = sent(account, "POST", "/api/v2/apm")["data"]["attributes"]
    assert attributes["group_by"] == [{"path": "@a", "tag_name": "a"}, {"path": "@b", "tag_name": "b"}]
    # Otherwise the real plugin gives each path another one's name.
    datadog.create(METRIC, GOOD[METRIC] | {"name": "mixed.up", "groupBies": groups(("@b", "b"), ("@a", "a"))})
    attributes = sent(account, "POST", "/api/v2/apm")["data"]["attributes"]
    assert attributes["group_by"] == [{"path": "@a", "tag_name": "b"}, {"path": "@b", "tag_name": "a"}]


def test_groups_that_somebody_removed_are_not_noticed(datadog: Plugin, account: Account) -> None:
    metric = Resource(datadog, METRIC, GOOD[METRIC] | {"name": "by.hand"})
    attributes = {"group_by": [], "compute": {}, "filter": {"query": "by hand"}}
    body = {"data": {"type": "spans_metrics", "attributes": attributes}}
    assert request(account, "PATCH", "/api/v2/apm/config/metrics/by.hand", body).status == 200
    _, state, _ = metric.read()
    assert (state["filter"], state["groupBies"]) == ({"query": "by hand"}, GOOD[METRIC]["groupBies"])


def test_another_path_of_a_metric_replaces_it(datadog: Plugin) -> None:
    metric = Resource(datadog, METRIC, GOOD[METRIC] | {"name": "another.path"})
    answer = metric.diff(compute={"aggregationType": "distribution", "path": "@other"})
    assert (list(answer.diffs), list(answer.replaces)) == (["compute"], ["compute"])


def test_a_webhook_goes_by_its_name_which_may_change(datadog: Plugin, account: Account) -> None:
    webhook = Resource(datadog, WEBHOOK, GOOD[WEBHOOK] | {"name": "first"})
    assert list(webhook.diff(name="second").diffs) == ["id", "name"]
    assert not webhook.diff(name="second").replaces
    renamed = webhook.update(name="second")
    assert (renamed["id"], renamed["name"]) == ("second", "second")
    assert request(account, "GET", f"{HOOKS}/webhooks/first").json() == {"errors": ["Webhook does not exist"]}
    datadog.delete(WEBHOOK, "first", renamed)  # by the name in the state
    assert request(account, "GET", f"{HOOKS}/webhooks/second").status == 404


def test_a_refresh_does_not_notice_that_a_webhook_s_headers_are_gone(datadog: Plugin, account: Account) -> None:
    headers = '{"X-From": "watchpost"}'
    webhook = Resource(datadog, WEBHOOK, GOOD[WEBHOOK] | {"name": "headers", "customHeaders": headers})
    body = {"name": "headers", "url": "https://example.org", "custom_headers": None}
    assert request(account, "PUT", f"{HOOKS}/webhooks/headers", body).json()["custom_headers"] is None
    _, state, inputs = webhook.read()
    assert (state["url"], state["customHeaders"]) == ("https://example.org", headers)
    assert (inputs["url"], inputs["customHeaders"]) == ("https://example.org", headers)
    webhook.delete()


def test_webhooks_and_their_variables_are_created_one_after_another(datadog: Plugin, account: Account) -> None:
    """By ``webhookMutex`` of resource_datadog_webhook.go: of several, a kill can leave only one in doubt."""
    account.fault("POST", f"{HOOKS}/*", "late", seconds=1, times=2)
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda kind: datadog.create(kind, GOOD[kind]), (WEBHOOK, VARIABLE)))
    first, second = (each["at"] for each in account.requests()[-2:])
    assert second - first >= 1
    for kind in (WEBHOOK, VARIABLE):
        datadog.delete(kind, GOOD[kind]["name"], GOOD[kind])


def test_a_secret_variable_is_kept_and_cannot_be_imported(datadog: Plugin) -> None:
    variable = Resource(datadog, VARIABLE, GOOD[VARIABLE] | {"name": "KEPT"})
    assert variable.state["value"] == secret("fake-value")
    assert variable.read()[1]["value"] == secret("fake-value")
    assert datadog.read(VARIABLE, "KEPT", {}, {})[0] == ""


def test_an_objective_that_is_refused(datadog: Plugin, account: Account) -> None:
    inputs = GOOD[OBJECTIVE] | {"query": COUNTED, "description": " text ", "tags": ["b:2", "A:1"]}
    objective = Resource(datadog, OBJECTIVE, inputs)
    assert objective.diff().changes == 1  # none, though Datadog's tags are in small letters and texts trimmed
    assert objective.diff(tags=["a:1", "b:2"], description="text").changes == 1
    made = "/api/v1/slo"
    account.fault("POST", made, 403)
    said = f"error creating service level objective from {made}: 403 Forbidden: {REFUSED}"
    assert failure(lambda: datadog.create(OBJECTIVE, inputs)).text == doubled(said)
    assert datadog.log() == [logged(said)]
    account.fault("PUT", f"{made}/*", 403)
    error = failure(lambda: objective.update(name="other"))
    assert f"error updating service level objective from {made}/{objective.id}: 403 Forbidden" in error.text
    assert error.state["name"] == "other"  # kept as if it were done
    body = {"type": "slo alert", "name": "burn", "message": "", "options": {"thresholds": {"critical": 6}}}
    burn_rate = f'burn_rate("{objective.id}").over("30d").long_window("6h").short_window("30m") > 6'
    monitor = request(account, "POST", "/api/v1/monitor", body | {"query": burn_rate}).json()["id"]
    assert f'409 Conflict: {{"errors": ["SLO {objective.id} is ' in failure(objective.delete).text
    request(account, "DELETE", f"/api/v1/monitor/{monitor}")
    objective.delete()
    assert "404 Not Found" in failure(objective.delete).text


def test_a_preview_of_a_monitor_shows_nothing_for_what_is_left_out(datadog: Plugin) -> None:
    _, planned = datadog.create(MONITOR, FAILURES, preview=True)
    assert {name: planned[name] for name in ("escalationMessage", "priority", "timeoutH", "noDataTimeframe")} == (
        dict.fromkeys(("escalationMessage", "priority", "timeoutH", "noDataTimeframe"))
    )
    assert planned["monitorThresholds"]["warning"] is None
    assert (planned["id"], planned["restrictedRoles"]) == (UNKNOWN, UNKNOWN)


def test_a_preview_of_an_update_asks_datadog_too(datadog: Plugin, account: Account) -> None:
    monitor = Resource(datadog, MONITOR, FAILURES | {"name": "previewed"})
    account.fault("POST", f"/api/v1/monitor/{monitor.id}/validate", 400)
    error = failure(lambda: datadog.update(MONITOR, monitor.id, monitor.state, FAILURES, monitor.inputs))
    assert "error validating monitor" in error.text


def test_what_datadog_has_decided_stays_when_an_input_is_left_out(datadog: Plugin, account: Account) -> None:
    monitor = Resource(datadog, MONITOR, FAILURES | {"name": "decided"})
    left = {name: value for name, value in monitor.inputs.items() if name not in ("evaluationDelay", "tags")}
    changed = datadog.update(MONITOR, monitor.id, monitor.state, left | {"message": "other"}, monitor.inputs)
    body = sent(account, "PUT", "/api/v1/monitor")
    assert (body["options"]["evaluation_delay"], body["tags"]) == (60, ["env:dev"])
    assert (changed["evaluationDelay"], changed["tags"]) == (60, ["env:dev"])
    assert body["options"]["notify_no_data"] is False


def test_minutes_without_data_of_a_monitor_that_does_not_watch_for_it(datadog: Plugin, account: Account) -> None:
    ones = [Resource(datadog, MONITOR, FAILURES | {"name": name}).id for name in ("one", "two")]
    composite = {"name": "both", "type": "composite", "query": " && ".join(ones), "message": "text"}
    _, state = datadog.create(MONITOR, composite)
    assert sent(account, "POST", "/api/v1/monitor/validate")["options"]["no_data_timeframe"] == 10
    posted = [each for each in account.requests() if (each["method"], each["path"]) == ("POST", "/api/v1/monitor")]
    assert "no_data_timeframe" not in posted[-1]["body"]["options"]
    assert state["noDataTimeframe"] is None


@pytest.mark.parametrize("refused", [True, False])
def test_a_composite_whose_monitor_somebody_deleted(datadog: Plugin, account: Account, refused: bool) -> None:
    ones = [Resource(datadog, MONITOR, FAILURES | {"name": f"{name} {refused}"}).id for name in ("one", "two")]
    inputs = {"name": f"both {refused}", "type": "composite", "query": " && ".join(ones), "message": "text"}
    composite = Resource(datadog, MONITOR, inputs)
    deleted = request(account, "DELETE", f"/api/v1/monitor/{ones[0]}{'' if refused else '?force=true'}")
    assert deleted.status == (400 if refused else 200)
    assert composite.read()[0] == composite.id
    call: Callable[[], object] = composite.diff
    if not refused:
        assert "400 Bad Request" in failure(call).text
    composite.delete()


def test_options_that_somebody_s_edit_lacks_are_not_noticed(datadog: Plugin, account: Account) -> None:
    inputs = {**GOOD[MONITOR], "name": "edited", "notifyNoData": True, "requireFullWindow": True}
    monitor = Resource(datadog, MONITOR, inputs)
    options = {"thresholds": {"critical": 800.0}, "on_missing_data": "resolve"}
    assert request(account, "PUT", f"/api/v1/monitor/{monitor.id}", {"options": options}).status == 200
    _, state, _ = monitor.read()
    assert (state["notifyNoData"], state["noDataTimeframe"]) == (True, 10)
    assert (state["onMissingData"], state["requireFullWindow"]) == ("resolve", False)

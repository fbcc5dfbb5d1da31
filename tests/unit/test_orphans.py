"""``components.orphans``: finds and removes only what has exactly the ownership tag."""

from collections.abc import Collection
from types import SimpleNamespace
from typing import Any

import pytest
from datadog_api_client.exceptions import ApiException

from components import orphans
from components.orphans import ALL, KINDS, NAMED, TaggedObject

OWN, OTHER = "watchpost:0000fake0000", "watchpost:1111fake1111"
CLIENT: Any = SimpleNamespace(configuration=SimpleNamespace(unstable_operations={}))

METRICS = ["watchpost.dev_0000fake0000.orders", "watchpost.dev_1111fake1111.orders", "shop.orders_0000fake00001"]
WEBHOOKS = ["watchpost-dev-0000fake0000-pay-open", "watchpost-dev-1111fake1111-pay-open", "WATCHPOST_DEV_0000FAKE0000"]


def refusal(status: int) -> ApiException:
    """Datadog's own refusal, which says why."""
    error = ApiException(status=status)
    error.body = {"errors": ["no"]}
    return error


class Answer(dict[str, Any]):
    """A model of Datadog's client: attributes, and ``get``."""

    def __getattr__(self, name: str) -> Any:
        return self[name]


class Api:
    """Answers every list with objects of the stack, of another one, and of a person; records removals."""

    removed: list[object]
    asked: list[str]
    gone: list[str]
    status = 204
    slashed = False

    def __init__(self, _: object) -> None: ...

    def list_downtimes_with_pagination(self) -> list[Any]:
        texts = [("1", f"a\n({OWN}/nights)", "active"), ("2", f"({OTHER}/nights)", "active"), ("3", None, "active")]
        texts += [("4", f"({OWN}/nights)", "canceled"), ("5", f"b\n({OWN}/nights-19)", "scheduled")]
        return [SimpleNamespace(id=i, attributes={"message": m, "status": s}) for i, m, s in texts]

    def list_monitors_with_pagination(self) -> list[Any]:
        tags = {1: [f"{OWN}/nights"], 2: ["env:dev", f"{OTHER}/nights"], 3: [], 4: [f"{OWN}/other"], 5: [f"{OWN}ly/x"]}
        tags |= {6: [f"{OWN}/nights/x"]} if self.slashed else {}
        return [Answer(id=i, name="m", tags=of_it) for i, of_it in tags.items()]

    def list_dashboards_with_pagination(self) -> list[Any]:
        texts = [("1", f"d ({OWN}/nights)"), ("2", f"d ({OTHER}/nights)"), ("3", None), ("4", f"d ({OWN}/nights+1)")]
        return [Answer(id=i, title="d", description=text) for i, text in texts]

    def list_slos_with_pagination(self) -> list[Any]:
        tags = {"1": [f"{OWN}/nights"], "2": [f"{OTHER}/nights"], "3": []}
        return [Answer(id=i, name="s", tags=of_it) for i, of_it in tags.items()]

    def list_apm_retention_filters(self) -> Any:
        names = {"1": f"slow ({OWN}/nights)", "2": f"slow ({OTHER}/nights)", "3": "Error Default"}
        return SimpleNamespace(
            data=[SimpleNamespace(id=i, attributes=SimpleNamespace(name=name)) for i, name in names.items()]
        )

    def list_spans_metrics(self) -> Any:
        shape = SimpleNamespace(filter=SimpleNamespace(query="*"))
        return SimpleNamespace(data=[SimpleNamespace(id=name, attributes=shape) for name in METRICS])

    def get_webhooks_integration(self, name: str) -> None:
        if name not in WEBHOOKS:
            raise refusal(404)

    get_spans_metric = get_webhooks_integration_custom_variable = get_webhooks_integration

    def list_shared_dashboards_by_dashboard_id(self, dashboard: str) -> Any:
        self.asked.append(dashboard)
        if dashboard in self.gone:
            raise refusal(404)
        told = [("open", f"T ({OWN}/nights)"), ("secure-embed", f"T ({OWN}/nights)")]
        told += [("open", "somebody's"), ("open", f"T ({OTHER}/nights)"), ("open", ""), ("invite", f"({OWN}/nights)")]
        shares = [
            {"attributes": {"share_type": kind, "title": title, "token": f"{dashboard}-fake-{number}"}}
            for number, (kind, title) in enumerate(told)
        ]
        return SimpleNamespace(to_dict=lambda: {"data": shares})

    def _remove(self, *identifier: object, **_: object) -> None:
        if self.status != 204:
            raise refusal(self.status)
        self.removed.append(identifier[-1])

    cancel_downtime = delete_monitor = delete_dashboard = _remove
    delete_public_dashboard = delete_dashboard_secure_embed = _remove
    delete_slo = delete_apm_retention_filter = delete_spans_metric = _remove
    delete_webhooks_integration = delete_webhooks_integration_custom_variable = _remove


@pytest.fixture(autouse=True)
def api(monkeypatch: pytest.MonkeyPatch) -> type[Api]:
    signals = ("ServiceLevelObjectivesApi", "APMRetentionFiltersApi", "SpansMetricsApi", "WebhooksIntegrationApi")
    shares = ("DashboardSharingApi", "DashboardSecureEmbedApi")
    for name in ("DowntimesApi", "MonitorsApi", "DashboardsApi", *shares, *signals):
        monkeypatch.setattr(orphans, name, Api)
    for name in ("removed", "asked", "gone"):
        monkeypatch.setattr(Api, name, [], raising=False)
    return Api


def found(own: str, kinds: Collection[str] = ALL) -> list[str]:
    return [f"{thing.kind} {thing.identifier}" for thing in orphans.find(CLIENT, own, kinds)]


def test_of_a_stack_everything_with_its_tag_is_found() -> None:
    shared = {number: [f"link {number}-fake-0", f"embed {number}-fake-1"] for number in (1, 4)}
    everything = ["downtime 1", "downtime 5", "monitor 1", "monitor 4"]
    everything += ["objective 1", "retention-filter 1", f"spans-metric {METRICS[0]}"]
    assert found(OWN) == [*everything, *shared[1], "dashboard 1", *shared[4], "dashboard 4"]


def test_only_the_stack_s_own_dashboards_are_looked_into_for_what_shares_them(api: type[Api]) -> None:
    assert found(f"{OWN}/nights", ["link"]) == ["link 1-fake-0", "link 4-fake-0"]
    assert api.asked == ["1", "4"]
    api.asked.clear()
    assert found(OWN, ["dashboard"]) == ["dashboard 1", "dashboard 4"]
    assert api.asked == []


def test_a_dashboard_that_another_search_has_just_removed_is_shared_no_more(api: type[Api]) -> None:
    api.gone.append("1")
    assert found(f"{OWN}/nights", ["link"]) == ["link 4-fake-0"]


def test_of_what_opens_a_dashboard_only_the_end_is_shown() -> None:
    assert TaggedObject(kind="link", identifier="fake-token-1234", title="T").shown == "...1234"
    assert TaggedObject(kind="monitor", identifier="12345", title="T").shown == "12345"


def test_of_a_resource_only_what_carries_its_whole_name() -> None:
    kinds = ["downtime", "monitor", "dashboard", "objective", "retention-filter"]
    assert found(f"{OWN}/nights", kinds) == [
        *("downtime 1", "monitor 1", "objective 1", "retention-filter 1", "dashboard 1"),
    ]


def test_a_resource_s_tag_is_not_that_of_one_whose_name_goes_on_after_a_slash(
    api: type[Api], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api, "slashed", True)
    assert found(f"{OWN}/nights", ["monitor"]) == ["monitor 1"]
    assert found(f"{OWN}/nights/x", ["monitor"]) == ["monitor 6"]


@pytest.mark.parametrize(
    ("kind", "name", "is_ours"),
    [
        ("webhook", WEBHOOKS[0], True),
        ("webhook", WEBHOOKS[1], False),  # another stack's
        ("webhook", "watchpost-dev-0000fake0000-pay-close", False),  # not there
        ("webhook-variable", WEBHOOKS[2], True),
        ("spans-metric", WEBHOOKS[0], True),
        ("webhook", "tickets", False),  # a person's
    ],
)
def test_what_has_no_tag_is_found_by_a_name_that_says_whose_it_is(kind: str, name: str, is_ours: bool) -> None:
    things = [thing.identifier for thing in orphans.named(CLIENT, f"{OWN}/nights", kind, name)]
    assert things == [name] * is_ours


@pytest.mark.parametrize("type_", [type_ for type_ in KINDS if type_ not in NAMED])
def test_only_what_is_asked_for_is_listed(type_: str) -> None:
    assert {thing.partition(" ")[0] for thing in found(f"{OWN}/nights", KINDS[type_])} == set(KINDS[type_])


@pytest.mark.parametrize(
    ("kind", "identifier"),
    [("downtime", "1"), ("monitor", 1), *((kind, "1") for kind in ALL[2:]), *((kind, "1") for kind in NAMED.values())],
)
def test_what_is_gone_by_now_is_fine_and_a_refusal_is_not(api: type[Api], kind: str, identifier: object) -> None:
    thing = TaggedObject(kind=kind, identifier="1", title="T")
    orphans.remove(CLIENT, thing)
    assert api.removed == [identifier]
    api.status = 404
    orphans.remove(CLIENT, thing)
    api.status = 403
    with pytest.raises(ApiException):
        orphans.remove(CLIENT, thing)
    api.status = 204


def test_a_404_that_is_not_of_datadog_says_nothing_of_an_object(monkeypatch: pytest.MonkeyPatch) -> None:
    def proxys(_: object, *_identifier: object, **_options: object) -> None:
        raise ApiException(status=404)

    monkeypatch.setattr(Api, "delete_monitor", proxys)
    with pytest.raises(ApiException):
        orphans.remove(CLIENT, TaggedObject(kind="monitor", identifier="1", title="T"))

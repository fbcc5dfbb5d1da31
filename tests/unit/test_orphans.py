"""``components.orphans``: only what carries the very mark is found, and only that is removed."""

from collections.abc import Collection
from types import SimpleNamespace
from typing import Any

import pytest
from datadog_api_client.exceptions import ApiException

from components import orphans
from components.orphans import ALL, KINDS, TaggedObject

OWN, OTHER = "watchpost:0000fake0000", "watchpost:1111fake1111"
CLIENT: Any = None


class Answer(dict[str, Any]):
    """A model of Datadog's client: attributes, and ``get``."""

    def __getattr__(self, name: str) -> Any:
        return self[name]


class Api:
    """Answers every list with things of ours, of another stack, and of a person; notes what is removed."""

    removed: list[object]
    status = 204

    def __init__(self, _: object) -> None: ...

    def list_downtimes_with_pagination(self) -> list[Any]:
        texts = [("1", f"a\n({OWN}/nights)", "active"), ("2", f"({OTHER}/nights)", "active"), ("3", None, "active")]
        texts += [("4", f"({OWN}/nights)", "canceled"), ("5", f"b\n({OWN}/nights-19)", "scheduled")]
        return [SimpleNamespace(id=i, attributes={"message": m, "status": s}) for i, m, s in texts]

    def list_monitors_with_pagination(self) -> list[Any]:
        tags = {1: [f"{OWN}/nights"], 2: ["env:dev", f"{OTHER}/nights"], 3: [], 4: [f"{OWN}/other"], 5: [f"{OWN}ly/x"]}
        return [Answer(id=i, name="m", tags=of_it) for i, of_it in tags.items()]

    def list_dashboards_with_pagination(self) -> list[Any]:
        texts = [("1", f"d ({OWN}/nights)"), ("2", f"d ({OTHER}/nights)"), ("3", None), ("4", f"d ({OWN}/nights+1)")]
        return [Answer(id=i, title="d", description=text) for i, text in texts]

    def _remove(self, identifier: object, **_: object) -> None:
        if self.status != 204:
            raise ApiException(status=self.status)
        self.removed.append(identifier)

    cancel_downtime = delete_monitor = delete_dashboard = _remove


@pytest.fixture(autouse=True)
def api(monkeypatch: pytest.MonkeyPatch) -> type[Api]:
    for name in ("DowntimesApi", "MonitorsApi", "DashboardsApi"):
        monkeypatch.setattr(orphans, name, Api)
    monkeypatch.setattr(Api, "removed", [], raising=False)
    return Api


def found(own: str, kinds: Collection[str] = ALL) -> list[str]:
    return [f"{thing.kind} {thing.identifier}" for thing in orphans.find(CLIENT, own, kinds)]


def test_of_a_stack_everything_with_its_mark_is_found() -> None:
    everything = ["downtime 1", "downtime 5", "monitor 1", "monitor 4", "dashboard 1", "dashboard 4"]
    assert found(OWN) == everything


def test_of_a_resource_only_what_carries_its_whole_name() -> None:
    assert found(f"{OWN}/nights") == ["downtime 1", "monitor 1", "dashboard 1"]


@pytest.mark.parametrize("type_", KINDS)
def test_only_what_is_asked_for_is_listed(type_: str) -> None:
    assert found(f"{OWN}/nights", KINDS[type_]) == [f"{KINDS[type_][0]} 1"]


@pytest.mark.parametrize(("kind", "identifier"), [("downtime", "1"), ("monitor", 1), ("dashboard", "1")])
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

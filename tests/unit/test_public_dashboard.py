"""``components.public_dashboard``: what replaces a link, and where the keys come from."""

import contextlib
import os
import pickle
import subprocess
import sys
import traceback
from collections.abc import Iterator
from typing import Any
from unittest import mock

import pulumi
import pytest
from datadog_api_client.exceptions import ApiException
from pulumi.dynamic import Config, ConfigureRequest
from pulumi.dynamic.dynamic import serialize_provider

from components.public_dashboard import PublicDashboards
from tests.unit.mocks import API_KEY, APP_KEY, ROOT

V1 = "datadog_api_client.v1"

INPUTS: dict[str, Any] = {
    "__provider": "one",
    "api_url": "https://api.datadoghq.com",
    "dashboard_id": "abc-def-ghi",
    "title": "T",
    "live_span": "1h",
    "share_type": "open",
    "status": "active",
    "expiration": None,
}


@contextlib.contextmanager
def configured(config: dict[str, str], environment: dict[str, str]) -> Iterator[PublicDashboards]:
    """The provider as the engine's process configures it."""
    provider = PublicDashboards()
    with mock.patch.dict(os.environ, environment, clear=True), mock.patch.object(traceback, "format_exc"):
        provider.configure(ConfigureRequest(Config(config, "watchpost")))
        yield provider


@pytest.mark.parametrize(
    ("config", "environment"),
    [
        ({"datadog:apiKey": f" {API_KEY}\n", "datadog:appKey": APP_KEY}, {"DD_API_KEY": "fake-other"}),
        ({"datadog:appKey": APP_KEY}, {"DATADOG_API_KEY": API_KEY, "DD_APP_KEY": "fake-other"}),
        ({}, {"DD_API_KEY": API_KEY, "DATADOG_API_KEY": "fake-other", "DD_APP_KEY": f"{APP_KEY}\n"}),
    ],
)
def test_keys_are_those_that_the_datadog_provider_takes(config: dict[str, str], environment: dict[str, str]) -> None:
    with configured(config, environment) as provider:
        assert provider.keys == {"apiKey": API_KEY, "appKey": APP_KEY}


def test_a_missing_key_is_one_sentence() -> None:
    with (
        configured({}, {"DD_API_KEY": API_KEY}) as provider,
        pytest.raises(pulumi.RunError, match=r"^the public link of dashboard abc-def-ghi can't be created: export DD_"),
    ):
        provider.create(INPUTS)


@pytest.fixture
def api() -> Iterator[mock.Mock]:
    """Return Datadog's API for dashboards, without a Datadog."""
    with mock.patch(f"{V1}.api.dashboards_api.DashboardsApi") as api:
        yield api.return_value


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (401, "the API key or the application key was revoked"),
        (403, "the keys have to be valid ones, the application key needs dashboards_read"),
    ],
)
def test_a_refusal_says_what_the_keys_need(api: mock.Mock, status: int, words: str) -> None:
    api.get_public_dashboard.side_effect = ApiException(status=status, reason="refused")
    with (
        configured({"datadog:apiKey": API_KEY, "datadog:appKey": APP_KEY}, {}) as provider,
        pytest.raises(pulumi.RunError, match=words) as refused,
    ):
        provider.read("abc-def-ghi", INPUTS | {"token": "fake-token"})
    assert not any(secret in str(refused.value) for secret in (API_KEY, APP_KEY, "fake-token"))


def test_a_link_is_made_and_kept_without_an_end(api: mock.Mock) -> None:
    answer = {**INPUTS, "token": "fake-token", "public_url": "https://p.example.com/x", "expiration": "2027-01-01"}
    for call in (api.create_public_dashboard, api.get_public_dashboard, api.update_public_dashboard):
        call.return_value.to_dict.return_value = answer
    with configured({"datadog:apiKey": API_KEY, "datadog:appKey": APP_KEY}, {}) as provider:
        made = provider.create(INPUTS).outs or {}
        found = provider.read("abc-def-ghi", {**INPUTS, "token": "fake-token"}).outs or {}
        assert provider.diff("abc-def-ghi", found, INPUTS).changes
        provider.update("abc-def-ghi", {**INPUTS, "token": "fake-token"}, INPUTS)
    assert made["expiration"] == "2027-01-01"
    assert api.create_public_dashboard.call_args.args[0]["expiration"] is None
    assert api.update_public_dashboard.call_args.args[1]["expiration"] is None


def test_a_run_that_changes_nothing_imports_neither_settings_nor_client() -> None:
    look = (
        "import sys\nfrom components.public_dashboard import PublicDashboards\n"
        "assert not PublicDashboards().diff('', {}, {}).changes\n"
        "assert not {'settings', 'datadog_api_client'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", look], env={"PYTHONPATH": str(ROOT)}, check=True)


def test_the_serialized_provider_is_its_name_alone() -> None:
    with mock.patch.dict(os.environ, {"DD_API_KEY": API_KEY, "DD_APP_KEY": APP_KEY}):
        serialized = serialize_provider(PublicDashboards())
    assert len(serialized) < 200
    assert PublicDashboards().__dict__ == {}
    assert isinstance(pickle.loads(pickle.dumps(PublicDashboards())), PublicDashboards)  # noqa: S301 - our own


@pytest.mark.parametrize(
    ("changes", "replaces", "changed"),
    [
        ({}, [], False),
        ({"__provider": "as another Python writes it"}, [], False),
        ({"title": "U"}, [], True),
        ({"live_span": "4h"}, [], True),
        ({"status": "paused"}, [], True),
        ({"share_type": "invite"}, [], True),
        ({"expiration": "2027-01-01 00:00:00+00:00"}, [], True),
        ({"dashboard_id": "jkl-mno-pqr"}, ["dashboard_id"], True),
        ({"api_url": "https://api.datadoghq.eu"}, ["api_url"], True),
    ],
)
def test_another_dashboard_or_account_is_another_link(
    changes: dict[str, str], replaces: list[str], *, changed: bool
) -> None:
    diff = PublicDashboards().diff("abc-def-ghi", INPUTS | {"token": "fake", "url": "fake"}, INPUTS | changes)
    assert (diff.changes, diff.replaces) == (changed, replaces)
    assert diff.delete_before_replace

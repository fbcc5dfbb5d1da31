"""``settings.credentials``: reads the stack's keys and API address as the Datadog provider does."""

from typing import Any

import pulumi
import pytest
from pulumi.runtime.proto.resource_pb2_grpc import ResourceMonitorStub

from settings import credentials, key_check
from settings.credentials import Credentials
from tests.unit.mocks import API_KEY, APP_KEY, PROVIDER, run, run_program

BOTH = ("apiKey", "appKey")


def keys(
    config: dict[str, str] | None = None, environment: dict[str, str] | None = None, site: str = "datadoghq.eu"
) -> dict[str, Any]:
    """What a program finds: faults, the keys themselves, and the address for a site."""
    found: dict[str, Any] = {}

    def body() -> None:
        here = Credentials()
        found.update(faults=here.faults(BOTH, site), url=here.url(site))
        pulumi.Output.all(here.api_key, here.app_key).apply(lambda both: found.update(keys=both))

    run(
        body,
        config={f"datadog:{name}": value for name, value in (config or {}).items()},
        secret_keys=["datadog:apiKey", "datadog:appKey"],
        environment=environment,
    )
    return found


def test_what_surrounds_a_key_in_the_configuration_is_no_part_of_it() -> None:
    found = keys({"apiKey": f" {API_KEY}\n", "appKey": f"{APP_KEY}\r\n"})
    assert (found["faults"], found["keys"]) == ([], [API_KEY, APP_KEY])
    program = run_program(keys_in_stack=False, environment={"DD_API_KEY": API_KEY, "DD_APP_KEY": APP_KEY})
    (provider,) = program.of(PROVIDER)
    assert "apiKey" not in provider.inputs


def test_a_key_that_can_be_none_is_a_fault_and_not_shown() -> None:
    found = keys({"apiKey": "fake key"}, {"DD_APP_KEY": "fake-app-key\n"})
    assert [fault.partition(" holds ")[0] for fault in found["faults"]] == ["datadog:apiKey", "DD_APP_KEY"]
    assert "fake" not in " ".join(found["faults"])
    with pytest.raises(pulumi.RunError, match="DD_API_KEY holds a blank, a line end"):
        run_program(keys_in_stack=False, environment={"DD_API_KEY": f"{API_KEY}\n", "DD_APP_KEY": APP_KEY})


def test_a_blank_key_is_a_missing_one() -> None:
    found = keys({"apiKey": "  "}, {"DD_APP_KEY": APP_KEY})
    assert [fault.partition(":")[0] for fault in found["faults"]] == ["datadog"]
    assert found["faults"][0].startswith("datadog:apiKey is not set: ")
    found = keys({"apiKey": "  "}, {"DD_API_KEY": API_KEY, "DD_APP_KEY": APP_KEY})
    assert (found["faults"], found["keys"]) == ([], [API_KEY, APP_KEY])


def test_the_variables_count_in_the_provider_s_order() -> None:
    variables = {"DATADOG_API_KEY": "fake-second", "DATADOG_APP_KEY": "fake-second", "DATADOG_HOST": "https://second"}
    assert keys({}, variables)["keys"] == ["fake-second", "fake-second"]
    both = {**variables, "DD_API_KEY": API_KEY, "DD_APP_KEY": APP_KEY, "DD_HOST": "https://first"}
    found = keys({}, both)
    assert (found["keys"], found["url"]) == ([API_KEY, APP_KEY], "https://first")
    assert keys({"apiUrl": "https://dd.example.com/"}, both)["url"] == "https://dd.example.com"


@pytest.mark.parametrize(
    "url",
    [
        "api.datadoghq.eu",
        "//api.datadoghq.eu",
        "ftp://api.datadoghq.eu",
        "https://",
        "https://api.datadoghq.eu:abc",
        "https://[::1",
        "https://api.datadoghq.eu/a b",
    ],
)
def test_an_address_that_is_none_is_a_fault(url: str) -> None:
    found = keys({"apiUrl": url, "apiKey": API_KEY, "appKey": APP_KEY})
    (fault,) = found["faults"]
    assert fault == (
        f'datadog:apiUrl is "{url}": must be the address of Datadog\'s API, such as https://api.datadoghq.com; set it'
        " with: pulumi config set datadog:apiUrl URL"
    )
    assert keys({}, {"DD_HOST": url, "DD_API_KEY": API_KEY, "DD_APP_KEY": APP_KEY})["faults"][0].startswith("DD_HOST ")


@pytest.mark.parametrize(
    ("url", "site", "other"),
    [
        ("https://api.datadoghq.eu/", "datadoghq.com", "datadoghq.eu"),
        ("https://api.us3.datadoghq.com", "us5.datadoghq.com", "us3.datadoghq.com"),
        ("https://app.datadoghq.com", "ddog-gov.com", "datadoghq.com"),
        ("https://api.datadoghq.eu", "datadoghq.eu", None),
        ("https://dd.example.com", "datadoghq.eu", None),
    ],
)
@pytest.mark.parametrize("setting", ["datadog:apiUrl", "DD_HOST"])
def test_an_api_of_another_site_than_the_one_that_is_set_is_a_fault(
    setting: str, url: str, site: str, other: str | None
) -> None:
    stored = {"apiKey": API_KEY, "appKey": APP_KEY, **({"apiUrl": url} if setting == "datadog:apiUrl" else {})}
    found = keys(stored, {} if "apiUrl" in stored else {"DD_HOST": url}, site=site)["faults"]
    told = (
        f'{setting} is "{url}": must be the API of watchpost:site, {site}, where Agents report and links lead;'
        f" remove it, or set the site with: pulumi config set watchpost:site {other}"
    )
    assert found == ([told] if other else [])


def test_an_address_with_a_login_in_it_is_a_fault_that_does_not_show_it() -> None:
    found = keys({"apiUrl": "https://me:fake-word@dd.example.com", "apiKey": API_KEY, "appKey": APP_KEY})["faults"]
    assert found[0].startswith('datadog:apiUrl is "dd.example.com": must be the address of Datadog')


def test_the_program_compares_the_api_with_its_site() -> None:
    with pytest.raises(pulumi.RunError, match="must be the API of watchpost:site, "):
        run_program(environment={"DD_HOST": "https://api.datadoghq.eu"})


@pytest.mark.parametrize("proxy", ["socks5://127.0.0.1:1080", "socks5h://127.0.0.1:1080", "https://127.0.0.1:3129"])
def test_nobody_is_asked_through_a_proxy_that_only_the_provider_knows(
    proxy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def check() -> key_check.Check | None:
        return Credentials().check("datadoghq.eu", BOTH)

    monkeypatch.setattr(key_check, "status", lambda *_: 200)
    monkeypatch.setattr(credentials, "get_monitor", lambda: ResourceMonitorStub.__new__(ResourceMonitorStub))
    monkeypatch.setenv("DD_API_KEY", API_KEY)
    monkeypatch.setenv("DD_APP_KEY", APP_KEY)
    for name in ("https_proxy", "HTTPS_PROXY", "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    assert check() is not None
    monkeypatch.setenv("HTTPS_PROXY", proxy)
    assert check() is None
    monkeypatch.setenv("NO_PROXY", "api.datadoghq.eu")
    assert check() is not None


def test_without_an_engine_nobody_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    def ask(*_: object) -> None:
        raise AssertionError("a unit test has no network")

    monkeypatch.setattr(key_check, "status", ask)
    run_program()


def test_faults_that_datadog_tells_stop_the_program_before_anything_is_registered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[str] = []

    def ask(url: str, _: dict[str, str]) -> int:
        asked.append(url)
        return 403

    monkeypatch.setattr(key_check, "status", ask)
    monkeypatch.setattr(credentials, "get_monitor", lambda: ResourceMonitorStub.__new__(ResourceMonitorStub))
    with pytest.raises(pulumi.RunError) as caught:
        run_program(windowMinutes="0")
    lines = str(caught.value).splitlines()
    assert [line.partition(" is ")[0].strip(" -") for line in lines[1:]] == [
        "watchpost:windowMinutes",
        "datadog:apiKey",
    ]
    assert API_KEY not in str(caught.value)
    assert all(url.startswith("https://api.datadoghq.com/api/") for url in asked)
    with pytest.raises(pulumi.RunError) as caught:
        run_program(part="hosts", datadogStack="")
    assert "datadog:apiKey is refused by https://api.datadoghq.com (403 Forbidden)" in str(caught.value)

"""Links go to the account's site, and carry names as they are."""

import json
import re
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components import links
from components.links import Links
from settings import sites
from tests.unit.mocks import DASHBOARD, DOWNTIME, EMBED_LINK, MONITOR, PUBLIC_LINK, run_program
from watchpost import snapshot

APPS = {
    "datadoghq.com": "app.datadoghq.com",
    "datadoghq.eu": "app.datadoghq.eu",
    "us3.datadoghq.com": "us3.datadoghq.com",
    "us5.datadoghq.com": "us5.datadoghq.com",
    "ap1.datadoghq.com": "ap1.datadoghq.com",
    "ap2.datadoghq.com": "ap2.datadoghq.com",
    "uk1.datadoghq.com": "uk1.datadoghq.com",
    "ddog-gov.com": "app.ddog-gov.com",
    "us2.ddog-gov.com": "us2.ddog-gov.com",
}
"""Source: https://docs.datadoghq.com/getting_started/site/"""

PAGES = Links(app_url="https://app.datadoghq.com")


@pytest.mark.parametrize("site", APPS)
def test_pages_and_api_follow_the_site(site: str) -> None:
    assert sites.app_url(site) == f"https://{APPS[site]}"
    assert sites.api_url(site) == f"https://api.{site}/"
    pages = Links(app_url=sites.app_url(site))
    for link in (
        pages.dashboard("/dashboard/abc/x"),
        pages.monitor("1"),
        pages.downtime("2"),
        pages.host("vm"),
        pages.service("app", "dev", "flask.request"),
        pages.event(3),
    ):
        assert urlsplit(link).netloc == APPS[site]


def test_every_site_is_known() -> None:
    assert set(APPS) == set(sites.SITES)


URL = re.compile(r"https?://[^\s\"'<>)\\]+")


@pytest.mark.parametrize("given", ["https://acme.datadoghq.com", "https://acme.datadoghq.com/"])
@pytest.mark.parametrize(
    "site", ["datadoghq.com", "datadoghq.eu", "us5.datadoghq.com", "ap1.datadoghq.com", "ddog-gov.com"]
)
def test_every_link_is_of_the_organization_s_own_pages(site: str, given: str) -> None:
    """Of outputs, messages, dashboards, tickets; whatever site its API is at."""
    customers = {"enabled": True, "ticketUrl": "https://tickets.example.com/"}
    program = run_program(site=site, appUrl=given, customerExperience=customers)
    texts = [
        program.outputs,
        *(resource.plain for resource in program.of(DASHBOARD, MONITOR, DOWNTIME, "datadog:index/webhook:Webhook")),
    ]
    found = [link for text in texts for link in URL.findall(json.dumps(text, default=str))]
    own = [link for link in found if urlsplit(link).hostname == "acme.datadoghq.com"]
    # Besides pages: where tickets and mail go, where viewers look, and what explains something.
    others = {
        "tickets.example.com",
        "docs.datadoghq.com",
        urlsplit(PUBLIC_LINK).hostname,
        urlsplit(EMBED_LINK).hostname,
    }
    assert {urlsplit(link).hostname for link in found} <= {"acme.datadoghq.com", *others}
    assert len(own) > 30
    assert not [link for link in own if urlsplit(link).path.startswith("//")]


@pytest.mark.parametrize(
    ("given", "pages"),
    [
        ({}, "https://app.datadoghq.com"),
        ({"watchpost:site": "datadoghq.eu", "watchpost:appUrl": ""}, "https://app.datadoghq.eu"),
        ({"watchpost:site": "us5.datadoghq.com"}, "https://us5.datadoghq.com"),
        (
            {"watchpost:site": "datadoghq.eu", "watchpost:appUrl": "https://acme.datadoghq.eu//"},
            "https://acme.datadoghq.eu",
        ),
    ],
)
def test_a_command_s_links_are_of_the_same_pages(given: dict[str, str], pages: str) -> None:
    assert snapshot.links(given).event(7) == f"{pages}/event/event?id=7"


def test_the_last_minutes_are_live() -> None:
    link = links.last_minutes("https://app.datadoghq.com/dashboard/abc", 5)
    assert parse_qs(urlsplit(link).query) == {"from_ts": ["now-5m"], "to_ts": ["now"], "live": ["true"]}


def test_a_service_s_page_is_where_datadog_has_it() -> None:
    link = PAGES.service("flask-app", "dev", "flask.request")
    page = "https://app.datadoghq.com/apm/entity/service%3Aflask-app"
    assert link == f"{page}?env=dev&operationName=flask.request"


@given(name=st.text(st.characters(codec="utf-8"), min_size=1))
def test_a_name_in_a_link_is_one_value(name: str) -> None:
    host = urlsplit(PAGES.host(name))
    assert parse_qs(host.query, keep_blank_values=True) == {"hostname": [name]}
    service = urlsplit(PAGES.service(name, name, "flask.request"))
    assert parse_qs(service.query, keep_blank_values=True) == {"env": [name], "operationName": ["flask.request"]}
    assert service.path.count("/") == 3
    assert unquote(service.path) == f"/apm/entity/service:{name}"
    assert not service.fragment


def test_a_host_s_page_can_be_completed_by_datadog() -> None:
    assert PAGES.host("") + "vm" == PAGES.host("vm")

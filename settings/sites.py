"""Datadog's sites: where each has its API and its pages.

Source: https://docs.datadoghq.com/getting_started/site/
"""

from typing import Literal, get_args

Site = Literal[
    "datadoghq.com",
    "us3.datadoghq.com",
    "us5.datadoghq.com",
    "datadoghq.eu",
    "ap1.datadoghq.com",
    "ap2.datadoghq.com",
    "uk1.datadoghq.com",
    "ddog-gov.com",
    "us2.ddog-gov.com",
]

SITES: tuple[str, ...] = get_args(Site)

APP_HOSTS = {
    "datadoghq.com": "app.datadoghq.com",
    "datadoghq.eu": "app.datadoghq.eu",
    "ddog-gov.com": "app.ddog-gov.com",
}
"""Where a site's pages are, if not at the site itself."""


def api_url(site: str) -> str:
    """The API of ``site``, in the form that the Datadog provider takes."""
    return f"https://api.{site}/"


def app_url(site: str) -> str:
    """The pages of ``site``, without a trailing slash."""
    return f"https://{APP_HOSTS.get(site, site)}"

"""Datadog's sites, and the addresses of their APIs and web apps.

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
"""Hosts of web apps that aren't at the site's own name."""


def api_url(site: str) -> str:
    """Return the API's address for ``site``, as the Datadog provider expects it."""
    return f"https://api.{site}/"


def app_url(site: str) -> str:
    """Return the web app's address for ``site``, without a trailing slash."""
    return f"https://{APP_HOSTS.get(site, site)}"

"""Datadog's sites, and the addresses of their APIs and web apps.

Source: https://docs.datadoghq.com/getting_started/site/
"""

from typing import Literal, get_args
from urllib.parse import urlsplit

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


def site_of(url: str) -> str | None:
    """Return the site that has its API or its web app at ``url``; ``None`` if none has.

    >>> site_of("https://api.us5.datadoghq.com/"), site_of("https://app.datadoghq.eu"), site_of("https://dd.example.com")
    ('us5.datadoghq.com', 'datadoghq.eu', None)
    """
    host = urlsplit(url).hostname
    return next((site for site in SITES if host in (f"api.{site}", APP_HOSTS.get(site, site))), None)

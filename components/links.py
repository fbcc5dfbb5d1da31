"""Addresses of pages in Datadog, for the account's site."""

from urllib.parse import quote, urlencode

APP = {
    "datadoghq.com": "app.datadoghq.com",
    "datadoghq.eu": "app.datadoghq.eu",
    "ddog-gov.com": "app.ddog-gov.com",
}
"""Where a site's pages are, when not at the site itself. Source: https://docs.datadoghq.com/getting_started/site/"""


def app(site: str) -> str:
    """Where the pages of ``site`` begin, without a slash at the end."""
    return f"https://{APP.get(site, site)}"


def api(site: str) -> str:
    """Where the API of ``site`` is, as the Datadog provider wants it."""
    return f"https://api.{site}/"


def dashboard(site: str, url: str) -> str:
    """A dashboard by its ``url`` output, which is relative."""
    return f"{app(site)}{url}"


def last_minutes(link: str, minutes: int) -> str:
    """A dashboard's link, showing its last minutes live."""
    return f"{link}?{urlencode({'from_ts': f'now-{minutes}m', 'to_ts': 'now', 'live': 'true'})}"


def at_the_alert(link: str, minutes: int = 10) -> str:
    """A dashboard's link for a monitor's message: of the host that alerted, some minutes before and after it did.

    Datadog fills in the host and the times when it sends the message.

    Source: https://docs.datadoghq.com/monitors/notify/variables/#dynamic-links
    """
    around = "".join(
        f'&{name}={{{{eval "last_triggered_at_epoch{sign}{minutes}*60*1000"}}}}'
        for name, sign in (("from_ts", "-"), ("to_ts", "+"))
    )
    return f"{link}?tpl_var_host={{{{host.name}}}}{around}&live=false"


def monitor(site: str, identifier: str) -> str:
    """A monitor's page."""
    return f"{app(site)}/monitors/{identifier}"


def downtime(site: str, identifier: str) -> str:
    """A downtime, in the list of downtimes. (Unsure: public links have the older downtimes' numbers, not a UUID.)"""
    return f"{app(site)}/monitors/downtimes?{urlencode({'id': identifier})}"


def host(site: str, name: str) -> str:
    """A host's page; an empty name gives the address to put one behind."""
    return f"{app(site)}/infrastructure?hostname={quote(name, safe='')}"


def service(site: str, name: str, env: str, operation: str) -> str:
    """A service's page in APM."""
    query = urlencode({"env": env, "operationName": operation})
    return f"{app(site)}/apm/entity/{quote(f'service:{name}', safe='')}?{query}"


def event(site: str, identifier: int) -> str:
    """An event's page."""
    return f"{app(site)}/event/event?id={identifier}"

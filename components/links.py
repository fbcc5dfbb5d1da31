"""Links to Datadog's pages, which people follow; every address of a page is made here.

The forms are those that Datadog's own documentation and pages use: https://docs.datadoghq.com/.
"""

from dataclasses import dataclass
from urllib.parse import quote, urlencode


@dataclass(frozen=True, kw_only=True)
class Links:
    """Links to the pages at ``app_url``, which has no trailing slash."""

    app_url: str

    def dashboard(self, url: str) -> str:
        """A dashboard by its ``url`` output, which is relative."""
        return f"{self.app_url}{url}"

    def monitor(self, identifier: str) -> str:
        """A monitor's page."""
        return f"{self.app_url}/monitors/{identifier}"

    def downtime(self, identifier: str) -> str:
        """A downtime in the list of downtimes. (Unsure: public links have older downtimes' numbers, not a UUID.)"""
        return f"{self.app_url}/monitors/downtimes?{urlencode({'id': identifier})}"

    def host(self, name: str) -> str:
        """A host's page; with an empty name, the address to append one to."""
        return f"{self.app_url}/infrastructure?hostname={quote(name, safe='')}"

    def service(self, name: str, env: str, operation: str) -> str:
        """A service's page in APM."""
        query = urlencode({"env": env, "operationName": operation})
        return f"{self.app_url}/apm/entity/{quote(f'service:{name}', safe='')}?{query}"

    def event(self, identifier: int) -> str:
        """An event's page."""
        return f"{self.app_url}/event/event?id={identifier}"


def last_minutes(dashboard: str, minutes: int) -> str:
    """A dashboard's link that shows the last ``minutes``, live."""
    return f"{dashboard}?{urlencode({'from_ts': f'now-{minutes}m', 'to_ts': 'now', 'live': 'true'})}"


def around_the_alert(dashboard: str, minutes: int = 10) -> str:
    """A dashboard's link for a monitor's message: of the alerting host, ``minutes`` before to after the alert.

    Datadog fills in host and times when it sends the message.

    Source: https://docs.datadoghq.com/monitors/notify/variables/#dynamic-links
    """
    window = "".join(
        f'&{name}={{{{eval "last_triggered_at_epoch{sign}{minutes}*60*1000"}}}}'
        for name, sign in (("from_ts", "-"), ("to_ts", "+"))
    )
    return f"{dashboard}?tpl_var_host={{{{host.name}}}}{window}&live=false"

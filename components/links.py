"""Builds every link to a page of Datadog.

The URL formats are those of Datadog's documentation and pages: https://docs.datadoghq.com/.
"""

from dataclasses import dataclass
from urllib.parse import quote, urlencode


@dataclass(frozen=True, kw_only=True)
class Links:
    """Builds links to pages at ``app_url``, which has no trailing slash."""

    app_url: str

    def dashboard(self, url: str) -> str:
        """Link to a dashboard, given its relative ``url`` output."""
        return f"{self.app_url}{url}"

    def monitor(self, identifier: str) -> str:
        """Link to a monitor's page."""
        return f"{self.app_url}/monitors/{identifier}"

    def downtime(self, identifier: str) -> str:
        """Link to a downtime in the list. (Unsure: known links have older downtimes' numeric ids, not UUIDs.)"""
        return f"{self.app_url}/monitors/downtimes?{urlencode({'id': identifier})}"

    def host(self, name: str) -> str:
        """Link to a host's page; with an empty name, the prefix to append a name to."""
        return f"{self.app_url}/infrastructure?hostname={quote(name, safe='')}"

    def service(self, name: str, env: str, operation: str) -> str:
        """Link to a service's page in APM."""
        query = urlencode({"env": env, "operationName": operation})
        return f"{self.app_url}/apm/entity/{quote(f'service:{name}', safe='')}?{query}"

    def monitors(self, *tags: str) -> str:
        """Link to the list of monitors with all of these tags."""
        query = " ".join(f'tag:"{tag}"' for tag in tags)
        return f"{self.app_url}/monitors/manage?{urlencode({'q': query})}"

    def objective(self, identifier: str) -> str:
        """Link to a service level objective's page."""
        return f"{self.app_url}/slo?{urlencode({'slo_id': identifier})}"

    def traces(self, query: str) -> str:
        """Link to the traces with a span that matches ``query``."""
        return f"{self.app_url}/apm/traces?{urlencode({'query': query})}"

    def event(self, identifier: int) -> str:
        """Link to an event's page."""
        return f"{self.app_url}/event/event?id={identifier}"


def last_minutes(dashboard: str, minutes: int) -> str:
    """Make a dashboard's link show the last ``minutes``, live."""
    return f"{dashboard}?{urlencode({'from_ts': f'now-{minutes}m', 'to_ts': 'now', 'live': 'true'})}"


def around_the_alert(dashboard: str, minutes: int = 10) -> str:
    """Make a dashboard's link for a monitor's message: the alerting host, from ``minutes`` before to after the alert.

    Datadog fills in the host and the times when it sends the message.

    Source: https://docs.datadoghq.com/monitors/notify/variables/#dynamic-links
    """
    window = "".join(
        f'&{name}={{{{eval "last_triggered_at_epoch{sign}{minutes}*60*1000"}}}}'
        for name, sign in (("from_ts", "-"), ("to_ts", "+"))
    )
    return f"{dashboard}?tpl_var_host={{{{host.name}}}}{window}&live=false"

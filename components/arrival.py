"""Verifies that an Agent's data reaches the account, by querying one metric of its host.

An Agent only knows that its intake accepted the data: an address that accepts everything, or a key of another account,
looks healthy to it. The account is therefore queried after each restart of an Agent, and at no other time.
"""

import asyncio
import re
import time
from collections.abc import Callable, Iterable

import pulumi

from settings import Credentials
from settings.project import key

METRIC = "datadog.agent.running"
"""Submitted by every Agent every 15 s. Source: ``pkg/aggregator/aggregator.go`` of github.com/DataDog/datadog-agent"""

PATIENCE = 180.0
"""Seconds to wait for a metric: two flushes of the Agent, plus Datadog's delay until queries return it."""

TIMEOUT = 15.0
"""Timeout of one request, in seconds."""

PAUSES = (1.0, 1.0, 2.0, 4.0, 8.0, 15.0)
"""Seconds between queries; the last value repeats. Datadog allows an account 1600 queries per hour."""

Ask = Callable[[str, float], Iterable[float]]
"""Returns the Unix times, in seconds, of a query's points since the given time.

Raises:
    RefusedError: the query failed.
"""


class RefusedError(Exception):
    """The account can't be queried; the message says why."""


class BusyError(RefusedError):
    """The account can't be queried at the moment; a retry may succeed."""


class Arrival:
    """Queries the account on ``site`` for hosts whose Agents send to ``agent_url``, or to the site by default."""

    def __init__(self, credentials: Credentials, site: str, agent_url: str) -> None:
        self._credentials, self._site = credentials, site
        self._destination = f"{agent_url} ({key('agentUrl')})" if agent_url else f"{site} ({key('site')})"
        self._restarted: dict[str, float] = {}

    def hook(self, host: str) -> pulumi.ResourceHook:
        """Return the hook that records when the Agent of ``host`` was restarted."""

        def remember(_: pulumi.ResourceHookArgs) -> None:
            self._restarted[host] = time.time()

        return pulumi.ResourceHook(f"{host}-agent-restarted", remember)

    def awaited(self, host: str, version: pulumi.Output[str]) -> pulumi.Output[str]:
        """Withhold ``version`` until a metric of ``host`` was seen, or a warning reported that none was.

        ``version`` is the restart step's result; a step with any other result restarted no Agent.
        """

        async def wait(said: str) -> str:
            since = self._restarted.get(host)
            if since is not None and re.match(r"Agent 7\.", said):
                if "appKey" in self._credentials.missing:
                    pulumi.log.info(
                        f"whether data from {host} arrives is not checked: that takes an application key"
                        " (datadog:appKey or DD_APP_KEY), which this stack lacks and doesn't need otherwise"
                    )
                else:
                    await self._wait(host, since)
            return said

        return version.apply(wait)

    async def _wait(self, host: str, since: float) -> None:
        url = self._credentials.url(self._site)
        keys = await pulumi.Output.all(self._credentials.api_key, self._credentials.app_key).future()
        assert keys is not None  # they are never unknown
        api_key, app_key = keys
        query = f"avg:{METRIC}{{host:{host}}}"
        try:
            seen = await point_arrives(lambda query, since: points(url, api_key, app_key, query, since), query, since)
        except RefusedError as error:
            pulumi.log.warn(f"whether data from {host} arrives was not checked: {error}")
            return
        if not seen:
            pulumi.log.warn(
                f"no data from {host}: {PATIENCE:.0f} s after its Agent restarted, Datadog at {url} has no"
                f" {METRIC} of it. Does what is sent to {self._destination} end up in the account of datadog:apiKey"
                f" and datadog:appKey?"
            )


async def point_arrives(ask: Ask, query: str, since: float, patience: float | None = None) -> bool:
    """Wait up to ``patience`` seconds for a point of ``query`` newer than ``since``; return whether one was seen.

    Raises:
        RefusedError: the query failed.
    """
    deadline, pauses = time.monotonic() + (PATIENCE if patience is None else patience), list(PAUSES)
    while True:
        busy = None
        try:
            # Datadog returns averages over several seconds, the first of which may begin earlier.
            if any(at >= int(since) for at in await asyncio.to_thread(ask, query, since)):
                return True
        except BusyError as error:
            busy = error
        if time.monotonic() >= deadline:
            if busy:
                raise busy
            return False
        await asyncio.sleep(pauses.pop(0) if len(pauses) > 1 else pauses[0])


def points(url: str, api_key: str, app_key: str, query: str, since: float) -> list[float]:
    """Query Datadog as an :data:`Ask` does, at ``url`` with these keys.

    Source: https://docs.datadoghq.com/api/latest/metrics/#query-timeseries-points
    """
    # Imported here: it takes half a second, which only a run that restarts an Agent should pay.
    from datadog_api_client.v1.api.metrics_api import MetricsApi

    from components.datadog_api import AccountError, client

    try:
        with client(url, api_key, app_key) as datadog:
            datadog.configuration.request_timeout = TIMEOUT
            answer = MetricsApi(datadog).query_metrics(_from=int(since), to=int(time.time()) + 1, query=query)
    except AccountError as error:
        if error.status == 403:
            needed = "refused: 403 Forbidden (the application key needs timeseries_query)"
            raise RefusedError(f"Datadog at {url} {needed}") from None
        raise (BusyError if error.is_transient else RefusedError)(str(error)) from None
    return [point.value[0] / 1000 for series in answer.get("series", []) for point in series.pointlist]

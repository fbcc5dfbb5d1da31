"""Whether what an Agent sends arrives: one metric of its host, asked back from the account.

The Agent knows no more than that somebody took what it sent: an address that takes everything, or another account's
key, looks well to it. So once its step has run, the account is asked; with nothing to change, nothing is asked.
"""

import asyncio
import re
import time
from collections.abc import Callable, Iterable

import pulumi

from components.datadog_api import client
from settings import Credentials
from settings.project import key

METRIC = "datadog.agent.running"
"""What every Agent submits each 15 s. Source: ``pkg/aggregator/aggregator.go`` of github.com/DataDog/datadog-agent"""

PATIENCE = 180.0
"""Seconds within which a metric is seen: two flushes of the Agent, and what Datadog takes until queries find it."""

TIMEOUT = 15.0
"""Seconds that an answer may take."""

PAUSES = (1.0, 1.0, 2.0, 4.0, 8.0, 15.0)
"""Seconds between two questions; the last one stands for all after it. An account may ask 1600 times in an hour."""

Ask = Callable[[str, float], Iterable[float]]
"""When, in Unix seconds, the account has points of a query since then.

Raises:
    RefusedError: it doesn't say.
"""


class RefusedError(Exception):
    """The account can't be asked; the text says why."""


class BusyError(RefusedError):
    """It can't be asked just now."""


class Arrival:
    """Asks the account on ``site`` about hosts whose Agents send to ``agent_url``, or to the site itself."""

    def __init__(self, credentials: Credentials, site: str, agent_url: str) -> None:
        self._credentials, self._site = credentials, site
        self._destination = f"{agent_url} ({key('agentUrl')})" if agent_url else f"{site} ({key('site')})"
        self._restarted: dict[str, float] = {}

    def hook(self, host: str) -> pulumi.ResourceHook:
        """What the step that restarts the Agent of ``host`` is followed by."""

        def remember(_: pulumi.ResourceHookArgs) -> None:
            self._restarted[host] = time.time()

        return pulumi.ResourceHook(f"{host}-agent-restarted", remember)

    def awaited(self, host: str, version: pulumi.Output[str]) -> pulumi.Output[str]:
        """``version``, once a metric of ``host`` was seen, or a warning said that it was not.

        It is what the step says at its end; one that says something else restarted no Agent.
        """

        async def wait(said: str) -> str:
            since = self._restarted.get(host)
            if since is not None and re.match(r"Agent 7\.", said):
                if "appKey" in self._credentials.missing:
                    pulumi.log.info(
                        f"whether data of {host} arrives is not asked: that takes an application key (datadog:appKey,"
                        " or DD_APP_KEY), which this stack has not and needs for nothing else"
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
            seen = await asked_back(lambda query, since: points(url, api_key, app_key, query, since), query, since)
        except RefusedError as error:
            pulumi.log.warn(f"whether data of {host} arrives was not asked: {error}")
            return
        if not seen:
            pulumi.log.warn(
                f"nothing of {host} was seen: {PATIENCE:.0f} s after its Agent was restarted, Datadog at {url} has no"
                f" {METRIC} of it. Does what is sent to {self._destination} end up in the account of datadog:apiKey"
                f" and datadog:appKey?"
            )


async def asked_back(ask: Ask, query: str, since: float, patience: float | None = None) -> bool:
    """Whether the account has a point of ``query`` newer than ``since``, within ``patience`` seconds.

    Raises:
        RefusedError: it doesn't say.
    """
    deadline, pauses = time.monotonic() + (PATIENCE if patience is None else patience), list(PAUSES)
    while True:
        busy = None
        try:
            # Datadog answers with means of some seconds each, the first of which may begin before.
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
    """The points of ``query`` since then, as an :data:`Ask`.

    Source: https://docs.datadoghq.com/api/latest/metrics/#query-timeseries-points
    """
    # Half a second to import, which only a run that restarts an Agent should pay.
    from datadog_api_client.exceptions import ApiException
    from datadog_api_client.v1.api.metrics_api import MetricsApi
    from urllib3.exceptions import HTTPError

    try:
        with client(url, api_key, app_key) as datadog:
            datadog.configuration.request_timeout = TIMEOUT
            answer = MetricsApi(datadog).query_metrics(_from=int(since), to=int(time.time()) + 1, query=query)
    except ApiException as error:
        allowed = " (the application key needs timeseries_query)" if error.status == 403 else ""
        kind = BusyError if error.status == 429 or error.status >= 500 else RefusedError
        raise kind(f"Datadog at {url} refused: {error.status} {error.reason}{allowed}") from None
    except HTTPError as error:
        raise BusyError(f"Datadog at {url} does not answer: {error}") from None
    return [point.value[0] / 1000 for series in answer.get("series", []) for point in series.pointlist]

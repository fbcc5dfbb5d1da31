"""Takes a snapshot of the ``my_metric`` graph and sends it to people by @mention: ``python -m components.snapshot``.

Datadog's snapshots can't mention anybody; an event that shows the snapshot can, and is e-mailed to whom it mentions.

Sources: https://docs.datadoghq.com/api/latest/snapshots/#take-graph-snapshots,
https://docs.datadoghq.com/api/latest/events/#post-an-event
"""

import argparse
import os
import sys
import time

from datadog_api_client import ApiClient
from datadog_api_client.exceptions import ApiException
from datadog_api_client.v1.api.events_api import EventsApi
from datadog_api_client.v1.api.snapshots_api import SnapshotsApi
from datadog_api_client.v1.model.event_create_request import EventCreateRequest

from components import links
from components.account import client
from components.custom_check import MY_METRIC, Metric
from components.settings import mentionable


def text(metric: Metric, env: str, minutes: int, image: str, recipients: list[str]) -> str:
    """The event's text, in Datadog's Markdown: the picture, and the people it is for."""
    mentions = " ".join(f"@{recipient}" for recipient in recipients)
    return f"%%%\n{metric.name} ({env}), its last {minutes} minutes:\n\n![{metric.name}]({image})\n\n{mentions}\n%%%"


def send(datadog: ApiClient, metric: Metric, env: str, minutes: int, recipients: list[str]) -> tuple[str, int]:
    """Take the snapshot of the last ``minutes`` and post the event; the picture's address and the event's id.

    Raises:
        ApiException: Datadog refused one of them.
    """
    now = int(time.time())
    query = f"avg:{metric.name}{{{metric.scope(env)}}} by {{host}}"
    snapshot = SnapshotsApi(datadog).get_graph_snapshot(start=now - 60 * minutes, end=now, metric_query=query)
    event = EventsApi(datadog).create_event(
        EventCreateRequest(
            title=f"Snapshot of {metric.name}",
            text=text(metric, env, minutes, snapshot.snapshot_url, recipients),
            tags=[f"env:{env}", metric.tag],
        )
    )
    return str(snapshot.snapshot_url), int(event.event.id)


def _recipient(value: str) -> str:
    try:
        return mentionable(value)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{value!r} {error}") from None


def main() -> None:
    """Read the command line; the keys come from DD_API_KEY and DD_APP_KEY, as for the Datadog provider."""
    parser = argparse.ArgumentParser(prog="python -m components.snapshot", description=__doc__.splitlines()[0])
    parser.add_argument(
        "--to", action="append", required=True, type=_recipient, metavar="ADDRESS", help="whom to mention; repeatable"
    )
    parser.add_argument("--env", default="dev", help="the env tag (default: %(default)s)")
    parser.add_argument("--site", default="datadoghq.com", help="the Datadog site (default: %(default)s)")
    parser.add_argument("--minutes", type=int, default=5, help="how much of the graph (default: %(default)s)")
    options = parser.parse_args()
    missing = [name for name in ("DD_API_KEY", "DD_APP_KEY") if not os.environ.get(name)]
    if missing:
        sys.exit(
            f"watchpost: {' and '.join(missing)} must be set in the environment: the account's keys take the snapshot"
        )
    host = (os.environ.get("DD_HOST") or links.api(options.site)).rstrip("/")
    try:
        with client(host) as datadog:
            image, event = send(datadog, MY_METRIC, options.env, options.minutes, options.to)
    except ApiException as error:
        sys.exit(f"watchpost: Datadog refused the snapshot: {error.status} {error.reason}: {error.body}")
    print(f"snapshot  {image}\nevent     {links.event(options.site, event)}")


if __name__ == "__main__":
    main()

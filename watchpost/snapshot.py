"""Sends a snapshot of the ``my_metric`` graph to people by @mention.

Datadog's snapshots can't mention anybody, but an event that shows one can; Datadog e-mails it to everybody mentioned.

Sources: https://docs.datadoghq.com/api/latest/snapshots/#take-graph-snapshots,
https://docs.datadoghq.com/api/latest/events/#post-an-event
"""

import json
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import click

from components.links import Links
from watchpost.errors import WatchpostError
from watchpost.stack import Stack, of_one_stack

if TYPE_CHECKING:
    from datadog_api_client import ApiClient

    from components.custom_check import Metric


def text(metric: "Metric", env: str, minutes: int, image: str, recipients: Sequence[str]) -> str:
    """Render the event's text in Datadog's Markdown: the image and the mentions."""
    mentions = " ".join(f"@{recipient}" for recipient in recipients)
    return f"%%%\n{metric.name} ({env}), its last {minutes} minutes:\n\n![{metric.name}]({image})\n\n{mentions}\n%%%"


def send(datadog: "ApiClient", metric: "Metric", env: str, minutes: int, recipients: Sequence[str]) -> tuple[str, int]:
    """Take a snapshot of the last ``minutes`` and post the event; return the image's URL and the event's id.

    Raises:
        ApiException: Datadog refused the snapshot or the event.
    """
    from datadog_api_client.v1.api.events_api import EventsApi
    from datadog_api_client.v1.api.snapshots_api import SnapshotsApi
    from datadog_api_client.v1.model.event_create_request import EventCreateRequest

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


def links(config: Mapping[str, str]) -> Links:
    """Build links to the pages that a stack's configuration names."""
    from settings.project import key
    from settings.sites import app_url

    pages = config.get(key("appUrl"), "").rstrip("/")
    return Links(app_url=pages or app_url(config.get(key("site"), "datadoghq.com")))


def _recipient(_: click.Context, __: click.Parameter, values: Sequence[str]) -> list[str]:
    from settings.model import mentionable

    try:
        return [mentionable(value) for value in values]
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


@click.command()
@of_one_stack
@click.option(
    "--to",
    "recipients",
    multiple=True,
    metavar="ADDRESS",
    callback=_recipient,
    help="Whom to mention; repeatable.  [default: watchpost:recipients]",
)
@click.option(
    "--minutes", type=click.IntRange(1), default=5, show_default=True, help="How many minutes of the graph to show."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON: the URLs of the snapshot and the event.")
def command(stack: Stack, recipients: Sequence[str], minutes: int, as_json: bool) -> None:
    """Send a snapshot of the my_metric graph by @mention.

    Posts an event with the picture, which Datadog e-mails to everybody mentioned.
    """
    from components.custom_check import MY_METRIC
    from settings.project import key

    config = stack.config
    recipients = recipients or _recipients(config.get(key("recipients"), "[]"))
    if not recipients:
        raise WatchpostError(f"the stack has no recipients: give --to ADDRESS, or set {key('recipients')}")
    with stack.datadog({}, "the snapshot can't be sent") as datadog:
        image, event = send(datadog, MY_METRIC, config.get(key("env"), "dev"), minutes, recipients)
    link = links(config).event(event)
    click.echo(json.dumps({"snapshot": image, "event": link}) if as_json else f"snapshot  {image}\nevent     {link}")


def _recipients(configured: str) -> list[str]:
    from settings import parsed
    from settings.model import mentionable
    from settings.project import key

    try:
        return [mentionable(recipient) for recipient in parsed("recipients", configured)]
    except (ValueError, TypeError) as error:
        raise WatchpostError(f"{key('recipients')} {error}") from None

"""Repairs a stack after an interrupted update.

An update can end after Datadog has created an object and before the state records it. Such an orphan carries the
stack's ownership tag (:mod:`components.ownership`), but its id isn't in the state. ``pulumi up`` removes the orphans of
resources that it creates again; this command lists and removes all of them. Objects without the stack's tag are never
touched, nor are those in its state. No API lists webhooks: the names that the steps in the stack's settings and state
give them are looked up.

Sources: https://docs.datadoghq.com/api/latest/ and https://www.pulumi.com/docs/support/troubleshooting/interrupted-updates/
"""

import contextlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import click

from watchpost.errors import WatchpostError
from watchpost.stack import Stack, name_of, of_one_stack, plain

if TYPE_CHECKING:
    from datadog_api_client import ApiClient

    from components.orphans import TaggedObject

OWNERSHIP_TAG = "random:index/randomString:RandomString"

OF_CUSTOMERS = re.compile(r"datadog:index/(spansMetric|apmRetentionFilter|serviceLevelObjective|webhook\w*):\w+")
"""The types of resources that ``customerExperience`` alone makes."""

OF_A_STEP = re.compile(r"customers-(?:latency-(?P<watched>.+)|(?P<told>.+)-(?:open|close))")
"""The names of resources that are named after a step of the customers' journey."""


@dataclass(frozen=True, kw_only=True)
class State:
    """A stack's state, as far as recovery needs it.

    ``tag`` is the ownership tag, ``known`` the ids of Datadog's objects in the state, and the tokens of shared
    dashboards. ``pending`` are the operations that an interrupted update left, such as ``creating my-metric-monitor``.
    ``steps`` are those of the customers' journey, None if nothing of ``customerExperience`` is in the state.
    """

    tag: str | None
    known: frozenset[str]
    pending: tuple[str, ...]
    steps: frozenset[str] | None = None


@dataclass(frozen=True, kw_only=True)
class Finding:
    """Something that an interrupted update left; ``kind`` is ``pending`` or the object's kind in Datadog."""

    kind: str
    identifier: str
    title: str = ""

    def __str__(self) -> str:
        return f"{self.kind:<9} {self.identifier}{f'  {self.title}' if self.title else ''}"


def read(deployment: Mapping[str, Any]) -> State:
    """Read the state that recovery needs from a stack's deployment."""
    from components.orphans import NAMED
    from components.ownership import FORMER_NAME, NAME, PREFIX

    found = deployment.get("resources") or []
    pending = deployment.get("pending_operations") or []
    tags = [
        resource["id"]
        for resource in found
        if resource["type"] == OWNERSHIP_TAG and name_of(resource) in (NAME, FORMER_NAME) and resource.get("id")
    ]
    begun = [*found, *(operation["resource"] for operation in pending)]
    named = [match for resource in begun if (match := OF_A_STEP.fullmatch(name_of(resource)))]
    return State(
        tag=f"{PREFIX}{tags[0]}" if tags else None,
        known=frozenset(
            [r["id"] for r in found if r["type"].startswith("datadog:") and r.get("id")]
            + [plain(r["outputs"]["token"]) for r in found if "token" in r.get("outputs", {})]
            # The id of an object that is known by its name stays the first name, even once it is renamed.
            + [plain(r["outputs"]["name"]) for r in found if r["type"] in NAMED and "name" in r.get("outputs", {})]
        ),
        pending=tuple(f"{operation['type']} {name_of(operation['resource'])}" for operation in pending),
        steps=frozenset(match["watched"] or match["told"] for match in named)
        if any(OF_CUSTOMERS.fullmatch(resource["type"]) for resource in begun)
        else None,
    )


def recover(stack: Stack, datadog: "ApiClient", state: State, *, yes: bool) -> Iterator[Finding]:
    """Find what an interrupted update of ``stack`` left; with ``yes``, repair it.

    Raises:
        WatchpostError: ``pulumi`` failed.
        ApiException: Datadog refused a request.
    """
    from components import orphans

    for operation in state.pending:
        yield Finding(kind="pending", identifier=operation)
    if yes:
        stack.refresh()
    # Datadog is read before the state, so that objects of an update under way aren't taken for orphans.
    tagged = list(_tagged(stack, datadog, state.tag, state.steps)) if state.tag else []
    known = read(stack.export()).known
    lost = [found for found in tagged if found.identifier not in known]
    for found in lost:
        yield Finding(kind=found.kind, identifier=found.shown, title=found.title)
    if yes:
        for found in lost:
            orphans.remove(datadog, found)


def _tagged(stack: Stack, datadog: "ApiClient", tag: str, steps: frozenset[str] | None) -> "Iterator[TaggedObject]":
    """Find what carries the stack's tag; of ``customerExperience`` only where the settings or the state have it."""
    from components import orphans
    from settings.project import key

    configured = stack.config.get(key("customerExperience"))
    has_customers = configured is not None or steps is not None
    yield from orphans.find(
        datadog, tag, [kind for kind in orphans.ALL if has_customers or kind not in orphans.CUSTOMERS]
    )
    if has_customers:
        yield from _unlisted(stack, datadog, tag, configured or "{}", steps or frozenset())


def _unlisted(
    stack: Stack, datadog: "ApiClient", tag: str, configured: str, steps: frozenset[str]
) -> "Iterator[TaggedObject]":
    """Look up webhooks by the names of the steps: as ``configured``, the defaults, and those in the state."""
    from pydantic import ValidationError

    from components import customer_tickets, orphans
    from settings import CustomerExperience

    names = [step.name for step in CustomerExperience().steps]
    with contextlib.suppress(ValidationError):
        names += [step.name for step in CustomerExperience.model_validate_json(configured).steps]
    names += sorted(steps)
    for kind, name in customer_tickets.unlisted(tag, stack.name.rpartition("/")[2], dict.fromkeys(names)):
        yield from orphans.named(datadog, tag, kind, name)


@click.command()
@of_one_stack
@click.option("--yes", is_flag=True, help="Repair the stack, instead of only showing what is wrong.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON: kind, identifier and title of each finding.")
def command(stack: Stack, yes: bool, as_json: bool) -> None:
    """Repair a stack after an interrupted update.

    Lists pending operations and orphans: objects that the update left in Datadog but not in the state. Exits with 1 if
    there are any, unless --yes clears and removes them. Only objects with the stack's ownership tag are touched.
    """
    deployment = stack.export()
    findings = []
    with stack.datadog(deployment, "what an interrupted update left can't be looked for") as datadog:
        for finding in recover(stack, datadog, read(deployment), yes=yes):
            findings.append(finding)
            if not as_json:
                click.echo(finding)
    if as_json:
        click.echo(json.dumps([asdict(finding) for finding in findings]))
    elif not findings:
        click.echo("nothing was left behind")
    elif yes:
        click.echo("repaired; `pulumi up` continues from here")
    if findings and not yes:
        raise WatchpostError("run the same command with --yes to repair this, while no other update is running")

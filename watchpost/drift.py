"""Finds drift that the providers miss: on the hosts, and in the downtimes.

On hosts, each step's command from the state is run with ``check``: its script reports drift and changes nothing.
Downtimes are read from Datadog: a refresh takes a cancelled one for existing and keeps a message that is gone (``Read``
and ``updateState`` in datadog/fwprovider/resource_datadog_downtime_schedule.go of
DataDog/terraform-provider-datadog), and skips schedules, which the program ignores once set. ``pulumi preview
--refresh`` shows other drift in Datadog, as far as the provider sees it.

Source: https://docs.datadoghq.com/api/latest/downtimes/#get-a-downtime
"""

import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from watchpost.errors import WatchpostError
from watchpost.stack import Stack, name_of, of_one_stack, plain, resources

if TYPE_CHECKING:
    import asyncssh
    from datadog_api_client import ApiClient

COMMAND = "command:remote:Command"
DOWNTIME = "datadog:index/downtimeSchedule:DowntimeSchedule"

LOGIN_SECONDS = 20
"""Timeout of a login."""

KEEPALIVE_SECONDS = 20
"""Interval of keepalives; a host that misses three of them is lost."""

CONCURRENT_CHECKS = 4
"""Concurrent checks per host."""

HEARD = "watchpost-is-heard"
"""What a login shell is asked to print first: a forced command could end well without checking anything."""


@dataclass(frozen=True, kw_only=True)
class HostStep:
    """A step on a host, from the state: its connection, its command with ``check``, and its standard input."""

    name: str
    connection: Mapping[str, Any]
    command: str
    stdin: str
    vm: bool = False
    """Whether the host is a VM that the stack creates."""


@dataclass(frozen=True, kw_only=True)
class Downtime:
    """A downtime, from the state: its resource's name, which ends with its schedule, and its id."""

    name: str
    identifier: str


@dataclass(frozen=True, kw_only=True)
class Finding:
    """A drifted resource and the reason; ``repair`` is its key in ``watchpost:repairs``, if it has one."""

    name: str
    reason: str
    repair: str | None


def steps(deployment: Mapping[str, Any]) -> list[HostStep]:
    """List the steps on hosts in a deployment, in the order in which they ran.

    Raises:
        WatchpostError: a command isn't one of Watchpost's steps.
    """
    from components.step_command import StepCommand

    found = []
    for resource in resources(deployment, COMMAND):
        inputs = resource["inputs"]
        try:
            command = StepCommand.parse(plain(inputs["create"])).with_verb("check").render()
        except ValueError as error:
            raise WatchpostError(f"{name_of(resource)} is {error}") from None
        found.append(
            HostStep(
                name=name_of(resource),
                connection=plain(inputs["connection"]),
                command=command,
                stdin=plain(inputs.get("stdin", "")),
                vm=bool(resource.get("deletedWith")),
            )
        )
    return found


def downtimes(deployment: Mapping[str, Any]) -> list[Downtime]:
    """List the downtimes in a deployment."""
    return [Downtime(name=name_of(found), identifier=found["id"]) for found in resources(deployment, DOWNTIME)]


async def check_hosts(found: Sequence[HostStep]) -> list[Finding]:
    """Check every step, on all hosts concurrently; return the findings in the order of the steps."""
    hosts: dict[str, list[HostStep]] = {}
    for step in found:
        hosts.setdefault(json.dumps(step.connection, sort_keys=True), []).append(step)
    findings = await asyncio.gather(*(_check_host(host) for host in hosts.values()))
    by_name = {finding.name: finding for group in findings for finding in group}
    return [by_name[step.name] for step in found if step.name in by_name]


async def _check_host(found: Sequence[HostStep]) -> list[Finding]:
    """Check the steps of one host; an unreachable host is one finding, for its first step."""
    import asyncssh

    try:
        async with _login(found[0].connection) as host:
            heard = await host.run(f"echo {HEARD}", stdin=asyncssh.DEVNULL, check=False)
            if HEARD in str(heard.stdout):
                return await _check_steps(host, found)
        reason = f"can't check the host: {_last_line(heard) or 'nothing'!r} answers, and not the login shell"
    except (OSError, TimeoutError, ValueError, asyncssh.Error) as error:  # ValueError: a key that isn't one
        halted = "; `pulumi up` starts a VM that is halted" if found[0].vm else ""
        reason = f"can't check the host: {error or type(error).__name__}{halted}"
    return [Finding(name=found[0].name, reason=reason, repair=found[0].name)]


async def _check_steps(host: "asyncssh.SSHClientConnection", found: Sequence[HostStep]) -> list[Finding]:
    """Check the steps of one host, several at once as far as its sshd allows (``MaxSessions``)."""
    import asyncssh

    turns, refused = asyncio.Semaphore(CONCURRENT_CHECKS), []

    async def check(step: HostStep) -> Finding | None:
        async with turns:
            try:
                return await _check_step(host, step)
            except asyncssh.ChannelOpenError:
                refused.append(step)
                return None

    findings = await asyncio.gather(*map(check, found))
    return [finding for finding in (*findings, *[await _check_step(host, step) for step in refused]) if finding]


async def _check_step(host: "asyncssh.SSHClientConnection", step: HostStep) -> Finding | None:
    """Check one step.

    Raises:
        ConnectionResetError: the check was cut off.
    """
    done = await host.run(step.command, input=step.stdin, check=False)
    if done.exit_status is None:
        raise ConnectionResetError(f"the check of {step.name} was cut off")
    if done.exit_status == 0:
        return None
    return Finding(name=step.name, reason=_last_line(done) or "no reason given", repair=step.name)


def _last_line(done: "asyncssh.SSHCompletedProcess") -> str:
    """Return the last line of what a command said: a login shell may print something first."""
    return next(iter(reversed(str(done.stderr or done.stdout).strip().splitlines())), "")


@contextlib.asynccontextmanager
async def _login(connection: Mapping[str, Any]) -> "AsyncIterator[asyncssh.SSHClientConnection]":
    """Log in as the step does, through the same proxy."""
    async with contextlib.AsyncExitStack() as stack:
        proxy = connection.get("proxy")
        tunnel = await stack.enter_async_context(_connect(proxy)) if proxy else None
        yield await stack.enter_async_context(_connect(connection, tunnel))


def _connect(connection: Mapping[str, Any], tunnel: "asyncssh.SSHClientConnection | None" = None) -> Any:
    """Connect with the step's key or SSH agent, checking the host key if one is known."""
    import asyncssh

    key, host_key = connection.get("privateKey"), connection.get("hostKey")
    password = connection.get("privateKeyPassword")
    return asyncssh.connect(
        connection["host"],
        port=int(connection.get("port", 22)),
        username=connection["user"],
        client_keys=[asyncssh.import_private_key(key, password)] if key else (),
        agent_path=None if key else connection.get("agentSocketPath") or (),
        password=connection.get("password"),
        known_hosts=([asyncssh.import_public_key(host_key)], [], []) if host_key else None,
        config=None,
        tunnel=tunnel or (),
        connect_timeout=LOGIN_SECONDS,
        keepalive_interval=KEEPALIVE_SECONDS,
    )


def check_downtimes(datadog: "ApiClient", found: Sequence[Downtime]) -> list[Finding]:
    """Compare downtimes with Datadog; return those that differ from the stack's.

    Raises:
        ApiException: Datadog refused the request.
    """
    from datadog_api_client.exceptions import ApiException
    from datadog_api_client.v2.api.downtimes_api import DowntimesApi

    from components.datadog_api import is_missing
    from components.downtime_names import repair_key

    api, findings = DowntimesApi(datadog), []
    for downtime in found:
        try:
            attributes = api.get_downtime(downtime.identifier).data.attributes.to_dict()
        except ApiException as error:
            if not is_missing(error):
                raise
            attributes = {"status": "gone"}
        if reason := deviation(downtime, attributes):
            findings.append(Finding(name=downtime.name, reason=reason, repair=repair_key(downtime.name)))
    return findings


def deviation(downtime: Downtime, attributes: Mapping[str, Any]) -> str | None:
    """Explain how a downtime, by its ``attributes`` in Datadog, differs from the stack's; ``None`` if it doesn't.

    An edited message is left to a refresh.
    """
    reason = {
        "canceled": "the downtime was cancelled in Datadog and mutes nothing any more",
        "ended": "the downtime has ended and mutes nothing any more",
        "gone": "the downtime is not in Datadog any more",
    }.get(str(attributes.get("status")))
    if reason:
        return reason
    from components.downtime_names import identity_in_datadog

    # The name holds the schedule that the program set; a refresh may have overwritten the one in the state.
    found = identity_in_datadog(attributes.get("schedule") or {})
    if not (found and downtime.name.endswith(f"-{found}")):
        return f"the downtime's schedule was changed in Datadog: it is {found or 'over'} now"
    if "message" in attributes and attributes["message"] is None:
        return "the downtime's message was removed in Datadog"
    return None


def report(findings: Iterable[Finding]) -> str:
    """Format the findings, one per line."""
    return "\n".join(f"{finding.name}: {finding.reason}" for finding in findings)


@click.command()
@of_one_stack
@click.option("--only", type=click.Choice(["hosts", "datadog"]), help="Check only the hosts, or only Datadog.")
@click.option("--repair", is_flag=True, help="Have the next `pulumi up` repair what was found.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON: name, reason and repair of each finding.")
def command(stack: Stack, only: str | None, repair: bool, as_json: bool) -> None:
    """Find drift on the hosts and in the downtimes.

    Exits with 1 if there is any. --repair records it in watchpost:repairs: the next `pulumi up` reruns the drifted
    steps, with the steps that depend on them, and recreates the downtimes. `pulumi preview --refresh` shows drift in
    the other Datadog resources.
    """
    from settings.project import key

    deployment = stack.export()
    found = steps(deployment) if only != "datadog" else []
    muting = downtimes(deployment) if only != "hosts" else []
    findings = asyncio.run(check_hosts(found))
    if muting:
        with stack.datadog(deployment, "the downtimes can't be checked") as datadog:
            findings += check_downtimes(datadog, muting)
    if as_json:
        click.echo(json.dumps([asdict(finding) for finding in findings]))
    elif findings:
        click.echo(report(findings))
    else:
        looked = [f"{len(found)} steps on the hosts"] if only != "datadog" else []
        looked += [f"{len(muting)} downtimes"] if only != "hosts" else []
        click.echo(f"{' and '.join(looked)} are as the stack left them")
    if repair and findings:
        now = datetime.now(UTC).isoformat(timespec="seconds")
        for name in dict.fromkeys(finding.repair for finding in findings if finding.repair):
            stack.set(f'{key("repairs")}["{name}"]', now)
        click.echo(
            f"recorded in {key('repairs')}: the next `pulumi up` reruns these steps, and recreates these downtimes",
            err=as_json,
        )
    if findings:
        sys.exit(1)

"""Looks for what was changed behind a stack's back: ``python -m components.drift [--repair]``.

Every step that the stack has run on a host is called again as the state has it, but with ``check`` instead of
``apply``: the same script tells whether the host is as the step left it, and changes nothing. Datadog is asked for the
stack's downtimes: the provider takes a cancelled one for one that is there, and is told to ignore schedules. With
``--repair`` what is not as it was is noted in ``watchpost:repairs``: the next ``pulumi up`` runs these steps again,
with what follows from them, and makes these downtimes anew. Everything else that was changed in Datadog is shown by
``pulumi preview --refresh``.

Source: https://docs.datadoghq.com/api/latest/downtimes/#get-a-downtime
"""

import argparse
import asyncio
import contextlib
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import asyncssh

if TYPE_CHECKING:
    from datadog_api_client import ApiClient

COMMAND = "command:remote:Command"
DOWNTIME = "datadog:index/downtimeSchedule:DowntimeSchedule"
PROVIDER = "pulumi:providers:datadog"

LOGIN_SECONDS = 20
"""How long a host may take to let in."""

AT_ONCE = 4
"""How many steps of a host are looked at at the same time."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """A step on a host as the state has it: how to get there, the command that looks, and its standard input."""

    name: str
    connection: Mapping[str, Any]
    command: str
    stdin: str
    vm: bool = False
    """Whether it is on a VM that the stack itself brings up."""


@dataclass(frozen=True, kw_only=True)
class Muting:
    """A downtime as the state has it: its resource's name, which ends with its schedule, and its id."""

    name: str
    identifier: str


@dataclass(frozen=True, kw_only=True)
class Finding:
    """A resource that is not as the stack left it, and why; ``repair`` is its key in ``watchpost:repairs``, if any."""

    name: str
    reason: str
    repair: str | None


class DriftError(Exception):
    """Nothing can be looked at; the message says why."""


def steps(deployment: Mapping[str, Any]) -> list[Step]:
    """The steps of an exported deployment (``pulumi stack export --show-secrets``), in the order in which they ran."""
    return [
        Step(
            name=_name(resource),
            connection=plain(resource["inputs"]["connection"]),
            command=plain(resource["inputs"]["create"]).removesuffix(" apply") + " check",
            stdin=plain(resource["inputs"].get("stdin", "")),
            vm=bool(resource.get("deletedWith")),
        )
        for resource in _resources(deployment, COMMAND)
    ]


def mutings(deployment: Mapping[str, Any]) -> list[Muting]:
    """The downtimes of an exported deployment."""
    return [Muting(name=_name(resource), identifier=resource["id"]) for resource in _resources(deployment, DOWNTIME)]


def _resources(deployment: Mapping[str, Any], kind: str) -> list[Mapping[str, Any]]:
    """Those of a type that the stack has; one that waits to be deleted is none of them."""
    found = (deployment.get("deployment") or {}).get("resources") or []
    return [resource for resource in found if resource["type"] == kind and not resource.get("delete")]


def _name(resource: Mapping[str, Any]) -> str:
    return str(resource["urn"].rpartition("::")[2])


def plain(value: Any) -> Any:
    """A value of an export with its secrets as what they are: a secret may hold others.

    >>> plain({"a": {"plaintext": '{"b": {"plaintext": "\\\\"c\\\\""}}'}})
    {'a': {'b': 'c'}}
    """
    if isinstance(value, Mapping) and "plaintext" in value:
        return plain(json.loads(value["plaintext"]))
    if isinstance(value, Mapping):
        return {key: plain(entry) for key, entry in value.items()}
    return [plain(entry) for entry in value] if isinstance(value, list) else value


async def look(found: Sequence[Step]) -> list[Finding]:
    """Run the check of every step, all hosts at once; those that failed, in the order of the steps."""
    hosts: dict[str, list[Step]] = {}
    for step in found:
        hosts.setdefault(json.dumps(step.connection, sort_keys=True), []).append(step)
    findings = await asyncio.gather(*(_look_at(host) for host in hosts.values()))
    by_name = {finding.name: finding for group in findings for finding in group}
    return [by_name[step.name] for step in found if step.name in by_name]


async def _look_at(found: Sequence[Step]) -> list[Finding]:
    """The findings of one host; one that can't be reached is one finding of its first step."""
    try:
        async with _login(found[0].connection) as host:
            turns = asyncio.Semaphore(AT_ONCE)

            async def check(step: Step) -> Finding | None:
                async with turns:
                    done = await host.run(step.command, input=step.stdin, check=False)
                if not done.exit_status:
                    return None
                # The last word: a login may have said something before.
                said = str(done.stderr or done.stdout).strip().splitlines()
                return Finding(name=step.name, reason=said[-1] if said else "no reason given", repair=step.name)

            return [finding for finding in await asyncio.gather(*map(check, found)) if finding]
    except (OSError, TimeoutError, asyncssh.Error) as error:
        halted = "; `pulumi up` starts a VM that is halted" if found[0].vm else ""
        reason = f"the host can't be looked at: {error or type(error).__name__}{halted}"
        return [Finding(name=found[0].name, reason=reason, repair=found[0].name)]


@contextlib.asynccontextmanager
async def _login(connection: Mapping[str, Any]) -> AsyncIterator[asyncssh.SSHClientConnection]:
    """A connection as the step's own: by the same proxy, too."""
    async with contextlib.AsyncExitStack() as stack:
        proxy = connection.get("proxy")
        tunnel = await stack.enter_async_context(_connect(proxy)) if proxy else None
        yield await stack.enter_async_context(_connect(connection, tunnel))


def _connect(connection: Mapping[str, Any], tunnel: asyncssh.SSHClientConnection | None = None) -> Any:
    """By the same key or the SSH agent, and to the host key where one is known."""
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
    )


def ask(datadog: "ApiClient", found: Sequence[Muting]) -> list[Finding]:
    """The downtimes that don't mute as the stack has them.

    Raises:
        DriftError: Datadog refused to say, or can't be reached.
    """
    from datadog_api_client.exceptions import ApiException
    from datadog_api_client.v2.api.downtimes_api import DowntimesApi
    from urllib3.exceptions import HTTPError

    from components.downtimes import repair_key

    api, findings = DowntimesApi(datadog), []
    for muting in found:
        try:
            attributes = api.get_downtime(muting.identifier).data.attributes.to_dict()
        except ApiException as error:
            if error.status != 404:
                raise DriftError(
                    f"the downtimes can't be looked at: Datadog refused ({error.status} {error.reason}), see DD_API_KEY"
                    " and DD_APP_KEY or datadog:apiKey and datadog:appKey"
                ) from None
            attributes = {"status": "gone"}
        except HTTPError as error:
            raise DriftError(f"the downtimes can't be looked at: Datadog does not answer: {error}") from None
        if reason := unmuted(muting, attributes):
            findings.append(Finding(name=muting.name, reason=reason, repair=repair_key(muting.name)))
    return findings


def unmuted(muting: Muting, attributes: Mapping[str, Any]) -> str | None:
    """Why a downtime doesn't mute as the stack has it; ``attributes`` are Datadog's."""
    reason = {
        "canceled": "the downtime was cancelled in Datadog and mutes nothing any more",
        "ended": "the downtime has ended and mutes nothing any more",
        "gone": "the downtime is not in Datadog any more",
    }.get(str(attributes.get("status")))
    if reason:
        return reason
    # The state may have followed Datadog (`pulumi up --refresh`); the name says what the program made.
    found = repeated(attributes.get("schedule") or {})
    if found and muting.name.endswith(f"-{found}"):
        return None
    return f"the downtime's schedule was changed in Datadog: it is {found or 'over'} now"


def repeated(schedule: Mapping[str, Any]) -> str:
    """When a schedule mutes again and again, as in a resource's name; what happens once is over some day.

    >>> rule = "FREQ=WEEKLY;INTERVAL=1;BYDAY=SA,SU"
    >>> each = {"rrule": rule, "start": "2027-01-02T00:00:00", "duration": "24h"}
    >>> repeated({"timezone": "Europe/Paris", "recurrences": [each]})
    'sa-su-0000-24h-Europe-Paris'
    """
    parts = [
        f"{each['rrule'].rpartition('=')[2].lower().replace(',', '-')}-"
        f"{str(each.get('start'))[11:16].replace(':', '')}-{each['duration']}"
        for each in schedule.get("recurrences") or []
        if "COUNT=" not in each["rrule"]
    ]
    return "-".join([*parts, str(schedule.get("timezone", "")).replace("/", "-")]) if parts else ""


def report(findings: Iterable[Finding]) -> str:
    """The findings, a line each."""
    return "\n".join(f"{finding.name}: {finding.reason}" for finding in findings)


def _run(*words: str) -> Any:
    """What ``pulumi`` printed, parsed.

    Raises:
        DriftError: it failed; it has said why.
    """
    done = subprocess.run(["pulumi", *words], stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise DriftError("the state of the stack can't be read; see above")
    return json.loads(done.stdout)


def _account(deployment: Mapping[str, Any], stack: Sequence[str]) -> "ApiClient":
    """The account that the stack's provider is at, by the keys of its configuration, else of the environment."""
    from components.account import client, of_environment

    config = _run("config", "--json", "--show-secrets", *stack)
    keys = [
        (config.get(f"datadog:{name}", {}).get("value") or of_environment(name)[1]).strip()
        for name in ("apiKey", "appKey")
    ]
    if not all(keys):
        raise DriftError("the downtimes can't be looked at without keys: export DD_API_KEY and DD_APP_KEY")
    providers = _resources(deployment, PROVIDER)
    url = plain(providers[0]["inputs"].get("apiUrl")) if providers else None
    return client(str(url or "https://api.datadoghq.com").rstrip("/"), *keys)


def main() -> None:
    """Read the command line; exits with 1 when there is drift."""
    parser = argparse.ArgumentParser(prog="python -m components.drift", description=__doc__.splitlines()[0])
    parser.add_argument("--stack", help="the stack (default: the selected one)")
    parser.add_argument("--only", choices=("hosts", "datadog"), help="look there alone")
    parser.add_argument("--repair", action="store_true", help="have the next `pulumi up` put it right")
    options = parser.parse_args()
    stack = ["--stack", options.stack] if options.stack else []
    try:
        deployment = _run("stack", "export", "--show-secrets", *stack)
        found = steps(deployment) if options.only != "datadog" else []
        muting = mutings(deployment) if options.only != "hosts" else []
        findings = asyncio.run(look(found))
        if muting:
            with _account(deployment, stack) as datadog:
                findings += ask(datadog, muting)
    except DriftError as error:
        sys.exit(f"watchpost: {error}")
    if not findings:
        looked = f"{len(found)} steps on the hosts" if options.only != "datadog" else ""
        looked += " and " if looked and options.only != "hosts" else ""
        looked += f"{len(muting)} downtimes" if options.only != "hosts" else ""
        print(f"{looked} are as the stack left them")
        return
    print(report(findings))
    now = datetime.now(UTC).isoformat(timespec="seconds")
    repairs = dict.fromkeys(finding.repair for finding in findings if finding.repair)
    for key in repairs if options.repair else ():
        subprocess.run(["pulumi", "config", "set", "--path", f'watchpost:repairs["{key}"]', now, *stack], check=True)
    if options.repair:
        print("noted in watchpost:repairs: the next `pulumi up` runs these steps again, and makes these downtimes anew")
    sys.exit(1)


if __name__ == "__main__":
    main()

"""Looks for what was changed behind a stack's back on its hosts: ``python -m components.drift [--repair]``.

Every step that the stack has run on a host is called again as the state has it, but with ``check`` instead of
``apply``: the same script tells whether the host is as the step left it, and changes nothing. With ``--repair`` the
steps whose host is not are noted in ``watchpost:repairs``, and the next ``pulumi up`` runs them again, with what
follows from them. What was changed in Datadog is shown by ``pulumi preview --refresh``.
"""

import argparse
import asyncio
import json
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import asyncssh

COMMAND = "command:remote:Command"

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
class Finding:
    """A step whose host is not as it left it, and what its script says of that."""

    step: Step
    reason: str


def steps(deployment: Mapping[str, Any]) -> list[Step]:
    """The steps of an exported deployment (``pulumi stack export --show-secrets``), in the order in which they ran."""
    return [
        Step(
            name=resource["urn"].rpartition("::")[2],
            connection=_plain(resource["inputs"]["connection"]),
            command=_plain(resource["inputs"]["create"]).removesuffix(" apply") + " check",
            stdin=_plain(resource["inputs"].get("stdin", "")),
            vm=bool(resource.get("deletedWith")),
        )
        for resource in deployment["deployment"].get("resources", [])
        if resource["type"] == COMMAND
    ]


def _plain(value: Any) -> Any:
    """A value of an export with its secrets as what they are."""
    if isinstance(value, Mapping) and "plaintext" in value:
        return json.loads(value["plaintext"])
    if isinstance(value, Mapping):
        return {key: _plain(entry) for key, entry in value.items()}
    return value


async def look(found: Sequence[Step]) -> list[Finding]:
    """Run the check of every step, all hosts at once; those that failed, in the order of the steps."""
    hosts: dict[str, list[Step]] = {}
    for step in found:
        hosts.setdefault(json.dumps(step.connection, sort_keys=True), []).append(step)
    findings = await asyncio.gather(*(_look_at(host) for host in hosts.values()))
    by_name = {finding.step.name: finding for group in findings for finding in group}
    return [by_name[step.name] for step in found if step.name in by_name]


async def _look_at(found: Sequence[Step]) -> list[Finding]:
    """The findings of one host; one that can't be reached is one finding of its first step."""
    try:
        async with _login(found[0].connection) as host:
            turns = asyncio.Semaphore(AT_ONCE)

            async def check(step: Step) -> Finding | None:
                async with turns:
                    done = await host.run(step.command, input=step.stdin, check=False)
                said = str(done.stderr or done.stdout).strip().splitlines()
                return Finding(step=step, reason=said[0] if said else "no reason given") if done.exit_status else None

            return [finding for finding in await asyncio.gather(*map(check, found)) if finding]
    except (OSError, TimeoutError, asyncssh.Error) as error:
        halted = "; `pulumi up` starts a VM that is halted" if found[0].vm else ""
        return [Finding(step=found[0], reason=f"the host can't be looked at: {error or type(error).__name__}{halted}")]


def _login(connection: Mapping[str, Any]) -> Any:
    """A connection as the step's own, by the same key, and to the same host key where one is known."""
    key, host_key = connection.get("privateKey"), connection.get("hostKey")
    password = connection.get("privateKeyPassword")
    return asyncssh.connect(
        connection["host"],
        port=int(connection.get("port", 22)),
        username=connection["user"],
        client_keys=[asyncssh.import_private_key(key, password)] if key else None,
        agent_path=connection.get("agentSocketPath"),
        known_hosts=([asyncssh.import_public_key(host_key)], [], []) if host_key else None,
        config=None,
        connect_timeout=LOGIN_SECONDS,
    )


def report(findings: Iterable[Finding]) -> str:
    """The findings, a line each."""
    return "\n".join(f"{finding.step.name}: {finding.reason}" for finding in findings)


def main() -> None:
    """Read the command line; exits with 1 when there is drift."""
    parser = argparse.ArgumentParser(prog="python -m components.drift", description=__doc__.splitlines()[0])
    parser.add_argument("--stack", help="the stack (default: the selected one)")
    parser.add_argument("--repair", action="store_true", help="have the next `pulumi up` put it right")
    options = parser.parse_args()
    stack = ["--stack", options.stack] if options.stack else []
    exported = subprocess.run(
        ["pulumi", "stack", "export", "--show-secrets", *stack], stdout=subprocess.PIPE, text=True, check=False
    )
    if exported.returncode:
        sys.exit("watchpost: the state of the stack can't be read; see above")
    found = steps(json.loads(exported.stdout))
    findings = asyncio.run(look(found))
    if not findings:
        print(f"the hosts are as the stack left them ({len(found)} steps looked at)")
        return
    print(report(findings))
    now = datetime.now(UTC).isoformat(timespec="seconds")
    for finding in findings if options.repair else []:
        path = f'watchpost:repairs["{finding.step.name}"]'
        subprocess.run(["pulumi", "config", "set", "--path", path, now, *stack], check=True)
    if options.repair:
        print("noted in watchpost:repairs: the next `pulumi up` runs these steps again")
    sys.exit(1)


if __name__ == "__main__":
    main()

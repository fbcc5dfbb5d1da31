"""Puts a stack right whose run was killed or got no answer: ``python -m components.recover [--stack NAME] [--yes]``.

A run can end between Datadog's making a thing and the stack's state knowing of it. Such a thing carries the stack's
mark (:mod:`components.mark`) while its id is not in the state: it is shown, and removed with ``--yes``. ``pulumi up``
does as much for what it makes anew; this is for everything else, and for looking first. What carries no mark of this
stack is never touched, nor what is in its state.

Sources: https://docs.datadoghq.com/api/latest/ and https://www.pulumi.com/docs/support/troubleshooting/interrupted-updates/
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from datadog_api_client import ApiClient
from datadog_api_client.exceptions import ApiException
from urllib3.exceptions import HTTPError

from components import leftovers, mark
from components.account import client

MARK = "random:index/randomString:RandomString"
EMBED = "datadog:index/secureEmbedDashboard:SecureEmbedDashboard"
PROVIDER = "pulumi:providers:datadog"


class RecoverError(Exception):
    """Nothing can be recovered; the message says why and what to do."""


@dataclass(frozen=True, kw_only=True)
class State:
    """What a stack's state says of Datadog.

    ``pending`` are the operations that were under way when a run ended, such as ``creating my-metric-monitor``;
    ``shared`` are the dashboards whose shared link was just being made.
    """

    mark: str | None
    known: frozenset[str]
    api_url: str | None
    pending: tuple[str, ...]
    shared: frozenset[str]


def read(export: Mapping[str, Any]) -> State:
    """The state that ``pulumi stack export`` printed."""
    deployment = export.get("deployment") or {}
    resources = deployment.get("resources") or []
    pending = deployment.get("pending_operations") or []
    marks = [r["id"] for r in resources if r["type"] == MARK and r["urn"].endswith(f"::{mark.NAME}") and r.get("id")]
    urls = [r["inputs"]["apiUrl"] for r in resources if r["type"] == PROVIDER and r.get("inputs", {}).get("apiUrl")]
    return State(
        mark=f"{mark.PREFIX}{marks[0]}" if marks else None,
        known=frozenset(r["id"] for r in resources if r["type"].startswith("datadog:") and r.get("id")),
        api_url=urls[0] if urls else None,
        pending=tuple(f"{p['type']} {p['resource']['urn'].rpartition('::')[2]}" for p in pending),
        shared=frozenset(
            p["resource"]["inputs"]["dashboardId"]
            for p in pending
            if p["type"] == "creating" and p["resource"]["type"] == EMBED
        ),
    )


@dataclass(frozen=True, kw_only=True)
class Pulumi:
    """The ``pulumi`` of one stack; without ``stack`` the one that is selected, without ``cwd`` the project here."""

    stack: str | None
    cwd: str | None

    def run(self, *words: str) -> str:
        """What it printed.

        Raises:
            RecoverError: it failed, with its own words; a lock's say how to lift it.
        """
        chosen = [*(["--stack", self.stack] if self.stack else []), *(["--cwd", self.cwd] if self.cwd else [])]
        command = ["pulumi", "--non-interactive", *words, *chosen]
        try:
            done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        except FileNotFoundError:
            raise RecoverError("pulumi is not on the PATH") from None
        if done.returncode:
            raise RecoverError(f"`{' '.join(command)}` failed:\n{done.stdout}{done.stderr}".rstrip())
        return done.stdout

    def state(self) -> State:
        """The stack's state as it is now."""
        return read(json.loads(self.run("stack", "export")))

    def refresh(self) -> None:
        """Clear the pending operations. It takes the stack's lock, so it refuses while another run works."""
        self.run("refresh", "--yes", "--skip-preview", "--clear-pending-creates")


def recover(pulumi: Pulumi, datadog: ApiClient, state: State, *, yes: bool) -> int:
    """Show what a killed run left, and with ``yes`` put it right; how many things that are.

    Raises:
        RecoverError: ``pulumi`` failed.
        ApiException: Datadog refused.
    """
    for operation in state.pending:
        print(f"pending   {operation}")
    if yes:
        pulumi.refresh()
    # Datadog is asked before the state: what a run has just made and recorded is then known.
    things = list(leftovers.find(datadog, state.mark)) if state.mark else []
    known = pulumi.state().known
    shared = [thing for thing in things if thing.identifier in state.shared]
    lost = [thing for thing in things if thing.identifier not in known]
    for thing in lost:
        print(f"{thing.kind:<9} {thing.identifier}  {thing.title}")
    for thing in shared:
        print(f"{thing.kind:<9} {thing.identifier}  {thing.title}  (has a shared link that nobody knows)")
    if yes:
        for thing in [*lost, *shared]:
            leftovers.remove(datadog, thing)
        if shared:
            pulumi.refresh()
    return len(state.pending) + len(lost) + len(shared)


def main() -> None:
    """Read the command line; the keys come from DD_API_KEY and DD_APP_KEY, as for the Datadog provider."""
    parser = argparse.ArgumentParser(prog="python -m components.recover", description=__doc__.splitlines()[0])
    parser.add_argument("--stack", metavar="NAME", help="the stack (default: the selected one)")
    parser.add_argument("--cwd", metavar="FOLDER", help="where its Pulumi.yaml is (default: here)")
    parser.add_argument("--yes", action="store_true", help="put it right, instead of only showing what is wrong")
    options = parser.parse_args()
    missing = [name for name in ("DD_API_KEY", "DD_APP_KEY") if not os.environ.get(name)]
    if missing:
        sys.exit(f"watchpost: {' and '.join(missing)} must be set in the environment: the account's keys look into it")
    pulumi = Pulumi(stack=options.stack, cwd=options.cwd)
    try:
        state = pulumi.state()
        host = (state.api_url or os.environ.get("DD_HOST") or "https://api.datadoghq.com").rstrip("/")
        with client(host) as datadog:
            found = recover(pulumi, datadog, state, yes=options.yes)
    except RecoverError as error:
        sys.exit(f"watchpost: {error}")
    except ApiException as error:
        sys.exit(f"watchpost: Datadog at {host} refused: {error.status} {error.reason}: {error.body}")
    except HTTPError as error:
        sys.exit(f"watchpost: Datadog at {host} does not answer: {error}")
    if not found:
        print("nothing was left behind")
    elif options.yes:
        print("put right; `pulumi up` goes on from here")
    else:
        sys.exit("watchpost: this is put right by the same command with --yes, as long as no other run is under way")


if __name__ == "__main__":
    main()

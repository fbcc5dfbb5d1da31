"""All stacks of a fleet, side by side; one that fails doesn't stop the others."""

import importlib.metadata
import subprocess
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from pulumi import automation as auto
from semver import VersionInfo

from components.settings import PROJECT
from fleet import deployment
from fleet.deployment import Operation
from fleet.inventory import FleetError, from_environment, secrets
from fleet.outcome import Outcome
from fleet.progress import Display


def run(operation: Operation, stacks: Mapping[str, Mapping[str, Any]], *, parallel: int) -> list[Outcome]:
    """Do ``operation`` on ``stacks``, a name and a configuration each, at most ``parallel`` at once.

    The stack of the Datadog side, to which the others refer, comes before them, and is destroyed after them.

    Raises:
        FleetError: there is no ``pulumi``, or a secret isn't there; nothing has been touched.
    """
    from_environment(secrets(stacks))
    pulumi = engine()
    with Display(len(stacks)) as display, ThreadPoolExecutor(max_workers=parallel) as pool:

        def one(name: str) -> Outcome:
            display.begin(name)
            outcome = deployment.run(operation, name, stacks[name], pulumi=pulumi, watch=display.step)
            display.end(outcome)
            return outcome

        try:
            return [outcome for wave in waves(operation, stacks) for outcome in pool.map(one, wave)]
        except KeyboardInterrupt:
            # Those at work have got the signal too, and end in order; the others are not to begin.
            pool.shutdown(cancel_futures=True)
            raise


def engine() -> auto.PulumiCommand:
    """The ``pulumi`` on PATH; one built from source, which says no version, is taken to be as new as the SDK.

    Raises:
        FleetError: there is none.
    """
    try:
        pulumi = auto.PulumiCommand(skip_version_check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise FleetError(f"no `pulumi` runs here ({error}): https://www.pulumi.com/docs/install/") from error
    pulumi.version = pulumi.version or VersionInfo.parse(importlib.metadata.version("pulumi"))
    return pulumi


def waves(operation: Operation, stacks: Mapping[str, Mapping[str, Any]]) -> list[list[str]]:
    """The names of ``stacks`` in groups: all of one may be at work at once, each group after the one before it."""
    first = [name for name, config in stacks.items() if config[f"{PROJECT}:part"] == "datadog"]
    order = [first, [name for name in stacks if name not in first]]
    return order[::-1] if operation == "destroy" else order

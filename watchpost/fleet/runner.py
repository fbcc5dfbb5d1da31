"""Runs an operation on all stacks of a fleet in parallel; a failed stack doesn't stop the others."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from settings.project import PROJECT
from watchpost.fleet import deployment
from watchpost.fleet.deployment import Operation
from watchpost.fleet.inventory import from_environment, secrets
from watchpost.fleet.outcome import Outcome
from watchpost.fleet.progress import Display
from watchpost.stack import pulumi_command


def run(operation: Operation, stacks: Mapping[str, Mapping[str, Any]], *, parallel: int) -> list[Outcome]:
    """Run ``operation`` on ``stacks``, which maps names to configurations, at most ``parallel`` at a time.

    The Datadog stack, to which the others refer, comes first, and is destroyed last.

    Raises:
        WatchpostError: ``pulumi`` or a secret is missing; nothing has been changed.
    """
    from_environment(secrets(stacks))
    pulumi = pulumi_command()
    with Display(len(stacks)) as display, ThreadPoolExecutor(max_workers=parallel) as pool:

        def one(name: str) -> Outcome:
            display.begin(name)
            outcome = deployment.run(operation, name, stacks[name], pulumi=pulumi, watch=display.step)
            display.end(outcome)
            return outcome

        try:
            return [outcome for wave in waves(operation, stacks) for outcome in pool.map(one, wave)]
        except KeyboardInterrupt:
            # Running stacks have received the signal too, and end cleanly; the others mustn't start.
            pool.shutdown(cancel_futures=True)
            raise


def waves(operation: Operation, stacks: Mapping[str, Mapping[str, Any]]) -> list[list[str]]:
    """Group the names of ``stacks``: the stacks of a group may run in parallel, the groups in sequence."""
    first = [name for name, config in stacks.items() if config[f"{PROJECT}:part"] == "datadog"]
    order = [first, [name for name in stacks if name not in first]]
    return order[::-1] if operation == "destroy" else order

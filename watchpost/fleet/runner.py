"""All stacks of a fleet, side by side; one that fails doesn't stop the others."""

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
    """Do ``operation`` on ``stacks``, a name and a configuration each, at most ``parallel`` at once.

    The stack of the Datadog side, to which the others refer, comes before them, and is destroyed after them.

    Raises:
        WatchpostError: there is no ``pulumi``, or a secret isn't there; nothing has been touched.
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
            # Those at work have got the signal too, and end in order; the others are not to begin.
            pool.shutdown(cancel_futures=True)
            raise


def waves(operation: Operation, stacks: Mapping[str, Mapping[str, Any]]) -> list[list[str]]:
    """The names of ``stacks`` in groups: all of one may be at work at once, each group after the one before it."""
    first = [name for name, config in stacks.items() if config[f"{PROJECT}:part"] == "datadog"]
    order = [first, [name for name in stacks if name not in first]]
    return order[::-1] if operation == "destroy" else order

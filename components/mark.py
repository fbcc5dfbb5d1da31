"""The mark that things in Datadog carry as one stack's own.

A run that is killed, or whose answer is lost, between Datadog's making a thing and the stack's state knowing of it
leaves that thing behind. By its mark, ``python -m components.recover`` tells it from everybody else's.
"""

import re

import pulumi
import pulumi_random as random

NAME = "mark"
"""The resource that keeps the mark: in the state before anything that carries it is made."""

PREFIX = "watchpost:"


def make() -> pulumi.Output[str]:
    """The stack's mark, ``watchpost:`` and twelve letters and digits: no other stack's, whatever that is called."""
    letters = random.RandomString(NAME, length=12, special=False, upper=False)
    return letters.result.apply(lambda letters: f"{PREFIX}{letters}")


def hooks(name: str) -> pulumi.ResourceHookBinding:
    """The hooks of the resources in Datadog that belong to ``name``."""
    return pulumi.ResourceHookBinding(on_error=[pulumi.ErrorHook(f"{name}-in-doubt", hint)])


def hint(arguments: pulumi.ErrorHookArgs) -> bool:
    """Say what to do about a resource that may have been made though it failed; it isn't tried again."""
    error = arguments.errors[0]
    refused = re.search(r": 4\d\d ", error) and "Duplicate" not in error
    if arguments.failed_operation == "create" and not refused:
        pulumi.log.error(
            f"{arguments.name} may be in Datadog without the stack knowing; see, and remove with --yes, what is:"
            f" python -m components.recover --stack {pulumi.get_stack()}"
        )
    return False

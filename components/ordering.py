"""Ordering without dependencies."""

from typing import Any

import pulumi


def known_after(value: pulumi.Output[str], *others: pulumi.Input[Any]) -> pulumi.Output[str]:
    """Withhold ``value`` until ``others`` are known; resources that take it as an input wait for them.

    Deliberately neither ``depends_on`` nor an output derived from ``others``: without a dependency, ``pulumi destroy``
    and ``--target`` on one side don't involve the other.
    """

    async def wait() -> Any:
        for other in others:
            await pulumi.Output.from_input(other).future()
        return value

    held: pulumi.Output[str] = pulumi.Output.from_input(wait())
    return held

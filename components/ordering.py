"""Order without dependency."""

from typing import Any

import pulumi


def known_after(value: pulumi.Output[str], *others: pulumi.Input[Any]) -> pulumi.Output[str]:
    """``value``, withheld until ``others`` are known: nothing that takes it begins earlier.

    Deliberately not ``depends_on``, and no output made of ``others``: it depends on none of the resources behind them,
    so neither destroying one nor a ``--target`` draws in the other.
    """

    async def wait() -> Any:
        for other in others:
            await pulumi.Output.from_input(other).future()
        return value

    held: pulumi.Output[str] = pulumi.Output.from_input(wait())
    return held

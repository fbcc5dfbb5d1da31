"""The values that every Datadog component shares."""

from dataclasses import dataclass

from components.links import Links
from components.ownership import OwnershipTag


@dataclass(frozen=True, kw_only=True)
class DatadogContext:
    """The ``env`` that is monitored, the ownership tag of the stack, and the links to Datadog's pages."""

    env: str
    ownership: OwnershipTag
    links: Links

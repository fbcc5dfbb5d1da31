"""What every object in Datadog needs to know of the stack that creates it."""

from dataclasses import dataclass

from components.links import Links
from components.ownership import OwnershipTag


@dataclass(frozen=True, kw_only=True)
class DatadogContext:
    """The ``env`` tag that objects are about, the tag of the stack that owns them, and the links to their pages."""

    env: str
    ownership: OwnershipTag
    links: Links

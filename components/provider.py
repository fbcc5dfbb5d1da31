"""The provider that makes everything in Datadog."""

import pulumi_datadog as datadog

from components import links
from components.account import Keys


def provider(name: str, keys: Keys, site: str) -> datadog.Provider:
    """The provider for ``site``. Keys that aren't in the stack's configuration are left to it to find."""
    return datadog.Provider(
        name,
        api_key=keys.api_key_of_stack,
        app_key=keys.app_key_of_stack,
        api_url=keys.api_url or links.api(site),
    )

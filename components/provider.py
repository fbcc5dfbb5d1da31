"""The provider that makes everything in Datadog."""

import pulumi_datadog as datadog

from settings import Credentials, sites


def provider(name: str, credentials: Credentials, site: str) -> datadog.Provider:
    """The provider for ``site``. It finds keys that aren't in the stack's configuration itself."""
    return datadog.Provider(
        name,
        api_key=credentials.api_key_of_stack,
        app_key=credentials.app_key_of_stack,
        api_url=credentials.api_url or sites.api_url(site),
    )

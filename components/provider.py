"""The explicit provider for Datadog's resources."""

import pulumi_datadog as datadog

from settings import Credentials, sites


def provider(name: str, credentials: Credentials, site: str) -> datadog.Provider:
    """Create the provider for ``site``; it reads keys that the stack's configuration lacks from the environment."""
    return datadog.Provider(
        name,
        api_key=credentials.api_key_of_stack,
        app_key=credentials.app_key_of_stack,
        api_url=credentials.api_url or sites.api_url(site),
    )

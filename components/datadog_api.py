"""Datadog's API client, for what the Pulumi provider can't do."""

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datadog_api_client import ApiClient


def client(url: str, api_key: str | None = None, app_key: str | None = None) -> "ApiClient":
    """Create a client for the API at ``url``; keys default to DD_API_KEY and DD_APP_KEY."""
    # Imported here: it takes half a second, and most runs of the program don't call Datadog directly.
    import certifi
    from datadog_api_client import ApiClient, Configuration

    configuration = Configuration(host=url, ssl_ca_cert=os.environ.get("SSL_CERT_FILE", certifi.where()))
    keys = {"apiKeyAuth": api_key, "appKeyAuth": app_key}
    configuration.api_key |= {name: key for name, key in keys.items() if key}
    return ApiClient(configuration)

"""The Datadog account: its keys, and the provider that makes things in it."""

import os
from typing import TYPE_CHECKING

import pulumi
import pulumi_datadog as datadog

from components import links

if TYPE_CHECKING:
    from datadog_api_client import ApiClient


class Keys:
    """The account's keys, looked for where the Datadog provider looks: the stack's secrets, else the environment.

    Source: https://www.pulumi.com/registry/packages/datadog/installation-configuration/
    """

    def __init__(self) -> None:
        config = pulumi.Config("datadog")
        self.api_key_of_stack = config.get_secret("apiKey")
        self.app_key_of_stack = config.get_secret("appKey")
        self.api_url = config.get("apiUrl") or os.environ.get("DATADOG_HOST") or os.environ.get("DD_HOST")
        self._api_key_of_environment = os.environ.get("DATADOG_API_KEY") or os.environ.get("DD_API_KEY")
        self._app_key_of_environment = os.environ.get("DATADOG_APP_KEY") or os.environ.get("DD_APP_KEY")
        self.missing = [
            name
            for name, here in {
                "apiKey": self.api_key_of_stack or self._api_key_of_environment,
                "appKey": self.app_key_of_stack or self._app_key_of_environment,
            }.items()
            if not here
        ]

    @property
    def api_key(self) -> pulumi.Output[str]:
        """The API key, a secret: what the Agents report with."""
        return self.api_key_of_stack or pulumi.Output.secret(self._api_key_of_environment or "")

    @property
    def app_key(self) -> pulumi.Output[str]:
        """The application key, a secret: what reads and makes things in the account."""
        return self.app_key_of_stack or pulumi.Output.secret(self._app_key_of_environment or "")

    def url(self, site: str) -> str:
        """Where Datadog's API answers for ``site``."""
        return (self.api_url or links.api(site)).rstrip("/")

    def provider(self, name: str, site: str) -> datadog.Provider:
        """The provider for ``site``. Keys that aren't in the stack's configuration are left to it to find."""
        return datadog.Provider(
            name,
            api_key=self.api_key_of_stack,
            app_key=self.app_key_of_stack,
            api_url=self.api_url or links.api(site),
        )


def client(url: str, api_key: str | None = None, app_key: str | None = None) -> "ApiClient":
    """Datadog's own client for the API at ``url``; keys that aren't given are read from DD_API_KEY and DD_APP_KEY."""
    # Imported here, since it takes half a second and most runs of the program don't talk to Datadog themselves.
    import certifi
    from datadog_api_client import ApiClient, Configuration

    configuration = Configuration(host=url, ssl_ca_cert=os.environ.get("SSL_CERT_FILE", certifi.where()))
    keys = {"apiKeyAuth": api_key, "appKeyAuth": app_key}
    configuration.api_key |= {name: key for name, key in keys.items() if key}
    return ApiClient(configuration)

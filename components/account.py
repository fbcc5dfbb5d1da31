"""The Datadog account: its keys, and the provider that makes things in it."""

import os

import pulumi
import pulumi_datadog as datadog

from components import links


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
        app_key_of_environment = os.environ.get("DATADOG_APP_KEY") or os.environ.get("DD_APP_KEY")
        self.missing = [
            name
            for name, here in {
                "apiKey": self.api_key_of_stack or self._api_key_of_environment,
                "appKey": self.app_key_of_stack or app_key_of_environment,
            }.items()
            if not here
        ]

    @property
    def api_key(self) -> pulumi.Output[str]:
        """The API key, a secret: what the Agents report with."""
        return self.api_key_of_stack or pulumi.Output.secret(self._api_key_of_environment or "")

    def provider(self, name: str, site: str) -> datadog.Provider:
        """The provider for ``site``. Keys that aren't in the stack's configuration are left to it to find."""
        return datadog.Provider(
            name,
            api_key=self.api_key_of_stack,
            app_key=self.app_key_of_stack,
            api_url=self.api_url or links.api(site),
        )

"""The Datadog account's keys and the address of its API."""

import json
import os
from collections.abc import Collection
from urllib.parse import urlsplit

import pulumi
from pulumi.runtime.config import CONFIG, get_config_env
from pulumi.runtime.proto.resource_pb2_grpc import ResourceMonitorStub
from pulumi.runtime.settings import get_monitor

from settings import key_check, sites
from settings.project import key

VARIABLES = {
    "apiKey": ("DD_API_KEY", "DATADOG_API_KEY"),
    "appKey": ("DD_APP_KEY", "DATADOG_APP_KEY"),
    "apiUrl": ("DD_HOST", "DATADOG_HOST"),
}
"""The environment variables that the provider falls back to, in order of precedence.

Source: https://github.com/DataDog/terraform-provider-datadog/blob/v4.19.0/datadog/internal/utils/utils.go
"""


class Credentials:
    """The account's keys, resolved as the Datadog provider does: from the stack's secrets, else the environment.

    Whitespace around a key in the configuration, such as a trailing newline, is stripped.

    Source: https://www.pulumi.com/registry/packages/datadog/installation-configuration/
    """

    def __init__(self) -> None:
        config = pulumi.Config("datadog")
        self.api_key_of_stack, self.app_key_of_stack = (
            pulumi.Output.secret(value) if (value := _of_stack(name)) else None for name in ("apiKey", "appKey")
        )
        self.api_url = (config.get("apiUrl") or of_environment("apiUrl")[1]).strip()

    @property
    def missing(self) -> list[str]:
        """The keys that are set nowhere, by the provider's names."""
        return [name for name in ("apiKey", "appKey") if _key(name) is None]

    def faults(self, needed: Collection[str], site: str = "") -> list[str]:
        """Describe each key of ``needed`` that is missing or malformed, and an API address that is, or of another site.

        Each is a sentence.
        """
        faults = [
            f"datadog:{name} is not set: `pulumi config set --secret datadog:{name}` asks for it,"
            f" or export {VARIABLES[name][0]} (create keys under Organization Settings)"
            for name in self.missing
            if name in needed
        ]
        faults += [fault for name in needed if (found := _key(name)) and (fault := found.fault)]
        if self.api_url and not _is_address(self.api_url):
            faults.append(
                f"{self._api_url_shown}: must be the address of Datadog's API, such as https://api.datadoghq.com;"
                " set it with: pulumi config set datadog:apiUrl URL"
            )
        elif (other := sites.site_of(self.api_url)) and site in sites.SITES and other != site:
            faults.append(
                f"{self._api_url_shown}: must be the API of {key('site')}, {site}, where Agents report and links lead;"
                f" remove it, or set the site with: pulumi config set {key('site')} {other}"
            )
        return faults

    @property
    def _api_url_shown(self) -> str:
        """Which setting holds the API's address, and its value."""
        setting = "datadog:apiUrl" if pulumi.Config("datadog").get("apiUrl") else of_environment("apiUrl")[0]
        return f"{setting} is {json.dumps(self.api_url.rpartition('@')[2])}"

    def check(self, site: str, needed: Collection[str]) -> key_check.Check | None:
        """Start checking the keys of ``needed`` with Datadog; ``None`` without a key, an engine, or a way.

        There is no way through a SOCKS proxy, or one that speaks TLS.
        """
        api_key, app_key = _key("apiKey"), _key("appKey") if "appKey" in needed else None
        if api_key is None or not isinstance(get_monitor(), ResourceMonitorStub):
            return None
        if urlsplit(key_check.proxy_for(self.url(site))).scheme not in ("", "http"):
            return None  # the provider knows other proxies, Python's library doesn't
        choose = (
            "check datadog:apiUrl (or DD_HOST)"
            if self.api_url
            else f"{key('site')} is {json.dumps(site)}, set another with: pulumi config set {key('site')} SITE"
        )
        return key_check.Check(self.url(site), choose, api_key, app_key)

    @property
    def api_key(self) -> pulumi.Output[str]:
        """The API key, a secret, with which the Agents report."""
        return self.api_key_of_stack or pulumi.Output.secret(of_environment("apiKey")[1])

    @property
    def app_key(self) -> pulumi.Output[str]:
        """The application key, a secret, which reading and creating objects in the account requires."""
        return self.app_key_of_stack or pulumi.Output.secret(of_environment("appKey")[1])

    def url(self, site: str) -> str:
        """Return the address of Datadog's API for ``site``."""
        return (self.api_url or sites.api_url(site)).rstrip("/")


def of_environment(name: str) -> tuple[str, str]:
    """Return the environment variable that holds a provider setting, and its value, empty if none is set."""
    return next(((v, os.environ[v]) for v in VARIABLES[name] if os.environ.get(v)), (VARIABLES[name][0], ""))


def whole_configuration() -> dict[str, str]:
    """Return the stack's configuration, secrets in plain text; `pulumi.Config` reads only one key, and lists none."""
    return {**get_config_env(), **CONFIG.get()}


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        found = parts.hostname and (parts.port or 1) and "@" not in parts.netloc
    except ValueError:
        return False
    return bool(found) and parts.scheme in ("http", "https") and all("!" <= character <= "~" for character in url)


def _key(name: str) -> key_check.Key | None:
    """Return a key in plain text; only for :mod:`settings.key_check`."""
    option = f"datadog:{name}"
    if of_stack := _of_stack(name):
        return key_check.Key(value=of_stack, setting=option, remedy=f"`pulumi config set --secret {option}` asks for")
    variable, value = of_environment(name)
    return key_check.Key(value=value, setting=variable, remedy=f"export {variable} with") if value else None


def _of_stack(name: str) -> str:
    """Return a key of the stack's configuration, in plain text; empty if there is none."""
    return str(whole_configuration().get(f"datadog:{name}") or "").strip()

"""Determines the host name that the Agent reports under, as the real one does.

Sources, in https://github.com/DataDog/datadog-agent: ``pkg/util/hostname/providers.go`` and ``common.go`` there for the
order, ``pkg/util/hostname/validate/validate.go`` for valid names. Clouds and containers are left out.
"""

import re
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

LOCAL = ("localhost", "localhost.localdomain", "localhost6.localdomain6", "ip6-localhost")
LONGEST = 255
LABEL = "([a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
RFC1123 = re.compile(rf"({LABEL}\.)*{LABEL}")
UNKNOWN = (
    "unable to reliably determine the host name. You can define one in the agent config file or in your hosts file"
)


@dataclass(frozen=True, kw_only=True)
class Hostname:
    """The name, its provider, and why other providers failed, as in ``hostnameStats`` of ``status -j``."""

    name: str
    provider: str
    errors: dict[str, str]


class HostnameError(Exception):
    """No provider knows a name."""


def fault(name: str) -> str:
    """Explain why ``name`` is invalid, in the Agent's words; empty if it is valid."""
    if not name:
        return "hostname is empty"
    if name.lower() in LOCAL:
        return f"{name} is a local hostname"
    if len(name) > LONGEST:
        return f"name exceeded the maximum length of {LONGEST} characters"
    return "" if RFC1123.fullmatch(name) else f"{name} is not RFC1123 compliant"


def find(configured: str, file: str = "", machine: Callable[[], str] = socket.gethostname) -> Hostname:
    """Return the first valid name: ``configured``, the content of ``file``, or the machine's own, taken as it is.

    Raises:
        HostnameError: there is none.
    """
    errors: dict[str, str] = {}
    if not (why := fault(configured)):
        return Hostname(name=configured, provider="configuration", errors=errors)
    errors["'hostname' configuration/environment"] = why
    if not file:
        why = "'hostname_file' configuration is not enabled"
    else:
        try:
            name = Path(file).read_text().strip()
        except (OSError, UnicodeDecodeError) as error:
            why = f"Could not read hostname from {file}: {error}"
        else:
            if not (why := fault(name)):
                return Hostname(name=name, provider="hostnameFile", errors=errors)
    errors["'hostname_file' configuration/environment"] = why
    if name := machine():
        return Hostname(name=name, provider="os", errors=errors)
    raise HostnameError(UNKNOWN)

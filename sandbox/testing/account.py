"""Counts an account's objects, and changes them behind the stack's back."""

import json
import urllib.request
from collections.abc import Mapping
from typing import Any

from sandbox.datadog import Account
from sandbox.stack import Stack

ONE_OF_EACH = {"monitors": 1, "dashboards": 2, "downtimes": 2, "embeds": 1}
"""The objects that a stack creates in Datadog."""

NONE = dict.fromkeys(ONE_OF_EACH, 0)


def content(account: Account) -> dict[str, int]:
    """Count the account's objects by kind."""
    return {
        "monitors": len(account.monitors()),
        "dashboards": len(account.dashboards()),
        "downtimes": len(account.downtimes()),
        "embeds": len(account.embeds()),
    }


def call(stack: Stack, method: str, path: str, body: Mapping[str, Any] | None = None) -> None:
    """Call Datadog's API as somebody else would."""
    account = stack.account
    headers = {"DD-API-KEY": account.api_key, "DD-APPLICATION-KEY": account.app_key, "Content-Type": "application/json"}
    data = json.dumps(body).encode() if body is not None else None
    request = urllib.request.Request(f"{account.url}{path}", data=data, headers=headers, method=method)  # noqa: S310
    with urllib.request.urlopen(request, timeout=10):  # noqa: S310 - the account is on loopback
        pass

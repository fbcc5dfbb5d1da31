"""Counts an account's objects, and changes them behind the stack's back."""

from collections.abc import Mapping
from typing import Any

import urllib3

from sandbox.datadog import Account
from sandbox.stack import Stack

ONE_OF_EACH = {"monitors": 1, "dashboards": 2, "downtimes": 2, "shared": 1}
"""The objects that a stack creates in Datadog."""

NONE = dict.fromkeys(ONE_OF_EACH, 0)


def content(account: Account) -> dict[str, int]:
    """Count the account's objects by kind."""
    return {
        "monitors": len(account.monitors()),
        "dashboards": len(account.dashboards()),
        "downtimes": len(account.downtimes()),
        "shared": len(account.public_dashboards()) + len(account.embeds()),
    }


def request(account: Account, method: str, path: str, body: object = None) -> urllib3.BaseHTTPResponse:
    """Call Datadog's API as somebody else would, with the account's keys."""
    headers = {"DD-API-KEY": account.api_key, "DD-APPLICATION-KEY": account.app_key}
    return urllib3.request(method, f"{account.url}{path}", headers=headers, json=body, timeout=30, retries=False)


def call(stack: Stack, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
    """Call Datadog's API as somebody else would, and return the answer's JSON; assert that it is not refused."""
    answer = request(stack.account, method, path, body)
    assert answer.status < 400, answer.data
    return answer.json() if answer.data else None

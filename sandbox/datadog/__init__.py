"""A stand-in for Datadog: its HTTP API on loopback, over SQLite, for those who have no account.

It accepts what Datadog's own client library accepts, refuses what Datadog's servers are known to refuse, and keeps
the rest. `Account` starts it and looks into it.
"""

from sandbox.datadog.account import API_KEY, APP_KEY, Account

__all__ = ["API_KEY", "APP_KEY", "Account"]

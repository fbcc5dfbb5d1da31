"""A stand-in for Datadog: its HTTP API on loopback, over SQLite, for those who have no account.

It refuses what Datadog's own client library or servers are known to refuse, and stores the rest. `Account` starts and
inspects it.
"""

from sandbox.datadog.account import API_KEY, APP_KEY, Account

__all__ = ["API_KEY", "APP_KEY", "Account"]

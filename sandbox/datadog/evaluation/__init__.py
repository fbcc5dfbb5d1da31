"""Evaluates what the account holds, as Datadog's servers do: queries to series, monitors to states and messages.

Only the forms of queries that Watchpost uses are evaluated; any other is refused by name (`UnknownFormError`), never
guessed. ``docs/sandbox.md`` lists what Datadog doesn't document, such as the exact band of ``anomalies``.
"""

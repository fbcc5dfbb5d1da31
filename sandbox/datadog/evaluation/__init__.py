"""What Datadog's servers make of what they hold: series out of queries, states and messages out of monitors.

Only the forms of queries that Watchpost uses are evaluated; any other is refused by name (`UnknownFormError`), never
guessed. What isn't documented, such as the exact band of ``anomalies``, is told in ``docs/sandbox.md``.
"""

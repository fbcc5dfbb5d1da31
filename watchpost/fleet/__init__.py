"""A fleet of many hosts: shards of one stack each, beside one stack for Datadog; ``python -m watchpost fleet``.

How to use it, and what grows how: ``docs/fleet.md``.
"""

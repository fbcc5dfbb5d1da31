"""A fleet of many hosts: cut into shards, one stack each, beside one stack for the Datadog side; ``python -m fleet``.

How to use it, and what grows how: ``docs/fleet.md``.
"""

"""Fleets of many hosts: one stack per shard, plus one stack for Datadog; ``python -m watchpost fleet``.

Usage and scaling: ``docs/fleet.md``.
"""

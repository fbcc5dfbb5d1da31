"""Watchpost's components, and the pure functions that they are made of: hosts, what runs on them, and Datadog."""

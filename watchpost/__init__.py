"""Watchpost's command line: ``python -m watchpost --help``."""

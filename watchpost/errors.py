"""Errors of the command line."""


class WatchpostError(Exception):
    """Ends a command; the message names the cause and the remedy, in one sentence or a list of them."""

"""What a command can't do."""


class WatchpostError(Exception):
    """One sentence, or a list of them, that names the cause and the way out; the command ends with it."""

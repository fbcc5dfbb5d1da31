"""The command line for people who run Watchpost: ``python -m watchpost --help``."""

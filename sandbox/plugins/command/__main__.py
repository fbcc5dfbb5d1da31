"""``python -m sandbox.plugins.command``: serve the stand-in to the engine that starts it."""

from sandbox.plugins.command.provider import CommandProvider
from sandbox.plugins.serve import main

main("command", CommandProvider)

"""``python -m sandbox.plugins.datadog``: started by the engine."""

from sandbox.plugins.datadog.provider import Datadog
from sandbox.plugins.serve import main

if __name__ == "__main__":
    main("datadog", Datadog)

"""Start-up tuning; most runs are one-second no-op previews. Measured in ``docs/performance.md``."""

from startup.process import tune
from startup.slim import lighten


def prepare() -> None:
    """Speed up the process's start and exit; call it before the first import of a provider SDK."""
    tune()
    lighten("pulumi_datadog")

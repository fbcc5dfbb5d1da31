"""Start-up tuning; most runs are one-second previews with nothing to change. Measured in ``docs/performance.md``."""

from startup.process import tune
from startup.slim import lighten


def prepare() -> None:
    """Make this process start and end quickly; call it before the first import of a provider's SDK."""
    tune()
    lighten("pulumi_datadog")

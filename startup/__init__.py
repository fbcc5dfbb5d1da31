"""What makes the program's process quick, and changes nothing that it does; measured in ``docs/performance.md``."""

from startup.process import tune
from startup.slim import lighten


def prepare() -> None:
    """Make this process start and end quickly; call it before the first import of a provider's SDK."""
    tune()
    lighten("pulumi_datadog")

"""The top-level options of ``datadog.yaml``, to catch typos in ``watchpost:agentConfig``.

Names only: those in the Agent's published template, and others that its code sets a default for or Datadog's
documentation mentions. The Agent silently ignores unknown options, so a typo would show nowhere else. The list is
incomplete: a name that resembles none on it is accepted, with a warning.

Sources, of https://github.com/DataDog/datadog-agent: pkg/config/config_template.yaml at commit 0007516b1df9, and the
first half of pkg/config/setup/common_settings.go at commit 004235dadf8f
"""

from functools import cache
from pathlib import Path

TEMPLATE = "from config_template.yaml and common_settings.go of datadog-agent"
"""The names' origin, as quoted in a warning."""


@cache
def known() -> frozenset[str]:
    """Read the known names, on first use."""
    return frozenset(Path(__file__).with_suffix(".txt").read_text(encoding="utf-8").split())


MISTAKE = 2
"""The largest distance of a typo: letters that are missing, extra, wrong, or swapped with the next."""


def nearest(key: str) -> str | None:
    """Return the known name closest to an unknown one; ``None`` if ``key`` is known or resembles none.

    >>> nearest("apm_confg"), nearest("procces_config"), nearest("logsEnabled")
    ('apm_config', 'process_config', 'logs_enabled')
    >>> nearest("apm_config"), nearest("my_own_section")
    (None, None)
    """
    if key in known():
        return None
    most = MISTAKE if len(key) > 5 else 1
    found = min((distance(key.lower(), name.lower()), name) for name in known())
    return found[1] if found[0] <= most else None


def distance(one: str, other: str) -> int:
    """Return the optimal string alignment distance, which counts two swapped letters as one edit.

    >>> distance("proxy", "porxy"), distance("env", "envs"), distance("site", "tags")
    (1, 1, 4)
    """
    before: list[int] = []
    last = list(range(len(other) + 1))
    for i, a in enumerate(one, 1):
        row = [i]
        for j, b in enumerate(other, 1):
            row.append(min(last[j] + 1, row[j - 1] + 1, last[j - 1] + (a != b)))
            if i > 1 and j > 1 and a == other[j - 2] and one[i - 2] == b:
                row[j] = min(row[j], before[j - 2] + 1)
        before, last = last, row
    return last[-1]

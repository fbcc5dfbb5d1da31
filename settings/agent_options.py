"""The names that ``datadog.yaml`` may hold at its top, to tell a typing mistake in ``watchpost:agentConfig``.

Names only: of what the Agent's published template documents, and of further ones that its code sets a default for, or
that Datadog's documentation names. The Agent takes a name that it doesn't know without a word, so a mistake would show
nowhere else. The list is not whole: whatever resembles no name of it is taken, with a warning.

Sources, of https://github.com/DataDog/datadog-agent: pkg/config/config_template.yaml at commit 0007516b1df9, and the
first half of pkg/config/setup/common_settings.go at commit 004235dadf8f
"""

from functools import cache
from pathlib import Path

TEMPLATE = "from config_template.yaml and common_settings.go of datadog-agent"
"""Where the names come from, as a warning says it."""


@cache
def known() -> frozenset[str]:
    """The names; read only where there is something to look up."""
    return frozenset(Path(__file__).with_suffix(".txt").read_text(encoding="utf-8").split())


MISTAKE = 2
"""How many letters a typing mistake gets wrong: missing, needless, another one, or two exchanged."""


def nearest(key: str) -> str | None:
    """The known name that was meant by an unknown one; none where it resembles no other.

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
    """How many letters differ: the optimal string alignment distance, with two exchanged letters as one.

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

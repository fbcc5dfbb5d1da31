"""Changes one setting at a time: what it updates, connects to and restarts, and how long that takes."""

from collections.abc import Mapping
from statistics import median

from bench import stage
from bench.measure import timed
from bench.report import Report
from sandbox.progress import SandboxError, say
from sandbox.stack import Stack
from sandbox.testing.stacks import Update, logins, starts
from sandbox.testing.stacks import up as update

CHANGES: Mapping[str, object] = {
    "alertThreshold": 850,
    "windowMinutes": 4,
    "recipients": ["other@example.com"],
    "officeStart": "08:30",
    "timezone": "Europe/Rome",
    "checkInterval": 30,
    "tags": ["project:watchpost", "team:example"],
    "version": "1.1.0",
    "loadRequests": 60,
    "service": "other-app",
    "shareDashboards": "no",
}
"""New values of settings; each is changed alone, and changed back."""

SHOWN = {"create": "+", "delete": "-", "replace": "±", "update": ""}
"""Marks of operations in the table."""


def run(runs: int) -> Report:
    """Change each setting there and back, at least ``runs`` times in total."""
    report = Report(
        title="One changed setting",
        header=("setting", "resources updated", "SSH connections", "Agent restarts", "writes to Datadog", "seconds"),
    )
    with stage.stack("settings") as stack:
        stage.up(stack)
        original = {name: stack.setting(name) for name in CHANGES}
        for name, value in CHANGES.items():
            rows, taken = [], []
            for _ in range((runs + 1) // 2):
                for wanted in (value, original[name]):
                    stack.configure(**{name: wanted})
                    row, elapsed = _changed(stack)
                    rows.append(row)
                    taken.append(elapsed)
            counts = [row[1:] for row in rows]
            if len(set(counts)) > 1:
                report.notes.append(f"`{name}`: connections, restarts and writes, there and back: {counts}")
            report.rows.append((f"`{name}`", rows[0][0], *map(str, counts[0]), f"{median(taken):.1f}"))
            report.figures[name] = taken
            say(" | ".join(report.rows[-1]))
    return report


def _changed(stack: Stack) -> tuple[tuple[str, int, int, int], float]:
    """Bring the stack up; return the updates, connections, restarts and writes, and the seconds it took."""
    machine = stack.machines["vm"]
    before = (logins(machine), starts(machine, "datadog-agent"), len(stack.account.writes()))
    done: list[Update] = []
    elapsed = timed(lambda: done.append(update(stack)))
    if done[0].code:
        raise SandboxError(f"the stack could not be updated: {done[0].text}")
    after = (logins(machine), starts(machine, "datadog-agent"), len(stack.account.writes()))
    looks = 2  # connections of counting itself:
    connections, restarts, writes = (new - old for old, new in zip(before, after, strict=True))
    names = {kind: sorted(set(changed)) for kind, changed in done[0].changed.items() if kind in SHOWN}
    shown = "; ".join(", ".join(f"{SHOWN[kind]}{name}" for name in found) for kind, found in sorted(names.items()))
    return (shown, connections - looks, restarts, writes), elapsed

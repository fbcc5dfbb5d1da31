"""A table of how hosts with each trait fared in each phase of a stack's life, printed after the tests.

A test names its host's traits and wraps each phase in :meth:`Life.part`; the table is built from the test reports,
which also come from other processes.
"""

import contextlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from sandbox.machine import Machine
from sandbox.stack import Stack
from sandbox.testing.stacks import drift, host_state, up

PARTS = ("first step", "up", "nothing to change", "a change", "drift", "destroy")
"""The phases of a life, in order."""

PROPERTY = "life"
"""The property of a test report with the phases."""


@dataclass(frozen=True)
class Life:
    """Records the life of a host with ``traits``."""

    record: Callable[[str, object], None]
    traits: tuple[str, ...]

    @contextlib.contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Record the outcome of this phase."""
        assert name in PARTS
        ended = "FAILED"
        try:
            yield
            ended = "ok"
        finally:
            for trait in self.traits:
                self.record(PROPERTY, (trait, name, ended))


def table(noted: Iterable[tuple[str, str, str]]) -> list[str]:
    """Format the table: successes per trait and phase, or FAILED.

    >>> print(*table([("fish", "up", "ok"), ("fish", "up", "ok"), ("fish", "drift", "FAILED")]), sep="\\n")
    trait  first step  up    nothing to change  a change  drift   destroy
    fish   -           2 ok  -                  -         FAILED  -
    """
    found: dict[str, dict[str, list[str]]] = {}
    for trait, part, ended in noted:
        found.setdefault(trait, {}).setdefault(part, []).append(ended)
    rows = [["trait", *PARTS]]
    for trait, parts in found.items():
        cells = [parts.get(part, []) for part in PARTS]
        rows.append(
            [
                trait,
                *("FAILED" if "FAILED" in x else f"{len(x)} ok" if len(x) > 1 else "".join(x) or "-" for x in cells),
            ]
        )
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def live(
    life: Life,
    stack: Stack,
    machine: Machine,
    *,
    once_up: Callable[[], None] = lambda: None,
    host: str = "vm",
    also_changed: tuple[str, ...] = (),
    **changed: Any,
) -> None:
    """Take a stack through its whole life on one host: up, up again, changed, drifted, repaired, destroyed.

    ``once_up`` is called between the first two, ``changed`` are the changed settings, ``also_changed`` what the tests'
    own logins leave behind.
    """
    before = host_state(machine)
    with life.part("up"):
        made = up(stack)
        assert made.code == 0, made.text
        assert stack.outputs()["hosts"][host]["proofs"]["my_metric"]["tags"] == ["custom_check:my_metric"]
        assert not any(name.endswith("-again") for name in made.names("create"))
    once_up()
    with life.part("nothing to change"):
        again = up(stack)
        assert (again.code, again.names("create", "update", "delete", "replace")) == (0, set()), again.text
    with life.part("a change"):
        stack.configure(**(changed or {"checkInterval": 33}))
        done = up(stack)
        assert done.code == 0, done.text
        assert done.names("update")
        assert not done.names("create", "replace", "delete"), done.changed
        assert up(stack).names("create", "update", "delete", "replace") == set()
    with life.part("drift"):
        assert drift(stack).returncode == 0
        machine.run("echo '# edited' >>/etc/datadog-agent/checks.d/my_metric.py; systemctl stop watchpost-app")
        looked = drift(stack, "--repair")
        assert looked.returncode == 1, looked.stdout + looked.stderr
        assert f"{host}-my-metric-code: " in looked.stdout
        assert f"{host}-app-service: " in looked.stdout
        repaired = up(stack)
        assert repaired.code == 0, repaired.text
        looked = drift(stack)
        assert looked.returncode == 0, looked.stdout + looked.stderr
    with life.part("destroy"):
        stack.destroy()
        changes = sorted(before ^ host_state(machine))
        left = [line for line in changes if not any(path in line for path in also_changed)]
        assert not left, "\n".join(left)

"""What the engine tests share: a stack of their own, what a host consists of, and what an update did."""

import json
import os
import shlex
import signal
import subprocess
from collections.abc import Callable
from dataclasses import dataclass

from sandbox.machine import Machine
from sandbox.stack import Stack

LOOK = r"""
dpkg-query -W -f 'package ${db:Status-Status} ${binary:Package}\n'
cut -d : -f 1 /etc/passwd /etc/group | sed 's/^/name /'
find /etc /opt /usr/local /usr/share/keyrings /var/lib/watchpost /var/lib/mysql -xdev \
    ! -path '/etc/ld.so.cache' ! -name 'passwd*' ! -name 'group*' ! -name 'shadow*' ! -name 'gshadow*' \
    ! -name 'subgid*' ! -name 'subuid*' ! -name '.pwd.lock' -printf 'file %y %m %u:%g %p ' \
    \( -type f -exec sh -c 'sha256sum "$0" | cut -c 1-64' {} \; -o -printf '\n' \) 2>/dev/null
systemctl list-unit-files --no-legend | awk '{ print "unit", $1, $2 }'
"""
"""Everything on a host that could tell that Watchpost has been there, but for what Debian's own tools log."""


def host_state(machine: Machine) -> set[str]:
    """Packages, users, groups, files with owner, mode and content, and units of a machine, a line each."""
    return set(machine.run(LOOK, check=False).stdout.splitlines())


@dataclass(frozen=True)
class Update:
    """What one run of ``pulumi up`` did: the resources by what became of them."""

    changed: dict[str, list[str]]
    text: str
    code: int

    def names(self, *operations: str) -> set[str]:
        """The logical names of the resources that went through one of ``operations``, such as ``update``."""
        return {name for operation in operations for name in self.changed.get(operation, [])}


def up(stack: Stack, *words: str, environment: dict[str, str] | None = None) -> Update:
    """Run ``pulumi up`` and read what it did off the engine's events."""
    events = stack.folder / "events.json"
    events.unlink(missing_ok=True)
    done = stack.pulumi(
        "up", "--yes", "--skip-preview", "--stack", stack.name, "--event-log", str(events), *words,
        check=False, environment={"PULUMI_DEBUG_COMMANDS": "true", **(environment or {})},
    )  # fmt: skip
    changed: dict[str, list[str]] = {}
    for line in events.read_text().splitlines() if events.exists() else []:
        metadata = json.loads(line).get("resOutputsEvent", {}).get("metadata")
        if metadata:
            changed.setdefault(metadata["op"], []).append(metadata["urn"].rpartition("::")[2])
    return Update(changed, done.stdout + done.stderr, done.returncode)


def steered(stack: Stack, *turns: tuple[str, Callable[[int], object]]) -> Update:
    """Run ``pulumi up`` and do each turn, in order, once a line holds its words; not told is what changed.

    A turn is called with the process group of ``pulumi``.
    """
    command = ["pulumi", "--non-interactive", "-C", str(stack.folder / "project"), "up", "--yes", "--skip-preview"]
    printed, left = [], list(turns)
    with subprocess.Popen(
        [*command, "--stack", stack.name],
        env=stack.environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stdout
        try:
            for line in process.stdout:
                printed.append(line)
                if left and left[0][0] in line:
                    left.pop(0)[1](process.pid)
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            raise
    text = "".join(printed)
    assert not left, text
    return Update({}, text, process.returncode)


def inode(machine: Machine, path: str) -> str:
    """Which file is at ``path``, and when it was written: another one after every rewrite."""
    return machine.run(f"stat -c '%i %y' {shlex.quote(path)}").stdout


def starts(machine: Machine, unit: str) -> int:
    """How often systemd has started ``unit``."""
    found = machine.run(f"journalctl -u {unit} -o cat --no-pager | grep -c '^Started' || true").stdout
    return int(found)


def logins(machine: Machine) -> int:
    """How often somebody logged in over SSH."""
    return int(machine.run("journalctl -t sshd -o cat --no-pager | grep -c '^Accepted' || true").stdout)

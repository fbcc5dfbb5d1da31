"""Brings stacks up, checks drift and recovers them as a user does; shows changes in the stack and on a host."""

import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sandbox import paths
from sandbox.machine import Machine
from sandbox.stack import Stack

LOOK = r"""
export LC_ALL=C
cache=$(mktemp -d)
apt="-o Dir::Cache::pkgcache=$cache/packages -o Dir::Cache::srcpkgcache=$cache/sources"
dpkg-query -W -f 'package ${db:Status-Status} ${binary:Package} ${Version}\n'
dpkg --audit | sed 's/^/unfinished /'
apt-mark $apt showhold | sed 's/^/hold /'
apt-mark $apt showmanual | sed 's/^/manual /'
echo "apt check $(apt-get $apt -qq check 2>&1)"
echo "apt sources $(apt-get $apt -qq update --print-uris 2>&1 >/dev/null)"
rm -r "$cache"
sed 's/^/user /' /etc/passwd
sed 's/^/group /' /etc/group
systemctl list-unit-files --no-legend | awk '{ print "unit", $1, $2 }'
systemctl list-units --no-legend --plain --state=active,failed --type=service,timer,socket |
    awk '!/user@|user-runtime-dir@|session-/ { print "running unit", $1, $3 }'
ps -eo user:32,args --no-headers | grep -vE '^root +(sudo|ps|grep|sed|bash -c|\[)|sshd|systemd --user|\(sd-pam\)' |
    sed 's/^/process /'
places='/ /tmp /var/tmp /dev/shm /run'
find $places -xdev \( @EXCEPT@ \) -prune -o -printf 'file %y %m %u:%g %p %l\n'
find $places -xdev \( -path /usr -o @EXCEPT@ \) -prune -o -type f -print0 | xargs -0 sha256sum --
find /usr -xdev -type f -printf 'size %s %T@ %p\n'
"""
"""Prints everything on a host that could show traces of Watchpost; for /usr only sizes and times."""

EXCEPT = {
    "no file on a disk": "/proc /sys /dev/pts /dev/mqueue /dev/hugepages",
    "logs of Debian's own tools": (
        "/var/log/apt/* /var/log/dpkg.log /var/log/alternatives.log /var/log/journal/*"
        " /var/log/wtmp /var/log/btmp /var/log/lastlog /var/log/faillog"
    ),
    "databases of dpkg and apt, compared by what these say": "/var/lib/dpkg/status /var/lib/apt/extended_states",
    "the version before of files that are compared": (
        "/etc/passwd- /etc/group- /etc/shadow- /etc/gshadow- /etc/subuid- /etc/subgid-"
        " /var/lib/dpkg/status-old /var/lib/dpkg/diversions-old /var/cache/debconf/*-old"
    ),
    "caches that ldconfig and debconf make anew, and a lock of adduser's": (
        "/etc/ld.so.cache /var/cache/ldconfig /var/cache/ldconfig/* /var/cache/debconf/tmp.ci /run/adduser"
    ),
    "what each boot makes anew": "/run/*.pid /tmp/systemd-private-* /var/tmp/systemd-private-*",
    "sessions of those who log in to look": (
        "/run/user /run/user/* /run/systemd/* /run/log/* /run/utmp /run/sudo/* /run/udev/*"
    ),
}
"""Paths that may differ after a complete removal, by reason."""


def host_state(machine: Machine) -> set[str]:
    """Return packages, apt marks, users, groups, units, processes, apt's health and all files, one per line."""
    excepted = " -o ".join(f"-path '{path}'" for paths in EXCEPT.values() for path in paths.split())
    return set(machine.run(LOOK.replace("@EXCEPT@", excepted), check=False).stdout.splitlines())


@dataclass(frozen=True)
class Update:
    """The result of one ``pulumi up``: resources by operation."""

    changed: dict[str, list[str]]
    text: str
    code: int

    def names(self, *operations: str) -> set[str]:
        """Return the logical names of the resources with one of ``operations``, such as ``update``."""
        return {name for operation in operations for name in self.changed.get(operation, [])}


def up(stack: Stack, *words: str, environment: dict[str, str] | None = None) -> Update:
    """Run ``pulumi up``; read the changes from the engine's event log."""
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


def steered(stack: Stack, *turns: tuple[str, Callable[[int], object]], words: Sequence[str] = ()) -> Update:
    """Run ``pulumi up`` and call each turn, in order, once a line contains its text; changes are not recorded.

    A turn gets the process group of ``pulumi``.
    """
    printed, left = [], list(turns)
    with begin(stack, "up", "--yes", "--skip-preview", *words, output=subprocess.PIPE) as process:
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


def begin(stack: Stack, *words: str, output: int) -> "subprocess.Popen[str]":
    """Start ``pulumi`` on the stack in its own process group; ``output`` as for :class:`subprocess.Popen`."""
    return subprocess.Popen(
        ["pulumi", "--non-interactive", "-C", str(stack.project), *words, "--stack", stack.name],
        env=stack.environment(),
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def drift(stack: Stack, *words: str) -> "subprocess.CompletedProcess[str]":
    """Run ``watchpost drift`` on the stack."""
    return subprocess.run(
        [sys.executable, "-m", "watchpost", "drift", "--stack", stack.name, *words],
        env={**stack.environment(), "PYTHONPATH": str(paths.ROOT)},
        cwd=stack.project,
        capture_output=True,
        text=True,
        check=False,
    )


def recover(stack: Stack, *words: str) -> "subprocess.CompletedProcess[str]":
    """Run ``watchpost recover`` on the stack."""
    command = [sys.executable, "-m", "watchpost", "recover", "--stack", stack.name]
    return subprocess.run(
        [*command, "--cwd", str(stack.folder / "project"), *words],
        env=stack.environment(),
        cwd=paths.ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def inode(machine: Machine, path: str) -> str:
    """Return the inode and modification time of ``path``, which change with every rewrite."""
    return machine.run(f"stat -c '%i %y' {shlex.quote(path)}").stdout


def starts(machine: Machine, unit: str) -> int:
    """Return how often systemd has started ``unit``."""
    found = machine.run(f"journalctl -u {unit} -o cat --no-pager | grep -c '^Started' || true").stdout
    return int(found)


def logins(machine: Machine) -> int:
    """Return the number of SSH logins so far."""
    return int(machine.run("journalctl -t sshd -o cat --no-pager | grep -c '^Accepted' || true").stdout)

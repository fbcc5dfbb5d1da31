"""A disk whose power can be cut, so that unsynced data is lost as when a machine loses power.

An ext4 image mounted by a loop device. Within the half minute of a run, the kernel writes only what a program syncs:
the journal commits on demand (``commit=300``), and files are written on request, when they replace another, or when
they are half a minute old. A cut kills all processes at once, and copies the image as it is.

Source: https://www.kernel.org/doc/html/latest/admin-guide/ext4.html (mount options)
"""

import contextlib
import hashlib
import os
import shutil
import stat
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from components.step_command import StepCommand, library

OWNER = "tests/vm"
SIZE = "900M"
OPTIONS = "loop,commit=300"

SYSTEMCTL = """#!/bin/bash
# Keeps no service, only which are enabled.
enabled=/etc/systemd/enabled
words=()
for word; do [[ $word == -* ]] || words+=("${word%.service}"); done
case ${words[0]:-} in
"") echo "systemd 252" ;;
enable) mkdir -p $enabled && touch "$enabled/${words[1]}" ;;
disable) rm -f "$enabled/${words[1]}" ;;
is-enabled) [ -e "$enabled/${words[1]}" ] && echo enabled || { echo disabled && exit 1; } ;;
is-active) echo inactive && exit 3 ;;
is-system-running) echo running ;;
esac
"""

POSTINST = """
getent passwd dd-agent >/dev/null || useradd --system --user-group --home-dir /opt/datadog-agent dd-agent
mkdir -p /etc/datadog-agent/conf.d /var/log/datadog
chown -R dd-agent:dd-agent /etc/datadog-agent /opt/datadog-agent /var/log/datadog
"""
POSTRM = """
[ "$1" != purge ] || { deluser dd-agent; rm -rf /etc/datadog-agent /opt/datadog-agent /var/log/datadog; }
"""
DATA = """
[ -d /var/lib/served ] || { mkdir /var/lib/served && echo made >/var/lib/served/made; }
getent passwd served >/dev/null || useradd --system served
"""

SCRIPT = r"""
set -eu
echo key >/usr/share/keyrings/datadog-archive-keyring.gpg
echo 'deb [trusted=yes] file:/srv/agent ./' >/etc/apt/sources.list.d/datadog.list
apt-get -q update
apt-get -q -y --allow-downgrades --allow-change-held-packages install "datadog-agent=1:7.$DD_AGENT_MINOR_VERSION-1"
if [ ! -e /etc/datadog-agent/datadog.yaml ]; then
  printf 'api_key: %s\n' "$DD_API_KEY" >/etc/datadog-agent/datadog.yaml
  chown dd-agent:dd-agent /etc/datadog-agent/datadog.yaml
fi
echo 'method: script' >/etc/datadog-agent/install_info
"""
"""A minimal install script."""

PREPARE = r"""
set -eu
rm -f /etc/dpkg/dpkg.cfg.d/* # force-unsafe-io, with which the tree was made
rm -f /etc/apt/sources.list.d/* && echo 'deb [trusted=yes] file:/srv/repo ./' >/etc/apt/sources.list
package() {
  mkdir -p /srv/p/DEBIAN /srv/p/opt/$2 /srv/$1
  printf 'Package: %s\nVersion: %s\nArchitecture: all\nMaintainer: me <me@example.com>\nDescription: small\n%s' \
    "$2" "$3" "${6:-}" >/srv/p/DEBIAN/control
  seq 5000 >/srv/p/opt/$2/program
  printf '#!/bin/sh\nset -eu\n%s\n' "$4" >/srv/p/DEBIAN/postinst
  printf '#!/bin/sh\nset -eu\n%s\n' "$5" >/srv/p/DEBIAN/postrm
  chmod 0755 /srv/p/DEBIAN/post*
  dpkg-deb --build --root-owner-group /srv/p "/srv/$1/$2_${3#1:}.deb" >/dev/null && rm -r /srv/p
}
list() {
  for file in /srv/$1/*.deb; do
    dpkg-deb -f "$file"
    printf 'Filename: ./%s\nSize: %s\nSHA256: %s\n\n' "${file##*/}" "$(stat -c %s "$file")" \
      "$(sha256sum "$file" | cut -d ' ' -f 1)"
  done >/srv/$1/Packages
}
package repo served 1 "$DATA" "" 'Depends: served-common
'
package repo served-common 1 "" ""
package repo theirs 1 "" ""
package agent datadog-agent 1:7.77.0-1 "$POSTINST" "$POSTRM"
package agent datadog-agent 1:7.78.4-1 "$POSTINST" "$POSTRM"
list repo; list agent
printf '%s' "$SCRIPT" >/srv/agent.sh
apt-get -qq update
apt-get -qq -y install theirs >/dev/null
mkdir -p /srv/work && printf 'theirs\n' >/srv/work/text && printf 'theirs\n' >/etc/theirs.conf
rm -f /var/cache/apt/*.bin
"""
"""A host with apt, small packages, and things of its user's."""

AGENT_BEFORE = r"""
set -eu
DD_AGENT_MINOR_VERSION=77.0 DD_API_KEY=fake-of-before bash /srv/agent.sh >/dev/null
echo 'proxy: theirs' >>/etc/datadog-agent/datadog.yaml
mkdir -p /etc/datadog-agent/conf.d/mine.d /var/lib/served
echo 'instances: [theirs]' >/etc/datadog-agent/conf.d/mine.d/conf.yaml
echo 'their data' >/var/lib/served/data
useradd --system served
chown -R dd-agent:dd-agent /etc/datadog-agent
apt-mark hold theirs >/dev/null
rm -f /var/cache/apt/*.bin
"""
"""Adds an Agent and a server's data that were there before."""

EXCEPT = (
    "/var/log",
    "/var/cache",
    "/var/lib/apt/lists",
    "/var/lib/apt/extended_states",
    "/var/lib/dpkg/status",
    "/var/lib/dpkg/lock",
    "/var/lib/dpkg/triggers",
    "/var/lib/dpkg/available",
    "/etc/ld.so.cache",
    "/etc/.pwd.lock",
    "/lost+found",
    "/tmp",  # noqa: S108
    "/etc/systemd/enabled",
    *(f"/etc/{name}-" for name in ("passwd", "shadow", "group", "gshadow", "subuid", "subgid")),
)
"""Paths that may differ after a complete removal."""


@dataclass(frozen=True)
class Step:
    """A script in ``files/`` with its variables and standard input."""

    script: str
    variables: Mapping[str, str]
    stdin: str = ""


def steps(url: str, round: int = 1) -> list[Step]:
    """Return a stack's steps on a host, in order; ``url`` is the install script's, another ``round`` a change."""
    agent = "dd-agent:dd-agent"
    python = {"python": "/usr/bin/python3"}
    config = "/etc/datadog-agent"
    return [
        Step("host/ready.sh", {}),
        Step("host/library.sh", {}, library()),
        Step(
            "host/packages.sh",
            {"packages": "served | never-heard-of", "directories": "/var/lib/served", "users": "served"},
        ),
        Step("agent/install.sh", {"url": url, "version": "7.78.4"}),
        Step(
            "host/file.sh",
            {"path": f"{config}/datadog.yaml", "owner": agent, "mode": "0640", **python},
            f"api_key: fake-of-ours-{round}\n",
        ),
        Step(
            "host/file.sh",
            {"path": f"{config}/conf.d/mine.d/conf.yaml", "owner": agent, "mode": "0640"},
            f"instances: [{round}]\n" * 2000,
        ),
        Step("host/file.sh", {"path": "/opt/mine/app.py", "owner": "root:root", "mode": "0644"}, f"# {round}\n" * 2000),
        Step("host/file.sh", {"path": "/etc/mine.conf", "owner": "root:root", "mode": "0644"}, f"a = {round}\n"),
    ]


class Disk:
    """An image at ``path``, mounted at ``root`` while in use."""

    def __init__(self, path: Path, root: Path) -> None:
        self.path, self.root = path, root

    @contextlib.contextmanager
    def mounted(self) -> Iterator[Path]:
        """Mount it, with a new /run, as after a boot."""
        self.root.mkdir(exist_ok=True)
        subprocess.run(["mount", "-o", OPTIONS, self.path, self.root], check=True)
        try:
            yield self.root
        finally:
            # Another process's namespace may keep the mount.
            subprocess.run(["sync", "--file-system", self.root], check=True)
            subprocess.run(["umount", "--recursive", self.root], check=True)

    def copied(self, path: Path) -> "Disk":
        """Return a copy of its current content, without what wasn't synced."""
        path.unlink(missing_ok=True)  # a loop device may still use the old file
        subprocess.run(["cp", "--sparse=always", self.path, path], check=True)
        return Disk(path, self.root)


INSIDE = r"""
mount -t tmpfs none "$0/run" && mkdir -p "$0/run/systemd/system" "$0/run/lock"
mount -t proc none "$0/proc" && mount --rbind /dev "$0/dev"
root=$0 && cd "$root" && exec chroot "$root" env -i PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$@"
"""


def begin(root: Path, command: str, stdin: str) -> "subprocess.Popen[str]":
    """Start a command on the disk in its own namespaces, with standard input from the file."""
    words = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", INSIDE, str(root), "bash", "-c"]
    with (root / "stdin").open("w+") as file:
        file.write(stdin)
        file.seek(0)
        (root / "stdin").unlink()
        return subprocess.Popen(
            [*words, command], stdin=file, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )


def command(step: Step, verb: str) -> tuple[str, str]:
    """Return a step's command, as sshd runs it, and its standard input."""
    return StepCommand.of(step.script, verb, step.variables, sudo=False).render(), f"{OWNER}\n{step.stdin}"


def run(root: Path, step: Step, verb: str) -> tuple[int, str]:
    """Run a step to completion; return its exit code and output."""
    with begin(root, *command(step, verb)) as process:
        said, _ = process.communicate(timeout=300)
    return process.returncode, said


def cut(disk: Disk, process: "subprocess.Popen[str]") -> None:
    """Kill everything that the process started at once; writes under way reach the disk."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    for child in children:  # the namespace's first process, with which all others end
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(child), 9)
    if not children:
        process.kill()
    process.communicate()
    settle(disk)


def settle(disk: Disk) -> None:
    """Wait until writes under way have reached the disk."""
    device = subprocess.run(["losetup", "-nO", "NAME", "-j", disk.path], capture_output=True, text=True, check=True)
    under_way = Path("/sys/block", Path(device.stdout.strip()).name, "inflight")
    quiet = 0
    while quiet < 5:
        quiet = quiet + 1 if under_way.read_text().split() == ["0", "0"] else 0
        time.sleep(0.01)


def state(root: Path) -> dict[str, str]:
    """List every file with owner, mode and content, every user and group, and every package with its marks."""
    found: dict[str, str] = {}
    for folder, names, files in os.walk(root):
        for path in (Path(folder, name) for name in [*names, *files]):
            inside = f"/{path.relative_to(root)}"
            if inside.startswith(EXCEPT):
                continue
            seen = path.lstat()
            what = f"{stat.filemode(seen.st_mode)} {seen.st_uid}:{seen.st_gid}"
            if inside in ("/etc/passwd", "/etc/shadow", "/etc/group", "/etc/gshadow"):
                found |= {f"{inside} {line}": "" for line in path.read_text().splitlines()}
            elif stat.S_ISREG(seen.st_mode):
                what += f" {hashlib.sha256(path.read_bytes()).hexdigest()}"
            elif stat.S_ISLNK(seen.st_mode):
                what += f" -> {path.readlink()}"
            found[inside] = what
        names[:] = [name for name in names if not f"/{Path(folder, name).relative_to(root)}".startswith(EXCEPT)]
    query = [
        "chroot",
        str(root),
        "dpkg-query",
        "-W",
        "-f",
        "${db:Status-Want} ${db:Status-Status} ${Package} ${Version}\n",
    ]
    for line in subprocess.run(query, capture_output=True, text=True, check=True).stdout.splitlines():
        want, status, name, version = line.split()
        found[f"package {name}"] = f"{want} {status} {version}"
    return found


class Disks:
    """Disks of a host that is bare or ``had`` an Agent before, also with a stack ``up``; created on demand.

    All have things of their user's.
    """

    def __init__(self, folder: Path, tree: Path, url: str) -> None:
        self.folder, self.tree, self.url = folder, tree, url
        self._made: dict[tuple[str, bool], Disk] = {}
        self._before: dict[str, dict[str, str]] = {}

    def get(self, host: str, *, up: bool = False) -> Disk:
        """Return a host's disk, ``bare`` or ``had``."""
        if (host, up) not in self._made:
            make = self._up(host) if up else {"bare": self._bare, "had": self._had}[host]()
            self._made[host, up] = make
        return self._made[host, up]

    def before(self, host: str) -> dict[str, str]:
        """Return the state before there is a stack."""
        if host not in self._before:
            with self.get(host).mounted() as root:
                self._before[host] = state(root)
        return self._before[host]

    def _bare(self) -> Disk:
        disk = Disk(self.folder / "bare.img", self.folder / "root")
        subprocess.run(["truncate", "-s", SIZE, disk.path], check=True)
        subprocess.run(["mkfs.ext4", "-q", "-F", "-d", self.tree, disk.path], check=True, stdout=subprocess.DEVNULL)
        words = {"POSTINST": POSTINST, "POSTRM": POSTRM, "DATA": DATA, "SCRIPT": SCRIPT}
        with disk.mounted() as root:
            (root / "usr/local/bin/systemctl").write_text(SYSTEMCTL)
            (root / "usr/local/bin/systemctl").chmod(0o755)
            package = root / "usr/lib/python3/dist-packages/yaml"
            shutil.copytree(Path(yaml.__file__).parent, package, ignore=shutil.ignore_patterns("*.so"))
            _through(root, "".join(f"export {name}={_quoted(text)}\n" for name, text in words.items()) + PREPARE)
        return disk

    def _had(self) -> Disk:
        disk = self.get("bare").copied(self.folder / "had.img")
        with disk.mounted() as root:
            _through(root, AGENT_BEFORE)
        return disk

    def _up(self, host: str) -> Disk:
        disk = self.get(host).copied(self.folder / f"{host}-up.img")
        with disk.mounted() as root:
            for step in steps(self.url):
                code, said = run(root, step, "apply")
                assert code == 0, said
        return disk


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


def _through(root: Path, text: str) -> None:
    with begin(root, text, "") as process:
        said, _ = process.communicate(timeout=300)
    if process.returncode:
        raise RuntimeError(said)

"""Supervises one detached machine: mounts its tree, connects its network, and restarts it on reboot.

Runs as PID 1 of its own mount and PID namespaces: when it dies, the kernel ends all of the machine's processes, mounts
and network. The working folder is the machine's.
"""

import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import threading
import uuid
from pathlib import Path

REBOOT = 133
"""systemd-nspawn's exit code for a reboot."""
ADDRESS = "10.0.2.100"
"""A machine's address in its own network (slirp4netns' default)."""
NAMESERVER = "10.0.2.3"


def main() -> None:
    """Run the machine of this folder until it powers off."""
    os.umask(0o022)
    state = json.loads(Path("machine.json").read_text())
    mount_tree(Path(state["tree"]))
    furnish(Path("root"), state["name"], state["user"])
    connect()
    forward(state["port"])
    while boot(state["name"], state["id"]) == REBOOT:
        continue


def mount(*arguments: str) -> bool:
    """Mount, and return whether that succeeded."""
    return subprocess.run(["mount", *arguments], check=False).returncode == 0


def mount_tree(tree: Path) -> None:
    """Overlay the machine's files (``upper``) on the shared tree, at ``root``; if unsupported, copy the tree."""
    # Every machine sees only cgroup v2, whatever the host has; nspawn's bookkeeping stays in here as well.
    mount("-t", "cgroup2", "none", "/sys/fs/cgroup")
    Path("/run/systemd/nspawn").mkdir(parents=True, exist_ok=True)
    mount("-t", "tmpfs", "none", "/run/systemd/nspawn")
    for folder in ("base", "upper", "work", "root"):
        Path(folder).mkdir(exist_ok=True)
    if Path("root/etc").exists():  # copied earlier
        return
    # "volatile" never syncs, and leaves a marker that forbids remounting after a crash.
    shutil.rmtree("work/work/incompat", ignore_errors=True)
    # Relative paths: colons and commas in overlay options would need escaping.
    if not mount("--bind", str(tree), "base") or not mount(
        "-t", "overlay", "none", "-o", "lowerdir=base,upperdir=upper,workdir=work,volatile", "root"
    ):
        shutil.rmtree("copy", ignore_errors=True)
        subprocess.run(["cp", "-a", "--reflink=auto", str(tree), "copy"], check=True)
        Path("copy").rename("root")


def furnish(root: Path, name: str, user: str) -> None:
    """Write the machine's own settings: name, keys, hosts and resolver."""
    for file, mode in (("ssh_host_ed25519_key", 0o600), ("ssh_host_ed25519_key.pub", 0o644)):
        write(root / "etc/ssh" / file, Path(file).read_text(), mode)
    keys = root / "home" / user / ".ssh/authorized_keys"
    keys.parent.mkdir(mode=0o700, exist_ok=True)
    write(keys, Path("id_ed25519.pub").read_text(), 0o600)
    owner = keys.parent.parent.stat()
    for path in (keys.parent, keys):
        os.chown(path, owner.st_uid, owner.st_gid)
    if not (root / "etc/machine-id").read_text():
        write(root / "etc/machine-id", f"{uuid.uuid4().hex}\n", 0o444)
    write(root / "etc/hostname", f"{name}\n")
    own = [f"127.0.0.1 localhost\n127.0.1.1 {name}\n::1 localhost ip6-localhost ip6-loopback\n"]
    others = [line for line in _lines("/etc/hosts") if not line.startswith(("127.", "::1", "#"))]
    write(root / "etc/hosts", "\n".join(own + others))
    search = [line for line in _lines("/etc/resolv.conf") if line.startswith(("search", "options"))]
    write(root / "etc/resolv.conf", "\n".join([f"nameserver {NAMESERVER}", *search, ""]))


def _lines(file: str) -> list[str]:
    return Path(file).read_text().splitlines() if Path(file).exists() else []


def write(file: Path, text: str, mode: int = 0o644) -> None:
    """Write a file, replacing whatever is there (on some systems ``resolv.conf`` is a link)."""
    file.unlink(missing_ok=True)
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT, mode), "w") as output:
        output.write(text)


def connect() -> None:
    """Create the machine's network, routed through the host."""
    Path("network").touch()
    subprocess.run(["unshare", "--net=network", "true"], check=True)
    ready, write_end = os.pipe()
    slirp = subprocess.Popen(
        [
            "slirp4netns",
            "--configure",
            "--mtu=65520",
            f"--ready-fd={write_end}",
            "--api-socket=slirp.sock",
            "--netns-type=path",
            "network",
            "tap0",
        ],
        pass_fds=[write_end],
    )
    os.close(write_end)
    if not os.read(ready, 1):
        sys.exit("slirp4netns did not start")
    os.close(ready)
    threading.Thread(target=lambda: os._exit(slirp.wait() or 1), daemon=True).start()  # a machine needs its network


def forward(wanted: int) -> None:
    """Forward a loopback port to the machine's SSH, ``wanted`` if free, and record it in ``port``."""
    for port in (wanted, *(_free_port() for _ in range(10))):
        if port and _add_forward(port):
            Path("port.part").write_text(str(port))
            Path("port.part").rename("port")
            return
    sys.exit("no loopback port could be forwarded to the machine")


def _free_port() -> int:
    """Return a random port below those of outgoing connections, which could take it while the machine is halted.

    Source: ip_local_port_range in https://docs.kernel.org/networking/ip-sysctl.html
    """
    return 20000 + secrets.randbelow(12000)


def _add_forward(port: int) -> bool:
    order = {"proto": "tcp", "host_addr": "127.0.0.1", "host_port": port, "guest_addr": ADDRESS, "guest_port": 22}
    with socket.socket(socket.AF_UNIX) as api:
        api.settimeout(10)
        api.connect("slirp.sock")
        api.sendall(json.dumps({"execute": "add_hostfwd", "arguments": order}).encode())
        api.shutdown(socket.SHUT_WR)
        return "return" in json.loads(api.makefile().read())


def beside(name: str) -> Path:
    """Return a sibling of this process's control group, the supervisor's below the machine's."""
    own = next(line for line in _lines("/proc/self/cgroup") if line.startswith("0::"))
    return Path(f"/sys/fs/cgroup{own.removeprefix('0::')}").with_name(name)


def boot(name: str, identifier: str) -> int:
    """Boot the machine, wait for it to end, and return the exit code."""
    # As in a virtual machine: /tmp on disk, a network that it can configure.
    environment = {**os.environ, "SYSTEMD_NSPAWN_TMPFS_TMP": "0", "SYSTEMD_NSPAWN_API_VFS_WRITABLE": "network"}
    join = 'echo 0 >"$0/cgroup.procs"; exec "$@"'
    group = beside("machine")
    group.mkdir(exist_ok=True)
    return subprocess.run(
        [
            "sh",
            "-c",
            join,
            str(group),
            "systemd-nspawn",
            "--boot",
            "--quiet",
            "--directory=root",
            "--settings=no",
            f"--machine={identifier}",
            f"--hostname={name}",
            "--register=no",
            "--keep-unit",
            "--link-journal=no",
            "--resolv-conf=off",
            "--timezone=off",
            "--capability=CAP_NET_ADMIN",
            "--kill-signal=SIGRTMIN+3",
            f"--network-namespace-path={Path('network').absolute()}",
        ],
        stdin=subprocess.DEVNULL,
        env=environment,
        check=False,
    ).returncode


if __name__ == "__main__":
    main()

"""Debian's Vagrant with vagrant-libvirt and emulated VMs, in its own namespaces; nothing is installed on this host.

Vagrant, libvirt and QEMU are in a cached tree of Debian packages. The box is also built from packages: the machine's,
those that Watchpost installs (under emulation that alone takes ten minutes), and a kernel. VMs have their own network,
from which this host's loopback is 10.0.2.2; ``pulumi`` has to run in it too, to reach them.
"""

import contextlib
import os
import shlex
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sandbox import cache, paths, progress
from sandbox.machine import host, tree
from sandbox.progress import SandboxError
from sandbox.pulumi import engine

PACKAGES = (
    "ca-certificates",
    "dnsmasq-base",
    "iproute2",
    "iptables",
    "libvirt-clients",
    "libvirt-daemon-system",
    "openssh-client",
    "procps",
    "qemu-system-x86",
    "qemu-utils",
    "vagrant",
    "vagrant-libvirt",
)
BOX_PACKAGES = ("initramfs-tools", "linux-image-cloud-amd64", "udev")
WATCHPOSTS_PACKAGES = ("apache2-utils", "gnupg", "mariadb-server", "python3-venv")
BOX = Path(__file__).with_name("box.sh")

BOX_GIGABYTES = 4
START_SECONDS = 60.0

QEMU_CONF = """\
user = "root"
group = "root"
cgroup_controllers = [ ]
security_driver = "none"
namespaces = [ ]
remember_owner = 0
stdio_handler = "file"
"""

# Emulation needs the processor and firmware spelled out, which KVM takes from the host.
BOX_VAGRANTFILE = """\
Vagrant.configure("2") do |config|
  config.vm.provider "libvirt" do |libvirt|
    libvirt.driver = "qemu"
    libvirt.cpu_mode = "custom"
    libvirt.cpu_model = "qemu64"
    libvirt.machine_type = "q35"
    libvirt.kernel = File.join(__dir__, "vmlinuz")
    libvirt.initrd = File.join(__dir__, "initrd")
    libvirt.cmd_line = "root=/dev/vda rw console=ttyS0 quiet net.ifnames=0 mitigations=off"
    libvirt.graphics_type = "none"
    libvirt.video_type = "none"
  end
end
"""

KEEP = """
set -eu
mount --make-rprivate /
mkdir -p root upper work
mount -t overlay none -o lowerdir="$1",upperdir=upper,workdir=work root
shift
mount --rbind /dev root/dev
mount -t proc proc root/proc
mount -t sysfs sysfs root/sys
mount -t tmpfs tmpfs root/run
for folder in "$@"; do
    mkdir -p "root$folder"
    mount --bind "$folder" "root$folder"
done
cp qemu.conf root/etc/libvirt/qemu.conf
cp /etc/resolv.conf root/etc/resolv.conf
ip link set lo up
exec chroot root libvirtd
"""
"""Runs libvirtd in the tree ``$1`` with this host's folders ``$2...``, in the working folder."""


def _debian(target: Path, packages: Sequence[str], *hook: str) -> None:
    """Build a tree of ``packages``; ``hook`` is a script and its arguments, preceded by the tree's path."""
    settings = host.settings()
    with tempfile.TemporaryDirectory() as folder:
        apt = Path(folder, "apt.conf")
        apt.write_text(settings.apt)
        words = [f'--customize-hook=sh {shlex.quote(hook[0])} "$1" {shlex.join(hook[1:])}'] if hook else []
        progress.run(
            f"Making {target.name} of Debian's packages",
            [
                *("setpriv", "--pdeathsig=KILL", "unshare", "--mount", "--pid", "--fork", "--kill-child"),
                *("--mount-proc", "mmdebstrap", "--variant=minbase", f"--include={','.join(packages)}"),
                *(f"--aptopt={apt}", "--dpkgopt=force-unsafe-io", *words),
                *(settings.codename, str(target), *settings.sources),
            ],
        )


def _vagrant_tree() -> Path:
    folder = paths.keyed("vagrant", *PACKAGES, host.settings().apt)
    return cache.once(folder, lambda partial: _debian(partial / "root", PACKAGES), mode=0o700) / "root"


def _box(vagrant: Path) -> Path:
    """Return the box, a file for ``vagrant box add``."""
    packages = sorted({*tree.PACKAGES, *BOX_PACKAGES, *WATCHPOSTS_PACKAGES})
    settings = host.settings()
    texts = [text for item in sorted(settings.files().items()) for text in item]
    folder = paths.keyed("vagrant-box", BOX, BOX_VAGRANTFILE, *packages, *texts)

    def make(partial: Path) -> None:
        (key,) = vagrant.glob("usr/share/rubygems-integration/all/gems/vagrant-2*/keys/vagrant.pub")
        for path, text in settings.files().items():
            (partial / "files" / path).parent.mkdir(parents=True, exist_ok=True)
            (partial / "files" / path).write_text(text)
        _debian(partial / "root", packages, str(BOX), str(partial / "files"), str(key))
        _pack(partial, vagrant)

    return cache.once(folder, make, mode=0o700) / "watchpost.box"


def _pack(folder: Path, vagrant: Path) -> None:
    """Pack the tree in ``folder`` into a box there."""
    root, size = folder / "root", f"{BOX_GIGABYTES}G"
    for name, file in (("vmlinuz", "vmlinuz-*"), ("initrd", "initrd.img-*")):
        (kernel,) = (root / "boot").glob(file)
        shutil.copy(kernel, folder / name)
    convert = 'mount --bind "$1" "$2/mnt" && chroot "$2" qemu-img convert -O qcow2 /mnt/disk /mnt/box.img'
    (folder / "metadata.json").write_text(
        f'{{"provider": "libvirt", "format": "qcow2", "virtual_size": {BOX_GIGABYTES}}}\n'
    )
    (folder / "Vagrantfile").write_text(BOX_VAGRANTFILE)
    parts = ["metadata.json", "Vagrantfile", "vmlinuz", "initrd", "box.img"]
    for command in (
        ["mke2fs", "-q", "-t", "ext4", "-d", str(root), str(folder / "disk"), size],
        ["unshare", "--mount", "sh", "-c", convert, "sh", str(folder), str(vagrant)],
        ["tar", "-C", str(folder), "-cf", str(folder / "watchpost.box"), *parts],
    ):
        progress.run(f"Packing the box: {command[0]}", command)
    for path in folder.iterdir():
        if path.name != "watchpost.box":
            shutil.rmtree(path) if path.is_dir() else path.unlink()


@dataclass(frozen=True, kw_only=True)
class Vagrant:
    """A running libvirt; ``inside`` and ``network`` prefix commands that run with it, or only in its network."""

    folder: Path
    inside: Sequence[str]
    network: Sequence[str]

    def environment(self, given: Mapping[str, str]) -> dict[str, str]:
        """Return the environment ``given``, with ``vagrant`` and ``pulumi`` that reach the VMs."""
        return {
            **given,
            "PATH": os.pathsep.join([str(self.folder / "bin"), given["PATH"]]),
            "VAGRANT_HOME": str(self.folder / "home"),
            "VAGRANT_DEFAULT_PROVIDER": "libvirt",
        }


@contextlib.contextmanager
def running(folder: Path, boxes: Sequence[str]) -> Iterator[Vagrant]:
    """Run libvirt, with ``vagrant`` and ``pulumi`` that use it, in ``folder``, until the block ends.

    Raises:
        SandboxError: the packages aren't available, or libvirt does not start.
    """
    host.require()
    vagrant = _vagrant_tree()
    box = _box(vagrant)
    folder = folder.absolute()
    for name in ("bin", "home"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / "qemu.conf").write_text(QEMU_CONF)
    shown = sorted({str(paths.ROOT), str(folder), str(box.parent)})
    namespaces = ["unshare", "--mount", "--pid", "--net", "--fork", "--kill-child", "--mount-proc"]
    # When this process dies, even killed, the namespaces and everything in them end.
    bound = ["setpriv", "--pdeathsig=KILL"]
    with contextlib.ExitStack() as ends:
        log = ends.enter_context((folder / "libvirtd.log").open("w"))

        def begin(*words: str) -> int:
            process = ends.enter_context(
                subprocess.Popen([*bound, *words], cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
            )
            ends.callback(process.kill)
            return process.pid

        inside = _first_child(begin(*namespaces, "sh", "-c", KEEP, "sh", str(vagrant), *shown))
        enter = ["nsenter", "--target", str(inside), "--mount", "--net", "--pid", "--root", "--wdns=/", "--"]
        deadline = time.monotonic() + START_SECONDS
        while subprocess.run([*enter, "virsh", "list"], capture_output=True, check=False).returncode:
            if time.monotonic() > deadline:
                raise SandboxError(f"libvirt does not start: {(folder / 'libvirtd.log').read_text()[-500:]}")
            time.sleep(0.5)
        begin("slirp4netns", "--configure", "--mtu=65520", str(inside), "tap0")
        made = Vagrant(folder=folder, inside=enter, network=["nsenter", f"--net=/proc/{inside}/ns/net"])
        _write_program("vagrant", made, [*enter, "sh", "-c", 'cd "$0" && exec /usr/bin/vagrant "$@"'], '"$PWD"')
        _write_program("pulumi", made, [*made.network, str(engine.ensure() / "pulumi")])
        for name in boxes:
            add = ["vagrant", "box", "add", "--name", name, str(box)]
            progress.run(f"Adding the box {name}", add, env=made.environment(os.environ), cwd=folder)
        yield made


def _first_child(process: int) -> int:
    """Return the first process in the namespaces of ``process``."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
        if children:
            return int(children[0])
        time.sleep(0.05)
    raise SandboxError("the namespaces for libvirt do not come up")


def _write_program(name: str, vagrant: Vagrant, words: Sequence[str], *more: str) -> None:
    """Write a script that runs ``words``, ``more`` (expanded by the shell) and its own arguments."""
    file = vagrant.folder / "bin" / name
    file.write_text(f'#!/bin/sh\nexec {" ".join([shlex.join(words), *more])} "$@"\n')
    file.chmod(0o755)

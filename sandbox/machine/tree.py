"""The tree that every machine starts from: a bare Debian or Ubuntu of the host's release, as a cloud image is."""

import fcntl
import platform
import shlex
import shutil
import tempfile
from pathlib import Path

from sandbox import paths, progress
from sandbox.machine import host

USER = "watchpost"
"""The user of a machine, with sudo and without a password."""

PACKAGES = (
    "apt-utils",
    "ca-certificates",
    "curl",
    "dbus",
    "iproute2",
    "netbase",
    "openssh-server",
    "procps",
    "python3",
    "sudo",
    "systemd",
    "systemd-sysv",
    "tzdata",
)
CUSTOMIZE = Path(__file__).with_name("customize.sh")


def ensure() -> Path:
    """The tree, made if the cache does not hold one of the same release, packages and host settings (a minute).

    Raises:
        SandboxError: the host can't make one, or the distribution's mirror can't be reached.
    """
    settings = host.settings()
    contents = [text for item in sorted(settings.files().items()) for text in item]
    tree = paths.keyed("machine", Path(__file__), CUSTOMIZE, platform.machine(), settings.apt, *contents)
    with tree.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two clones at once: one makes it, the other waits
        if not tree.exists():
            _make(settings, tree)
    return tree / "root"


def _make(settings: host.Settings, tree: Path) -> None:
    half_made = tree.with_suffix(".part")
    shutil.rmtree(half_made, ignore_errors=True)
    half_made.mkdir(mode=0o700)  # it holds programs that run as root, and perhaps a registry's password
    with tempfile.TemporaryDirectory() as folder:
        files = Path(folder, "files")
        for path, text in settings.files().items():
            (files / path).parent.mkdir(parents=True, exist_ok=True)
            (files / path).write_text(text)
        apt = Path(folder, "apt.conf")
        apt.write_text(settings.apt)
        progress.run(
            f"Making the machine's tree ({settings.codename})",
            # In namespaces of its own that end with this process: nothing stays running or mounted.
            [
                "setpriv",
                "--pdeathsig=KILL",
                "unshare",
                "--mount",
                "--pid",
                "--fork",
                "--kill-child",
                "--mount-proc",
                "mmdebstrap",
                "--variant=minbase",
                f"--include={','.join(PACKAGES)}",
                f"--aptopt={apt}",
                "--dpkgopt=force-unsafe-io",
                f'--customize-hook=sh {shlex.quote(str(CUSTOMIZE))} "$1" {shlex.join([str(files), USER])}',
                settings.codename,
                str(half_made / "root"),
                *settings.sources,
            ],
        )
    half_made.rename(tree)

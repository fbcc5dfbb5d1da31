"""The trees that machines start from: a bare Debian or Ubuntu, as a cloud image is; mostly of the host's release."""

import dataclasses
import platform
import shlex
import tempfile
from collections.abc import Sequence
from pathlib import Path

from sandbox import cache, paths, progress
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
DEBIAN = "http://deb.debian.org/debian"
UBUNTU_KEYS = Path("usr/share/keyrings/ubuntu-archive-keyring.gpg")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Release:
    """A Debian or Ubuntu other than the host's, and what is installed in its tree beside :data:`PACKAGES`."""

    codename: str
    distribution: str = "debian"
    packages: tuple[str, ...] = ()


DEBIAN_11 = Release(codename="bullseye")
DEBIAN_13 = Release(codename="trixie")
DEBIAN_UNSTABLE = Release(codename="sid")
"""The one release of Debian that has MySQL itself, and not MariaDB alone."""
MYSQL_9 = Release(codename="sid", packages=("mysql-server",))
UBUNTU_20 = Release(codename="focal", distribution="ubuntu")
"""Too old for Watchpost."""
UBUNTU_22 = Release(codename="jammy", distribution="ubuntu")
UBUNTU_24 = Release(codename="noble", distribution="ubuntu")
"""What the default box of Vagrant holds; its ``mysql-server`` is MySQL 8.0."""


def ensure(release: Release | None = None) -> Path:
    """The tree of ``release``, or of the host's own, made if the cache does not hold one (a minute or two).

    It is made anew when its release, packages or the host's settings change.

    Raises:
        SandboxError: the host can't make one, or the distribution's mirror can't be reached.
    """
    settings = host.settings()
    if release:
        settings = _settings_of(release, settings)
    packages = (*PACKAGES, *(release.packages if release else ()))
    contents = [text for item in sorted(settings.files().items()) for text in item]
    made_from = [platform.machine(), settings.codename, *packages, settings.apt, *contents]
    tree = paths.keyed("machine", Path(__file__), CUSTOMIZE, *made_from)
    # It holds programs that run as root, and perhaps a registry's password.
    return cache.once(tree, lambda partial: _make(settings, packages, partial / "root"), mode=0o700) / "root"


def _settings_of(release: Release, settings: host.Settings) -> host.Settings:
    """The host's settings with the archive of another release; of its own distribution, by the host's mirror."""
    name, distribution = release.codename, release.distribution
    mirrors = [uri for _, uri, *_ in map(str.split, settings.sources) if uri.endswith(f"/{distribution}")]
    if distribution == "ubuntu":
        mirror = mirrors[0] if mirrors else "http://archive.ubuntu.com/ubuntu"
        sources = [f"deb {mirror} {name}{suite} main universe" for suite in ("", "-updates", "-security")]
    else:
        mirror = mirrors[0] if mirrors else DEBIAN
        sources = [f"deb {mirror} {name} main"]
        if name != "sid":
            sources += [f"deb {mirror} {name}-updates main", f"deb {mirror}-security {name}-security main"]
    # An archive that is past its date, as unstable's is now and then, does for a test.
    return dataclasses.replace(
        settings,
        codename=release.codename,
        sources=tuple(sources),
        apt=f'{settings.apt}Acquire::Check-Valid-Until "false";\n',
    )


def _make(settings: host.Settings, packages: Sequence[str], root: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        files = Path(folder, "files")
        for path, text in settings.files().items():
            (files / path).parent.mkdir(parents=True, exist_ok=True)
            (files / path).write_text(text)
        apt = Path(folder, "apt.conf")
        apt.write_text(settings.apt)
        keys = _ubuntu_keys(Path(folder, "keys"), apt) if "ubuntu" in settings.sources[0] else None
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
                f"--include={','.join(packages)}",
                f"--aptopt={apt}",
                *([f"--keyring={keys}"] if keys else []),
                "--dpkgopt=force-unsafe-io",
                f'--customize-hook=sh {shlex.quote(str(CUSTOMIZE))} "$1" {shlex.join([str(files), USER])}',
                settings.codename,
                str(root),
                *settings.sources,
            ],
        )


def _ubuntu_keys(folder: Path, apt: Path) -> Path | None:
    """The keys of Ubuntu's archive for a host that is none: Debian has them in a package, signed with its own."""
    if (Path("/") / UBUNTU_KEYS).exists():
        return None
    source = f"deb {DEBIAN} {DEBIAN_13.codename} main"
    progress.run(
        "Reading the keys of Ubuntu's archive",
        [
            "mmdebstrap",
            "--variant=extract",
            "--include=ubuntu-keyring",
            f"--aptopt={apt}",
            "trixie",
            str(folder),
            source,
        ],
    )
    return folder / UBUNTU_KEYS

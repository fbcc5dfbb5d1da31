"""What the host must have for a machine, and what a machine takes over to reach the same mirrors and registries."""

import configparser
import os
import platform
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sandbox import debian
from sandbox.progress import SandboxError

GATEWAY = "10.0.2.2"
"""The host's loopback, as a machine sees it."""

BUNDLE = Path("/etc/ssl/certs/ca-certificates.crt")
PROGRAMS = {
    "mmdebstrap": "mmdebstrap",
    "slirp4netns": "slirp4netns",
    "ssh": "openssh-client",
    "systemd-nspawn": "systemd-container",
}
OTHER_WAYS = (
    "without it use Vagrant (pulumi config set --path 'watchpost:hosts.NAME.vagrant' true) "
    "or any machine that you reach over SSH"
)


def packages() -> list[str]:
    """The Debian packages that the host must have."""
    return sorted(PROGRAMS.values())


def require() -> None:
    """See to it that a machine can run here; installs the Debian packages that are missing.

    Raises:
        SandboxError: not Linux, not root, or packages are missing and can't be installed.
    """
    if sys.platform != "linux" or os.geteuid() != 0:
        raise SandboxError(f"The sandbox's machine needs Linux and root: run this as root, or {OTHER_WAYS}")
    debian.install("The sandbox's machine", PROGRAMS)


@dataclass(frozen=True)
class Settings:
    """What of the host's settings goes into a machine."""

    codename: str
    """The release, as in ``bookworm``."""
    sources: tuple[str, ...]
    """The distribution's own archive, as the host reaches it: lines of ``sources.list``."""
    apt: str
    """How apt reaches it (proxies and the like): an ``apt.conf``, as it is on the host."""
    pip: str
    """The text of ``pip.conf``."""
    environment: Mapping[str, str]
    """Variables for every process: proxies, uv's index, the bundle of certificates if the host has its own."""
    certificates: tuple[str, ...]
    """Certificate authorities that the host trusts and the distribution does not know, in PEM."""

    def files(self) -> dict[str, str]:
        """The files of a machine that hold these settings: text by path below ``/``."""
        quoted = " ".join(f'"{name}={value.replace("%", "%%")}"' for name, value in self.environment.items())
        files = {
            "etc/apt/sources.list": _from_inside("".join(f"{line}\n" for line in self.sources)),
            "etc/apt/apt.conf.d/90host": _from_inside(self.apt),
            "etc/pip.conf": self.pip,
            "etc/environment": "".join(f"{name}={value}\n" for name, value in self.environment.items()),
            "etc/systemd/system.conf.d/90-host.conf": f"[Manager]\nDefaultEnvironment={quoted}\n",
        }
        for number, certificate in enumerate(self.certificates):
            files[f"usr/local/share/ca-certificates/host-{number}.crt"] = certificate
        return files


def settings() -> Settings:
    """Read the host's settings.

    Raises:
        SandboxError: the host is neither Debian nor Ubuntu.
    """
    release = platform.freedesktop_os_release()
    codename = release.get("VERSION_CODENAME", "")
    if release.get("ID") not in ("debian", "ubuntu") or not codename:
        name = release.get("PRETTY_NAME", "this system")
        raise SandboxError(f"The sandbox's machine is made on Debian or Ubuntu, and not on {name}: {OTHER_WAYS}")
    pip = _pip()
    certificates = _certificates(pip.get("cert"))
    return Settings(
        codename=codename,
        sources=_sources(release["ID"], codename),
        apt=_apt(),
        pip=_pip_conf(pip),
        environment=_environment(pip.get("index-url"), own_certificates=bool(certificates)),
        certificates=certificates,
    )


def _from_inside(text: str) -> str:
    """``text`` with URLs of the host's loopback as a machine reaches them."""
    return re.sub(r"(?<=//)((?:[^/@\s]*@)?)(?:localhost|127\.0\.0\.1|\[::1\])(?=[:/\s\"]|$)", rf"\g<1>{GATEWAY}", text)


def _one_line(value: str) -> str:
    return " ".join(_from_inside(value).split())


def _output(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SandboxError(f"{command[0]} fails on this host: {done.stderr.strip()}")
    return done.stdout


def _sources(distribution: str, codename: str) -> tuple[str, ...]:
    """The host's lines of the distribution's own archive, without others' repositories: those may be out of reach."""
    query = [
        "apt-get",
        "indextargets",
        "--format",
        "$(REPO_URI)|$(RELEASE)|$(COMPONENT)|$(ORIGIN)",
        "Created-By: Packages",
    ]
    # Before the package lists have been read, apt tells no origin, and tells of its sources only when asked so.
    lines = _output(*query).splitlines() or _output(*query, "--no-release-info").splitlines()
    found: dict[tuple[str, str], list[str]] = {}
    for line in lines:
        uri, suite, component, origin = line.split("|")
        uri = _mirror(uri)
        own = f"/{distribution}" in uri if origin.startswith("$") else origin.lower() == distribution
        if own and suite in (codename, f"{codename}-updates", f"{codename}-security"):
            components = found.setdefault((uri, suite), [])
            components += [component] if component not in components else []
    if not any(suite == codename for _, suite in found):
        host = "deb.debian.org" if distribution == "debian" else "archive.ubuntu.com"
        found[f"http://{host}/{distribution}", codename] = ["main"]
    return tuple(f"deb {uri} {suite} {' '.join(components)}" for (uri, suite), components in found.items())


def _mirror(uri: str) -> str:
    """``uri``, or where it names a list of mirrors in a file (``mirror+file:``), the first of them."""
    if not uri.startswith("mirror+file:"):
        return uri.rstrip("/")
    return Path(uri.removeprefix("mirror+file:").rstrip("/")).read_text().split()[0].rstrip("/")


def _apt() -> str:
    wanted = re.compile(r"Acquire::(https?::|Check-|Retries|ForceIPv)")
    return "".join(f"{line}\n" for line in _output("apt-config", "dump").splitlines() if wanted.match(line))


def _pip() -> dict[str, str]:
    """What pip is told on the host, by its files and its variables, in pip's own order.

    Source: https://pip.pypa.io/en/stable/topics/configuration/
    """
    home = Path.home()
    files = ["/etc/xdg/pip/pip.conf", "/etc/pip.conf", f"{home}/.pip/pip.conf", f"{home}/.config/pip/pip.conf"]
    read: dict[str, str] = {}
    for file in [*files, *filter(None, [os.environ.get("PIP_CONFIG_FILE")])]:
        parser = configparser.RawConfigParser()
        parser.read(file)
        read |= {
            key.replace("_", "-"): value
            for section in ("global", "install")
            if section in parser
            for key, value in parser[section].items()
        }
    named = {key[4:].lower().replace("_", "-"): value for key, value in os.environ.items() if key.startswith("PIP_")}
    return read | named


def _pip_conf(pip: Mapping[str, str]) -> str:
    """The part that holds inside as well: paths of the host (``find-links``, its own certificates) do not."""
    pip = {"timeout": pip["default-timeout"], **pip} if "default-timeout" in pip else pip
    wanted = ("index-url", "extra-index-url", "trusted-host", "proxy", "timeout", "retries")
    lines = [f"{key} = {_one_line(pip[key])}\n" for key in wanted if key in pip]
    return "".join(["[global]\n", f"cert = {BUNDLE}\n", *lines])


def _environment(index: str | None, *, own_certificates: bool) -> dict[str, str]:
    wanted = re.compile(r"(https?|ftp|all|no)_proxy|UV_(DEFAULT_INDEX|INDEX|INDEX_URL|EXTRA_INDEX_URL)", re.IGNORECASE)
    environment = {name: _one_line(value) for name, value in sorted(os.environ.items()) if wanted.fullmatch(name)}
    if any(name.lower().endswith("_proxy") for name in environment):
        direct = [environment.get("no_proxy") or environment.get("NO_PROXY", ""), "localhost", "127.0.0.1", GATEWAY]
        environment |= dict.fromkeys(("no_proxy", "NO_PROXY"), ",".join(filter(None, direct)))
    if index and not any(name.startswith("UV_") for name in environment):
        environment["UV_DEFAULT_INDEX"] = _one_line(index)
    if own_certificates:  # pip and uv bring their own list, which lacks the host's
        environment |= {"SSL_CERT_FILE": str(BUNDLE), "REQUESTS_CA_BUNDLE": str(BUNDLE)}
    return environment


def _certificates(pip: str | None) -> tuple[str, ...]:
    variables = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
    files = {str(BUNDLE), pip or "", *(os.environ.get(name, "") for name in variables)}
    trusted = {pem for file in files if file for pem in _pem(Path(file))}
    known = {pem for file in Path("/usr/share/ca-certificates").rglob("*.crt") for pem in _pem(file)}
    return tuple(sorted(trusted - known))


def _pem(file: Path) -> list[str]:
    if not file.is_file():
        return []
    block = r"-----BEGIN CERTIFICATE-----\n.*?-----END CERTIFICATE-----\n"
    return re.findall(block, file.read_text(errors="replace").replace("\r\n", "\n"), re.DOTALL)

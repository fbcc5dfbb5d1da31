"""Host requirements for a machine, and host settings it inherits to reach the same mirrors and registries."""

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
"""The host's loopback, as seen from a machine."""

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
    """Return the Debian packages that the host needs."""
    return sorted(PROGRAMS.values())


def require() -> None:
    """Make sure that a machine can run here; install missing Debian packages.

    Raises:
        SandboxError: not Linux, not root, or packages are missing and can't be installed.
    """
    if sys.platform != "linux" or os.geteuid() != 0:
        raise SandboxError(f"The sandbox's machine needs Linux and root: run this as root, or {OTHER_WAYS}")
    debian.install("The sandbox's machine", PROGRAMS)


@dataclass(frozen=True)
class Settings:
    """Host settings that a machine inherits."""

    codename: str
    """The release, as in ``bookworm``."""
    sources: tuple[str, ...]
    """The distribution's own archive as the host reaches it, as lines of ``sources.list``."""
    apt: str
    """How apt reaches it (proxies and the like), as the host's ``apt.conf``."""
    pip: str
    """The content of ``pip.conf``."""
    environment: Mapping[str, str]
    """Variables for every process: proxies, uv's index, the CA bundle if the host has its own."""
    certificates: tuple[str, ...]
    """CA certificates that the host trusts and the distribution lacks, in PEM."""

    def files(self) -> dict[str, str]:
        """Return the machine's files with these settings: text by path below ``/``."""
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
    """Rewrite URLs of the host's loopback in ``text`` for use inside a machine."""
    return re.sub(r"(?<=//)((?:[^/@\s]*@)?)(?:localhost|127\.0\.0\.1|\[::1\])(?=[:/\s\"]|$)", rf"\g<1>{GATEWAY}", text)


def _one_line(value: str) -> str:
    return " ".join(_from_inside(value).split())


def _output(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SandboxError(f"{command[0]} fails on this host: {done.stderr.strip()}")
    return done.stdout


def _sources(distribution: str, codename: str) -> tuple[str, ...]:
    """Return the distribution's own archive; third-party repositories may be unreachable."""
    query = [
        "apt-get",
        "indextargets",
        "--format",
        "$(REPO_URI)|$(RELEASE)|$(COMPONENT)|$(ORIGIN)",
        "Created-By: Packages",
    ]
    # Before the first `apt-get update` apt knows no origins, and lists its sources only with this option.
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
    """Return ``uri``, or the first mirror of a list in a file (``mirror+file:``)."""
    if not uri.startswith("mirror+file:"):
        return uri.rstrip("/")
    return Path(uri.removeprefix("mirror+file:").rstrip("/")).read_text().split()[0].rstrip("/")


def _apt() -> str:
    wanted = re.compile(r"Acquire::(https?::|Check-|Retries|ForceIPv)")
    return "".join(f"{line}\n" for line in _output("apt-config", "dump").splitlines() if wanted.match(line))


def _pip() -> dict[str, str]:
    """Return the host's pip settings, from files and variables, in pip's own order.

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
    """Return the settings valid inside a machine: not host paths (``find-links``, its own certificates)."""
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
    if own_certificates:  # pip and uv ship their own CA list, without the host's
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

"""Builds the apt repository that the stand-in install script uses: signed, with several versions of the Agent."""

import gzip
import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from email.utils import formatdate
from pathlib import Path

from sandbox import cache, debian, paths
from sandbox.environments import PINNED

HERE = Path(__file__).parent

OLDER, DEFAULT, NEWER = "7.77.1", "7.78.4", "7.80.0"
"""The available versions. The newest one's package doesn't restart the Agent."""

KEYS_VERSION = "1.4.0"
"""The version of ``datadog-signing-keys``."""

KEY_FILES = tuple(
    f"DATADOG_APT_KEY_{name}.public" for name in ("CURRENT", "06462314", "C0962C7D", "F14F620E", "382E94DE")
)
"""The names of the keys that the install script requests; here all are the same key."""

PROGRAMS = {"dpkg-deb": "dpkg", "gpg": "gpg", "gpg-agent": "gpg-agent"}


def ensure() -> Path:
    """Return the folder with ``apt/`` and ``keys/``, built unless cached; the signing key isn't kept.

    Raises:
        SandboxError: packages that the build needs are missing on this host, and can't be installed.
    """
    made_from = [part for path in _sources() for part in (str(path.relative_to(HERE)), path)]
    folder = paths.keyed("agent-repository", Path(__file__), _python(), *made_from)

    def make(partial: Path) -> None:
        debian.install("The stand-in Agent's repository", PROGRAMS)
        with tempfile.TemporaryDirectory() as work:
            _make(partial, Path(work))

    return cache.once(folder, make)


def _sources() -> list[Path]:
    files = [*HERE.glob("*.py"), HERE / "requirements.txt", *(HERE / "root").rglob("*"), *(HERE / "debian").rglob("*")]
    return sorted(path for path in files if path.is_file() and path.suffix != ".pyc")


def _make(folder: Path, work: Path) -> None:
    home = work / "gnupg"
    home.mkdir(mode=0o700)

    def gpg(*words: str, stdin: bytes = b"") -> bytes:
        command = ["gpg", "--homedir", str(home), "--batch", "--quiet", "--passphrase", "", *words]
        return subprocess.run(command, input=stdin, check=True, capture_output=True).stdout

    try:
        gpg("--quick-generate-key", "Watchpost sandbox <sandbox@example.com>", "ed25519", "sign", "never")
        (folder / "keys").mkdir(parents=True)
        for name in KEY_FILES:
            (folder / "keys" / name).write_bytes(gpg("--armor", "--export"))
        pool = folder / "apt" / "pool"
        pool.mkdir(parents=True)
        libraries = _libraries(work)
        stanzas = [_agent(version, libraries, pool, work) for version in (OLDER, DEFAULT, NEWER)]
        stanzas.append(_signing_keys(gpg("--export"), pool, work))
        release = _release("\n".join(stanzas).encode(), folder / "apt" / "dists" / "stable")
        suite = folder / "apt" / "dists" / "stable"
        (suite / "Release").write_bytes(release)
        (suite / "InRelease").write_bytes(gpg("--clear-sign", stdin=release))
        (suite / "Release.gpg").write_bytes(gpg("--armor", "--detach-sign", stdin=release))
    finally:
        subprocess.run(["gpgconf", "--homedir", str(home), "--kill", "all"], check=False)


ELSEWHERE = ("PYTHONPYCACHEPREFIX", "PYTHONDONTWRITEBYTECODE")
"""The variables that keep Python from writing bytecode next to its source."""


def _python() -> str:
    """Return the Python version of most machines, such as ``3.11``: they have this host's release."""
    of_host = shutil.which("python3", path="/usr/bin") or sys.executable
    tell = "import sys; print('{}.{}'.format(*sys.version_info))"
    return subprocess.run([of_host, "-c", tell], check=True, capture_output=True, text=True).stdout.strip()


def _libraries(work: Path) -> Path | None:
    """Install the Agent's Python packages for :func:`_python`; the real Agent bundles its own, too.

    If uv can't get them, and on machines with another Python, they are installed from the package index.
    """
    python, folder, made = _python(), work / "libraries", work / f"python{_python()}.tar.gz"
    compiled = ["--compile-bytecode"] if python == "{}.{}".format(*sys.version_info) else []
    words = ["--quiet", "--no-deps", *PINNED, "--python-version", python, *compiled, "--target", str(folder)]
    command = [sys.executable, "-m", "uv", "pip", "install", *words, "--requirement", str(HERE / "requirements.txt")]
    # With make's bytecode kept elsewhere, the packages would lack theirs.
    environment = {name: value for name, value in os.environ.items() if name not in ELSEWHERE}
    if subprocess.run(command, check=False, capture_output=True, env=environment).returncode:
        return None
    with tarfile.open(made, "w:gz", compresslevel=1) as archive:
        archive.add(folder, ".")
    return made


def _agent(version: str, libraries: Path | None, pool: Path, work: Path) -> str:
    root = work / version
    home = root / "opt/datadog-agent"
    shutil.copytree(HERE / "root", root)
    if libraries:
        shutil.copy(libraries, home)
    (home / "lib/agent7").mkdir(parents=True)
    for path in HERE.glob("*.py"):
        shutil.copy(path, home / "lib/agent7")
    shutil.copy(HERE / "requirements.txt", home)
    (home / "version-manifest.txt").write_text(f"agent {version}\n")
    restarts = "no" if version == NEWER else "yes"
    return _package(
        root, pool, "datadog-agent", version, {"@RESTARTS@": restarts}, "Depends: python3 (>= 3.10), python3-venv\n"
    )


def _signing_keys(key: bytes, pool: Path, work: Path) -> str:
    root = work / "keys"
    for path in ("opt/datadog-signing-keys/datadog-archive-keyring.gpg", "usr/share/debsig/keyrings/0/debsig.gpg"):
        (root / path).parent.mkdir(parents=True)
        (root / path).write_bytes(key)
    return _package(root, pool, "datadog-signing-keys", KEYS_VERSION, {}, "")


def _package(root: Path, pool: Path, name: str, version: str, values: dict[str, str], more: str) -> str:
    """Build a package from the files below ``root`` into ``pool``; return its stanza for the repository's index."""
    control = root / "DEBIAN"
    control.mkdir()
    for path in (HERE / "debian" / name).iterdir():
        text = path.read_text()
        for placeholder, value in values.items():
            text = text.replace(placeholder, value)
        (control / path.name).write_text(text)
        (control / path.name).chmod(0o755)
    fields = (
        f"Package: {name}\nVersion: 1:{version}-1\nArchitecture: all\n"
        f"Maintainer: Watchpost <watchpost@example.com>\n{more}"
        f"Description: {name}, Watchpost sandbox stand-in\n"
    )
    (control / "control").write_text(fields)
    for path in root.rglob("*"):
        if path.is_dir() or path.stat().st_mode & 0o100:
            path.chmod(0o755)
        else:
            path.chmod(0o644)
    file = pool / f"{name}_{version}-1_all.deb"
    # Uncompressed: the libraries already are compressed, and it isn't sent far.
    build = ["dpkg-deb", "--build", "-Znone", "--root-owner-group", str(root), str(file)]
    subprocess.run(build, check=True, capture_output=True)
    content = file.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    return f"{fields}Filename: pool/{file.name}\nSize: {len(content)}\nSHA256: {digest}\n"


def _release(packages: bytes, suite: Path) -> bytes:
    """Write the index of all packages for each architecture; return the repository's Release file."""
    lines = []
    architectures = ("amd64", "arm64")
    for architecture in architectures:
        for name, content in (("Packages", packages), ("Packages.gz", gzip.compress(packages, mtime=0))):
            path = f"7/binary-{architecture}/{name}"
            (suite / path).parent.mkdir(parents=True, exist_ok=True)
            (suite / path).write_bytes(content)
            lines.append(f" {hashlib.sha256(content).hexdigest()} {len(content)} {path}\n")
    head = (
        "Origin: Watchpost sandbox\nLabel: Watchpost sandbox\nSuite: stable\nCodename: stable\n"
        f"Date: {formatdate(usegmt=True)}\nArchitectures: {' '.join(architectures)}\nComponents: 7\nSHA256:\n"
    )
    return (head + "".join(lines)).encode()

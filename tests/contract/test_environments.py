"""An environment is built once, completely or not at all, even when requested twice at the same time."""

import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from sandbox import paths
from sandbox.environments import environment
from sandbox.progress import SandboxError

PACKAGE = re.search(r"^iniconfig==(.*\\\n)+.*\n", (paths.ROOT / "requirements-dev.txt").read_text(), re.MULTILINE)[0]  # type: ignore[index]
"""A small package that the tests need anyway, pinned."""


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Use separate caches and logs for this test; uv keeps its downloads."""
    uv_cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "uv"
    monkeypatch.setenv("UV_CACHE_DIR", os.environ.get("UV_CACHE_DIR", str(uv_cache)))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("WATCHPOST_SANDBOX", str(tmp_path / "sandbox"))


@pytest.fixture
def requirements(tmp_path: Path) -> Path:
    """A small set of packages."""
    file = tmp_path / "requirements.txt"
    file.write_text(PACKAGE)
    return file


def test_two_processes_share_the_making(requirements: Path) -> None:
    code = "import pathlib, sys, sandbox.environments as e; print(e.environment('two', pathlib.Path(sys.argv[1])))"
    command = [sys.executable, "-c", code, str(requirements)]

    def ask() -> "subprocess.CompletedProcess[str]":
        return subprocess.run(command, cwd=paths.ROOT, capture_output=True, text=True, timeout=60, check=True)

    with ThreadPoolExecutor() as pool:
        answers = [asked.result() for asked in [pool.submit(ask), pool.submit(ask)]]
    (python,) = {answer.stdout.strip() for answer in answers}
    assert sum("install the Python packages of two: done" in answer.stderr for answer in answers) == 1
    subprocess.run([python, "-c", "import iniconfig"], timeout=30, check=True)


def test_other_requirements_are_another_environment_and_a_broken_one_is_made_anew(requirements: Path) -> None:
    first = environment("one", requirements)
    assert environment("one", requirements) == first
    (first.parents[1] / "complete").unlink()
    first.unlink()
    assert environment("one", requirements) == first
    subprocess.run([first, "-c", "import iniconfig"], timeout=30, check=True)
    requirements.write_text(f"# other\n{PACKAGE}")
    assert environment("one", requirements) != first


def test_what_cannot_be_installed_is_said_and_not_kept(requirements: Path, tmp_path: Path) -> None:
    requirements.write_text(f"{tmp_path}/no-such-package.whl\n")
    with pytest.raises(SandboxError, match="install the Python packages of none by pip failed"):
        environment("none", requirements)
    assert not list(paths.cache().glob("*/complete"))

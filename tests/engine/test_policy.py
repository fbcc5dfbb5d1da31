"""The policy pack on the real engine: it passes the program, and refuses a host without a host key.

The sandbox's language host can't start Python policy packs (``sandbox/pulumi/versions.py``). The engine also runs
executables as packs, so the pack is two lines of shell here.
"""

import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from sandbox import paths
from sandbox.environments import environment
from sandbox.stack import Stack

UNCHECKED = {"address": "198.18.0.2", "user": "watchpost", "privateKey": "fake", "acceptAnyHostKey": True}
CHECKED = {"address": "198.18.0.2", "user": "watchpost", "privateKey": "fake", "hostKey": "ssh-ed25519 AAAAfake"}


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with Stack(folder=tmp_path_factory.mktemp("policy"), hosts=()).afresh() as stack:
        yield stack


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An executable that runs a copy of the pack next to it."""
    folder = tmp_path_factory.mktemp("pack")
    shutil.copytree(paths.ROOT / "policy", folder, ignore=shutil.ignore_patterns(".venv"), dirs_exist_ok=True)
    python = environment("policy", folder / "requirements.txt")
    pack = folder / "run"
    pack.write_text(f'#!/bin/sh\ncd {folder} && exec {python} -u -m pulumi.policy "$@" .\n')
    pack.chmod(0o755)
    return pack


def preview(stack: Stack, pack: Path, host: Mapping[str, object], *words: str) -> tuple[int, str]:
    """Run a preview with the pack; return exit code and output."""
    stack.configure(hosts={"vm": host})
    done = stack.pulumi("preview", "--policy-pack", str(pack), *words, check=False)
    return done.returncode, done.stdout


def test_the_program_obeys(stack: Stack, pack: Path) -> None:
    code, output = preview(stack, pack, CHECKED)
    assert code == 0
    assert "watchpost@v1.0.0" in output
    assert "[mandatory]" not in output


@pytest.mark.long
def test_a_host_without_host_key_is_refused_unless_it_is_accepted(stack: Stack, pack: Path) -> None:
    code, output = preview(stack, pack, UNCHECKED)
    assert code != 0
    assert "[mandatory]  host-keys-are-checked" in output
    (pack.parent / "accepted.json").write_text(
        json.dumps({"host-keys-are-checked": {"accepted": [UNCHECKED["address"]]}})
    )
    assert preview(stack, pack, UNCHECKED, "--policy-pack-config", str(pack.parent / "accepted.json"))[0] == 0

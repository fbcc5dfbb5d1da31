"""``docs/extending.md`` and ``pulumi new``, followed word for word on the real engine, without a machine."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from sandbox import paths
from sandbox.stack import Stack
from settings import project

GUIDE = paths.ROOT / "docs" / "extending.md"
FILE = re.compile(r"^`([\w./]+)`\n\n```\w+\n(.*?)^```$", re.MULTILINE | re.DOTALL)
DIFF = re.compile(r"^```diff\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NAME = "shop"


def clone(folder: Path) -> Path:
    """Copy this clone's tracked files, as in the working tree."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=paths.ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    for name in filter(None, listed.split("\0")):
        if (paths.ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(paths.ROOT / name, folder / name)
    return folder


def follow(guide: str, folder: Path) -> None:
    """Follow the guide: write its new files, and apply its diffs."""
    for name, text in FILE.findall(guide):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    for diff in DIFF.findall(guide):
        for part in re.split(r"^--- a/", diff, flags=re.MULTILINE)[1:]:
            name, _, rest = part.partition("\n")
            file = folder / name
            for hunk in re.split(r"^@@ .*\n", rest, flags=re.MULTILINE)[1:]:
                lines = hunk.splitlines(keepends=True)
                before = "".join(line[1:] or line for line in lines if not line.startswith("+"))
                after = "".join(line[1:] or line for line in lines if not line.startswith("-"))
                text = file.read_text()
                assert text.count(before) == 1, f"{name} has not exactly once:\n{before}"
                file.write_text(text.replace(before, after))


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    """A stack with an account and no machine."""
    folder = paths.local() / "tests" / "test_extending"
    try:
        with Stack(folder=folder, hosts=()).afresh() as stack:
            yield stack
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def shop(stack: Stack) -> Path:
    """A project that `pulumi new` created from a clone, with its own name."""
    folder = stack.folder / NAME
    folder.mkdir()
    template = clone(stack.folder / "clone")
    # `pulumi install`, its next step, fetches packages for minutes: see test_a_new_project_installs.
    words = ["new", str(template), "--generate-only", "--yes", "--force", "--name", NAME, "--dir", str(folder)]
    stack.pulumi(*words)
    return folder


def pulumi(stack: Stack, folder: Path, *words: str, check: bool = True) -> "subprocess.CompletedProcess[str]":
    """Run ``pulumi`` on the new project."""
    return subprocess.run(
        ["pulumi", "--non-interactive", "-C", str(folder), *words],
        env={**stack.environment(), "DD_HOST": stack.account.url, "SSH_AUTH_SOCK": "/dev/null"},
        capture_output=True,
        text=True,
        check=check,
    )


def test_a_new_project_has_its_own_name_and_needs_only_a_host(stack: Stack, shop: Path) -> None:
    assert yaml.safe_load((shop / "Pulumi.yaml").read_text())["name"] == NAME
    pulumi(stack, shop, "stack", "init", "prod")
    pulumi(stack, shop, "config", "set", "recipients", "you@example.com, on-call@example.com")
    said = pulumi(stack, shop, "preview", check=False).stdout
    assert f"{NAME}:hosts is (not shown): must have at least one entry" in said
    assert f"{project.PROJECT}:" not in said
    assert "recipients" not in said
    for name, value in {"address": "198.18.0.2", "user": "u", "agent": "true", "acceptAnyHostKey": "true"}.items():
        pulumi(stack, shop, "config", "set", "--path", f"hosts.vm.{name}", value)
    assert re.search(r"\+ [34]\d to create", pulumi(stack, shop, "preview").stdout)


def test_the_guide_s_steps_make_what_they_say(stack: Stack, shop: Path) -> None:
    follow(GUIDE.read_text(), shop)
    said = pulumi(stack, shop, "preview", "--json").stdout
    steps = json.loads(said[said.index("{") :])["steps"]
    created = {step["urn"].rpartition("::")[2] for step in steps}
    assert {"vm-open-files-code", "vm-open-files-proof", "open-files", "vm-redis-conf.yaml"} <= created
    (packages,) = (step for step in steps if step["urn"].endswith("::vm-packages"))
    assert "redis-server" in packages["newState"]["inputs"]["create"]


@pytest.mark.long
def test_a_new_project_installs(stack: Stack, shop: Path) -> None:
    pulumi(stack, shop, "install")
    # A language host as old as the sandbox's (sandbox/pulumi/versions.py) makes the project itself the environment.
    (python,) = (file for folder in (".venv", "") if (file := shop / folder / "bin/python").exists())
    listed = [str(python), "-c", "import pulumi_datadog, pydantic, asyncssh; print('here')"]
    assert subprocess.run(listed, capture_output=True, text=True, check=True).stdout == "here\n"

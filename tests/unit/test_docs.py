"""The docs name commands, options, settings, files and headings that exist."""

import re
import subprocess
from pathlib import Path

import click
import pytest

from sandbox import paths
from settings.model import Settings
from watchpost.__main__ import watchpost

LISTED = subprocess.run(["git", "ls-files", "*.md"], cwd=paths.ROOT, capture_output=True, text=True, check=True)
DOCUMENTS = [name for name in LISTED.stdout.split() if not name.startswith("files/")]
FOLDERS = "|".join(path.name for path in paths.ROOT.iterdir() if path.is_dir() and not path.name.startswith("."))
CREATED = re.compile(r"redis|open_files|NAME")
"""Files that a guide has its reader create, and placeholders."""


@pytest.fixture(params=DOCUMENTS)
def document(request: pytest.FixtureRequest) -> Path:
    return paths.ROOT / str(request.param)


def test_targets_of_the_makefile_exist(document: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (paths.ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"(?:`|^|&& )make ([a-z][a-z-]*)", document.read_text(), re.MULTILINE)) <= targets


def test_commands_and_their_options_exist(document: Path) -> None:
    for words in re.findall(r"-m watchpost ([\w ./-]*)", document.read_text()):
        command: click.Command = watchpost
        given = words.split()
        while given and isinstance(command, click.Group):
            name = given.pop(0)
            assert name in command.commands, words
            command = command.commands[name]
        options = {option for parameter in command.params for option in parameter.opts}
        assert {word for word in given if word.startswith("--")} <= options, words


def test_settings_exist(document: Path) -> None:
    known = {str(field.alias) for field in Settings.model_fields.values()}
    assert set(re.findall(r"\bwatchpost:([a-z]+[A-Z0-9]?\w*)\b(?![:.]\.\.)(?!:)", document.read_text())) <= known


def test_files_exist(document: Path) -> None:
    named = re.findall(rf"`((?:{FOLDERS}|\.github|\.ci)/[\w./-]+)`", document.read_text())
    assert [name for name in named if not (paths.ROOT / name).exists() and not CREATED.search(name)] == []


def test_links_lead_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)]+)\)", document.read_text()):
        name, _, anchor = target.partition("#")
        file = (document.parent / name) if name else document
        assert file.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.+)$", file.read_text(), re.MULTILINE)
            anchors = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
            assert anchor in anchors, target

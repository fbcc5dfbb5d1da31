"""The threat model names existing tests, and is linked from where people look."""

import ast
import re
from pathlib import Path

import pytest

from sandbox import paths

MODEL = paths.ROOT / "docs" / "security.md"
NAMED = re.findall(r"`(tests/[\w/]+\.py)((?:::\w+)+)`", MODEL.read_text())

PARTIES = (
    *("operator", "ci on main", "pull request", "the agent", "the app", "database user", "other users of a host"),
    *("datadog", "registries", "cluster"),
)


def names(path: Path) -> set[str]:
    """The tests in a file, those of a class with its name."""
    found = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.ClassDef):
            found |= {f"{node.name}::{inner.name}" for inner in node.body if isinstance(inner, ast.FunctionDef)}
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            found.add(node.name)
    return found


@pytest.mark.parametrize(("file", "test"), NAMED, ids=lambda value: value.rpartition(":")[2].rpartition("/")[2])
def test_a_test_that_the_threat_model_names_is_there(file: str, test: str) -> None:
    assert test.removeprefix("::") in names(paths.ROOT / file)


def test_each_guard_is_shown_by_a_test_and_each_party_has_its_guard() -> None:
    text = MODEL.read_text()
    rows = re.findall(r"^\| (.*) \| (\d+) \|$", text, re.MULTILINE)
    assert [int(number) for _, number in rows] == list(range(1, len(rows) + 1))
    guards = text.partition("## What guards")[2].partition("\n## ")[0]
    items = re.split(r"^\d+\. ", guards, flags=re.MULTILINE)[1:]
    assert len(items) == len(rows)
    assert all("`tests/" in item for item in items)
    parties = " ".join(row.partition("|")[0] for row, _ in rows).lower()
    assert not [party for party in PARTIES if party not in parties]


def test_people_find_it() -> None:
    assert "docs/security.md" in (paths.ROOT / "SECURITY.md").read_text()
    readme = (paths.ROOT / "README.md").read_text()
    assert "docs/security.md" in readme
    assert "SECURITY.md" in readme

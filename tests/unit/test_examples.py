"""The examples in docstrings hold; the sandbox's are tested in ``tests/contract/test_pages.py``."""

import doctest
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from sandbox import paths

FOLDERS = (".ci", "components", "files", "settings", "startup", "tests/engine", "watchpost")


def with_examples() -> list[str]:
    """List the files with examples."""
    files = [file for folder in FOLDERS for file in sorted((paths.ROOT / folder).rglob("*.py"))]
    return [str(file.relative_to(paths.ROOT)) for file in files if "\n    >>> " in file.read_text()]


@pytest.mark.parametrize("file", with_examples())
def test_the_examples_of_a_module_hold(file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"examples_of_{Path(file).stem}"
    spec = importlib.util.spec_from_file_location(name, paths.ROOT / file)
    assert spec is not None
    assert spec.loader is not None
    module: ModuleType = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, name, module)  # where dataclasses look their module up
    spec.loader.exec_module(module)
    found = doctest.testmod(module)
    assert found.attempted > found.failed == 0

"""Each folder imports only those below it: the program knows nothing of the sandbox, and nothing imports the tests."""

import ast
import re
import subprocess
import sys

import pytest

import components
from sandbox import paths

MAY_IMPORT = {
    "settings": set(),
    "startup": set(),
    "policy": set(),
    "components": {"settings"},
    "__main__.py": {"components", "settings", "startup"},
    "watchpost": {"components", "settings"},
    "sandbox": {"components", "settings", "watchpost"},
    "bench": {"components", "sandbox", "settings", "startup", "watchpost"},
}
"""By folder, or file: the other folders of this repository that it may import."""

FOLDERS = {name for name in MAY_IMPORT if not name.endswith(".py")} | {"tests"}


def imported(source: str) -> set[str]:
    """The top-level packages that a module imports by their names, anywhere in it."""
    nodes = list(ast.walk(ast.parse(source)))
    names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module and not node.level]
    return {name.partition(".")[0] for name in names}


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_a_folder_imports_only_those_below_it(room: str) -> None:
    place = paths.ROOT / room
    files = [place] if place.is_file() else sorted(place.rglob("*.py"))
    assert files
    others = {
        str(file.relative_to(paths.ROOT)): (imported(file.read_text()) & FOLDERS) - {room} - MAY_IMPORT[room]
        for file in files
    }
    assert {file: found for file, found in others.items() if found} == {}


def test_the_map_of_the_components_names_modules_that_exist() -> None:
    named = set(re.findall(r"``([a-z_]+)``", components.__doc__ or ""))
    assert named
    assert named <= {file.stem for file in (paths.ROOT / "components").glob("*.py")}


def test_only_two_modules_of_the_command_line_run_pulumi() -> None:
    running = {
        str(file.relative_to(paths.ROOT))
        for file in (paths.ROOT / "watchpost").rglob("*.py")
        if re.search(r"import (automation|subprocess)\b", file.read_text())
    }
    assert running == {"watchpost/stack.py", "watchpost/fleet/deployment.py"}


def test_every_import_is_seen() -> None:
    source = "import a.b, c\nfrom d.e import f\nfrom . import g\ndef later():\n    from h import i\n"
    assert imported(source) == {"a", "c", "d", "h"}


UNCHANGED = """
import gc, importlib, pkgutil, sys
import pulumi
from startup.slim import lighten
lighten("pulumi_datadog")  # whole, it takes half a minute
before = gc.get_threshold(), list(sys.path), pulumi.log.debug
for name in ("settings", "components", "watchpost", "startup"):
    package = importlib.import_module(name)
    for module in pkgutil.walk_packages(package.__path__, f"{name}."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
assert (gc.get_threshold(), sys.path, pulumi.log.debug) == before
"""


def test_importing_the_program_s_modules_changes_nothing_of_the_process() -> None:
    subprocess.run([sys.executable, "-c", UNCHANGED], cwd=paths.ROOT, check=True)

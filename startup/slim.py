"""Builds and imports a slim form of an installed provider SDK, with only what the program uses.

Importing a generated SDK executes the classes of all its resources; pulumi_datadog's are 35 MB of source, which costs
seconds and 200 MB on every preview. The slim form copies the resources that the program uses, and the argument and
output classes that they refer to, unchanged, into a package of the same name that comes first on ``sys.path``. The
components still write ``import pulumi_datadog as datadog``, and type checkers see the installed SDK. Remove once
Pulumi's generated SDKs load modules lazily, as they already do with whole subpackages
(https://github.com/pulumi/pulumi/pull/6827).

The user's cache keeps one slim form per SDK, its version and content, and the names used. If anything is not as
expected, the installed SDK is imported instead, with a warning.
"""

import ast
import compileall
import hashlib
import importlib.metadata
import importlib.util
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

import pulumi

PROGRAM = Path(__file__).resolve().parents[1]

_CLASS = re.compile(r"^(?:if not MYPY:\n    |@pulumi\.(?:input|output)_type\n)?class (\w+)", re.MULTILINE)
"""The start of a class in ``_inputs`` or ``outputs``; older SDKs hide their dictionary types from mypy."""

_STRAY = re.compile(r"^(?!class |if not MYPY:$|elif False:$|@pulumi\.(?:input|output)_type$)\S.*", re.MULTILINE)
"""Code between classes that can't be assigned to either of them."""

_LISTED = re.compile(r"^__all__ = \[(.*?)\]", re.MULTILINE | re.DOTALL)


def lighten(package: str) -> None:
    """Import the slim form of ``package`` under its name, building it if needed; call it before the first import."""
    if package in sys.modules:
        return
    path = list(sys.path)
    try:
        sources = [PROGRAM / "__main__.py", *(PROGRAM / "components").rglob("*.py")]
        sys.path.insert(0, str(slim_form(package, names_used(package, sources))))
        importlib.import_module(package)
    except Exception as error:  # noqa: BLE001 - whatever it is, the installed SDK still works
        sys.path[:] = path
        for module in [name for name in sys.modules if name.partition(".")[0] == package]:
            del sys.modules[module]
        pulumi.log.warn(f"{package} is imported whole, which takes seconds: {type(error).__name__}: {error}")


def names_used(package: str, sources: Iterable[Path]) -> list[str]:
    """List the names of ``package`` used in ``sources``: ``alias.Name`` of ``import package as alias``, or by ``from``.

    Raises:
        LookupError: a submodule of the package is imported directly.
    """
    names: set[str] = set()
    for source in sources:
        text = source.read_bytes()
        if package.encode() not in text:  # parsing takes most of the time here
            continue
        nodes = list(ast.walk(ast.parse(text)))
        imported = [name for node in nodes if isinstance(node, ast.Import) for name in node.names]
        froms = [node for node in nodes if isinstance(node, ast.ImportFrom) and node.module and not node.level]
        for module in [name.name for name in imported] + [str(node.module) for node in froms]:
            if module.startswith(f"{package}."):
                raise LookupError(f"{source.name} imports {module}")
        names |= {name.name for node in froms if node.module == package for name in node.names}
        aliases = {name.asname or name.name for name in imported if name.name == package}
        names |= {
            node.attr
            for node in nodes
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in aliases
        }
    return sorted(names)


def slim_form(package: str, names: Iterable[str]) -> Path:
    """Return the folder with the slim ``package``: ``names`` and what they refer to; build it if needed.

    Raises:
        LookupError: the SDK's structure isn't as expected, or it lacks a name.
        OSError: the cache can't be written.
    """
    names = list(names)
    installed = _installed(package)
    digest = hashlib.sha256(Path(__file__).read_bytes())
    digest.update("\n".join([sys.version, *names]).encode())
    for file in sorted(installed.rglob("*.py")):
        stat = file.stat()
        digest.update(f"\n{file} {stat.st_size} {stat.st_mtime_ns}".encode())
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "watchpost"
    folder = cache / f"{package}-{importlib.metadata.version(package)}-{digest.hexdigest()[:16]}"
    if not folder.exists():
        cache.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=f"{folder.name}.", dir=cache))
        try:
            _cut(installed, names, partial / package)
            compileall.compile_dir(partial, quiet=2, stripdir=str(partial), prependdir=str(folder))
            _publish(partial, folder)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return folder


def _publish(partial: Path, folder: Path) -> None:
    try:
        partial.rename(folder)
    except OSError:
        if not folder.exists():  # otherwise another process has published the same one first
            raise


def _installed(package: str) -> Path:
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise LookupError(f"{package} is not an installed package")
    return Path(spec.submodule_search_locations[0])


def _cut(installed: Path, names: list[str], target: Path) -> None:
    """Write the slim form of the package to ``target``."""
    target.mkdir()
    # The end of the package's __init__.py registers the resources' types with Pulumi.
    head, _, registration = _read(installed / "__init__.py").partition("_utilities.register(")
    if not registration:
        raise LookupError(f"{installed.name} does not register its types as expected")
    inputs, outputs = (_classes(installed / f"{name}.py") for name in ("_inputs", "outputs"))
    lazy = set(re.findall(r"^    (\w+) = _utilities\.lazy_import\(", head, re.MULTILINE))
    packages = [name for name in names if name in lazy]
    modules = _modules(installed, head, [name for name in names if name not in {*inputs, *lazy}])
    for file in ("_utilities.py", "_enums.py", "pulumi-plugin.json", "py.typed", *(f"{name}.py" for name in modules)):
        if (installed / file).exists():
            shutil.copyfile(installed / file, target / file)
    for name in packages:  # whole, since subpackages are loaded lazily
        shutil.copytree(installed / name, target / name, ignore=shutil.ignore_patterns("__pycache__"))
    reached = "\n".join([*names, *(_read(file) for file in sorted(target.rglob("*.py")) if file.stem != "_utilities")])
    lines = ["from . import _utilities"]
    for module, classes in {"_inputs": inputs, "outputs": outputs}.items():
        if classes:
            _write_classes(installed / f"{module}.py", target / f"{module}.py", classes, reached)
            lines += [f"from . import {module}"]
    exports = [module for module in dict.fromkeys([*modules, "_enums", "_inputs"]) if _star(module) in head]
    lines += [_star(module) for module in exports]
    lines += [f"{name} = _utilities.lazy_import('{installed.name}.{name}')" for name in packages]
    text = "\n".join([*lines, "", f"_utilities.register({registration}"])
    (target / "__init__.py").write_text(text, encoding="utf-8")


def _read(file: Path) -> str:
    return file.read_text(encoding="utf-8")


def _star(module: str) -> str:
    """Return the line with which an SDK's package exports a whole module."""
    return f"from .{module} import *"


def _modules(installed: Path, head: str, names: list[str]) -> list[str]:
    """List the modules of an SDK that define ``names``, as found in their ``__all__``."""
    found: dict[str, str] = {}
    for module in re.findall(r"^from \.(\w+) import \*$", head, re.MULTILINE) if names else []:
        with (installed / f"{module}.py").open(encoding="utf-8") as file:
            beginning = file.read(4000)
        listed = _LISTED.search(beginning)
        found |= dict.fromkeys(re.findall(r"'(\w+)'", listed[1]) if listed else [], module)
    if missing := [name for name in names if name not in found]:
        raise LookupError(f"{installed.name} has no {', '.join(missing)}")
    return sorted({found[name] for name in names})


def _classes(file: Path) -> Mapping[str, str]:
    """Map a module's top-level classes to their source, decorators included, in order."""
    text = _read(file) if file.exists() else ""
    starts = [(match[1], match.start()) for match in _CLASS.finditer(text)]
    if starts and (stray := _STRAY.search(text, starts[0][1])):
        raise LookupError(f"{file} has {stray[0][:80]!r} between its classes")
    ends = [start for _, start in starts[1:]] + [len(text)]
    return {name: text[start:end] for (name, start), end in zip(starts, ends, strict=False)}


def _write_classes(source: Path, target: Path, classes: Mapping[str, str], reached: str) -> None:
    """Write the classes that ``reached`` mentions, and those that they mention in turn, in their original order."""
    kept: set[str] = set()
    new = set(re.findall(r"\w+", reached)) & classes.keys()
    while new:
        kept |= new
        new = {word for name in new for word in re.findall(r"\w+", classes[name])} & classes.keys() - kept
    names = "".join(f"    '{name}',\n" for name in classes if name in kept)
    text = _read(source)
    beginning, listed = _LISTED.subn(f"__all__ = [\n{names}]", text[: _CLASS.search(text).start()])  # type: ignore[union-attr]
    if listed != 1:
        raise LookupError(f"{source} has no __all__")
    body = "".join(text for name, text in classes.items() if name in kept)
    target.write_text(f"{beginning}{body}", encoding="utf-8")

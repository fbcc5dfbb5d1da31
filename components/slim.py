"""A slim form of an installed provider SDK: importing it executes what the program uses, and nothing else.

A generated SDK executes the classes of all its resources on import; pulumi_datadog's are 35 MB of source, which costs
seconds and 200 MB on every preview. Here the resources that the program names are cut out, with the argument and output
classes that they reach, unchanged, into a package of the same name that comes first on ``sys.path``. The components
write ``import pulumi_datadog as datadog`` as ever, and type checkers see the installed SDK.

A slim form is made once for each SDK, its version and content, and the names used, and kept in the user's cache. When
anything is not as expected the installed SDK is imported as it is, and a warning says so.
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

FORMAT = "1"
"""Part of a slim form's name: another one whenever this module makes another form."""

_CLASS = re.compile(r"^(?:@pulumi\.(?:input|output)_type\n)?class (\w+)", re.MULTILINE)


def lighten(package: str) -> None:
    """Put the slim form of ``package`` first on ``sys.path``, making it if need be; call it before the first import."""
    if package in sys.modules:
        return
    try:
        sys.path.insert(0, str(slim_form(package, names_used(package, [PROGRAM / "__main__.py", *_components()]))))
    except Exception as error:  # noqa: BLE001 - whatever it is, the installed SDK still works
        pulumi.log.warn(f"{package} is imported whole, which takes seconds: {type(error).__name__}: {error}")


def _components() -> Iterable[Path]:
    return sorted(Path(__file__).parent.glob("*.py"))


def names_used(package: str, sources: Iterable[Path]) -> list[str]:
    """The names of ``package`` that ``sources`` use, as in ``import package as alias`` and ``alias.Name``."""
    names = set()
    for source in sources:
        tree = ast.parse(source.read_bytes())
        imports = [name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names]
        aliases = {name.asname or name.name for name in imports if name.name == package}
        names |= {
            node.attr
            for node in ast.walk(tree)
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in aliases
        }
    return sorted(names)


def slim_form(package: str, names: Iterable[str]) -> Path:
    """The folder that holds ``package`` with no more than ``names`` and what they reach.

    Raises:
        LookupError: the SDK isn't built as expected, or has no such name.
        OSError: the cache can't be written.
    """
    installed = _installed(package)
    digest = hashlib.sha256("\n".join([FORMAT, sys.version, *names]).encode())
    for file in sorted(installed.glob("*.py")):
        stat = file.stat()
        digest.update(f"\n{file.name} {stat.st_size} {stat.st_mtime_ns}".encode())
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "watchpost"
    folder = cache / f"{package}-{importlib.metadata.version(package)}-{digest.hexdigest()[:16]}"
    if not folder.exists():
        cache.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=f"{folder.name}.", dir=cache))
        try:
            _cut(installed, list(names), partial / package)
            compileall.compile_dir(partial, quiet=1, stripdir=str(partial), prependdir=str(folder))
            _publish(partial, folder)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return folder


def _publish(partial: Path, folder: Path) -> None:
    try:
        partial.rename(folder)
    except OSError:
        if not folder.exists():  # else another process was faster, and made the same
            raise


def _installed(package: str) -> Path:
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise LookupError(f"{package} is not an installed package")
    return Path(spec.submodule_search_locations[0])


def _cut(installed: Path, names: list[str], target: Path) -> None:
    """Write the slim package to ``target``."""
    target.mkdir()
    inputs, outputs = (_classes(installed / f"{name}.py") for name in ("_inputs", "outputs"))
    modules = _modules(installed, [name for name in names if name not in inputs])
    texts = {module: (installed / f"{module}.py").read_text() for module in modules}
    reached = "\n".join([*names, *texts.values()])
    _write_classes(installed, target / "_inputs.py", inputs, reached)
    _write_classes(installed, target / "outputs.py", outputs, reached)
    for module, text in texts.items():
        (target / f"{module}.py").write_text(text)
    for name in ("_utilities.py", "_enums.py", "pulumi-plugin.json", "py.typed"):
        if (installed / name).exists():
            shutil.copyfile(installed / name, target / name)
    # What registers the resources' types with Pulumi stands at the end of the package's own module.
    head, _, registration = (installed / "__init__.py").read_text().partition("_utilities.register(")
    if not registration:
        raise LookupError(f"{installed.name} does not register its types as expected")
    exports = [module for module in (*modules, "_enums", "_inputs") if f"from .{module} import *\n" in head]
    lines = ["from . import _utilities, outputs", *(f"from .{module} import *" for module in exports)]
    (target / "__init__.py").write_text("\n".join([*lines, "", f"_utilities.register({registration}"]))


def _modules(installed: Path, names: list[str]) -> list[str]:
    """The modules of an SDK that define ``names``, each named in the ``__all__`` of one."""
    found: dict[str, str] = {}
    for module in re.findall(r"^from \.(\w+) import \*$", (installed / "__init__.py").read_text(), re.MULTILINE):
        with (installed / f"{module}.py").open() as file:
            head = file.read(4000)
        listed = re.search(r"^__all__ = \[(.*?)\]", head, re.MULTILINE | re.DOTALL)
        found |= dict.fromkeys(re.findall(r"'(\w+)'", listed[1]) if listed else [], module)
    if missing := [name for name in names if name not in found]:
        raise LookupError(f"{installed.name} has no {', '.join(missing)}")
    return sorted({found[name] for name in names})


def _classes(file: Path) -> Mapping[str, str]:
    """The top-level classes of a module with their source, in order, each with its decorator."""
    text = file.read_text() if file.exists() else ""
    starts = [(match[1], match.start()) for match in _CLASS.finditer(text)]
    ends = [*(start for _, start in starts[1:]), len(text)]
    return {name: text[start:end] for (name, start), end in zip(starts, ends, strict=True)}


def _write_classes(installed: Path, target: Path, classes: Mapping[str, str], reached: str) -> None:
    """Write those classes that ``reached`` names, and those that they name in turn, in the order of the original."""
    kept: set[str] = set()
    new = set(re.findall(r"\w+", reached)) & classes.keys()
    while new:
        kept |= new
        new = {word for name in new for word in re.findall(r"\w+", classes[name])} & classes.keys() - kept
    if not (installed / target.name).exists():
        return
    head, listed, _ = (installed / target.name).read_text().partition("__all__ = [")
    if classes and not listed:
        raise LookupError(f"{installed.name}.{target.stem} has no __all__")
    names = "".join(f"    '{name}',\n" for name in classes if name in kept)
    body = "".join(text for name, text in classes.items() if name in kept)
    target.write_text(f"{head}__all__ = [\n{names}]\n\n{body}")

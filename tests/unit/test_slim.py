"""The slim form of a provider SDK, cut from small SDKs built like the generated ones."""

import importlib
import itertools
import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pulumi
import pytest

from startup import slim

HEAD = "# coding=utf-8\nimport pulumi\nfrom . import _utilities\n"

UTILITIES = """
import importlib

registered = []

def register(resource_modules, resource_packages):
    registered.append((resource_modules, resource_packages))

def lazy_import(fullname):
    return importlib.import_module(fullname)
"""

PACKAGE = """
from . import _utilities
import typing
# Export this package's modules as members:
from ._enums import *
from .dashboard import *
from .get_thing import *
from .monitor import *
from .provider import *
from ._inputs import *
from . import outputs

# Make subpackages available:
if typing.TYPE_CHECKING:
    import {name}.cloud as __cloud
    cloud = __cloud
else:
    cloud = _utilities.lazy_import('{name}.cloud')

_utilities.register(
    resource_modules='["the modules"]',
    resource_packages='["the packages"]'
)
"""

MONITOR = """
from . import outputs
from ._enums import *
from ._inputs import *

__all__ = ['MonitorArgs', 'Monitor']

class MonitorArgs:
    thresholds: "Union['MonitorThresholdsArgs', 'MonitorThresholdsArgsDict']"

class Monitor:
    thresholds: 'outputs.MonitorThresholds'
"""

INPUTS = """
from ._enums import *

__all__ = [
    'CloudRootArgs',
    'MonitorThresholdsArgs',
    'MonitorThresholdsArgsDict',
    'MonitorThresholdsLimitArgs',
    'WidgetArgs',
]

class CloudRootArgs:
    pass

class MonitorThresholdsArgsDict(dict):
    limit: 'MonitorThresholdsLimitArgs'

@pulumi.input_type
class MonitorThresholdsArgs:
    limit: 'MonitorThresholdsLimitArgs'

@pulumi.input_type
class MonitorThresholdsLimitArgs:
    kind: 'Kind'

@pulumi.input_type
class WidgetArgs:
    widgets: 'WidgetArgs'
    text: 'é'
"""

OUTPUTS = """
__all__ = [
    'MonitorThresholds',
    'Widget',
]

@pulumi.output_type
class MonitorThresholds(dict):
    above: 'MonitorThresholds'

@pulumi.output_type
class Widget(dict):
    pass
"""

names = (f"pulumi_fake_{number}" for number in itertools.count())


def installed(folder: Path, *, package: str = PACKAGE, inputs: str = INPUTS, version: str = "1.0.0") -> str:
    """The name of a new SDK, installed in ``folder``."""
    name = next(names)
    files = {
        "__init__.py": package.format(name=name),
        "_utilities.py": UTILITIES,
        "_enums.py": "__all__ = ['Kind', 'Other']\n\nclass Kind:\n    pass\n\nclass Other:\n    pass\n",
        "_inputs.py": HEAD + inputs,
        "outputs.py": HEAD + OUTPUTS,
        "monitor.py": HEAD + MONITOR,
        "dashboard.py": HEAD
        + "from ._inputs import *\n\n__all__ = ['Dashboard']\n\nclass Dashboard:\n    w: 'WidgetArgs'\n",
        "get_thing.py": HEAD + "__all__ = [\n    'get_thing',\n]\n\ndef get_thing():\n    return 1\n",
        "provider.py": HEAD + "__all__ = ['Provider']\n\nclass Provider:\n    pass\n",
        "cloud/__init__.py": "from .account import *\n",
        "cloud/account.py": "from .. import _inputs\n\nclass Account:\n    root = _inputs.CloudRootArgs\n",
        "pulumi-plugin.json": '{"resource": true}\n',
    }
    for file, text in files.items():
        path = folder / name / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    metadata = folder / f"{name}-{version}.dist-info" / "METADATA"
    metadata.parent.mkdir()
    metadata.write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    importlib.invalidate_caches()
    return name


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of installed packages, with a cache for this test alone; what it imports is forgotten afterwards."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    before = set(sys.modules)
    yield folder
    for name in set(sys.modules) - before:
        del sys.modules[name]


@pytest.fixture
def warnings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The warnings given to Pulumi."""
    told: list[str] = []
    monkeypatch.setattr(pulumi.log, "warn", told.append)
    return told


def imported(package: str, names: list[str], monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The slim form of ``package``, imported."""
    monkeypatch.syspath_prepend(slim.slim_form(package, names))
    module = importlib.import_module(package)
    assert "/cache/" in str(module.__file__)
    return module


def program(folder: Path, monkeypatch: pytest.MonkeyPatch, source: str) -> None:
    """Make ``source`` the program to cut the SDK for."""
    (folder / "__main__.py").write_text(textwrap.dedent(source))
    (folder / "components").mkdir()
    monkeypatch.setattr(slim, "PROGRAM", folder)


def test_it_holds_what_is_used_and_what_that_reaches_and_nothing_else(
    site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = imported(installed(site), ["Monitor", "Provider"], monkeypatch)
    for name in ("Monitor", "MonitorArgs", "MonitorThresholdsArgs", "MonitorThresholdsArgsDict", "Kind", "Provider"):
        assert hasattr(module, name), name
    assert hasattr(module._inputs, "MonitorThresholdsLimitArgs")
    assert hasattr(module.outputs, "MonitorThresholds")
    for owner, name in ((module, "Dashboard"), (module._inputs, "WidgetArgs"), (module.outputs, "Widget")):
        assert not hasattr(owner, name), name


def test_a_class_that_reaches_itself_ends(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = imported(installed(site), ["Dashboard"], monkeypatch)
    assert module.WidgetArgs.__annotations__ == {"widgets": "WidgetArgs", "text": "é"}
    assert not hasattr(module, "Monitor")


def test_an_argument_class_alone_and_functions_and_enums_can_be_used(
    site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = imported(installed(site), ["Kind", "MonitorThresholdsArgs", "get_thing"], monkeypatch)
    assert module.get_thing() == 1
    assert hasattr(module, "Kind")
    assert hasattr(module._inputs, "MonitorThresholdsLimitArgs")
    assert not hasattr(module, "Monitor")


def test_a_subpackage_is_whole_with_what_it_reaches(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = imported(installed(site), ["cloud"], monkeypatch)
    assert module.cloud.Account.root is module._inputs.CloudRootArgs
    assert not hasattr(module, "Monitor")


def test_the_types_are_registered_as_by_the_whole_sdk(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = imported(installed(site), ["Monitor"], monkeypatch)
    assert module._utilities.registered == [('["the modules"]', '["the packages"]')]


def test_an_older_sdk_hides_its_dictionary_types_from_mypy(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = """
__all__ = [
    'MonitorThresholdsArgs',
    'MonitorThresholdsArgsDict',
    'WidgetArgs',
    'WidgetArgsDict',
]

MYPY = False

if not MYPY:
    class WidgetArgsDict(dict):
        pass
elif False:
    WidgetArgsDict: TypeAlias = dict

@pulumi.input_type
class WidgetArgs:
    either: 'WidgetArgsDict'

if not MYPY:
    class MonitorThresholdsArgsDict(dict):
        pass
elif False:
    MonitorThresholdsArgsDict: TypeAlias = dict

@pulumi.input_type
class MonitorThresholdsArgs:
    either: 'MonitorThresholdsArgsDict'
"""
    module = imported(installed(site, inputs=inputs), ["Monitor"], monkeypatch)
    assert module._inputs.__all__ == ["MonitorThresholdsArgsDict", "MonitorThresholdsArgs"]
    assert module.MonitorThresholdsArgs.__annotations__ == {"either": "MonitorThresholdsArgsDict"}
    assert not hasattr(module._inputs, "WidgetArgsDict")


def test_another_content_or_version_or_use_is_another_form(site: Path) -> None:
    name = installed(site)
    first = slim.slim_form(name, ["Monitor"])
    assert slim.slim_form(name, ["Monitor"]) == first
    assert slim.slim_form(name, ["Dashboard"]) != first
    (site / name / "monitor.py").write_text(HEAD + MONITOR + "\nNEW = 1\n")
    second = slim.slim_form(name, ["Monitor"])
    assert second != first
    assert "NEW = 1" in (second / name / "monitor.py").read_text()
    (site / f"{name}-1.0.0.dist-info" / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.1\n")
    assert slim.slim_form(name, ["Monitor"]).name.startswith(f"{name}-1.1-")


def test_two_processes_that_make_it_at_once_both_have_it(site: Path) -> None:
    name = installed(site)
    code = f"from startup import slim; print(slim.slim_form({name!r}, ['Monitor']))"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(site), str(slim.PROGRAM)])}
    # The program's own SDK is of no interest here, and costs time.
    code = "import sys; sys.modules['pulumi_datadog'] = sys; " + code
    processes = [
        subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    (folder,) = {process.communicate(timeout=60)[0].strip() for process in processes}
    assert [process.returncode for process in processes] == [0, 0]
    assert [path.name for path in Path(folder).parent.iterdir()] == [Path(folder).name]


def test_one_that_is_beaten_to_it_takes_the_others(site: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    name, cut = installed(site), slim._cut

    def slow(*arguments: Any) -> None:
        monkeypatch.setattr(slim, "_cut", cut)
        slim.slim_form(name, ["Monitor"])
        cut(*arguments)

    monkeypatch.setattr(slim, "_cut", slow)
    folder = slim.slim_form(name, ["Monitor"])
    assert [path.name for path in (tmp_path / "cache" / "watchpost").iterdir()] == [folder.name]


def test_the_program_gets_it_under_the_sdks_name(
    site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, warnings: list[str]
) -> None:
    name = installed(site)
    program(tmp_path, monkeypatch, f"import {name} as sdk\n\nsdk.Monitor\n")
    slim.lighten(name)
    assert warnings == []
    assert not hasattr(importlib.import_module(name), "Dashboard")


@pytest.mark.parametrize(
    ("source", "used"),
    [
        ("import sdk\nsdk.Monitor(sdk.Thing.kind)", ["Monitor", "Thing"]),
        ("import sdk as other\nother.Monitor\nsdk.Dashboard", ["Monitor"]),
        ("from sdk import Monitor as M, Dashboard", ["Dashboard", "Monitor"]),
        ("def late():\n    import sdk\n    return sdk.Monitor", ["Monitor"]),
        ("import other\nother.Monitor  # not the sdk", []),
        ("'sdk is not imported here'", []),
    ],
)
def test_what_a_program_uses_is_read_off_its_source(tmp_path: Path, source: str, used: list[str]) -> None:
    (tmp_path / "program.py").write_text(source)
    assert slim.names_used("sdk", [tmp_path / "program.py"]) == used


NOT_AS_EXPECTED = {
    "a name that the SDK lacks": ("import {name}\n{name}.Monitr\n", {}, "LookupError: {name} has no Monitr"),
    "all names at once": ("from {name} import *\n", {}, "LookupError: {name} has no *"),
    "a module by its own name": ("import {name}.monitor\n", {}, "LookupError: __main__.py imports {name}.monitor"),
    "a part of a module": (
        "from {name}.monitor import Monitor\n",
        {},
        "LookupError: __main__.py imports {name}.monitor",
    ),
    "types that are registered otherwise": (
        "import {name}\n{name}.Monitor\n",
        {"package": PACKAGE.replace("_utilities.register(", "types = dict(")},
        "LookupError: {name} does not register its types as expected",
    ),
    "something between the classes": (
        "import {name}\n{name}.Monitor\n",
        {"inputs": INPUTS.replace("@pulumi.input_type\nclass W", "@str\n@pulumi.input_type\nclass W", 1)},
        "has '@str' between its classes",
    ),
    "a module without a list of its names": (
        "import {name}\n{name}.Monitor\n",
        {"inputs": INPUTS.replace("__all__ = [", "__all__ = list([").replace("    'WidgetArgs',\n]", "])")},
        "has no __all__",
    ),
    "a form that can't be imported": (
        "import {name}\n{name}.Monitor\n",
        {},
        "NameError: name 'missing' is not defined",
    ),
}


@pytest.mark.parametrize("case", NOT_AS_EXPECTED)
def test_what_is_not_as_expected_is_imported_whole_with_a_warning(
    case: str, site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, warnings: list[str]
) -> None:
    source, built, reason = NOT_AS_EXPECTED[case]
    name = installed(site, **built)
    program(tmp_path, monkeypatch, source.format(name=name))
    if case == "a form that can't be imported":
        (site / name / "monitor.py").write_text(HEAD + MONITOR + "\nif '/cache/' in __file__:\n    missing\n")
    slim.lighten(name)
    (warning,) = warnings
    assert warning.startswith(f"{name} is imported whole")
    assert reason.format(name=name) in warning
    assert hasattr(importlib.import_module(name), "Dashboard")


def test_a_cache_that_cannot_be_written_is_no_failure(
    site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, warnings: list[str]
) -> None:
    name = installed(site)
    program(tmp_path, monkeypatch, f"import {name}\n\n{name}.Monitor\n")
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    slim.lighten(name)
    (warning,) = warnings
    assert "NotADirectoryError" in warning
    assert hasattr(importlib.import_module(name), "Dashboard")


def test_an_sdk_that_is_not_installed_is_warned_of(
    site: Path, monkeypatch: pytest.MonkeyPatch, warnings: list[str]
) -> None:
    program(site, monkeypatch, "")
    slim.lighten("pulumi_nowhere")
    assert warnings == [
        "pulumi_nowhere is imported whole, which takes seconds: LookupError: pulumi_nowhere is not an installed package"
    ]


def test_an_sdk_that_is_imported_already_stays(site: Path, warnings: list[str]) -> None:
    name = installed(site)
    module = importlib.import_module(name)
    slim.lighten(name)
    assert importlib.import_module(name) is module
    assert hasattr(module, "Dashboard")
    assert warnings == []


@pytest.mark.parametrize(
    ("package", "names", "absent"),
    [("pulumi_random", ["RandomPassword"], "RandomPet"), ("pulumi_command", ["remote"], "Provider")],
)
@pytest.mark.usefixtures("site")
def test_other_installed_sdks_have_one_too(package: str, names: list[str], absent: str) -> None:
    folder = slim.slim_form(package, names)
    code = f"import {package} as sdk; print(sdk.__file__, *(hasattr(sdk, n) for n in {[*names, absent]!r}))"
    if package == "pulumi_command":
        code += "; sdk.remote.Command"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        env={**os.environ, "PYTHONPATH": str(folder)},
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert done.stdout.split() == [str(folder / package / "__init__.py"), "True", "False"]

"""The slim pulumi_datadog against the installed SDK: the same inputs, types and names.

Each is imported in its own process, which prints everything that could differ.
"""

import json
import os
import subprocess
import sys
import typing
import zlib
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unittest.mock import Mock, patch

import pulumi
import pytest

import startup
from tests.unit.mocks import Created, run, run_program

ROOT = Path(__file__).resolve().parents[2]

PACKAGE = "pulumi_datadog"

NOW = datetime(2026, 6, 1, 22, 30, tzinfo=UTC)
"""The time at which both run: downtimes begin soon after, and a minute may pass between the two."""

EXPERIENCE = {"enabled": True, "ticketUrl": "https://tickets.example.com/hook", "ticketToken": "fake-token-0000"}
"""On, so that every resource type of the program is among what is compared."""

Told = dict[str, Any]


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Told]:
    """The output of the process with the slim form, and of the one with the whole SDK."""
    cache = tmp_path_factory.mktemp("cache")

    def run(form: str) -> Told:
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-m", "tests.contract.test_slim_sdk", form],
            env={**os.environ, "XDG_CACHE_HOME": str(cache)},
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        result: Told = json.loads(done.stdout.splitlines()[-1])
        return result

    with ThreadPoolExecutor() as pool:
        slim, whole = pool.map(run, ("slim", "whole"))
    return {"slim": slim, "whole": whole}


def test_one_is_slim_and_the_other_is_whole(told: dict[str, Told]) -> None:
    assert "/watchpost/pulumi_datadog-" in told["slim"]["file"]
    assert "/site-packages/" in told["whole"]["file"]
    assert told["slim"]["classes"] * 20 < told["whole"]["classes"]


@pytest.mark.parametrize("preview", ["up", "preview"])
def test_the_same_inputs_reach_the_engine(told: dict[str, Told], preview: str) -> None:
    assert told["slim"]["resources"][preview] == told["whole"]["resources"][preview]
    assert len([r for r in told["slim"]["resources"][preview] if r[0].startswith("datadog:")]) >= 60
    assert told["slim"]["outputs"] == told["whole"]["outputs"]


def test_every_class_that_is_reached_has_the_same_types(told: dict[str, Told]) -> None:
    assert told["slim"]["types"] == told["whole"]["types"]
    assert len(told["slim"]["types"]) > 20
    # Compared by name, so that an empty comparison can't pass.
    assert "critical_recovery" in str(told["slim"]["types"]["pulumi_datadog._inputs.MonitorMonitorThresholdsArgs"])


def test_the_keys_of_plain_dictionaries_are_translated_however_deep(told: dict[str, Told]) -> None:
    assert told["slim"]["dictionaries"] == told["whole"]["dictionaries"]
    assert {"criticalRecovery": "1", "warningRecovery": "2"}.items() <= told["slim"]["dictionaries"][0].items()
    (query,) = told["slim"]["dictionaries"][1]["eventQueries"]
    assert query["dataSource"] == "logs"
    assert query["groupBies"][0]["sort"]["aggregation"] == "count"


def test_resources_that_the_engine_sends_back_become_the_same_classes(told: dict[str, Told]) -> None:
    assert told["slim"]["modules"] == told["whole"]["modules"]
    assert "datadog:index/monitor" in told["slim"]["modules"]


def _tell(form: str) -> Told:
    """Return everything that could differ, in this process."""
    if form == "whole":
        import pulumi_datadog  # noqa: F401 - before the program installs its slim form
    else:
        startup.prepare()

    from pulumi.runtime import rpc

    from startup import slim

    with (
        patch("components.downtimes.datetime", Mock(now=lambda _: NOW)),
        # In which order monitors are registered differs from run to run.
        patch("tests.unit.mocks.Mocks.monitor_id", lambda _, name: str(zlib.crc32(name.encode()))),
    ):
        runs = {
            "up": run_program(customerExperience=EXPERIENCE),
            "preview": run_program(preview=True, customerExperience=EXPERIENCE),
        }
    import pulumi_datadog as datadog

    names = slim.names_used(PACKAGE, [ROOT / "__main__.py", *(ROOT / "components").rglob("*.py")])
    nested = run(lambda: _nested(datadog)).resources[0].plain
    return {
        "file": datadog.__file__,
        "classes": len(vars(datadog._inputs)) + len(vars(datadog.outputs)),
        "resources": {name: sorted(map(_resource, done.resources)) for name, done in runs.items()},
        "outputs": _text(runs["up"].outputs),
        "types": _types([getattr(datadog, name) for name in names]),
        "dictionaries": [nested["monitorThresholds"], nested["variables"]],
        "modules": sorted(rpc._RESOURCE_MODULES),
    }


def _resource(created: Created) -> list[str]:
    """Return a resource as registered."""
    return [created.type, created.name, created.parent, _text(created.inputs)]


def _text(value: Any) -> str:
    """Format a value with sorted keys and marked secrets."""
    return json.dumps(value, sort_keys=True, default=lambda secret: {"secret": secret.value})


def _nested(datadog: Any) -> None:
    """Create a monitor from plain dictionaries with Python's names."""
    datadog.Monitor(
        "nested",
        name="nested",
        type="query alert",
        query="avg(last_5m):avg:my_metric{*} > 1",
        message="",
        monitor_thresholds={"critical": "1", "critical_recovery": "1", "warning_recovery": "2"},
        variables={
            "event_queries": [
                {
                    "data_source": "logs",
                    "name": "one",
                    "computes": [{"aggregation": "count"}],
                    "search": {"query": "*"},
                    "group_bies": [{"facet": "host", "sort": {"aggregation": "count", "order": "desc"}}],
                }
            ]
        },
    )


def _types(todo: list[Any]) -> dict[str, Any]:
    """Return by class: property types, the engine's names for them, and its arguments.

    Includes classes referenced by types.
    """
    found: dict[str, Any] = {}
    while todo:
        cls = todo.pop()
        name = f"{getattr(cls, '__module__', '')}.{getattr(cls, '__qualname__', '')}"
        if not isinstance(cls, type) or not name.startswith(PACKAGE):
            todo += typing.get_args(cls)
        elif name not in found:
            hints, translated = _properties(cls)
            called = _hints(vars(cls).get("_internal_init", vars(cls).get("__init__", cls)))
            found[name] = [_told(hints), translated, _told(called)]
            todo += [*hints.values(), *called.values()]
    return found


def _properties(cls: type) -> tuple[dict[str, Any], dict[str, str]]:
    """Return a class's property types, and the engine's names where Pulumi looks these up by the class."""
    from pulumi import _types as types

    if types.is_input_type(cls):
        return types.input_type_types(cls), types.input_type_py_to_pulumi_names(cls)
    if types.is_output_type(cls):
        return types.output_type_types(cls), {}
    if issubclass(cls, dict):
        return _hints(cls), {}
    return types.resource_types(cls), types.resource_py_to_pulumi_names(cls)


def _hints(thing: Any) -> dict[str, Any]:
    # `pulumi.Input` refers to these as text, which only Pulumi's own modules can resolve.
    return typing.get_type_hints(thing, localns={"Output": pulumi.Output, "T": Any})


def _told(hints: dict[str, Any]) -> dict[str, str]:
    return {key: repr(hint) for key, hint in hints.items()}


if __name__ == "__main__":
    print(json.dumps(_tell(sys.argv[1])))

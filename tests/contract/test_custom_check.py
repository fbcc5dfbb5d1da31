"""The custom check works under Datadog's own check library, with the program's YAML."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from components.custom_check import MY_METRIC
from sandbox.agent import settings

from . import program

AGENT = "/etc/datadog-agent/"
CODE, CONFIG = AGENT + "checks.d/my_metric.py", AGENT + "conf.d/my_metric.d/conf.yaml"


def run(python: Path, folder: Path, code: str, config: str, runs: int = 1) -> list[dict[str, Any]]:
    """Return what each run submitted."""
    (folder / "my_metric.py").write_text(code)
    (folder / "conf.yaml").write_text(config)
    command: list[str | Path] = [
        python,
        Path(__file__).with_name("run_check.py"),
        folder / "my_metric.py",
        folder / "conf.yaml",
        str(runs),
    ]
    printed = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=60, check=True).stdout
    submitted: list[dict[str, Any]] = json.loads(printed)
    return submitted


def test_each_run_submits_one_gauge_of_a_new_whole_number(
    files: dict[str, str], agent_python: Path, tmp_path: Path
) -> None:
    runs = run(agent_python, tmp_path, files[CODE], files[CONFIG], runs=200)
    assert len(runs) == 200
    values = []
    for submitted in runs:
        assert submitted["error"] == ""
        ((name, kind, value, tags),) = submitted["metrics"]
        assert (name, kind, tags) == (MY_METRIC.name, submitted["gauge"], [MY_METRIC.tag])
        values.append(value)
    assert all(float(value).is_integer() and 0 <= value <= 1000 for value in values)
    # With 1001 equally likely values, 200 draws practically never give fewer distinct ones, or none in a tenth.
    assert len(set(values)) > 150
    assert min(values) < 100
    assert max(values) > 900


@pytest.mark.parametrize("files", ["defaults"], indirect=True)
def test_both_ends_of_the_range_are_reached(files: dict[str, str], agent_python: Path, tmp_path: Path) -> None:
    config = yaml.safe_load(files[CONFIG])
    config["instances"][0] |= {"minimum": 999}
    runs = run(agent_python, tmp_path, files[CODE], yaml.safe_dump(config), runs=100)
    assert {submitted["metrics"][0][2] for submitted in runs} == {999, 1000}


@pytest.mark.parametrize("files", ["defaults"], indirect=True)
def test_the_run_shows_an_error_of_the_check(files: dict[str, str], agent_python: Path, tmp_path: Path) -> None:
    (submitted,) = run(agent_python, tmp_path, files[CODE], files[CONFIG].replace("minimum", "minimun"))
    assert "KeyError" in submitted["error"]
    assert submitted["metrics"] == []


def test_the_interval_stands_in_the_yaml_alone(resources: dict[str, program.Inputs], tmp_path: Path) -> None:
    defaults, other = (program.files(inputs) for inputs in resources.values())
    assert defaults[CODE] == other[CODE]
    (tmp_path / "my_metric.d").mkdir()
    for files, seconds in ((defaults, 45), (other, 7)):
        (tmp_path / "my_metric.d" / "conf.yaml").write_text(files[CONFIG])
        ((config,), errors) = settings.load_checks(tmp_path)
        assert (config.name, config.interval, errors) == ("my_metric", seconds, {})
        # An integer at the instance: https://docs.datadoghq.com/extend/custom_checks/write_agent_check/#collection-interval
        assert yaml.safe_load(files[CONFIG])["instances"][0]["min_collection_interval"] == seconds

"""The tools for each kind of file in ``files/`` accept it, and scripts declare what they need."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import yaml

from components.step_command import StepCommand
from sandbox import paths

from . import program
from .scripts import stand_in

ROOT = paths.ROOT
FILES = ROOT / "files"
TOOLS = Path(sys.executable).parent
SCRIPTS = sorted([*FILES.rglob("*.sh"), *(ROOT / "sandbox").rglob("*.sh")])
OURS = [script for script in SCRIPTS if script.is_relative_to(FILES)]
YAML = sorted([*FILES.rglob("*.y*ml"), *ROOT.glob("Pulumi*.yaml"), *(ROOT / ".github").rglob("*.y*ml")])
UNITS = ("/etc/systemd/system/watchpost-app.service",)


def named(path: Path) -> str:
    """Name a file for a test's id."""
    return str(path.relative_to(ROOT))


def tool(*words: str | Path, stdin: str | None = None) -> "subprocess.CompletedProcess[str]":
    """Run a checker."""
    command: Sequence[str | Path] = words
    return subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=60, check=False)


def header(script: Path) -> str:
    """Return a script's header comment."""
    lines = script.read_text().splitlines()[1:]
    end = next(number for number, line in enumerate(lines) if not line.startswith("#"))
    return "\n".join(lines[:end])


def demanded(script: Path) -> list[str]:
    """Return a script's required variables: ``: "${name:?}"``."""
    lines = [line for line in script.read_text().splitlines() if line.startswith(": ")]
    return re.findall(r"\$\{([a-z_]+):?\?\}", "\n".join(lines))


def test_there_is_something_to_look_at() -> None:
    assert len(OURS) >= 12
    assert len(YAML) >= 6


def test_shellcheck_has_nothing_to_say() -> None:
    done = tool(TOOLS / "shellcheck", *SCRIPTS)
    assert done.returncode == 0, done.stdout


def test_shellcheck_sees_an_unquoted_variable() -> None:
    done = tool(TOOLS / "shellcheck", "-", stdin="#!/bin/bash\nrm $1\n")
    assert "SC2086" in done.stdout


@pytest.mark.parametrize("script", SCRIPTS, ids=named)
def test_a_script_stops_at_errors_and_is_bash(script: Path) -> None:
    lines = script.read_text().splitlines()
    assert lines[0] in ("#!/usr/bin/env bash", "#!/bin/bash", "#!/bin/sh")
    statements = [line for line in lines if line.strip() and not line.startswith("#")]
    assert statements[0] in ("set -eu", "set -euo pipefail")
    assert tool("sh" if lines[0] == "#!/bin/sh" else "bash", "-n", script).returncode == 0


@pytest.mark.parametrize("script", OURS, ids=named)
def test_a_script_says_what_it_does_and_which_variables_it_takes(script: Path) -> None:
    said = header(script)
    assert len(said) > 40
    assert [name for name in demanded(script) if not re.search(rf"\b{name}\b", said.partition("Variables:")[2])] == []


@pytest.mark.parametrize("script", OURS, ids=named)
def test_a_sentence_is_a_single_argument(script: Path) -> None:
    """Those after it are the paths whose free space is told."""
    text = script.read_text().replace("\\\n", " ")
    assert re.findall(r'give_up "(?:[^"\\]|\\.)*"\s+"(?![/$])[^"]*"', text) == []


def test_scripts_get_the_variables_that_they_name(resources: dict[str, program.Inputs]) -> None:
    seen = set()
    for step in resources["defaults"]["command:remote:Command"]:
        command = StepCommand.parse(step["create"])
        script, given = FILES / command.script, set(command.variables)
        described = header(script).partition("Variables:")[2]
        assert [name for name in sorted(given) if not re.search(rf"\b{name}\b", described)] == []
        assert set(demanded(script)) <= given
        seen.add(script)
    assert len(seen) >= 10


@pytest.mark.parametrize("script", OURS, ids=named)
def test_no_script_ends_early_where_it_is_to_apply(script: Path) -> None:
    """It would end without its report, as if never run."""
    _, _, branch = script.read_text().partition("\napply)\n")
    assert "exit 0" not in branch.partition("\n  ;;\n")[0]


@pytest.mark.parametrize("name", program.SETTINGS)
def test_no_secret_is_part_of_a_command(resources: dict[str, program.Inputs], name: str) -> None:
    for step in resources[name]["command:remote:Command"]:
        assert "fake" not in (step["create"] + step.get("delete", "")).lower()


def test_yamllint_has_nothing_to_say() -> None:
    done = tool(sys.executable, "-m", "yamllint", "--strict", "--config-file", ROOT / ".yamllint", *YAML)
    assert (done.returncode, done.stdout) == (0, "")


def test_yamllint_sees_a_key_twice() -> None:
    done = tool(sys.executable, "-m", "yamllint", "--config-file", ROOT / ".yamllint", "-", stdin="a: 1\na: 2\n")
    assert "duplication of key" in done.stdout


def test_yaml_on_the_host_reads_back_with_its_types(files: dict[str, str]) -> None:
    written = {path: yaml.safe_load(text) for path, text in files.items() if path.endswith(".yaml")}
    assert len(written) == 4
    agent = written["/etc/datadog-agent/datadog.yaml"]
    assert isinstance(agent["api_key"], str)
    assert agent["apm_config"] == {"enabled": True}
    assert "${" not in str(written)


@pytest.mark.parametrize("file", sorted(FILES.rglob("*.json")), ids=named)
def test_json_is_json_without_a_key_twice(file: Path) -> None:
    def once(pairs: list[tuple[str, object]]) -> dict[str, object]:
        names = [name for name, _ in pairs]
        assert len(names) == len(set(names)), names
        return dict(pairs)

    json.loads(file.read_text(), object_pairs_hook=once)


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
@pytest.mark.parametrize("path", UNITS)
@pytest.mark.parametrize("fault", ["", "ProtectSystem=", "ExecStart="])
def test_systemd_takes_the_unit_and_no_faulty_one(files: dict[str, str], tmp_path: Path, path: str, fault: str) -> None:
    # A unit's programs have to exist; these do.
    unit = re.sub(r"/opt/watchpost-app/venv/bin", str(tmp_path), files[path])
    for program_name in ("ddtrace-run", "python"):
        stand_in(tmp_path, program_name, "exit")
    (tmp_path / Path(path).name).write_text(unit.replace(fault, f"X{fault}") if fault else unit)
    done = tool("systemd-analyze", "verify", "--man=no", tmp_path / Path(path).name)
    assert bool(done.returncode or done.stderr) == bool(fault), done.stderr


def test_the_databases_user_gets_what_the_integration_needs_and_no_more() -> None:
    text = (FILES / "mysql" / "user.sql").read_text()
    statements = [line for line in text.splitlines() if not line.startswith("--")]
    # GRANT takes no limit of connections since MySQL 8; https://docs.datadoghq.com/integrations/mysql/#prepare-mysql
    assert statements == [
        "ALTER USER 'datadog'@'127.0.0.1' WITH MAX_USER_CONNECTIONS 5;",
        "GRANT PROCESS, REPLICATION CLIENT ON *.* TO 'datadog'@'127.0.0.1';",
        "GRANT SELECT ON `performance_schema`.* TO 'datadog'@'127.0.0.1';",
    ]

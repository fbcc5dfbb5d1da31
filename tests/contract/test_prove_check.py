"""The proof of a check relies on the Agent's output alone."""

import json
from pathlib import Path
from typing import Any

import pytest

from .scripts import Done, run, stand_in

METRIC = {"metric": "my_metric", "type": "gauge", "host": "vm", "interval": 0, "source_type_name": "System"}


def metric(value: float, **changes: Any) -> dict[str, Any]:
    """Return a metric as printed by ``datadog-agent check --json``."""
    return METRIC | {"points": [[1700000000, value]], "tags": ["custom_check:my_metric"]} | changes


def instance(*metrics: dict[str, Any], error: str = "") -> dict[str, Any]:
    """Return one instance's run in that form; without metrics their key is absent.

    Source: https://github.com/DataDog/datadog-agent/blob/main/pkg/cli/subcommands/check/command.go
    """
    runner = {"CheckName": "my_metric", "Interval": 45_000_000_000, "TotalErrors": int(bool(error)), "LastError": error}
    return {"aggregator": {"metrics": list(metrics)} if metrics else {}, "runner": runner, "inventories": None}


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """A folder with a ``setpriv`` that changes nothing, and notes what was requested."""
    folder = tmp_path / "bin"
    stand_in(folder, "getent", "")
    stand_in(folder, "id", "echo 998")
    stand_in(
        folder,
        "setpriv",
        f'echo "$*" >>{tmp_path}/called\nwhile [ "$1" != --no-new-privs ]; do shift; done\nshift\nexec "$@"',
    )
    return folder


def prove(programs: Path, printed: str, *, twice: str = "no", wanted: str = "my_metric") -> Done:
    """Run the proof, with an Agent that prints ``printed``."""
    (programs.parent / "printed").write_text(printed)
    stand_in(programs, "datadog-agent", f"cat {programs.parent}/printed")
    variables = {"check": "my_metric", "metric": wanted, "twice": twice}
    return run("agent/prove_check.sh", variables=variables, programs=programs)


def printed_by_agent(*instances: dict[str, Any]) -> str:
    return json.dumps(instances, indent=2)


def test_a_good_run_gives_value_tags_and_interval(programs: Path) -> None:
    done = prove(programs, printed_by_agent(instance(metric(512))))
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout) == {"value": 512, "tags": ["custom_check:my_metric"], "interval_s": 45}
    called = (programs.parent / "called").read_text()
    assert called.startswith("--reuid=dd-agent --regid=998 ")
    assert called.endswith(" --no-new-privs datadog-agent check my_metric --json\n")


def test_a_step_that_ends_meanwhile_takes_nothing_away(programs: Path) -> None:
    ended = programs.parent / "ended"
    gone = f"[ -e {ended} ] || {{ touch {ended}; exec ls /run/watchpost/none; }}"
    stand_in(programs, "mktemp", f'{gone}\nexec /usr/bin/mktemp "$@"')
    done = prove(programs, printed_by_agent(instance(metric(512))))
    assert (done.returncode, ended.exists()) == (0, True), done.stderr


def test_of_two_runs_the_last_value_counts(programs: Path) -> None:
    done = prove(programs, printed_by_agent(instance(metric(1), metric(7.5, tags=None))), twice="yes")
    assert json.loads(done.stdout)["value"] == 7.5
    assert (programs.parent / "called").read_text().endswith("check my_metric --json --check-rate\n")


def test_a_check_that_raises_is_no_proof_although_the_command_succeeds(programs: Path) -> None:
    error = json.dumps([{"message": "no such table", "traceback": "Traceback (most recent call last) ..."}])
    done = prove(programs, printed_by_agent(instance(metric(512), error=error)))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "watchpost: the check my_metric did not submit my_metric: no such table\n"


def test_another_instance_that_fails_is_named_and_takes_nothing_from_the_proof(programs: Path) -> None:
    done = prove(programs, printed_by_agent(instance(metric(512)), instance(error="no route to db.example.com")))
    assert json.loads(done.stdout)["value"] == 512
    assert done.stderr == "another instance of the check my_metric fails: no route to db.example.com\n"


@pytest.mark.parametrize("found", [[], [metric(1, metric="other")]])
def test_a_metric_that_is_missing_is_said_so(programs: Path, found: list[dict[str, Any]]) -> None:
    done = prove(programs, printed_by_agent(instance(*found)))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("watchpost: the check my_metric did not submit my_metric: it gives no error, ")
    assert done.stderr.count("\n") == 1


def test_processes_that_the_agent_can_not_see_are_the_cause(programs: Path) -> None:
    stand_in(programs, "test", '[ "$*" != "-r /proc/1/stat" ]')
    done = prove(programs, printed_by_agent(instance(metric(1, metric="other"))))
    assert (done.returncode, done.stdout) == (1, "")
    assert "mount -o remount,gid=$(id -g dd-agent) /proc`" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_command_that_fails_is_said_so(programs: Path) -> None:
    stand_in(programs, "datadog-agent", "echo some log; echo 'Error: no valid check found' >&2; exit 255")
    variables = {"check": "my_metric", "metric": "my_metric", "twice": "no"}
    done = run("agent/prove_check.sh", variables=variables, programs=programs)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "watchpost: 'datadog-agent check my_metric' failed: Error: no valid check found\n"


def test_a_run_with_hundreds_of_metrics_is_read(programs: Path) -> None:
    tags = [f"a_tag_of_the_database_{number}:value" for number in range(6)]
    others = [metric(number, metric=f"mysql.performance.some_figure_{number}", tags=tags) for number in range(400)]
    done = prove(programs, printed_by_agent(instance(*others, metric(512))))
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["value"] == 512


@pytest.mark.parametrize("cut", ["[\n", '[\n  {"runner": '])
def test_a_result_that_is_cut_off_is_said_in_a_sentence(programs: Path, cut: str) -> None:
    done = prove(programs, cut)
    assert (done.returncode, done.stdout) == (1, "")
    assert "Traceback" not in done.stderr
    assert done.stderr.startswith("watchpost: the check my_metric did not submit my_metric: it printed no result: ")


@pytest.mark.parametrize("before", ["2026-11-23 | CORE | WARN | (pkg/x.go:1 in f) | [deprecated] setting\n", "=== \n"])
def test_lines_before_the_json_do_no_harm(programs: Path, before: str) -> None:
    done = prove(programs, before + printed_by_agent(instance(metric(512))))
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["value"] == 512


def test_no_json_at_all_is_said_in_a_sentence(programs: Path) -> None:
    done = prove(programs, "nothing of the kind")
    assert done.returncode == 1
    assert done.stderr.startswith("watchpost: ")
    assert "nothing of the kind" in done.stderr

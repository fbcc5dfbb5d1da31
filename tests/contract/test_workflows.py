"""The workflows of ``.github/``: what they run is pinned, what they may do is little, and no text becomes a command."""

import fcntl
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from sandbox import paths

ACTIONLINT = "github.com/rhysd/actionlint/cmd/actionlint@v1.7.12"
"""The linter, as a module of Go's proxy. Source: https://github.com/rhysd/actionlint"""

PINNED = re.compile(r"uses: [\w./-]+@[0-9a-f]{40}  # v\d+\.\d+\.\d+")
REQUIREMENTS = ("requirements.txt", "policy/requirements.txt")
GITHUB = paths.ROOT / ".github"
WORKFLOWS = sorted(GITHUB.glob("workflows/*.yml"))
FILES = [*WORKFLOWS, *sorted(GITHUB.glob("actions/*/action.yml"))]


def jobs(path: Path) -> dict[str, dict[str, Any]]:
    """The jobs of a workflow, by name."""
    found: dict[str, dict[str, Any]] = yaml.safe_load(path.read_text())["jobs"]
    return found


def steps(path: Path) -> list[dict[str, Any]]:
    """All steps of a workflow or of an action."""
    document = yaml.safe_load(path.read_text())
    holders = document["jobs"].values() if "jobs" in document else [document["runs"]]
    return [step for holder in holders for step in holder["steps"]]


@pytest.fixture(scope="session")
def actionlint() -> Path:
    """The linter, built once for each of its versions and kept in the user's cache."""
    go = shutil.which("go")
    if go is None:
        pytest.skip("Go, which builds actionlint, is not installed")
    folder = paths.keyed("actionlint", ACTIONLINT)
    with folder.with_name(f"{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            with tempfile.TemporaryDirectory(dir=folder.parent) as made:
                environment = os.environ | {"GOBIN": f"{made}/bin", "GOFLAGS": "-mod=mod"}
                subprocess.run([go, "install", ACTIONLINT], env=environment, check=True, timeout=600)
                Path(made, "bin").rename(folder)
    return folder / "actionlint"


def test_there_is_a_workflow_for_each_step_of_a_stacks_life() -> None:
    assert {path.stem for path in WORKFLOWS} == {"test", "preview", "up", "drift", "destroy", "fleet"}


def test_actionlint_finds_nothing(actionlint: Path) -> None:
    shellcheck = shutil.which("shellcheck", path=paths.ROOT / ".venv" / "bin") or "shellcheck"
    done = subprocess.run(
        [actionlint, "-no-color", "-shellcheck", shellcheck, *WORKFLOWS],
        cwd=paths.ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_action_of_others_is_pinned_by_commit_with_its_version(path: Path) -> None:
    lines = [line.strip().removeprefix("- ") for line in path.read_text().splitlines() if "uses:" in line]
    assert len(lines) == sum("uses" in step for step in steps(path))
    assert all(PINNED.fullmatch(line) or line.startswith("uses: ./") for line in lines)


def test_an_action_has_one_version_everywhere() -> None:
    used = {
        re.sub(r".*uses: ", "", line) for path in FILES for line in path.read_text().splitlines() if "uses:" in line
    }
    assert len(used) == len({line.partition("@")[0] for line in used})


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_no_expression_stands_in_a_script(path: Path) -> None:
    # Values reach scripts through their environment, so a pull request's title or an input can't become a command.
    assert not [step["run"] for step in steps(path) if "${{" in step.get("run", "")]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_may_do_no_more_than_it_says(path: Path) -> None:
    document = yaml.safe_load(path.read_text())
    granted = [document["permissions"], *(job.get("permissions", {}) for job in jobs(path).values())]
    assert {f"{scope}: {access}" for grant in granted for scope, access in grant.items()} == {
        "preview": {"contents: read", "pull-requests: write"},
        "drift": {"contents: read", "issues: write"},
    }.get(path.stem, {"contents: read"})
    assert all(
        step["with"]["persist-credentials"] is False
        for step in steps(path)
        if "actions/checkout" in step.get("uses", "")
    )


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_every_job_ends_in_time(path: Path) -> None:
    assert all(0 < job["timeout-minutes"] <= 60 for job in jobs(path).values())


def test_code_from_a_pull_request_never_meets_the_secrets_of_the_base() -> None:
    assert not [path.name for path in WORKFLOWS if "pull_request_target" in path.read_text()]


@pytest.mark.parametrize("name", ["up", "destroy"])
def test_what_changes_the_stack_is_guarded_and_alone(name: str) -> None:
    path = GITHUB / "workflows" / f"{name}.yml"
    assert [job["environment"] for job in jobs(path).values()] == ["production"]
    assert yaml.safe_load(path.read_text())["concurrency"] == {
        "group": "stack-${{ vars.PULUMI_STACK }}",
        "cancel-in-progress": False,
    }


@pytest.mark.parametrize(
    ("typed", "stack", "code"), [("prod", "prod", 0), ("dev", "prod", 1), ("", "", 1), ("$(touch x)", "prod", 1)]
)
def test_destroy_wants_the_stacks_name(tmp_path: Path, typed: str, stack: str, code: int) -> None:
    first = steps(GITHUB / "workflows" / "destroy.yml")[0]
    environment = {"PATH": os.environ["PATH"], "TYPED": typed, "STACK": stack}
    script = ["bash", "-e", "-c", first["run"]]
    assert subprocess.run(script, env=environment, cwd=tmp_path, check=False, timeout=10).returncode == code
    assert not list(tmp_path.iterdir())


def test_what_is_gone_in_datadog_does_not_stop_the_destruction() -> None:
    runs = [step.get("run", "") for step in steps(GITHUB / "workflows" / "destroy.yml")]
    (command,) = (run for run in runs if "pulumi destroy" in run)
    assert {"--refresh", "--continue-on-error", "--yes"} <= set(command.split())


def test_pulumi_has_one_version_in_workflows_program_and_policy_pack() -> None:
    pins = {re.search(r"^pulumi==(\S+)$", (paths.ROOT / name).read_text(), re.MULTILINE) for name in REQUIREMENTS}
    versions = {pin[1] if pin else None for pin in pins}
    versions |= {
        step["with"]["pulumi-version"]
        for path in FILES
        for step in steps(path)
        if "pulumi/actions" in step.get("uses", "")
    }
    assert len(versions) == 1

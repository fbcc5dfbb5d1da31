"""The workflows in ``.github/``: everything pinned, least privilege, and no text becomes a command.

Anyone who can push a branch can change its workflows: a secret is guarded by its environment, not by this text.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from sandbox import paths, workflows
from sandbox.progress import SandboxError
from sandbox.testing.processes import wait_until

from .scripts import stand_in

PINNED = re.compile(r"uses: [\w./-]+@[0-9a-f]{40}  # v\d+\.\d+\.\d+")
GITHUB = paths.ROOT / ".github"
WORKFLOWS = sorted(GITHUB.glob("workflows/*.yml"))
FILES = [*WORKFLOWS, *sorted(GITHUB.glob("actions/*/action.yml"))]


def jobs(path: Path) -> dict[str, dict[str, Any]]:
    """Return a workflow's jobs, by name."""
    found: dict[str, dict[str, Any]] = yaml.safe_load(path.read_text())["jobs"]
    return found


def steps(path: Path) -> list[dict[str, Any]]:
    """Return all steps of a workflow or an action."""
    document = yaml.safe_load(path.read_text())
    holders = document["jobs"].values() if "jobs" in document else [document["runs"]]
    return [step for holder in holders for step in holder["steps"]]


def test_there_is_a_workflow_for_each_step_of_a_stacks_life() -> None:
    assert {path.stem for path in WORKFLOWS} == {"test", "preview", "up", "drift", "destroy", "fleet"}


def test_actionlint_and_zizmor_find_nothing() -> None:
    try:
        assert workflows.findings() == ""
    except SandboxError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (("name: Up\n", "name: Up\n    runs-off: x\n"), "runs-off"),
        (("    environment: production\n", ""), "secrets-outside-env"),
        (("persist-credentials: false", "persist-credentials: true"), "artipacked"),
        (("permissions: {}", "permissions: write-all"), "excessive-permissions"),
        (("@3d3c42e5aac5ba805825da76410c181273ba90b1", "@v7"), "unpinned-uses"),
        (('$STACK" --policy', '${{ github.event.head_commit.message }}" --policy'), "template-injection"),
    ],
    ids=lambda change: change if isinstance(change, str) else "",
)
def test_what_lint_is_there_for_is_found(tmp_path: Path, change: tuple[str, str], told: str) -> None:
    github = tmp_path / ".github"
    (github / "workflows").mkdir(parents=True)
    text = (GITHUB / "workflows" / "up.yml").read_text()
    assert change[0] in text
    (github / "workflows" / "up.yml").write_text(text.replace(*change))
    try:
        assert told in workflows.findings(github)
    except SandboxError as error:
        pytest.skip(str(error))


def test_what_zizmor_leaves_out_has_its_reason() -> None:
    text = (GITHUB / "zizmor.yml").read_text()
    rules = yaml.safe_load(text)["rules"]
    assert rules
    assert all(re.search(rf"^  {rule}:\n    # ", text, re.MULTILINE) for rule in rules)
    assert not [path.name for path in FILES if "zizmor: ignore" in path.read_text()]


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


def ran(step: dict[str, Any], folder: Path, **variables: str) -> "subprocess.CompletedProcess[str]":
    """Run a step's script as GitHub's runner does, with the programs in ``folder`` first on PATH."""
    options = ["-o", "pipefail"] if step.get("shell") == "bash" else []
    return subprocess.run(
        ["bash", "--noprofile", "--norc", "-e", *options, "-c", step["run"]],
        env={"PATH": f"{folder}{os.pathsep}{os.environ['PATH']}", **variables},
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )


def secrets(job: dict[str, Any]) -> set[str]:
    """Return a job's secrets, except the workflow's own token."""
    return set(re.findall(r"\bsecrets\.(\w+)", yaml.safe_dump(job)))


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_job_may_do_no_more_than_it_says(path: Path) -> None:
    assert yaml.safe_load(path.read_text())["permissions"] == {}
    assert {name: job["permissions"] for name, job in jobs(path).items()} == {
        "preview": {
            "look": {"contents": "read"},
            "preview": {"contents": "read"},
            "comment": {"pull-requests": "write"},
        },
        "drift": {"drift": {"contents": "read"}, "issue": {"issues": "write"}},
        "fleet": {"datadog": {"contents": "read"}, "shard": {"contents": "read"}},
    }.get(path.stem, {path.stem: {"contents": "read"}})
    assert all(
        step["with"]["persist-credentials"] is False
        for step in steps(path)
        if "actions/checkout" in step.get("uses", "")
    )


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_what_may_write_in_the_repository_runs_no_code_of_it_and_has_no_secret(path: Path) -> None:
    for job in jobs(path).values():
        if "write" in job["permissions"].values():
            assert not [step for step in job["steps"] if "uses" in step]
            assert secrets(job) == set()


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_every_secret_is_in_an_environment_and_those_that_change_things_are_main_s(path: Path) -> None:
    for name, job in jobs(path).items():
        assert "secrets: inherit" not in yaml.safe_dump(job)
        if not secrets(job):
            assert "environment" not in job, name
            continue
        if job["environment"] == "preview":
            assert (path.stem, name) == ("preview", "preview")
            continue
        assert job["environment"] in ("production", "drift"), name
        # The environment is bound to main; this informs the reader, and saves a run that would get nothing.
        assert "github.ref == 'refs/heads/main'" in job["if"], name


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_code_that_nobody_has_merged_meets_no_key_that_changes_or_logs_in(path: Path) -> None:
    started_by = yaml.safe_load(path.read_text())[True]  # YAML's `on`
    of_branches = {started_by} if isinstance(started_by, str) else set(started_by)
    assert not of_branches & {"pull_request_target", "workflow_run", "issue_comment"}
    for job in jobs(path).values() if "pull_request" in of_branches else ():
        assert secrets(job) <= {"PULUMI_ACCESS_TOKEN", "PULUMI_CONFIG_PASSPHRASE", "DD_API_KEY", "DD_APP_KEY"}
        assert job["runs-on"] == "ubuntu-24.04"  # never the runner with access to the hosts
        if secrets(job):
            assert job["environment"] == "preview"
            assert job["permissions"] == {"contents": "read"}
    hosts_key = {job["environment"] for job in jobs(path).values() if any("PRIVATE_KEY" in s for s in secrets(job))}
    assert hosts_key <= {"production"}


def test_a_fork_gets_no_preview_and_asks_nobody_for_one() -> None:
    made = jobs(GITHUB / "workflows" / "preview.yml")
    assert "github.event.pull_request.head.repo.full_name == github.repository" in made["look"]["if"]
    assert made["preview"]["needs"] == "look"
    assert "if" not in made["preview"]  # skipped with its predecessor


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("  watchpost:hosts: {web: {address: 192.0.2.7, agent: true}}", 0),
        ("  watchpost:hosts: {web: {address: 192.0.2.7, privateKey: {secure: v1:x}}}", 1),
        ('  watchpost:hosts: {"web":{"privateKey":{"secure":"v1:x"}}}', 1),
        ("  watchpost:hosts:\n    web:\n      proxy:\n        privateKeyPassword:\n          secure: v1:x", 1),
        ("  watchpost:hosts:\n    secure: v1:x", 1),
        ("  watchpost:hosts: {secure: v1:x}", 1),
        ("  # privateKey: never here", 0),
        ("      privateKey: {secure: v1:x}", 1),
        ('        "privateKeyFile": "~/.ssh/id"', 1),
        ("  datadog:appKey:", 1),
        ("  datadog:apiKey:", 0),
    ],
)
def test_there_is_no_preview_of_a_stack_whose_state_holds_a_host_s_key(tmp_path: Path, line: str, code: int) -> None:
    (tmp_path / "Pulumi.prod.yaml").write_text(f"config:\n{line}\n")
    look = jobs(GITHUB / "workflows" / "preview.yml")["look"]
    checkout, script = look["steps"]
    assert checkout["with"]["ref"] == "${{ github.event.pull_request.base.sha }}"  # the state's source
    for stack in ("prod", "organization/watchpost/prod"):
        done = ran(script, tmp_path, STACK=stack)
        assert done.returncode == code
        assert ("No preview: the stack's file has the keys above" in done.stdout) == bool(code)
    assert "main has no Pulumi.other.yaml" in ran(script, tmp_path, STACK="other").stdout


@pytest.mark.parametrize("name", ["up", "destroy"])
def test_the_hosts_key_is_in_an_ssh_agent_while_pulumi_runs_and_nowhere_else(tmp_path: Path, name: str) -> None:
    if shutil.which("ssh-agent") is None:
        pytest.skip("OpenSSH's client is not installed")
    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "fake", "-f", key], check=True, timeout=20)
    stand_in(tmp_path, "pulumi", "ssh-add -l; env; exit 3")
    (step,) = [step for step in steps(GITHUB / "workflows" / f"{name}.yml") if "ssh-agent" in step.get("run", "")]
    done = ran(step, tmp_path, STACK="prod", HOST_PRIVATE_KEY=key.read_text().rstrip("\n"))
    assert done.returncode == 3
    assert " fake (ED25519)" in done.stdout
    assert "PRIVATE KEY" not in done.stdout
    socket = re.search(r"^SSH_AUTH_SOCK=(.+)$", done.stdout, re.MULTILINE)
    assert socket
    wait_until(lambda: not Path(socket[1]).exists(), "the agent ends")


DIGEST = """{"config": {"watchpost:hosts": "{\\"web\\": {\\"address\\": \\"web.example.net\\"}}"},
"steps": [{"op": "update", "urn": "urn:pulumi:prod::watchpost::command:remote:Command::web-ready",
"detailedDiff": {"connection": {}}, "newState": {"inputs": {"host": "192.0.2.7"}}}],
"diagnostics": [{"severity": "error", "message": "web.example.net ``` 192.0.2.7"}], "changeSummary": {"update": 1}}"""


@pytest.mark.parametrize("name", ["preview", "drift"])
def test_what_a_preview_says_is_handed_on_without_addresses_and_its_failure_too(tmp_path: Path, name: str) -> None:
    stand_in(tmp_path, "pulumi", f"cat <<'EOF'\n{DIGEST}\nEOF\necho 'error: 192.0.2.7 is away' >&2; exit 4")
    (tmp_path / ".venv").symlink_to(Path(sys.prefix))
    found = {step["id"]: step for step in steps(GITHUB / "workflows" / f"{name}.yml") if "id" in step}
    output = tmp_path / "output"
    environment = {"STACK": "prod", "PYTHONPATH": str(paths.ROOT), "GITHUB_OUTPUT": str(output)}
    done = ran(found["preview"], tmp_path, **environment)
    assert done.returncode == 4
    shown = done.stdout + done.stderr
    if name == "drift":
        (tmp_path / "downtimes.txt").write_text("closed-office-nights: the downtime was cancelled\n")
        (tmp_path / "downtimes.err").write_text("watchpost: web at 192.0.2.7 is away\n")
        shown += ran(found["result"], tmp_path, **environment).stdout
        assert "the downtime was cancelled" in shown
    text = output.read_text()
    assert re.fullmatch(r"text<<(\S+)\n(.*\n)+\1\n", text)
    assert "update web-ready (command:remote:Command): connection" in text
    for where in (shown, text):
        assert "192.0.2.7" not in where
        assert "web.example.net" not in where
    assert "`" not in text


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_no_log_comment_or_issue_shows_values(path: Path) -> None:
    for run in re.split(r"\s*\n\s*", "\n".join(step.get("run", "") for step in steps(path))):
        if re.match(r"pulumi (up|destroy)\b", run):
            assert "--diff" not in run.split()
            assert {"--skip-preview", "--suppress-outputs"} <= set(run.split())
        if re.match(r"pulumi preview\b", run):
            assert ">preview.json 2>preview.err" in run


def test_every_workflow_says_in_its_head_which_keys_it_has() -> None:
    for path in WORKFLOWS:
        head = path.read_text().partition("\nname:")[0]
        told = {job.get("environment") for job in jobs(path).values()} - {None}
        assert all(line.startswith("#") for line in head.splitlines())
        assert all(f"`{environment}`" in head for environment in told)
        assert told or "no secrets" in head


def test_keys_of_previews_and_of_drift_have_the_scopes_that_the_tests_try() -> None:
    head = re.sub(r"\n#\s*", " ", (GITHUB / "workflows" / "preview.yml").read_text().partition("\nname:")[0])
    assert "`preview`: with the scope monitors_read alone;" in head
    assert "`drift`: monitors_read, dashboards_read, monitors_downtime (and dashboards_embed_share" in head


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_every_job_ends_in_time(path: Path) -> None:
    assert all(0 < job["timeout-minutes"] <= 60 for job in jobs(path).values())


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

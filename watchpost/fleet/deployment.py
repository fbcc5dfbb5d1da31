"""One operation on one stack, by Pulumi's Automation API: the clone's program with the configuration of the plan."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import yaml
from pulumi import automation as auto
from pulumi.automation.events import EngineEvent

from settings.project import PROJECT, ROOT
from watchpost.fleet.inventory import filled, from_environment, secrets
from watchpost.fleet.outcome import Outcome
from watchpost.fleet.shards import HOSTS

Operation = Literal["up", "preview", "destroy"]

COMPRESSED = "PULUMI_DIY_BACKEND_GZIP"
"""Has the engine compress the state, which holds every script several times and is written whole after every step."""


def run(
    operation: Operation,
    stack: str,
    config: Mapping[str, Any],
    *,
    pulumi: auto.PulumiCommand,
    watch: Callable[[Outcome], None],
) -> Outcome:
    """Do ``operation`` on ``stack``, telling ``watch`` of every step; a failure is in the outcome, not raised.

    A stack of no hosts is destroyed by ``up``. ``destroy`` removes the stack with its history.
    """
    outcome = Outcome(stack, tuple(config.get(HOSTS, ())))
    started = time.monotonic()

    def on_event(event: EngineEvent) -> None:
        outcome.note(event)
        watch(outcome)

    try:
        with tempfile.TemporaryDirectory(prefix="fleet-") as folder:
            _operate(operation, stack, config, Path(folder), pulumi, outcome, on_event)
    except auto.StackNotFoundError:
        pass  # there is nothing to preview, or to destroy
    except (auto.CommandError, subprocess.CalledProcessError) as error:
        outcome.failed = True
        if not outcome.failures and not outcome.error:
            outcome.error = _reason(error)
    outcome.seconds = time.monotonic() - started
    return outcome


def _operate(
    operation: Operation,
    name: str,
    config: Mapping[str, Any],
    folder: Path,
    pulumi: auto.PulumiCommand,
    outcome: Outcome,
    on_event: Callable[[EngineEvent], None],
) -> None:
    _write_project(folder)
    compressed = {COMPRESSED: os.environ.get(COMPRESSED, "true")}
    workspace = auto.LocalWorkspace(work_dir=str(folder), pulumi_command=pulumi, env_vars=compressed)
    goes = operation == "destroy" or config.get(HOSTS) == {}
    stack = auto.Stack.select(name, workspace) if goes else auto.Stack.create_or_select(name, workspace)
    _write_config(workspace, folder, name, config)
    # Without `continue_on_error` the engine begins nothing new once a host has failed.
    if operation == "preview":
        preview = stack.preview_destroy if goes else stack.preview
        preview(on_event=on_event, color="never")
    elif goes:
        deployment = workspace.export_stack(name).deployment or {}
        outcome.parents |= {each["urn"]: each.get("parent", "") for each in deployment.get("resources") or []}
        # What somebody deleted in Datadog is an error to the provider, unless a refresh has seen it gone.
        stack.destroy(on_event=on_event, refresh=True, continue_on_error=True, suppress_outputs=True, color="never")
        workspace.remove_stack(name)
    else:
        stack.up(on_event=on_event, continue_on_error=True, suppress_outputs=True, color="never")


def _write_project(folder: Path) -> None:
    """The clone's project, in a folder of the stack's own, so that stacks can be at work side by side."""
    project = yaml.safe_load((ROOT / "Pulumi.yaml").read_text())
    project["main"] = str(ROOT)
    project["runtime"]["options"]["virtualenv"] = sys.prefix
    (folder / "Pulumi.yaml").write_text(yaml.safe_dump(project, sort_keys=False))


def _write_config(workspace: auto.LocalWorkspace, folder: Path, stack: str, config: Mapping[str, Any]) -> None:
    """Write the stack's file, every secret encrypted; none stands in the file or in a command line as plain text."""
    names = secrets(config)
    encrypted: dict[str, dict[str, str]] = {}
    settings = _settings(workspace, stack)
    if names:
        _restore_encryption(workspace, stack, settings)
        for name, value in from_environment(names).items():
            encrypted[name] = _encrypt(workspace, folder, stack, name, value)
        settings = _settings(workspace, stack)
    settings.config = filled(config, encrypted)
    workspace.save_stack_settings(stack, settings)


def _settings(workspace: auto.LocalWorkspace, stack: str) -> auto.StackSettings:
    try:
        return workspace.stack_settings(stack)
    except FileNotFoundError:
        return auto.StackSettings()


def _restore_encryption(workspace: auto.LocalWorkspace, stack: str, settings: auto.StackSettings) -> None:
    """Have the stack's file say how the stack encrypts; for one that exists already, its state knows."""
    if settings.encryption_salt or settings.encrypted_key:
        return
    provider = (workspace.export_stack(stack).deployment or {}).get("secrets_providers") or {}
    state = provider.get("state") or {}
    settings.encryption_salt = state.get("salt")
    settings.secrets_provider = state.get("url")
    settings.encrypted_key = state.get("encryptedkey")
    workspace.save_stack_settings(stack, settings)


def _encrypt(workspace: auto.LocalWorkspace, folder: Path, stack: str, name: str, value: str) -> dict[str, str]:
    """A secret as a stack's file holds it. It goes by stdin: the Automation API would show it in the command line."""
    key = f"{PROJECT}:{name}"
    command = [
        workspace.pulumi_command.command,
        "--non-interactive",
        "config",
        "set",
        "--secret",
        key,
        "--stack",
        stack,
    ]
    subprocess.run(command, input=value, cwd=folder, text=True, check=True, capture_output=True)
    stored: dict[str, str] = yaml.safe_load((folder / f"Pulumi.{stack}.yaml").read_text())["config"][key]
    return stored


def _reason(error: Exception) -> str:
    """The last line by which ``pulumi`` told why."""
    text = str(error.stderr) if isinstance(error, subprocess.CalledProcessError) else str(error)
    told = [line for line in text.splitlines() if line.startswith("error:")] or text.strip().splitlines()
    return told[-1] if told else "pulumi ended without saying why"

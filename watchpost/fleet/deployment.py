"""Runs one operation on one stack through Pulumi's Automation API: the clone's program, configured by the plan."""

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
from watchpost.stack import reason

Operation = Literal["up", "preview", "destroy"]

COMPRESSED = "PULUMI_DIY_BACKEND_GZIP"
"""Makes the engine compress the state, which repeats every script and is rewritten in full after every step."""


def run(
    operation: Operation,
    stack: str,
    config: Mapping[str, Any],
    *,
    pulumi: auto.PulumiCommand,
    watch: Callable[[Outcome], None],
) -> Outcome:
    """Run ``operation`` on ``stack``, calling ``watch`` after every event; the outcome records failures.

    ``up`` destroys a stack without hosts. ``destroy`` removes the stack with its history.
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
        pass  # nothing to preview or destroy
    except (auto.CommandError, subprocess.CalledProcessError) as error:
        outcome.failed = True
        if not outcome.failures and not outcome.error:
            outcome.error = reason(str(error.stderr if isinstance(error, subprocess.CalledProcessError) else error))
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
    destroying = operation == "destroy" or config.get(HOSTS) == {}
    stack = auto.Stack.select(name, workspace) if destroying else auto.Stack.create_or_select(name, workspace)
    _write_config(workspace, folder, name, config)
    # Without `continue_on_error` the engine starts no new step once a host has failed.
    if operation == "preview":
        preview = stack.preview_destroy if destroying else stack.preview
        preview(on_event=on_event, color="never")
    elif destroying:
        deployment = workspace.export_stack(name).deployment or {}
        outcome.parents |= {each["urn"]: each.get("parent", "") for each in deployment.get("resources") or []}
        # The provider fails on objects deleted by hand in Datadog, unless a refresh has dropped them:
        # docs/decisions/0008-destroy-refreshes-first.md
        stack.destroy(on_event=on_event, refresh=True, continue_on_error=True, suppress_outputs=True, color="never")
        workspace.remove_stack(name)
    else:
        stack.up(on_event=on_event, continue_on_error=True, suppress_outputs=True, color="never")


def _write_project(folder: Path) -> None:
    """Write the clone's project to a folder of the stack's own, so that stacks can run in parallel."""
    project = yaml.safe_load((ROOT / "Pulumi.yaml").read_text())
    project["main"] = str(ROOT)
    project["runtime"]["options"]["virtualenv"] = sys.prefix
    (folder / "Pulumi.yaml").write_text(yaml.safe_dump(project, sort_keys=False))


def _write_config(workspace: auto.LocalWorkspace, folder: Path, stack: str, config: Mapping[str, Any]) -> None:
    """Write the stack's settings file; secrets are encrypted, and in plain text in no file or command line."""
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
    """Restore the secrets provider in the settings file of an existing stack, from the stack's state."""
    if settings.encryption_salt or settings.encrypted_key:
        return
    provider = (workspace.export_stack(stack).deployment or {}).get("secrets_providers") or {}
    state = provider.get("state") or {}
    settings.encryption_salt = state.get("salt")
    settings.secrets_provider = state.get("url")
    settings.encrypted_key = state.get("encryptedkey")
    workspace.save_stack_settings(stack, settings)


def _encrypt(workspace: auto.LocalWorkspace, folder: Path, stack: str, name: str, value: str) -> dict[str, str]:
    """Encrypt a secret for the settings file, passing it on stdin.

    The Automation API puts a value on the command line (``set_config`` in
    sdk/python/lib/pulumi/automation/_local_workspace.py). Use it once it no longer does.
    """
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

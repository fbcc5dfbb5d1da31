"""The configuration of a stack: typed, and fully validated before any resource is created."""

import json
from typing import Any

import pulumi
from pulumi.runtime.config import CONFIG, get_config_env

from settings import agent_options
from settings.credentials import Credentials
from settings.faults import LISTS, STRUCTURED, SettingsError, validate
from settings.model import CustomerExperience, HostSettings, JourneyStep, Rehearsal, Settings
from settings.project import PROJECT, key
from settings.sites import SITES

__all__ = ["Credentials", "CustomerExperience", "HostSettings", "JourneyStep", "Rehearsal", "Settings", "load"]


def load() -> tuple[Settings, Credentials]:
    """Read and validate the configuration of the stack.

    Raises:
        pulumi.RunError: the configuration is invalid; the message lists every fault on its own line, with the setting,
            its value, what is allowed, and the command that sets it.
    """
    faults = []
    settings = check = None
    raw, credentials = configured(), Credentials()
    needed = ["apiKey"] if raw.get("part") == "hosts" else ["apiKey", "appKey"]
    key_faults = credentials.faults(needed, site := str(raw.get("site")))
    if not key_faults and site in SITES:
        check = credentials.check(site, needed)  # runs while the settings are validated
    try:
        settings = validate(raw)
    except SettingsError as error:
        faults = error.faults
    faults += key_faults
    if check is not None:
        faults += check.faults()
    if faults or settings is None:
        raise pulumi.RunError("\n".join(["the stack's configuration is invalid:", *(f"  - {f}" for f in faults)]))
    if unknown := sorted(settings.agent_config.keys() - agent_options.known()):
        pulumi.log.warn(
            f"{key('agentConfig')} holds {', '.join(unknown)}, which resembles no option that Watchpost knows"
            f" ({agent_options.TEMPLATE}): it is written unchanged, and the Agent ignores options that it doesn't know"
        )
    return settings, credentials


def configured() -> dict[str, Any]:
    """Read the project's raw configuration, keyed without namespace; structured settings are parsed."""
    # `pulumi.Config` reads one key at a time, and can't list those that are unknown.
    prefix = f"{PROJECT}:"
    found = {**get_config_env(), **CONFIG.get()}
    raw = {name.removeprefix(prefix): value for name, value in found.items() if name.startswith(prefix)}
    return {name: parsed(name, value) for name, value in raw.items()}


def parsed(name: str, value: str) -> Any:
    """Parse a structured setting's JSON; lists may also be comma-separated, as `pulumi new` prompts for them."""
    if name not in STRUCTURED:
        return value
    try:
        return json.loads(value)
    except ValueError:
        listed = name in LISTS and not value.lstrip().startswith(("[", "{"))
        return [entry.strip() for entry in value.split(",") if entry.strip()] if listed else value

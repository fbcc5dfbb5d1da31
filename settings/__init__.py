"""The configuration of a stack: typed, and fully validated before any resource is created."""

import json
from typing import Any

import pulumi
from pulumi.runtime.config import get_config_secret_keys_env, is_config_secret

from settings import agent_options
from settings.credentials import Credentials, whole_configuration
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
    for name in in_plain_text(settings):
        pulumi.log.warn(
            f"{name} is in plain text in the stack's settings file: encrypt it with `pulumi config set --secret --path"
            f" '{name}'`, and if others have seen the file, use another one"
        )
    return settings, credentials


def in_plain_text(settings: Settings) -> list[str]:
    """List the secrets that the stack's settings file holds unencrypted, by their keys for ``pulumi config set``."""
    configuration, encrypted = whole_configuration(), get_config_secret_keys_env()

    def plain(setting: str) -> bool:  # a map counts as one secret as soon as anything in it is
        return setting not in encrypted and not is_config_secret(setting)

    found: list[str] = [name for name in ("datadog:apiKey", "datadog:appKey") if name in configuration and plain(name)]
    if plain(key("hosts")):
        for name, host in settings.hosts.items():
            for place, login in (((name,), host), ((name, "proxy"), host.proxy)):
                found += [key("hosts", *place, "privateKey")] if login and login.private_key else []
                found += [key("hosts", *place, "privateKeyPassword")] if login and login.private_key_password else []
    experience = settings.customer_experience
    if experience and experience.ticket_token and plain(key("customerExperience")):
        found.append(key("customerExperience", "ticketToken"))
    return found


def configured() -> dict[str, Any]:
    """Read the project's raw configuration, keyed without namespace; structured settings are parsed."""
    prefix = f"{PROJECT}:"
    raw = {name.removeprefix(prefix): value for name, value in whole_configuration().items() if name.startswith(prefix)}
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

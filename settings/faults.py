"""Reports configuration faults: the setting, its value, what is allowed, and the command that sets it."""

import json
import re
from collections.abc import Mapping
from types import UnionType
from typing import Any, get_origin

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from settings.model import Settings
from settings.project import key as setting_key


class SettingsError(ValueError):
    """The configuration is invalid; ``faults`` holds a sentence for each fault."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("; ".join(faults))
        self.faults = faults


def validate(raw: Mapping[str, Any]) -> Settings:
    """Validate raw values, as ``pulumi config --json`` shows them.

    Raises:
        SettingsError: some are invalid; it lists every fault.
    """
    try:
        return Settings.model_validate(raw)
    except ValidationError as error:
        raise SettingsError([_sentence(details) for details in error.errors()]) from None


_SECRET = ("privateKey", "privateKeyPassword", "ticketToken")

_MAY_HOLD_A_KEY = (*_SECRET, "ticketUrl", "ticketCloseUrl")

_ORIGINS = {str(field.alias): get_origin(field.annotation) for field in Settings.model_fields.values()}

LISTS = tuple(name for name, origin in _ORIGINS.items() if origin is tuple)
"""The settings that are lists."""

STRUCTURED = tuple(name for name, origin in _ORIGINS.items() if origin in (tuple, dict, UnionType))
"""The settings that are lists, maps or models of their own, which Pulumi passes as JSON."""

_INNER_LISTS = ("tiers", "careTiers", "customers")

_ALLOWED = {
    "missing": "is not set",
    "extra_forbidden": "is not a setting of Watchpost",
    "dict_type": "must be a map, as in the README",
    "tuple_type": "must be a list",
    "model_type": "must be a map of settings",
    "bool_parsing": "must be true or false",
    "bool_type": "must be true or false",
}


def _sentence(details: ErrorDetails) -> str:
    """Describe one fault: the setting, its value, what is allowed, and the command that sets it."""
    place = [part for part in details["loc"] if part != "[key]"]
    path = [str(part) for part in place]
    key = setting_key(*place)
    kind = details["type"]
    allowed = _ALLOWED.get(kind) or str(details["msg"]).removeprefix("Value error, ").replace("Input should", "must")
    if kind == "model_type" and path[-1] == "vagrant":
        allowed = "must be true, or a map of settings"
    if kind == "extra_forbidden":
        return f"{key} {allowed}; remove it with: pulumi config rm --path '{key}'"
    if "[key]" in details["loc"]:
        return (
            f"{key} is not a host's name: it {allowed}; set it under another one after: pulumi config rm --path '{key}'"
        )
    shown = "" if kind == "missing" else f" is {_shown(path, details['input'])}:"
    needed = re.search(r"needs (?:one of )?`(\w+)`", allowed)
    example = key
    if path[-1] in (*LISTS, *_INNER_LISTS):
        example = f"{key}[0]"
    elif path == ["agentConfig"]:
        example = setting_key(*place, "OPTION")
    elif path == ["repairs"]:
        example = setting_key(*place, "NAME")
    elif path[0] == "hosts" and len(path) < 3:
        example = setting_key("hosts", *(place[1:] or ["NAME"]), needed[1] if needed else "address")
    elif path == ["customerExperience"]:
        example = setting_key(*place, "enabled" if kind == "model_type" else "ticketUrl")
    elif kind == "model_type" and len(path) > 2 and path[-2] == "steps":
        example = setting_key(*place, "name")
    elif path[-1] == "steps":
        example = setting_key(*place, 0, "objective")
    elif path[0] == "hosts" and path[-1] == "proxy":
        example = setting_key(*place, needed[1] if needed else "address")
    options = "--secret " if example.endswith(_SECRET) else ""
    # Pulumi asks for a secret: a value on the command line would end up in the shell's history.
    value = " VALUE" if not options else " <FILE" if example.endswith("privateKey") else ""
    options += "--path " if len(path) > 1 or example != key else ""
    return f"{key}{shown} {allowed}; set it with: pulumi config set {options}'{example}'{value}"


def _shown(path: list[str], value: object) -> str:
    """Format a value for a message, hiding secrets and whatever may contain a misplaced one."""
    hidden = len(path) < 3 or path[-1] in ("vagrant", "proxy")
    whole = path == ["customerExperience"] or path[1:2] == ["customers"]
    if path[0] == "agentConfig" or whole or path[-1] in _MAY_HOLD_A_KEY or (path[0] == "hosts" and hidden):
        return "(not shown)"
    text = json.dumps(value, default=str, ensure_ascii=False)
    if "PRIVATE KEY" in text or "@" in text.partition("://")[2]:
        return "(not shown)"
    return text if len(text) <= 100 else f"{text[:100]}…"

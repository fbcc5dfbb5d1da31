"""The inventory: a fleet's hosts, their shared settings, and the number of shards."""

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Self

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from settings.model import HostName
from settings.project import PROJECT
from watchpost.errors import WatchpostError

SECRET = "fromEnvironment"  # noqa: S105 - the name of a key
"""In an inventory, ``{fromEnvironment: NAME}`` is a secret: the value of the environment variable NAME."""

ONLY_SECRET = ("privateKey", "privateKeyPassword", "ticketToken", "datadog:apiKey", "datadog:appKey")
"""Settings that an inventory, a document of many readers, holds only as :data:`SECRET`."""

MADE_BY_THE_PLAN = ("part", "datadogStack", "hosts")


def _stack_prefix(value: str) -> str:
    # A stack's name is also that of a Kubernetes resource, so it has to be a DNS label.
    if not re.fullmatch(r"[a-z]([a-z0-9-]{0,38}[a-z0-9])?", value):
        raise ValueError("must be small letters, digits and - between them, at most 40 characters")
    return value


class Inventory(BaseModel):
    """A fleet; ``host`` holds defaults for all entries of ``hosts``, ``settings`` the settings of all stacks.

    With ``destroyOnFinalize``, deleting a stack's Kubernetes resource destroys the stack's resources, on hosts too.
    Entries of ``hosts`` are those of the setting ``watchpost:hosts``; keys of ``settings`` are those of a stack's
    settings file, and without a colon belong to Watchpost.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", coerce_numbers_to_str=True)

    stack: Annotated[str, AfterValidator(_stack_prefix)]
    shards: Annotated[int, Field(ge=1, le=256)]
    organization: Annotated[str, Field(pattern=r"^[\w.-]+$")] = "organization"
    destroy_on_finalize: Annotated[bool, Field(alias="destroyOnFinalize", strict=True)] = False
    settings: dict[str, Any] = {}
    host: dict[str, Any] = {}
    hosts: Annotated[dict[HostName, dict[str, Any]], Field(min_length=1)]

    @field_validator("settings")
    @classmethod
    def _with_namespace(cls, settings: dict[str, Any]) -> dict[str, Any]:
        named = {key if ":" in key else f"{PROJECT}:{key}": value for key, value in settings.items()}
        if made := [key for key in MADE_BY_THE_PLAN if f"{PROJECT}:{key}" in named]:
            raise ValueError(f"must leave out {', '.join(made)}: the plan sets them")
        return named

    @model_validator(mode="after")
    def _no_secret_in_plain_text(self) -> Self:
        if found := list(_plain_secrets({"settings": self.settings, "host": self.host, "hosts": self.hosts})):
            raise ValueError(f"must have {{{SECRET}: NAME}}, an environment variable, for {', '.join(found)}")
        return self


def _plain_secrets(value: object, path: str = "") -> Iterator[str]:
    """Yield the paths of secrets that stand in the inventory itself."""
    for key, entry in value.items() if isinstance(value, Mapping) else ():
        if key in ONLY_SECRET and variable(entry) is None:
            yield f"{path}{key}"
        else:
            yield from _plain_secrets(entry, f"{path}{key}.")


class _Loader(yaml.SafeLoader):
    """Refuses a map with a key twice, such as a host: PyYAML would silently take the last one.

    Reads 19:00 as a text, as Pulumi does in a stack's settings file; to YAML 1.1 it is the number 1140.
    """

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Build a map; merged ones (``<<``) may be overridden."""
        seen: set[str] = set()
        for name, _ in node.value:
            if isinstance(name, yaml.ScalarNode) and name.value in seen:
                raise yaml.constructor.ConstructorError(None, None, f"{name.value} is there twice", name.start_mark)
            seen.add(str(name.value))
        return super().construct_mapping(node, deep)


_Loader.yaml_implicit_resolvers = {
    first: [("tag:yaml.org,2002:str", re.compile(r"\d+:\d\d$")), *others]
    for first, others in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def load(path: Path) -> Inventory:
    """Read an inventory.

    Raises:
        WatchpostError: it can't be read, or is invalid; the message lists every fault.
    """
    try:
        return Inventory.model_validate(yaml.load(path.read_text(), Loader=_Loader))  # noqa: S506 - a safe one
    except yaml.MarkedYAMLError as error:  # whose own text repeats the line, which may hold a secret
        line = f" in line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise WatchpostError(f"the inventory {path} can't be read: {error.problem}{line}") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise WatchpostError(f"the inventory {path} can't be read: {error}") from None
    except ValidationError as error:
        faults = [
            f"  - {'.'.join(map(str, fault['loc'])) or 'the file'}: "
            + {"model_type": "must be a map"}.get(fault["type"], fault["msg"].removeprefix("Value error, "))
            for fault in error.errors()
        ]
        raise WatchpostError("\n".join([f"the inventory {path} can't be used:", *faults])) from None


def variable(value: object) -> str | None:
    """Return the environment variable of a ``fromEnvironment`` secret; ``None`` for any other value."""
    return str(value[SECRET]) if isinstance(value, Mapping) and set(value) == {SECRET} else None


def secrets(value: object) -> set[str]:
    """Collect the environment variables of all secrets in ``value``."""
    if name := variable(value):
        return {name}
    nested = value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ()
    return {name for entry in nested for name in secrets(entry)}


def filled(value: Any, by: Mapping[str, Any]) -> Any:
    """Replace every secret in ``value`` by the entry of ``by`` for its environment variable."""
    if name := variable(value):
        return by[name]
    if isinstance(value, Mapping):
        return {key: filled(entry, by) for key, entry in value.items()}
    return [filled(entry, by) for entry in value] if isinstance(value, list) else value


def from_environment(names: set[str]) -> dict[str, str]:
    """Read environment variables.

    Raises:
        WatchpostError: some aren't set; the message names them.
    """
    if missing := sorted(name for name in names if not os.environ.get(name)):
        raise WatchpostError(
            f"the inventory takes secrets from environment variables that are not set: {', '.join(missing)}"
        )
    return {name: os.environ[name] for name in names}

"""Reads the stand-in Agent's configuration: ``datadog.yaml``, and the checks' YAML under ``conf.d``."""

import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from .hostname import Hostname, HostnameError, find

CONFIG = Path("/etc/datadog-agent")
HOME = Path("/opt/datadog-agent")
LOGS = Path("/var/log/datadog")
SOCKET = HOME / "run" / "agent.sock"
DEFAULT_INTERVAL = 15.0
"""Seconds between runs of a check: https://docs.datadoghq.com/extend/custom_checks/write_agent_check/"""


KNOWN = {"api_key", "site", "dd_url", "hostname", "hostname_file", "hostname_force_config_as_canonical"}
KNOWN |= {"tags", "env", "apm_config"}
"""Keys of ``datadog.yaml`` that the stand-in honours."""


class SettingsError(Exception):
    """``datadog.yaml`` can't be used."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The part of ``datadog.yaml`` that the stand-in honours; addresses are as set, with any trailing slash."""

    api_key: str
    site: str
    dd_url: str
    """Where metrics, service checks, events and host metadata go."""
    hostname: str
    found: Hostname
    """The same, with its provider."""
    tags: tuple[str, ...]
    """Host tags, including ``env``."""
    apm_enabled: bool
    apm_port: int
    apm_url: str
    """Where traces and their statistics go: never ``dd_url``."""
    apm_hostname: str
    """The trace agent's host name: the configured one, unvalidated, else the core Agent's."""
    ignored: tuple[str, ...] = ()
    """Keys of the file that the stand-in ignores."""


def load(path: Path = CONFIG / "datadog.yaml", environ: Mapping[str, str] = os.environ) -> Settings:
    """Read ``path``; ``DD_`` variables override the file, as in the real Agent.

    Sources: ``comp/core/config/setup.go`` for the errors, ``pkg/config/utils/endpoints.go`` and
    ``comp/trace/config/setup.go`` for the addresses.

    Raises:
        SettingsError: the file can't be read or parsed, or no host name is found.
    """
    data = _read(path)
    apm = data.get("apm_config") or {}
    if not isinstance(apm, dict):
        raise SettingsError(f"{UNLOADABLE}: apm_config must be a map")

    def value(key: str, default: str = "") -> str:
        return str(environ.get(f"DD_{key.upper()}") or data.get(key) or default).strip()

    site = value("site", "datadoghq.com")
    # The trailing dot keeps the resolver from trying the machine's search domains.
    dd_url = value("dd_url") or environ.get("DD_URL") or f"https://app.{site}."
    apm_url = environ.get("DD_APM_DD_URL") or apm.get("apm_dd_url") or f"https://trace.agent.{site}."
    tags = _words(environ.get("DD_TAGS") or data.get("tags") or [])
    try:
        found = find(value("hostname"), value("hostname_file"))
    except HostnameError as error:
        raise SettingsError(f"Error while getting hostname, exiting: {error}") from error
    return Settings(
        api_key=value("api_key"),
        site=site,
        dd_url=dd_url,
        hostname=found.name,
        found=found,
        tags=tuple(dict.fromkeys([*tags, *([f"env:{value('env')}"] if value("env") else [])])),
        apm_enabled=str(environ.get("DD_APM_ENABLED", apm.get("enabled", True))).lower() not in {"false", "no", "0"},
        apm_port=int(apm.get("receiver_port", 8126)),
        apm_url=apm_url,
        apm_hostname=value("hostname") or found.name,
        ignored=tuple(sorted(data.keys() - KNOWN)),
    )


UNLOADABLE = "unable to load Datadog config file"


def _read(path: Path) -> dict[str, Any]:
    try:
        # BaseLoader keeps every value as text: an API key of digits must not become a number.
        data = yaml.load(path.read_text(), Loader=yaml.BaseLoader) or {}  # noqa: S506
    except PermissionError as error:
        raise SettingsError(
            f"cannot access the Datadog config file (open {path}: permission denied);"
            " try running the command under the same user as the Datadog Agent"
        ) from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise SettingsError(f"{UNLOADABLE}: {error}") from error
    if not isinstance(data, dict):
        raise SettingsError(
            f"{UNLOADABLE}: While parsing config: yaml: cannot unmarshal {type(data).__name__} into map"
        )
    return data


def _words(value: Any) -> list[str]:
    """Read a list as the Agent does: a text is split at blanks and commas."""
    if isinstance(value, list):
        return [str(word) for word in value]
    return [word for word in re.split(r"[,\s]+", str(value)) if word]


@dataclass(frozen=True, kw_only=True)
class CheckConfig:
    """The configuration of one instance of a check."""

    name: str
    source: str
    """``file:`` and the path, as ``configcheck`` shows it."""
    instance: dict[str, Any] = field(repr=False)
    init_config: dict[str, Any] = field(repr=False)

    @property
    def id(self) -> str:
        """``NAME:DIGEST``, as in the real Agent; it changes with the configuration."""
        content = json.dumps([self.instance, self.init_config], sort_keys=True, default=str).encode()
        return f"{self.name}:{hashlib.blake2b(content, digest_size=8).hexdigest()}"

    @property
    def interval(self) -> float:
        """Seconds between runs: the instance's, as the Agent reads no other; fractions are cut off.

        Source: ``Configure`` in ``pkg/collector/python/check.go``

        Raises:
            ValueError: it isn't a number.
        """
        value = self.instance.get("min_collection_interval") or 0
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError(f"yaml: unmarshal errors: cannot unmarshal {value!r} into int")
        return float(int(value)) if int(value) > 0 else DEFAULT_INTERVAL


def check_files(confd: Path) -> Iterator[tuple[str, Path]]:
    """Yield every check's name with its files; a ``.default`` file only counts if there is no other."""
    found: dict[str, list[Path]] = {}
    for path in sorted([*confd.glob("*.y*ml*"), *confd.glob("*.d/*.y*ml*")]):
        if re.search(r"\.ya?ml(\.default)?$", path.name) and path.stem not in {"auto_conf", "metrics"}:
            name = path.name.split(".")[0] if path.parent == confd else path.parent.name.removesuffix(".d")
            found.setdefault(name, []).append(path)
    for name, files in found.items():
        chosen = [path for path in files if path.suffix != ".default"]
        yield from ((name, path) for path in chosen or files)


def load_checks(confd: Path = CONFIG / "conf.d") -> tuple[list[CheckConfig], dict[str, str]]:
    """Load all configured instances; return them, and an error for each check whose YAML is unusable.

    Empty files are skipped, and a usable file clears the error of an earlier one of the same check.
    Source: ``collectEntry`` in ``comp/core/autodiscovery/providers/config_reader.go``
    """
    configs: list[CheckConfig] = []
    errors: dict[str, str] = {}
    for name, path in check_files(confd):
        try:
            if text := path.read_text():
                configs += _instances(name, path, yaml.safe_load(text))
                errors.pop(name, None)
        except (OSError, ValueError, yaml.YAMLError) as error:
            errors[name] = str(error)
    return configs, errors


def _instances(name: str, path: Path, data: Any) -> list[CheckConfig]:
    data = {} if data is None else data
    instances = data.get("instances") or [] if isinstance(data, dict) else None
    if not isinstance(instances, list) or not all(isinstance(instance or {}, dict) for instance in instances):
        raise ValueError("yaml: unmarshal errors: instances must be a list of maps")
    if not instances and not data.get("logs"):
        raise ValueError("Configuration file contains no valid instances")
    init_config = data.get("init_config") or {}
    return [
        CheckConfig(name=name, source=f"file:{path}", instance=instance or {}, init_config=init_config)
        for instance in instances
    ]


def scrubbed(value: Any, key: str = "") -> Any:
    """Return ``value`` with everything under a key that names a secret hidden."""
    if isinstance(value, dict):
        return {name: scrubbed(content, str(name)) for name, content in value.items()}
    if isinstance(value, list):
        return [scrubbed(content, key) for content in value]
    names_secret = re.search(r"pass(word|wd)?$|secret|token|(api|app)_?key", key, re.IGNORECASE)
    return "********" if value and names_secret else value

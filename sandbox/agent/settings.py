"""What the stand-in Agent reads: ``datadog.yaml``, and the checks' YAML under ``conf.d``."""

import hashlib
import json
import os
import re
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

CONFIG = Path("/etc/datadog-agent")
HOME = Path("/opt/datadog-agent")
LOGS = Path("/var/log/datadog")
SOCKET = HOME / "run" / "agent.sock"
DEFAULT_INTERVAL = 15.0
"""Seconds between two runs of a check: https://docs.datadoghq.com/extend/custom_checks/write_agent_check/"""


class SettingsError(Exception):
    """``datadog.yaml`` can't be used."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The part of ``datadog.yaml`` that the stand-in honours."""

    api_key: str
    site: str
    dd_url: str
    hostname: str
    tags: tuple[str, ...]
    """Host tags, ``env`` among them."""
    apm_enabled: bool
    apm_port: int
    apm_url: str


def load(path: Path = CONFIG / "datadog.yaml", environ: Mapping[str, str] = os.environ) -> Settings:
    """Read ``path``; a ``DD_`` variable wins over the file, as in the real Agent.

    Raises:
        SettingsError: the file can't be read or parsed.
    """
    try:
        # Every value as text: a key of digits alone must not turn into a number. BaseLoader makes no other objects.
        data = yaml.load(path.read_text(), Loader=yaml.BaseLoader) or {}  # noqa: S506
    except (OSError, yaml.YAMLError) as error:
        raise SettingsError(
            f"unable to set up global agent configuration: unable to load Datadog config file: {error}"
        ) from error
    apm = data.get("apm_config") or {}

    def value(key: str, default: str = "") -> str:
        return str(environ.get(f"DD_{key.upper()}") or data.get(key) or default).strip()

    site = value("site", "datadoghq.com")
    dd_url = (environ.get("DD_URL") or value("dd_url") or f"https://api.{site}").rstrip("/")
    tags = [str(tag) for tag in re.split(r"[,\s]+", environ["DD_TAGS"]) if tag] if environ.get("DD_TAGS") else None
    tags = tags if tags is not None else [str(tag) for tag in data.get("tags") or []]
    return Settings(
        api_key=value("api_key"),
        site=site,
        dd_url=dd_url,
        hostname=value("hostname") or socket.gethostname(),
        tags=tuple(dict.fromkeys([*tags, *([f"env:{value('env')}"] if value("env") else [])])),
        apm_enabled=str(environ.get("DD_APM_ENABLED", apm.get("enabled", True))).lower() not in {"false", "no", "0"},
        apm_port=int(apm.get("receiver_port", 8126)),
        apm_url=(environ.get("DD_APM_DD_URL") or apm.get("apm_dd_url") or dd_url).rstrip("/"),
    )


@dataclass(frozen=True, kw_only=True)
class CheckConfig:
    """One instance of a check."""

    name: str
    source: str
    """``file:`` and the path, as ``configcheck`` shows it."""
    instance: dict[str, Any] = field(repr=False)
    init_config: dict[str, Any] = field(repr=False)

    @property
    def id(self) -> str:
        """``NAME:DIGEST``, like the real Agent's; another configuration, another ID."""
        content = json.dumps([self.instance, self.init_config], sort_keys=True, default=str).encode()
        return f"{self.name}:{hashlib.blake2b(content, digest_size=8).hexdigest()}"

    @property
    def interval(self) -> float:
        """Seconds between two runs."""
        shared = self.init_config.get("min_collection_interval", DEFAULT_INTERVAL)
        return float(self.instance.get("min_collection_interval", shared)) or DEFAULT_INTERVAL


def check_files(confd: Path) -> Iterator[tuple[str, Path]]:
    """Every check's name with its files; a ``.default`` file counts only where there is no other."""
    found: dict[str, list[Path]] = {}
    for path in sorted([*confd.glob("*.y*ml*"), *confd.glob("*.d/*.y*ml*")]):
        if re.search(r"\.ya?ml(\.default)?$", path.name) and path.stem not in {"auto_conf", "metrics"}:
            name = path.name.split(".")[0] if path.parent == confd else path.parent.name.removesuffix(".d")
            found.setdefault(name, []).append(path)
    for name, files in found.items():
        chosen = [path for path in files if path.suffix != ".default"]
        yield from ((name, path) for path in chosen or files)


def load_checks(confd: Path = CONFIG / "conf.d") -> tuple[list[CheckConfig], dict[str, str]]:
    """All configured instances, and an error per check whose YAML can't be used."""
    configs: list[CheckConfig] = []
    errors: dict[str, str] = {}
    for name, path in check_files(confd):
        try:
            data = yaml.safe_load(path.read_text()) or {}
            if not isinstance(data, dict) or not isinstance(data.get("instances"), list) or not data["instances"]:
                raise ValueError("Configuration file contains no valid instances")
            init_config = data.get("init_config") or {}
            configs += [
                CheckConfig(name=name, source=f"file:{path}", instance=instance or {}, init_config=init_config)
                for instance in data["instances"]
            ]
        except (OSError, ValueError, yaml.YAMLError) as error:
            errors[name] = str(error)
    return configs, errors


def scrubbed(value: Any, key: str = "") -> Any:
    """``value`` with everything under a key that names a secret hidden."""
    if isinstance(value, dict):
        return {name: scrubbed(content, str(name)) for name, content in value.items()}
    if isinstance(value, list):
        return [scrubbed(content, key) for content in value]
    names_secret = re.search(r"pass(word|wd)?$|secret|token|(api|app)_?key", key, re.IGNORECASE)
    return "********" if value and names_secret else value

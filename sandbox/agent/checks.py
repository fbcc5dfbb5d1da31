# mypy: disable-error-code="import-not-found", allow-subclassing-any
"""Loads checks and runs them with Datadog's own ``datadog_checks.base``.

The aggregator here extends Datadog's stub, and keeps submissions by check instance.
"""

import importlib
import inspect
import json
import sys
import threading
import time
import traceback
from collections import defaultdict
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, cast

from datadog_checks.base import AgentCheck
from datadog_checks.base.checks import base
from datadog_checks.base.stubs import datadog_agent
from datadog_checks.base.stubs.aggregator import AggregatorStub

from . import core, mysql, settings
from .samples import Sample, Sampler, Serie

BUILT_IN = {**core.CHECKS, "mysql": mysql.MySql}
"""Checks that come with the real Agent."""


class LoadError(Exception):
    """A check's code can't be loaded."""


@dataclass
class Submitted:
    """What an instance submitted in one run."""

    samples: list[Sample] = field(default_factory=list)
    service_checks: list[dict[str, Any]] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)


class Aggregator(AggregatorStub):
    """Collects submissions by check ID; unlike the stub it accepts every tag, and drops what was taken."""

    def __init__(self) -> None:
        super().__init__()
        self._submitted: dict[str, Submitted] = defaultdict(Submitted)
        self._lock = threading.Lock()

    def submit_metric(
        self, _: Any, check_id: str, mtype: int, name: str, value: float, tags: Any, hostname: str, first: bool
    ) -> None:
        kind = self.METRIC_ENUM_MAP_REV[mtype]
        tags = tuple(_text(tag) for tag in tags or ())
        sample = Sample(
            kind=kind, name=_text(name), value=value, when=time.time(), tags=tags, host=hostname, first_counts=first
        )
        with self._lock:
            self._submitted[check_id].samples.append(sample)

    def submit_service_check(
        self, _: Any, check_id: str, name: str, status: int, tags: Any, hostname: str, message: str
    ) -> None:
        host = {"host_name": hostname} if hostname else {}
        entry = {
            "check": name,
            **host,
            "status": int(status),
            "message": message,
            "tags": [_text(t) for t in tags or ()],
        }
        with self._lock:
            self._submitted[check_id].service_checks.append(entry)

    def submit_event(self, _: Any, check_id: str, event: dict[str, Any]) -> None:
        with self._lock:
            self._submitted[check_id].events.append(event)

    def take(self, check_id: str) -> Submitted:
        """Return and drop what ``check_id`` submitted since the last call."""
        with self._lock:
            return self._submitted.pop(check_id, Submitted())


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


aggregator = Aggregator()
base.aggregator = aggregator


@dataclass
class Result:
    """The result of one run: series, service checks and events, as ``datadog-agent check`` prints them."""

    series: list[Serie]
    service_checks: list[dict[str, Any]]
    events: list[dict[str, Any]]


class Instance:
    """A configured instance of a check, with its statistics as ``status -j`` shows them.

    Raises:
        LoadError: its code can't be imported, or refuses its configuration.
    """

    def __init__(self, config: settings.CheckConfig, host: str) -> None:
        self.config, self._host = config, host
        self._sampler = Sampler(host)
        module, self._check = _create(config)
        self._check.check_id = config.id
        self.stats: dict[str, Any] = {
            "CheckName": config.name,
            "CheckVersion": getattr(module, "__version__", ""),
            "CheckConfigSource": config.source,
            "CheckLoader": "python",
            "CheckID": config.id,
            "Interval": int(config.interval * 1e9),
            **dict.fromkeys(("TotalRuns", "TotalErrors", "TotalWarnings", "MetricSamples", "Events"), 0),
            **dict.fromkeys(("ServiceChecks", "TotalMetricSamples", "TotalEvents", "TotalServiceChecks"), 0),
            **dict.fromkeys(("LastExecutionTime", "AverageExecutionTime", "LastSuccessDate", "UpdateTimestamp"), 0),
            "LastError": "",
            "LastWarnings": [],
        }

    def run(self) -> Result:
        """Run the check once; an exception ends up in ``stats["LastError"]``, as JSON like in the real Agent."""
        started = time.monotonic()
        error = self._check.run()
        submitted = aggregator.take(self.config.id)
        self._account(int((time.monotonic() - started) * 1000), error, submitted)
        now = int(time.time())
        checks = [{"host_name": self._host, "timestamp": now, **entry} for entry in submitted.service_checks]
        events = [{"timestamp": now, "host": self._host, "alert_type": "info", **entry} for entry in submitted.events]
        return Result(self._sampler.series(submitted.samples), checks, events)

    def _account(self, milliseconds: int, error: str, submitted: Submitted) -> None:
        stats, now = self.stats, int(time.time())
        warnings = [str(warning) for warning in self._check.get_warnings()]
        stats["AverageExecutionTime"] = (stats["AverageExecutionTime"] * stats["TotalRuns"] + milliseconds) // (
            stats["TotalRuns"] + 1
        )
        stats["TotalRuns"] += 1
        stats["TotalErrors"] += 1 if error else 0
        stats["TotalWarnings"] += len(warnings)
        for name, count in (
            ("MetricSamples", len(submitted.samples)),
            ("ServiceChecks", len(submitted.service_checks)),
            ("Events", len(submitted.events)),
        ):
            stats[name] = count
            stats[f"Total{name}"] += count
        stats.update(LastExecutionTime=milliseconds, LastError=error, LastWarnings=warnings, UpdateTimestamp=now)
        if not error:
            stats["LastSuccessDate"] = now

    @property
    def metadata(self) -> dict[str, str]:
        """Return what the check reported about the software it watches, such as its version."""
        found: dict[tuple[str, str], str] = datadog_agent._metadata
        return {name: value for (check_id, name), value in found.items() if check_id == self.config.id}


def _create(config: settings.CheckConfig) -> tuple[ModuleType | None, Any]:
    if config.name in BUILT_IN:
        module, found = None, BUILT_IN[config.name]
    else:
        module, found = _imported(config.name)
    try:
        config.interval  # noqa: B018 - which it reads, and refuses
        if not isinstance(tags := config.instance.get("tags") or [], list):
            raise ValueError(f"yaml: unmarshal errors: cannot unmarshal {tags!r} into []string")
        return module, found(config.name, config.init_config, [config.instance])
    except Exception as error:  # a check is someone else's code and may raise anything
        raise LoadError(
            f"could not configure check instance for python check {config.name}: could not invoke '{config.name}'"
            f" python check constructor. New constructor API returned:\n{_told(error)}"
        ) from error


def _imported(name: str) -> tuple[ModuleType, Any]:
    try:
        module = importlib.import_module(name)
    except Exception as error:  # the same
        raise LoadError(f"unable to import module '{name}': {_told(error)}") from error
    if (found := check_class(module)) is None:
        raise LoadError(f"unable to find a subclass of the base check in module '{name}': cannot find a subclass")
    return module, found


def check_class(module: ModuleType) -> type[AgentCheck] | None:
    """Return a module's check: the first class by name without a subclass, even an imported one.

    Source: ``Three::_findSubclassOf`` in ``rtloader/three/three.cpp``
    """
    for name in dir(module):
        found = getattr(module, name)
        is_check = inspect.isclass(found) and issubclass(found, AgentCheck) and found is not AgentCheck
        if is_check and not found.__subclasses__():
            return cast(type[AgentCheck], found)
    return None


def _told(error: Exception) -> str:
    return "".join(traceback.format_exception(error)).strip()


def load(
    agent: settings.Settings, configs: list[settings.CheckConfig], *, only: str | None = None
) -> tuple[list[Instance], dict[str, dict[str, str]]]:
    """Load the instances of ``configs`` (of the check ``only``); return them, and each failure's reason, by loader.

    Sources: ``pkg/collector/scheduler.go``, ``pkg/collector/python/loader.go``
    """
    datadog_agent.set_hostname(agent.hostname)
    checksd = str(settings.CONFIG / "checks.d")
    if checksd not in sys.path:
        sys.path.append(checksd)
    instances: list[Instance] = []
    errors: dict[str, dict[str, str]] = {}
    for config in configs:
        if only in {None, config.name}:
            try:
                instances.append(Instance(config, agent.hostname))
            except LoadError as error:
                none = f"Check {config.name} not found in Catalog"
                errors[config.name] = {"Core Check Loader": none, "Python Check Loader": str(error)}
    return instances, errors


def as_json(instance: Instance, result: Result) -> dict[str, Any]:
    """Format one element of ``datadog-agent check NAME --json``; like the real Agent, without empty parts."""
    parts: dict[str, list[dict[str, Any]]] = {
        "metrics": [serie.for_check_command(device_field=True) for serie in result.series],
        "service_checks": result.service_checks,
        "events": result.events,
    }
    filled = {name: part for name, part in parts.items() if part}
    return {"aggregator": filled, "inventories": None, "runner": instance.stats}


def as_text(result: Result) -> str:
    """Format the first part of the output of ``datadog-agent check NAME``."""
    parts = {
        "Series": [serie.for_check_command() for serie in result.series],
        "Service Checks": result.service_checks,
        "Events": result.events,
    }
    return "\n".join(f"=== {title} ===\n{json.dumps(part, indent=2)}" for title, part in parts.items() if part)

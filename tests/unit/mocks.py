"""Runs the program, or one component of it, against a recording engine: no network, no plugin, nothing is created.

Every run has an event loop, an engine and a configuration of its own, and ends when all registrations have.
"""

import asyncio
import json
import os
import runpy
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any
from unittest import mock

import pulumi
import yaml
from google.protobuf import empty_pb2, json_format  # type: ignore[import-untyped]
from pulumi.runtime import rpc
from pulumi.runtime.proto import engine_pb2, resource_pb2

ROOT = Path(__file__).resolve().parents[2]

COMMAND = "command:remote:Command"
LOCAL_COMMAND = "command:local:Command"
MARK = "watchpost:abcdefghij12"
PASSWORD_TYPE = "random:index/randomPassword:RandomPassword"
DASHBOARD = "datadog:index/dashboardJson:DashboardJson"
MONITOR = "datadog:index/monitor:Monitor"
DOWNTIME = "datadog:index/downtimeSchedule:DowntimeSchedule"
EMBED = "datadog:index/secureEmbedDashboard:SecureEmbedDashboard"
PROVIDER = "pulumi:providers:datadog"

API_KEY = "fake-api-key-00000000000000000000"
APP_KEY = "fake-app-key-00000000000000000000"
PRIVATE_KEY = "fake-private-key-0000000000000000"
PASSWORD = "FakeDatabasePassword000000000000"
EMBED_LINK = "https://p.example.com/sb/embed/fake-embed-0000"
SECRETS = (API_KEY, APP_KEY, PRIVATE_KEY, PASSWORD, EMBED_LINK)

HOST = {
    "address": "198.18.0.2",
    "user": "watchpost",
    "privateKey": PRIVATE_KEY,
    "hostKey": "ssh-ed25519 AAAAfake",
}

SAMPLE = {"value": 512, "tags": ["custom_check:my_metric"], "interval_s": 45.0}
REPORTS = {
    "files/agent/prove_check.sh": json.dumps(SAMPLE),
    "files/host/ready.sh": json.dumps({"machine": "boot"}),
    "files/agent/service.sh": json.dumps("Agent 7.78.4"),
    "files/mysql/user.sh": json.dumps("8.0.36"),
    "files/traced_app/prove_traces.sh": json.dumps({"traces": 3, "tracer": "4.16.0"}),
    "files/load/run.sh": json.dumps(
        {path: {"requests": 5000, "errors": 0} for path in ("/", "/api/apm", "/api/trace")}
    ),
}
"""What the steps report, by script."""


@dataclass(frozen=True)
class Secret:
    """A value that the engine keeps encrypted."""

    value: Any


def plain(value: Any) -> Any:
    """``value`` without the marks of what is secret in it."""
    if isinstance(value, Secret):
        return plain(value.value)
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list) else value


def unencrypted(value: Any) -> Iterator[str]:
    """Every text in ``value`` that the engine would keep and show as it is."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield key
            yield from unencrypted(item)
    elif isinstance(value, list):
        for item in value:
            yield from unencrypted(item)
    elif not isinstance(value, Secret):
        yield str(value)


@dataclass(frozen=True, kw_only=True)
class Created:
    """A resource as it was registered; its inputs hold :class:`Secret` where the engine would encrypt."""

    type: str
    name: str
    urn: str
    parent: str
    inputs: dict[str, Any]
    request: Any = field(repr=False)
    """The registration itself, with all options."""

    @property
    def plain(self) -> dict[str, Any]:
        """The inputs without marks."""
        return {key: plain(value) for key, value in self.inputs.items()}

    @property
    def stdin(self) -> str:
        """The standard input of a step without marks, and without the owner in its first line."""
        return str(self.plain["stdin"]).partition("\n")[2]

    @property
    def command(self) -> str:
        """The command of a step, behind the line that hands it to bash."""
        return str(self.plain["create"]).partition("\n")[2]

    @property
    def script(self) -> str:
        """The script of a step: ``files/agent/install.sh``."""
        return str(self.plain.get("create", "")).rpartition(" ")[0].rpartition(" ")[2]


@dataclass(kw_only=True)
class Program:
    """What a run left behind: resources in order, stack outputs, and warnings."""

    resources: list[Created] = field(default_factory=list)
    outputs: dict[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    def of(self, *types: str) -> list[Created]:
        """The resources of some types."""
        return [resource for resource in self.resources if resource.type in types]

    def one(self, type_: str) -> Created:
        """The only resource of a type."""
        (resource,) = self.of(type_)
        return resource

    def named(self, name: str) -> Created:
        """The only resource of a name that isn't a component."""
        (resource,) = [r for r in self.resources if r.name == name and r.request.custom]
        return resource

    @property
    def commands(self) -> dict[str, Created]:
        """The steps on hosts, by name."""
        return {resource.name: resource for resource in self.of(COMMAND)}

    def before(self, resource: Created) -> set[str]:
        """The names of everything that ``resource`` waits for, directly or not."""
        by_urn = {r.urn: r for r in self.resources}
        todo, found = list(resource.request.dependencies), set()
        while todo:
            if (urn := todo.pop()) not in found:
                found.add(urn)
                todo += by_urn[urn].request.dependencies
        return {by_urn[urn].name for urn in found}


class _Engine:
    """The engine's side of a run: as the real one, it keeps secret what came in so or is declared so."""

    def __init__(
        self, program: Program, instead: Mapping[str, str | None], again: str | None, *, preview: bool
    ) -> None:
        self.program, self.instead, self.again, self.preview = program, instead, again, preview

    def GetDeploymentInfo(self, _: Any) -> Any:  # noqa: N802 - the engine's own names
        return resource_pb2.DeploymentInfo(
            supportedFeatures=[
                resource_pb2.RESOURCE_MONITOR_FEATURE_SECRETS,
                resource_pb2.RESOURCE_MONITOR_FEATURE_RESOURCE_REFERENCES,
                resource_pb2.RESOURCE_MONITOR_FEATURE_DELETED_WITH,
                resource_pb2.RESOURCE_MONITOR_FEATURE_ERROR_HOOKS,
                resource_pb2.RESOURCE_MONITOR_FEATURE_RESOURCE_HOOKS,
            ]
        )

    def SignalAndWaitForShutdown(self, _: Any) -> Any:  # noqa: N802
        return empty_pb2.Empty()

    def RegisterResourceHook(self, _: Any) -> Any:  # noqa: N802
        return empty_pb2.Empty()

    def RegisterErrorHook(self, _: Any) -> Any:  # noqa: N802
        return empty_pb2.Empty()

    def RegisterResource(self, request: Any) -> Any:  # noqa: N802
        qualified = f"{request.parent.split('::')[2]}${request.type}" if request.parent else request.type
        urn = f"urn:pulumi:dev::watchpost::{qualified}::{request.name}"
        if request.type == "pulumi:pulumi:Stack":
            return resource_pb2.RegisterResourceResponse(urn=urn)
        inputs = json_format.MessageToDict(request.object)
        resource = Created(
            type=request.type,
            name=request.name,
            urn=urn,
            parent=request.parent,
            inputs=_marked(inputs),
            request=request,
        )
        self.program.resources.append(resource)
        state = inputs if self.preview else {**inputs, **self.made(resource)}
        for key in request.additionalSecretOutputs:
            if key in state:
                state[key] = {rpc._special_sig_key: rpc._special_secret_sig, "value": state[key]}
        identifier = "" if self.preview or not request.custom else self.identifier(resource)
        response = resource_pb2.RegisterResourceResponse(urn=urn, id=identifier)
        response.object.update(state)
        return response

    def RegisterResourceOutputs(self, request: Any) -> Any:  # noqa: N802
        if request.urn.endswith("::pulumi:pulumi:Stack::watchpost-dev"):
            self.program.outputs = _marked(json_format.MessageToDict(request.outputs))
        return empty_pb2.Empty()

    def Log(self, request: Any) -> None:  # noqa: N802
        if request.severity >= engine_pb2.WARNING:
            self.program.warnings.append(request.message)

    def identifier(self, resource: Created) -> str:
        """A monitor has a number, everything else may have any text."""
        return "4711" if resource.type == MONITOR else f"{resource.name}-id"

    def printed(self, resource: Created) -> str | None:
        """What a step prints: its report, with the noise of a login; or what a test has it print instead."""
        if self.again is not None and resource.name.endswith("-again"):
            report: str | None = self.again
        elif resource.script in self.instead:
            return self.instead[resource.script]
        else:
            report = REPORTS.get(resource.script, "null")
        return f"Welcome\n\n=watchpost= {report}\nBye\n"

    def made(self, resource: Created) -> dict[str, Any]:
        """What a resource knows once it is there."""
        match resource.type:
            case "command:remote:Command":
                return {"stdout": self.printed(resource), "stderr": ""}
            case "command:local:Command":
                return {"stdout": self.instead["files/vagrant/vm.sh"], "stderr": ""}
            case "random:index/randomPassword:RandomPassword":
                return {"result": PASSWORD, "bcryptHash": "fake"}
            case "random:index/randomString:RandomString":
                return {"result": MARK.removeprefix("watchpost:")}
            case "datadog:index/dashboardJson:DashboardJson":
                return {"url": f"/dashboard/{resource.name}"}
            case "datadog:index/secureEmbedDashboard:SecureEmbedDashboard":
                return {"url": EMBED_LINK}
        return {}


def _marked(value: Any) -> Any:
    """A value as it went over the wire, with secrets as :class:`Secret`."""
    if isinstance(value, dict):
        if value.get(rpc._special_sig_key) == rpc._special_secret_sig:
            return Secret(_marked(value["value"]))
        return {key: _marked(item) for key, item in value.items()}
    return [_marked(item) for item in value] if isinstance(value, list) else value


def run(
    body: Callable[[], object],
    *,
    config: Mapping[str, str] | None = None,
    secret_keys: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
    stdout: Mapping[str, str | None] | None = None,
    again: str | None = None,
    preview: bool = False,
) -> Program:
    """Run ``body`` as a stack's program and wait until everything that it began is done.

    ``stdout`` is what steps print instead of their reports, by script; ``again`` what one that is run again reports.

    Raises:
        Exception: whatever the program, or an ``apply`` in it, raises.
    """
    program = Program()
    engine = _Engine(program, stdout or {}, again, preview=preview)

    def start() -> None:
        body()

    async def main() -> None:
        pulumi.runtime.set_all_config(dict(config or {}), list(secret_keys))
        pulumi.runtime.configure(
            pulumi.runtime.Settings(project="watchpost", stack="dev", monitor=engine, engine=engine, dry_run=preview)
        )
        await pulumi.runtime.run_in_stack(start)

    ours = ("DD_", "DATADOG_", "PULUMI_", "SSH_")
    clean = {key: value for key, value in os.environ.items() if not key.startswith(ours)}
    alone = mock.patch.dict(os.environ, {**clean, **(environment or {})}, clear=True)
    # In a thread of its own: the SDK notes the stack of each resource, and pytest's is deep. What the SDK keeps in
    # a context ends with the run.
    with alone, ThreadPoolExecutor(max_workers=1) as thread:
        thread.submit(asyncio.run, main()).result()
    return program


@cache
def project_defaults() -> Mapping[str, Any]:
    """The defaults of ``Pulumi.yaml``, which the engine applies, with the values of ``Pulumi.dev.yaml`` over them."""
    declared = yaml.safe_load((ROOT / "Pulumi.yaml").read_text())["config"]
    dev = yaml.safe_load((ROOT / "Pulumi.dev.yaml").read_text())["config"]
    merged = {**{key: entry["default"] for key, entry in declared.items() if "default" in entry}, **dev}
    return {key.removeprefix("watchpost:"): value for key, value in merged.items()}


def settings(**changes: Any) -> dict[str, Any]:
    """The raw settings of the `dev` stack with one host, and ``changes``; ``None`` removes a setting."""
    values = {**project_defaults(), "hosts": {"vm": HOST}, **changes}
    return {key: value for key, value in values.items() if value is not None}


def run_program(
    *,
    environment: Mapping[str, str] | None = None,
    keys_in_stack: bool = True,
    stdout: Mapping[str, str | None] | None = None,
    preview: bool = False,
    **changes: Any,
) -> Program:
    """Run all of ``__main__.py`` with the settings of the `dev` stack and ``changes``."""
    config = {
        f"watchpost:{key}": value if isinstance(value, str) else json.dumps(value)
        for key, value in settings(**changes).items()
    }
    secret_keys = ["watchpost:hosts"]
    if keys_in_stack:
        config |= {"datadog:apiKey": API_KEY, "datadog:appKey": APP_KEY}
        secret_keys += ["datadog:apiKey", "datadog:appKey"]
    return run(
        lambda: runpy.run_path(str(ROOT / "__main__.py"), run_name="__main__"),
        config=config,
        secret_keys=secret_keys,
        environment=environment,
        stdout=stdout,
        preview=preview,
    )

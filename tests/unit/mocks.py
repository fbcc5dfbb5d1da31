"""Runs the program, or one component of it, on Pulumi's mocks: no engine, no plugin, no network.

As in Pulumi's guide, :class:`Mocks` answers for the providers. It doesn't see a resource's options, and sees a whole
list or map as secret if one of its entries is; so :class:`Monitor` keeps the registrations as they are sent.

Mocks can't show

- what a change of inputs does: there is no state and no diff, so neither updates nor replacements. ``replaceOnChanges``
  and the like are visible only as options (a resource's ``request``);
- whether a provider accepts the inputs: nothing is checked, and all ids and outputs come from :class:`Mocks`;
- the engine's order, deletions, retries and hooks: each resource exists as soon as it is registered;
- the defaults of ``Pulumi.yaml``, which the engine fills in; :func:`settings` does.

All of that is tested on the real engine, in ``tests/engine``.

Source: https://www.pulumi.com/docs/iac/guides/testing/unit/
"""

import asyncio
import contextlib
import itertools
import json
import logging
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
from google.protobuf import json_format  # type: ignore[import-untyped]
from pulumi.runtime import MockCallArgs, MockResourceArgs, rpc
from pulumi.runtime.mocks import MockMonitor

from components.step_command import StepCommand

ROOT = Path(__file__).resolve().parents[2]

COMMAND = "command:remote:Command"
LOCAL_COMMAND = "command:local:Command"
OWNER = "watchpost:abcdefghij12"
PASSWORD_TYPE = "random:index/randomPassword:RandomPassword"
DASHBOARD = "datadog:index/dashboardJson:DashboardJson"
MONITOR = "datadog:index/monitor:Monitor"
DOWNTIME = "datadog:index/downtimeSchedule:DowntimeSchedule"
EMBED = "datadog:index/secureEmbedDashboard:SecureEmbedDashboard"
PROVIDER = "pulumi:providers:datadog"
PUBLIC_PROVIDER = "pulumi:providers:pulumi-python"
STACK = "pulumi:pulumi:Stack"

MONITOR_ID = "100000001"
"""The id of the first monitor that the stand-in Datadog creates."""

API_KEY = "fake-api-key-00000000000000000000"
APP_KEY = "fake-app-key-00000000000000000000"
PRIVATE_KEY = "fake-private-key-0000000000000000"
PASSWORD = "FakeDatabasePassword000000000000"
PUBLIC = "pulumi-python:dynamic/datadog:PublicDashboard"
PUBLIC_LINK = "https://p.example.com/sb/fake-public-0000"
EMBED_LINK = "https://p.example.com/sb/embed/fake-embed-0000"
SECRETS = (API_KEY, APP_KEY, PRIVATE_KEY, PASSWORD, EMBED_LINK, PUBLIC_LINK)

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
    "files/load/customers.sh": '{"customers": 1, "orders": 1, "delivered": 1, "troubled": 0}',
    "files/load/run.sh": json.dumps(
        {path: {"requests": 5000, "errors": 0} for path in ("/", "/api/apm", "/api/trace")}
    ),
}
"""The reports of the steps, by script."""


@dataclass(frozen=True)
class Secret:
    """A value that the engine keeps encrypted."""

    value: Any


def plain(value: Any) -> Any:
    """Return ``value`` with all secrets unwrapped."""
    if isinstance(value, Secret):
        return plain(value.value)
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list) else value


def unencrypted(value: Any) -> Iterator[str]:
    """Yield every text in ``value`` that the engine would store and show unencrypted."""
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
        """The inputs with all secrets unwrapped."""
        return {key: plain(value) for key, value in self.inputs.items()}

    @property
    def stdin(self) -> str:
        """The standard input of a step, without the owner in its first line."""
        return str(self.plain["stdin"]).partition("\n")[2]

    @property
    def command(self) -> StepCommand:
        """The command of a step on a host."""
        return StepCommand.parse(self.plain["create"])


@dataclass(kw_only=True)
class Program:
    """The result of a run: resources in order, stack outputs and warnings."""

    resources: list[Created] = field(default_factory=list)
    outputs: dict[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    def of(self, *types: str) -> list[Created]:
        """Return the resources of some types."""
        return [resource for resource in self.resources if resource.type in types]

    def one(self, type_: str) -> Created:
        """Return the only resource of a type."""
        (resource,) = self.of(type_)
        return resource

    def named(self, name: str) -> Created:
        """Return the only resource of a name that isn't a component."""
        (resource,) = [r for r in self.resources if r.name == name and r.request.custom]
        return resource

    @property
    def commands(self) -> dict[str, Created]:
        """Return the steps on hosts, by name."""
        return {resource.name: resource for resource in self.of(COMMAND)}

    def before(self, resource: Created) -> set[str]:
        """Return the names of all direct and indirect dependencies of ``resource``."""
        by_urn = {r.urn: r for r in self.resources}
        todo, found = list(resource.request.dependencies), set()
        while todo:
            if (urn := todo.pop()) not in found:
                found.add(urn)
                todo += by_urn[urn].request.dependencies
        return {by_urn[urn].name for urn in found}


class Mocks(pulumi.runtime.Mocks):
    """Answers as the providers would.

    ``stdout`` is what steps print instead of their reports, by script; ``again`` is the report of a step run again.
    """

    def __init__(self, stdout: Mapping[str, str | None], again: str | None) -> None:
        self.stdout, self.again = stdout, again
        self.monitors = itertools.count(int(MONITOR_ID))

    def new_resource(self, args: MockResourceArgs) -> tuple[str | None, dict[str, Any]]:
        """Return the id and outputs of a resource; in a preview only its inputs."""
        if pulumi.runtime.is_dry_run() or not args.custom:
            return None, args.inputs
        name = self.monitor_id(args.name) if args.typ == MONITOR else f"{args.name}-id"
        return name, {**args.inputs, **self.outputs(args)}

    def monitor_id(self, _name: str) -> str:
        """Return the next id, a number like Datadog's."""
        return str(next(self.monitors))

    def call(self, args: MockCallArgs) -> tuple[dict[str, Any], list[tuple[str, str]] | None]:
        """Fail: the program calls no provider functions."""
        raise NotImplementedError(args.token)

    def outputs(self, args: MockResourceArgs) -> dict[str, Any]:
        """Return the outputs that the provider computes."""
        match args.typ:
            case "command:remote:Command":
                return {"stdout": self.printed(args), "stderr": ""}
            case "command:local:Command":
                return {"stdout": self.stdout["files/vagrant/vm.sh"], "stderr": ""}
            case "random:index/randomPassword:RandomPassword":
                return {"result": PASSWORD, "bcryptHash": "fake"}
            case "random:index/randomString:RandomString":
                return {"result": OWNER.removeprefix("watchpost:")}
            case "datadog:index/dashboardJson:DashboardJson":
                return {"url": f"/dashboard/{args.name}"}
            case "datadog:index/secureEmbedDashboard:SecureEmbedDashboard":
                return {"url": EMBED_LINK}
            case "pulumi-python:dynamic/datadog:PublicDashboard":
                return {"url": PUBLIC_LINK}
        return {}

    def printed(self, args: MockResourceArgs) -> str | None:
        """Return a step's output: its report amid a login's noise, or what the test wants."""
        script = ""
        with contextlib.suppress(KeyError, ValueError):  # a command of a test's own
            script = f"files/{StepCommand.parse(args.inputs['create']).script}"
        if self.again is not None and args.name.endswith("-again"):
            report: str | None = self.again
        elif script in self.stdout:
            return self.stdout[script]
        else:
            report = REPORTS.get(script, "null")
        return f"Welcome\n\n=watchpost= {report}\nBye\n"


class Monitor(MockMonitor):
    """Records registrations, secrets marked, in :attr:`program`."""

    def __init__(self, mocks: Mocks) -> None:
        super().__init__(mocks)
        self.program = Program()

    def make_urn(self, parent: str, type_: str, name: str) -> str:
        """Make a URN like the engine: with the types of all ancestors but the stack."""
        above = parent.split("::")[2] if parent else STACK
        qualified = type_ if above == STACK else f"{above}${type_}"
        return f"urn:pulumi:{pulumi.get_stack()}::{pulumi.get_project()}::{qualified}::{name}"

    def RegisterResource(self, request: Any) -> Any:  # noqa: N802 - the engine's own names
        """Record the registration; keep the outputs secret that the resource declares secret."""
        if request.type != STACK:
            self.program.resources.append(
                Created(
                    type=request.type,
                    name=request.name,
                    urn=self.make_urn(request.parent, request.type, request.name),
                    parent=request.parent,
                    inputs=_marked(json_format.MessageToDict(request.object)),
                    request=request,
                )
            )
        response = super().RegisterResource(request)  # type: ignore[no-untyped-call]
        for key in set(request.additionalSecretOutputs) & set(response.object):
            value = json_format.MessageToDict(response.object)[key]
            response.object.update({key: {rpc._special_sig_key: rpc._special_secret_sig, "value": value}})
        return response

    def RegisterResourceOutputs(self, request: Any) -> Any:  # noqa: N802
        """Record the stack's outputs."""
        if f"::{STACK}::" in request.urn:
            self.program.outputs = _marked(json_format.MessageToDict(request.outputs))
        return super().RegisterResourceOutputs(request)  # type: ignore[no-untyped-call]


class Log(logging.Logger):
    """Records the program's warnings and errors."""

    def __init__(self, kept: list[str]) -> None:
        super().__init__("watchpost", logging.WARNING)
        self.kept = kept

    def handle(self, record: logging.LogRecord) -> None:
        """Record the message."""
        self.kept.append(record.getMessage())


def _marked(value: Any) -> Any:
    """Convert a value as sent, with secrets as :class:`Secret`."""
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
    """Run ``body`` as a stack's program and wait until all its registrations are done.

    ``stdout`` and ``again`` are those of :class:`Mocks`.

    Raises:
        Exception: whatever the program or one of its ``apply`` functions raises.
    """
    monitor = Monitor(Mocks(stdout or {}, again))
    log = Log(monitor.program.warnings)

    def main() -> None:
        with asyncio.Runner() as runner:
            runner.get_loop().set_default_executor(engine)
            pulumi.runtime.set_mocks(
                monitor.mocks, project="watchpost", stack="dev", preview=preview, logger=log, monitor=monitor
            )
            pulumi.runtime.set_all_config(dict(config or {}), list(secret_keys))
            pulumi.runtime.test(program)()  # type: ignore[no-untyped-call]

    def program() -> None:
        body()
        stack = pulumi.runtime.get_root_resource()
        assert isinstance(stack, pulumi.runtime.stack.Stack)
        stack.register_outputs(stack.outputs)

    ours = ("DD_", "DATADOG_", "PULUMI_", "SSH_")
    clean = {key: value for key, value in os.environ.items() if not key.startswith(ours)}
    alone = mock.patch.dict(os.environ, {**clean, **(environment or {})}, clear=True)
    # The program and the monitor have a thread and an event loop each. What the SDK keeps in a context ends with the
    # run, and it looks through the Python stack for each resource: pytest's is deep.
    with (
        alone,
        contextlib.closing(asyncio.new_event_loop()) as loop,
        ThreadPoolExecutor(1, initializer=lambda: asyncio.set_event_loop(loop)) as engine,
        ThreadPoolExecutor(1) as thread,
    ):
        thread.submit(main).result()
    return monitor.program


@cache
def project_defaults() -> Mapping[str, Any]:
    """Return the defaults of ``Pulumi.yaml``, which the engine applies, overridden by those of ``Pulumi.dev.yaml``.

    ``customerExperience`` is off: what isn't about it is tested without it.
    """
    declared = yaml.safe_load((ROOT / "Pulumi.yaml").read_text())["config"]
    dev = yaml.safe_load((ROOT / "Pulumi.dev.yaml").read_text())["config"]
    dev.pop("customerExperience", None)
    return {**{key: entry["default"] for key, entry in declared.items() if "default" in entry}, **dev}


def settings(**changes: Any) -> dict[str, Any]:
    """Return the raw settings of the `dev` stack with one host and ``changes``; ``None`` removes a setting."""
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

"""Talks to a plugin over gRPC as the engine does: the real one if it is on PATH, else the stand-in."""

import contextlib
import os
import queue
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import grpc  # type: ignore[import-untyped]
from google.protobuf import empty_pb2, json_format, struct_pb2  # type: ignore[import-untyped]
from pulumi.runtime.proto import engine_pb2_grpc, provider_pb2, provider_pb2_grpc, status_pb2

from sandbox import paths

SIGNATURE = "4dabf18193072939515e22adb298388d"
SECRET = {SIGNATURE: "1b47061264138c4ac30d75fd1eb44270"}
UNKNOWN = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"


def secret(value: Any) -> dict[str, Any]:
    """Wrap a value as the engine sends a secret."""
    return {**SECRET, "value": value}


class PluginFailedError(Exception):
    """A plugin's error; ``reasons`` and ``state`` are those of a partially created resource."""

    def __init__(self, text: str, reasons: tuple[str, ...] = (), state: Any = None) -> None:
        super().__init__(text)
        self.text, self.reasons, self.state = text, reasons, state


class _Engine(engine_pb2_grpc.EngineServicer):
    """The engine's logging service."""

    def __init__(self) -> None:
        self.said: queue.SimpleQueue[tuple[int, str, bool]] = queue.SimpleQueue()

    def Log(self, request: Any, _: Any) -> Any:  # noqa: N802 - gRPC's name
        self.said.put((request.severity, request.message, request.ephemeral))
        return empty_pb2.Empty()


@dataclass
class Plugin:
    """A running plugin; each method is one call of the engine."""

    stub: Any
    engine: _Engine
    real: bool

    def log(self, severity: int = 3) -> list[str]:
        """Return messages of ``severity`` (3 is an error) since the last call, without ephemeral ones."""
        lines = []
        while not self.engine.said.empty():
            level, text, ephemeral = self.engine.said.get()
            if level == severity and not ephemeral:
                lines.append(text)
        return lines

    def configure(self, **settings: str) -> None:
        """Configure it."""
        request = provider_pb2.ConfigureRequest(
            args=struct(settings), acceptSecrets=True, acceptResources=True, sends_old_inputs=True
        )
        self._call("Configure", request)

    def check_settings(self, **settings: str) -> tuple[dict[str, Any], list[tuple[str, str]]]:
        """Return the checked configuration of the provider, and the failures in order."""
        provider = "urn:pulumi:dev::watchpost::pulumi:providers:datadog::datadog"
        answer = self._call("CheckConfig", provider_pb2.CheckRequest(urn=provider, news=struct(settings)))
        return plain(answer.inputs), sorted((failure.property, failure.reason) for failure in answer.failures)

    def cancel(self) -> None:
        """Ask it to end what it does, as the engine on Ctrl-C."""
        self._call("Cancel", empty_pb2.Empty())

    def check(self, kind: str, inputs: Mapping[str, Any]) -> tuple[dict[str, Any], list[tuple[str, str]]]:
        """Return the checked inputs, and the failures in order: each with its property, which may be empty."""
        request = provider_pb2.CheckRequest(urn=urn(kind), news=struct(inputs), olds=struct({}))
        answer = self._call("Check", request)
        return plain(answer.inputs), sorted((failure.property, failure.reason) for failure in answer.failures)

    def diff(
        self, kind: str, name: str, old: Mapping[str, Any], inputs: Mapping[str, Any], old_inputs: Mapping[str, Any]
    ) -> Any:
        """Return the diff of ``old`` outputs and new ``inputs``."""
        request = provider_pb2.DiffRequest(
            urn=urn(kind), id=name, olds=struct(old), news=struct(inputs), old_inputs=struct(old_inputs)
        )
        return self._call("Diff", request)

    def create(self, kind: str, inputs: Mapping[str, Any], *, preview: bool = False) -> tuple[str, dict[str, Any]]:
        """Check the inputs and create the resource; return its id and outputs."""
        checked, failures = self.check(kind, inputs)
        assert not failures, failures
        request = provider_pb2.CreateRequest(urn=urn(kind), properties=struct(checked), preview=preview)
        answer = self._call("Create", request)
        return answer.id, plain(answer.properties)

    def update(
        self, kind: str, name: str, old: Mapping[str, Any], inputs: Mapping[str, Any], old_inputs: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Return the outputs after an update."""
        checked, failures = self.check(kind, inputs)
        assert not failures, failures
        request = provider_pb2.UpdateRequest(
            urn=urn(kind), id=name, olds=struct(old), news=struct(checked), old_inputs=struct(old_inputs)
        )
        return plain(self._call("Update", request).properties)

    def read(
        self, kind: str, name: str, state: Mapping[str, Any], inputs: Mapping[str, Any]
    ) -> tuple[str, dict[str, Any], dict[str, Any]]:
        """Return id, outputs and inputs as read; an empty id if it is gone."""
        request = provider_pb2.ReadRequest(urn=urn(kind), id=name, properties=struct(state), inputs=struct(inputs))
        answer = self._call("Read", request)
        return answer.id, plain(answer.properties), plain(answer.inputs)

    def delete(self, kind: str, name: str, state: Mapping[str, Any], inputs: Mapping[str, Any] | None = None) -> None:
        """Delete it."""
        request = provider_pb2.DeleteRequest(
            urn=urn(kind), id=name, properties=struct(state), old_inputs=struct(inputs or {})
        )
        self._call("Delete", request)

    def _call(self, method: str, request: Any) -> Any:
        try:
            return getattr(self.stub, method)(request, timeout=60)
        except grpc.RpcError as error:
            raise _failure(error) from None


def _failure(error: Any) -> PluginFailedError:
    for key, value in error.trailing_metadata() or ():
        if key == "grpc-status-details-bin":
            for detail in status_pb2.Status.FromString(value).details:
                half_made = provider_pb2.ErrorResourceInitFailed()
                if detail.Unpack(half_made):
                    return PluginFailedError(error.details(), tuple(half_made.reasons), plain(half_made.properties))
    return PluginFailedError(error.details())


def urn(kind: str) -> str:
    """Return the URN of the tested resource."""
    return f"urn:pulumi:dev::watchpost::{kind}::thing"


def struct(values: Mapping[str, Any]) -> Any:
    """Convert properties to protobuf."""
    return json_format.ParseDict(dict(values), struct_pb2.Struct())


def plain(values: Any) -> dict[str, Any]:
    """Convert properties from protobuf."""
    found: dict[str, Any] = json_format.MessageToDict(values)
    return found


@contextlib.contextmanager
def plugin(name: str, environment: Mapping[str, str] | None = None) -> Iterator[Plugin]:
    """Start the plugin ``name``, connected to a logging service."""
    engine = _Engine()
    server = grpc.server(ThreadPoolExecutor(4))
    engine_pb2_grpc.add_EngineServicer_to_server(engine, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    program = shutil.which(f"pulumi-resource-{name}")
    command = [program] if program else [sys.executable, "-m", "sandbox.pulumi.plugins", name]
    with subprocess.Popen(
        [*command, f"127.0.0.1:{port}"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "PYTHONPATH": str(paths.ROOT), **(environment or {})},
    ) as process:
        try:
            assert process.stdout
            address = f"127.0.0.1:{int(process.stdout.readline())}"
            with grpc.insecure_channel(address) as channel:
                yield Plugin(provider_pb2_grpc.ResourceProviderStub(channel), engine, program is not None)
        finally:
            process.terminate()
            server.stop(None)

"""Shared by the stand-in plugins: the gRPC server, the engine's log, and property values as plain Python.

A stand-in is a ``pulumi.provider.experimental.provider.Provider`` built from an :class:`Engine` and named in
:data:`PROVIDERS`; ``python -m sandbox.pulumi.plugins NAME ENGINE`` serves it.
"""

import argparse
import asyncio
import importlib
import importlib.metadata
import signal
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from functools import cache
from typing import Any

import grpc  # type: ignore[import-untyped]
from google.protobuf import struct_pb2  # type: ignore[import-untyped]
from pulumi.provider.experimental.property_value import PropertyValue
from pulumi.provider.experimental.provider import (
    CheckFailure,
    DiffRequest,
    DiffResponse,
    PropertyDiff,
    PropertyDiffKind,
    Provider,
)
from pulumi.provider.experimental.server import ProviderServicer
from pulumi.runtime.proto import engine_pb2, engine_pb2_grpc, provider_pb2, provider_pb2_grpc, status_pb2
from pulumi.runtime.rpc import UNKNOWN

PROVIDERS = {
    "command": "sandbox.pulumi.plugins.command.provider.CommandProvider",
    "random": "sandbox.pulumi.plugins.random.RandomProvider",
    "datadog": "sandbox.pulumi.plugins.datadog.provider.Datadog",
}
"""Stand-ins by plugin name."""

CANCELLING = {"command"}
"""Plugins that end their running calls on Cancel. Those of the Terraform bridge, as Datadog's, wait for them.

Source: Cancel in pkg/tfbridge/provider.go of https://github.com/pulumi/pulumi-terraform-bridge/tree/v3.135.0
"""

ASSET = "$asset"
"""Marks an asset or an archive among plain values: a mapping with its kind under this key, its path, text or uri, and
its content's hash."""

SIGNATURE = "4dabf18193072939515e22adb298388d"
ASSET_KINDS = ("c44067f5952c0a294b673a41bacd8c17", "0def7320c3a5731c473e5ecbe6d01bc7")
"""The engine's key for special values, and its values of that key for an asset and an archive."""

MESSAGE_LIMIT = 400 * 1024 * 1024
"""The largest message in bytes, as in the engine."""


class PluginError(Exception):
    """An error for the user; any other exception is a defect of the stand-in and is shown with its traceback."""


class HalfDoneError(PluginError):
    """A partially created resource: the engine keeps its id and outputs, and retries in the next run."""

    def __init__(self, reason: str, name: str, outputs: Mapping[str, PropertyValue]) -> None:
        super().__init__(reason)
        self.name, self.outputs = name, outputs

    def details(self) -> bytes:
        """Return its gRPC status details."""
        status = status_pb2.Status(code=grpc.StatusCode.UNKNOWN.value[0], message=str(self))
        properties = PropertyValue.marshal_map(dict(self.outputs))
        status.details.add().Pack(
            provider_pb2.ErrorResourceInitFailed(id=self.name, properties=properties, reasons=[str(self)])
        )
        return bytes(status.SerializeToString())


class Engine:
    """The log of the engine that runs this plugin."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._stub: engine_pb2_grpc.EngineStub | None = None

    async def log(self, urn: str, text: str, *, severity: str = "info", ephemeral: bool = False) -> None:
        """Log ``text`` for the resource ``urn``; ``ephemeral`` shows it only while the resource is processed.

        ``severity`` is debug, info, warning or error; an error makes the whole run fail.
        """
        if self._stub is None:
            self._stub = engine_pb2_grpc.EngineStub(grpc.aio.insecure_channel(self._address))
        request = engine_pb2.LogRequest(
            severity=engine_pb2.LogSeverity.Value(severity.upper()), message=text, urn=urn, ephemeral=ephemeral
        )
        call: Any = self._stub.Log(request)
        await call


def plain(value: PropertyValue) -> Any:
    """Strip secrecy and dependencies; whole numbers become ints, unknowns `UNKNOWN`."""
    match value.value:
        case Mapping() as entries:
            return {key: plain(entry) for key, entry in entries.items()}
        case float() as number if number.is_integer():
            return int(number)
        case str() | bool() | float() | None as scalar:
            return scalar
        case Sequence() as items:
            return [plain(item) for item in items]
        case other:
            return other


def plain_map(values: Mapping[str, PropertyValue]) -> dict[str, Any]:
    """Apply :func:`plain` to a resource's properties, without null ones."""
    return {key: plain(value) for key, value in values.items() if value.value is not None}


def boxed(value: Any, *, secret: bool = False) -> PropertyValue:
    """Invert :func:`plain`."""
    match value:
        case PropertyValue():
            return value.with_secret(value.is_secret or secret)
        case Mapping():
            return PropertyValue({key: boxed(entry) for key, entry in value.items()}, is_secret=secret)
        case list() | tuple():
            return PropertyValue([boxed(item) for item in value], is_secret=secret)
        case int() if not isinstance(value, bool):
            return PropertyValue(float(value), is_secret=secret)
        case _:
            return PropertyValue(value, is_secret=secret)


def unknown(*, secret: bool = False) -> PropertyValue:
    """Return an unknown output, as in a preview."""
    return PropertyValue(UNKNOWN, is_secret=secret)


def has_unknown(value: Any) -> bool:
    """Whether a plain value is, or contains, an unknown."""
    match value:
        case PropertyValue():
            return has_unknown(plain(value))
        case Mapping():
            return any(has_unknown(entry) for entry in value.values())
        case list() | tuple():
            return any(has_unknown(item) for item in value)
        case _:
            return bool(value == UNKNOWN)


def check_names(
    kind: str, given: Mapping[str, Any], *, known: Collection[str], required: Collection[str] = ()
) -> list[CheckFailure]:
    """Return a failure for each property that ``kind`` lacks, and each required one that is missing."""
    unexpected = [CheckFailure(name, f"{kind} has no property {name}") for name in sorted(given) if name not in known]
    missing = [
        CheckFailure(name, f"missing required property: {name}")
        for name in sorted(required)
        if name not in given or plain(boxed(given[name])) is None
    ]
    return unexpected + missing


def difference(
    request: DiffRequest, *, inputs: Collection[str], replace: Collection[str] = (), delete_before_replace: bool = False
) -> DiffResponse:
    """Diff the stored state and the new inputs, among ``inputs``; those in ``replace`` cause a replacement.

    Compares values, not secrecy or dependencies.
    """
    old, new = plain_map(request.old_state), plain_map(request.new_inputs)
    changed = [name for name in sorted(inputs) if old.get(name) != new.get(name)]
    return changes(
        {name: (name in old, name in new, name in replace) for name in changed},
        delete_before_replace=delete_before_replace,
    )


def changes(changed: Mapping[str, tuple[bool, bool, bool]], *, delete_before_replace: bool = False) -> DiffResponse:
    """Return the diff for property paths, each with: was there, is there now, causes a replacement."""
    kinds = {
        (False, False): PropertyDiffKind.ADD,
        (False, True): PropertyDiffKind.ADD_REPLACE,
        (True, False): PropertyDiffKind.UPDATE,
        (True, True): PropertyDiffKind.UPDATE_REPLACE,
    }
    gone = {False: PropertyDiffKind.DELETE, True: PropertyDiffKind.DELETE_REPLACE}
    return DiffResponse(
        changes=bool(changed),
        replaces=[name for name, (_, _, replaces) in changed.items() if replaces],
        diffs=list(changed),
        delete_before_replace=delete_before_replace,
        detailed_diff={
            name: PropertyDiff(kinds[was, replaces] if now else gone[replaces], input_diff=False)
            for name, (was, now, replaces) in changed.items()
        },
    )


def _mark_assets(value: struct_pb2.Value | struct_pb2.Struct, mark: str, unmark: str) -> None:
    """Mark each asset in ``value`` with the key ``mark`` instead of ``unmark``.

    `PropertyValue` drops an asset's hash, which alone shows changed content, and can't read one without path.
    """
    if isinstance(value, struct_pb2.Value):
        for item in value.list_value.values:
            _mark_assets(item, mark, unmark)
        value = value.struct_value
    for entry in list(value.fields.values()):
        _mark_assets(entry, mark, unmark)
    if unmark in value.fields and value.fields[unmark].string_value in ASSET_KINDS:
        value.fields[mark].CopyFrom(value.fields[unmark])
        del value.fields[unmark]


def _mark_all(message: Any, mark: str, unmark: str) -> None:
    """Apply :func:`_mark_assets` to every property map of a request or an answer."""
    for _, content in message.ListFields():
        if isinstance(content, struct_pb2.Struct):
            _mark_assets(content, mark, unmark)


class _Interceptor(grpc.aio.ServerInterceptor):  # type: ignore[misc]
    """Intercepts calls: keeps assets whole, and sends a `PluginError` as a sentence without a traceback.

    On Cancel, which the engine sends on Ctrl-C, ends running calls if the plugin ``cancels`` them.
    """

    def __init__(self, *, cancels: bool) -> None:
        self._cancels = cancels
        self._running: set[asyncio.Task[Any]] = set()

    async def intercept_service(self, continuation: Callable[[Any], Awaitable[Any]], details: Any) -> Any:
        handler = await continuation(details)
        if handler is None or handler.unary_unary is None:
            return handler

        async def answer(request: Any, context: Any) -> Any:
            if details.method.endswith("/Cancel"):
                for task in self._running if self._cancels else ():
                    task.cancel()
                return await handler.unary_unary(request, context)
            _mark_all(request, ASSET, SIGNATURE)
            task = asyncio.ensure_future(handler.unary_unary(request, context))
            self._running.add(task)
            try:
                response = await task
                _mark_all(response, SIGNATURE, ASSET)
                if details.method.endswith("/Diff") and response.diffs and not response.detailedDiff:
                    response.hasDetailedDiff = False  # the servicer always sets it
                return response
            except asyncio.CancelledError:
                await context.abort(grpc.StatusCode.CANCELLED, "cancelled")
            except NotImplementedError as error:
                await context.abort(grpc.StatusCode.UNIMPLEMENTED, str(error))
            except Exception as error:
                # The servicer turns any exception of the provider into a text with a traceback.
                if not isinstance(error.__context__, PluginError):
                    raise
                if isinstance(error.__context__, HalfDoneError):
                    context.set_trailing_metadata((("grpc-status-details-bin", error.__context__.details()),))
                await context.abort(grpc.StatusCode.UNKNOWN, str(error.__context__))
            finally:
                self._running.discard(task)

        return grpc.unary_unary_rpc_method_handler(
            answer,
            request_deserializer=handler.request_deserializer,
            response_serializer=handler.response_serializer,
        )


async def _serve(package: str, address: str, say: Callable[[str], object], lives: Callable[[], bool]) -> None:
    limits = [("grpc.max_receive_message_length", MESSAGE_LIMIT), ("grpc.max_send_message_length", MESSAGE_LIMIT)]
    server = grpc.aio.server(options=limits, interceptors=[_Interceptor(cancels=package in CANCELLING)])
    made = provider(package)(Engine(address))
    servicer = ProviderServicer([], version(package), made, address)
    provider_pb2_grpc.add_ResourceProviderServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    say(f"{port}\n")
    while lives():  # noqa: ASYNC110 - a process has no event for the death of its parent
        await asyncio.sleep(1)
    await server.stop(grace=None)


def provider(package: str) -> Callable[[Engine], Provider]:
    """Return the stand-in for the plugin ``package``, imported on demand."""
    module, _, name = PROVIDERS[package].rpartition(".")
    found: Callable[[Engine], Provider] = getattr(importlib.import_module(module), name)
    return found


@cache
def version(package: str) -> str:
    """Return the stand-in's version: the installed Python SDK's."""
    return importlib.metadata.version(f"pulumi-{package}")


def run(words: Sequence[str], *, say: Callable[[str], object], lives: Callable[[], bool]) -> None:
    """Serve the plugin named in ``words`` while ``lives()`` is true, and ``say`` its port.

    ``words`` are its name and the engine's arguments: its address, and options.
    """
    parser = argparse.ArgumentParser(description="A stand-in for one of Pulumi's plugins, started by the engine.")
    parser.add_argument("engine", nargs="?", default="", help="the engine's address")
    options, _ = parser.parse_known_args(words[1:])
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # the engine ends it with SIGINT and waits: cleaning up takes 0.1 s
    asyncio.run(_serve(words[0], options.engine, say, lives))

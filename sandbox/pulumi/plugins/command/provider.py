"""The command plugin's resources: their inputs, diffs and state."""

import asyncio
import json
import os
import secrets
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pulumi.provider.experimental.property_value import PropertyValue
from pulumi.provider.experimental.provider import (
    CheckFailure,
    CheckRequest,
    CheckResponse,
    CreateRequest,
    CreateResponse,
    DeleteRequest,
    DiffRequest,
    DiffResponse,
    Provider,
    UpdateRequest,
    UpdateResponse,
)

from sandbox.pulumi.plugins.command.process import LOGGED, Output, previous_output
from sandbox.pulumi.plugins.serve import (
    ASSET,
    Engine,
    PluginError,
    boxed,
    check_names,
    difference,
    has_unknown,
    plain_map,
    unknown,
)

ENDPOINT: Mapping[str, type] = {
    "agentSocketPath": str,
    "dialErrorLimit": int,
    "host": str,
    "hostKey": str,
    "password": str,
    "perDialTimeout": int,
    "port": int,
    "privateKey": str,
    "privateKeyPassword": str,
    "user": str,
}
SECRET_IN_ENDPOINT = frozenset({"password", "privateKey", "privateKeyPassword"})
"""Secrets within the connection, itself a secret (``provider:"secret"`` in connection.go)."""
ENDPOINT_DEFAULTS = {"dialErrorLimit": 10, "perDialTimeout": 15, "port": 22, "user": "root"}


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One resource type: the Python type of each input, and the required ones."""

    properties: Mapping[str, type]
    required: frozenset[str] = frozenset()


_COMMAND: Mapping[str, type] = {
    "addPreviousOutputInEnv": bool,
    "create": str,
    "delete": str,
    "environment": dict,
    "logging": str,
    "stdin": str,
    "triggers": list,
    "update": str,
}
KINDS = {
    "command:remote:Command": Kind(
        properties={**_COMMAND, "connection": dict},
        required=frozenset({"connection"}),
    ),
    "command:local:Command": Kind(properties={**_COMMAND, "dir": str, "interpreter": list}),
    "command:remote:CopyToRemote": Kind(
        properties={"connection": dict, "remotePath": str, "source": dict, "triggers": list},
        required=frozenset({"connection", "remotePath", "source"}),
    ),
}
COPY = "command:remote:CopyToRemote"


class CommandProvider(Provider):
    """The plugin; its resources are independent, so the engine may run any number at once."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def check(self, request: CheckRequest) -> CheckResponse:
        """Reject unknown properties and fill in the defaults."""
        kind = _kind(request.type)
        given = plain_map(request.new_inputs)
        failures = check_names(request.type, given, known=kind.properties, required=kind.required)
        failures += _types("", given, kind.properties)
        inputs = dict(request.new_inputs)
        if isinstance(connection := given.get("connection"), dict):
            failures += _check_connection("connection", connection)
            connection = _filled(connection)
        if connection is not None:
            # The whole connection is secret, as the real plugin declares it.
            inputs["connection"] = boxed(_with_secrets(connection), secret=True)
        if "addPreviousOutputInEnv" in kind.properties:
            inputs.setdefault("addPreviousOutputInEnv", PropertyValue(True))
        if isinstance(source := given.get("source"), dict) and not (ASSET in source and {"path", "text"} & set(source)):
            failures.append(CheckFailure("source", "must be a FileAsset, a FileArchive or a StringAsset"))
        if given.get("logging") not in LOGGED and not has_unknown(given["logging"]):
            failures.append(CheckFailure("logging", f"expected one of {', '.join(filter(None, LOGGED))}"))
        return CheckResponse(inputs=inputs, failures=failures)

    async def diff(self, request: DiffRequest) -> DiffResponse:
        """Update everything in place but ``triggers``, which replaces."""
        return difference(request, inputs=_kind(request.type).properties, replace={"triggers"})

    async def create(self, request: CreateRequest) -> CreateResponse:
        """Run ``create``, or copy."""
        kind = _token(request.type)
        name = "" if kind == COPY else request.name
        outputs = await self._work(request.urn, kind, request.properties, {}, ("create",), request.preview)
        return CreateResponse(f"{name}{secrets.token_hex(4)}", outputs)

    async def update(self, request: UpdateRequest) -> UpdateResponse:
        """Run ``update``, else ``create`` again, or copy."""
        kind, order = _token(request.type), ("update", "create")
        old = {name: value for name, value in request.olds.items() if name.startswith("std") and name != "stdin"}
        return UpdateResponse(await self._work(request.urn, kind, request.news, old, order, request.preview))

    async def delete(self, request: DeleteRequest) -> None:
        """Run ``delete`` if there is one; a copied file stays where it is."""
        kind = _token(request.type)
        if kind != COPY:
            await self._run(request.urn, kind, plain_map(request.properties), ("delete",))

    async def _work(
        self,
        urn: str,
        kind: str,
        inputs: Mapping[str, PropertyValue],
        old: Mapping[str, PropertyValue],
        order: tuple[str, ...],
        preview: bool,
    ) -> dict[str, PropertyValue]:
        """Create or update; return the inputs with the command's output."""
        given = plain_map(inputs)
        if kind == COPY:
            if not preview:
                await self._copy(urn, given)
            return dict(inputs)
        if preview:
            return {**inputs, "stdout": unknown(), "stderr": unknown()}
        written = await self._run(urn, kind, given | plain_map(old), order)
        empty = {"stdout": PropertyValue(""), "stderr": PropertyValue("")}
        return {**inputs, **empty, **old, **{name: PropertyValue(text) for name, text in written.items()}}

    async def _run(self, urn: str, kind: str, state: Mapping[str, Any], order: tuple[str, ...]) -> dict[str, str]:
        """Run the first command of ``order`` that is set; return no output if none is."""
        command = next((state[name] for name in order if name in state), None)
        if command is None:
            return {}

        async def say(text: str) -> None:
            await self._engine.log(urn, text, ephemeral=True)

        async def warn(text: str) -> None:
            await self._engine.log(urn, text, severity="warning")

        if kind == "command:local:Command":
            return await _run_here(state, command, Output(state.get("logging"), say))
        from sandbox.pulumi.plugins.command import (
            ssh,  # here, since asyncssh is slow to import and a preview doesn't need it
        )

        return await ssh.run(state, command, say=say, warn=warn)

    async def _copy(self, urn: str, given: Mapping[str, Any]) -> None:
        async def say(text: str) -> None:
            await self._engine.log(urn, text, ephemeral=True)

        from sandbox.pulumi.plugins.command import ssh

        source = given["source"]
        await ssh.copy(given["connection"], source.get("path"), source.get("text"), given["remotePath"], say=say)


async def _run_here(state: Mapping[str, Any], command: str, output: Output) -> dict[str, str]:
    """Run ``command`` on this machine."""
    words = [*(state.get("interpreter") or ("/bin/sh", "-c")), command]
    pipe = asyncio.subprocess.PIPE
    try:
        process = await asyncio.create_subprocess_exec(
            *words,
            stdin=pipe,
            stdout=pipe,
            stderr=pipe,
            cwd=state.get("dir"),
            env=os.environ | (state.get("environment") or {}) | previous_output(state),
        )
    except OSError as error:
        raise output.failure(_cannot_start(words[0], error), command) from error
    assert process.stdin
    assert process.stdout
    assert process.stderr
    try:
        process.stdin.write((state.get("stdin") or "").encode())
        process.stdin.close()
        await output.gather(stdout=process.stdout, stderr=process.stderr)
        status = await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
    if status:
        raise output.failure(f"signal: {_signal(-status)}" if status < 0 else f"exit status {status}", command)
    return output.stored()


def _cannot_start(program: str, error: OSError) -> str:
    """Return Go's error for a program that does not start. Source: https://pkg.go.dev/os/exec"""
    if "/" not in program and isinstance(error, FileNotFoundError):
        return f"exec: {json.dumps(program)}: executable file not found in $PATH"
    return f"fork/exec {program}: {os.strerror(error.errno or 0).lower()}"


def _signal(number: int) -> str:
    """Return Go's name of a signal: the system's in lower case. Source: https://pkg.go.dev/syscall#Signal.String"""
    return (signal.strsignal(number) or f"signal {number}").lower()


def _token(kind: str) -> str:
    """Return the resource's own type: in a URN it follows its parents' types."""
    return kind.rpartition("$")[2]


def _kind(token: str) -> Kind:
    try:
        return KINDS[_token(token)]
    except KeyError:
        raise PluginError(f"unrecognized resource type {token}: this stand-in has {', '.join(KINDS)}") from None


def _check_connection(path: str, connection: Mapping[str, Any]) -> list[CheckFailure]:
    """Return the faults of a connection, its proxy's included."""
    known = ENDPOINT if path.endswith(".proxy") else {**ENDPOINT, "proxy": dict}
    failures = check_names(path, connection, known=known, required={"host"})
    failures = [CheckFailure(f"{path}.{failure.property}", failure.reason) for failure in failures]
    failures += _types(f"{path}.", connection, known)
    if isinstance(proxy := connection.get("proxy"), dict):
        failures += _check_connection(f"{path}.proxy", proxy)
    return failures


def _with_secrets(connection: Mapping[str, Any]) -> Any:
    """Return a connection with its keys and passwords marked secret."""
    if not isinstance(connection, Mapping):
        return connection  # not known yet
    boxes = {name: boxed(value, secret=name in SECRET_IN_ENDPOINT) for name, value in connection.items()}
    if isinstance(proxy := connection.get("proxy"), Mapping):
        boxes["proxy"] = boxed(_with_secrets(proxy))
    return boxes


def _filled(connection: Mapping[str, Any]) -> dict[str, Any]:
    """Return a connection with defaults filled in, its proxy's too."""
    filled: dict[str, Any] = {**ENDPOINT_DEFAULTS, **connection}
    if isinstance(proxy := filled.get("proxy"), dict):
        filled["proxy"] = _filled(proxy)
    return filled


def _types(path: str, given: Mapping[str, Any], expected: Mapping[str, type]) -> list[CheckFailure]:
    """Return a failure for each known value of the wrong type; a bool is no number."""
    return [
        CheckFailure(f"{path}{name}", f"expected {expected[name].__name__}, got {type(value).__name__}")
        for name, value in given.items()
        if name in expected
        and not has_unknown(value)
        and not (isinstance(value, expected[name]) and not (expected[name] is int and isinstance(value, bool)))
    ]

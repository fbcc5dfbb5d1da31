"""The plugin itself: configuration, and the engine's questions answered by the resource types."""

import asyncio
import os
from collections.abc import Mapping
from typing import Any

from pulumi.provider.experimental.property_value import PropertyValue
from pulumi.provider.experimental.provider import (
    CheckFailure,
    CheckRequest,
    CheckResponse,
    ConfigureRequest,
    ConfigureResponse,
    CreateRequest,
    CreateResponse,
    DeleteRequest,
    DiffRequest,
    DiffResponse,
    Provider,
    ReadRequest,
    ReadResponse,
    UpdateRequest,
    UpdateResponse,
)

from sandbox.plugins.datadog.client import Client, MissingError
from sandbox.plugins.datadog.dashboard import DashboardJson
from sandbox.plugins.datadog.downtime import DowntimeSchedule
from sandbox.plugins.datadog.embed import SecureEmbedDashboard
from sandbox.plugins.datadog.kind import Kind, Properties, misfits
from sandbox.plugins.datadog.monitor import Monitor
from sandbox.plugins.serve import Engine, PluginError, boxed, changes, check_names, has_unknown, plain_map

KINDS: dict[str, Kind] = {
    "datadog:index/dashboardJson:DashboardJson": DashboardJson(),
    "datadog:index/downtimeSchedule:DowntimeSchedule": DowntimeSchedule(),
    "datadog:index/monitor:Monitor": Monitor(),
    "datadog:index/secureEmbedDashboard:SecureEmbedDashboard": SecureEmbedDashboard(),
}

ENVIRONMENT = {
    "apiKey": ("DATADOG_API_KEY", "DD_API_KEY"),
    "appKey": ("DATADOG_APP_KEY", "DD_APP_KEY"),
    "apiUrl": ("DATADOG_HOST", "DD_HOST"),
}
"""Where a setting is looked for that the configuration leaves out."""

SETTINGS = {
    *ENVIRONMENT,
    "validate",
    "httpClientRetryEnabled",
    "httpClientRetryMaxRetries",
    "httpClientRetryBackoffBase",
    "httpClientRetryBackoffMultiplier",
    "httpClientRetryTimeout",
}
ENGINES_OWN = {"version", "pluginDownloadURL"}
"""What the engine adds to a provider's inputs."""

DEFAULT_URL = "https://api.datadoghq.com"
NO_KEYS = "api_key and app_key must be set unless validate = false"
BAD_KEYS = (
    "Invalid or missing credentials provided to the Datadog Provider. "
    "Please confirm your API and APP keys are valid and are for the correct region, see "
    "https://www.terraform.io/docs/providers/datadog/ for more information on providing credentials for the Datadog "
    "Provider"
)


def _kind(urn: str) -> Kind:
    token = urn.split("::")[-2].split("$")[-1]
    if token not in KINDS:
        raise PluginError(
            f"the stand-in datadog plugin has no resource type {token}: it has {', '.join(sorted(KINDS))}"
        )
    return KINDS[token]


def _outputs(kind: Kind, outputs: Properties, inputs: Mapping[str, PropertyValue]) -> dict[str, PropertyValue]:
    """The outputs for the engine: those named as a secret input, and those of the type that are secret, stay so."""
    secret = kind.secret | {name for name, value in inputs.items() if value.contains_secret()}
    return {name: boxed(value, secret=name in secret) for name, value in outputs.items()}


def _pruned(value: Any) -> Any:
    """An output as an input: without what is empty, as a program would leave it out."""
    if isinstance(value, Mapping):
        return {name: _pruned(entry) for name, entry in value.items() if entry not in (None, "", [], {})}
    return [_pruned(entry) for entry in value] if isinstance(value, list) else value


class Datadog(Provider):
    """The stand-in datadog plugin."""

    def __init__(self, engine: Engine) -> None:
        del engine
        self._client: Client | None = None

    async def check_config(self, request: CheckRequest) -> CheckResponse:
        failures = check_names("the stand-in datadog provider", request.new_inputs, known=SETTINGS | ENGINES_OWN)
        return CheckResponse(request.new_inputs, failures)

    async def configure(self, request: ConfigureRequest) -> ConfigureResponse:
        settings = plain_map(request.args)
        for name, variables in ENVIRONMENT.items():
            found = [os.environ[variable] for variable in variables if os.environ.get(variable)]
            if found and not settings.get(name):
                settings[name] = found[0]
        if not has_unknown(settings):
            validate = str(settings.get("validate", True)).lower() != "false"
            if validate and not (settings.get("apiKey") and settings.get("appKey")):
                raise PluginError(NO_KEYS)
            self._client = _client(settings)
            if validate:
                await asyncio.to_thread(_validate_keys, self._client)
        return ConfigureResponse(accept_secrets=True, supports_preview=True, accept_outputs=False)

    def _connected(self) -> Client:
        if self._client is None:
            raise PluginError("the datadog provider's configuration is not known yet")
        return self._client

    async def check(self, request: CheckRequest) -> CheckResponse:
        kind = _kind(request.urn)
        given = {name: value for name, value in request.new_inputs.items() if value.value is not None}
        inputs = plain_map(given)
        missing = [
            CheckFailure(name, f"Missing required property '{name}'") for name in sorted(kind.required - set(inputs))
        ]
        wrong = [CheckFailure(path, reason) for path, reason in misfits(inputs, kind.shape, "")]
        if not (missing or wrong):
            wrong = [CheckFailure(path, reason) for path, reason in kind.problems(inputs)]
        added = {name: boxed(value) for name, value in kind.defaults.items() if name not in given}
        return CheckResponse(given | added, missing + wrong)

    async def _validate(self, kind: Kind, inputs: Properties, name: str | None) -> None:
        if self._client is None:
            return
        try:
            await asyncio.to_thread(kind.validate, self._client, inputs, name)
        except MissingError as error:
            raise PluginError(str(error)) from error

    async def diff(self, request: DiffRequest) -> DiffResponse:
        kind, old, inputs = _kind(request.urn), plain_map(request.old_state), plain_map(request.new_inputs)
        planned = kind.plan(inputs, old)
        changed = {
            name: (old.get(name) is not None, planned.get(name) is not None, name in kind.replaced_by)
            for name in sorted(kind.shape)
            if not kind.same(name, old, planned)
        }
        replaces = any(replaces for _, _, replaces in changed.values())
        await self._validate(kind, inputs, None if replaces else request.resource_id)
        return changes(changed)

    async def create(self, request: CreateRequest) -> CreateResponse:
        kind, inputs = _kind(request.urn), plain_map(request.properties)
        await self._validate(kind, inputs, None)
        if request.preview:
            return CreateResponse(None, _outputs(kind, kind.plan(inputs, None), request.properties))
        try:
            name, outputs = await asyncio.to_thread(kind.create, self._connected(), inputs)
        except MissingError as error:
            raise PluginError(str(error)) from error
        return CreateResponse(name, _outputs(kind, outputs | {"id": name}, request.properties))

    async def read(self, request: ReadRequest) -> ReadResponse:
        kind, old, given = _kind(request.urn), plain_map(request.properties), plain_map(request.inputs)
        try:
            outputs = await asyncio.to_thread(kind.read, self._connected(), request.resource_id, old)
        except MissingError:
            return ReadResponse(None)
        kept = dict(request.inputs)
        if given:  # a refresh: an input stays as it was written, unless Datadog has something else now
            planned = kind.plan(given, outputs)
            moved = {name for name in given if not kind.same(name, outputs, planned)}
        else:  # an import
            moved = {name for name in kind.shape if outputs.get(name) not in (None, "", [], {})}
        fresh = _outputs(kind, {name: _pruned(outputs.get(name)) for name in moved}, request.inputs)
        inputs = {name: value for name, value in (kept | fresh).items() if value.value is not None}
        return ReadResponse(request.resource_id, _outputs(kind, outputs | {"id": request.resource_id}, kept), inputs)

    async def update(self, request: UpdateRequest) -> UpdateResponse:
        kind, inputs, old = _kind(request.urn), plain_map(request.news), plain_map(request.olds)
        if request.preview:
            return UpdateResponse(_outputs(kind, kind.plan(inputs, old) | {"id": request.resource_id}, request.news))
        await self._validate(kind, inputs, request.resource_id)
        try:
            outputs = await asyncio.to_thread(kind.update, self._connected(), request.resource_id, inputs, old)
        except MissingError as error:
            raise PluginError(
                f"{error}: run `pulumi refresh`, since Datadog has no such {kind.title} any more"
            ) from error
        return UpdateResponse(_outputs(kind, outputs | {"id": request.resource_id}, request.news))

    async def delete(self, request: DeleteRequest) -> None:
        kind = _kind(request.urn)
        try:
            await asyncio.to_thread(kind.delete, self._connected(), request.resource_id, plain_map(request.properties))
        except MissingError:
            return  # what is gone needs no deleting


def _client(settings: Properties) -> Client:
    enabled = str(settings.get("httpClientRetryEnabled", True)).lower() != "false"
    return Client(
        url=settings.get("apiUrl") or DEFAULT_URL,
        api_key=settings.get("apiKey", ""),
        app_key=settings.get("appKey", ""),
        retries=int(settings.get("httpClientRetryMaxRetries", 3)) if enabled else 0,
        base=float(settings.get("httpClientRetryBackoffBase", 2)),
        multiplier=float(settings.get("httpClientRetryBackoffMultiplier", 2)),
        timeout=float(settings.get("httpClientRetryTimeout", 60)),
    )


def _validate_keys(client: Client) -> None:
    try:
        answer = client.call("error validating credentials", "GET", "/api/v1/validate")
    except PluginError as error:
        if ": 401 " in str(error) or ": 403 " in str(error):
            raise PluginError(BAD_KEYS) from error
        raise
    except MissingError as error:
        raise PluginError(f"{error}: is apiUrl that of Datadog's API?") from error
    if not (isinstance(answer, dict) and answer.get("valid")):
        raise PluginError(BAD_KEYS)

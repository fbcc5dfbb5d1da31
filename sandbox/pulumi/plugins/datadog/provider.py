"""The plugin: configures itself and answers the engine through the resource types."""

import asyncio
import os
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

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
from pulumi.runtime.rpc import UNKNOWN

from sandbox.pulumi.plugins.datadog.checks import checked, examine
from sandbox.pulumi.plugins.datadog.client import Client, DatadogError
from sandbox.pulumi.plugins.datadog.dashboard import DashboardJson
from sandbox.pulumi.plugins.datadog.downtime import DowntimeSchedule
from sandbox.pulumi.plugins.datadog.embed import SecureEmbedDashboard
from sandbox.pulumi.plugins.datadog.kind import (
    DiagnosticError,
    Kind,
    MissingError,
    PartlyCreatedError,
    Properties,
    go_text,
    snake_name,
)
from sandbox.pulumi.plugins.datadog.monitor import Monitor
from sandbox.pulumi.plugins.datadog.objective import ServiceLevelObjective
from sandbox.pulumi.plugins.datadog.spans import ApmRetentionFilter, SpansMetric
from sandbox.pulumi.plugins.datadog.webhook import Webhook, WebhookCustomVariable
from sandbox.pulumi.plugins.serve import (
    Engine,
    HalfDoneError,
    PluginError,
    boxed,
    changes,
    has_unknown,
    plain_map,
)

KINDS: dict[str, Kind] = {
    "datadog:index/apmRetentionFilter:ApmRetentionFilter": ApmRetentionFilter(),
    "datadog:index/dashboardJson:DashboardJson": DashboardJson(),
    "datadog:index/downtimeSchedule:DowntimeSchedule": DowntimeSchedule(),
    "datadog:index/monitor:Monitor": Monitor(),
    "datadog:index/secureEmbedDashboard:SecureEmbedDashboard": SecureEmbedDashboard(),
    "datadog:index/serviceLevelObjective:ServiceLevelObjective": ServiceLevelObjective(),
    "datadog:index/spansMetric:SpansMetric": SpansMetric(),
    "datadog:index/webhook:Webhook": Webhook(),
    "datadog:index/webhookCustomVariable:WebhookCustomVariable": WebhookCustomVariable(),
}

ENVIRONMENT = {
    "apiKey": ("DD_API_KEY", "DATADOG_API_KEY"),
    "appKey": ("DD_APP_KEY", "DATADOG_APP_KEY"),
    "apiUrl": ("DD_HOST", "DATADOG_HOST"),
    "httpClientRetryEnabled": ("DD_HTTP_CLIENT_RETRY_ENABLED",),
    "httpClientRetryMaxRetries": ("DD_HTTP_CLIENT_RETRY_MAX_RETRIES",),
    "httpClientRetryBackoffBase": ("DD_HTTP_CLIENT_RETRY_BACKOFF_BASE",),
    "httpClientRetryBackoffMultiplier": ("DD_HTTP_CLIENT_RETRY_BACKOFF_MULTIPLIER",),
}
"""Variables that supply settings missing from the configuration, in this order.

Source: https://github.com/DataDog/terraform-provider-datadog/blob/v4.19.0/datadog/internal/utils/utils.go
"""

SETTINGS = {*ENVIRONMENT, "validate", "httpClientRetryTimeout"}
KEYS = {"apiKey", "appKey"}
"""Settings that the plugin makes secret."""
SWITCHES = ("validate", "httpClientRetryEnabled")
"""Settings that are ``true`` or ``false``, as text."""
LEAST_ONE = {
    "httpClientRetryMaxRetries": ("Max retries must be between 0 and 5", 5),
    "httpClientRetryBackoffBase": ("Backoff base must be greater than 0.", None),
    "httpClientRetryBackoffMultiplier": ("Backoff multiplier must be greater than 0.", None),
}
"""Whole numbers from 1 to a limit, if there is one, each with what is said of another."""
ENGINES_OWN = {"version", "pluginDownloadURL"}
"""Inputs that the engine adds to a provider."""

DEFAULT_URL = "https://api.datadoghq.com"
NO_KEYS = "api_key and app_key, bearer_token, or orgUUID must be set unless validate = false"
BAD_KEYS = (
    "Invalid or missing credentials provided to the Datadog Provider. "
    "Please confirm your API and APP keys are valid and are for the correct region, see "
    "https://www.terraform.io/docs/providers/datadog/ for more information on providing credentials for the Datadog "
    "Provider"
)

DEFAULTS = "__defaults"
"""The key under which the real plugin's SDKv2 half lists the inputs that it added, in each object."""

LOGGED = "  sdk-v2/provider2.go:571: sdk.helper_schema: {}: provider=datadog@5.17.0"
"""How the SDKv2 half logs errors, before it returns them. Source: pulumi-terraform-bridge v3.135.0, internal/logging"""


def one(text: str) -> str:
    """Format an error of the SDKv2 half. Source: https://github.com/hashicorp/go-multierror format.go"""
    return f"1 error occurred:\n\t* {text}\n\n"


def two(first: str, second: str) -> str:
    """Format an error of both halves."""
    return f"2 errors occurred:\n\t* {one(first)}\n\t* {second}\n\n"


def _kind(urn: str) -> Kind:
    token = urn.split("::")[-2].split("$")[-1]
    if token not in KINDS:
        raise PluginError(
            f"the stand-in datadog plugin has no resource type {token}: it has {', '.join(sorted(KINDS))}"
        )
    return KINDS[token]


def _outputs(kind: Kind, outputs: Properties) -> dict[str, PropertyValue]:
    """Return outputs for the engine, which makes those secret again whose inputs are."""
    return {name: boxed(value, secret=name in kind.secret and value != UNKNOWN) for name, value in outputs.items()}


def _with_defaults(value: Any, added: list[str]) -> Any:
    """Return inputs as the SDKv2 half does: every object lists its ``added`` entries."""
    if isinstance(value, Mapping):
        return {DEFAULTS: added, **{name: _with_defaults(entry, []) for name, entry in value.items()}}
    return [_with_defaults(entry, []) for entry in value] if isinstance(value, list) else value


def _plain(values: Mapping[str, PropertyValue]) -> Properties:
    """Return properties as plain Python, without the real plugin's own notes."""
    found: Properties = _without_notes(plain_map(values))
    return found


def _without_notes(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _without_notes(entry) for name, entry in value.items() if name != DEFAULTS}
    return [_without_notes(entry) for entry in value] if isinstance(value, list) else value


def _members(path: str, old: list[str], new: list[str]) -> dict[str, tuple[bool, bool]]:
    """Return the paths where two sets differ: a removed member by its place in the old, an added one in the new."""
    removed = {f"{path}[{number}]" for number, member in enumerate(old) if member not in new}
    added = {f"{path}[{number}]" for number, member in enumerate(new) if member not in old}
    return {place: (place in removed, place in added) for place in sorted(removed | added)}


def _leaves(path: str, old: Any, new: Any) -> dict[str, tuple[bool, bool]]:
    """Return the paths where two values differ, as the SDKv2 half names them, each with: was there, is there now."""
    found: dict[str, tuple[bool, bool]] = {}
    if (isinstance(old, list) or isinstance(new, list)) and not (old and new):
        return {path: (bool(old), bool(new))} if old or new else {}
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for name in sorted(old.keys() | new.keys()):
            found |= _leaves(f"{path}.{name}", old.get(name), new.get(name))
        return found
    if isinstance(old, list) and isinstance(new, list):
        for number in range(max(len(old), len(new))):
            pair = [values[number] if number < len(values) else None for values in (old, new)]
            found |= _leaves(f"{path}[{number}]", *pair)
        return found
    was, now = old is not None, new not in (None, "")
    return {} if old == new or not (was or now) else {path: (was, now)}


def _named(kind: Kind, name: str, inputs: Properties, old: Properties, new: Properties) -> dict[str, tuple[bool, bool]]:
    """Return the paths where the property ``name`` of the SDKv2 half differs."""
    was, now = old.get(name), new.get(name)
    if name in kind.sets and was and now and now != UNKNOWN:
        return _members(name, was, inputs.get(name) or now)
    return _leaves(name, was, now)


def _followed(given: Any, now: Any, kind: Kind, path: str) -> Any:
    """Return an input after a refresh: what Datadog has now, without what the program left out.

    Source: extractInputs in pkg/tfbridge/schema.go of pulumi-terraform-bridge, which keeps an input with a StateFunc
    """
    if path in kind.normalized:
        return given
    if isinstance(given, Mapping) and isinstance(now, Mapping):
        return {name: _followed(given[name], now.get(name), kind, f"{path}.{name}") for name in given}
    inside = f"{path}[]"
    if isinstance(given, list) and isinstance(now, list) and (path not in kind.sets or inside in kind.normalized):
        return [_followed(*pair, kind, inside) for pair in zip(given, now, strict=False)]
    return now


def _pruned(value: Any) -> Any:
    """Return an output as an input: without empty values, which a program would leave out."""
    if isinstance(value, Mapping):
        return {name: _pruned(entry) for name, entry in value.items() if entry not in (None, "", [], {})}
    return [_pruned(entry) for entry in value] if isinstance(value, list) else value


class Datadog(Provider):
    """The stand-in datadog plugin."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._client: Client | None = None

    async def check_config(self, request: CheckRequest) -> CheckResponse:
        given = plain_map(request.new_inputs)
        for name in {*LEAST_ONE, "httpClientRetryTimeout"} & given.keys():
            if given[name] != UNKNOWN and not str(given[name]).lstrip("-").isdigit():
                raise PluginError(f"this stand-in doesn't know what the real plugin says of {name}: {given[name]}")
        told = [
            CheckFailure("", f"could not validate provider configuration: {examine(fault, 'datadog', name)}")
            for name, fault in _setting_faults(given)
        ]
        boxes = {name: value.with_secret(name in KEYS or value.is_secret) for name, value in request.new_inputs.items()}
        return CheckResponse(boxes, told)

    async def configure(self, request: ConfigureRequest) -> ConfigureResponse:
        settings = plain_map(request.args)
        for name, variables in ENVIRONMENT.items():
            found = [os.environ[variable] for variable in variables if os.environ.get(variable)]
            if found and not settings.get(name):
                settings[name] = found[0]
        if not has_unknown(settings):
            for name, fault in _setting_faults(settings, switches=("true", "false")):
                if name in {*SWITCHES, *LEAST_ONE}:
                    raise PluginError(f"this stand-in refuses {name}: {fault}")
            validate = str(settings.get("validate", True)).lower() != "false"
            if validate and not (settings.get("apiKey") and settings.get("appKey")):
                await self._engine.log("", f"[ERROR] : {NO_KEYS}", severity="error")
                raise PluginError(two(NO_KEYS, f"{NO_KEYS}: "))
            if (url := settings.get("apiUrl")) and not (urlsplit(url).scheme and urlsplit(url).netloc):
                said = f"API URL '{url}' missing protocol or host"
                await self._engine.log("", f"[ERROR] {said}: invalid API URL", severity="error")
                raise PluginError(two(f"missing protocol or host : {url}", f"invalid API URL: {said}"))
            self._client = _client(settings)
            if validate:
                await asyncio.to_thread(_validate_keys, self._client)
        return ConfigureResponse(accept_secrets=False, supports_preview=True, accept_outputs=False)

    def _connected(self) -> Client:
        if self._client is None:
            raise PluginError("the datadog provider's configuration is not known yet")
        return self._client

    async def check(self, request: CheckRequest) -> CheckResponse:
        """Refuse wrong inputs; like the real plugin, forget which are secret, which the engine then restores."""
        kind, name = _kind(request.urn), request.urn.rpartition("::")[2]
        inputs, added, faults = checked(kind, name, _plain(request.new_inputs))
        if not kind.framework:
            inputs = _with_defaults(inputs, sorted(added))
        boxes = {name: boxed(value, secret=name in kind.secret) for name, value in inputs.items()}
        return CheckResponse(boxes, [CheckFailure("", fault) for fault in faults])

    async def _log_error(self, kind: Kind, urn: str, error: DiagnosticError) -> str:
        """Log an error as the real plugin does, and return its error text."""
        if kind.framework:
            await self._engine.log(urn, f"[ERROR] {error.detail}: {error.summary}", severity="error")
            return f"{error.summary}: {error.detail}"
        await self._engine.log(urn, LOGGED.format(error.summary), severity="error")
        return one(error.summary)

    async def _call(self, kind: Kind, urn: str, doing: str, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call Datadog; ``doing`` is the SDKv2 half's prefix for errors.

        Raises:
            PluginError: in the real plugin's words.
        """
        try:
            return await asyncio.to_thread(function, *arguments)
        except PartlyCreatedError as error:
            verb = doing or "creating"
            reason = f"{verb} {urn}: {await self._log_error(kind, urn, error)}"
            raise HalfDoneError(reason, error.name, _outputs(kind, error.outputs)) from error
        except (AttributeError, KeyError, TypeError) as error:
            raise PluginError(
                f"this stand-in doesn't know what the real plugin makes of such an answer: {error!r}"
            ) from error
        except DiagnosticError as error:
            said = await self._log_error(kind, urn, error)
            raise PluginError(f"{doing} {urn}: {said}" if doing and not kind.framework else said) from error

    async def _validate(
        self, kind: Kind, urn: str, inputs: Properties, name: str | None = None, old: Properties | None = None
    ) -> None:
        if self._client is not None:
            await self._call(kind, urn, "diffing", kind.validate, self._client, inputs, name, old)

    async def diff(self, request: DiffRequest) -> DiffResponse:
        kind, old, inputs = _kind(request.urn), _plain(request.old_state), _plain(request.new_inputs)
        planned = kind.plan(inputs, old)
        names = [name for name in sorted({*kind.shape, *kind.computed}) if not kind.same(name, old, planned)]
        replaces = [name for name in names if kind.replaces(name, old, planned)]
        await self._validate(kind, request.urn, inputs, request.resource_id, old)
        if kind.framework:
            return DiffResponse(changes=bool(names), replaces=replaces, diffs=names)
        leaves = {
            path: (*there, name in replaces)
            for name in names
            for path, there in (_named(kind, name, inputs, old, planned) or {name: (True, True)}).items()
        }
        answer = changes(leaves)
        answer.diffs, answer.replaces, answer.stables = names, replaces, sorted(kind.replaced_by - {*replaces})
        return answer

    async def create(self, request: CreateRequest) -> CreateResponse:
        kind, inputs = _kind(request.urn), _plain(request.properties)
        await self._validate(kind, request.urn, inputs)
        if request.preview:
            return CreateResponse(None, _outputs(kind, kind.plan(inputs, None) | {"id": UNKNOWN}))
        name, outputs = await self._call(kind, request.urn, "", kind.create, self._connected(), inputs)
        return CreateResponse(name, _outputs(kind, outputs | {"id": name}))

    async def read(self, request: ReadRequest) -> ReadResponse:
        kind, old, given = _kind(request.urn), _plain(request.properties), _plain(request.inputs)
        try:
            outputs = await self._call(
                kind, request.urn, "refreshing", kind.read, self._connected(), request.resource_id, old
            )
        except MissingError:
            return ReadResponse(None)
        if given:  # a refresh
            found = {name: _followed(given[name], outputs.get(name), kind, name) for name in given}
        else:  # an import
            found = {name: _pruned(outputs.get(name)) for name in kind.shape}
            found = {name: value for name, value in found.items() if value not in ("", [], {}, kind.defaults.get(name))}
        if not kind.framework:
            found[DEFAULTS] = plain_map(request.inputs).get(DEFAULTS, [])
        identity = outputs.get("id", request.resource_id)
        inputs = {name: value for name, value in _outputs(kind, found).items() if value.value is not None}
        return ReadResponse(identity, _outputs(kind, outputs | {"id": identity}), inputs)

    async def update(self, request: UpdateRequest) -> UpdateResponse:
        kind, inputs, old = _kind(request.urn), _plain(request.news), _plain(request.olds)
        identity = {"id": request.resource_id}
        await self._validate(kind, request.urn, inputs, request.resource_id, old)
        planned = kind.plan(inputs, old)
        if request.preview:
            return UpdateResponse(_outputs(kind, identity | planned))
        decided = {name: planned[name] for name in kind.decided if not has_unknown(planned.get(name, UNKNOWN))}
        arguments = (self._connected(), request.resource_id, decided | inputs, old)
        outputs = await self._call(kind, request.urn, "updating", kind.update, *arguments)
        return UpdateResponse(_outputs(kind, identity | outputs))

    async def delete(self, request: DeleteRequest) -> None:
        """Delete it. If it is already gone, the SDKv2 half fails, as docs/operating.md says."""
        kind = _kind(request.urn)
        arguments = (self._connected(), request.resource_id, _plain(request.properties))
        await self._call(kind, request.urn, "deleting", kind.delete, *arguments)


def _setting_faults(
    given: Properties, switches: Collection[str] = ("true", "false", "True", "False", "TRUE", "FALSE")
) -> Iterator[tuple[str, str]]:
    """Yield settings and faults, in the words of the real plugin's check.

    Source: https://github.com/DataDog/terraform-provider-datadog/blob/v4.19.0/datadog/provider.go
    """
    for name, value in given.items():
        if name not in SETTINGS | ENGINES_OWN:
            yield name, "Invalid or unknown key"
        elif value == UNKNOWN:
            continue
        elif name in SWITCHES and go_text(value) not in switches:
            yield name, f'expected {snake_name(name)} to be one of ["true" "false"], got {value}'
        elif name in LEAST_ONE:
            fault, limit = LEAST_ONE[name]
            if int(value) < 1 or (limit and int(value) > limit):
                yield name, fault


def _client(settings: Properties) -> Client:
    address = urlsplit(settings.get("apiUrl") or DEFAULT_URL)
    enabled = str(settings.get("httpClientRetryEnabled", True)).lower() != "false"
    return Client(
        url=f"{address.scheme}://{address.netloc}",  # a path is ignored
        api_key=settings.get("apiKey", ""),
        app_key=settings.get("appKey", ""),
        retries=int(settings.get("httpClientRetryMaxRetries", 3)) if enabled else 0,
        base=float(settings.get("httpClientRetryBackoffBase", 2)),
        multiplier=float(settings.get("httpClientRetryBackoffMultiplier", 2)),
    )


def _validate_keys(client: Client) -> None:
    try:
        answer = client.call("GET", "/api/v1/validate")
    except DatadogError as error:
        raise PluginError(one(error.short)) from error
    if not (isinstance(answer, dict) and answer.get("valid")):
        raise PluginError(one(BAD_KEYS))

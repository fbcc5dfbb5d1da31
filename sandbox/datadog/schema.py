"""Validates bodies against the models of Datadog's own client library, and refuses them in Datadog's form."""

from collections.abc import Iterator, Mapping
from typing import Any

from datadog_api_client.configuration import Configuration
from datadog_api_client.model_utils import (
    ModelComposed,
    ModelNormal,
    ModelSimple,
    OpenApiModel,
    UnparsedObject,
    validate_and_convert_types,
)


class RefusedError(Exception):
    """The server refuses a request: an HTTP status and Datadog's list of errors."""

    def __init__(self, status: int, *errors: str) -> None:
        super().__init__(*errors)
        self.status = status
        self.errors = list(errors)


def check(body: Any, model: type[OpenApiModel]) -> None:
    """Refuse a body that ``model`` doesn't know completely.

    The library itself is lenient, so that old clients survive new servers: it keeps unknown properties and what it
    can't parse. Here both are errors, since that is how a typo shows.

    Raises:
        RefusedError: with status 400, naming each property.
    """
    settings = Configuration()
    settings.discard_unknown_keys = False
    try:
        parsed = validate_and_convert_types(body, (model,), [], True, True, configuration=settings)
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise RefusedError(400, f"Invalid {model.__name__}: {error}") from error
    faults = list(_faults(parsed, model.__name__))
    if faults:
        raise RefusedError(400, *faults)


def _faults(value: Any, path: str) -> Iterator[str]:
    match value:
        case UnparsedObject():
            yield f"{path}: no known form has these properties: {', '.join(sorted(value._data_store))}"
        case ModelSimple() if value._unparsed:
            yield f"{path}: {value.value!r} is not one of {sorted(value.allowed_values, key=str)}"
        case ModelComposed():
            yield from _faults(value.get_oneof_instance(), path)
        case ModelNormal():
            known = value.openapi_types
            for name, entry in value._data_store.items():
                if known and name not in known:
                    yield f"{path}: unknown property {name!r}"
                else:
                    yield from _faults(entry, f"{path}.{name}")
        case list():
            for number, entry in enumerate(value):
                yield from _faults(entry, f"{path}[{number}]")
        case Mapping():
            for name, entry in value.items():
                yield from _faults(entry, f"{path}.{name}")

"""The interface of the plugin's resource types."""

import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from pulumi.runtime.rpc import UNKNOWN

from sandbox.pulumi.plugins.datadog.client import Client, DatadogError, UrlError

Properties = dict[str, Any]
"""A resource's inputs or outputs under Pulumi's names, as plain Python; unknown values are `UNKNOWN`."""

Shape = type | list[Any] | dict[str, Any]
"""A property's type: str, int, bool; ``[shape]`` for a list; ``{name: shape}``; ``object`` for anything."""


def misfits(value: Any, shape: Shape, path: str) -> Iterator[tuple[str, str]]:
    """Yield the property paths in ``value`` that don't fit ``shape``, each with the reason."""
    match shape:
        case dict() if isinstance(value, Mapping):
            for name, entry in value.items():
                inner = f"{path}.{name}" if path else name
                if name not in shape:
                    yield inner, f"there is no property {inner}"
                elif entry is not None:
                    yield from misfits(entry, shape[name], inner)
        case [inside] if isinstance(value, list):
            for number, entry in enumerate(value):
                yield from misfits(entry, inside, f"{path}[{number}]")
        case type() if isinstance(value, shape) and (shape is not int or not isinstance(value, bool)):
            pass
        case _ if value == UNKNOWN:
            pass
        case _:
            wanted = shape.__name__ if isinstance(shape, type) else "list" if isinstance(shape, list) else "object"
            yield path, f"{path} must be of type {wanted}, got {type(value).__name__}"


def snake(value: Any) -> Any:
    """Convert the names in ``value`` from camelCase to snake_case."""
    match value:
        case Mapping():
            return {re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower(): snake(entry) for name, entry in value.items()}
        case list():
            return [snake(entry) for entry in value]
        case _:
            return value


class MissingError(Exception):
    """The object doesn't exist in Datadog (any more)."""


class ToldError(Exception):
    """A diagnostic of the real plugin: its summary and, in the newer half, its detail."""

    def __init__(self, summary: str, detail: str = "") -> None:
        super().__init__(summary, detail)
        self.summary, self.detail = summary, detail


class HalfMadeError(ToldError):
    """A failure after the object was created; ``name`` and ``outputs`` are recorded in the state."""

    def __init__(self, summary: str, name: str, outputs: Properties) -> None:
        super().__init__(summary)
        self.name, self.outputs = name, outputs


class Kind(ABC):
    """A resource type: its inputs, and how it is created, read, changed and deleted.

    The real plugin has two halves, which report errors, plan and compare differently; ``framework`` marks the newer
    one.
    """

    framework: bool = False
    shape: ClassVar[dict[str, Shape]]
    """The inputs."""
    required: frozenset[str]
    defaults: ClassVar[Mapping[str, Any]] = {}
    """Values of inputs that are left out."""
    replaced_by: frozenset[str] = frozenset()
    """Properties whose change replaces the resource."""
    computed: frozenset[str] = frozenset()
    """Outputs that any change may affect; a diff then names them."""
    read_back: frozenset[str] = frozenset()
    """Inputs that a refresh takes from Datadog even if they are equivalent."""
    secret: frozenset[str] = frozenset()
    """Outputs that are always secret."""

    def problems(self, inputs: Properties) -> Iterator[tuple[str, str]]:
        """Yield the faults of well-shaped inputs, by property."""
        del inputs
        return iter(())

    def ask(self, client: Client, doing: str, method: str, path: str, body: Any = None) -> Any:
        """Return the answer to a request; ``doing`` begins an error's sentence ("error creating monitor").

        Source: TranslateClientError and FrameworkErrorDiag in
        https://github.com/DataDog/terraform-provider-datadog/blob/v4.19.0/datadog/internal/utils/utils.go

        Raises:
            ToldError: there is no good answer.
        """
        try:
            return client.call(method, path, body)
        except UrlError as error:
            if self.framework:
                raise ToldError(doing, f"url.Error: {error} ") from error
            raise ToldError(f"{doing} (url.Error): {error}") from error
        except DatadogError as error:
            if self.framework:
                raise ToldError(doing, str(error)) from error
            raise ToldError(f"{doing} from {error.path}: {error}") from error

    @abstractmethod
    def plan(self, inputs: Properties, old: Properties | None) -> Properties:
        """Return the outputs planned for the inputs; `UNKNOWN` where only Datadog knows."""

    def same(self, name: str, old: Properties, new: Properties) -> bool:
        """Whether the property ``name`` is equivalent in two sets of outputs."""
        return bool(old.get(name) == new.get(name))

    def validate(self, client: Client, inputs: Properties, name: str | None) -> None:
        """Have Datadog validate the inputs; ``name`` is the id of an existing object."""
        del client, inputs, name

    @abstractmethod
    def create(self, client: Client, inputs: Properties) -> tuple[str, Properties]:
        """Create it; return its id and outputs."""

    @abstractmethod
    def read(self, client: Client, name: str, old: Properties) -> Properties:
        """Return the current outputs.

        Raises:
            MissingError: it is gone.
        """

    @abstractmethod
    def update(self, client: Client, name: str, inputs: Properties, old: Properties) -> Properties:
        """Update it; return its outputs."""

    @abstractmethod
    def delete(self, client: Client, name: str, old: Properties) -> None:
        """Delete it.

        Raises:
            ToldError: Datadog refused; in the older half also if it is already gone.
        """

"""What one resource type of the plugin consists of."""

import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from pulumi.runtime.rpc import UNKNOWN

from sandbox.pulumi.plugins.datadog.client import Client, DatadogError, UrlError

Properties = dict[str, Any]
"""A resource's inputs or outputs in Pulumi's names, as plain Python; what is not known yet is `UNKNOWN`."""

Shape = type | list[Any] | dict[str, Any]
"""What a property may hold: str, int, bool; ``[shape]`` for a list; ``{name: shape}``; ``object`` for anything."""


def misfits(value: Any, shape: Shape, path: str) -> Iterator[tuple[str, str]]:
    """The property paths in ``value`` that don't fit ``shape``, each with the reason."""
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
    """``value`` with the names in it turned from camelCase to snake_case."""
    match value:
        case Mapping():
            return {re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower(): snake(entry) for name, entry in value.items()}
        case list():
            return [snake(entry) for entry in value]
        case _:
            return value


class MissingError(Exception):
    """Datadog has no such thing (any more)."""


class ToldError(Exception):
    """A diagnostic of the real plugin: its summary and, in the newer half, its detail."""

    def __init__(self, summary: str, detail: str = "") -> None:
        super().__init__(summary, detail)
        self.summary, self.detail = summary, detail


class HalfMadeError(ToldError):
    """It is there, but something after that failed; ``name`` and ``outputs`` are what the state keeps."""

    def __init__(self, summary: str, name: str, outputs: Properties) -> None:
        super().__init__(summary)
        self.name, self.outputs = name, outputs


class Kind(ABC):
    """A resource type: its inputs, and how it is created, read, changed and deleted.

    The real plugin has two halves, which tell, plan and compare differently: ``framework`` says which one it is of.
    """

    framework: bool = False
    shape: ClassVar[dict[str, Shape]]
    """The inputs."""
    required: frozenset[str]
    defaults: ClassVar[Mapping[str, Any]] = {}
    """Inputs that are added when they are left out."""
    replaced_by: frozenset[str] = frozenset()
    """The properties whose change makes a new resource."""
    computed: frozenset[str] = frozenset()
    """Outputs that a change may move, and that a diff then names."""
    read_back: frozenset[str] = frozenset()
    """Inputs that a refresh takes from Datadog's answer even where they mean the same."""
    secret: frozenset[str] = frozenset()
    """The outputs that are always secret."""

    def problems(self, inputs: Properties) -> Iterator[tuple[str, str]]:
        """What is wrong with inputs of the right shape, by property."""
        del inputs
        return iter(())

    def ask(self, client: Client, doing: str, method: str, path: str, body: Any = None) -> Any:
        """The answer to a request; ``doing`` begins the sentence of an error ("error creating monitor").

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
        """The outputs that these inputs lead to; `UNKNOWN` where only Datadog can tell."""

    def same(self, name: str, old: Properties, new: Properties) -> bool:
        """Whether the property ``name`` means the same in two sets of outputs."""
        return bool(old.get(name) == new.get(name))

    def validate(self, client: Client, inputs: Properties, name: str | None) -> None:
        """Ask Datadog whether the inputs are good; ``name`` is the id of what exists."""
        del client, inputs, name

    @abstractmethod
    def create(self, client: Client, inputs: Properties) -> tuple[str, Properties]:
        """Make it: its id and outputs."""

    @abstractmethod
    def read(self, client: Client, name: str, old: Properties) -> Properties:
        """The outputs as Datadog has them now.

        Raises:
            MissingError: it is gone.
        """

    @abstractmethod
    def update(self, client: Client, name: str, inputs: Properties, old: Properties) -> Properties:
        """Change it: its outputs."""

    @abstractmethod
    def delete(self, client: Client, name: str, old: Properties) -> None:
        """Delete it.

        Raises:
            ToldError: Datadog refused; that it is gone already is no success to the real plugin's older half.
        """

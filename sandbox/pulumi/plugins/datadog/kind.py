"""The interface of the plugin's resource types."""

import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from sandbox.pulumi.plugins.datadog.client import Client, DatadogError, UrlError

Properties = dict[str, Any]
"""A resource's inputs or outputs under Pulumi's names, as plain Python; unknown values are `UNKNOWN`."""


@dataclass(frozen=True)
class Enum:
    """A string of the SDKv2 half, one of ``values``; ``name`` is its type in Datadog's client for Go."""

    name: str
    values: tuple[str, ...]


Shape = type | Enum | list[Any] | dict[str, Any]
"""A property's type: str, int, float, bool; an :class:`Enum`; ``[shape]`` for a list; ``{name: shape}``."""

RENAMED = {"groupBies": "group_by", "notifyBies": "notify_by", "recurrences": "recurrence"}
"""Properties that Pulumi names in the plural."""


def snake_name(name: str) -> str:
    """Return a property's name in Terraform.

    >>> snake_name("noDataTimeframe"), snake_name("groupBies")
    ('no_data_timeframe', 'group_by')
    """
    return RENAMED.get(name) or re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


def go_text(value: Any) -> str:
    """Return a scalar as text.

    >>> go_text(True), go_text(800), go_text(1.5)
    ('true', '800', '1.5')
    """
    return str(value).lower() if isinstance(value, bool) else str(value)


def snake(value: Any) -> Any:
    """Convert the names in ``value`` from camelCase to snake_case."""
    match value:
        case Mapping():
            return {snake_name(name): snake(entry) for name, entry in value.items()}
        case list():
            return [snake(entry) for entry in value]
        case _:
            return value


class MissingError(Exception):
    """The object doesn't exist in Datadog (any more)."""


class DiagnosticError(Exception):
    """A diagnostic of the real plugin: its summary and, in the framework half, its detail."""

    def __init__(self, summary: str, detail: str = "") -> None:
        super().__init__(summary, detail)
        self.summary, self.detail = summary, detail


class PartlyCreatedError(DiagnosticError):
    """A failure after the object was created; ``name`` and ``outputs`` are recorded in the state."""

    def __init__(self, summary: str, name: str, outputs: Properties) -> None:
        super().__init__(summary)
        self.name, self.outputs = name, outputs


class Kind(ABC):
    """A resource type: its inputs, and how it is created, read, changed and deleted.

    The real plugin has two halves, on Terraform's SDKv2 and on its Plugin Framework (``framework``); they report
    errors, plan and compare differently.
    """

    framework: bool = False
    shape: ClassVar[dict[str, Shape]]
    """The inputs."""
    required: frozenset[str] = frozenset()
    """Paths of the SDKv2 half's required inputs, such as ``thresholds[].target``."""
    descriptions: ClassVar[Mapping[str, str]] = {}
    """The same of the framework half, each with the description that its error shows."""
    blocks: frozenset[str] = frozenset()
    """Required objects of the framework half."""
    sets: frozenset[str] = frozenset()
    """Lists whose order doesn't count."""
    conflicts: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    """Inputs of the SDKv2 half, each with those that exclude it."""
    defaults: ClassVar[Mapping[str, Any]] = {}
    """Values of inputs that are left out, unless an input excludes them."""
    replaced_by: frozenset[str] = frozenset()
    """Properties whose change replaces the resource."""
    computed: frozenset[str] = frozenset()
    """Outputs that any change may affect; a diff then names them."""
    decided: frozenset[str] = frozenset()
    """Optional inputs of the framework half that Datadog sets if left out; they stay while nothing else changes."""
    normalized: frozenset[str] = frozenset()
    """Paths of inputs that the SDKv2 half normalizes for the state: a refresh leaves them as written."""
    secret: frozenset[str] = frozenset()
    """Outputs that are always secret."""

    def problems(self, inputs: Properties) -> Iterator[tuple[str, str]]:
        """Yield property and fault of well-shaped inputs; a fault without a property is shown as it is."""
        del inputs
        return iter(())

    def refusals(self, inputs: Properties) -> Iterator[str]:
        """Yield the framework half's faults that name no property."""
        del inputs
        return iter(())

    def ask(self, client: Client, doing: str, method: str, path: str, body: Any = None) -> Any:
        """Return the answer to a request; ``doing`` begins an error's sentence ("error creating monitor").

        Source: TranslateClientError and FrameworkErrorDiag in
        https://github.com/DataDog/terraform-provider-datadog/blob/v4.19.0/datadog/internal/utils/utils.go

        Raises:
            DiagnosticError: there is no good answer.
        """
        try:
            return client.call(method, path, body)
        except UrlError as error:
            if self.framework:
                raise DiagnosticError(doing, f"url.Error: {error} ") from error
            raise DiagnosticError(f"{doing} (url.Error): {error}") from error
        except DatadogError as error:
            if self.framework:
                raise DiagnosticError(doing, str(error)) from error
            raise DiagnosticError(f"{doing} from {error.path}: {error}") from error

    @abstractmethod
    def plan(self, inputs: Properties, old: Properties | None) -> Properties:
        """Return the outputs planned for the inputs; `UNKNOWN` where only Datadog knows."""

    def same(self, name: str, old: Properties, new: Properties) -> bool:
        """Whether the property ``name`` is equivalent in two sets of outputs."""
        return bool(old.get(name) == new.get(name))

    def validate(self, client: Client, inputs: Properties, name: str | None, old: Properties | None) -> None:
        """Have Datadog validate the inputs; ``name`` and ``old`` are the id and outputs of an existing object."""
        del client, inputs, name, old

    def replaces(self, name: str, old: Properties, new: Properties) -> bool:
        """Whether a changed property replaces the resource."""
        del old, new
        return name in self.replaced_by

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
            DiagnosticError: Datadog refused; in the SDKv2 half also if it is already gone.
        """

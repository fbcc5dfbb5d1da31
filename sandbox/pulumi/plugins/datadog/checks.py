"""Checks inputs in the words of the real plugin's two halves.

Sources: pkg/tfbridge/check_failures.go and schema.go, pkg/pf/internal/convert in
https://github.com/pulumi/pulumi-terraform-bridge/tree/v3.135.0; helper/schema/schema.go in
https://github.com/hashicorp/terraform-plugin-sdk; answers observed of the plugin built from these.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pulumi.runtime.rpc import UNKNOWN

from sandbox.pulumi.plugins.datadog.kind import Enum, Kind, Properties, Shape, go_text, snake_name
from sandbox.pulumi.plugins.serve import PluginError

TRUE, FALSE = frozenset({"1", "t", "T", "TRUE", "true", "True"}), frozenset({"0", "f", "F", "FALSE", "false", "False"})
"""What Go's strconv.ParseBool accepts."""


def checked(kind: Kind, name: str, given: Properties) -> tuple[Properties, set[str], list[str]]:
    """Return the inputs of the resource ``name``, the names of added defaults, and the faults.

    Raises:
        PluginError: inputs can't be read; in the real plugin's words.
    """
    if kind.framework:
        checks = FrameworkChecks(kind, name)
        return checks.check(given), set(), checks.faults
    sdk = SdkChecks(kind, name)
    inputs = sdk.check(given)
    excluded = {other for each, others in kind.conflicts.items() if each in inputs for other in others}
    added = {key: value for key, value in kind.defaults.items() if key not in inputs.keys() | excluded}
    return inputs | added, set(added), sdk.faults


def examine(reason: str, name: str, path: str) -> str:
    """Say where the fault ``reason`` is: at ``path`` of the resource ``name``."""
    return f"{reason}. Examine values at '{name}.{path}'."


def conflict(one: str, other: str) -> str:
    """Say that two inputs exclude each other."""
    return f'Conflicting configuration arguments. "{snake_name(one)}": conflicts with {snake_name(other)}'


@dataclass(frozen=True)
class _Place:
    """Where a value is: its path, the path in Terraform, and the one in :attr:`Kind.required`."""

    path: str
    inner: str
    rule: str

    def of(self, name: str) -> "_Place":
        names = (name, snake_name(name), name)
        return _Place(
            *(f"{at}.{key}" if at else key for at, key in zip((self.path, self.inner, self.rule), names, strict=True))
        )

    def element(self, number: int) -> "_Place":
        return _Place(f"{self.path}[{number}]", f"{self.inner}.{number}", f"{self.rule}[]")


class SdkChecks:
    """Checks inputs as the SDKv2 half: it converts what it can, and collects the faults of the rest."""

    def __init__(self, kind: Kind, name: str) -> None:
        self._kind, self._name = kind, name
        self.faults: list[str] = []

    def check(self, inputs: Properties) -> Properties:
        """Return the converted inputs.

        Raises:
            PluginError: an integer can't be read.
        """
        checked = self._object(inputs, self._kind.shape, _Place("", "", ""))
        for one, others in self._kind.conflicts.items():
            other = next((other for other in others if checked.get(other) is not None), None)
            if other and checked.get(one) is not None:
                self._fault(conflict(one, other), one)
        if not self.faults:
            for path, reason in self._kind.problems(checked):
                self._fault(reason, path)
        return checked

    def _fault(self, reason: str, path: str) -> None:
        self.faults.append(examine(reason, self._name, path))

    def _object(self, value: Mapping[str, Any], shape: dict[str, Any], place: _Place) -> Properties:
        found: Properties = {}
        for name, entry in value.items():
            if name not in shape:
                self._fault("Invalid or unknown key", place.of(name).path)
            elif entry is not None and (converted := self._value(entry, shape[name], place.of(name))) is not None:
                found[name] = converted
        for name in shape:
            at = place.of(name)
            if at.rule in self._kind.required and value.get(name) is None:
                argument = f'The argument "{at.inner}" is required, but no definition was found.'
                self._fault(f"Missing required argument. {argument}", at.path)
        return found

    def _value(self, value: Any, shape: Shape, place: _Place) -> Any:
        if value == UNKNOWN:
            return value
        match shape:
            case dict():
                return self._block(value, shape, place)
            case [inside]:
                entries = value if isinstance(value, list) else [value]
                if isinstance(inside, dict):
                    return [self._block(entry, inside, place.element(n)) for n, entry in enumerate(entries)]
                return [
                    None if entry is None else self._scalar(entry, inside, place.path, f"{place.inner}[{n}]")
                    for n, entry in enumerate(entries)
                ]
            case _:
                return self._scalar(value, shape, place.path, place.inner)

    def _block(self, value: Any, shape: dict[str, Any], place: _Place) -> Any:
        if isinstance(value, list):
            if not value:
                return None
            (value,) = value[:1]
        if value == UNKNOWN:
            return value
        if isinstance(value, Mapping):
            inner = place.inner if place.inner[-1:].isdigit() else f"{place.inner}.0"
            return self._object(value, shape, _Place(place.path, inner, place.rule))
        got = {str: "string", bool: "bool"}.get(type(value), "int")
        return self._fault(f"Expected Object Type. Expected object, got {got}", place.path)

    def _scalar(self, value: Any, shape: Shape, path: str, inner: str) -> Any:
        if value == UNKNOWN:
            return value
        if isinstance(value, Mapping | list):
            kind = "list" if isinstance(value, list) else "map"
            return self._fault(f"Attribute must be a single value, not a {kind}", path)
        if isinstance(shape, Enum):
            text = go_text(value)
            if text not in shape.values:
                told = f"invalid value '{text}' for {shape.name}: valid values are [{' '.join(shape.values)}]"
                return self._fault(f"Invalid enum value. `{told}`", path)
            return text
        if shape is str:
            return go_text(value)
        if shape is int:
            return self._integer(value, path, inner)
        if shape is float:
            try:
                return value if isinstance(value, bool) else float(value)
            except ValueError:
                return self._unparsed("Float", value, path)
        if shape is bool and isinstance(value, str) and value not in TRUE | FALSE:
            return self._unparsed("Bool", value, path)
        return value in TRUE if isinstance(value, str) else bool(value)

    def _unparsed(self, what: str, value: str, path: str) -> None:
        parsing = f'strconv.Parse{what}: parsing "{value}": invalid syntax'
        self._fault(f"cannot parse '' as {what.lower()}: {parsing}", path)

    def _integer(self, value: Any, path: str, inner: str) -> Any:
        if isinstance(value, bool):
            return self._fault(f"Attribute must be a whole number, got {go_text(value)}", path)
        if isinstance(value, str):
            if not re.fullmatch(r"[+-]?\d+", value):
                raise PluginError(f'{inner}: strconv.ParseInt: parsing "{value}": invalid syntax')
            return int(value)
        return int(value)


class FrameworkChecks:
    """Checks inputs as the framework half: the first that can't be encoded is an error, reported alone.

    The real one ignores unknown properties and accepts numbers as strings; here both are faults.
    """

    def __init__(self, kind: Kind, name: str) -> None:
        self._kind, self._name = kind, name
        self.faults: list[str] = []

    def check(self, inputs: Properties) -> Properties:
        """Return the inputs.

        Raises:
            PluginError: one of them can't be encoded, or a refusal names no property.
        """
        beyond = list(_encoded(inputs, self._kind.shape, "", ""))
        if refused := next(self._kind.refusals(inputs), None):
            raise PluginError(refused)
        self.faults += [f"this stand-in refuses {path}: {reason}" for path, reason in beyond]
        self._missing(inputs, self._kind.shape, "", "")
        for name in sorted(self._kind.blocks):
            if inputs.get(name) is None:
                needed = "must have a configuration value as the provider has marked it as required"
                reason = f"Invalid Block. Block {snake_name(name)} {needed}"
                self.faults.append(examine(reason, self._name, name))
        for path, reason in self._kind.problems(inputs):
            self.faults.append(examine(reason, self._name, path) if path else reason)
        return inputs

    def _missing(self, value: Any, shape: Shape, path: str, rule: str) -> None:
        match shape:
            case dict() if isinstance(value, Mapping):
                for name, inside in shape.items():
                    at, by = (f"{where}.{name}" if where else name for where in (path, rule))
                    if by in self._kind.descriptions and value.get(name) is None:
                        self.faults.append(f"Missing required property '{at}': {self._kind.descriptions[by]}")
                    self._missing(value.get(name), inside, at, by)
            case [inside] if isinstance(value, list):
                for number, entry in enumerate(value):
                    # An element of a set has no number.
                    at = path if rule in self._kind.sets else f"{path}[{number}]"
                    self._missing(entry, inside, at, f"{rule}[]")


def _encoded(value: Any, shape: Shape, chain: str, path: str) -> Iterator[tuple[str, str]]:
    """Yield path and fault of what the real plugin would accept.

    Raises:
        PluginError: a value can't be encoded; in the real plugin's words.
    """
    if value is None or value == UNKNOWN:
        return
    wrong: str | None = None
    match shape:
        case dict() if isinstance(value, Mapping):
            for name in sorted(value):
                inner = f"{path}.{name}" if path else name
                if name not in shape:
                    yield inner, "there is no such property"
                    continue
                step = f'{chain}objectEncoder failed on property "{snake_name(name)}": '
                yield from _encoded(value[name], shape[name], step, inner)
        case dict():
            kind = {str: "string", bool: "bool", int: "number", float: "number"}.get(type(value), "[]")
            wrong = f'Expected an Object PropertyValue, found {kind} ("{go_value(value)}")'
        case [inside] if isinstance(value, list):
            of_set = isinstance(inside, type) or path == "groupBies"
            for number, entry in enumerate(value):
                told = "set encoder failed: encoding" if of_set else "encList failed while encoding"
                step = f"{chain}{told} element {number} ({go_value(entry)}): "
                yield from _encoded(entry, inside, step, f"{path}[{number}]")
        case [inside]:
            wrong = "Expected an Array PropertyValue"
            if path in ("notifyEndStates", "notifyEndTypes", "groupBies"):
                wrong = "set encoder failed: expected an Array PropertyValue, got a resource.PropertyValue"
        case _ if shape is bool and not isinstance(value, bool):
            wrong = "Expected a Boolean"
        case _ if shape is int and (isinstance(value, bool | Mapping | list) or not _is_number(value)):
            shown = f'"{value}"' if isinstance(value, str) else go_value(value)
            wrong = f"Expected a Number, got resource.PropertyValue{{V:{shown}}} true"
        case _ if shape is str and isinstance(value, Mapping | list):
            wrong = f"Expected a string, got: {go_value(value)}"
        case type() if not isinstance(value, shape) or isinstance(value, bool) != (shape is bool):
            yield path, f"it must be of type {shape.__name__}, got {type(value).__name__}"
    if wrong:
        raise PluginError(f"cannot encode resource inputs to call ValidateResourceConfig: {chain}{wrong}")


def _is_number(value: Any) -> bool:
    try:
        float(value)
    except ValueError:
        return False
    return True


def go_value(value: Any) -> str:
    """Return a property as Go's fmt shows it.

    >>> go_value({"b": ["x"], "a": 1})
    '{map[a:{1} b:{[{x}]}]}'
    """
    match value:
        case Mapping():
            return f"{{map[{' '.join(f'{name}:{go_value(value[name])}' for name in sorted(value))}]}}"
        case list():
            return f"{{[{' '.join(map(go_value, value))}]}}"
        case _:
            return f"{{{go_text(value)}}}"

"""A stand-in for Pulumi's random plugin: ``RandomPassword`` and ``RandomString``, generated as by the real one.

Source: https://github.com/hashicorp/terraform-provider-random
"""

import asyncio
import secrets
import string
from collections.abc import Mapping
from typing import Any

import bcrypt
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
)

from sandbox.pulumi.plugins.serve import (
    Engine,
    PluginError,
    boxed,
    check_names,
    has_unknown,
    plain_map,
    unknown,
)

PASSWORD = "random:index/randomPassword:RandomPassword"  # noqa: S105 - a type's name
STRING = "random:index/randomString:RandomString"

META = {PASSWORD: '{"schema_version":"3"}', STRING: '{"schema_version":"2"}'}
"""Metadata that the real plugin (4.21) keeps with the outputs."""

CLASSES = {
    "lower": string.ascii_lowercase,
    "numeric": string.digits,
    "special": "!@#$%&*()-_=+[]{}<>:?",
    "upper": string.ascii_uppercase,
}
"""Characters of each class, by the property that includes it."""

DEFAULTS: Mapping[str, Any] = {
    **dict.fromkeys(CLASSES, True),
    **{f"min{name.capitalize()}": 0 for name in CLASSES},
    "number": True,
}
PROPERTIES = frozenset({*DEFAULTS, "keepers", "length", "overrideSpecial"})


class RandomProvider(Provider):
    """The plugin: generates a password once, and a new one when any input changes."""

    def __init__(self, _engine: Engine) -> None: ...

    async def check(self, request: CheckRequest) -> CheckResponse:
        """Reject unknown properties and impossible lengths."""
        _only_known(request.type)
        given = plain_map(request.new_inputs)
        failures = check_names(request.type, given, known=PROPERTIES, required={"length"})
        if not failures and not has_unknown({**given, "keepers": None}):
            failures += _check_length(_complete(given))
        return CheckResponse(inputs=request.new_inputs, failures=failures)

    async def diff(self, request: DiffRequest) -> DiffResponse:
        """Replace on any change."""
        old, new = plain_map(request.old_state), _complete(plain_map(request.new_inputs))
        changed = [name for name in sorted(PROPERTIES) if old.get(name) != new.get(name)]
        return DiffResponse(changes=bool(changed), replaces=changed, diffs=changed)

    async def create(self, request: CreateRequest) -> CreateResponse:
        """Generate a password, secret as is its hash, or a string, which isn't and is its own id."""
        given = _complete(plain_map(request.properties))
        outputs = {**{name: boxed(value) for name, value in given.items()}, **request.properties}
        is_password = _only_known(request.type) == PASSWORD
        if request.preview:
            hidden = {name: unknown(secret=True) for name in ("result", "bcryptHash") if is_password}
            return CreateResponse("", {**outputs, "result": unknown(), **hidden})
        password = make_password(given)
        outputs["__meta"] = boxed(META[_only_known(request.type)])
        if not is_password:
            return CreateResponse(password, {**outputs, "result": boxed(password), "id": boxed(password)})
        hashed = await asyncio.to_thread(bcrypt.hashpw, password.encode()[:72], bcrypt.gensalt(rounds=10))
        made = {"result": boxed(password, secret=True), "bcryptHash": boxed(hashed.decode(), secret=True)}
        return CreateResponse("none", {**outputs, **made, "id": boxed("none")})

    async def delete(self, request: DeleteRequest) -> None:
        """Nothing to undo."""


def make_password(given: Mapping[str, Any]) -> str:
    """Generate a password of ``given["length"]`` characters with the required minimum of each class."""
    classes = dict(CLASSES)
    if given.get("overrideSpecial"):
        classes["special"] = given["overrideSpecial"]
    wanted = [secrets.choice(classes[name]) for name in classes for _ in range(given[f"min{name.capitalize()}"])]
    anything = "".join(characters for name, characters in classes.items() if given[name])
    wanted += [secrets.choice(anything) for _ in range(given["length"] - len(wanted))]
    secrets.SystemRandom().shuffle(wanted)
    return "".join(wanted)


def _complete(given: Mapping[str, Any]) -> dict[str, Any]:
    """Fill in the defaults; ``number`` is the old name of ``numeric``."""
    numeric = given.get("numeric", given.get("number", True))
    return {**DEFAULTS, **given, "numeric": numeric, "number": numeric}


def _check_length(given: Mapping[str, Any]) -> list[CheckFailure]:
    least = max(1, sum(given[f"min{name.capitalize()}"] for name in CLASSES))
    if given["length"] < least:
        return [CheckFailure("length", f"must be at least {least}, got {given['length']}")]
    if not any(given[name] for name in CLASSES):
        return [CheckFailure("length", f"at least one of {', '.join(CLASSES)} must be true")]
    return []


def _only_known(token: str) -> str:
    kind = token.rpartition("$")[2]  # a token begins with its parents'
    if kind not in (PASSWORD, STRING):
        raise PluginError(f"unrecognized resource type {token}: this stand-in has {PASSWORD} and {STRING}")
    return kind

"""Shared by the handlers: the store, parsed bodies, and looking things up."""

import functools
import json
import math
from typing import Any

from aiohttp import web
from datadog_api_client.model_utils import OpenApiModel

from sandbox.datadog.schema import RefusedError, check
from sandbox.datadog.store import Store

STORE = web.AppKey("store", Store)


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text} is no number of JSON")
    return number


# Python's own would also read NaN, Infinity and 1e999, with which nobody could calculate or draw.
_loads = functools.partial(json.loads, parse_float=_finite, parse_constant=_finite)


async def parsed(request: web.Request, model: type[OpenApiModel] | None = None) -> Any:
    """Parse the body, and check it against ``model``."""
    try:
        body = await request.json(loads=_loads)
    except (ValueError, RecursionError) as error:
        raise RefusedError(400, f"The body is not valid JSON: {error}") from error
    if model is not None:
        check(body, model)
    return body


def thing(request: web.Request, kind: str, name: str, missing: str) -> dict[str, Any]:
    """Return the thing of that kind and id; if there is none, refuse with 404 and ``missing``."""
    found = request.app[STORE].get(kind, name)
    if found is None:
        raise RefusedError(404, missing)
    return found


def page(request: web.Request, found: list[Any], *, offset: str, limit: str, most: int) -> list[Any]:
    """Return the page of a list that the query's ``offset`` and ``limit`` ask for, else its first ``most`` entries."""
    try:
        begin, count = int(request.query.get(offset, 0)), int(request.query.get(limit, most))
    except ValueError as error:
        raise RefusedError(400, f"{offset} and {limit} must be numbers") from error
    return found[begin : begin + count]

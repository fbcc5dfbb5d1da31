"""What the handlers share: the store, the parsed body, and finding a thing or saying that it is not there."""

from typing import Any

from aiohttp import web
from datadog_api_client.model_utils import OpenApiModel

from sandbox.datadog.schema import RefusedError, check
from sandbox.datadog.store import Store

STORE = web.AppKey("store", Store)


async def parsed(request: web.Request, model: type[OpenApiModel] | None = None) -> Any:
    """The parsed body, checked by ``model``."""
    try:
        body = await request.json()
    except ValueError as error:
        raise RefusedError(400, f"The body is not valid JSON: {error}") from error
    if model is not None:
        check(body, model)
    return body


def thing(request: web.Request, kind: str, name: str, title: str) -> dict[str, Any]:
    """The thing of that kind and id; refused with 404 if there is none, ``title`` being its kind for people."""
    found = request.app[STORE].get(kind, name)
    if found is None:
        raise RefusedError(404, f"{title} not found")
    return found


def page(request: web.Request, found: list[Any], *, offset: str, limit: str, most: int) -> list[Any]:
    """The part of a list that the query asks for by ``offset`` and ``limit``, else the first ``most`` of it."""
    try:
        begin, count = int(request.query.get(offset, 0)), int(request.query.get(limit, most))
    except ValueError as error:
        raise RefusedError(400, f"{offset} and {limit} must be numbers") from error
    return found[begin : begin + count]

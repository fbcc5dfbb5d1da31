"""Tags Datadog objects with the stack that owns them.

An update that is interrupted, or loses Datadog's response, after an object was created and before the state records it
leaves an orphan. The ownership tag distinguishes a stack's orphans from all other objects: the next update removes them
before it creates the object again, and ``python -m watchpost recover`` lists them.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import pulumi
import pulumi_random as random

from components import plugin_errors
from settings import Credentials

NAME = "ownership-tag"
"""The resource that stores the tag's random part; it is in the state before any object carries the tag."""

FORMER_NAME = "mark"
"""That resource's name before version 1.1. Remove once no stack of version 1.0 is left."""

PREFIX = "watchpost:"

Result = TypeVar("Result")


class OwnershipTag:
    """A stack's unique tag: ``watchpost:`` and twelve random letters and digits, stored in the state.

    Each object on ``site`` carries it with its resource's name appended, and uses :meth:`hooks`, which search the
    account of ``credentials``.
    """

    text: pulumi.Output[str]
    """The stack's tag."""

    def __init__(self, credentials: Credentials, site: str) -> None:
        self.credentials, self.api_url, self._is_new = credentials, credentials.url(site), False
        created = pulumi.ResourceHook(f"{NAME}-created", self._note_creation)
        letters = random.RandomString(
            NAME,
            length=12,
            special=False,
            upper=False,
            opts=pulumi.ResourceOptions(
                aliases=[pulumi.Alias(name=FORMER_NAME)],
                hooks=pulumi.ResourceHookBinding(after_create=[created]),
            ),
        )
        self.text = letters.result.apply(lambda letters: f"{PREFIX}{letters}")

    def of(self, name: str) -> pulumi.Output[str]:
        """Return the tag of the resource ``name``."""
        return pulumi.Output.concat(self.text, "/", name)

    async def account(self) -> tuple[str, str, str, str]:
        """Return the API's address, the API key, the application key, and the stack's tag, once known."""
        known = await pulumi.Output.all(self.credentials.api_key, self.credentials.app_key, self.text).future()
        assert known is not None  # all are known by the time an object is created
        return (self.api_url, *known)

    def hooks(self, component: str) -> pulumi.ResourceHookBinding:
        """Create the resource hooks for the Datadog objects of ``component``."""
        return pulumi.ResourceHookBinding(
            before_create=[pulumi.ResourceHook(f"{component}-orphans", self._remove_orphans)],
            on_error=[pulumi.ErrorHook(f"{component}-in-doubt", explain_doubt)],
        )

    def _note_creation(self, _: pulumi.ResourceHookArgs) -> None:
        self._is_new = True  # no object can carry a tag created in this update

    async def _remove_orphans(self, arguments: pulumi.ResourceHookArgs) -> None:
        """Remove what carries the resource's tag: before its creation, only an interrupted update can have left it."""
        if self._is_new:
            return
        url, api_key, app_key, tag = await self.account()
        orphan_tag, named = f"{tag}/{arguments.name}", str((arguments.new_inputs or {}).get("name", ""))
        for orphan in await in_hook_thread(_removed, arguments.type, named, url, api_key, app_key, orphan_tag):
            pulumi.log.warn(f"{orphan} was left behind by an interrupted update: it was removed and is created again")


_threads = ThreadPoolExecutor(4, thread_name_prefix="hook")


async def in_hook_thread(function: Callable[..., Result], *arguments: object) -> Result:
    """Run a hook's blocking ``function`` in one of the hooks' own threads.

    The SDK's registrations block the loop's default threads until the engine answers (``do_rpc_call`` in
    sdk/python/lib/pulumi/runtime/resource.py), and the engine waits for the hooks: with more registrations than
    threads, a hook that needed one of those would wait forever. Remove once the SDK registers resources without a
    thread each.
    """
    return await asyncio.get_running_loop().run_in_executor(_threads, function, *arguments)


def _removed(type_: str, name: str, url: str, api_key: str, app_key: str, tag: str) -> list[str]:
    # Imported here: Datadog's client takes half a second, which only an update that creates objects should pay.
    from components import orphans
    from components.datadog_api import AccountError, client

    removed = []
    try:
        with client(url, api_key, app_key) as datadog:
            if kind := orphans.NAMED.get(type_):
                found = orphans.named(datadog, tag, kind, name)
            else:
                found = orphans.find(datadog, tag, orphans.KINDS.get(type_, ()))
            for orphan in found:
                orphans.remove(datadog, orphan)
                removed.append(f"{orphan.kind} {orphan.shown}")
    except AccountError as error:
        raise pulumi.RunError(f"can't check what an interrupted update left in Datadog: {error}") from None
    return removed


def explain_doubt(arguments: pulumi.ErrorHookArgs) -> bool:
    """Explain what to do about an object that may exist although its creation failed; never retry."""
    if arguments.failed_operation == "create" and plugin_errors.may_have_created(arguments.errors[0]):
        pulumi.log.error(
            f"{arguments.name} may exist in Datadog without the stack knowing: the next `pulumi up` replaces it;"
            f" python -m watchpost recover --stack {pulumi.get_stack()} shows it, and removes it with --yes"
        )
    return False

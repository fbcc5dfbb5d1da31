"""The mark that things in Datadog carry as one stack's own.

A run that is killed, or whose answer is lost, between Datadog's making a thing and the stack's state knowing of it
leaves that thing behind. By its mark the next run tells it from everybody else's, and removes it before it makes it
anew; ``python -m components.recover`` shows what is left without making anything.
"""

import asyncio

import pulumi
import pulumi_random as random

from components import errors
from components.account import Keys, client

NAME = "mark"
"""The resource that keeps the mark: in the state before anything that carries it is made."""

PREFIX = "watchpost:"

SEARCH = "what an interrupted run may have left in Datadog can't be looked for"


class Mark:
    """The mark of this stack, ``watchpost:`` and twelve letters and digits: no other stack's, whatever that is called.

    What is made at ``site`` carries it with its own name behind, and is bound to :meth:`hooks`, which look into the
    account with ``keys``.
    """

    text: pulumi.Output[str]
    """The mark itself."""

    def __init__(self, keys: Keys, site: str) -> None:
        self._keys, self._site, self._made_now = keys, site, False
        made = pulumi.ResourceHook(f"{NAME}-made", self._remember)
        letters = random.RandomString(
            NAME,
            length=12,
            special=False,
            upper=False,
            opts=pulumi.ResourceOptions(hooks=pulumi.ResourceHookBinding(after_create=[made])),
        )
        self.text = letters.result.apply(lambda letters: f"{PREFIX}{letters}")

    def of(self, name: str) -> pulumi.Output[str]:
        """What the resource ``name`` carries: a text that is fit for a tag."""
        return pulumi.Output.concat(self.text, "/", name)

    async def account(self) -> tuple[str, str, str, str]:
        """Where the account answers, its keys, and the mark, once they are known."""
        known = await pulumi.Output.all(self._keys.api_key, self._keys.app_key, self.text).future()
        assert known is not None  # nothing is unknown by the time that something is made
        return (self._keys.url(self._site), *known)

    def hooks(self, component: str) -> pulumi.ResourceHookBinding:
        """The hooks of the resources in Datadog that belong to ``component``."""
        return pulumi.ResourceHookBinding(
            before_create=[pulumi.ResourceHook(f"{component}-left-behind", self._remove_what_was_left)],
            on_error=[pulumi.ErrorHook(f"{component}-in-doubt", hint)],
        )

    def _remember(self, _: pulumi.ResourceHookArgs) -> None:
        self._made_now = True  # nothing can carry a mark that is as new as that

    async def _remove_what_was_left(self, arguments: pulumi.ResourceHookArgs) -> None:
        """The stack's state has no such resource, so what carries its mark was made by a run that couldn't tell."""
        if self._made_now:
            return
        known = await pulumi.Output.all(self._keys.api_key, self._keys.app_key, self.of(arguments.name)).future()
        assert known is not None  # nothing is unknown by the time that something is made
        for thing in await asyncio.to_thread(_removed, arguments.type, self._keys.url(self._site), *known):
            pulumi.log.warn(f"{thing} was left behind by an interrupted run: it was removed and is made anew")


def _removed(type_: str, url: str, api_key: str, app_key: str, own: str) -> list[str]:
    # Datadog's client takes half a second to import, which only a run that makes something again should pay.
    from datadog_api_client.exceptions import ApiException
    from urllib3.exceptions import HTTPError

    from components import leftovers

    removed = []
    try:
        with client(url, api_key, app_key) as datadog:
            for thing in leftovers.find(datadog, own, leftovers.KINDS.get(type_, ())):
                leftovers.remove(datadog, thing)
                removed.append(f"{thing.kind} {thing.identifier}")
    except ApiException as error:
        raise pulumi.RunError(f"{SEARCH}: Datadog at {url} refused: {error.status} {error.reason}") from None
    except HTTPError as error:
        raise pulumi.RunError(f"{SEARCH}: Datadog at {url} does not answer: {error}") from None
    return removed


def hint(arguments: pulumi.ErrorHookArgs) -> bool:
    """Say what to do about a resource that may have been made though it failed; it isn't tried again."""
    if arguments.failed_operation == "create" and errors.may_have_made(arguments.errors[0]):
        pulumi.log.error(
            f"{arguments.name} may be in Datadog without the stack knowing: the next `pulumi up` removes it and makes"
            f" it anew; python -m components.recover --stack {pulumi.get_stack()} shows it, and removes it with --yes"
        )
    return False

"""``datadog:index/webhook:Webhook`` and ``datadog:index/webhookCustomVariable:WebhookCustomVariable``.

Source: datadog/fwprovider/resource_datadog_webhook.go and resource_datadog_webhook_custom_variable.go in
https://github.com/DataDog/terraform-provider-datadog/tree/v4.19.0
"""

import threading
from collections.abc import Iterator
from typing import Any, ClassVar
from urllib.parse import quote

from pulumi.runtime.rpc import UNKNOWN

from sandbox.pulumi.plugins.datadog.client import Client
from sandbox.pulumi.plugins.datadog.kind import Properties, Shape
from sandbox.pulumi.plugins.datadog.spans import NewerKind

PATH = "/api/v1/integration/webhooks/configuration"


def decided_again(planned: Properties, old: Properties | None, *decided: str) -> Properties:
    """Complete a plan as the framework half: with any change, the id and what Datadog decides are unknown."""
    names = ("id", *decided)
    kept = {name: (old or {}).get(name, UNKNOWN) for name in names} | planned
    if old is not None and set(old) <= set(kept) and all(old.get(name) == value for name, value in kept.items()):
        return kept
    return dict.fromkeys(names, UNKNOWN) | planned


class WebhookKind(NewerKind):
    """A type whose objects are created, updated and deleted one after another, of both types together."""

    _writes = threading.Lock()  # webhookMutex

    def ask(self, client: Client, doing: str, method: str, path: str, body: Any = None) -> Any:
        if method == "GET":
            return super().ask(client, doing, method, path, body)
        with self._writes:
            return super().ask(client, doing, method, path, body)


class Webhook(WebhookKind):
    """Whom a message's ``@webhook-NAME`` posts to; its id is its name."""

    shape: ClassVar[dict[str, Shape]] = {
        "customHeaders": str,
        "encodeAs": str,
        "name": str,
        "payload": str,
        "url": str,
    }
    descriptions: ClassVar[dict[str, str]] = {
        "name": "The name of the webhook. It corresponds with `<WEBHOOK_NAME>`.",
        "url": "The URL of the webhook.",
    }
    computed = frozenset({"id"})
    decided = frozenset({"encodeAs", "payload"})

    def refusals(self, inputs: Properties) -> Iterator[str]:
        if inputs.get("encodeAs") not in (None, UNKNOWN, "json", "form"):
            yield 'invalid value: invalid value for "encode_as". valid values are [json form]'

    def plan(self, inputs: Properties, old: Properties | None) -> Properties:
        planned = {name: inputs[name] for name in self.shape if inputs.get(name) is not None}
        return decided_again(planned, old, "encodeAs", "payload")

    @staticmethod
    def _body(inputs: Properties) -> Properties:
        names = {"customHeaders": "custom_headers", "encodeAs": "encode_as", "name": "name", "url": "url"}
        body = {key: inputs[name] for name, key in names.items() if inputs.get(name) is not None}
        return body | ({"payload": inputs["payload"]} if inputs.get("payload") else {})

    @staticmethod
    def _state(answer: Any, kept: Properties) -> Properties:
        """Return the outputs; what the answer lacks stays as ``kept``, so a payload that is gone isn't noticed."""
        names = {"custom_headers": "customHeaders", "encode_as": "encodeAs", "payload": "payload"}
        outputs = {name: kept[name] for name in names.values() if kept.get(name) not in (None, UNKNOWN)}
        outputs |= {name: answer[key] for key, name in names.items() if answer.get(key) is not None}
        return outputs | {"name": answer["name"], "url": answer["url"], "id": answer["name"]}

    def create(self, client: Client, inputs: Properties) -> tuple[str, Properties]:
        doing = "error creating webhooks custom variable"  # the real plugin says this of a webhook too
        outputs = self._state(self.ask(client, doing, "POST", f"{PATH}/webhooks", self._body(inputs)), inputs)
        return outputs["name"], outputs

    def read(self, client: Client, name: str, old: Properties) -> Properties:
        path = f"{PATH}/webhooks/{quote(old.get('name') or name)}"
        return self._state(self.read_at(client, "error getting webhook", path), old)

    def update(self, client: Client, name: str, inputs: Properties, old: Properties) -> Properties:
        path = f"{PATH}/webhooks/{quote(old.get('name') or name)}"
        return self._state(self.ask(client, "error updating webhook", "PUT", path, self._body(inputs)), inputs)

    def delete(self, client: Client, name: str, old: Properties) -> None:
        self.delete_at(client, "error deleting webhook", f"{PATH}/webhooks/{quote(old.get('name') or name)}")


class WebhookCustomVariable(WebhookKind):
    """A variable that webhooks use; Datadog never answers the value of a secret one."""

    shape: ClassVar[dict[str, Shape]] = {"isSecret": bool, "name": str, "value": str}
    descriptions: ClassVar[dict[str, str]] = {
        "isSecret": "Whether the custom variable is secret or not.",
        "name": "The name of the variable. It corresponds with `<CUSTOM_VARIABLE_NAME>`.",
        "value": "The value of the custom variable.",
    }
    secret = frozenset({"value"})
    computed = frozenset({"id"})

    def plan(self, inputs: Properties, old: Properties | None) -> Properties:
        return decided_again({name: inputs[name] for name in self.shape}, old)

    @staticmethod
    def _body(inputs: Properties) -> Properties:
        return {"is_secret": inputs["isSecret"], "name": inputs["name"], "value": inputs["value"]}

    @staticmethod
    def _state(answer: Any, kept: Properties) -> Properties:
        value = kept.get("value") if answer.get("value") is None else answer["value"]
        return {"isSecret": answer["is_secret"], "name": answer["name"], "value": value, "id": answer["name"]}

    def create(self, client: Client, inputs: Properties) -> tuple[str, Properties]:
        doing = "error creating webhooks custom variable"
        answer = self.ask(client, doing, "POST", f"{PATH}/custom-variables", self._body(inputs))
        return answer["name"], self._state(answer, inputs)

    def read(self, client: Client, name: str, old: Properties) -> Properties:
        del name  # the real plugin reads by the name in the state alone, so it can't import one
        path = f"{PATH}/custom-variables/{quote(old.get('name') or '')}"
        return self._state(self.read_at(client, "error getting webhooks custom variable", path), old)

    def update(self, client: Client, name: str, inputs: Properties, old: Properties) -> Properties:
        path = f"{PATH}/custom-variables/{quote(old.get('name') or name)}"
        return self._state(self.ask(client, "error updating webhook", "PUT", path, self._body(inputs)), inputs)

    def delete(self, client: Client, name: str, old: Properties) -> None:
        path = f"{PATH}/custom-variables/{quote(old.get('name') or name)}"
        self.delete_at(client, "error deleting webhooks custom variable", path)

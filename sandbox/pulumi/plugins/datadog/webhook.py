"""``datadog:index/webhook:Webhook`` and ``datadog:index/webhookCustomVariable:WebhookCustomVariable``.

Source: datadog/fwprovider/resource_datadog_webhook.go and resource_datadog_webhook_custom_variable.go in
https://github.com/DataDog/terraform-provider-datadog/tree/v4.19.0
"""

from collections.abc import Iterator
from typing import Any, ClassVar
from urllib.parse import quote

from pulumi.runtime.rpc import UNKNOWN

from sandbox.pulumi.plugins.datadog.client import Client
from sandbox.pulumi.plugins.datadog.kind import Properties, Shape
from sandbox.pulumi.plugins.datadog.spans import NewerKind

PATH = "/api/v1/integration/webhooks/configuration"


class Webhook(NewerKind):
    """Whom a message's ``@webhook-NAME`` posts to; its id is its name."""

    shape: ClassVar[dict[str, Shape]] = {
        "customHeaders": str,
        "encodeAs": str,
        "name": str,
        "payload": str,
        "url": str,
    }
    required = frozenset({"name", "url"})
    computed = frozenset({"id"})

    def problems(self, inputs: Properties) -> Iterator[tuple[str, str]]:
        if inputs.get("encodeAs", UNKNOWN) not in (UNKNOWN, "json", "form"):
            yield "encodeAs", "must be json or form"

    def plan(self, inputs: Properties, old: Properties | None) -> Properties:
        planned = {name: inputs[name] for name in self.shape if inputs.get(name) is not None}
        for name in ("encodeAs", "payload"):
            planned.setdefault(name, (old or {}).get(name, UNKNOWN))
        return planned

    def same(self, name: str, old: Properties, new: Properties) -> bool:
        return name == "id" or super().same(name, old, new)

    @staticmethod
    def _body(inputs: Properties) -> Properties:
        names = {"customHeaders": "custom_headers", "encodeAs": "encode_as", "name": "name", "url": "url"}
        body = {key: inputs[name] for name, key in names.items() if inputs.get(name) is not None}
        return body | ({"payload": inputs["payload"]} if inputs.get("payload") else {})

    @staticmethod
    def _state(answer: Any) -> Properties:
        names = {"custom_headers": "customHeaders", "encode_as": "encodeAs", "payload": "payload"}
        outputs = {name: answer[key] for key, name in names.items() if answer.get(key) is not None}
        return outputs | {"name": answer["name"], "url": answer["url"]}

    def create(self, client: Client, inputs: Properties) -> tuple[str, Properties]:
        doing = "error creating webhooks custom variable"  # the real plugin says this of a webhook too
        outputs = self._state(self.ask(client, doing, "POST", f"{PATH}/webhooks", self._body(inputs)))
        return outputs["name"], outputs

    def read(self, client: Client, name: str, old: Properties) -> Properties:
        return self._state(
            self.read_at(client, "error getting webhook", f"{PATH}/webhooks/{quote(old.get('name') or name)}")
        )

    def update(self, client: Client, name: str, inputs: Properties, old: Properties) -> Properties:
        path = f"{PATH}/webhooks/{quote(old.get('name') or name)}"
        return self._state(self.ask(client, "error updating webhook", "PUT", path, self._body(inputs)))

    def delete(self, client: Client, name: str, old: Properties) -> None:
        self.delete_at(client, "error deleting webhook", f"{PATH}/webhooks/{quote(old.get('name') or name)}")


class WebhookCustomVariable(NewerKind):
    """A variable that webhooks use; Datadog never answers the value of a secret one."""

    shape: ClassVar[dict[str, Shape]] = {"isSecret": bool, "name": str, "value": str}
    required = frozenset({"isSecret", "name", "value"})
    secret = frozenset({"value"})

    def plan(self, inputs: Properties, old: Properties | None) -> Properties:
        del old
        return {name: inputs[name] for name in self.shape}

    @staticmethod
    def _body(inputs: Properties) -> Properties:
        return {"is_secret": inputs["isSecret"], "name": inputs["name"], "value": inputs["value"]}

    @staticmethod
    def _state(answer: Any, kept: Properties) -> Properties:
        value = answer.get("value", kept.get("value"))
        return {"isSecret": answer["is_secret"], "name": answer["name"], "value": value}

    def create(self, client: Client, inputs: Properties) -> tuple[str, Properties]:
        doing = "error creating webhooks custom variable"
        answer = self.ask(client, doing, "POST", f"{PATH}/custom-variables", self._body(inputs))
        return answer["name"], self._state(answer, inputs)

    def read(self, client: Client, name: str, old: Properties) -> Properties:
        path = f"{PATH}/custom-variables/{quote(old.get('name') or name)}"
        return self._state(self.read_at(client, "error getting webhooks custom variable", path), old)

    def update(self, client: Client, name: str, inputs: Properties, old: Properties) -> Properties:
        path = f"{PATH}/custom-variables/{quote(old.get('name') or name)}"
        return self._state(self.ask(client, "error updating webhook", "PUT", path, self._body(inputs)), inputs)

    def delete(self, client: Client, name: str, old: Properties) -> None:
        path = f"{PATH}/custom-variables/{quote(old.get('name') or name)}"
        self.delete_at(client, "error deleting webhooks custom variable", path)

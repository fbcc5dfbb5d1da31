"""``datadog:index/secureEmbedDashboard:SecureEmbedDashboard``."""

from typing import Any, ClassVar

from pulumi.runtime.rpc import UNKNOWN

from sandbox.pulumi.plugins.datadog.client import Client, DatadogError, StatusError, UnreadableError
from sandbox.pulumi.plugins.datadog.kind import (
    DiagnosticError,
    Kind,
    MissingError,
    Properties,
    Shape,
    snake,
    snake_name,
)

LEFT_OUT: Properties = {
    "globalTimeLiveSpan": "1h",
    "globalTimeSelectable": True,
    "selectableTemplateVars": [],
    "status": "active",
    "viewingPreferencesHighDensity": False,
    "viewingPreferencesTheme": "system",
}
"""Defaults of inputs that are left out."""
VARIABLE: dict[str, Shape] = {
    "name": str,
    "prefix": str,
    "type": str,
    "defaultValues": [str],
    "visibleTags": [str],
}
VARIABLE_NAMES = {snake_name(name): name for name in VARIABLE}


class SecureEmbedDashboard(Kind):
    """A dashboard embedded in a private page; the credential is returned only at creation."""

    framework = True
    shape: ClassVar[dict[str, Shape]] = {
        "dashboardId": str,
        "title": str,
        "globalTimeLiveSpan": str,
        "globalTimeSelectable": bool,
        "selectableTemplateVars": [VARIABLE],
        "status": str,
        "viewingPreferencesHighDensity": bool,
        "viewingPreferencesTheme": str,
    }
    descriptions: ClassVar[dict[str, str]] = {
        "dashboardId": "The ID of the dashboard to create a secure embed for.",
        "selectableTemplateVars[].name": "The name of the template variable.",
        "title": "Title of the secure embed share.",
    }
    replaced_by = frozenset({"dashboardId"})
    computed = frozenset({"url"})
    secret = frozenset({"credential"})

    def plan(self, inputs: Properties, old: Properties | None) -> Properties:
        old = old or {}
        planned = LEFT_OUT | inputs | {name: old.get(name, UNKNOWN) for name in ("credential", "token")}
        if planned["selectableTemplateVars"] != UNKNOWN:
            planned["selectableTemplateVars"] = [self._variable(given) for given in planned["selectableTemplateVars"]]
        same = all(planned[name] == old.get(name) for name in self.shape)
        planned["url"] = old.get("url", UNKNOWN) if same else UNKNOWN  # in the real plugin any change may affect it
        return planned

    @staticmethod
    def _variable(given: Properties) -> Properties:
        return {"prefix": "", "type": "", "defaultValues": [], "visibleTags": []} | given

    def _body(self, inputs: Properties, kind: str) -> Properties:
        given = LEFT_OUT | inputs
        attributes = {
            "title": given["title"],
            "status": given["status"],
            "global_time": {"live_span": given["globalTimeLiveSpan"]},
            "global_time_selectable": given["globalTimeSelectable"],
            "selectable_template_vars": [
                {name: value for name, value in snake(variable).items() if value}
                for variable in given["selectableTemplateVars"]
            ],
            "viewing_preferences": {
                "high_density": given["viewingPreferencesHighDensity"],
                "theme": given["viewingPreferencesTheme"],
            },
        }
        return {"data": {"type": kind, "attributes": attributes}}

    def _state(self, answer: Any, dashboard: str, old: Properties) -> Properties:
        attributes = answer["data"]["attributes"]
        credential = attributes.get("credential") or old.get("credential")
        return ({"credential": credential} if credential else {}) | {
            "dashboardId": dashboard,
            "globalTimeLiveSpan": attributes["global_time"]["live_span"],
            "globalTimeSelectable": attributes["global_time_selectable"],
            "id": f"{dashboard}:{attributes['token']}",
            "selectableTemplateVars": [
                self._variable({key: variable[name] for name, key in VARIABLE_NAMES.items() if name in variable})
                for variable in attributes.get("selectable_template_vars") or []
            ],
            "status": attributes["status"],
            "title": attributes["title"],
            "token": attributes["token"],
            "url": attributes["url"],
            "viewingPreferencesHighDensity": attributes["viewing_preferences"]["high_density"],
            "viewingPreferencesTheme": attributes["viewing_preferences"]["theme"],
        }

    @staticmethod
    def _path(name: str) -> str:
        """Return the API path of the embed with the id ``DASHBOARD:TOKEN``."""
        dashboard, _, token = name.partition(":")
        return f"/api/v2/dashboard/{dashboard}/shared/secure-embed/{token}"

    def _write(self, client: Client, doing: str, method: str, path: str, body: Any) -> Any:
        """Send a create or an update, whose errors this type formats in its own way."""
        summary = f"Error {doing}ing secure embed"
        try:
            return client.call(method, path, body)
        except StatusError as error:
            raise DiagnosticError(
                summary, f"API error (status {error.status}): {error.short} — {error.body}"
            ) from error
        except UnreadableError as error:
            raise DiagnosticError(f"Error parsing {doing}e response", error.short) from error
        except DatadogError as error:
            raise DiagnosticError(summary, f"API error (status 0): {error}") from error

    def create(self, client: Client, inputs: Properties) -> tuple[str, Properties]:
        dashboard = inputs["dashboardId"]
        path = f"/api/v2/dashboard/{dashboard}/shared/secure-embed"
        answer = self._write(client, "creat", "POST", path, self._body(inputs, "secure_embed_request"))
        outputs = self._state(answer, dashboard, {})
        return outputs["id"], outputs

    def read(self, client: Client, name: str, old: Properties) -> Properties:
        try:
            answer = client.call("GET", self._path(name))
        except DatadogError as error:
            if error.status == 404:
                raise MissingError from error
            raise DiagnosticError("Error reading secure embed", error.short) from error
        return self._state(answer, name.partition(":")[0], old)

    def update(self, client: Client, name: str, inputs: Properties, old: Properties) -> Properties:
        body = self._body(inputs, "secure_embed_update_request")
        answer = self._write(client, "updat", "PATCH", self._path(name), body)
        return self._state(answer, inputs["dashboardId"], old)

    def delete(self, client: Client, name: str, old: Properties) -> None:
        del old
        try:
            client.call("DELETE", self._path(name))
        except DatadogError as error:
            if error.status != 404:
                raise DiagnosticError("Error deleting secure embed", error.short) from error

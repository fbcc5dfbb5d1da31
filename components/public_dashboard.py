"""A dashboard shared by a public link, as a dynamic resource: the Datadog provider has none for it.

The engine runs :class:`PublicDashboards` in a process of its own, and takes it from the state for a refresh or a
destroy, which run no program. There it is named by this module and class: renaming either breaks existing stacks.

Sources: https://www.pulumi.com/docs/iac/concepts/providers/dynamic-providers/ and
https://docs.datadoghq.com/api/latest/dashboards/#create-a-shared-dashboard
"""

import contextlib
import sys
import traceback
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import pulumi
from pulumi.dynamic import (
    ConfigureRequest,
    CreateResult,
    DiffResult,
    ReadResult,
    Resource,
    ResourceProvider,
    UpdateResult,
)

if TYPE_CHECKING:
    from datadog_api_client.v1.api.dashboards_api import DashboardsApi

    from settings import Credentials

KEYS = ("apiKey", "appKey")

IDENTITY = ("api_url", "dashboard_id")
"""The inputs whose change replaces the link."""

SETTINGS = ("title", "live_span", "share_type", "status", "expiration")
"""The inputs that can be updated in place, and may drift."""


class PublicDashboards(ResourceProvider):
    """Creates, reads, updates and deletes public links.

    The keys come from the provider's configuration, else from the environment, as with the Datadog provider.
    """

    serialize_as_secret_always = False  # the program serializes no key with it
    configured: Mapping[str, Any] = {}

    def configure(self, req: ConfigureRequest) -> None:
        """Take the keys, and show errors for users without a traceback."""
        # `_abort_with_traceback` in sdk/python/lib/pulumi/dynamic/__main__.py adds one to every error. Remove once it
        # spares `RunError`.
        traceback.format_exc = _sentence  # type: ignore[assignment]
        self.configured = {name: req.config.get(f"datadog:{name}") for name in KEYS}

    @property
    def keys(self) -> dict[str, str]:
        """The keys, by name; empty where none is set."""
        # Imported here: a run that changes nothing needs no key, and shouldn't pay for the settings' models.
        from settings.credentials import of_environment

        return {name: str(self.configured.get(name) or of_environment(name)[1]).strip() for name in KEYS}

    def diff(self, _id: str, _olds: dict[str, Any], _news: dict[str, Any]) -> DiffResult:
        """Compare the inputs alone: the provider's own serialization differs between versions of Python."""
        replaces = [name for name in IDENTITY if _olds.get(name) != _news.get(name)]
        changed = [name for name in SETTINGS if _olds.get(name) != _news.get(name)]
        return DiffResult(changes=bool(replaces or changed), replaces=replaces, delete_before_replace=True)

    def create(self, props: dict[str, Any]) -> CreateResult:
        """Share the dashboard. The id is the dashboard's: the token is a secret."""
        identity = {"dashboard_id": props["dashboard_id"], "dashboard_type": "custom_timeboard"}
        body: Any = {**identity, **_settings(props)}
        with self._dashboards(props, "can't be created") as dashboards:
            return CreateResult(props["dashboard_id"], _outputs(props, dashboards.create_public_dashboard(body)))

    def read(self, id_: str, props: dict[str, Any]) -> ReadResult:
        """Read the link; return no id if it is gone."""
        with self._dashboards(props, "can't be looked at", gone_is_fine=True, needs="dashboards_read") as dashboards:
            found = _outputs(props, dashboards.get_public_dashboard(props["token"]))
            return ReadResult(id_, found, {name: found[name] for name in (*IDENTITY, *SETTINGS)})
        return ReadResult(None, {})

    def update(self, _id: str, _olds: dict[str, Any], _news: dict[str, Any]) -> UpdateResult:
        """Update the link's settings; its address stays."""
        body: Any = _settings(_news)
        with self._dashboards(_olds, "can't be updated") as dashboards:
            return UpdateResult(_outputs(_news, dashboards.update_public_dashboard(_olds["token"], body)))

    def delete(self, _id: str, _props: dict[str, Any]) -> None:
        """Revoke the link; one that is gone is no error."""
        with self._dashboards(_props, "can't be revoked", gone_is_fine=True) as dashboards:
            dashboards.delete_public_dashboard(_props["token"])

    @contextlib.contextmanager
    def _dashboards(
        self,
        props: Mapping[str, Any],
        fails: str,
        *,
        gone_is_fine: bool = False,
        needs: str = "dashboards_public_share",
    ) -> "Iterator[DashboardsApi]":
        """Provide Datadog's API for dashboards, and report what it refuses in one sentence.

        Raises:
            pulumi.RunError: Datadog refused the request, or doesn't answer, or a key is missing.
        """
        # Imported here: it takes half a second, which a run that changes nothing shouldn't pay.
        from datadog_api_client.v1.api.dashboards_api import DashboardsApi

        from components.datadog_api import AccountError, client
        from settings.credentials import VARIABLES

        url, failed = props["api_url"], f"the public link of dashboard {props['dashboard_id']} {fails}"
        keys = self.keys
        if missing := [VARIABLES[name][0] for name, key in keys.items() if not key]:
            raise pulumi.RunError(f"{failed}: export {' and '.join(missing)}")
        try:
            with client(url, keys["apiKey"], keys["appKey"]) as datadog:
                yield DashboardsApi(datadog)
        except AccountError as error:
            if gone_is_fine and error.status == 404:
                return
            if error.status != 403:
                raise pulumi.RunError(f"{failed}: {error}") from None
            allowed = "the organization has to allow public links (Organization Settings > Public Sharing)"
            raise pulumi.RunError(
                f"{failed}: Datadog at {url} refused: 403 Forbidden; the keys have to be valid ones, the application"
                f" key needs {needs}, and {allowed}"
            ) from None


def _sentence(*_: object) -> str:
    """Format the current exception: one for users without its traceback."""
    error = sys.exception()
    return str(error) if isinstance(error, pulumi.RunError) else "".join(traceback.format_exception(error))


def _settings(props: Mapping[str, Any]) -> dict[str, Any]:
    """Build what a create and an update send alike; the link never expires."""
    constant = {"global_time": {"live_span": props["live_span"]}, "expiration": None}
    return {**{name: props[name] for name in ("title", "share_type", "status")}, **constant}


def _outputs(props: Mapping[str, Any], answer: Any) -> dict[str, Any]:
    """Build the resource's outputs from Datadog's answer."""
    found = answer.to_dict()
    expiration = found.get("expiration")
    return {
        "api_url": props["api_url"],
        "dashboard_id": found["dashboard_id"],
        "live_span": (found.get("global_time") or {}).get("live_span"),
        **{name: found.get(name) for name in ("title", "share_type", "status", "token")},
        "expiration": None if expiration is None else str(expiration),
        "url": found["public_url"],
    }


class PublicDashboard(Resource, module="datadog", name="PublicDashboard"):
    """A link at which anybody who has it can view the dashboard ``dashboard_id``.

    ``api_url`` is the address of Datadog's API, ``live_span`` the time frame that viewers see.
    """

    token: pulumi.Output[str]
    url: pulumi.Output[str]

    def __init__(
        self,
        name: str,
        *,
        dashboard_id: pulumi.Input[str],
        title: pulumi.Input[str],
        live_span: str,
        api_url: str,
        opts: pulumi.ResourceOptions,
    ) -> None:
        inputs = {
            "api_url": api_url,
            "dashboard_id": dashboard_id,
            "title": title,
            "live_span": live_span,
            "share_type": "open",
            "status": "active",
            "expiration": None,
            "token": None,
            "url": None,
        }
        super().__init__(PublicDashboards(), name, inputs, opts)


def provider(name: str, credentials: "Credentials") -> pulumi.ProviderResource:
    """Create the provider, with the keys of the stack's configuration only, as the Datadog provider has them.

    By default the engine would give it the whole configuration: every secret would be in its state, and every changed
    setting would change it.
    """
    keys = {"datadog:apiKey": credentials.api_key_of_stack, "datadog:appKey": credentials.app_key_of_stack}
    return pulumi.ProviderResource("pulumi-python", name, {name: key for name, key in keys.items() if key is not None})

"""The command line's interface to Pulumi, through the Automation API.

Source: https://www.pulumi.com/docs/iac/automation-api/
"""

import contextlib
import functools
import importlib.metadata
import json
import subprocess
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

import click

from watchpost.errors import WatchpostError

if TYPE_CHECKING:
    from datadog_api_client import ApiClient
    from pulumi import automation as auto

DATADOG_PROVIDER = "pulumi:providers:datadog"


class Stack:
    """A stack of the project in ``folder``: ``name``, by default the selected one."""

    def __init__(self, name: str | None = None, folder: str = ".") -> None:
        self._name, self._folder = name, folder

    @cached_property
    def _workspace(self) -> "auto.LocalWorkspace":
        from pulumi import automation as auto  # imported here: half a second, which `--help` shouldn't take

        return auto.LocalWorkspace(work_dir=self._folder, pulumi_command=pulumi_command())

    @cached_property
    def name(self) -> str:
        """The stack's name.

        Raises:
            WatchpostError: none was given, and none is selected.
        """
        if self._name:
            return self._name
        with explained("the selected stack can't be determined"):
            selected = self._workspace.stack()
        if selected is None:
            raise WatchpostError("no stack is selected: give --stack NAME, or `pulumi stack select` one")
        return str(selected.name)

    def export(self) -> dict[str, Any]:
        """Export the stack's deployment, with secrets in plain text.

        Raises:
            WatchpostError: it can't be read.
        """
        with explained("the stack's state can't be read"):
            return dict(self._workspace.export_stack(self.name).deployment or {})

    @cached_property
    def config(self) -> Mapping[str, str]:
        """The stack's configuration with the project's defaults, by full key; secrets in plain text.

        Raises:
            WatchpostError: it can't be read.
        """
        with explained("the stack's configuration can't be read"):
            return {key: str(entry.value) for key, entry in self._workspace.get_all_config(self.name).items()}

    def set(self, path: str, value: str) -> None:
        """Set the setting at ``path``.

        Raises:
            WatchpostError: it can't be written.
        """
        from pulumi import automation as auto

        with explained(f"{path} can't be set"):
            self._workspace.set_config(self.name, path, auto.ConfigValue(value=value), path=True)

    def refresh(self) -> None:
        """Clear the pending operations and refresh the state from Datadog; takes the stack's lock.

        Raises:
            WatchpostError: it failed, for instance because another update is under way.
        """
        words = ["refresh", "--yes", "--skip-preview", "--clear-pending-creates", "--stack", self.name]
        with explained("the stack can't be refreshed"):
            self._workspace.pulumi_command.run(words, self._folder, {})

    @contextlib.contextmanager
    def datadog(self, deployment: Mapping[str, Any], fails: str) -> "Iterator[ApiClient]":
        """Provide a client for the stack's account; ``deployment`` is the stack's state, ``fails`` begins an error.

        Its keys come from the stack's configuration, else from the environment, as with the Datadog provider.

        Raises:
            WatchpostError: a key is missing, or a request in the block failed.
        """
        from components.datadog_api import AccountError, client
        from settings.credentials import VARIABLES, of_environment

        def setting(name: str) -> str:
            return (self.config.get(f"datadog:{name}") or of_environment(name)[1]).strip()

        keys = {name: setting(name) for name in ("apiKey", "appKey")}
        if missing := [name for name, key in keys.items() if not key]:
            raise WatchpostError(
                f"the account can't be queried without {' and '.join(f'datadog:{name}' for name in missing)}:"
                f" export {' and '.join(VARIABLES[name][0] for name in missing)}"
            )
        try:
            with client(self.api_url(deployment), keys["apiKey"], keys["appKey"]) as datadog:
                yield datadog
        except AccountError as error:
            raise WatchpostError(f"{fails}: {error}") from None

    def api_url(self, deployment: Mapping[str, Any]) -> str:
        """Return the API's address: that of the stack's provider, else of the configuration."""
        from settings.credentials import of_environment
        from settings.project import key
        from settings.sites import api_url

        provided = [plain(provider["inputs"].get("apiUrl")) for provider in resources(deployment, DATADOG_PROVIDER)]
        configured = self.config.get("datadog:apiUrl") or of_environment("apiUrl")[1]
        site = self.config.get(key("site"), "datadoghq.com")
        return str(next(filter(None, provided), None) or configured or api_url(site)).rstrip("/")


def resources(deployment: Mapping[str, Any], *types: str) -> list[dict[str, Any]]:
    """List a deployment's resources of these types, except those pending deletion."""
    found = deployment.get("resources") or []
    return [resource for resource in found if resource["type"] in types and not resource.get("delete")]


def name_of(resource: Mapping[str, Any]) -> str:
    """Return a resource's logical name."""
    return str(resource["urn"].rpartition("::")[2])


def plain(value: Any) -> Any:
    """Decode the secrets, nested ones too, in a value of an exported deployment.

    >>> plain({"a": {"plaintext": '{"b": {"plaintext": "\\\\"c\\\\""}}'}})
    {'a': {'b': 'c'}}
    """
    if isinstance(value, Mapping) and "plaintext" in value:
        return plain(json.loads(value["plaintext"]))
    if isinstance(value, Mapping):
        return {key: plain(entry) for key, entry in value.items()}
    return [plain(entry) for entry in value] if isinstance(value, list) else value


def pulumi_command() -> "auto.PulumiCommand":
    """Return the ``pulumi`` on PATH; one built from source reports no version and is assumed to match the SDK.

    Raises:
        WatchpostError: there is no ``pulumi`` on PATH, or it doesn't run.
    """
    from pulumi import automation as auto
    from semver import VersionInfo

    try:
        pulumi = auto.PulumiCommand(skip_version_check=True)
    except FileNotFoundError:
        raise WatchpostError("`pulumi` is not on PATH: https://www.pulumi.com/docs/install/") from None
    except (OSError, subprocess.CalledProcessError) as error:
        raise WatchpostError(f"`pulumi` can't be run ({error}): https://www.pulumi.com/docs/install/") from error
    pulumi.version = pulumi.version or VersionInfo.parse(importlib.metadata.version("pulumi"))
    return pulumi


@contextlib.contextmanager
def explained(what: str) -> Iterator[None]:
    """Turn a failure of ``pulumi`` into one sentence: ``what`` failed, and the error message of ``pulumi``."""
    from pulumi import automation as auto

    try:
        yield
    except auto.CommandError as error:
        raise WatchpostError(f"{what}: {reason(str(error))}") from None


def reason(said: str) -> str:
    """Extract the error message from the output of ``pulumi``: from the first ``error:`` to the end."""
    lines = [line for line in said.partition("\n stderr: ")[2].splitlines() or said.splitlines() if line.strip()]
    first = next((i for i, line in enumerate(lines) if line.startswith("error:")), None)
    told = lines[first:] if first is not None else lines[-1:]
    return "\n".join(told).removeprefix("error: ").strip() or "it ended without saying why"


def complete_name(context: click.Context, _: click.Parameter, typed: str) -> list[str]:
    """Complete a stack's name."""
    try:
        stacks = Stack(folder=context.params.get("cwd") or ".")._workspace.list_stacks()
    except Exception:  # noqa: BLE001 - no completion is better than an error amid the command line
        return []
    return [str(stack.name) for stack in stacks if stack.name.startswith(typed)]


def of_one_stack(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options ``--stack`` and ``--cwd``, passed to it as one :class:`Stack`."""

    @functools.wraps(command)
    def with_stack(name: str | None, cwd: str, **options: Any) -> None:
        command(stack=Stack(name, cwd), **options)

    folder = click.option(
        "-C",
        "--cwd",
        metavar="FOLDER",
        type=click.Path(exists=True, file_okay=False),
        default=".",
        help="The project's folder  [default: this one]",
    )
    stack = click.option(
        "-s",
        "--stack",
        "name",
        metavar="NAME",
        shell_complete=complete_name,
        help="The stack  [default: the selected one]",
    )
    return stack(folder(with_stack))

"""Renders a fleet as ``Stack`` resources of the Pulumi Kubernetes Operator, version 2.3 or newer.

Source: https://github.com/pulumi/pulumi-kubernetes-operator/blob/master/docs/stacks.md
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import yaml

from watchpost.errors import WatchpostError
from watchpost.fleet.deployment import COMPRESSED
from watchpost.fleet.inventory import Inventory, secrets, variable
from watchpost.fleet.shards import DATADOG, HOSTS, full_name, plan, stack_name

KEYS = "watchpost-keys"
"""The Kubernetes Secret with the Datadog keys and the state's passphrase or access token."""

HOST_KEYS = "watchpost-host-keys"
"""The Kubernetes Secret with the inventory's ``fromEnvironment`` values."""

KEY_FOLDER = "/run/secrets/watchpost"
"""Where a workspace mounts its entries of :data:`HOST_KEYS` as files."""

READABLE = 0o440
"""The mode of these files: readable by root and by the group under which the operator runs a workspace."""

SERVICE_ACCOUNT = "watchpost"

RESYNC = 300
"""Seconds between the operator's polls of the branch; it raises lower values to 60."""

Document = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Source:
    """The Git repository and branch of the program, and the backend of the state (default: Pulumi Cloud)."""

    repository: str
    branch: str
    backend: str | None = None


def render(inventory: Inventory, source: Source) -> list[Document]:
    """Render a ``Stack`` for each stack of the plan, except for shards without hosts.

    Raises:
        WatchpostError: a secret other than a host's ``privateKey`` comes from the environment, an address contains a
            password, or the repository's is neither ``https://`` nor ``ssh://``.
    """
    for option, url in (("--backend", source.backend), ("--repository", source.repository)):
        parts = urlsplit(url or "")
        # A token is often the user's name; over SSH that is no secret.
        if parts.password or (parts.username and parts.scheme != "ssh") or "password=" in parts.query:
            raise WatchpostError(
                f"{option} holds a password or a token, which would stand in a document that many can read: give one"
                " that logs in by the workspace's own account"
            )
    if urlsplit(source.repository).scheme not in ("https", "ssh"):
        raise WatchpostError(f"--repository is {source.repository}: it must begin with https:// or ssh://")
    stacks = {name: config for name, config in plan(inventory).items() if config.get(HOSTS) != {}}
    return [_stack(inventory, source, name, config) for name, config in stacks.items()]


class _Dumper(yaml.SafeDumper):
    """Indents lists, as is usual in Kubernetes."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:  # noqa: ARG002 - YAML's own
        super().increase_indent(flow, indentless=False)


def manifests(inventory: Inventory, source: Source) -> str:
    """Dump the result of :func:`render` as YAML."""
    return yaml.dump_all(render(inventory, source), Dumper=_Dumper, sort_keys=False)


def _stack(inventory: Inventory, source: Source, name: str, config: Mapping[str, Any]) -> Document:
    first = stack_name(inventory, DATADOG)
    mounted = sorted(secrets(config))
    return {
        "apiVersion": "pulumi.com/v1",
        "kind": "Stack",
        "metadata": {"name": name, "labels": {"app.kubernetes.io/part-of": inventory.stack}},
        "spec": {
            "stack": full_name(inventory, name),
            "projectRepo": source.repository,
            "branch": source.branch,
            "shallow": True,
            **({"backend": source.backend} if source.backend else {}),
            "config": _with_key_files(config),
            "envRefs": _environment(source, makes_things=name == first),
            **({"prerequisites": [{"name": first}]} if name != first else {}),
            **({"destroyOnFinalize": True} if inventory.destroy_on_finalize else {}),
            # Objects deleted by hand in Datadog would make destroying the stack fail.
            "refresh": name == first,
            "resyncFrequencySeconds": RESYNC,
            "serviceAccountName": SERVICE_ACCOUNT,
            **({"workspaceTemplate": _workspace(mounted)} if mounted else {}),
        },
    }


def _environment(source: Source, *, makes_things: bool) -> Document:
    """Render the environment: the account's and the state's keys, and the engine options of ``fleet.deployment``.

    Only the stack that creates objects in Datadog gets the application key; without it, stacks of hosts skip one proof.
    """
    state = "PULUMI_CONFIG_PASSPHRASE" if source.backend else "PULUMI_ACCESS_TOKEN"
    keys = ("DD_API_KEY", *(["DD_APP_KEY"] if makes_things else []), state)
    return {
        **{key: {"type": "Secret", "secret": {"name": KEYS, "key": key}} for key in keys},
        **{
            name: {"type": "Literal", "literal": {"value": "true"}} for name in ("PULUMI_CONTINUE_ON_ERROR", COMPRESSED)
        },
    }


def _with_key_files(config: Mapping[str, Any]) -> dict[str, Any]:
    """Replace each private key from the environment by a file in the workspace."""
    hosts = {name: _with_key_file(entry) for name, entry in config.get(HOSTS, {}).items()}
    changed = {**config, **({HOSTS: hosts} if HOSTS in config else {})}
    if left := secrets(changed):
        raise WatchpostError(
            f"in Kubernetes only a host's `privateKey` may be `fromEnvironment`, and {', '.join(sorted(left))} is for"
            f" something else; let the stacks read it from elsewhere"
        )
    return changed


def _with_key_file(entry: Mapping[str, Any]) -> dict[str, Any]:
    name = variable(entry.get("privateKey"))
    if name is None:
        return dict(entry)
    return {
        **{key: value for key, value in entry.items() if key != "privateKey"},
        "privateKeyFile": f"{KEY_FOLDER}/{name}",
    }


def _workspace(names: list[str]) -> Document:
    """Render the workspace's mounts: its own entries of :data:`HOST_KEYS`, and no others, as files."""
    container = {
        "name": "pulumi",
        "volumeMounts": [{"name": "keys", "mountPath": KEY_FOLDER, "readOnly": True}],
    }
    items = [{"key": name, "path": name} for name in names]
    volume = {"name": "keys", "secret": {"secretName": HOST_KEYS, "defaultMode": READABLE, "items": items}}
    return {"spec": {"podTemplate": {"spec": {"containers": [container], "volumes": [volume]}}}}

"""The stacks of a fleet as ``Stack`` resources of the Pulumi Kubernetes Operator, version 2.3 or newer.

The models are the part of the operator's CustomResourceDefinition that is used here; they know no other field.

Source: https://github.com/pulumi/pulumi-kubernetes-operator/blob/master/operator/config/crd/bases/pulumi.com_stacks.yaml
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import yaml
from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from fleet.deployment import COMPRESSED
from fleet.inventory import FleetError, Inventory, secrets, variable
from fleet.shards import DATADOG, HOSTS, full_name, plan, stack_name

KEYS = "watchpost-keys"
"""The Secret with the keys of Datadog and of the state."""

HOST_KEYS = "watchpost-host-keys"
"""The Secret with what the inventory takes from environment variables."""

KEY_FOLDER = "/run/secrets/watchpost"
"""Where a workspace finds its own entries of :data:`HOST_KEYS` as files."""

READABLE = 0o440
"""The mode of these files: for root, and for the group under which the operator runs a workspace."""

SERVICE_ACCOUNT = "watchpost"

Name = Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=to_camel, populate_by_name=True)


class SecretSelector(_Model):
    """One entry of a Secret."""

    name: Name
    key: str


class LiteralSelector(_Model):
    """A value that stands in the resource itself."""

    value: str


class ResourceRef(_Model):
    """Where the operator finds a value."""

    type: Literal["Secret", "Literal"]
    secret: SecretSelector | None = None
    literal: LiteralSelector | None = None


class Requirement(_Model):
    """What has to be true of a stack before another one begins; with nothing in it, that its update succeeded."""


class Prerequisite(_Model):
    """A stack that comes first."""

    name: Name
    requirement: Requirement | None = None


class VolumeMount(_Model):
    """A volume in a container."""

    name: Name
    mount_path: str
    read_only: bool


class Container(_Model):
    """The container in which Pulumi runs: the operator calls it ``pulumi``."""

    name: Literal["pulumi"] = "pulumi"
    volume_mounts: list[VolumeMount]


class KeyToPath(_Model):
    """An entry of a Secret, and the name of its file."""

    key: str
    path: str


class SecretVolume(_Model):
    """Some entries of a Secret, as files; without ``items`` it would be all of them."""

    secret_name: Name
    default_mode: int
    items: Annotated[list[KeyToPath], Field(min_length=1)]


class Volume(_Model):
    """A volume of a pod."""

    name: Name
    secret: SecretVolume


class PodSpec(_Model):
    """What the operator's pod has in addition."""

    containers: list[Container]
    volumes: list[Volume]


class PodTemplate(_Model):
    """A pod."""

    spec: PodSpec


class WorkspaceSpec(_Model):
    """The workspace of a stack."""

    pod_template: PodTemplate


class WorkspaceTemplate(_Model):
    """What the workspace of a stack has in addition."""

    spec: WorkspaceSpec


class StackSpec(_Model):
    """A stack: its name, its program, its configuration, and when it is brought up."""

    stack: str
    project_repo: Annotated[str, Field(pattern=r"^(https|ssh)://")]
    branch: str
    shallow: bool = True
    backend: str | None = None
    config: dict[str, Any]
    env_refs: dict[str, ResourceRef]
    prerequisites: list[Prerequisite] | None = None
    destroy_on_finalize: bool | None = None
    refresh: bool = False
    resync_frequency_seconds: Annotated[int, Field(ge=60)] = 300
    service_account_name: Name = SERVICE_ACCOUNT
    workspace_template: WorkspaceTemplate | None = None


class Metadata(_Model):
    """What a resource is called."""

    name: Name
    labels: dict[str, str] = {}


class Stack(_Model):
    """One stack, for ``kubectl apply``."""

    api_version: Literal["pulumi.com/v1"] = "pulumi.com/v1"
    kind: Literal["Stack"] = "Stack"
    metadata: Metadata
    spec: StackSpec


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where the operator finds the program, and where it keeps the state (Pulumi Cloud if nothing is said)."""

    repository: str
    branch: str
    backend: str | None = None


def render(inventory: Inventory, source: Source) -> list[dict[str, Any]]:
    """A resource for each stack of the plan that has something to do.

    Raises:
        FleetError: a secret other than a host's ``privateKey`` comes from the environment, or an address holds one.
    """
    for option, url in (("--backend", source.backend), ("--repository", source.repository)):
        if url and urlsplit(url).password:
            raise FleetError(
                f"{option} holds a password, which would stand in a document that many can read: give one that logs in"
                " by the workspace's own account"
            )
    stacks = {name: config for name, config in plan(inventory).items() if config.get(HOSTS) != {}}
    resources = [_stack(inventory, source, name, config) for name, config in stacks.items()]
    return [stack.model_dump(mode="json", by_alias=True, exclude_none=True) for stack in resources]


class _Dumper(yaml.SafeDumper):
    """Writes lists as most do in Kubernetes: indented."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:  # noqa: ARG002 - YAML's own
        super().increase_indent(flow, indentless=False)


def manifests(inventory: Inventory, source: Source) -> str:
    """What :func:`render` makes, as YAML."""
    return yaml.dump_all(render(inventory, source), Dumper=_Dumper, sort_keys=False)


def _stack(inventory: Inventory, source: Source, name: str, config: Mapping[str, Any]) -> Stack:
    first = stack_name(inventory, DATADOG)
    mounted = sorted(secrets(config))
    return Stack(
        metadata=Metadata(name=name, labels={"app.kubernetes.io/part-of": inventory.stack}),
        spec=StackSpec(
            stack=full_name(inventory, name),
            project_repo=source.repository,
            branch=source.branch,
            backend=source.backend,
            config=_with_key_files(config),
            env_refs=_environment(source, makes_things=name == first),
            prerequisites=None if name == first else [Prerequisite(name=first)],
            destroy_on_finalize=inventory.destroy_on_finalize or None,
            # What is gone in Datadog would stop the stack's destruction.
            refresh=name == first,
            workspace_template=_workspace(mounted) if mounted else None,
        ),
    )


def _environment(source: Source, *, makes_things: bool) -> dict[str, ResourceRef]:
    """The keys of the account and of the state; and what ``fleet.deployment`` asks of the engine too.

    The application key is for the stack that makes things in Datadog; without it, a stack of hosts skips one proof.
    """
    state = "PULUMI_CONFIG_PASSPHRASE" if source.backend else "PULUMI_ACCESS_TOKEN"
    keys = {
        name: ResourceRef(type="Secret", secret=SecretSelector(name=KEYS, key=name))
        for name in ("DD_API_KEY", *(["DD_APP_KEY"] if makes_things else []), state)
    }
    yes = ResourceRef(type="Literal", literal=LiteralSelector(value="true"))
    return {
        **keys,
        **dict.fromkeys(("PULUMI_CONTINUE_ON_ERROR", COMPRESSED), yes),
    }


def _with_key_files(config: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration, with a file of the workspace in place of each private key from the environment."""
    hosts = {name: _with_key_file(entry) for name, entry in config.get(HOSTS, {}).items()}
    changed = {**config, **({HOSTS: hosts} if HOSTS in config else {})}
    if left := secrets(changed):
        raise FleetError(
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


def _workspace(names: list[str]) -> WorkspaceTemplate:
    mount = VolumeMount(name="keys", mount_path=KEY_FOLDER, read_only=True)
    items = [KeyToPath(key=name, path=name) for name in names]
    volume = Volume(name="keys", secret=SecretVolume(secret_name=HOST_KEYS, default_mode=READABLE, items=items))
    pod = PodSpec(containers=[Container(volume_mounts=[mount])], volumes=[volume])
    return WorkspaceTemplate(spec=WorkspaceSpec(pod_template=PodTemplate(spec=pod)))

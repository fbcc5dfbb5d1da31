"""A VM that the stack brings up by Vagrant, and destroys; ``files/vagrant/vm.sh`` does the work.

Each VM has a folder of its own in the clone, ``.vagrant/vms/PROJECT-STACK-HOST-DIGEST``, in which ``vagrant`` works as
usual. The stack holds it by two resources: ``HOST-vagrant`` is its folder and is there first, so that
``pulumi destroy`` finds a VM whose ``HOST-vm`` never came to its end.

Source: https://developer.hashicorp.com/vagrant/docs/cli
"""

import asyncio
import hashlib
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pulumi

from components import remote, templates
from settings.model import VagrantSettings

FOLDERS = templates.FILES.parent / ".vagrant" / "vms"
SCRIPT = "vagrant/vm.sh"

ANSWER_SECONDS = 10
"""How long a VM may take to show its host key before it is taken for one that doesn't answer."""


@dataclass(frozen=True, kw_only=True)
class Vm:
    """A VM of a stack: what everything on it is deleted with, and how to reach it once it is up."""

    resource: pulumi.Resource
    facts: pulumi.Output[dict[str, Any]]
    """What the script printed: ``address``, ``port``, ``user``, ``private_key_file``, ``host_key`` and more."""


def bring_up(host: str, settings: VagrantSettings, owner: pulumi.Input[str], *, parent: pulumi.Resource) -> Vm:
    """The VM of ``host`` in the stack that ``owner`` names; its resources are children of ``parent``."""
    project, stack = pulumi.get_project(), pulumi.get_stack()
    vm = pulumi.Output.from_input(owner).apply(lambda owner: vm_name(project, stack, host, owner))
    owned = remote.local_script(
        f"{host}-vagrant",
        SCRIPT,
        "own",
        parent=parent,
        variables={"name": host, "vm": vm},
        replace_on=[settings.box],
    )
    resource = remote.local_script(
        f"{host}-vm",
        SCRIPT,
        parent=parent,
        variables={
            "name": host,
            "vm": vm,
            "box": settings.box,
            "memory": settings.memory,
            "cpus": settings.cpus,
            "start": vm.apply(lambda vm: start(host, FOLDERS / vm)),
        },
        reads=["vagrant/Vagrantfile"],
        replace_on=[settings.box],
        depends_on=[owned],
        undo=False,
    )
    return Vm(resource=resource, facts=resource.stdout.apply(lambda printed: facts(host, printed)))


def vm_name(project: str, stack: str, host: str, owner: str) -> str:
    """A name that no other stack's VM has, nor another host's; at most 100 characters, as Hyper-V takes them.

    >>> vm_name("watchpost", "dev", "vm", "watchpost:abc")
    'watchpost-dev-vm-6935e09138bb'
    """
    digest = hashlib.sha256(f"{owner}/{host}".encode()).hexdigest()
    return f"{project[:28]}-{stack[:28]}-{host[:28]}-{digest[:12]}"


async def start(host: str, folder: Path) -> str:
    """A text that differs from the last time when the VM has to be started: it is halted, gone, or elsewhere by now.

    The VM is asked for its host key, which takes a moment; Vagrant would take seconds to tell. One that is busy may be
    taken for one that is halted, which does no harm.
    """
    known = _known(folder)
    if known is None:
        return secrets.token_hex(6)
    if _has_key(known) and await _answers(known):
        return str(known["start"])
    if pulumi.runtime.is_dry_run():
        pulumi.log.warn(
            f"the Vagrant VM of host {host} does not answer, as when it is halted: `pulumi up` brings it up"
        )
    return hashlib.sha256(str(known["start"]).encode()).hexdigest()[:12]


def _known(folder: Path) -> dict[str, Any] | None:
    """What the script noted in the VM's folder when it last came to its end here."""
    try:
        known: dict[str, Any] = json.loads((folder / "vm.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    needed = {"start", "address", "port", "host_key", "private_key_file"}
    return known if isinstance(known, dict) and needed <= known.keys() else None


def _has_key(known: Mapping[str, Any]) -> bool:
    return Path(known["private_key_file"]).is_file()


async def _answers(known: Mapping[str, Any]) -> bool:
    """Whether the VM with the known host key answers where it did; where OpenSSH is missing, that it does."""
    kind = {"ssh-ed25519": "ed25519", "ssh-rsa": "rsa"}.get(known["host_key"].split()[0], "ecdsa")
    words = ["-T", str(ANSWER_SECONDS), "-t", kind, "-p", str(known["port"]), str(known["address"])]
    try:
        process = await asyncio.create_subprocess_exec(
            "ssh-keyscan", *words, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
        )
    except OSError:
        return True
    shown, _ = await process.communicate()
    return known["host_key"].encode() in shown


def facts(host: str, printed: str) -> dict[str, Any]:
    """What the script printed; whatever else stands before it, as a login shell may say.

    Raises:
        pulumi.RunError: it can't be read.
    """
    try:
        found = json.loads(printed.splitlines()[-1])
        key_file = Path(found["private_key_file"])
        needed = (found["address"], found["port"], found["user"], found["host_key"])
        assert all(needed)
    except (IndexError, ValueError, KeyError, TypeError, AssertionError):
        raise pulumi.RunError(
            f"how to reach the Vagrant VM of host {host} can't be read in the stack's state;"
            f" read it anew: pulumi up --replace '**{host}-vm'"
        ) from None
    return {**found, "private_key_file": str(key_file)}


def connection(host: str, vm: Mapping[str, Any]) -> dict[str, Any]:
    """How a step on the VM reaches it.

    Raises:
        pulumi.RunError: the VM's key is not here, and this is no preview.
    """
    key_file = Path(vm["private_key_file"])
    known = {"host": vm["address"], "port": vm["port"], "user": vm["user"], "host_key": vm["host_key"]}
    try:
        return {**known, "private_key": key_file.read_text()}
    except OSError:
        said = (
            f"the key of host {host}, a Vagrant VM, {key_file}, is not here: run Pulumi on the machine that holds the"
            " VM, or give the host an `address`"
        )
        if not pulumi.runtime.is_dry_run():
            raise pulumi.RunError(said) from None
        pulumi.log.warn(said)
        return known

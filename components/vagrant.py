"""A Vagrant VM that the stack creates and destroys; ``files/vagrant/vm.sh`` does the work.

Each VM has its own folder in the clone, ``.vagrant/vms/PROJECT-STACK-HOST-DIGEST``, in which ``vagrant`` works as
usual. Two resources manage it: ``HOST-vagrant``, the folder, is created first, so that ``pulumi destroy`` finds a VM
whose ``HOST-vm`` was never completed.

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
"""Seconds to wait for a VM's host key before it counts as down."""


@dataclass(frozen=True, kw_only=True)
class Vm:
    """A VM of a stack: the resource that everything on it is ``deleted_with``, and how to connect to it."""

    resource: pulumi.Resource
    facts: pulumi.Output[dict[str, Any]]
    """The script's output: ``address``, ``port``, ``user``, ``private_key_file``, ``host_key`` and more."""


def bring_up(host: str, settings: VagrantSettings, owner: pulumi.Input[str], *, parent: pulumi.Resource) -> Vm:
    """Create the VM of ``host`` in the stack with the ownership tag ``owner``, as children of ``parent``."""
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
    """Return a name unique to the stack and the host, of at most 100 characters, Hyper-V's limit.

    >>> vm_name("watchpost", "dev", "vm", "watchpost:abc")
    'watchpost-dev-vm-6935e09138bb'
    """
    digest = hashlib.sha256(f"{owner}/{host}".encode()).hexdigest()
    return f"{project[:28]}-{stack[:28]}-{host[:28]}-{digest[:12]}"


async def start(host: str, folder: Path) -> str:
    """Return a text that changes when the VM has to be started: it is halted, gone, or no longer at its address.

    Probes the VM's host key, which takes a moment; asking Vagrant would take seconds. A busy VM may count as halted,
    which is harmless.
    """
    known = _recorded(folder)
    if known is None:
        return secrets.token_hex(6)
    if _has_key(known) and await _answers(known):
        return str(known["start"])
    if pulumi.runtime.is_dry_run():
        pulumi.log.warn(
            f"the Vagrant VM of host {host} does not answer, as when it is halted: `pulumi up` brings it up"
        )
    return hashlib.sha256(str(known["start"]).encode()).hexdigest()[:12]


def _recorded(folder: Path) -> dict[str, Any] | None:
    """Read what the script recorded in the VM's folder when it last succeeded on this machine."""
    try:
        known: dict[str, Any] = json.loads((folder / "vm.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    texts = ("start", "address", "host_key", "private_key_file")
    usable = isinstance(known, dict) and "port" in known and all(_is_text(known.get(name)) for name in texts)
    return known if usable else None


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _has_key(known: Mapping[str, Any]) -> bool:
    return Path(known["private_key_file"]).is_file()


async def _answers(known: Mapping[str, Any]) -> bool:
    """Return whether the VM still answers at its address with its host key; without OpenSSH, assume so."""
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
    """Parse the script's output, ignoring all lines but the last, since a login shell may print something first.

    Raises:
        pulumi.RunError: the output can't be parsed.
    """
    try:
        found = json.loads(printed.splitlines()[-1])
        key_file = Path(found["private_key_file"])
        needed = (found["address"], found["port"], found["user"], found["host_key"])
        assert all(needed)
    except (IndexError, ValueError, KeyError, TypeError, AssertionError):
        raise pulumi.RunError(
            f"the stack's state doesn't say how to reach the Vagrant VM of host {host}:"
            f" run pulumi up --replace '**{host}-vm'"
        ) from None
    return {**found, "private_key_file": str(key_file)}


def connection(host: str, vm: Mapping[str, Any]) -> dict[str, Any]:
    """Build the connection arguments for steps on the VM.

    Raises:
        pulumi.RunError: the VM's key is missing on this machine, or can't be read; a preview only warns.
    """
    key_file = Path(vm["private_key_file"])
    known = {"host": vm["address"], "port": vm["port"], "user": vm["user"], "host_key": vm["host_key"]}
    try:
        return {**known, "private_key": key_file.read_text()}
    except OSError as error:
        said = f"the key of host {host}, a Vagrant VM, {key_file}, " + (
            "is not here: run Pulumi on the machine that holds the VM, or give the host an `address`"
            if isinstance(error, FileNotFoundError)
            else f"can't be read ({error.strerror}): run Pulumi as the user that created the VM"
        )
        if not pulumi.runtime.is_dry_run():
            raise pulumi.RunError(said) from None
        pulumi.log.warn(said)
        return known

"""A machine over SSH: an existing one, or a Vagrant VM that the stack creates and destroys."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pulumi
from pulumi_command import remote

from components import remote as scripts
from components import vagrant
from components.step_command import library
from settings.model import HostSettings, LoginSettings, ProxySettings
from settings.project import key

DIAL_ATTEMPTS = 20
"""Connection attempts per step: about a minute if the connection is refused."""


@dataclass(frozen=True, kw_only=True)
class HostArgs:
    """One machine of the stack with the ownership tag ``owner``; ``packages`` use the syntax of Debian's ``Depends``.

    ``directories`` and ``users`` are what purging those packages leaves behind; ``databases`` is the data directory of
    a database server among them. ``machines`` maps every host of the stack to its machine's identity; each
    host adds its own.
    """

    machine: HostSettings
    owner: pulumi.Input[str]
    packages: Sequence[str] = ()
    directories: Sequence[str] = ()
    users: Sequence[str] = ()
    databases: str = ""
    clean_on_destroy: bool = True
    repairs: Mapping[str, str] = field(default_factory=dict)
    machines: dict[str, pulumi.Output[str]] = field(default_factory=dict)


class Host(pulumi.ComponentResource):
    """A machine that has booted, grants its user root, and has the packages that the other components need."""

    name: str
    """The machine's name in Datadog."""

    shell: scripts.Shell
    """Runs the other components' scripts on the machine."""

    ready: pulumi.Resource
    """The resource that everything else on the machine depends on."""

    machine: pulumi.Output[str]
    """The machine's unique identity, independent of its name."""

    ssh: pulumi.Output[str]
    """The SSH command to log in."""

    def __init__(self, name: str, args: HostArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("watchpost:host:Host", name, None, opts)
        self.name = name
        machine = args.machine
        vm = None
        connection: pulumi.Output[Any]
        if machine.vagrant:
            brought_up = vagrant.bring_up(name, machine.vagrant, args.owner, parent=self)
            vm = brought_up.resource
            connection = brought_up.facts.apply(
                lambda vm: {**vagrant.connection(name, vm), "dial_error_limit": DIAL_ATTEMPTS}
            )
            self.ssh = brought_up.facts.apply(
                lambda vm: ssh_command(vm["address"], vm["port"], vm["user"], vm["private_key_file"])
            )
        else:
            connection = pulumi.Output.from_input(_ssh_connection(machine))
            self.ssh = pulumi.Output.from_input(
                ssh_command(
                    str(machine.address), machine.port, str(machine.user), machine.private_key_file, machine.proxy
                )
            )
            for path, login in {(name,): machine, (name, "proxy"): machine.proxy}.items():
                if login and not login.host_key:
                    pulumi.log.warn(
                        f"any machine that answers at {login.address} is trusted as {'.'.join(path)}:"
                        " its host key is not checked. Set it with:"
                        f" pulumi config set --path '{key('hosts', *path, 'hostKey')}' KEY",
                        self,
                    )
        owner = pulumi.Output.concat(args.owner, f"/{name}")
        shell = scripts.Shell(
            connection=pulumi.Output.secret(connection),
            owner=owner,
            sudo=machine.user != "root",
            undo=args.clean_on_destroy or vm is not None,
            on_error=pulumi.ErrorHook(f"{name}-cut-off", scripts.was_cut_off),
            vm=vm,
            repairs=args.repairs,
        )
        booted = shell.run(f"{name}-ready", "host/ready.sh", parent=self, as_root=False, reports=["machine"])
        self.machine = booted.result.apply(lambda found: str(found["machine"]))
        args.machines[name] = self.machine
        # Blocks all further steps if the first one failed, or if the machine is already another host of the stack.
        alone = only_host(name, booted.result, args.machines)
        self.shell = replace(shell, owner=pulumi.Output.all(owner, alone).apply(lambda both: str(both[0])))
        shared = self.shell.run(
            f"{name}-library",
            "host/library.sh",
            parent=self,
            stdin=library(),
            depends_on=[booted.resource],
            undo=False,  # ready.sh does it, which comes last
        )
        # One install for all packages: parallel ones would wait for dpkg's lock.
        packages = self.shell.run(
            f"{name}-packages",
            "host/packages.sh",
            parent=self,
            variables={
                "packages": ", ".join(args.packages),
                "directories": " ".join(args.directories),
                "users": " ".join(args.users),
                "databases": args.databases,
            },
            depends_on=[shared.resource],
        )
        self.ready = packages.resource
        self.register_outputs({"ssh": self.ssh})


async def only_host(name: str, reported: pulumi.Output[Any], machines: Mapping[str, pulumi.Output[str]]) -> bool:
    """Ensure that no other host of the stack is the same machine; an update may still move or rename a host.

    Raises:
        pulumi.RunError: two hosts are the same machine.
    """
    found: Mapping[str, str] = await reported.future() or {}
    other = found.get("was", "")
    if other in machines and await machines[other].future() == found["machine"]:
        raise pulumi.RunError(
            f"hosts {other} and {name} are the same machine: nothing was done on it as {name}."
            f" Remove one of them: pulumi config rm --path '{key('hosts', name)}'"
        )
    return True


def ssh_command(
    address: str, port: int, user: str, key_file: str | Path | None, proxy: ProxySettings | None = None
) -> str:
    """Render the SSH command to log in; ``%`` in a file name is doubled, since ``ssh`` expands tokens there."""
    identity = ["-i", str(key_file).replace("%", "%%")] if key_file else []
    jump = []
    if proxy:
        # Not -J, which can't take a key for the proxy.
        way = ssh_command(str(proxy.address), proxy.port, str(proxy.user), proxy.private_key_file)
        jump = ["-o", f"ProxyCommand={way.replace('%', '%%')} -W '[%h]:%p'"]
    return shlex.join(["ssh", *identity, *jump, "-p", str(port), f"{user}@{address}"])


def _ssh_connection(machine: HostSettings) -> remote.ConnectionArgs:
    """Build the connection for the command plugin, which finds the SSH agent of the current session by itself.

    Source: https://www.pulumi.com/registry/packages/command/api-docs/remote/command/#connection
    """
    proxy = remote.ProxyConnectionArgs(**_login(machine.proxy)) if machine.proxy else None
    return remote.ConnectionArgs(**_login(machine), proxy=proxy)


def _login(login: LoginSettings) -> dict[str, Any]:
    """Build the arguments that host and proxy connections share."""
    return {
        "host": str(login.address),
        "port": login.port,
        "user": login.user,
        "private_key": login.key(),
        "private_key_password": login.password,
        "host_key": login.host_key,
        "dial_error_limit": DIAL_ATTEMPTS,
    }

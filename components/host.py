"""A machine over SSH: any that is there already, or a Vagrant VM that the stack brings up and destroys."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pulumi
from pulumi_command import remote

from components import remote as scripts
from components import vagrant
from settings.model import HostSettings, LoginSettings, ProxySettings
from settings.project import key

DIAL_ATTEMPTS = 20
"""How often a machine that doesn't answer is tried: about a minute where the connection is refused."""


@dataclass(frozen=True, kw_only=True)
class HostArgs:
    """One machine of the stack that ``owner`` names; ``packages`` are written as in a Debian ``Depends`` field.

    ``directories`` and ``users`` are what those packages leave behind when they are purged. ``machines`` holds the
    identity of every host of the stack, by name: each adds its own.
    """

    machine: HostSettings
    owner: pulumi.Input[str]
    packages: Sequence[str] = ()
    directories: Sequence[str] = ()
    users: Sequence[str] = ()
    clean_on_destroy: bool = True
    repairs: Mapping[str, str] = field(default_factory=dict)
    machines: dict[str, pulumi.Output[str]] = field(default_factory=dict)


class Host(pulumi.ComponentResource):
    """A machine that has finished booting, lets its user become root, and holds the packages that the rest needs."""

    name: str
    """The machine's name in Datadog."""

    shell: scripts.Shell
    """Where the scripts of the other components run."""

    ready: pulumi.Resource
    """What everything on the machine depends on."""

    machine: pulumi.Output[str]
    """Which machine it is, whatever it is called: no other one has this text."""

    ssh: pulumi.Output[str]
    """The command that logs in."""

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
                        f"any machine that answers at {login.address} is taken for {'.'.join(path)}:"
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
        # Nothing else begins on a machine where the first step failed, or that is another host of the stack already.
        alone = only_host(name, booted.result, args.machines)
        self.shell = replace(shell, owner=pulumi.Output.all(owner, alone).apply(lambda both: str(both[0])))
        # One package install for all: dpkg has one lock, so several would only wait for each other.
        packages = self.shell.run(
            f"{name}-packages",
            "host/packages.sh",
            parent=self,
            variables={
                "packages": ", ".join(args.packages),
                "directories": " ".join(args.directories),
                "users": " ".join(args.users),
            },
            depends_on=[booted.resource],
        )
        self.ready = packages.resource
        self.register_outputs({"ssh": self.ssh})


async def only_host(name: str, reported: pulumi.Output[Any], machines: Mapping[str, pulumi.Output[str]]) -> bool:
    """That no other host of the stack is this machine; an update may still move or rename one.

    Raises:
        pulumi.RunError: one is.
    """
    found: Mapping[str, str] = await reported.future() or {}
    other = found.get("was", "")
    if other in machines and await machines[other].future() == found["machine"]:
        raise pulumi.RunError(
            f"hosts {other} and {name} are one machine, and a machine has one name: nothing was done on it as {name}."
            f" Take one of them out: pulumi config rm --path '{key('hosts', name)}'"
        )
    return True


def ssh_command(
    address: str, port: int, user: str, key_file: str | Path | None, proxy: ProxySettings | None = None
) -> str:
    """The command with which a person logs in; ``ssh`` reads ``%`` in a file's name as the beginning of a token."""
    identity = ["-i", str(key_file).replace("%", "%%")] if key_file else []
    jump = []
    if proxy:
        # Not -J, which has no place for the proxy's own key.
        way = ssh_command(str(proxy.address), proxy.port, str(proxy.user), proxy.private_key_file)
        jump = ["-o", f"ProxyCommand={way.replace('%', '%%')} -W '[%h]:%p'"]
    return shlex.join(["ssh", *identity, *jump, "-p", str(port), f"{user}@{address}"])


def _ssh_connection(machine: HostSettings) -> remote.ConnectionArgs:
    """How the plugin logs in. Where that is by the SSH agent, it finds the one of each session by itself.

    Source: https://www.pulumi.com/registry/packages/command/api-docs/remote/command/#connection
    """
    proxy = remote.ProxyConnectionArgs(**_login(machine.proxy)) if machine.proxy else None
    return remote.ConnectionArgs(**_login(machine), proxy=proxy)


def _login(login: LoginSettings) -> dict[str, Any]:
    """What a connection to a host and one to a proxy have in common."""
    return {
        "host": str(login.address),
        "port": login.port,
        "user": login.user,
        "private_key": login.key(),
        "private_key_password": login.password,
        "host_key": login.host_key,
        "dial_error_limit": DIAL_ATTEMPTS,
    }

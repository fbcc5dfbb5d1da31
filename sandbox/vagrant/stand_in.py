"""A stand-in for ``vagrant``: its VMs are the sandbox's machines, its messages and exit codes the real one's.

Both were recorded with Vagrant 2.3.4 and vagrant-libvirt 0.11.2, whose states (``shutoff``, ``not_created``) it uses
too. It knows the commands and options that ``files/vagrant/vm.sh`` uses and a person types, and refuses any other.
Instead of a Vagrantfile's Ruby it reads the ``settings.json`` that ours reads, in the next folder above that has a
Vagrantfile. A box is a folder in ``$VAGRANT_HOME``,
as in the real one, and may be empty. A VM has the memory and CPUs of its last start, as a real one has.
"""

import fcntl
import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sandbox import paths
from sandbox.machine import Machine, cgroup

PROVIDER = "libvirt"

LOCKED = """\
An action '{action}' was attempted on the machine '{name}',
but another process is already executing an action on the machine.
Vagrant locks each machine for access by only one process at a time.
Please wait until the other Vagrant process finishes modifying this
machine, then try again.

If you believe this message is in error, please check the process
listing for any "ruby" or "vagrant" processes and kill them. Then
try again."""
NOT_CREATED = """\
VM must be created before running this command. Run `vagrant up` first."""
NOT_READY = """\
The provider for this Vagrant-managed machine is reporting that it
is not yet ready for SSH. Depending on your provider this can carry
different meanings. Make sure your machine is created and running and
try again. Additionally, check the output of `vagrant status` to verify
that the machine is in the state that you expect. If you continue to
get this error message, please view the documentation for the provider
you're using."""
NO_BOX = """\
The box '{box}' could not be found or
could not be accessed in the remote catalog. If this is a private
box on HashiCorp's Vagrant Cloud, please verify you're logged in via
`vagrant login`. Also, please double-check the name. The expanded
URL and error message are shown below:

URL: ["https://vagrantcloud.com/api/v2/vagrant/{box}"]
Error: Could not resolve host: vagrantcloud.com"""
NO_VAGRANTFILE = """\
A Vagrant environment or target machine is required to run this
command. Run `vagrant init` to create a new Vagrant environment. Or,
get an ID of a target machine from `vagrant global-status` to run
this command on. A final option is to change to a directory with a
Vagrantfile and to try again."""
NO_SUCH_MACHINE = """\
The machine with the name '{name}' was not found configured for
this Vagrant environment."""
BOOT_TIMEOUT = """\
Timed out while waiting for the machine to boot. This means that
Vagrant was unable to communicate with the guest machine within
the configured ("config.vm.boot_timeout" value) time period."""
LONG_STATES = {
    "running": "The Libvirt domain is running. To stop this machine, you can run\n"
    "`vagrant halt`. To destroy the machine, you can run `vagrant destroy`.",
    "shutoff": "The Libvirt domain is not running. Run `vagrant up` to start it.",
    "not_created": "The Libvirt domain is not created. Run `vagrant up` to create it.",
}


NOT_RUNNING = """\
VM must be running to open SSH connection. Run `vagrant up`
to start the virtual machine."""


class VagrantError(Exception):
    """A Vagrant error: printed on standard error, with exit code 1."""


class Vm:
    """The VM of a folder with a Vagrantfile: its settings, Vagrant's data on it there, and its machine."""

    def __init__(self, folder: Path, home: Path) -> None:
        found = next((each for each in (folder, *folder.parents) if (each / "Vagrantfile").exists()), None)
        if found is None:
            raise VagrantError(NO_VAGRANTFILE)
        folder = found
        self.home = home
        self.settings: dict[str, Any] = json.loads((folder / "settings.json").read_text())
        self.name: str = self.settings["vm"]
        self.notes = folder / ".vagrant" / "machines" / self.name / PROVIDER
        self.own_key_file = self.notes / "private_key"
        self.id_file = self.notes / "id"
        self.machine = Machine(self.settings.get("hostname", "watchpost"), home / "machines" / self.name)

    @property
    def key_file(self) -> Path:
        """The key that it inserted into the VM; if that is gone, the one that every box has."""
        return self.own_key_file if self.own_key_file.exists() else self.home / "insecure_private_key"

    @property
    def has_inserted(self) -> Path:
        """Marks a machine that takes only the inserted key."""
        return self.machine.folder / "key-inserted"

    @property
    def started_with(self) -> Path:
        """The settings of the machine's last start."""
        return self.home / "started" / f"{self.name}.json"

    def state(self) -> str:
        """Return the state in Vagrant's terms; a machine removed behind Vagrant's back is not created."""
        if not self.id_file.exists() or not (self.machine.folder / "machine.json").exists():
            return "not_created"
        return "running" if self.machine.running() else "shutoff"

    @contextmanager
    def lock(self, action: str) -> Iterator[None]:
        """Lock the VM for one command at a time."""
        self.notes.mkdir(parents=True, exist_ok=True)
        with (self.notes.parent / "action.lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise VagrantError(LOCKED.format(action=action, name=self.name)) from None
            yield

    def say(self, text: str) -> None:
        """Print a line of progress."""
        print(f"==> {self.name}: {text}", flush=True)

    def start(self) -> None:
        """Boot it with the current settings."""
        self.machine.start()
        if not self.own_key_file.exists():
            if self.has_inserted.exists():
                raise VagrantError(BOOT_TIMEOUT)
            # As the real one, which inserts its key at the next start if the first was interrupted before that.
            shutil.copy(self.machine.private_key_file, self.own_key_file)
        self.has_inserted.touch()
        self.started_with.parent.mkdir(exist_ok=True)
        self.started_with.write_text(json.dumps(self.settings))
        self.say("Machine booted and ready!")


def up(vm: Vm) -> None:
    """``vagrant up``: a running VM keeps its settings."""
    print(f"Bringing machine '{vm.name}' up with '{PROVIDER}' provider...", flush=True)
    with vm.lock("up"):
        state = vm.state()
        if state == "not_created":
            box = vm.settings["box"]
            if not (vm.home / "boxes" / box.replace("/", "-VAGRANTSLASH-")).is_dir():
                vm.say(f"Box '{box}' could not be found. Attempting to find and install...")
                raise VagrantError(NO_BOX.format(box=box))
            for done in (0, 40, 100):
                print(f"\r\x1b[KProgress: {done}%", end="", flush=True)
            print("\r\x1b[K", end="")
            vm.say("Creating image (snapshot of base box volume).")
            vm.id_file.write_text("")  # written first, so that the machine can be destroyed if this is killed now
            vm.say("Starting domain.")
            vm.start()
            vm.id_file.write_text(vm.machine.id)
        elif state == "shutoff":
            vm.say("Starting domain.")
            vm.start()
        if state != "not_created":
            vm.say("Machine already provisioned. Run `vagrant provision` or use the `--provision`")
            vm.say("flag to force provisioning. Provisioners marked to run always will still run.")


def halt(vm: Vm) -> None:
    """``vagrant halt``."""
    with vm.lock("halt"):
        _halt(vm)


def _halt(vm: Vm) -> None:
    if vm.state() == "not_created":
        vm.say("Domain is not created. Please run `vagrant up` first.")
    elif vm.state() == "running":
        vm.say("Attempting graceful shutdown of VM...")
        vm.machine.run("systemctl poweroff", check=False)
        deadline = time.monotonic() + 15
        while vm.machine.running() and time.monotonic() < deadline:
            time.sleep(0.1)
        cgroup.remove(vm.machine.id)


def reload(vm: Vm) -> None:
    """``vagrant reload``."""
    with vm.lock("reload"):
        if vm.state() == "not_created":
            vm.say("Domain is not created. Please run `vagrant up` first.")
            return
        vm.say("Halting domain...")
        _halt(vm)
        vm.say("Starting domain.")
        vm.start()


def destroy(vm: Vm) -> None:
    """``vagrant destroy --force``."""
    with vm.lock("destroy"):
        if vm.state() == "not_created" and not vm.id_file.exists():
            vm.say("Domain is not created. Please run `vagrant up` first.")
            return
        vm.say("Removing domain...")
        vm.machine.stop()
        vm.say("Deleting the machine folder")
        vm.started_with.unlink(missing_ok=True)
        vm.own_key_file.unlink(missing_ok=True)
        vm.id_file.unlink(missing_ok=True)


def status(vm: Vm) -> None:
    """``vagrant status``."""
    state = vm.state()
    print("Current machine states:\n")
    print(f"{vm.name.ljust(25)} {state.replace('_', ' ')} ({PROVIDER})\n\n{LONG_STATES[state]}")


def machine_status(vm: Vm) -> None:
    """``vagrant status --machine-readable``: time, machine, kind, values, with commas escaped."""
    state = vm.state()
    long = LONG_STATES[state].replace(",", "%!(VAGRANT_COMMA)").replace("\n", r"\n")
    lines = (
        f"{vm.name},metadata,provider,{PROVIDER}",
        f"{vm.name},provider-name,{PROVIDER}",
        f"{vm.name},state,{state}",
        f"{vm.name},state-human-short,{state.replace('_', ' ')}",
        f"{vm.name},state-human-long,{long}",
    )
    for line in lines:
        print(f"{time.time():.0f},{line}")


def ssh_config(vm: Vm) -> None:
    """``vagrant ssh-config``."""
    if vm.state() != "running":
        raise VagrantError(NOT_READY)
    path = str(vm.key_file)
    print(
        f"Host {vm.name}\n  HostName {vm.machine.address}\n  User {vm.machine.user}\n  Port {vm.machine.port}\n"
        "  UserKnownHostsFile /dev/null\n  StrictHostKeyChecking no\n  PasswordAuthentication no\n"
        f"  IdentityFile {json.dumps(path) if ' ' in path else path}\n  IdentitiesOnly yes\n  LogLevel FATAL\n"
    )


def ssh(vm: Vm, command: str) -> None:
    """``vagrant ssh -c COMMAND``: in a login shell."""
    if vm.state() == "not_created":
        raise VagrantError(NOT_CREATED)
    if vm.state() != "running":
        raise VagrantError(NOT_RUNNING)
    if not vm.own_key_file.exists():
        print(f"{vm.machine.user}@{vm.machine.address}: Permission denied (publickey).", file=sys.stderr)
        sys.exit(255)
    done = subprocess.run([*vm.machine.ssh(), "--", f"bash -l -c {shlex.quote(command)}"], check=False)
    if done.returncode:
        sys.exit(done.returncode)


COMMANDS: dict[tuple[str, ...], Callable[[Vm], None]] = {
    ("up",): up,
    ("up", "--no-install-provider"): up,
    ("halt",): halt,
    ("reload",): reload,
    ("destroy", "--force"): destroy,
    ("status",): status,
    ("status", "--machine-readable"): machine_status,
    ("ssh-config",): ssh_config,
}


ELSEWHERE = ("VAGRANT_CWD", "VAGRANT_DOTFILE_PATH", "VAGRANT_VAGRANTFILE")
"""Variables that make the real one read and write elsewhere."""


def main(words: list[str]) -> None:
    """Act as ``vagrant WORDS``, where the VM's name may follow the command."""
    if given := [name for name in ELSEWHERE if name in os.environ]:
        sys.exit(f"the stand-in for Vagrant does not know: {', '.join(given)}")
    vm = Vm(Path.cwd(), Path(os.environ["VAGRANT_HOME"]))
    known = list(words)
    if len(known) > 1 and not known[1].startswith("-") and (name := known.pop(1)) != vm.name:
        raise VagrantError(NO_SUCH_MACHINE.format(name=name))
    if len(known) == 3 and known[:2] == ["ssh", "-c"]:
        ssh(vm, known[2])
    elif tuple(known) in COMMANDS:
        COMMANDS[tuple(known)](vm)
    else:
        sys.exit(f"the stand-in for Vagrant does not know: vagrant {shlex.join(words)}")


def install(folder: Path, boxes: list[str]) -> dict[str, str]:
    """Install this stand-in as ``vagrant`` in ``folder``, with ``boxes``; return the environment to use it."""
    programs, home = folder / "bin", folder / "home"
    for each in (programs, home):
        each.mkdir(parents=True, exist_ok=True)
    for box in boxes:
        (home / "boxes" / box.replace("/", "-VAGRANTSLASH-")).mkdir(parents=True, exist_ok=True)
    (home / "insecure_private_key").write_text("no machine of the sandbox takes this key\n")
    program = programs / "vagrant"
    python = shlex.join([f"PYTHONPATH={paths.ROOT}", sys.executable, "-m", "sandbox.vagrant.stand_in"])
    program.write_text(f'#!/bin/sh\n# A stand-in for Vagrant.\nexec env {python} "$@"\n')
    program.chmod(0o755)
    return {"PATH": os.pathsep.join([str(programs), os.environ["PATH"]]), "VAGRANT_HOME": str(home)}


def remove(folder: Path) -> None:
    """Remove the stand-in in ``folder`` with all its VMs."""
    machines = folder / "home" / "machines"
    for machine in machines.iterdir() if machines.exists() else ():
        Machine("vm", machine).stop()
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except VagrantError as error:
        sys.exit(str(error))

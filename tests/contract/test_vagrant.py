"""Vagrant accepts the Vagrantfile; its script reports how to reach the VM, and clear errors."""

import json
import os
import platform
import re
import shutil
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from components import remote
from sandbox import paths

from .scripts import Done, stand_in

FOLDER = paths.ROOT / "files" / "vagrant"
VM = "watchpost-dev-vm-1-0123456789ab"
VARIABLES = {
    "vm": VM,
    "name": "vm-1",
    "box": "bento/ubuntu-24.04",
    "memory": "1024",
    "cpus": "2",
    "start": "fake-start",
}
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIfakefakefakefakefakefakefakefakefakefake"
OTHER_KEY = "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBfakefake="
SSH_CONFIG = """\
Host default
  HostName 127.0.0.1
  User vagrant
  Port 2
  UserKnownHostsFile /dev/null
  StrictHostKeyChecking no
  PasswordAuthentication no
  IdentityFile "{folder}/my projects/private_key"
  IdentitiesOnly yes
  LogLevel FATAL
"""
"""Output of ``vagrant ssh-config``: a path with a blank is quoted. Nothing answers at port 2."""

VAGRANT = """\
echo "$*" >>{folder}/calls
env | sort >{folder}/environment
pwd >{folder}/cwd
name=$(sed -n 's/.*"vm": "\\([^"]*\\)".*/\\1/p' settings.json 2>/dev/null)
machine=.vagrant/machines/$name/virtualbox
case $1 in
up) mkdir -p $machine; echo uuid >$machine/id; echo running >{folder}/state; echo "Bringing machine up..." ;;
reload) echo "Restarting..." ;;
status) echo "1700000000,$name,state,$(cat {folder}/state 2>/dev/null || echo not_created)" ;;
ssh-config) cat {folder}/ssh-config ;;
ssh) cat {folder}/host-keys ;;
destroy) rm -rf .vagrant/machines/*/* ;;
esac"""


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """A folder with a ``vagrant`` that records calls and their environment, and answers as a running VM."""
    folder = tmp_path / "bin"
    (tmp_path / "my projects").mkdir()
    (tmp_path / "my projects" / "private_key").write_text("fake-key")
    (tmp_path / "ssh-config").write_text(SSH_CONFIG.format(folder=tmp_path))
    (tmp_path / "host-keys").write_text(f"{KEY} root@vm\n{OTHER_KEY} root@vm\n")
    shutil.copytree(paths.ROOT / "files", tmp_path / "files")
    stand_in(folder, "vagrant", VAGRANT.format(folder=tmp_path))
    return folder


def script(programs: Path, verb: str, *, path: str | None = None, **variables: str) -> Done:
    """Run the script as the program does, in a separate clone; an empty variable is unset."""
    variables = {name: value for name, value in {**VARIABLES, **variables}.items() if value}
    return subprocess.run(
        ["bash", "-c", remote.local_command_line("vagrant/vm.sh", verb)],
        cwd=programs.parent,
        env={"PATH": path or os.pathsep.join([str(programs), os.environ["PATH"]]), **variables},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def applied(programs: Path, **variables: str) -> dict[str, Any]:
    done = script(programs, "apply", **variables)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def calls(programs: Path) -> list[str]:
    """Return the commands called since the last check."""
    file = programs.parent / "calls"
    found = file.read_text().splitlines() if file.exists() else []
    file.unlink(missing_ok=True)
    return [call.split()[0] for call in found]


def vm_folder(programs: Path, vm: str = VM) -> Path:
    return programs.parent / ".vagrant" / "vms" / vm


def test_the_script_prints_what_the_program_connects_with(programs: Path) -> None:
    done = script(programs, "apply")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "address": "127.0.0.1",
        "port": 2,
        "user": "vagrant",
        "private_key_file": f"{programs.parent}/my projects/private_key",
        "host_key": KEY,
        "folder": str(vm_folder(programs)),
        "machine": platform.node(),
        "start": "fake-start",
    }
    assert json.loads((vm_folder(programs) / "vm.json").read_text()) == json.loads(done.stdout)
    assert "Bringing machine up..." in done.stderr
    assert calls(programs) == ["up", "ssh-config", "ssh"]


def test_vagrant_works_in_a_folder_of_the_vms_own_with_its_settings(programs: Path) -> None:
    applied(programs, VAGRANT_CWD="/elsewhere", VAGRANT_DOTFILE_PATH="/elsewhere", DD_API_KEY="fake-key")
    assert (programs.parent / "cwd").read_text().strip() == str(vm_folder(programs))
    told = (programs.parent / "environment").read_text()
    assert "VAGRANT_CWD" not in told
    assert "VAGRANT_DOTFILE_PATH" not in told
    assert "fake-key" not in told
    assert json.loads((vm_folder(programs) / "settings.json").read_text()) == {
        "vm": VM,
        "hostname": "vm-1",
        "box": "bento/ubuntu-24.04",
        "memory": 1024,
        "cpus": 2,
    }
    assert (vm_folder(programs) / "Vagrantfile").read_text() == (FOLDER / "Vagrantfile").read_text()


def test_removal_destroys_the_vm_and_leaves_nothing_of_it(programs: Path) -> None:
    applied(programs)
    applied(programs, vm="another-vm")
    calls(programs)
    done = script(programs, "remove")
    assert (done.returncode, done.stdout) == (0, "")
    assert calls(programs) == ["destroy"]
    assert [folder.name for folder in vm_folder(programs).parent.iterdir()] == ["another-vm"]
    script(programs, "remove", vm="another-vm")
    assert not (programs.parent / ".vagrant").exists()


def test_what_never_came_up_is_removed_without_vagrant(programs: Path) -> None:
    assert json.loads(script(programs, "own").stdout)["folder"] == str(vm_folder(programs))
    assert script(programs, "remove", path=without_vagrant(programs)).returncode == 0
    assert not (programs.parent / ".vagrant").exists()


def without_vagrant(programs: Path) -> str:
    """Return a PATH with everything else that the script calls."""
    tools = programs.parent / "tools"
    tools.mkdir(exist_ok=True)
    for name in ("bash", "grep", "head", "sed", "tail", "tr", "uname", "rm", "rmdir", "mkdir"):
        if not (tools / name).exists():
            (tools / name).symlink_to(str(shutil.which(name)))
    return str(tools)


@pytest.mark.parametrize("verb", ["own", "apply"])
def test_vagrant_that_is_not_installed_is_said_so(programs: Path, verb: str) -> None:
    done = script(programs, verb, path=without_vagrant(programs))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("watchpost: Vagrant is not installed here, which host 'vm-1' asks for; install ")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("broken", ["up", "ssh-config", "ssh"])
def test_a_vagrant_that_fails_gives_no_address_and_removal_finds_its_vm(programs: Path, broken: str) -> None:
    original = (programs / "vagrant").read_text().removeprefix("#!/bin/sh\n")
    late = original.replace("esac", f'esac\n[ "$1" != {broken} ] || {{ echo "it broke" >&2; exit 1; }}')
    stand_in(programs, "vagrant", late.replace("cat " + str(programs.parent / "host-keys"), ":"))
    done = script(programs, "apply")
    # Without a host key any machine that answers would pass for the VM.
    assert done.returncode != 0, done.stdout
    assert done.stdout == ""
    assert "it broke" in done.stderr
    assert done.stderr.splitlines()[-1].startswith("watchpost: ")
    calls(programs)
    assert script(programs, "remove").returncode == 0
    assert calls(programs) == ["destroy"]


def test_changed_settings_restart_a_vm_that_runs_and_that_is_said(programs: Path) -> None:
    applied(programs)
    calls(programs)
    done = script(programs, "apply", memory="2048")
    assert "watchpost: restarting the VM of 'vm-1' (vagrant reload)" in done.stderr
    assert calls(programs) == ["status", "reload", "ssh-config", "ssh"]
    applied(programs, memory="2048")
    assert "reload" not in calls(programs)
    (programs.parent / "state").write_text("poweroff\n")
    applied(programs, memory="2048", cpus="4")
    assert calls(programs) == ["status", "up", "ssh-config", "ssh"]


def test_a_changed_vagrantfile_restarts_a_vm_that_runs(programs: Path) -> None:
    applied(programs)
    with (programs.parent / "files" / "vagrant" / "Vagrantfile").open("a") as file:
        file.write("# more\n")
    calls(programs)
    applied(programs)
    assert "reload" in calls(programs)


@pytest.mark.parametrize("state", ["saved", "paused", "suspended"])
def test_changed_settings_of_a_suspended_vm_count_too(programs: Path, state: str) -> None:
    applied(programs)
    (programs.parent / "state").write_text(f"{state}\n")
    calls(programs)
    applied(programs, memory="2048")
    # `vagrant up` only resumes it, and `vagrant reload` would discard its memory.
    assert calls(programs) == ["status", "up", "reload", "ssh-config", "ssh"]


def test_a_status_that_fails_leaves_the_cause_to_up(programs: Path) -> None:
    applied(programs)
    original = (programs / "vagrant").read_text().removeprefix("#!/bin/sh\n")
    # With --machine-readable, errors are on standard output.
    error = "1700000000,,error-exit,Vagrant::Errors::VirtualBoxKernelModuleNotLoaded,..."
    failing = f'[ "$1" != status ] || {{ echo "{error}"; exit 1; }}\n{original}'
    stand_in(programs, "vagrant", failing)
    calls(programs)
    done = script(programs, "apply", memory="2048")
    assert (done.returncode, done.stderr) == (0, "Bringing machine up...\n")
    assert calls(programs) == ["up", "ssh-config", "ssh"]


def test_a_restart_that_failed_is_done_again(programs: Path) -> None:
    applied(programs)
    original = (programs / "vagrant").read_text()
    (programs / "vagrant").write_text(original.replace('reload) echo "Restarting..."', "reload) exit 1"))
    assert script(programs, "apply", memory="2048").returncode
    (programs / "vagrant").write_text(original)
    calls(programs)
    applied(programs, memory="2048")
    assert "reload" in calls(programs)


NOISE = "Welcome to Ubuntu\r\n\x1b[1mssh-rsa\x1b[0m keys are old-fashioned\r\n"


@pytest.mark.parametrize(
    ("printed", "expected"),
    [
        (f"{KEY} root@vm\r\n", KEY),
        (f"{NOISE}{KEY} root@vm\r\n{NOISE}", KEY),
        (f"Welcome{KEY}\n", KEY),
        (f"{OTHER_KEY} root@vm\n", OTHER_KEY),
        (f"ssh-rsa AAAAB3NzaC1yc2EAAAAfake root@vm\n{OTHER_KEY} root@vm\n", OTHER_KEY),
        ("ssh-rsa AAAAB3NzaC1yc2EAAAAfake root@vm\n", "ssh-rsa AAAAB3NzaC1yc2EAAAAfake"),
    ],
)
def test_the_host_key_is_found_among_what_a_profile_prints(programs: Path, printed: str, expected: str) -> None:
    (programs.parent / "host-keys").write_text(printed, newline="")
    assert applied(programs)["host_key"] == expected


def test_a_host_key_that_cannot_be_read_is_one_sentence_with_what_was_said(programs: Path) -> None:
    (programs.parent / "host-keys").write_text("cat: Permission denied\r\n")
    done = script(programs, "apply")
    assert (done.returncode, done.stdout) == (1, "")
    last = done.stderr.splitlines()[-1]
    assert last.startswith(
        "watchpost: the host key of the VM of 'vm-1' can't be read (`vagrant ssh` said: cat: Permission"
    )


def test_a_key_that_the_vm_refuses_is_said_so(programs: Path) -> None:
    (programs.parent / "host-keys").write_text("vagrant@127.0.0.1: Permission denied (publickey).\r\n")
    done = script(programs, "apply")
    assert (done.returncode, done.stdout) == (1, "")
    assert "my projects/private_key, is not accepted there; make the VM anew: " in done.stderr.splitlines()[-1]


def test_a_carriage_return_in_the_ssh_config_is_no_part_of_a_value(programs: Path) -> None:
    config = programs.parent / "ssh-config"
    before = applied(programs)
    config.write_text(config.read_text().replace("\n", "\r\n"), newline="")
    assert applied(programs) == before


def test_what_a_plugin_says_beside_the_ssh_config_does_no_harm(programs: Path) -> None:
    before = applied(programs)
    config = programs.parent / "ssh-config"
    config.write_text(f"==> vagrant: A new version of Vagrant is available: 9!\n{config.read_text()}Port forwarding\n")
    assert applied(programs) == before


def test_of_several_keys_one_that_is_there_is_taken(programs: Path) -> None:
    config = programs.parent / "ssh-config"
    config.write_text(config.read_text().replace("  IdentityFile", "  IdentityFile /nowhere/key\n  IdentityFile"))
    assert applied(programs)["private_key_file"] == f"{programs.parent}/my projects/private_key"


def test_of_several_keys_the_one_that_logs_in_is_taken(programs: Path) -> None:
    good = programs.parent / "good"
    good.write_text("fake-key")
    config = programs.parent / "ssh-config"
    config.write_text(f"{config.read_text()}  IdentityFile {good}\n")
    stand_in(programs, "ssh", f'case "$*" in *"-i {good} "*) exit 0 ;; *) exit 255 ;; esac')
    assert applied(programs)["private_key_file"] == str(good)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda text: "".join(x for x in text.splitlines(True) if "IdentityFile" not in x), "gives no key to log in"),
        (lambda text: text.replace("my projects", "elsewhere"), "/elsewhere/private_key, is gone; make the VM anew"),
        (lambda text: text.replace("Port 2", "Port"), "tells no address, port and user of the VM of 'vm-1'"),
        (lambda _: "", "tells no address, port and user of the VM of 'vm-1'"),
    ],
)
def test_an_ssh_config_that_is_no_use_is_said_so(programs: Path, change: Callable[[str], str], said: str) -> None:
    config = programs.parent / "ssh-config"
    config.write_text(change(config.read_text()))
    done = script(programs, "apply")
    assert (done.returncode, done.stdout) == (1, "")
    assert said in done.stderr.splitlines()[-1]


def test_a_vm_behind_another_machine_is_said_so(programs: Path) -> None:
    config = programs.parent / "ssh-config"
    config.write_text(f"{config.read_text()}  ProxyCommand ssh 'server' -W %h:%p\n")
    done = script(programs, "apply")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines()[-1].startswith("watchpost: the VM of 'vm-1' is on another machine, which Vagrant")


def test_a_key_that_somebody_removed_is_said_so_before_vagrant_waits_for_the_vm(programs: Path) -> None:
    key = vm_folder(programs) / ".vagrant" / "machines" / VM / "virtualbox" / "private_key"
    config = programs.parent / "ssh-config"
    inserted = config.read_text().replace(f"{programs.parent}/my projects/private_key", str(key))
    key.parent.mkdir(parents=True)
    key.write_text("fake-key")
    config.write_text(inserted)
    assert applied(programs)["private_key_file"] == str(key)
    key.unlink()
    # Then the real one names the key that every box has, and that this VM no longer takes.
    config.write_text(SSH_CONFIG.format(folder=programs.parent))
    calls(programs)
    done = script(programs, "apply")
    assert (done.returncode, done.stdout) == (1, "")
    assert f"the key of the VM of 'vm-1', {key}, is gone; make the VM anew: pulumi up --replace" in done.stderr
    assert calls(programs) == []


def test_of_a_ruby_error_only_the_error_is_told(programs: Path) -> None:
    error = "/usr/lib/ruby/fileutils.rb:243:in `mkdir': No such file or directory @ dir_s_mkdir - /x (Errno::ENOENT)"
    frame = "\tfrom /usr/lib/ruby/fileutils.rb:243:in `fu_mkdir'"
    (programs.parent / "said").write_text(f"{error}\n{frame}\n{frame}\n")
    stand_in(programs, "vagrant", f"cat {programs.parent}/said >&2; exit 1")
    done = script(programs, "apply", VAGRANT_HOME="/x")
    assert failed(done).startswith("Vagrant can't write to /x: correct VAGRANT_HOME")
    assert done.stderr.splitlines()[:-1] == [error]


def test_a_log_that_vagrant_is_asked_for_is_a_file(programs: Path) -> None:
    applied(programs, VAGRANT_LOG="debug")
    told = (programs.parent / "environment").read_text()
    assert f"VAGRANT_LOG_FILE={vm_folder(programs)}/vagrant.log\n" in told


def test_vagrant_installs_no_provider_and_works_on_this_vm_alone(programs: Path) -> None:
    applied(programs)
    script(programs, "remove")
    told = (programs.parent / "calls").read_text().splitlines()
    assert told[:2] == [f"up {VM} --no-install-provider", f"ssh-config {VM}"]
    assert told[-1] == f"destroy {VM} --force"


@pytest.mark.parametrize("lost", [["Vagrantfile"], ["settings.json"], ["Vagrantfile", "settings.json"]])
def test_a_vm_whose_files_are_lost_is_destroyed_and_no_other(programs: Path, lost: list[str]) -> None:
    applied(programs)
    # Without its own, Vagrant takes the next one in the folders above.
    (programs.parent / "Vagrantfile").write_text("# another project's\n")
    for name in lost:
        (vm_folder(programs) / name).unlink()
    original = (programs / "vagrant").read_text().removeprefix("#!/bin/sh\n")
    stand_in(programs, "vagrant", f"cat Vagrantfile settings.json >{programs.parent}/read\n{original}")
    assert (
        script(programs, "remove", vm="watchpost-renamed-vm-1", PULUMI_COMMAND_STDOUT=own_output(programs)).stderr == ""
    )
    assert (programs.parent / "calls").read_text().splitlines()[-1] == f"destroy {VM} --force"
    read = (programs.parent / "read").read_text()
    assert (FOLDER / "Vagrantfile").read_text() in read
    assert f'"vm": "{VM}"' in read
    assert not vm_folder(programs).exists()


def own_output(programs: Path) -> str:
    return json.dumps({"folder": str(vm_folder(programs)), "machine": platform.node()})


def test_a_vm_whose_settings_are_lost_is_still_this_one(programs: Path) -> None:
    applied(programs)
    (vm_folder(programs) / "settings.json").write_text("")  # as a full disk leaves it
    applied(programs)
    assert json.loads((vm_folder(programs) / "settings.json").read_text())["vm"] == VM


def test_a_vm_that_never_was_is_removed_even_without_vagrant(programs: Path) -> None:
    script(programs, "own")
    (vm_folder(programs) / ".vagrant" / "machines" / VM / "virtualbox").mkdir(parents=True)
    done = script(programs, "remove", path=without_vagrant(programs))
    assert done.returncode == 0, done.stderr
    assert not vm_folder(programs).exists()


def test_a_destroy_that_fails_says_what_to_do_if_the_vm_is_gone(programs: Path) -> None:
    applied(programs)
    said = "The provider 'libvirt' could not be found, but was requested to\nback the machine 'x'."
    stand_in(programs, "vagrant", f'echo "{said}" >&2; exit 1')
    cause = failed(script(programs, "remove"), "destroy")
    assert cause.startswith("Vagrant has no provider 'libvirt' here: install its plugin")
    assert cause.endswith(f"If the VM is gone for good, remove its folder first: rm -r '{vm_folder(programs)}'")
    assert vm_folder(programs).exists()


def test_a_folder_that_cannot_be_made_is_said_so(programs: Path) -> None:
    (programs.parent / ".vagrant").write_text("a file")
    done = script(programs, "own")
    assert (done.returncode, done.stdout) == (1, "")
    assert "watchpost: the folder of the VM of 'vm-1', " in done.stderr.splitlines()[-1]


def test_progress_that_is_drawn_over_itself_is_told_once(programs: Path) -> None:
    bar = "".join(f"\\r\\033[KProgress: {percent}%%" for percent in range(100))
    stand_in(programs, "vagrant", f"printf '{bar}\\r\\033[Kdone\\n'\n{VAGRANT.format(folder=programs.parent)}")
    done = script(programs, "remove", vm="", name="vm-1")
    assert done.stderr.splitlines() == ["done"]


LOCKED = (
    "An action 'up' was attempted,\nbut another process is already executing an action on the machine.\n",
    "Vagrant attempted to acquire a lock, but this\nlock is being held by another instance of Vagrant already.\n",
    "Vagrant can't use the requested machine because it is locked! This\nmeans that another Vagrant process is\n",
    "Download to global Vagrant location already in progress. This\nmay be caused by other Vagrant processes\n",
)
"""Source: hashicorp/vagrant, templates/locales/en.yml, as Vagrant breaks the lines."""


def locked(programs: Path, command: str, text: str) -> Path:
    """Lock the VM for a command, as long as there is the returned file."""
    file = programs.parent / "locked"
    file.write_text(text)
    wait = f'[ "$1" != {command} ] || [ ! -e {file} ] || {{ cat {file} >&2; exit 1; }}\n'
    stand_in(programs, "vagrant", wait + VAGRANT.format(folder=programs.parent))
    return file


@pytest.mark.parametrize(("command", "text"), [*(("up", text) for text in LOCKED), ("ssh-config", LOCKED[2])])
def test_a_vm_that_another_vagrant_works_on_is_waited_for(programs: Path, command: str, text: str) -> None:
    stand_in(programs, "sleep", f"rm {locked(programs, command, text)}")
    done = script(programs, "apply")
    assert done.returncode == 0, done.stderr
    assert "watchpost: waiting for another Vagrant command on the VM of 'vm-1' to end" in done.stderr


def test_a_lock_that_is_never_released_is_the_cause(programs: Path) -> None:
    locked(programs, "up", LOCKED[0])
    stand_in(programs, "sleep", "exit 0")
    file = programs.parent / "files" / "vagrant" / "vm.sh"
    file.write_text(file.read_text().replace("waits=120", "waits=2"))
    assert failed(script(programs, "apply")).startswith("another Vagrant command has been at work for ten minutes")


def failed(done: Done, command: str = "up") -> str:
    """Return the cause that the script's last line, one sentence, gives for the failure of a Vagrant command."""
    assert (done.returncode, done.stdout) == (1, "")
    begin, middle, cause = done.stderr.splitlines()[-1].partition(" failed for host 'vm-1': ")
    assert begin == f"watchpost: `vagrant {command}`", done.stderr
    assert middle
    return cause


VBOXMANAGE = """\
There was an error while executing `VBoxManage`, a CLI used by Vagrant
for controlling VirtualBox. The command and stderr is shown below.

Command: ["startvm", "5c2b239b-2b3f-459a-abff-46f2493c527d", "--type", "headless"]

Stderr: VBoxManage: error: """
NO_BOX = """\
The box 'bento/ubuntu-24.04' could not be found or
could not be accessed in the remote catalog. If this is a private
box on HashiCorp's Vagrant Cloud, please verify you're logged in via
`vagrant login`. Also, please double-check the name. The expanded
URL and error message are shown below:

URL: ["https://vagrantcloud.com/api/v2/vagrant/bento/ubuntu-24.04"]
Error: """
LIBVIRT = "Error while connecting to Libvirt: Error making a connection to libvirt URI qemu:///system:\n"
SOCKET = "Call to virConnectOpen failed: Failed to connect socket to '/var/run/libvirt/libvirt-sock': "
DOMAIN = "Error while creating domain: Error saving the server: Call to virDomainDefineXML failed: "


# What Vagrant says: templates/locales/en.yml of hashicorp/vagrant, and as 2.3.4 was seen to; its issues 1778, 3522,
# 11325, 12484. vagrant-libvirt: locales/en.yml. libvirt: src/qemu/qemu_domain.c, src/network/bridge_driver_linux.c.
# VirtualBox: include/VBox/err.mac, and issue 180.
@pytest.mark.parametrize(
    ("said", "cause"),
    [
        (
            VBOXMANAGE + "VT-x is being used by another hypervisor (VERR_VMX_IN_VMX_ROOT_MODE).",
            "another hypervisor, such as KVM, holds",
        ),
        (VBOXMANAGE + "VT-x is not available (VERR_VMX_NO_VMX)", "this machine's processor offers no virtualization"),
        (
            VBOXMANAGE + "VT-x is disabled in the BIOS for all CPU modes (VERR_VMX_MSR_ALL_VMX_DISABLED)",
            "this machine's processor offers no virtualization",
        ),
        (
            DOMAIN + "invalid argument: could not get preferred machine for /usr/bin/qemu-system-x86_64 type=kvm",
            "this machine's processor offers no virtualization",
        ),
        (
            "VirtualBox is complaining that the kernel module is not loaded. Please\nrun `VBoxManage --version` or",
            "VirtualBox's kernel module is not loaded",
        ),
        ("Vagrant could not detect VirtualBox! Make sure", "Vagrant has no provider here that works"),
        (
            "The provider 'vmware_desktop' could not be found, but was requested to\nback the machine 'x'. Please",
            "Vagrant has no provider 'vmware_desktop' here: install its plugin (vagrant plugin install vagrant-vmware-",
        ),
        (LIBVIRT + SOCKET + "Permission denied", "this user may not use libvirt"),
        (LIBVIRT + SOCKET + "No such file or directory", "libvirt does not answer"),
        (NO_BOX + "Could not resolve host: vagrantcloud.com", "the box 'bento/ubuntu-24.04' can't be downloaded"),
        (NO_BOX + "The requested URL returned error: 404", "there is no box 'bento/ubuntu-24.04'"),
        (
            "The box you're attempting to add doesn't support the provider\nyou requested.",
            "the box 'bento/ubuntu-24.04' is not for this provider",
        ),
        (
            "The box you're attempting to add has no available version that\nmatches the constraints you requested",
            "the box 'bento/ubuntu-24.04' is not for this provider",
        ),
        (
            "The box you're attempting to add doesn't support the requested\narchitecture.",
            "the box 'bento/ubuntu-24.04' is not for this provider",
        ),
        (
            "An error occurred while downloading the remote file. The error\n\nFailed writing body (8568 != 16347)",
            "the disk is full",
        ),
        (
            VBOXMANAGE + "VMDK: cannot write allocated data block in '/home/x/box-disk1.vmdk' (VERR_DISK_FULL)",
            "the disk is full",
        ),
        (
            "The box failed to unpackage properly. Please verify that the box\n\nx ./box-disk1.vmdk: Write failed",
            "the disk is full",
        ),
        (
            "The name couldn't be set because VirtualBox\nis reporting another VM with that name already exists.",
            f"a VM named {VM} is there already",
        ),
        (
            f"Name `{VM}` of domain about to create is already taken. Please try to run\n`vagrant up` command again.",
            f"a VM named {VM} is there already",
        ),
        (
            "The IP address configured for the host-only network is not within the\nallowed ranges. Please update",
            "VirtualBox refuses the address of a host-only network",
        ),
        (
            "Error while activating network: internal error: Network is already in use by interface eth0.",
            "another network here has the addresses of libvirt's",
        ),
        (
            "would collide with some other application that is already listening\non these ports.",
            "another program has taken the VM's forwarded port",
        ),
        (VBOXMANAGE + "Failed to allocate (VERR_NO_MEMORY)", "this machine hasn't 1024 MiB of memory left"),
        (
            "Timed out while waiting for the machine to boot. This means that\nVagrant was unable to communicate",
            "the VM did not come up",
        ),
        (
            "The VirtualBox VM was created with a user that doesn't match the\ncurrent user running Vagrant.",
            "the VM belongs to another user",
        ),
        (
            "There is a syntax error in the following Vagrantfile. The syntax error\nmessage is reproduced below",
            "a Vagrantfile has the error above",
        ),
        ("VBoxManage: error: nobody has seen this (VERR_UNHEARD_OF)", "see above; then run `pulumi up` again"),
    ],
)
def test_a_failed_up_is_one_sentence_with_the_cause_and_what_to_do(programs: Path, said: str, cause: str) -> None:
    (programs.parent / "said").write_text(f"{said}\n")
    # A warning that Vagrant gives at each start without a network is no cause.
    warning = "There was a problem while downloading the metadata for your box"
    stand_in(programs, "vagrant", f'[ "$1" = up ] && {{ echo "{warning}"; cat {programs.parent}/said >&2; exit 1; }}')
    done = script(programs, "apply")
    assert failed(done).startswith(cause)
    assert said.splitlines()[-1] in done.stderr


def test_two_vms_are_not_made_at_once(programs: Path) -> None:
    mine = programs.parent / "at-work"
    text = VAGRANT.format(folder=programs.parent)
    stand_in(programs, "vagrant", f'[ "$1" != up ] || {{ mkdir {mine} && sleep 1 && rmdir {mine}; }} || exit 1\n{text}')
    (programs.parent / ".vagrant" / "vms").mkdir(parents=True)
    # A killed one holds up nobody.
    (programs.parent / ".vagrant" / "vms" / ".turn").symlink_to("999999999")
    with ThreadPoolExecutor() as pool:
        done = list(pool.map(lambda vm: script(programs, "apply", vm=vm), ("one", "two", "three")))
    assert [each.returncode for each in done] == [0, 0, 0], done
    assert sorted(path.name for path in (programs.parent / ".vagrant" / "vms").iterdir()) == ["one", "three", "two"]


def test_a_turn_that_another_one_has_by_now_is_left_to_it(programs: Path) -> None:
    turn = programs.parent / ".vagrant" / "vms" / ".turn"
    text = VAGRANT.format(folder=programs.parent)
    stand_in(programs, "vagrant", f'[ "$1" != ssh-config ] || ln -s 1 {turn} || exit 1\n{text}')
    applied(programs)
    assert str(turn.readlink()) == "1"


def test_of_those_that_find_a_killed_ones_turn_one_has_the_next(tmp_path: Path) -> None:
    script_text = (paths.ROOT / "files" / "vagrant" / "vm.sh").read_text()
    functions = re.findall(r"^(?:say|take_turn|end_turn)\(\) \{.*?^\}$", script_text, re.MULTILINE | re.DOTALL)
    assert len(functions) == 3
    taking = "\n".join(functions).replace("sleep 1", "sleep 0.01")
    one = f"name=vm\n{taking}\ntake_turn; mkdir at-work || exit 1; sleep 0.02; rmdir at-work"
    turn = tmp_path / ".vagrant" / "vms" / ".turn"
    turn.parent.mkdir(parents=True)
    for _ in range(20):
        turn.symlink_to("999999999")
        crowd = [subprocess.Popen(["bash", "-c", one], cwd=tmp_path) for _ in range(4)]
        assert [each.wait(30) for each in crowd] == [0] * 4
        assert list(turn.parent.iterdir()) == []


def test_a_provider_whose_memory_is_not_set_is_named(programs: Path) -> None:
    assert "are left to its box" not in script(programs, "apply").stderr
    script(programs, "remove")
    stand_in(programs, "vagrant", VAGRANT.format(folder=programs.parent).replace("/virtualbox", "/docker"))
    said = script(programs, "apply").stderr
    assert (
        "watchpost: memory and cpus of host 'vm-1' are left to its box: Vagrant's provider 'docker' is none of" in said
    )
    providers = [
        line.split('"')[1] for line in (FOLDER / "Vagrantfile").read_text().splitlines() if ".provider " in line
    ]
    assert said.splitlines()[-1].split("none of ")[1].split() == providers


def test_a_vm_of_a_stack_with_another_name_is_taken_along(programs: Path) -> None:
    before = script(programs, "own").stdout
    applied(programs)
    calls(programs)
    owned = script(programs, "own", vm="watchpost-renamed-vm-1", PULUMI_COMMAND_STDOUT=before)
    assert owned.returncode == 0, owned.stderr
    assert not vm_folder(programs).exists()
    found = applied(programs, vm="watchpost-renamed-vm-1", PULUMI_COMMAND_STDOUT=before)
    assert found["folder"] == str(vm_folder(programs, "watchpost-renamed-vm-1"))
    # The same VM under its original name, not restarted.
    assert json.loads((Path(found["folder"]) / "settings.json").read_text())["vm"] == VM
    assert calls(programs) == ["up", "ssh-config", "ssh"]


OLD_OUTPUT = json.dumps(
    {"address": "127.0.0.1", "port": 2222, "user": "vagrant", "private_key_file": "x", "host_key": KEY}
)


def old_layout(programs: Path) -> Path:
    """A VM in the layout from before VMs had their own folders."""
    old = programs.parent / ".vagrant" / "vm-1"
    (old / "machines" / "default" / "virtualbox").mkdir(parents=True)
    (old / "machines" / "default" / "virtualbox" / "id").write_text("uuid-of-old")
    (old / "rgloader").mkdir()
    return old


def test_a_vm_of_the_older_layout_is_taken_along_by_its_own_stack(programs: Path) -> None:
    old = old_layout(programs)
    script(programs, "own")
    applied(programs, PULUMI_COMMAND_STDOUT=OLD_OUTPUT)
    assert not old.exists()
    assert (vm_folder(programs) / ".vagrant" / "machines" / VM / "virtualbox" / "id").exists()


def test_a_vm_of_the_older_layout_is_no_new_stacks_own(programs: Path) -> None:
    old = old_layout(programs)
    script(programs, "own")
    applied(programs)
    assert (old / "machines" / "default" / "virtualbox" / "id").read_text() == "uuid-of-old"


def test_a_state_of_the_older_layout_is_destroyed_as_it_was_made(programs: Path) -> None:
    old = old_layout(programs)
    done = script(programs, "remove", vm="", start="")
    assert done.returncode == 0, done.stderr
    assert f"VAGRANT_DOTFILE_PATH={old}\n" in (programs.parent / "environment").read_text()
    assert calls(programs) == ["destroy"]
    assert not old.exists()


@pytest.mark.parametrize("verb", ["apply", "remove"])
def test_a_vm_on_another_machine_is_said_to_be_there(programs: Path, verb: str) -> None:
    there = json.dumps({"folder": "/home/somebody/.vagrant/vms/x", "machine": "laptop-of-somebody"})
    done = script(programs, verb, PULUMI_COMMAND_STDOUT=there)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("watchpost: the Vagrant VM of 'vm-1' is on laptop-of-somebody: run ")
    assert done.stderr.count("\n") == 1
    assert calls(programs) == []


def test_a_machine_that_was_renamed_is_still_the_vms(programs: Path) -> None:
    applied(programs)
    before = json.dumps({"folder": str(vm_folder(programs)), "machine": "its-name-before"})
    shutil.rmtree(vm_folder(programs) / ".vagrant")  # as `vagrant destroy` leaves it
    applied(programs, PULUMI_COMMAND_STDOUT=before)


def test_a_vm_of_another_box_that_was_left_behind_is_not_taken_for_this_one(programs: Path) -> None:
    applied(programs)
    done = script(programs, "apply", box="debian/bookworm64")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("watchpost: a VM of the box bento/ubuntu-24.04 is still in ")


def test_a_clone_with_the_line_ends_of_windows_works_alike(programs: Path) -> None:
    before = applied(programs)
    for file in (programs.parent / "files").rglob("*"):
        if file.is_file():
            file.write_bytes(file.read_bytes().replace(b"\n", b"\r\n"))
    assert applied(programs) == before
    assert b"\r" not in (vm_folder(programs) / "Vagrantfile").read_bytes()


def test_a_script_that_is_not_there_is_no_success(programs: Path) -> None:
    shutil.rmtree(programs.parent / "files")
    assert script(programs, "remove").returncode


REAL = pytest.mark.skipif(shutil.which("vagrant") is None, reason="Vagrant is not installed")
NO_MODULE = """\
WARNING: The character device /dev/vboxdrv does not exist.
\t Please install the virtualbox-dkms package and the appropriate
\t headers, most likely linux-headers-generic.
6.1.50_Ubuntur161033"""


@REAL
@pytest.mark.parametrize(
    ("version", "cause"),
    [
        (NO_MODULE, "VirtualBox's kernel module is not loaded"),
        pytest.param("99.1.6r167084", "this Vagrant supports no VirtualBox as new as this one", marks=pytest.mark.long),
    ],
)
def test_a_virtualbox_that_vagrant_cannot_use_is_told_with_the_reason(programs: Path, version: str, cause: str) -> None:
    (programs / "vagrant").unlink()
    stand_in(programs, "VBoxManage", f"cat <<'END'\n{version}\nEND")
    done = script(programs, "apply", HOME=str(programs.parent), VAGRANT_HOME=str(programs.parent / "home"))
    # Vagrant itself only says that no provider is usable.
    assert failed(done).startswith(cause)


@REAL
@pytest.mark.long
def test_vagrant_itself_works_in_the_locale_c_and_beside_a_users_own_vms(programs: Path) -> None:
    """A VirtualBox whose only VM runs; the clone is in a folder with letters beyond ASCII and another Vagrantfile."""
    clone = programs.parent / "Projekte für 'uns' 100%"
    shutil.copytree(programs.parent / "files", clone / "files")
    (programs / "vagrant").unlink()
    state = 'VMState="running"\nForwarding(0)="ssh,tcp,127.0.0.1,2,,22"'
    answers = f"--version) echo 7.0.20r163906 ;;\nshowvminfo) echo '{state}' ;;"
    stand_in(programs, "VBoxManage", f"case $1 in\n{answers}\nesac")
    stand_in(programs, "ssh", f"echo '{KEY} root@vm'")
    machine = vm_folder(clone / "bin") / ".vagrant" / "machines" / VM / "virtualbox"
    machine.mkdir(parents=True)
    (machine / "id").write_text("11111111-1111-1111-1111-111111111111")
    (machine / "creator_uid").write_text(str(os.getuid()))
    (machine / "private_key").write_text("fake-key")
    (clone.parent / "Vagrantfile").write_text("raise 'another project'")
    home = clone / "home"
    home.mkdir()
    other = 'config.vm.define("other") { |other| other.vm.box = "fake/box" }'
    (home / "Vagrantfile").write_text(f'Vagrant.configure("2") do |config|\n  {other}\nend\n')
    path = os.pathsep.join([str(programs), os.environ["PATH"]])
    variables = {"HOME": str(home), "VAGRANT_HOME": str(home), "LC_ALL": "C", "VAGRANT_LOG": "info"}
    found = applied(clone / "bin", path=path, **variables)
    assert found["private_key_file"] == str(machine / "private_key")
    assert found["host_key"] == KEY


@REAL
@pytest.mark.parametrize("fault", ["", "synced_folder"])
def test_vagrant_itself_takes_the_vagrantfile_and_no_faulty_one(tmp_path: Path, fault: str) -> None:
    text = (FOLDER / "Vagrantfile").read_text()
    (tmp_path / "Vagrantfile").write_text(text.replace(fault, f"{fault}s") if fault else text)
    done = subprocess.run(
        # VirtualBox need not be installed: its block is Ruby that Vagrant reads, but does not check.
        ["vagrant", "validate", "--ignore-provider"],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), "VAGRANT_HOME": str(tmp_path / "home")},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode == 0) == (not fault), done.stdout + done.stderr


@pytest.mark.skipif(shutil.which("ruby") is None, reason="Ruby is not installed")
def test_the_vagrantfile_is_ruby() -> None:
    subprocess.run(["ruby", "-wc", FOLDER / "Vagrantfile"], stdout=subprocess.DEVNULL, timeout=30, check=True)

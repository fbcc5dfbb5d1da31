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
machine=.vagrant/machines/$(sed -n 's/.*"vm": "\\([^"]*\\)".*/\\1/p' settings.json 2>/dev/null)/virtualbox
case $1 in
up) mkdir -p $machine; echo uuid >$machine/id; echo running >{folder}/state; echo "Bringing machine up..." ;;
reload) echo "Restarting..." ;;
status) echo "1700000000,default,state,$(cat {folder}/state 2>/dev/null || echo not_created)" ;;
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
    for name in ("bash", "sed", "tail", "tr", "uname", "rm", "rmdir", "mkdir"):
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


def test_progress_that_is_drawn_over_itself_is_told_once(programs: Path) -> None:
    bar = "".join(f"\\r\\033[KProgress: {percent}%%" for percent in range(100))
    stand_in(programs, "vagrant", f"printf '{bar}\\r\\033[Kdone\\n'\n{VAGRANT.format(folder=programs.parent)}")
    done = script(programs, "remove", vm="", name="vm-1")
    assert done.stderr.splitlines() == ["done"]


def test_a_vm_that_another_vagrant_works_on_is_waited_for(programs: Path) -> None:
    locked = (
        "An action 'up' was attempted on the machine 'default',\n"
        "but another process is already executing an action on the machine.\n"
    )
    (programs.parent / "locked").write_text(locked)
    stand_in(
        programs,
        "vagrant",
        f'[ "$1" != up ] || [ ! -e {programs.parent}/locked ] || {{ cat {programs.parent}/locked >&2; exit 1; }}\n'
        + VAGRANT.format(folder=programs.parent),
    )
    stand_in(programs, "sleep", f"rm {programs.parent}/locked")
    done = script(programs, "apply")
    assert done.returncode == 0, done.stderr
    assert "watchpost: waiting for another Vagrant command on the VM of 'vm-1' to end" in done.stderr


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


def test_of_those_that_find_a_killed_ones_turn_one_has_the_next(tmp_path: Path) -> None:
    script_text = (paths.ROOT / "files" / "vagrant" / "vm.sh").read_text()
    taking = re.search(r"^take_turn\(\) \{.*?^\}$", script_text, re.MULTILINE | re.DOTALL)
    assert taking
    one = f"{taking[0].replace('sleep 1', 'sleep 0.01')}\ntake_turn; mkdir at-work || exit 1; sleep 0.02; rmdir at-work"
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


@pytest.mark.skipif(shutil.which("vagrant") is None, reason="Vagrant is not installed")
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

"""Vagrant takes the Vagrantfile; the script around it says how to reach the VM, and says clearly what is wrong."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from sandbox import paths

from .scripts import Done, stand_in

FOLDER = paths.ROOT / "files" / "vagrant"
VARIABLES = {"name": "vm-1", "box": "bento/ubuntu-24.04", "memory": "1024", "cpus": "2"}
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIfakefakefakefakefakefakefakefakefakefake"
SSH_CONFIG = """\
Host default
  HostName 127.0.0.1
  User vagrant
  Port 2222
  UserKnownHostsFile /dev/null
  StrictHostKeyChecking no
  PasswordAuthentication no
  IdentityFile "{folder}/my projects/private_key"
  IdentitiesOnly yes
  LogLevel FATAL
"""
"""As ``vagrant ssh-config`` prints it: a path with a blank stands in quotes."""


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """A folder with a ``vagrant`` that notes each call and what it was told, and answers as a running VM would."""
    folder = tmp_path / "bin"
    (tmp_path / "ssh-config").write_text(SSH_CONFIG.format(folder=tmp_path))
    text = f"""\
echo "$*" >>{tmp_path}/calls
env | grep -E '^(WATCHPOST|VAGRANT)_' | sort >{tmp_path}/environment
case $1 in
up) echo "Bringing machine up..." ;;
ssh-config) cat {tmp_path}/ssh-config ;;
ssh) printf '%s root@vm\\r\\n' '{KEY}' ;;
esac"""
    stand_in(folder, "vagrant", text)
    return folder


def script(programs: Path, verb: str, *, path: str | None = None) -> Done:
    """The script as the program runs it, in a folder of its own."""
    return subprocess.run(
        ["bash", FOLDER / "vm.sh", verb],
        cwd=programs.parent,
        env={"PATH": path or os.pathsep.join([str(programs), os.environ["PATH"]]), **VARIABLES},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def test_the_script_prints_what_the_program_connects_with(programs: Path) -> None:
    done = script(programs, "apply")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "address": "127.0.0.1",
        "port": 2222,
        "user": "vagrant",
        "private_key_file": f"{programs.parent}/my projects/private_key",
        "host_key": KEY,
    }
    assert "Bringing machine up..." in done.stderr
    calls = (programs.parent / "calls").read_text().splitlines()
    assert [call.split()[0] for call in calls] == ["up", "ssh-config", "ssh"]


def test_vagrant_is_told_the_settings_and_keeps_its_own_files_per_vm(programs: Path) -> None:
    script(programs, "apply")
    told = dict(line.split("=", 1) for line in (programs.parent / "environment").read_text().splitlines())
    assert told == {
        "WATCHPOST_NAME": "vm-1",
        "WATCHPOST_BOX": "bento/ubuntu-24.04",
        "WATCHPOST_MEMORY": "1024",
        "WATCHPOST_CPUS": "2",
        "VAGRANT_CWD": str(FOLDER),
        "VAGRANT_DOTFILE_PATH": f"{programs.parent}/.vagrant/vm-1",
    }


def test_removal_destroys_the_vm_and_leaves_nothing_of_it(programs: Path) -> None:
    kept = programs.parent / ".vagrant" / "vm-1"
    (kept / "machines").mkdir(parents=True)
    (kept.parent / "vm-2").mkdir()
    done = script(programs, "remove")
    assert (done.returncode, done.stdout) == (0, "")
    assert (programs.parent / "calls").read_text() == "destroy --force\n"
    assert [folder.name for folder in kept.parent.iterdir()] == ["vm-2"]


def test_vagrant_that_is_not_installed_is_said_so(programs: Path) -> None:
    tools = programs.parent / "tools"
    tools.mkdir()
    for name in ("bash", "dirname", "sed", "tr", "head", "cut", "rm"):
        (tools / name).symlink_to(str(shutil.which(name)))
    done = script(programs, "apply", path=str(tools))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("watchpost: Vagrant is not installed here, which host 'vm-1' asks for; install ")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("broken", ["up", "ssh-config", "ssh"])
def test_a_vagrant_that_fails_gives_no_address(programs: Path, broken: str) -> None:
    original = (programs / "vagrant").read_text().removeprefix("#!/bin/sh\n")
    stand_in(programs, "vagrant", f'[ "$1" != {broken} ] || {{ echo "it broke" >&2; exit 1; }}\n{original}')
    done = script(programs, "apply")
    # Without a host key any machine that answers would be taken for the VM.
    assert done.returncode != 0, done.stdout
    assert done.stdout == ""


@pytest.mark.skipif(shutil.which("vagrant") is None, reason="Vagrant is not installed")
@pytest.mark.parametrize("fault", ["", "synced_folder"])
def test_vagrant_itself_takes_the_vagrantfile_and_no_faulty_one(tmp_path: Path, fault: str) -> None:
    text = (FOLDER / "Vagrantfile").read_text()
    (tmp_path / "Vagrantfile").write_text(text.replace(fault, f"{fault}s") if fault else text)
    done = subprocess.run(
        # VirtualBox need not be here: what stands in its block is Ruby that Vagrant reads, but does not check.
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

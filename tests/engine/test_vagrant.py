"""``vagrant: true`` on the real engine, with a stand-in ``vagrant`` whose VMs are machines of the sandbox.

Brings up only as far as the first step on the host: the rest is the same on any host.
"""

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sandbox import paths
from sandbox.machine import Machine
from sandbox.stack import Stack, host_entry
from sandbox.testing.stacks import Update, drift, steered, up
from sandbox.vagrant import stand_in

BOXES = ["watchpost/one", "watchpost/two"]
FIRST_STEPS = ("**::ownership-tag", "**::vm", "**::vm-vagrant", "**::vm-vm", "**::vm-ready")
TARGETS = [word for step in FIRST_STEPS for word in ("--target", step)]


@pytest.fixture(scope="module", autouse=True)
def vagrant_home() -> Iterator[Path]:
    """The stand-in first on PATH, with its own home."""
    folder = paths.local() / "tests" / "vagrant-home"
    stand_in.remove(folder)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in stand_in.install(folder, BOXES).items():
            patch.setenv(name, value)
        yield folder
    stand_in.remove(folder)
    shutil.rmtree(paths.ROOT / ".vagrant", ignore_errors=True)


def vagrant_stack(name: str) -> Iterator[Stack]:
    folder = paths.local() / "tests" / name
    try:
        with Stack(folder=folder, hosts=()).afresh() as stack:
            configure(stack)
            yield stack
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    """A stack with a Vagrant VM as its only host."""
    yield from vagrant_stack("test_vagrant")


@pytest.fixture(scope="module")
def neighbour() -> Iterator[Stack]:
    """Another stack of the same clone and name, whose host has the same name."""
    yield from vagrant_stack("test_vagrant_neighbour")


def configure(stack: Stack, **vagrant: object) -> None:
    stack.configure(part="hosts", hosts={"vm": {"vagrant": {"box": BOXES[0], "memory": 1024, **vagrant}}})


def bring_up(stack: Stack, *words: str) -> Update:
    done = up(stack, *TARGETS, *words)
    assert done.code == 0, done.text
    return done


def folders(stack: Stack) -> set[Path]:
    """Return the folders of the VMs in the stack's state."""
    return {Path(json.loads(text)["folder"]) for text in printed(stack, "vm-vagrant")}


def printed(stack: Stack, name: str) -> list[str]:
    state = json.loads(stack.pulumi("stack", "export").stdout)["deployment"]
    return [r["outputs"]["stdout"] for r in state.get("resources", []) if r["urn"].endswith(f"::{name}")]


def vagrant(folder: Path, *words: str) -> str:
    """Run ``vagrant`` in a VM's folder; return its output."""
    done = subprocess.run(["vagrant", *words], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout


def status(folder: Path) -> str:
    return vagrant(folder, "status").splitlines()[2].split(maxsplit=1)[1]


def started_with(home: Path) -> dict[str, Any]:
    """Return the settings of the only VM's last start."""
    (file,) = (home / "home" / "started").iterdir()
    settings: dict[str, Any] = json.loads(file.read_text())
    return settings


def test_a_vm_is_brought_up_in_a_folder_of_its_own_and_then_nothing_is_to_change(stack: Stack) -> None:
    assert bring_up(stack).names("create") >= {"vm-vagrant", "vm-vm", "vm-ready"}
    (folder,) = folders(stack)
    assert folder.parent == paths.ROOT / ".vagrant" / "vms"
    assert folder.name.startswith("watchpost-dev-vm-")
    assert status(folder) == "running (libvirt)"
    again = bring_up(stack)
    assert not again.names("create", "update", "replace", "delete"), again.changed
    # A redrawn progress bar is shown once.
    (told,) = (r["outputs"]["stderr"] for r in resources(stack) if r["urn"].endswith("::vm-vm"))
    assert "Progress" not in told
    assert "\r" not in told


def resources(stack: Stack) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(stack.pulumi("stack", "export").stdout)["deployment"]["resources"]
    return found


def test_a_halted_vm_is_told_by_the_preview_and_started_by_up(stack: Stack) -> None:
    (folder,) = folders(stack)
    vagrant(folder, "halt")
    preview = stack.pulumi("preview", "--stack", stack.name, *TARGETS)
    assert "the Vagrant VM of host vm does not answer" in preview.stdout + preview.stderr
    assert "`pulumi up` starts a VM that is halted" in looked(stack)
    assert bring_up(stack).names("update") == {"vm-vm"}
    assert status(folder) == "running (libvirt)"
    assert not bring_up(stack).names("create", "update", "replace")
    assert "as the stack left them" in looked(stack)


def looked(stack: Stack) -> str:
    """Return the output of ``watchpost drift``."""
    done = drift(stack)
    assert "Traceback" not in done.stderr
    return done.stdout + done.stderr


def test_changed_memory_restarts_the_vm_which_is_said(stack: Stack, vagrant_home: Path) -> None:
    configure(stack, memory=1536)
    done = bring_up(stack)
    assert done.names("update", "replace") == {"vm-vm"}
    assert "restarting the VM of 'vm' (vagrant reload)" in done.text
    assert started_with(vagrant_home)["memory"] == 1536


@pytest.mark.long
def test_changed_memory_of_a_halted_vm_counts_when_it_starts(stack: Stack, vagrant_home: Path) -> None:
    bring_up(stack)  # if it is the first of these tests to run
    (folder,) = folders(stack)
    vagrant(folder, "halt")
    configure(stack, memory=1024, cpus=1)
    assert "vagrant reload" not in bring_up(stack).text
    assert (started_with(vagrant_home)["memory"], started_with(vagrant_home)["cpus"]) == (1024, 1)


def test_a_vm_that_was_destroyed_behind_the_stacks_back_comes_back(stack: Stack) -> None:
    (folder,) = folders(stack)
    before = printed(stack, "vm-vm")
    vagrant(folder, "destroy", "--force")
    preview = stack.pulumi("preview", "--stack", stack.name, *TARGETS)
    assert "the Vagrant VM of host vm does not answer" in preview.stdout + preview.stderr
    # Its steps run again on the new one.
    assert bring_up(stack).names("update") == {"vm-vm", "vm-ready"}
    assert status(folder) == "running (libvirt)"
    assert printed(stack, "vm-vm") != before


def test_two_stacks_of_one_clone_have_a_vm_each(stack: Stack, neighbour: Stack) -> None:
    bring_up(neighbour)
    (mine,), (theirs,) = folders(stack), folders(neighbour)
    assert mine != theirs
    neighbour.pulumi("destroy", "--yes", "--skip-preview", "--stack", neighbour.name)
    assert not theirs.exists()
    assert status(mine) == "running (libvirt)"
    assert not bring_up(stack).names("create", "update", "replace")


@pytest.mark.long
def test_a_vm_whose_first_coming_up_failed_is_destroyed_with_the_stack(
    neighbour: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = shutil.which("vagrant")
    broken = tmp_path / "vagrant"
    broken.write_text(f'#!/bin/sh\n[ "$1" = ssh ] && {{ echo Welcome; exit 255; }}\nexec {real} "$@"\n')
    broken.chmod(0o755)
    with monkeypatch.context() as patch:
        patch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
        failed = up(neighbour, *TARGETS)
    assert failed.code
    assert "the host key of the VM of 'vm' can't be read" in failed.text
    (folder,) = folders(neighbour)
    assert status(folder) == "running (libvirt)"
    neighbour.pulumi("destroy", "--yes", "--skip-preview", "--stack", neighbour.name)
    assert not folder.exists()


def test_a_vm_whose_first_coming_up_failed_is_taken_over_by_the_next_up(neighbour: Stack) -> None:
    configure(neighbour, box="watchpost/nowhere")
    failed = up(neighbour, *TARGETS)
    assert failed.code
    assert "The box 'watchpost/nowhere' could not be found" in failed.text
    configure(neighbour)
    bring_up(neighbour)
    (folder,) = folders(neighbour)
    assert status(folder) == "running (libvirt)"


@pytest.mark.long
def test_an_up_that_was_interrupted_while_the_vm_came_up_is_gone_on_with(neighbour: Stack) -> None:
    neighbour.pulumi("destroy", "--yes", "--skip-preview", "--stack", neighbour.name)
    # Ctrl-C; Vagrant itself continues.
    done = steered(neighbour, ("Starting domain.", lambda group: os.killpg(group, signal.SIGINT)), words=TARGETS)
    assert done.code, done.text
    neighbour.start()  # lifts a lock that the engine may have left
    configure(neighbour)
    bring_up(neighbour)
    (folder,) = folders(neighbour)
    assert status(folder) == "running (libvirt)"


@pytest.mark.long
def test_a_host_goes_from_vagrant_to_an_address_and_back_in_one_update_each(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    there = Machine("vm", tmp_path_factory.mktemp("address") / "vm")
    try:
        there.start()
        for stack in vagrant_stack("test_vagrant_address"):
            bring_up(stack)
            (folder,) = folders(stack)
            stack.configure(hosts={"vm": host_entry(there)})
            moved = bring_up(stack)
            assert moved.names("update") == {"vm-ready"}
            assert moved.names("delete") == {"vm-vagrant", "vm-vm"}
            assert not folder.exists()
            assert there.run("cat /var/lib/watchpost/owner").stdout.endswith("/vm\n")
            assert not bring_up(stack).names("create", "update", "replace", "delete")

            configure(stack)
            back = bring_up(stack)
            assert back.names("create") == {"vm-vagrant", "vm-vm"}
            assert back.names("update") == {"vm-ready"}
            (folder,) = folders(stack)
            assert status(folder) == "running (libvirt)"
            # The machine at the address is left alone.
            assert there.run("cat /var/lib/watchpost/owner").stdout.endswith("/vm\n")
            stack.pulumi("destroy", "--yes", "--skip-preview", "--stack", stack.name)
            assert not folder.exists()
    finally:
        there.stop()


def test_another_box_is_another_vm_and_destroy_leaves_nothing(
    neighbour: Stack, stack: Stack, vagrant_home: Path
) -> None:
    (folder,) = folders(neighbour)
    key = json.loads(printed(neighbour, "vm-vm")[0])["host_key"]
    configure(neighbour, box=BOXES[1])
    done = bring_up(neighbour)
    # Pulumi replaces resources along with the VM that they are `deletedWith`:
    assert done.names("replace") == {"vm-vagrant", "vm-vm", "vm-ready"}
    assert not done.names("update")
    assert json.loads(printed(neighbour, "vm-vm")[0])["host_key"] != key
    for each in (neighbour, stack):
        each.pulumi("destroy", "--yes", "--skip-preview", "--stack", each.name)
    assert not folder.exists()
    assert not (paths.ROOT / ".vagrant" / "vms").exists()
    assert not list((vagrant_home / "home" / "machines").iterdir())

"""The life of a stack on a real Vagrant VM: Debian's Vagrant and libvirt, emulated. ``make vagrant-test``.

Each test continues from the last one. All but the last ones run only the first step on the VM, which takes minutes;
everything else takes half an hour.
"""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from sandbox import paths
from sandbox.machine.host import GATEWAY
from sandbox.progress import step
from sandbox.stack import Stack
from sandbox.testing.stacks import Update, up
from sandbox.vagrant import real

BOXES = ["watchpost/one", "watchpost/two"]
FIRST_STEPS = ("**::ownership-tag", "**::vm", "**::vm-vagrant", "**::vm-vm", "**::vm-ready")
TARGETS = [word for name in FIRST_STEPS for word in ("--target", name)]

pytestmark = pytest.mark.long


@dataclass(frozen=True, kw_only=True)
class VagrantStack(Stack):
    """A stack whose ``pulumi`` runs in the VMs' network."""

    vagrant: real.Vagrant

    def environment(self, engine_folder: Path | None = None) -> dict[str, str]:
        """Return any stack's environment, with the ``pulumi`` and ``vagrant`` that reach the VMs first on PATH."""
        return self.vagrant.environment(super().environment(engine_folder))

    def settle(self, part: str | None = "hosts", **vagrant: object) -> None:
        """Configure one Vagrant VM as the only host, with the lightest settings."""
        host = {"vagrant": {"box": BOXES[0], "memory": 1024, "cpus": 2, **vagrant}}
        self.configure(part=part, hosts={"vm": host}, loadRequests=0)
        document = yaml.safe_load(self.stack_file.read_text())
        document["config"]["datadog:apiUrl"] = self.account.url.replace("127.0.0.1", GATEWAY)
        self.stack_file.write_text(yaml.safe_dump(document))

    def state(self) -> dict[str, dict[str, Any]]:
        """Return the resources by name."""
        resources = json.loads(self.pulumi("stack", "export").stdout)["deployment"].get("resources", [])
        return {resource["urn"].rpartition("::")[2]: resource for resource in resources}

    def vm(self) -> Path:
        """Return its VM's folder."""
        return Path(json.loads(self.state()["vm-vagrant"]["outputs"]["stdout"])["folder"])


@pytest.fixture(scope="module")
def vagrant() -> Iterator[real.Vagrant]:
    folder = paths.local() / "tests" / "vagrant"
    shutil.rmtree(folder, ignore_errors=True)
    try:
        with real.running(folder, BOXES) as vagrant:
            yield vagrant
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        shutil.rmtree(paths.ROOT / ".vagrant", ignore_errors=True)


@pytest.fixture(scope="module")
def stack(vagrant: real.Vagrant) -> Iterator[VagrantStack]:
    yield from begun("real-vagrant", vagrant)


@pytest.fixture(scope="module")
def neighbour(vagrant: real.Vagrant) -> Iterator[VagrantStack]:
    """Another stack of the same clone and name, whose host has the same name."""
    yield from begun("real-vagrant-neighbour", vagrant)


def begun(name: str, vagrant: real.Vagrant) -> Iterator[VagrantStack]:
    folder = paths.local() / "tests" / name
    try:
        with VagrantStack(folder=folder, hosts=(), vagrant=vagrant).afresh() as stack:
            assert isinstance(stack, VagrantStack)
            stack.settle()
            yield stack
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def timed_up(title: str, stack: Stack, *words: str) -> Update:
    with step(title):
        done = up(stack, *words)
    assert done.code == 0, done.text
    return done


def destroy(title: str, stack: Stack) -> None:
    with step(title):
        stack.pulumi("destroy", "--yes", "--skip-preview", "--stack", stack.name)


def say(stack: VagrantStack, *words: str, cwd: Path | None = None) -> str:
    """Print what a command says in the VMs' network."""
    environment: Mapping[str, str] = {**stack.environment(), "PYTHONPATH": str(paths.ROOT)}
    done = subprocess.run(words, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


def drift(stack: VagrantStack) -> str:
    words = [sys.executable, "-m", "watchpost", "drift", "--stack", stack.name]
    return say(stack, *stack.vagrant.network, *words, cwd=stack.project)


def test_up_brings_up_a_vm(stack: VagrantStack) -> None:
    timed_up("up to the first step on the VM", stack, *TARGETS)
    assert "running (libvirt)" in say(stack, "vagrant", "status", cwd=stack.vm())
    assert len(stack.state()["vm-vm"]["outputs"]["stderr"]) < 8000
    assert not timed_up("up with nothing to change", stack, *TARGETS).names("create", "update", "replace", "delete")


def test_a_halted_vm_is_told_and_started(stack: VagrantStack) -> None:
    with step("vagrant halt"):
        say(stack, "vagrant", "halt", cwd=stack.vm())
    assert "shutoff (libvirt)" in say(stack, "vagrant", "status", cwd=stack.vm())
    with step("preview of a halted VM"):
        preview = stack.pulumi("preview", "--stack", stack.name, *TARGETS)
    assert "the Vagrant VM of host vm does not answer" in preview.stdout + preview.stderr
    assert timed_up("up of a halted VM", stack, *TARGETS).names("create", "update", "replace") == {"vm-vm"}
    assert "running (libvirt)" in say(stack, "vagrant", "status", cwd=stack.vm())


def test_changed_memory_restarts_the_vm(stack: VagrantStack) -> None:
    stack.settle(memory=1280)
    done = timed_up("up with changed memory", stack, *TARGETS)
    assert done.names("create", "update", "replace") == {"vm-vm"}
    assert "restarting the VM of 'vm' (vagrant reload)" in done.text
    (total,) = [
        int(line.split()[1])
        for line in say(stack, "vagrant", "ssh", "-c", "cat /proc/meminfo", cwd=stack.vm()).splitlines()
        if line.startswith("MemTotal:")
    ]
    assert 1100 * 1024 < total < 1280 * 1024


def test_two_stacks_of_one_clone_have_a_vm_each(stack: VagrantStack, neighbour: VagrantStack) -> None:
    timed_up("up of a second stack", neighbour, *TARGETS)
    theirs = neighbour.vm()
    assert theirs != stack.vm()
    destroy("destroy of the second stack", neighbour)
    assert not theirs.exists()
    assert "running (libvirt)" in say(stack, "vagrant", "status", cwd=stack.vm())


def test_another_box_is_another_vm(stack: VagrantStack) -> None:
    key = json.loads(stack.state()["vm-vm"]["outputs"]["stdout"])["host_key"]
    stack.settle(box=BOXES[1])
    done = timed_up("up with another box", stack, *TARGETS)
    # Pulumi replaces resources along with the VM that they are `deletedWith`:
    assert done.names("replace") == {"vm-vagrant", "vm-vm", "vm-ready"}
    assert json.loads(stack.state()["vm-vm"]["outputs"]["stdout"])["host_key"] != key


def test_up_makes_all_on_it(stack: VagrantStack) -> None:
    stack.settle(part=None, box=BOXES[1])
    timed_up("up of all that is on the VM", stack)
    proofs = stack.outputs()["hosts"]["vm"]["proofs"]
    assert {"agent", "my_metric", "database", "user_time", "traces"} <= set(proofs)


def test_again_nothing_is_to_change(stack: VagrantStack) -> None:
    assert not timed_up("up with nothing to change", stack).names("create", "update", "replace", "delete")


def test_drift_looks_at_the_vm(stack: VagrantStack) -> None:
    with step("drift"):
        assert "as the stack left them" in drift(stack)


def test_destroy_leaves_no_vm(stack: VagrantStack) -> None:
    destroy("destroy", stack)
    assert not (paths.ROOT / ".vagrant" / "vms").exists()
    assert not say(stack, *stack.vagrant.inside, "virsh", "list", "--all", "--name").strip()
    # The boxes stay in the pool, for the next VM.
    assert "watchpost-dev" not in say(stack, *stack.vagrant.inside, "virsh", "vol-list", "default")

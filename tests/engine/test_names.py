"""Which machine a host's name stands for, through changes in a stack's life, each in one ``up``."""

import shutil
from collections.abc import Iterator

import pytest

from sandbox import paths
from sandbox.machine import Machine
from sandbox.stack import Stack, host_entry
from sandbox.testing.stacks import Update, up
from tests.engine import relays

NAMES = "abcde"
"""All host names used here."""


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    """A stack with two machines."""
    folder = paths.local() / "tests" / "test_names"
    try:
        with Stack(folder=folder, hosts=("one", "two")).afresh() as stack:
            yield stack
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def steps(
    stack: Stack, hosts: dict[str, Machine], *last: str, entry: dict[str, object] | None = None, **settings: object
) -> Update:
    """Bring up these hosts' first steps: what every host has, and ``last``."""
    entries = {name: {**host_entry(machine), **(entry or {})} for name, machine in hosts.items()}
    stack.configure(part="hosts", loadRequests=0, hosts=entries, **settings)
    # Removed hosts are targets as well.
    named = [
        f"**::{name}{step}" for name in NAMES for step in ("", "-ready", "-library", *(f"-{step}" for step in last))
    ]
    return up(stack, *(word for target in ("**::ownership-tag", *named) for word in ("--target", target)))


def owner(machine: Machine) -> str:
    """Return the name under which the stack has claimed a machine."""
    return machine.run("cat /var/lib/watchpost/owner", check=False).stdout.strip().rpartition("/")[2]


@pytest.mark.long
def test_a_second_name_for_one_machine_is_told_and_nothing_of_the_first_is_touched(stack: Stack) -> None:
    one, two = stack.machines["one"], stack.machines["two"]
    made = steps(stack, {"a": one, "b": two})
    assert made.code == 0, made.text
    # Also after a reboot, and under another address.
    one.run("echo 1 >/proc/sys/kernel/sysrq; systemctl --no-block reboot", check=False)
    one.start()
    for hosts in ({"a": one, "b": two, "c": one}, {"a": one, "b": one}):
        again = steps(stack, hosts)
        assert again.code, again.text
        assert "are the same machine: nothing was done on it" in again.text
        assert "Traceback" not in again.text
        assert owner(one) == "a"
    mended = steps(stack, {"a": one, "b": two})
    assert mended.code == 0, mended.text
    assert (owner(one), owner(two)) == ("a", "b")


@pytest.mark.long
def test_another_port_or_address_of_the_same_machine_finds_its_work_done(stack: Stack) -> None:
    hosts = {"a": stack.machines["one"], "b": stack.machines["two"]}
    steps(stack, hosts)  # if it is the first of these tests to run
    with relays.another_port(hosts["a"]) as port:
        moved = steps(stack, {"a": hosts["a"]}, entry={"port": port, "address": "localhost"})
        assert moved.code == 0, moved.text
        assert moved.names("update", "replace") == {"a-ready", "a-library"}
    back = steps(stack, hosts)
    assert back.code == 0, back.text
    assert (owner(hosts["a"]), owner(hosts["b"])) == ("a", "b")


@pytest.mark.long
def test_names_are_given_exchanged_and_moved_in_one_update_each(stack: Stack) -> None:
    one, two = stack.machines["one"], stack.machines["two"]
    for machine in (one, two):
        machine.run("apt-get -q update >/dev/null")
    for hosts in (
        {"a": one, "b": two},
        {"a": two, "b": one},  # exchanged
        {"a": two, "c": one},  # renamed
        {"d": two, "c": one},
        {"d": one, "e": two},  # d takes over c's machine, and a new e takes d's
        {"d": one},
        {"d": two},  # moved to another machine
    ):
        done = steps(stack, hosts, "packages")
        assert done.code == 0, done.text
        for name, machine in hosts.items():
            assert owner(machine) == name
            assert machine.run("dpkg-query -W -f '${db:Status-Status}' apache2-utils").stdout == "installed"


@pytest.mark.long
def test_a_host_whose_machine_is_gone_is_let_go_and_its_machine_is_another_stack_s(stack: Stack) -> None:
    two = stack.machines["two"]
    made = steps(stack, {"d": two}, "packages")
    assert made.code == 0, made.text
    two.run("systemctl --no-block poweroff", check=False)
    for hosts, on_destroy in (({"d": two}, "leave"), ({"a": stack.machines["one"]}, "leave")):
        left = steps(stack, hosts, "packages", onDestroy=on_destroy)
        assert left.code == 0, left.text
    two.start()
    assert owner(two) == "d"
    folder = paths.local() / "tests" / "test_names_other"
    try:
        with Stack(folder=folder, hosts=()).afresh() as other:
            refused = steps(other, {"a": two})
            assert refused.code
            assert "two belongs to another stack of Watchpost" in refused.text
            two.run("rm /var/lib/watchpost/owner")
            taken = steps(other, {"a": two})
            assert taken.code == 0, taken.text
            assert owner(two) == "a"
    finally:
        shutil.rmtree(folder, ignore_errors=True)

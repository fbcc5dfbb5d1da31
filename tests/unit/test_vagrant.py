"""What the program finds out about a Vagrant VM without Vagrant: its name, whether it answers, how to reach it."""

import asyncio
import json
import os
from pathlib import Path

import pulumi
import pytest
from hypothesis import given
from hypothesis import strategies as st

from components import vagrant

KEY = "ssh-ed25519 AAAAfake"
NAME = st.from_regex(r"[a-z][a-z0-9.-]{0,120}", fullmatch=True)


@given(st.tuples(NAME, NAME, NAME, NAME), st.tuples(NAME, NAME, NAME, NAME))
def test_no_two_stacks_or_hosts_have_a_vm_of_the_same_name(one: tuple[str, ...], other: tuple[str, ...]) -> None:
    names = {vagrant.vm_name(*parts) for parts in (one, other)}
    # The ownership tag is unique to a stack, whatever its name: with the host it makes names differ.
    assert len(names) == len({one, other}) or one[2:] == other[2:]
    assert all(len(name) <= 100 for name in names)


def test_names_that_run_into_each_other_differ_all_the_same() -> None:
    assert vagrant.vm_name("p", "dev-x", "y", "watchpost:a") != vagrant.vm_name("p", "dev", "x-y", "watchpost:b")
    assert vagrant.vm_name("p", "dev", "a" * 60, "watchpost:a") != vagrant.vm_name("p", "dev", "a" * 61, "watchpost:a")
    assert vagrant.vm_name("watchpost", "dev", "vm", "watchpost:a").startswith("watchpost-dev-vm-")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A VM's folder as ``vm.sh`` leaves it; ``ssh-keyscan`` prints the content of the file ``shown``."""
    (tmp_path / "private_key").write_text("fake-key")
    known = {
        "start": "fake-start",
        "address": "127.0.0.1",
        "port": 2222,
        "host_key": KEY,
        "private_key_file": str(tmp_path / "private_key"),
    }
    (tmp_path / "vm.json").write_text(json.dumps(known))
    (tmp_path / "shown").write_text(f"[127.0.0.1]:2222 {KEY}\n")
    program = tmp_path / "bin" / "ssh-keyscan"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\ncat {tmp_path}/shown\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    return tmp_path


def started(folder: Path) -> str:
    return asyncio.run(vagrant.start("vm", folder))


def test_a_vm_that_answers_is_not_started_again(folder: Path) -> None:
    assert started(folder) == "fake-start"


@pytest.mark.parametrize("shown", ["", "[127.0.0.1]:2222 ssh-ed25519 AAAAanother\n"])
def test_a_vm_that_does_not_answer_where_it_did_is_started(folder: Path, shown: str) -> None:
    (folder / "shown").write_text(shown)
    assert started(folder) != "fake-start"
    # Preview and update of one `pulumi up` agree.
    assert started(folder) == started(folder)


def test_a_vm_whose_key_is_gone_is_looked_at_by_vagrant(folder: Path) -> None:
    (folder / "private_key").unlink()
    assert started(folder) != "fake-start"


DAMAGED = {"start": "x", "address": "127.0.0.1", "port": 2222, "host_key": "", "private_key_file": 5}


@pytest.mark.parametrize("text", [None, "", "[]", "5", "{}", "not JSON", json.dumps(DAMAGED)])
def test_a_folder_that_knows_no_vm_starts_one(folder: Path, text: str | None) -> None:
    (folder / "vm.json").unlink()
    if text is not None:
        (folder / "vm.json").write_text(text)
    assert started(folder) != started(folder)


def test_without_openssh_a_vm_is_taken_for_one_that_answers(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert started(folder) == "fake-start"


VM = {"address": "127.0.0.1", "port": 2222, "user": "vagrant", "private_key_file": "/x/y", "host_key": KEY}


@pytest.mark.parametrize("noise", ["", "Welcome\n", "{\n", "Last login: {never}\n\n"])
def test_what_a_shell_says_before_the_script_does_no_harm(noise: str) -> None:
    assert vagrant.facts("vm", noise + json.dumps(VM)) == VM


@pytest.mark.parametrize("printed", ["", "Welcome", "{}", "[1]", "null", json.dumps({**VM, "port": None})])
def test_a_state_that_cannot_be_read_is_one_sentence_with_the_way_out(printed: str) -> None:
    with pytest.raises(pulumi.RunError, match=r"Vagrant VM of host vm: run pulumi up --replace '\*\*vm-vm'"):
        vagrant.facts("vm", printed)


def test_a_key_that_is_not_here_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(pulumi.RunError, match=r"host vm, a Vagrant VM, .* is not here: run Pulumi on the machine that"):
        vagrant.connection("vm", {**VM, "private_key_file": str(tmp_path / "nowhere")})


def test_a_key_that_cannot_be_read_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(
        pulumi.RunError, match=r"host vm, a Vagrant VM, .* can't be read \(Is a directory\): run Pulumi as"
    ):
        vagrant.connection("vm", {**VM, "private_key_file": str(tmp_path)})

"""The step that checks a machine before anything else: the releases it accepts, and its errors for others."""

import shlex
from pathlib import Path

import pytest

from components import step_command
from components.remote import REPORT
from components.step_command import StepCommand
from sandbox.machine import Machine, tree
from tests.contract import program

NEEDED = (
    "Watchpost needs apt 1.9.11, python3 3.9 to 3.14 and systemd 247 on amd64 or arm64, "
    "as Debian 11, Ubuntu 22.04 and newer have"
)


@pytest.fixture(scope="module")
def ready() -> str:
    """Return the step's command, as the program sends it."""
    (create,) = [
        step["create"]
        for step in program.inputs()["defaults"]["command:remote:Command"]
        if step["create"].endswith(" files/host/ready.sh apply")
    ]
    return str(create)


def look(machine: Machine, ready: str) -> tuple[int, str, bool]:
    """Return the step's exit code, last line, and whether it left anything on the machine."""
    done = machine.run(ready, input="fake/vm\n", user=machine.user, check=False)
    left = machine.run("ls -A /var/lib/watchpost; rm -rf /var/lib/watchpost", check=False).stdout
    said = [line for line in (done.stdout + done.stderr).splitlines() if line and not REPORT.match(line)]
    return done.returncode, said[-1], bool(left)


def pretend(machine: Machine, name: str, option: str, answer: str) -> None:
    """Make a program answer ``answer`` when called with ``option``."""
    real = machine.run(f"command -v {name}").stdout.strip()
    text = (
        f'#!/bin/sh\n[ "$1" != {shlex.quote(option)} ] || {{ echo {shlex.quote(answer)}; exit; }}\nexec {real} "$@"\n'
    )
    machine.run(f"install -m 0755 /dev/stdin /usr/local/bin/{name}", input=text)


@pytest.mark.parametrize(
    ("name", "option", "answer", "said"),
    [
        ("python3", "-c", "3.8", "python3 3.8 and"),
        ("python3", "-c", "3.15", "python3 3.15 and"),
        ("systemctl", "--version", "systemd 245 (245.4-4ubuntu3.24)", "systemd 245 on"),
        ("dpkg-query", "-W", "1.8.2.3", "apt 1.8.2.3,"),
        ("dpkg", "--print-architecture", "armhf", "on armhf:"),
    ],
)
def test_a_release_that_lacks_something_is_told_before_anything_is_changed(
    machine: Machine, ready: str, name: str, option: str, answer: str, said: str
) -> None:
    release = machine.run(". /etc/os-release; echo $PRETTY_NAME").stdout.strip()
    pretend(machine, name, option, answer)
    code, sentence, left = look(machine, ready)
    machine.run(f"rm /usr/local/bin/{name}")
    assert (code, left) == (1, False), sentence
    assert sentence.startswith(f"watchpost: vm is {release} with apt ")
    assert said in sentence
    assert sentence.endswith(NEEDED)


@pytest.mark.parametrize(
    "release",
    [
        'PRETTY_NAME="Linux Mint 22"\nID=linuxmint\nID_LIKE="ubuntu debian"\nVERSION_ID="22"\n',
        'PRETTY_NAME="Debian GNU/Linux forky/sid"\nID=debian\n',
        'PRETTY_NAME="Made at home"\nID=home\n',
    ],
)
def test_a_release_is_taken_for_what_it_has_and_not_for_its_name(machine: Machine, ready: str, release: str) -> None:
    machine.run("mv /etc/os-release /etc/os-release.kept; cat >/etc/os-release", input=release)
    code, sentence, left = look(machine, ready)
    machine.run("mv /etc/os-release.kept /etc/os-release")
    name = release.partition('"')[2].partition('"')[0]
    assert (code, sentence, left) == (0, f"vm is ready: {name}", True)


def test_a_machine_without_python_is_taken_for_what_apt_offers(machine: Machine, ready: str) -> None:
    machine.run("mv /usr/bin/python3 /usr/bin/python3.kept")
    taken = look(machine, ready)
    machine.run("apt-get update -qq")
    offered = look(machine, ready)
    pretend(machine, "apt-cache", "policy", "python3:\n  Installed: (none)\n  Candidate: 3.8.2-0ubuntu2\n")
    refused = look(machine, ready)
    machine.run("mv /usr/bin/python3.kept /usr/bin/python3; rm /usr/local/bin/apt-cache")
    assert (taken[0], offered[0], refused[0]) == (0, 0, 1), (taken, offered, refused)
    assert "python3 3.8 and" in refused[1]


def test_programs_that_could_not_run_are_told_before_anything_is_changed(machine: Machine, ready: str) -> None:
    machine.run("mount --bind /opt /opt && mount -o remount,bind,noexec /opt")
    code, sentence, left = look(machine, ready)
    assert (code, left) == (1, False)
    assert sentence.startswith("watchpost: no program in /opt can run on vm, since /opt is mounted with noexec: ")
    machine.run(sentence.split("`")[1])
    assert look(machine, ready)[0] == 0
    machine.run("umount /opt")


@pytest.mark.parametrize("status", ["not run", "not started"])
def test_a_cloud_init_that_never_ran_is_not_waited_for(machine: Machine, ready: str, status: str) -> None:
    text = f'#!/bin/sh\ncase "$*" in *--wait*) sleep 600 ;; esac\necho "status: {status}"\n'
    machine.run("install -m 0755 /dev/stdin /usr/local/bin/cloud-init", input=text)
    done = machine.run(ready, input="fake/vm\n", user=machine.user, check=False, timeout=120)
    machine.run("rm /usr/local/bin/cloud-init; rm -r /var/lib/watchpost")
    assert done.returncode == 0, done.stderr
    assert "cloud-init has not run on vm" in done.stdout


STARTING = r"""#!/bin/sh
case $1 in
is-system-running) echo starting; exit 1 ;;
list-jobs) printf '12 backup.service start running\n13 other.target start waiting\n' ;;
*) exec /usr/bin/systemctl "$@" ;;
esac
"""


def test_a_boot_that_does_not_end_is_told_with_what_it_waits_for(machine: Machine, ready: str) -> None:
    machine.run("install -m 0755 /dev/stdin /usr/local/bin/systemctl", input=STARTING)
    code, sentence, left = look(machine, ready)
    machine.run("rm /usr/local/bin/systemctl")
    assert (code, left) == (1, False)
    assert sentence == (
        "watchpost: vm did not finish booting: systemd says 'starting' and is still at work on backup.service"
    )


def test_removal_undoes_only_what_is_noted_whole_and_of_this_stack(machine: Machine, ready: str) -> None:
    machine.run(ready, input="fake/vm\n", user=machine.user)
    undo = "/var/lib/watchpost/undo"
    for name, whose, rest in (
        ("ours", "fake/of-before", "# complete"),
        ("theirs", "another/vm", "# complete"),
        ("cut-off", "fake/vm", ""),
    ):
        text = f"# of {whose}\ntouch /run/undone-{name}\n{rest}\n"
        machine.run(f"install -d -m 0700 {undo} && cat >{undo}/{name}", input=text)
    machine.run(f": >{undo}/empty")
    done = machine.run(ready.removesuffix("apply") + "remove", input="fake/vm\n", user=machine.user)
    left = machine.run(f"ls {undo}; ls /run/undone-*; rm -rf /var/lib/watchpost /run/undone-*").stdout.split()
    assert left == ["cut-off", "empty", "ours", "theirs", "/run/undone-ours"]
    assert "left as it is: what theirs did on vm for another/vm" in done.stdout
    for name in ("cut-off", "empty"):
        assert f"left as it is: what {name} did on vm, since the note of that is damaged" in done.stdout


@pytest.mark.parametrize("damaged", ["", "fak"])
def test_a_claim_that_is_not_whole_is_made_anew_unless_notes_are_another_stack_s(
    machine: Machine, ready: str, damaged: str
) -> None:
    undo, claim = "/var/lib/watchpost/undo", "/var/lib/watchpost/owner"
    machine.run(
        f"mkdir -p {undo} && printf '{damaged}' >{claim} && printf '# of another/vm\n# complete\n' >{undo}/step"
    )
    refused = machine.run(ready, input="fake/vm\n", user=machine.user, check=False)
    assert refused.returncode == 1
    assert machine.run(f"cat {claim}; rm -r {undo}").stdout == damaged
    machine.run(ready, input="fake/vm\n", user=machine.user)
    assert machine.run(f"cat {claim}").stdout == "fake/vm\n"
    other = machine.run(ready, input="another/vm\n", user=machine.user, check=False)
    assert other.returncode == 1
    # Another stack's removal removes nothing, even without a claim.
    machine.run(ready.removesuffix("apply") + "remove", input="another/vm\n", user=machine.user)
    assert machine.run(f"cat {claim}; rm -r /var/lib/watchpost").stdout == "fake/vm\n"


@pytest.mark.parametrize(
    ("mount", "reason"),
    [("-o ro", "Read-only file system"), ("-o size=4k", "No space left on device")],
)
def test_a_machine_where_nothing_can_be_kept_is_told_so_and_not_that_it_is_another_s(
    machine: Machine, ready: str, mount: str, reason: str
) -> None:
    folder = "/var/lib/watchpost"
    machine.run(f"mkdir {folder} && mount -t tmpfs {mount} none {folder}; head -c 9000 /dev/zero >{folder}/x || true")
    claimed = machine.run(ready, input="fake/vm\n", user=machine.user, check=False)
    machine.run(f"test ! -e {folder}/owner")
    machine.run(
        f"echo fake/vm >/srv/owner; touch {folder}/owner 2>/dev/null && mount --bind /srv/owner {folder}/owner || true"
    )
    library = StepCommand.of("host/library.sh", "apply", {}, sudo=False).render()
    shared = machine.run(library, input=f"fake/vm\n{step_command.library()}", check=False)
    machine.run(f"umount {folder}/owner 2>/dev/null; umount {folder} && rmdir {folder}; rm /srv/owner")
    for done, place in ((claimed, folder), *([(shared, f"{folder}/library")] if "size" in mount else [])):
        (sentence,) = [line for line in done.stderr.splitlines() if line.startswith("watchpost: ")]
        assert done.returncode == 1
        assert sentence.startswith(f"watchpost: root can't write to {place} on vm")
        assert f": {reason}; fix that" in sentence


@pytest.mark.long
@pytest.mark.parametrize(
    ("release", "taken"),
    [
        (tree.UBUNTU_20, False),
        (tree.DEBIAN_11, True),
        (tree.DEBIAN_13, True),
        (tree.UBUNTU_24, True),
        (tree.MYSQL_9, True),
    ],
    ids=lambda value: value.codename if isinstance(value, tree.Release) else None,
)
def test_real_releases(tmp_path: Path, ready: str, release: tree.Release, taken: bool) -> None:
    machine = Machine("bare", tmp_path / "bare", tree.ensure(release))
    try:
        machine.start()
        code, sentence, left = look(machine, ready)
    finally:
        machine.stop()
    assert (code == 0, left) == (taken, taken), sentence
    if not taken:
        assert sentence.startswith("watchpost: bare is Ubuntu 20.04")
        assert sentence.endswith(NEEDED)

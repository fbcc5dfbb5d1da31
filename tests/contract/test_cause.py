"""A step that gives up says why in one sentence, in whatever words the program at fault had it."""

import os
import subprocess
from pathlib import Path

import pytest

from sandbox import paths

NO_ROOM = "watchpost: no space left on {host}: make room there and run `pulumi up` again (free: "
NO_NAME = "watchpost: {host} can't resolve {name}: check its DNS (/etc/resolv.conf) and run `pulumi up` again\n"

HOST = os.uname().nodename


def bash(text: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run ``text`` as a script that has the part in it."""
    return subprocess.run(
        ["bash", "-c", f"set -eu\n. files/host/cause.sh\n{text}", "files/host/some.sh", *arguments],
        cwd=paths.ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def given_up(said: str, place: str = "/") -> str:
    """What a step says that gives up after a program has said so."""
    done = bash('said=$1; give_up "some words" "$2"', said, place)
    assert (done.returncode, done.stdout) == (1, "")
    return done.stderr


@pytest.mark.parametrize(
    "said",
    [
        "E: You don't have enough free space in /var/cache/apt/archives/.",
        "dpkg: error: failed to write to '/usr/x.dpkg-new' (No space left on device)\nE: Sub-process returned 1",
        "ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device",
        "curl: (23) Failure writing output to destination",
    ],
)
def test_a_full_disk_is_named_with_the_room_that_there_is(said: str) -> None:
    sentence = given_up(said, "/proc")
    assert sentence.startswith(NO_ROOM.format(host=HOST))
    assert "0 on /proc" in sentence


@pytest.mark.parametrize(
    ("said", "name"),
    [
        ("W: Failed to fetch http://deb.debian.org/x  Temporary failure resolving 'deb.debian.org'", "deb.debian.org"),
        ("E: Failed to fetch http://mirror.test/x  Could not resolve 'mirror.test'\nE: Unable to fetch", "mirror.test"),
        ("curl: (6) Could not resolve host: install.test", "install.test"),
        ("curl: (5) Could not resolve proxy: proxy.test", "proxy.test"),
        ("Failed to resolve 'pypi.org' ([Errno -3] Temporary failure in name resolution)", "pypi.org"),
        ("NewConnectionError: [Errno -3] Temporary failure in name resolution')': /simple/flask/", "names"),
        ("NewConnectionError: [Errno -2] Name or service not known')': /simple/flask/", "names"),
    ],
)
def test_a_name_that_is_not_resolved_is_named(said: str, name: str) -> None:
    assert given_up(f"Get:1 some\n{said}\nmore") == NO_NAME.format(host=HOST, name=name)


@pytest.mark.parametrize("said", ["", "ERROR: pip's dependency resolver failed to resolve it", "E: some error"])
def test_anything_else_is_told_in_the_words_of_the_step(said: str) -> None:
    assert given_up(said) == "watchpost: some words\n"


@pytest.mark.skipif(os.geteuid() != 0, reason="steps run as root")
def test_what_a_program_says_is_shown_and_kept_and_its_end_counts() -> None:
    program = "echo one; echo two >&2; exit $1"
    done = bash(f'heard sh -c \'{program}\' sh "$1" || {{ echo "$? [$said]"; exit; }}; echo well', "3")
    assert (done.returncode, done.stdout, done.stderr) == (0, "one\ntwo\n3 [one\ntwo]\n", "")
    done = bash(f"heard sh -c '{program}' sh \"$1\" || exit; echo well", "0")
    assert (done.returncode, done.stdout) == (0, "one\ntwo\nwell\n")
    assert not Path("/run/watchpost-some.sh.log").exists()

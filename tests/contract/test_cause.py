"""A failing step says why in one sentence, however the failing program put it."""

import os
import signal
import subprocess
from pathlib import Path

import pytest

from sandbox import paths

NO_ROOM = "watchpost: no space left on {host}: make room there and run `pulumi up` again (free: "
NO_NAME = "watchpost: {host} can't resolve {name}: check its DNS (/etc/resolv.conf) and run `pulumi up` again\n"

HOST = os.uname().nodename


def bash(text: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run ``text`` as a script that includes the part."""
    return subprocess.run(
        ["bash", "-c", f"set -eu\n. files/host/cause.sh\n{text}", "files/host/some.sh", *arguments],
        cwd=paths.ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def given_up(said: str, place: str = "/") -> str:
    """Return the error of a step whose program failed with ``said``."""
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


@pytest.mark.skipif(os.geteuid() != 0, reason="steps run as root")
def test_a_program_comes_to_its_end_though_nobody_listens_and_the_next_run_waits_for_it(tmp_path: Path) -> None:
    go_on, ended = tmp_path / "go-on", tmp_path / "ended"
    program = f"echo begun; until [ -e {go_on} ]; do sleep 0.01; done; echo said; echo more; touch {ended}"
    step = f"set -eu\n. files/host/cause.sh\nalone {tmp_path}\n"

    def begin(program: str, first_words: bytes) -> "subprocess.Popen[bytes]":
        command = ["bash", "-c", f"{step}heard sh -c '{program}'", "long.sh"]
        run = subprocess.Popen(command, cwd=paths.ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        assert run.stdout
        assert run.stdout.readline() == first_words
        return run

    waits = b"waiting for an install that is still at work\n"
    with (
        begin(program, b"begun\n") as first,
        begin(f"touch {tmp_path}/late", waits) as lost,
        begin(program, waits) as next_one,
    ):
        assert first.stdout
        assert lost.stdout
        assert next_one.stdout
        first.stdout.close()
        lost.stdout.close()
        assert not ended.exists()
        go_on.touch()
        assert next_one.stdout.readline() == b"it has ended\n"
        assert ended.exists()
        assert next_one.stdout.read() == b"begun\nsaid\nmore\n"
    assert (first.returncode, lost.returncode, next_one.returncode) == (0, -signal.SIGPIPE, 0)
    assert not (tmp_path / "late").exists()

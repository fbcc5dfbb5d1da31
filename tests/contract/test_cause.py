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


def test_a_step_that_stops_at_a_command_of_its_own_ends_in_a_sentence_too() -> None:
    done = bash("rm /nowhere/x; echo on", "apply")
    *_, reason, sentence = done.stderr.splitlines()
    assert (done.returncode, done.stdout) == (1, "")
    assert "/nowhere/x" in reason
    assert sentence == (
        f"watchpost: files/host/some.sh stopped on {HOST} for the reason above: fix that there and try again"
    )


@pytest.mark.parametrize(
    ("text", "verb"),
    [
        ("rm /nowhere/x", "check"),
        ("echo 'watchpost: a sentence' >&2; exit 1", "apply"),
        ("give_up 'a sentence'", "remove"),
        ("kill -TERM $$; sleep 10", "apply"),
        ("true", "apply"),
    ],
)
def test_nothing_is_added_to_what_is_said_already(text: str, verb: str) -> None:
    assert "stopped on" not in bash(text, verb).stderr


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


@pytest.mark.parametrize(
    ("said", "place"),
    [
        ("dpkg: error:\n unable to create '/usr/bin/x.dpkg-new' (of './usr/bin/x'): Read-only file system",
         "/usr/bin/x.dpkg-new"),
        ("E: Could not open lock file /var/lib/dpkg/lock-frontend - open (30: Read-only file system)",
         "/var/lib/dpkg/lock-frontend"),
        ("OSError: [Errno 30] Read-only file system: '/opt/watchpost-app/venv'", "/opt/watchpost-app/venv"),
    ],
)  # fmt: skip
def test_a_place_that_is_read_only_is_named(said: str, place: str) -> None:
    assert given_up(f"Get:1 some\n{said}\nmore") == (
        f"watchpost: {place} on {HOST} can't be written (Read-only file system): mount it read-write and run "
        "`pulumi up` again\n"
    )


APT = {
    "Reading package lists...\nE: The repository 'http://x y Release' does not have a Release file.\n"
    "E: Some index files failed to download.": ": The repository 'http://x y Release' does not have a Release file.",
    "E: Failed to fetch https://me:secret@x/y  404  Not Found": ": Failed to fetch https://x/y  404  Not Found",
    "dpkg: error processing package a-server (--configure):\n installed a-server package post-installation script "
    "subprocess returned error exit status 1\nE: Sub-process /usr/bin/dpkg returned an error code (1)": (
        ": dpkg: error processing package a-server (--configure): installed a-server package post-installation script "
        "subprocess returned error exit status 1"
    ),
    "E: Sub-process /usr/bin/dpkg returned an error code (1)": "",
    "": "",
}  # fmt: skip
"""What apt says, and the reason in it."""


@pytest.mark.parametrize("said", APT)
def test_the_reason_that_apt_gives_is_told(said: str) -> None:
    done = bash("kept=/nowhere\n. files/host/dpkg.sh\nsaid=$1; complaint", said)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{APT[said]}\n", "")


def test_a_clock_that_is_wrong_is_asked_about() -> None:
    said = "E: Release file for http://x/dists/sid/InRelease is not valid yet (invalid for another 2h 3min 1s)."
    done = bash("kept=/nowhere\n. files/host/dpkg.sh\nsaid=$1; complaint", said)
    assert done.stdout.startswith(f": {said[3:]} Is its clock right? It says 20")


@pytest.mark.parametrize(
    "said",
    [
        "curl: (60) SSL certificate problem: certificate is not yet valid",
        "[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: certificate has expired (_ssl.c:1006)')))",
    ],
)
def test_a_certificate_of_another_time_is_told_with_what_the_clock_says(said: str) -> None:
    sentence = given_up(said)
    words = "is not yet valid" if "not yet" in said else "has expired"
    assert sentence.startswith(f"watchpost: some words: certificate {words}. Is the clock of {HOST} right? It says 20")


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

"""Output of a step and its programs is shown without their secrets, whatever they do with them."""

import os
import signal
import subprocess
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from components import step_command, templates
from components.remote import reported
from components.step_command import StepCommand
from sandbox.testing.processes import wait_until
from tests.engine.leaks import Search

SECRET = "fa4e0123-ab_cdEF456789"
PASSPHRASE = "correct/horse+battery\\staple'\"$é"
MASKED = Path("/usr/bin/python3").exists()

pytestmark = pytest.mark.skipif(not MASKED, reason="a host has Debian's own Python")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``files/`` with the real preamble of every step, and a test script; the claim is beside them."""
    folder = tmp_path_factory.mktemp("files")
    (folder / "host").mkdir()
    for name in ("masked.sh", "mask.py", "step.sh"):
        text = templates.text(f"host/{name}").replace("/var/lib/watchpost/owner", str(folder / "owner"))
        (folder / "host" / name).write_text(text)
    (folder / "owner").write_text("stack/vm\n")
    (folder / "library").mkdir()
    (folder / "library" / step_command.library_name("host/mask.py")).write_text(templates.text("host/mask.py"))
    return folder


def line(files: Path, script: str, verb: str = "apply") -> list[str]:
    """Return the command of a step with this script, as a login shell gets it."""
    (files / "own.sh").write_text(script)
    library = mock.patch.object(step_command, "LIBRARY", str(files / "library"))
    with library, mock.patch.object(templates, "FILES", files):
        return ["bash", "-c", StepCommand.of("own.sh", verb, {}, sudo=False, masked=True).render()]


def run(files: Path, script: str, stdin: str, claimant: str = "stack/vm") -> "subprocess.CompletedProcess[str]":
    """Run the step to completion."""
    return subprocess.run(
        line(files, script), input=f"{claimant}\n{stdin}", capture_output=True, text=True, timeout=30, check=False
    )


def test_a_step_that_is_undone_by_its_note_runs_and_hides_it_too(files: Path, tmp_path: Path) -> None:
    note = tmp_path / "note"
    with (
        mock.patch.object(step_command, "LIBRARY", str(files / "library")),
        mock.patch.object(templates, "FILES", files),
    ):
        (files / "own.sh").write_text('echo "$1 $(cat)"')
        text = StepCommand.of("own.sh", "remove", {}, sudo=False, masked=True).text
    note.write_text(f"# of stack/vm\n{text}\n# complete\n")
    done = subprocess.run(
        ["bash", note, "remove"], input=f"stack/vm\n{SECRET}\n", capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "remove [secret]\n"), done.stderr


NOISE = {
    "itself": "cat >&2; exit 3",
    "trace": 'set -x; read -r it; [ -n "$it" ]; printf \'%s\' "$it" >/dev/null; exit 3',
    "trace in a program": 'read -r it; bash -xc \'echo "$1" >/dev/null\' x "$it"; exit 3',
    "quoted": 'read -r it; printf \'%q %q\\n\' "$it" "a $it"; declare -p it; exit 3',
    "cut": 'read -r it; echo "near \'${it:0:12}\' at line 1"; echo "...${it:8}\'"; exit 3',
    "base64": "base64; exit 3",
    "base64 within": "{ echo xy; cat; } | base64 -w 16; exit 3",
    "hexadecimal": "od -An -tx1; exit 3",
    "characters": "od -c; exit 3",
    "in a report": 'read -r it; report "\\"$it\\""; finish apply; exit 3',
    "without a line end": "cat | tr -d '\\n'; exit 3",
    "in columns": "fold -w 10; exit 3",
    "in JSON": "python3 -c 'import json, sys; print(json.dumps(json.dumps(sys.stdin.read())))'; exit 3",
    "in an address": (
        "python3 -c 'import sys, urllib.parse; print(urllib.parse.quote(sys.stdin.read().strip(), safe=str()))'; exit 3"
    ),
    "in an exception": "python3 -c 'import sys; raise SystemExit(sys.stdin.read())' || exit 3",
    "both ways at once": "tee /dev/stderr; exit 3",
}


@pytest.mark.parametrize("noise", NOISE)
@pytest.mark.parametrize(
    ("secret", "stdin"),
    [
        (SECRET, f"{SECRET}\n"),
        (PASSPHRASE, f"{PASSPHRASE}\n"),
        (SECRET, f"api_key: {SECRET}\ntags: [a, b]\n"),
        (SECRET, f"proxy: {{https: 'http://me:{SECRET}@proxy.example.com:3128'}}\n"),
        (SECRET, f"- password: '{SECRET}'\n  port: 3306\n"),
    ],
    ids=["key", "passphrase", "yaml", "address", "list"],
)
def test_no_noise_of_a_step_that_fails_shows_a_secret(files: Path, noise: str, secret: str, stdin: str) -> None:
    done = run(files, NOISE[noise], stdin)
    assert done.returncode == 3, done.stderr
    assert "[secret]" in done.stdout + done.stderr
    search = Search({"it": secret})
    shown = done.stdout + done.stderr
    assert search.names(shown) == set(), shown
    # Nor with the separators removed.
    assert search.names("".join(shown.split())) == set(), shown


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    secret=st.text(
        st.characters(min_codepoint=33, max_codepoint=0x2FF, exclude_categories=["Zs", "Cc"]), min_size=16, max_size=60
    )
)
@example(secret="-n aaaaaaaaaaaaaaaaaaaa".replace(" ", ""))
@example(secret="[secret][secret][secret]")
def test_whatever_the_secret_is_made_of(files: Path, secret: str) -> None:
    if secret[0] in "/#" or len(set(secret)) < 9:
        return
    done = run(files, 'IFS= read -r it; echo "before $it behind"; printf \'%q\\n\' "$it"; exit 4', f"{secret}\n")
    assert done.returncode == 4
    assert secret not in done.stdout
    assert done.stdout.startswith("before ")


def test_what_is_no_secret_is_shown_with_its_exit_code_its_order_and_its_report(files: Path) -> None:
    script = """
    own=$(cat)
    for number in $(seq 1 3000); do echo "line $number of /etc/hostname"; done
    echo "watchpost: /etc/hostname: api_key, password are changed" >&2
    printf 'half a line' >&2
    report '{"value": 3}'
    """
    done = run(files, script, f"api_key: {SECRET}\npassword: {SECRET}\n/etc/hostname {SECRET}\n")
    assert done.returncode == 0
    numbered = [f"line {number} of /etc/hostname" for number in range(1, 3001)]
    assert done.stdout.splitlines()[:3000] == numbered
    assert done.stderr == "watchpost: /etc/hostname: api_key, password are changed\nhalf a line"
    assert reported(done.stdout, ["value"]) == [{"value": 3}]


def test_a_step_that_is_given_nothing_secret_shows_what_it_was_given(files: Path) -> None:
    done = run(files, "cat; exit 5", f"{SECRET}\n", claimant="stack/vm public")
    assert (done.returncode, done.stdout) == (5, f"{SECRET}\n")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGPIPE])
def test_a_step_that_is_killed_ends_as_one(files: Path, number: signal.Signals) -> None:
    assert run(files, f"kill -{int(number)} $$", f"{SECRET}\n").returncode in (-number, 128 + number)


def test_a_step_is_shown_while_it_runs_and_gets_its_input_as_it_comes(files: Path, tmp_path: Path) -> None:
    go = tmp_path / "go"
    os.mkfifo(go)
    script = f"read -r first; echo begun; read -r _ <{go}; read -r second; echo went on; [ $first-$second = one-two ]"
    with subprocess.Popen(line(files, script), stdin=subprocess.PIPE, stdout=subprocess.PIPE) as step:
        assert step.stdin
        assert step.stdout
        step.stdin.write(b"stack/vm\none\n")
        step.stdin.flush()
        assert step.stdout.readline() == b"begun\n"
        go.write_text("go\n")
        step.stdin.write(b"two\n")
        step.stdin.close()
        assert step.stdout.readline() == b"went on\n"
        assert step.wait(10) == 0


def test_what_a_step_leaves_running_does_not_hold_it_up(files: Path) -> None:
    done = run(files, "sleep 60 & echo $!; exit 6", f"{SECRET}\n")
    os.kill(int(done.stdout), signal.SIGKILL)
    assert done.returncode == 6


def test_a_step_to_which_nobody_listens_any_more_ends_at_its_next_word(files: Path, tmp_path: Path) -> None:
    go, there = tmp_path / "go", tmp_path / "there"
    os.mkfifo(go)
    script = f"echo $$; read -r _ <{go}; echo gone on; touch {there}"
    with subprocess.Popen(
        line(files, script), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as step:
        assert step.stdin
        assert step.stdout
        step.stdin.write(b"stack/vm\n")
        step.stdin.close()
        inner = int(step.stdout.readline())
        step.stdout.close()
        step.wait(10)
        go.write_text("go\n")
        wait_until(lambda: not Path(f"/proc/{inner}").exists(), "the step has ended", 10)
    assert not there.exists()


def test_without_the_library_no_secret_is_handed_on_and_a_removal_says_why_it_fails(files: Path) -> None:
    library = files / "library"
    library.rename(files / "gone")
    try:
        refused = run(files, "cat", f"{SECRET}\n")
        bare = run(files, "cat; echo worked", "")
        command = line(files, f"use {library}/cause.sh", "remove")
        removed, others = (
            subprocess.run(command, input=f"{owner}\n{SECRET}\n", capture_output=True, text=True, check=False)
            for owner in ("stack/vm", "stack/other")
        )
    finally:
        (files / "gone").rename(library)
    assert refused.returncode == removed.returncode == 1
    assert refused.stderr.startswith(f"watchpost: {library}/mask-")
    assert removed.stderr.startswith(f"watchpost: {library}/cause.sh is gone from ")
    assert SECRET not in refused.stdout + refused.stderr + removed.stdout + removed.stderr
    assert bare.stdout.startswith("worked\n")
    assert others.returncode == 0


def test_without_python_no_secret_is_handed_on(files: Path, tmp_path: Path) -> None:
    begin = files / "host" / "masked.sh"
    text = begin.read_text()
    begin.write_text(text.replace("/usr/bin/python3", str(tmp_path / "python3")))
    try:
        refused = run(files, "cat", f"{SECRET}\n")
        bare = run(files, "cat; echo worked", "")
        public = run(files, "cat", "content\n", claimant="stack/vm public")
        removed = subprocess.run(
            line(files, "cat; echo removed >&2", "remove"),
            input=f"stack/vm\n{SECRET}\n",
            capture_output=True,
            text=True,
            check=True,
        )
    finally:
        begin.write_text(text)
    assert refused.returncode == 1
    assert refused.stderr.startswith("watchpost: python3 is gone from ")
    assert SECRET not in refused.stdout + refused.stderr
    assert bare.stdout.startswith("worked\n")
    assert public.stdout.startswith("content\n")
    assert removed.stdout + removed.stderr == ""

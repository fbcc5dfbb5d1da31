"""The command line of a step, run by real shells, which interpret nothing in a value or script."""

import os
import shutil
import subprocess
from pathlib import Path
from unittest import mock

import pulumi
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from components import templates
from components.remote import RETRIES, was_cut_off
from components.step_command import END, LIBRARY, SHARED, StepCommand, library_name
from tests.unit.mocks import ROOT

SHELLS = [shell for shell in ("bash", "sh", "dash", "zsh", "fish", "tcsh", "ksh") if shutil.which(shell)]
"""The login shells installed here."""

if "dash" in SHELLS and Path(str(shutil.which("sh"))).resolve() == Path(str(shutil.which("dash"))).resolve():
    SHELLS.remove("sh")

SCRIPTS = sorted(str(path.relative_to(ROOT / "files")) for path in (ROOT / "files").rglob("*.sh"))
SHOW = """\
# Prints what it was given: 'quotes", $(parentheses, `backticks`, a case that ) looks like an end, and \\ backslashes.
set -eu
case $1 in
apply) printf '%s\\0' "$1" "$0" "$first" "$second" ;;
esac
cat
"""
VALUES = st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=20) | st.text(
    st.sampled_from("'\"$`\\(){}|;&<>*?~#!% \n\r\t=-aé🐶"), max_size=20
)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("files")
    (folder / "show.sh").write_text(SHOW)
    (folder / "host").mkdir()
    (folder / "host/step.sh").write_text("read -r claimant\nfinish() { printf '\\n=watchpost= \"through\"\\n'; }\n")
    return folder


def output(shell: str, line: str, stdin: str = "", path: Path | None = None) -> str:
    """The output of a line when a shell gets it as from sshd."""
    environment = {"PATH": f"{path}:{os.environ['PATH']}" if path else os.environ["PATH"]}
    done = subprocess.run(
        [shell, "-c", line],
        input=b"stack/vm\n" + stdin.encode(),
        capture_output=True,
        env=environment,
        timeout=10,
        check=True,
    )
    assert done.stderr == b""
    return done.stdout.decode()


@pytest.mark.parametrize("shell", SHELLS)
@settings(max_examples=50)
@given(first=VALUES, second=VALUES, stdin=VALUES)
@example(first="$(touch /tmp/never)", second="'; exit 1; '", stdin="WATCHPOST\n")
@example(first="\nWATCHPOST\n)\n", second="`id`", stdin="$1")
@example(first="", second="-n", stdin="")
def test_a_script_gets_its_values_and_standard_input_literally(
    shell: str, files: Path, first: str, second: str, stdin: str
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(templates, "FILES", files)
        line = StepCommand.of("show.sh", "apply", {"first": first, "second": second}, sudo=False).render()
    assert output(shell, line, stdin) == f'apply\0files/show.sh\0{first}\0{second}\0{stdin}\n=watchpost= "through"\n'


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("script", SCRIPTS)
@pytest.mark.parametrize("masked", [False, True])
def test_every_script_reaches_bash_as_it_stands_in_its_file(shell: str, script: str, masked: bool) -> None:
    line = StepCommand.of(script, "apply", {"some": "value"}, sudo=False, masked=masked).render()
    words = "env some=value bash -c"
    assert f"\n{words} " in line
    shown = output(shell, line.replace(f"\n{words}", "\nprintf '%s|%s|%s'", 1))
    files = [*(["host/masked.sh"] if masked else []), "host/step.sh", script]
    text = "".join(map(templates.text, files))
    for path in SHARED:
        kept = f"{LIBRARY}/{library_name(path)}"
        text = text.replace(f"use files/{path}\n", f"use {kept}\n").replace(f"mask=files/{path}\n", f"mask={kept}\n")
    assert shown == f"{text.rstrip()}\n{END}|files/{script}|apply"
    # Linux takes no longer argument: MAX_ARG_STRLEN.
    assert len(line.encode()) < 128 * 1024


def test_sudo_comes_before_the_variables_so_that_it_does_not_drop_them(files: Path, tmp_path: Path) -> None:
    sudo = tmp_path / "sudo"
    sudo.write_text('#!/bin/sh\n[ "$1" = -n ] && shift && unset first second && exec "$@"\n')
    sudo.chmod(0o755)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(templates, "FILES", files)
        line = StepCommand.of("show.sh", "apply", {"first": "1", "second": "2"}, sudo=True).render()
    assert "\nsudo -n env first=1 second=2 bash -c " in line
    assert output("sh", line, "in", tmp_path) == 'apply\0files/show.sh\x001\x002\0in\n=watchpost= "through"\n'


@given(text=VALUES, variables=st.dictionaries(st.from_regex(r"[a-z]{1,8}", fullmatch=True), VALUES), sudo=st.booleans())
def test_a_command_is_read_as_it_was_written(text: str, variables: dict[str, str], sudo: bool) -> None:
    step = StepCommand(script="a/b.sh", verb="apply", text=text, variables=variables, sudo=sudo)
    assert StepCommand.parse(step.render()) == step
    assert StepCommand.parse(step.render().partition("\n")[2]) == step  # as a step was before csh was thought of


def test_a_failing_script_fails_the_line(files: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(templates, "FILES", files)
        line = StepCommand.of("show.sh", "apply", {}, sudo=False).render()
    assert subprocess.run(["sh", "-c", line], capture_output=True, timeout=10, check=False).returncode != 0


def test_a_step_that_was_cut_off_is_run_again_but_not_forever() -> None:
    reason = "wait: remote command exited without exit status or exit signal"
    error = f'{reason}: running "bash -c ...":\nReading package lists...\n'
    with mock.patch("pulumi.log.warn") as warn:
        assert [was_cut_off(failed(error, times)) for times in (1, RETRIES, RETRIES + 1)] == [True, True, False]
    assert warn.call_args[0][0] == (
        f"vm-packages was cut off ({reason}), as by a reboot of its host: it runs again once the host answers"
    )


def test_a_step_that_came_to_its_end_is_not_run_again() -> None:
    assert not was_cut_off(failed('Process exited with status 1: running "bash -c ...":\nEOF\n', 1))


def failed(error: str, times: int) -> pulumi.ErrorHookArgs:
    """The engine's arguments for a step that failed so many times."""
    return pulumi.ErrorHookArgs(
        urn="urn", id="", name="vm-packages", type="type", failed_operation="create", errors=[error] * times
    )


def test_numbers_are_variables_too(files: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(templates, "FILES", files)
        assert "\nenv port=5050 bash -c " in StepCommand.of("show.sh", "remove", {"port": 5050}, sudo=False).render()

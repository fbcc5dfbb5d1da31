"""``python -m watchpost``: help, errors, completion."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.mocks import ROOT
from watchpost import completion
from watchpost.__main__ import main, watchpost
from watchpost.errors import WatchpostError
from watchpost.stack import Stack, reason

COMMANDS = sorted(watchpost.commands)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, "--help"]) == 0
    assert f"Usage: python -m watchpost {command}" in capsys.readouterr().out


def test_a_wrong_option_is_told_with_the_way_to_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["drift", "--stak", "dev"]) == 2
    assert "No such option '--stak'. Did you mean '--stack'?" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["drift", "recover", "snapshot"])
def test_a_folder_that_is_not_there_is_told(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, "--cwd", "/nowhere", "--stack", "dev"]) == 2
    assert "Directory '/nowhere' does not exist." in capsys.readouterr().err


def test_another_python_is_told_where_the_right_one_is() -> None:
    look = f"import sys, runpy\nsys.modules['click'] = None\nsys.path.insert(0, {str(ROOT)!r})\n"
    run = [sys.executable, "-c", f"{look}runpy.run_module('watchpost', run_name='__main__')"]
    done = subprocess.run(run, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("watchpost: run it with the Python of the virtual environment: .venv/bin/python ")
    assert "Traceback" not in done.stderr


def test_help_takes_no_provider_s_sdk_and_no_client(tmp_path: Path) -> None:
    look = (
        "import sys\nfrom watchpost.__main__ import main\nmain(['drift', '--help'])\n"
        "assert not {'pulumi_datadog', 'datadog_api_client', 'asyncssh'} & set(sys.modules)"
    )
    subprocess.run(
        [sys.executable, "-c", look], cwd=tmp_path, env={"PYTHONPATH": str(ROOT)}, check=True, capture_output=True
    )


def test_a_downtime_is_checked_without_the_provider_s_sdk_which_takes_seconds() -> None:
    look = (
        "import sys\nfrom watchpost.drift import Downtime, deviation\n"
        "deviation(Downtime(name='nights-1a2b3c4d-x', identifier='1'), {'schedule': {}})\n"
        "from components.downtime_names import repair_key\n"
        "assert 'pulumi_datadog' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", look], env={"PYTHONPATH": str(ROOT)}, check=True)


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (
            "\n code: 255\n stdout: \n stderr: warning: x\nerror: no stack named 'dev' found\n",
            "no stack named 'dev' found",
        ),
        ("\n code: 255\n stdout: {\n stderr: error: it is locked\n  by you\n", "it is locked\n  by you"),
        ("\n code: 1\n stdout: \n stderr: \n", "it ended without saying why"),
    ],
)
def test_what_pulumi_said_is_told_from_its_error_on(said: str, told: str) -> None:
    assert reason(said) == told


def pulumi(folder: Path, *stacks: str) -> None:
    """A ``pulumi`` that knows some stacks, none of them selected."""
    listed = ", ".join(f'{{"name": "{name}", "current": false}}' for name in stacks)
    program = folder / "pulumi"
    program.write_text(f"#!/bin/sh\necho '[{listed}]'\n")
    program.chmod(0o755)


def test_without_a_selected_stack_the_option_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pulumi(tmp_path, "dev")
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with pytest.raises(WatchpostError, match=r"no stack is selected: give --stack NAME"):
        _ = Stack(folder=str(tmp_path)).name


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("watchpost re", ["recover"]),
        ("watchpost drift --re", ["--repair"]),
        ("watchpost drift --stack pr", ["prod", "probe"]),
    ],
)
def test_bash_completes_commands_options_and_stacks(tmp_path: Path, typed: str, offered: list[str]) -> None:
    pulumi(tmp_path, "prod", "dev", "probe")
    words = typed.split()
    script = (
        'eval "$CODE"; COMP_WORDS=(' + " ".join(words) + f"); COMP_CWORD={len(words) - 1}\n"
        '_watchpost_completion watchpost; printf "%s\\n" "${COMPREPLY[@]}"'
    )
    environment = {"CODE": completion.source("bash", watchpost), "PATH": f"{tmp_path}:/usr/bin:/bin"}
    done = subprocess.run(
        ["bash", "-c", script], env=environment, capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert done.stdout.split() == offered


@pytest.mark.parametrize("shell", [shell for shell in completion.FUNCTIONS if shutil.which(shell)])
def test_the_completion_defines_a_command_that_runs_from_anywhere(shell: str, tmp_path: Path) -> None:
    code = tmp_path / "code"
    code.write_text(completion.source(shell, watchpost))
    prepare = "autoload -Uz compinit; compinit -u; " if shell == "zsh" else ""
    done = subprocess.run(
        [shell, "-c", f"{prepare}source {code}; watchpost drift --help"],
        env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "Usage: python -m watchpost drift" in done.stdout

"""The step that builds the app's environment: one at a time, even if the previous connection was lost."""

import fcntl
import hashlib
import os
import subprocess
import zipfile
from pathlib import Path

import pytest

from tests.contract.scripts import command, stand_in
from tests.contract.test_host_file import Host, may_mount

pytestmark = pytest.mark.skipif(not may_mount(), reason="needs root and mount namespaces (unshare --mount)")

PYTHON = r"""
for word; do last=$word; done
case "$*" in
*" venv "*) mkdir -p "$last/bin" && cp "$0" "$last/bin/python" ;;
*" config list") echo "$PIP_SETTINGS" ;;
*" --target "*) mkdir -p "${0%/*}/../uv/bin" && ln -s "$0" "${0%/*}/../uv/bin/uv" ;;
*" --requirement "*)
  case ${0##*/} in
  uv) touch "${0%/*}/../../.lock" && echo "uv installs" && exit "$UV_CODE" ;;
  *) echo "pip installs" ;;
  esac
  ;;
*" list "*) echo "flask 3" ;;
esac
"""
"""A fake Python, pip and uv that only print which one installs."""


def new_host(folder: Path) -> Host:
    """Create a bare host."""
    (folder / "kept").mkdir()
    return Host(files=folder, kept=folder / "kept")


WORDS = "waiting for an install that is still at work"


@pytest.mark.parametrize(("verb", "code"), [("apply", 1), ("remove", 0)])
def test_an_install_that_is_still_at_work_is_waited_for(tmp_path: Path, verb: str, code: int) -> None:
    app, programs, host = tmp_path / "app", tmp_path / "programs", new_host(tmp_path)
    app.mkdir()
    (app / "requirements.txt").write_text("flask==3\n")
    stand_in(programs, "python3", "echo the install began; exit 1")
    (host.run / "watchpost").mkdir(parents=True)
    lock = os.open(host.run / "watchpost" / "environment.lock", os.O_RDONLY | os.O_CREAT)
    fcntl.flock(lock, fcntl.LOCK_EX)
    with subprocess.Popen(
        [*host.inside(), *command("traced_app/environment.sh", verb, {"directory": str(app)})],
        env={**os.environ, "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as step:
        assert step.stdout is not None
        assert step.stdout.readline().strip() == WORDS
        assert step.poll() is None
        os.close(lock)
        rest = step.stdout.read()
    assert step.returncode == code, rest
    assert ("the install began" in rest) == (verb == "apply")


BROKEN = (
    "WARNING: Retrying (Retry(total=0, connect=None, read=None, redirect=None, status=None)) after connection broken by"
    " '{}': /simple/blinker/\nERROR: Could not find a version that satisfies the requirement blinker==1.9.0"
    " (from versions: none)\nERROR: No matching distribution found for blinker==1.9.0"
)
"""pip's words where it doesn't reach its index (23.0.1)."""


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (
            BROKEN.format(
                "NewConnectionError('<x>: Failed to establish a new connection: [Errno 111] Connection refused')"
            ),
            ", since it doesn't reach its index (Connection refused): let the host reach it, or name a proxy or",
        ),
        (
            BROKEN.format(
                "SSLError(SSLCertVerificationError(1, '[SSL] certificate verify failed: self-signed (_ssl.c:1)'))"
            ),
            ", since it doesn't reach its index (certificate verify failed: self-signed): let ",
        ),
        (
            "ERROR: https://me:fake@index.test/x is not a supported wheel on this platform.\nERROR: more",
            ": https://index.test/x is not a supported wheel on this platform.\n",
        ),
        ("Killed", "\n"),
    ],
)
def test_why_pip_fails_is_told(tmp_path: Path, said: str, told: str) -> None:
    app, programs, host = tmp_path / "app", tmp_path / "programs", new_host(tmp_path)
    app.mkdir()
    (app / "requirements.txt").write_text("blinker==1.9.0\n")
    stand_in(programs, "python3", f"cat <<'SAID'\n{said}\nSAID\nexit 1")
    done = subprocess.run(
        [*host.inside(), *command("traced_app/environment.sh", "apply", {"directory": str(app)})],
        env={**os.environ, "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    before = f"watchpost: pip on {os.uname().nodename} can't install {app}/requirements.txt"
    assert done.stderr.startswith(before + told)


@pytest.mark.parametrize(
    ("pip_settings", "uv_code", "told"),
    [
        ("global.cert='/etc/ssl/certs/ca-certificates.crt'", 0, ["uv installs"]),
        ("global.index-url='https://pypi.example.com/simple'", 0, ["pip installs"]),
        ("", 1, ["uv installs", "pip installs"]),
    ],
)
def test_uv_installs_unless_pip_s_settings_name_another_index_and_pip_does_what_uv_can_t(
    tmp_path: Path, pip_settings: str, uv_code: int, told: list[str]
) -> None:
    app, programs = tmp_path / "app", tmp_path / "programs"
    app.mkdir()
    (app / "requirements.txt").write_text("flask==3\n")
    stand_in(programs, "python3", PYTHON)
    host = new_host(tmp_path)
    path = f"{programs}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        [*host.inside(), *command("traced_app/environment.sh", "apply", {"directory": str(app)})],
        env={**os.environ, "PATH": path, "PIP_SETTINGS": pip_settings, "UV_CODE": str(uv_code)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [*told, "flask 3"]
    assert {path.name for path in (app / "venv").iterdir()} == {"bin", "requirements.txt"}


def wheel(folder: Path) -> str:
    """Make an empty package; return the requirement for it."""
    file = folder / "flask-0-py3-none-any.whl"
    parts = {
        "METADATA": "Metadata-Version: 2.1\nName: flask\nVersion: 0\n",
        "WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        "RECORD": "",
    }
    with zipfile.ZipFile(file, "w") as content:
        for name, text in parts.items():
            content.writestr(f"flask-0.dist-info/{name}", text)
    return f"flask @ file://{file} --hash=sha256:{hashlib.sha256(file.read_bytes()).hexdigest()}\n"


def test_pip_s_own_settings_send_nothing_to_a_user_s_folder_and_a_python_of_root_s_own_is_not_used(
    tmp_path: Path,
) -> None:
    app, programs = tmp_path / "app", tmp_path / "programs"
    app.mkdir()
    (app / "requirements.txt").write_text(wheel(tmp_path))
    (tmp_path / "pip.conf").write_text("[global]\nindex-url = http://127.0.0.1:9/\n[install]\nuser = true\n")
    host = new_host(tmp_path)
    own = Path("/run/user/tests/python3")  # in the host's own /run
    inside = [*host.inside()]
    (host.run / "user" / "tests").mkdir(parents=True)
    programs.mkdir()
    (host.run / "user" / "tests" / "python3").write_text("#!/bin/sh\nexit 9\n")
    (host.run / "user" / "tests" / "python3").chmod(0o755)
    (programs / "python3").symlink_to(own)
    done = subprocess.run(
        [*inside, *command("traced_app/environment.sh", "apply", {"directory": str(app)})],
        env={
            **os.environ,
            "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
            "PIP_CONFIG_FILE": str(tmp_path / "pip.conf"),
        },
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1].split()[:2] == ["flask", "0"]
    assert (app / "venv" / "bin" / "python").resolve().is_relative_to("/usr")


def test_a_host_where_no_lock_can_be_kept_is_told_so_at_once(tmp_path: Path) -> None:
    host = new_host(tmp_path)
    host.run.mkdir()
    (host.run / "watchpost").write_text("somebody's file")
    done = subprocess.run(
        [*host.inside(), *command("traced_app/environment.sh", "apply", {"directory": str(tmp_path / "app")})],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    (sentence,) = [line for line in done.stderr.splitlines() if line.startswith("watchpost: ")]
    assert sentence.startswith("watchpost: root can't write to /run/watchpost on ")

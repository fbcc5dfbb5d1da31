"""The step that starts the app asks the app itself, whatever the login's surroundings are."""

import os
import subprocess
from pathlib import Path

from sandbox.testing.processes import free_port

from .scripts import command, stand_in
from .test_load import serving

VARIABLES = {"unit": "watchpost-app.service", "tags": "env:tests", "version": "1.0.0"}


def look(programs: Path, port: int, **environment: str) -> "subprocess.CompletedProcess[str]":
    """Check the app at ``port``, whose service is up."""
    stand_in(programs, "systemctl", "case $1 in is-enabled) echo enabled ;; is-active) echo active ;; esac")
    return subprocess.run(
        command("traced_app/service.sh", "check", {**VARIABLES, "port": port, "endpoints": "/ /api/apm"}),
        env={**os.environ, "PATH": f"{programs}:{os.environ['PATH']}", **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_proxy_of_the_host_is_not_asked_for_the_app(tmp_path: Path) -> None:
    proxy = f"http://127.0.0.1:{free_port()}"
    with serving() as server:
        done = look(tmp_path, server.server_port, http_proxy=proxy, HTTP_PROXY=proxy, ALL_PROXY=proxy)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_an_app_that_does_not_answer_is_drift(tmp_path: Path) -> None:
    assert look(tmp_path, free_port()).returncode != 0

"""Runs the stand-in Agent without a machine: in a temporary folder, on free ports, with the same commands."""

import contextlib
import json
import os
import shutil
import subprocess
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from sandbox import agent
from sandbox.testing.processes import free_port, wait_until

from .scripts import stand_in

KEY = "fake" + "1" * 28

START = """
import sys

sys.path[0] = "{folder}/lib"
from agent7 import {module}
{patches}
sys.exit({call})
"""

Answer = Callable[[str, str], int | None]
"""The status for a method and path; ``None`` for no answer."""


class Intake:
    """A loopback server that answers as configured and records requests."""

    def __init__(self, answer: Answer) -> None:
        self.requests: Counter[str] = Counter()
        self.bodies: dict[str, list[Any]] = {}
        self.ended = threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                path = self.requestline.split()[1].partition("?")[0]  # the library's own collapses slashes
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                outer.requests[f"{self.command} {path}"] += 1
                if body:
                    outer.bodies.setdefault(path, []).append(json.loads(body))
                if (status := answer(self.command, path)) is None:
                    outer.ended.wait(60)
                    return
                self.send_response(status)
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"{}")

            do_POST = do_GET  # noqa: N815

            def log_message(self, *_: object) -> None:
                """Log nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"


@contextlib.contextmanager
def intake(answer: Answer = lambda *_: 202) -> Iterator[Intake]:
    """Run a server that answers ``answer``."""
    server = Intake(answer)
    thread = threading.Thread(target=server.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.ended.set()
        server.server.shutdown()
        server.server.server_close()
        thread.join(10)


def accepting(method: str, path: str) -> int:
    """Answer as Datadog to a valid key."""
    return 200 if (method, path) == ("GET", "/api/v1/validate") else 202


@dataclass
class Agent:
    """An Agent in ``folder``; :meth:`configure` writes its ``datadog.yaml``."""

    folder: Path
    python: Path
    apm_port: int = field(default_factory=free_port)
    trace_status: int = field(default_factory=free_port)
    daemon: "subprocess.Popen[bytes] | None" = None

    @classmethod
    def installed(cls, folder: Path, python: Path) -> "Agent":
        """Install a new Agent, unconfigured."""
        self = cls(folder, python)
        for name in ("etc/conf.d", "etc/checks.d", "log", "run", "lib/agent7"):
            (folder / name).mkdir(parents=True)
        for path in Path(agent.__file__).parent.glob("*.py"):
            shutil.copy(path, folder / "lib" / "agent7")
        settings = folder / "lib" / "agent7" / "settings.py"
        text = settings.read_text().replace("/etc/datadog-agent", f"{folder}/etc")
        settings.write_text(
            text.replace("/var/log/datadog", f"{folder}/log").replace("/opt/datadog-agent", f"{folder}")
        )
        (folder / "version-manifest.txt").write_text("agent 7.78.4\n")
        patches = (
            f"from agent7 import daemon\ndaemon.DOGSTATSD = ('127.0.0.1', 0)\ndaemon.TRACE_STATUS = {self.trace_status}"
        )
        for name, module, extra, call in (
            ("datadog-agent", "cli", "", "cli.main()"),
            ("daemon", "cli", patches, "cli.main()"),
            ("trace-agent", "trace_agent", patches, "trace_agent.main('7.78.4')"),
        ):
            program = folder / f"{name}.py"
            program.write_text(START.format(folder=folder, module=module, patches=extra, call=call))
            stand_in(folder / "bin", name, f'exec "{python}" "{program}" "$@"')
        return self

    def configure(self, text: str) -> None:
        """Write ``datadog.yaml``."""
        (self.folder / "etc" / "datadog.yaml").write_text(text)

    def check(self, name: str, code: str, config: str = "instances: [{}]") -> None:
        """Add a custom check."""
        (self.folder / "etc" / "checks.d" / f"{name}.py").write_text(code)
        (self.folder / "etc" / "conf.d" / f"{name}.yaml").write_text(config)

    def __call__(self, *words: str) -> "subprocess.CompletedProcess[str]":
        """Run ``datadog-agent WORDS``."""
        command: list[str | Path] = [self.folder / "bin" / "datadog-agent", *words]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=self.environment)

    @property
    def environment(self) -> dict[str, str]:
        """Return its environment: of the tests' own only PATH."""
        return {"PATH": os.environ["PATH"]}

    def status(self) -> dict[str, Any]:
        """Return the output of ``status --json``."""
        found: dict[str, Any] = json.loads(self("status", "--json").stdout)
        return found

    def log(self, name: str = "agent") -> str:
        """Return its log."""
        return (self.folder / "log" / f"{name}.log").read_text()

    @contextlib.contextmanager
    def running(self, program: str = "daemon", *words: str) -> Iterator["subprocess.Popen[bytes]"]:
        """Run the service, or ``trace-agent``; entered once it answers."""
        with (self.folder / "output").open("wb") as output:
            process = subprocess.Popen(
                [self.folder / "bin" / program, *(words or ("run",))],
                env=self.environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
            )  # fmt: skip
        try:
            log = self.folder / "log" / ("agent.log" if program == "daemon" else "trace-agent.log")
            wait_until(
                lambda: (
                    process.poll() is not None
                    or (log.exists() and ("check instances" in log.read_text() or "Listening" in log.read_text()))
                ),
                f"{program} starts",
            )
            assert process.poll() is None, (self.folder / "output").read_text()
            yield process
        finally:
            process.terminate()
            process.wait(20)

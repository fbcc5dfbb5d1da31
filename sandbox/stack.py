"""A Watchpost stack on the sandbox: account, machines, engine, and the ``pulumi`` that runs it."""

import contextlib
import gzip
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from components import templates
from sandbox import paths, prepare, signals
from sandbox.datadog import Account, desk
from sandbox.machine import Machine
from sandbox.progress import SandboxError
from sandbox.pulumi import engine, plugins
from settings.project import PROJECT

INSIDE = "10.0.2.2"
"""The host's loopback, as seen from a machine."""

PASSPHRASE = "the sandbox has no secrets"  # noqa: S105 - protects fake keys and an unreachable database


@dataclass(frozen=True, kw_only=True)
class Stack:
    """The stack ``name`` with ``hosts`` as its machines, bare or from ``tree``; everything lives in ``folder``.

    The project there is this clone's ``Pulumi.yaml`` with ``main`` pointing here, and a copy of its stack file with the
    sandbox's addresses added, so that nothing is written to the clone.
    """

    folder: Path = field(default_factory=paths.local)
    name: str = "dev"
    hosts: Sequence[str] = ("vm",)
    tree: Path | None = None
    customers: bool = False
    """Whether ``customerExperience`` is as in the clone's stack file; otherwise off, as most tests need it."""

    @property
    def account(self) -> Account:
        """The stand-in Datadog, running or not."""
        return Account(folder=self.folder / "datadog")

    @property
    def machines(self) -> dict[str, Machine]:
        """The machines by name, running or not."""
        return {name: Machine(name, self.folder / "machines" / name, self.tree) for name in self.hosts}

    def start(self) -> None:
        """Start or reuse what the stack needs: the account, the machines, the engine, the project.

        Raises:
            SandboxError: something isn't available here; the message says what to do.
        """
        engine_folder = prepare.ensure(trees=bool(self.hosts) and self.tree is None)
        for folder in ("state", "pulumi-home", "project"):
            (self.folder / folder).mkdir(parents=True, exist_ok=True)
        plugins.install(self.environment(engine_folder), engine_folder)
        account = Account.start(self.folder / "datadog")
        for machine in self.machines.values():
            machine.start()
        self._write_project(account)
        if self.name not in {stack["name"] for stack in json.loads(self.pulumi("stack", "ls", "--json").stdout)}:
            self.pulumi("stack", "init", self.name)
        locked = any((self.folder / "state" / ".pulumi" / "locks").rglob("*.json"))
        if locked:
            # A sandbox runs one command at a time, so a killed command left this lock.
            self.pulumi("cancel", "--yes", self.name)
        if locked or b'"pending_operations"' in self._state():
            self.pulumi("refresh", "--yes", "--skip-preview", "--clear-pending-creates", "--stack", self.name)

    def stop(self) -> None:
        """End and remove everything, in any state. Resources in a real Datadog are not touched."""
        for machine in self.machines.values():
            machine.stop()
        self.account.stop()
        plugins.stop_pool(self.folder / "pulumi-home")
        for folder in ("machines", "datadog", "project", "state", "pulumi-home", "plugins"):
            shutil.rmtree(self.folder / folder, ignore_errors=True)

    @contextlib.contextmanager
    def afresh(self) -> Iterator["Stack"]:
        """Start from scratch, whatever an earlier run left, and remove everything at the end."""
        self.stop()
        try:
            self.start()
            yield self
        finally:
            self.stop()

    def environment(self, engine_folder: Path | None = None) -> dict[str, str]:
        """Return the environment of ``pulumi``: engine and this interpreter first on PATH, state in the folder."""
        folders = [Path(sys.executable).parent, engine_folder or engine.ensure()]
        account = self.account
        return {
            **os.environ,
            "PATH": os.pathsep.join([*map(str, folders), os.environ.get("PATH", "")]),
            "PULUMI_HOME": str(self.folder / "pulumi-home"),
            "PULUMI_BACKEND_URL": self.backend,
            "PULUMI_CONFIG_PASSPHRASE": PASSPHRASE,
            "PULUMI_SKIP_UPDATE_CHECK": "true",
            # The state contains each script several times, and is written whole before and after every step.
            "PULUMI_DIY_BACKEND_GZIP": os.environ.get("PULUMI_DIY_BACKEND_GZIP", "true"),
            "GOGC": os.environ.get("GOGC", "400"),  # a process of a second has little use for a garbage collector
            # Cache bytecode outside the clone: the program and the stand-ins start faster.
            "PYTHONDONTWRITEBYTECODE": "",
            "PYTHONPYCACHEPREFIX": str(paths.cache() / "bytecode"),
            "DD_API_KEY": account.api_key,
            "DD_APP_KEY": account.app_key,
        }

    def pulumi(
        self, *words: str, check: bool = True, show: bool = False, environment: Mapping[str, str] | None = None
    ) -> "subprocess.CompletedProcess[str]":
        """Run ``pulumi`` on the project; ``show`` sends its output to the terminal instead of the result.

        Raises:
            SandboxError: it failed (with ``check``); the message has its output, unless shown.
            KeyboardInterrupt: this process was asked to end, and ``pulumi`` has ended in order.
        """
        command = ["pulumi", "--non-interactive", "-C", str(self.project), *words]
        pipe = None if show else subprocess.PIPE
        done = signals.call(command, env={**self.environment(), **(environment or {})}, stdout=pipe, stderr=pipe)
        if check and done.returncode:
            output = "" if show else f":\n{done.stdout}{done.stderr}"
            raise SandboxError(f"`pulumi {' '.join(words)}` ended with exit code {done.returncode}{output}")
        return done

    @property
    def backend(self) -> str:
        """The URL of the stack's state.

        ``metadata=skip`` because an engine killed while it writes a ``.attrs`` file leaves it empty, after which every
        command ends with ``failed to load checkpoint: EOF``; the state itself is replaced in one step.
        Source: ``setAttrs`` in https://github.com/google/go-cloud/blob/master/blob/fileblob/attrs.go
        """
        return f"file://{self.folder / 'state'}?metadata=skip"

    @property
    def project(self) -> Path:
        """The project folder."""
        return self.folder / "project"

    def destroy(
        self, *words: str, check: bool = True, show: bool = False, environment: Mapping[str, str] | None = None
    ) -> "subprocess.CompletedProcess[str]":
        """Run ``pulumi destroy`` with a refresh first, as in docs/operating.md, so missing objects are no errors."""
        command = ["destroy", "--yes", "--skip-preview", "--refresh", "--stack", self.name, *words]
        return self.pulumi(*command, check=check, show=show, environment=environment)

    def python(self, *words: str, check: bool = True, cwd: Path = paths.ROOT) -> int:
        """Run this interpreter with the clone's modules and the account's keys; return its exit code.

        Raises:
            SandboxError: it failed (with ``check``).
        """
        code = subprocess.run(
            [sys.executable, *words],
            env={**self.environment(), "DD_HOST": self.account.url, "PYTHONPATH": str(paths.ROOT)},
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            check=False,
        ).returncode
        if check and code:
            raise SandboxError(f"`python {' '.join(words)}` ended with exit code {code}")
        return code

    @property
    def has_state(self) -> bool:
        """Whether the stack has a state, even an empty one."""
        return bool(self._state())

    def _state(self) -> bytes:
        """Return the last written state, or empty bytes."""
        file = self.folder / "state" / ".pulumi" / "stacks" / PROJECT / f"{self.name}.json"
        compressed = file.with_suffix(".json.gz")
        if compressed.exists():
            return gzip.decompress(compressed.read_bytes())
        return file.read_bytes() if file.exists() else b""

    def outputs(self) -> dict[str, Any]:
        """Return the stack's outputs, including secrets: none here has any value."""
        outputs: dict[str, Any] = json.loads(self.pulumi("stack", "output", "--json", "--show-secrets").stdout)
        return outputs

    def configure(self, **settings: object) -> None:
        """Set ``watchpost`` settings for the next run; ``None`` restores the clone's value."""
        path = self.stack_file
        document = yaml.safe_load(path.read_text())
        written = self._clone_config()["config"]
        for key, value in settings.items():
            setting = f"{PROJECT}:{key}"
            value = written.get(setting) if value is None else value
            if value is None:
                document["config"].pop(setting, None)
            else:
                document["config"][setting] = value
        path.write_text(templates.yaml_text(document))

    def setting(self, name: str) -> Any:
        """Return a ``watchpost`` setting from the stack's file; ``None`` if it has its default."""
        return yaml.safe_load(self.stack_file.read_text())["config"].get(f"{PROJECT}:{name}")

    @property
    def stack_file(self) -> Path:
        """The stack's configuration file."""
        return self.folder / "project" / f"Pulumi.{self.name}.yaml"

    def _clone_config(self) -> dict[str, Any]:
        document = _clone_stack_config(self.name)
        if not self.customers:
            document["config"].pop(f"{PROJECT}:customerExperience", None)
        return document

    def _write_project(self, account: Account) -> None:
        project = yaml.safe_load((paths.ROOT / "Pulumi.yaml").read_text())
        project["main"] = str(paths.ROOT)
        project["runtime"]["options"]["virtualenv"] = sys.prefix
        (self.folder / "project" / "Pulumi.yaml").write_text(yaml.safe_dump(project, sort_keys=False))
        document = yaml.safe_load(self.stack_file.read_text()) if self.stack_file.exists() else self._clone_config()
        inside = account.url.replace("127.0.0.1", INSIDE)
        document["config"] |= {
            "datadog:apiUrl": account.url,
            f"{PROJECT}:appUrl": account.url,
            f"{PROJECT}:agentUrl": inside,
            f"{PROJECT}:traceUrl": inside,
            f"{PROJECT}:installScriptUrl": f"{inside}/agent/install_script_agent7.sh",
            f"{PROJECT}:hosts": {name: host_entry(machine) for name, machine in self.machines.items()},
        }
        experience = document["config"].get(f"{PROJECT}:customerExperience") or {}
        if experience.get("enabled"):
            experience["ticketUrl"] = account.url + desk.PATH
        self.stack_file.write_text(templates.yaml_text(document))


def host_entry(machine: Machine) -> dict[str, object]:
    """Return a machine's entry for ``watchpost:hosts``."""
    return {
        "address": machine.address,
        "port": machine.port,
        "user": machine.user,
        "privateKeyFile": str(machine.private_key_file),
        "hostKey": machine.host_key,
    }


def _clone_stack_config(name: str) -> dict[str, Any]:
    """Read the clone's stack file; keys without a namespace belong to this project."""
    path = paths.ROOT / f"Pulumi.{name}.yaml"
    if not path.exists():
        raise SandboxError(f"there is no {path.name} in this clone")
    document: dict[str, Any] = yaml.safe_load(path.read_text())
    config = {key if ":" in key else f"{PROJECT}:{key}": value for key, value in document["config"].items()}
    return {**document, "config": config}

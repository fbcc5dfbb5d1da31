"""Compares Watchpost with Ansible: the same steps on the same bare machine, first and repeated runs."""

import json
import os
import subprocess
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from bench import stage
from bench.measure import timed
from bench.report import Report, ratio, seconds, verdict
from bench.steps import Step, steps
from sandbox.environments import environment
from sandbox.machine import Machine
from sandbox.progress import SandboxError, say

FOLDER = Path(__file__).with_name("ansible")

FIRST_BOUND = 1.0
"""Bound on the first run, as a multiple of Ansible's."""

AGAIN_BOUND = 0.2
"""Bound on the repeated run, as a multiple of Ansible's."""


def run(runs: int) -> Report:
    """Time Watchpost twice on a bare machine; reset the machine; time Ansible twice."""
    python = environment("ansible", FOLDER / "requirements.txt")
    figures: dict[str, list[float]] = {
        f"{who}, {what}": [] for what in ("first run", "repeated run") for who in ("Ansible", "Watchpost")
    }
    for _ in range(runs):
        with stage.stack("ansible") as stack:
            figures["Watchpost, first run"].append(timed(partial(stage.up, stack)))
            figures["Watchpost, repeated run"].append(timed(partial(stage.up, stack, "--expect-no-changes")))
            taken, machine = steps(stack), stack.machines["vm"]
            machine.reset()
            play = Play(python, machine, variables(taken))
            figures["Ansible, first run"].append(timed(play.run))
            figures["Ansible, repeated run"].append(timed(play.run))
            play.expect_no_changes()
        say(", ".join(f"{name} {values[-1]:.1f} s" for name, values in figures.items()))
    first = ratio(figures["Watchpost, first run"], figures["Ansible, first run"])
    again = ratio(figures["Watchpost, repeated run"], figures["Ansible, repeated run"])
    return Report(
        title="Ansible beside it",
        header=("run", "wall time"),
        rows=[(name, seconds(values)) for name, values in figures.items()],
        notes=[
            f"first run, times Ansible's: {verdict(first, FIRST_BOUND)}",
            f"repeated run, times Ansible's: {verdict(again, AGAIN_BOUND)}",
        ],
        figures={"seconds": figures},
    )


class Play:
    """The playbook on one machine, with pipelining and a persistent connection."""

    def __init__(self, python: Path, machine: Machine, values: Mapping[str, Any]) -> None:
        folder = machine.folder.parent.parent / "play"
        folder.mkdir(parents=True, exist_ok=True)
        variables = folder / "variables.json"
        variables.write_text(json.dumps(values))
        inventory = folder / "inventory.json"
        host = {
            "ansible_host": machine.address,
            "ansible_port": machine.port,
            "ansible_user": machine.user,
            "ansible_ssh_private_key_file": str(machine.private_key_file),
            "ansible_ssh_common_args": f"-o HostKeyAlias={machine.name} "
            f"-o UserKnownHostsFile={machine.folder / 'known_hosts'}",
        }
        inventory.write_text(json.dumps({"all": {"hosts": {machine.name: host}}}))
        playbook = str(python.with_name("ansible-playbook"))
        self._command = [playbook, "-i", str(inventory), "-e", f"@{variables}", str(FOLDER / "playbook.yaml")]
        self._environment = {
            **os.environ,
            "PATH": os.pathsep.join([str(python.parent), os.environ.get("PATH", "")]),
            "ANSIBLE_CONFIG": str(FOLDER / "ansible.cfg"),
            "ANSIBLE_HOME": str(folder / "home"),
            "LC_ALL": "C.UTF-8",
        }
        self._said = ""

    def run(self) -> None:
        """Run the playbook.

        Raises:
            SandboxError: a task failed.
        """
        done = subprocess.run(
            self._command,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        self._said = done.stdout
        if done.returncode:
            raise SandboxError(f"the playbook failed: {done.stdout[-2000:]}{done.stderr[-2000:]}")

    def expect_no_changes(self) -> None:
        """Check that the last run changed nothing.

        Raises:
            SandboxError: it changed something.
        """
        if " changed=0 " not in self._said:
            raise SandboxError(f"the repeated playbook changed something: {self._said[-2000:]}")


def variables(taken: list[Step]) -> dict[str, Any]:
    """Return the playbook's variables, taken from the steps of Watchpost's stack."""
    files = [
        {"path": step.variables["path"], "content": step.content}
        for step in taken
        if step.script == "files/host/file.sh"
    ]
    by_script = {step.script: step for step in taken}
    packages, install = by_script["files/host/packages.sh"], by_script["files/agent/install.sh"]
    user, load = by_script["files/mysql/user.sh"], by_script["files/load/run.sh"].variables
    # The playbook is for Debian, where that server is MariaDB.
    wanted = [alternatives.split(" | ") for alternatives in packages.variables["packages"].split(", ")]
    names = {"mariadb-server" if "mariadb-server" in alternatives else alternatives[0] for alternatives in wanted}
    return {
        "packages": sorted({*names, "python3-packaging"}),  # the latter for Ansible's pip module
        "install_script": install.variables["url"],
        "agent_minor_version": install.variables["version"].removeprefix("7."),
        # user.sh creates the user itself; Ansible has the whole as one text.
        "sql": f"CREATE USER 'datadog'@'127.0.0.1' IDENTIFIED BY '{user.content.strip()}';\n{user.variables['sql']}",
        "agent_files": [file for file in files if file["path"].startswith("/etc/datadog-agent/")],
        "app_files": [file for file in files if not file["path"].startswith("/etc/datadog-agent/")],
        "version": by_script["files/traced_app/service.sh"].variables["version"],
        "endpoints": load["endpoints"].split(),
        "requests": load["requests"],
        "concurrency": load["concurrency"],
    }

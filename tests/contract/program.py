"""The inputs of the program's resources, recorded with the unit tests' mocks.

The program runs in a separate process, which imports slim provider SDKs.
"""

import json
import subprocess
import sys
from collections import defaultdict
from typing import Any

import startup
from components.step_command import StepCommand
from tests.unit.mocks import ROOT, run_program

SETTINGS: dict[str, dict[str, str]] = {
    "defaults": {"shareDashboards": "true"},
    "other": {
        "site": "datadoghq.eu",
        "env": "prod-1",
        "service": "shop.web",
        "version": "2.0.0-rc1",
        "timezone": "Asia/Tokyo",
        "officeStart": "08:30",
        "officeEnd": "18:15",
        "officeDays": '["MO","TU","WE","TH","FR","SA","SU"]',
        "windowMinutes": "10",
        "noDataMinutes": "30",
        "warningThreshold": "0",
        "alertThreshold": "1",
        "checkInterval": "7",
        "recipients": '["you@example.com","team+x@example.org"]',
    },
}
"""Settings to run the program with, by name; others have their defaults."""

Inputs = dict[str, list[dict[str, Any]]]
"""Inputs by resource type, such as ``datadog:index/monitor:Monitor``, under Pulumi's names."""


def inputs() -> dict[str, Inputs]:
    """Return the inputs of all resources, by settings."""
    printed = subprocess.run(
        [sys.executable, "-m", "tests.contract.program"],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        timeout=120,
        check=True,
    ).stdout
    result: dict[str, Inputs] = json.loads(printed.splitlines()[-1])
    return result


def files(resources: Inputs) -> dict[str, str]:
    """Return the content of the program's files on a host, by path."""
    steps = [(StepCommand.parse(step["create"]), step["stdin"]) for step in resources["command:remote:Command"]]
    return {
        command.variables["path"]: stdin.partition("\n")[2]
        for command, stdin in steps
        if command.script == "host/file.sh"
    }


def _inputs(settings: dict[str, Any]) -> Inputs:
    found: Inputs = defaultdict(list)
    for resource in run_program(**settings).resources:
        found[resource.type].append(_whole(resource.plain))
    return found


def _whole(value: Any) -> Any:
    """Convert whole numbers back to integers: protobuf has only floats."""
    match value:
        case dict():
            return {name: _whole(entry) for name, entry in value.items()}
        case list():
            return [_whole(entry) for entry in value]
        case float() if value.is_integer():
            return int(value)
        case _:
            return value


if __name__ == "__main__":
    startup.prepare()
    print(json.dumps({name: _inputs(settings) for name, settings in SETTINGS.items()}))

"""Runs the program under Pulumi's mocks with the defaults of ``Pulumi.yaml``, and tells what its resources are given.

In a process of its own, since mocks, configuration and event loops are global to one.
"""

import json
import os
import re
import runpy
import subprocess
import sys
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pulumi
import yaml
from pulumi.runtime import MockCallArgs, MockResourceArgs, Mocks, rpc, set_all_config, set_mocks

ROOT = Path(__file__).resolve().parents[2]

MONITOR_ID = "100000001"
"""The id that the stand-in Datadog gives to its first monitor."""

SETTINGS = {
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
"""Settings, by name, that the program is run with; what is left out has its default."""

Inputs = dict[str, list[dict[str, Any]]]
"""The inputs of the resources by type, such as ``datadog:index/monitor:Monitor``, in Pulumi's names."""


def inputs() -> dict[str, Inputs]:
    """The inputs of all resources, by the name of the settings."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore"}
    printed = subprocess.run(
        [sys.executable, __file__],
        env=environment,
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
    """The files that the program puts on its host: content by path."""
    steps = [
        step for step in resources["command:remote:Command"] if step["create"].endswith(" files/host/file.sh apply")
    ]
    return {
        str(re.search(r" path=(\S+) ", step["create"])[1]): step["stdin"].partition("\n")[2]  # type: ignore[index]
        for step in steps
    }


KEYS = ("machine", "value", "tags", "interval_s", "traces", "tracer", "/", "/api/apm", "/api/trace")
"""What the steps report, all of them together."""


def _reports(args: MockResourceArgs) -> str:
    """What a step prints: a text of some, an object of the others."""
    script = str(args.inputs.get("create", "")).split(" ")[-2:][0]
    text = script in ("files/agent/service.sh", "files/mysql/user.sh")
    return f"=watchpost= {json.dumps('1' if text else dict.fromkeys(KEYS, 1))}"


class _Recorder(Mocks):
    def __init__(self) -> None:
        self.inputs: Inputs = defaultdict(list)

    def new_resource(self, args: MockResourceArgs) -> tuple[str | None, dict[Any, Any]]:
        self.inputs[args.typ].append(_whole(args.inputs))
        name = MONITOR_ID if args.typ.endswith(":Monitor") else args.name
        made = {"url": f"/dashboard/{args.name}", "stdout": _reports(args), "result": "fake" + "0" * 28}
        return name, {**args.inputs, **made}

    def call(self, args: MockCallArgs) -> tuple[dict[Any, Any], list[tuple[str, str]] | None]:
        raise NotImplementedError(args.token)


def _whole(value: Any) -> Any:
    """Whole numbers as such, since protobuf made floats of them; and secrets as they are."""
    match value:
        case {rpc._special_sig_key: rpc._special_secret_sig, "value": secret}:
            return _whole(secret)
        case dict():
            return {name: _whole(entry) for name, entry in value.items()}
        case list():
            return [_whole(entry) for entry in value]
        case float() if value.is_integer():
            return int(value)
        case _:
            return value


def _run(settings: Mapping[str, str]) -> Inputs:
    declared = yaml.safe_load((ROOT / "Pulumi.yaml").read_text())["config"]
    host = {"address": "127.0.0.1", "user": "watchpost", "privateKey": "fake", "hostKey": "ssh-ed25519 AAAAfake"}
    values = {key: _text(setting["default"]) for key, setting in declared.items()}
    values |= {"watchpost:hosts": _text({"vm": host}), "watchpost:recipients": _text(["you@example.com"])}
    values |= {f"watchpost:{name}": value for name, value in settings.items()}
    values |= {"datadog:apiKey": "fake" + "0" * 28, "datadog:appKey": "fake" + "0" * 36}
    recorder = _Recorder()
    set_mocks(recorder, project="watchpost", stack="contract")
    set_all_config(values)
    pulumi.runtime.test(_main)()  # type: ignore[no-untyped-call]
    return recorder.inputs


def _main() -> None:
    runpy.run_path(str(ROOT / "__main__.py"), run_name="__main__")


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


if __name__ == "__main__":
    print(json.dumps({name: _run(settings) for name, settings in SETTINGS.items()}))

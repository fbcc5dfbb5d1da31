"""The outputs of resources in a state that the real plugins wrote, to compare the stand-ins' with."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from sandbox.stack import Stack
from tests.engine.plugin import SECRET

RECORDED: dict[str, dict[str, str]] = json.loads(Path(__file__).with_name("recorded_outputs.json").read_text())
"""The kind of each output, by resource type (command 1.2.1, random 4.21.1, datadog 5.17 with the provider's 4.19),
except for the Terraform bridge's own entries."""

EMBED = "datadog:index/secureEmbedDashboard:SecureEmbedDashboard"

BRIDGES_OWN = "__pulumi_raw_state_delta"


def kind(value: object) -> str:
    """Return a value's JSON type, or ``secret``."""
    if isinstance(value, dict):
        return "secret" if SECRET.items() <= value.items() else "object"
    names = {bool: "boolean", list: "array", str: "string", int: "number", float: "number", type(None): "null"}
    return names[type(value)]


def resources(stack: Stack, types: Iterable[str]) -> list[dict[str, Any]]:
    """Return the resources of these types in the stack's state."""
    state = json.loads(stack.pulumi("stack", "export", "--stack", stack.name).stdout)["deployment"]["resources"]
    return [resource for resource in state if resource["type"] in set(types)]


def assert_as_recorded(stack: Stack, types: Iterable[str]) -> None:
    """Assert that the state has resources of all these types, with outputs of the recorded kinds."""
    made = resources(stack, types)
    assert {resource["type"] for resource in made} == set(types)
    for resource in made:
        recorded = RECORDED[resource["type"]]
        outputs = {name: kind(value) for name, value in resource["outputs"].items() if name != BRIDGES_OWN}
        assert set(recorded) - set(outputs) <= {"delete"}, resource["urn"]  # a proof has no `delete`
        assert [
            (name, found) for name, found in outputs.items() if found not in recorded.get(name, "").split("|")
        ] == [], resource["urn"]

"""A stack created by an earlier version continues under this one.

``states/VERSION.json`` is the output of `pulumi stack export --show-secrets` for a stack of that version, with fake
secrets and abbreviated scripts.
"""

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox import paths
from sandbox.stack import Stack
from sandbox.testing.account import call

STATES = sorted(Path(__file__).with_name("states").glob("*.json"))

RESOURCES = 40
"""Resources of a stack with one host, components included."""

HARMLESS = {"same", "update", "create", "read", "refresh"}


@pytest.fixture(params=STATES, ids=lambda path: path.stem)
def stack(request: pytest.FixtureRequest) -> Iterator[Stack]:
    """A stack with the earlier version's state; its host is unreachable, which a preview doesn't notice."""
    folder: Path = paths.local() / "tests" / "test_states"
    try:
        with Stack(folder=folder, hosts=()).afresh() as stack:
            stack.configure(
                hosts={"vm": {"address": "198.18.0.2", "user": "u", "privateKey": "fake", "hostKey": HOST_KEY}},
                shareDashboards=True,  # what 1.0 called `embed`
            )
            # An account's first monitor has the id in the state.
            call(stack, "POST", "/api/v1/monitor", MONITOR)
            stack.pulumi("stack", "import", "--stack", stack.name, "--file", str(request.param))
            yield stack
    finally:
        shutil.rmtree(folder, ignore_errors=True)


HOST_KEY = "ssh-ed25519 AAAAfake"
MONITOR = {"name": "M", "type": "metric alert", "query": "avg(last_5m):avg:my_metric{custom_check:my_metric} > 800"}


def test_nothing_of_an_earlier_version_s_stack_is_replaced_or_deleted(stack: Stack) -> None:
    said = stack.pulumi("preview", "--json", "--stack", stack.name).stdout
    preview = json.loads(said[said.index("{") :])
    assert {step["op"] for step in preview["steps"]} <= HARMLESS
    created = [step["urn"] for step in preview["steps"] if step["op"] == "create"]
    # The program's own components, which create nothing themselves, and the library of what steps share.
    assert [urn for urn in created if not re.search(r"watchpost:[a-z]+:\w+::[^:]+$", urn)] == [
        urn for urn in created if urn.endswith("::vm-library")
    ]
    assert preview["changeSummary"]["same"] + preview["changeSummary"]["update"] >= RESOURCES

"""What the tests of faults and kills share: the account's content in figures, and ``components.recover``."""

import subprocess
import sys

from sandbox import paths
from sandbox.datadog import Account
from sandbox.stack import Stack

ONE_OF_EACH = {"monitors": 1, "dashboards": 2, "downtimes": 2, "embeds": 1}
"""What a stack makes in Datadog."""

NONE = dict.fromkeys(ONE_OF_EACH, 0)


def content(account: Account) -> dict[str, int]:
    """How many things of each kind the account holds."""
    return {
        "monitors": len(account.monitors()),
        "dashboards": len(account.dashboards()),
        "downtimes": len(account.downtimes()),
        "embeds": len(account.embeds()),
    }


def recover(stack: Stack, *words: str) -> "subprocess.CompletedProcess[str]":
    """Run ``components.recover`` on the stack, as its failures say."""
    command = [sys.executable, "-m", "components.recover", "--stack", stack.name]
    return subprocess.run(
        [*command, "--cwd", str(stack.folder / "project"), *words],
        env=stack.environment(),
        cwd=paths.ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )

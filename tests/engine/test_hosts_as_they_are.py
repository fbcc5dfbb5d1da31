"""Hosts as people have them: their ways in, login shells, umasks and names, crossed with the life of a stack."""

import asyncio
import json
from collections.abc import Iterator

import asyncssh
import pytest

from components.remote import command_line, reported
from sandbox import paths
from sandbox.machine import Machine
from sandbox.stack import INSIDE, Stack, host_entry
from tests.engine.stacks import host_state, inode, up

USER = "jane.doe"
"""A name as directories have them; useradd takes it only when it is told to."""

SHELLS = {"bash": "bash", "dash": "dash", "zsh": "zsh", "ksh": "ksh93u+m", "fish": "fish", "tcsh": "tcsh"}
"""Login shells, and the package that each is in."""

TALKS = {
    "bash": (".bashrc", "echo Welcome; echo '=watchpost= {'"),
    "zsh": (".zshenv", "echo Welcome; echo '=watchpost= {'"),
    "fish": (".config/fish/config.fish", "echo Welcome; echo '=watchpost= {'"),
    "tcsh": (".tcshrc", "echo Welcome; echo '=watchpost= {'"),
}
"""What a login of each shell reads, and a line in it that prints something, even what looks like a step's report."""


def login(machine: Machine, shell: str) -> dict[str, object]:
    """Give the machine a user with that login shell, which talks; the host's entry that logs in so."""
    file, line = TALKS.get(shell, (".profile", "echo Welcome"))
    machine.run(
        f"""
        id -u {USER} >/dev/null 2>&1 || useradd --badname --create-home {USER}
        command -v {shell} >/dev/null || apt-get -q -y install {SHELLS[shell]} >/dev/null
        usermod --shell "$(command -v {shell})" {USER}
        echo '{USER} ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/91-jane
        install -d -o {USER} -g {USER} ~{USER}/.ssh "$(dirname ~{USER}/{file})"
        install -o {USER} -g {USER} -m 600 ~{machine.user}/.ssh/authorized_keys ~{USER}/.ssh/authorized_keys
        cat >~{USER}/{file}
        """,
        input=f"{line}\n",
    )
    return {**host_entry(machine), "user": USER}


@pytest.fixture(scope="module")
def bastion() -> Iterator[Machine]:
    """A second machine, from which the first can be reached."""
    machine = Machine("bastion", paths.local() / "tests" / "bastion")
    machine.stop()
    try:
        machine.start()
        yield machine
    finally:
        machine.stop()


@pytest.fixture(scope="module", autouse=True)
def _apt(stack: Stack) -> None:
    stack.machines["vm"].run("apt-get -q update >/dev/null")


@pytest.mark.parametrize(
    "shell", [pytest.param(shell, marks=pytest.mark.long) if shell in ("zsh", "ksh") else shell for shell in SHELLS]
)
def test_a_step_reaches_bash_whole_through_any_login_shell(stack: Stack, shell: str) -> None:
    machine = stack.machines["vm"]
    entry = login(machine, shell)

    async def run() -> str:
        line = command_line("host/ready.sh", "apply", {"odd": "it's $HOME `id` \\ !x\n\ttwo"}, sudo=False)
        async with asyncssh.connect(
            "127.0.0.1", machine.port, username=USER, client_keys=[str(entry["privateKeyFile"])],
            known_hosts=([asyncssh.import_public_key(machine.host_key)], [], []), config=None, agent_path=None,
        ) as client:  # fmt: skip
            done = await client.run(line, input="tests/shells\n")
            assert done.exit_status == 0, done.stderr
            return str(done.stdout)

    printed = asyncio.run(run())
    assert "Welcome" in printed or shell in ("dash", "ksh")
    (result,) = reported(printed, ["machine"])
    assert set(result) == {"machine"}
    assert machine.run("cat /var/lib/watchpost/owner; rm -r /var/lib/watchpost").stdout == "tests/shells\n"


@pytest.mark.long
def test_a_host_behind_a_bastion_with_a_talking_fish_and_a_tight_umask_lives_like_any_other(
    stack: Stack, bastion: Machine
) -> None:
    machine = stack.machines["vm"]
    entry = login(machine, "fish")
    machine.run(
        "echo 'session optional pam_umask.so umask=0077' >>/etc/pam.d/common-session\n"
        "echo 'Defaults umask=0077, umask_override' >/etc/sudoers.d/92-umask"
    )
    hidden = {**entry, "address": INSIDE, "proxy": host_entry(bastion)}
    stack.configure(loadRequests=0, hosts={"vm": hidden})
    bare = host_state(machine)

    made = up(stack)
    assert made.code == 0, made.text
    assert stack.outputs()["hosts"]["vm"]["proofs"]["my_metric"]["tags"] == ["custom_check:my_metric"]
    again = up(stack)
    assert (again.code, again.names("create", "update", "delete", "replace")) == (0, set()), again.text

    # It gets another name: what is installed stays, in one update.
    before = inode(machine, "/opt/datadog-agent/bin/agent/agent")
    stack.configure(hosts={"web": hidden})
    renamed = up(stack)
    assert renamed.code == 0, renamed.text
    assert not any(name.endswith("-again") for name in renamed.names("create"))
    assert inode(machine, "/opt/datadog-agent/bin/agent/agent") == before
    assert "hostname: web" in machine.run("cat /etc/datadog-agent/datadog.yaml").stdout
    assert machine.run("systemctl is-active datadog-agent watchpost-app").stdout.split() == ["active"] * 2
    assert up(stack).names("create", "update", "delete", "replace") == set()

    # A login that says nothing but noise has left its mark in the state.
    deployment = json.loads(stack.pulumi("stack", "export", "--stack", stack.name).stdout)
    for resource in deployment["deployment"]["resources"]:
        if resource["type"] == "command:remote:Command":
            resource["outputs"]["stdout"] = "Welcome"
    damaged = stack.folder / "damaged.json"
    damaged.write_text(json.dumps(deployment))
    stack.pulumi("stack", "import", "--file", str(damaged), "--stack", stack.name)
    healed = up(stack)
    assert healed.code == 0, healed.text
    assert "Traceback" not in healed.text
    assert stack.outputs()["hosts"]["web"]["proofs"]["my_metric"]["tags"] == ["custom_check:my_metric"]
    assert up(stack).names("create", "update", "delete", "replace") == set()

    stack.pulumi("destroy", "--yes", "--skip-preview", "--stack", stack.name)
    # What fish and man keep of the logins themselves is no trace of Watchpost.
    own = (f"/home/{USER}/", "/var/cache/man")
    assert sorted(line for line in bare ^ host_state(machine) if not any(path in line for path in own)) == []

"""Real-world hosts: access, login shells, umasks and names, crossed with a stack's life."""

import asyncio
import contextlib
import json
import re
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import asyncssh
import pytest

from components.remote import reported
from components.step_command import StepCommand
from sandbox import paths
from sandbox.machine import Machine, tree
from sandbox.stack import INSIDE, Stack, host_entry
from sandbox.testing.stacks import host_state, inode, up
from tests.engine import relays
from tests.engine.lives import Life, live

USER = "jane.doe"
"""A name as in directory services; useradd needs ``--badname`` for it."""

SHELLS = {"bash": "bash", "dash": "dash", "zsh": "zsh", "ksh": "ksh93u+m", "fish": "fish", "tcsh": "tcsh"}
"""Login shells and their packages."""

TALKS = {
    "bash": (".bashrc", "echo Welcome; echo '=watchpost= {'"),
    "zsh": (".zshenv", "echo Welcome; echo '=watchpost= {'"),
    "fish": (".config/fish/config.fish", "echo Welcome; echo '=watchpost= {'"),
    "tcsh": (".tcshrc", "echo Welcome; echo '=watchpost= {'"),
}
"""The file that each login shell reads, and a line in it that prints noise, even like a step's report."""


def login(machine: Machine, shell: str) -> dict[str, object]:
    """Create a user with that noisy login shell; return the host's entry that logs in so."""
    file, line = TALKS.get(shell, (".profile", "echo Welcome"))
    machine.run(
        f"""
        set -e
        id -u {USER} >/dev/null 2>&1 || useradd --badname --create-home {USER}
        command -v {shell} >/dev/null || {{ apt-get -q update && apt-get -q -y install {SHELLS[shell]}; }} >/dev/null
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
    "shell",
    [pytest.param(shell, marks=pytest.mark.long) if shell in ("tcsh", "zsh", "ksh") else shell for shell in SHELLS],
)
def test_a_step_reaches_bash_whole_through_any_login_shell(stack: Stack, shell: str, life: Callable[..., Life]) -> None:
    machine = stack.machines["vm"]
    entry = login(machine, shell)

    async def run() -> str:
        line = StepCommand.of("host/ready.sh", "apply", {"odd": "it's $HOME `id` \\ !x\n\ttwo"}, sudo=False).render()
        async with asyncssh.connect(
            "127.0.0.1", machine.port, username=USER, client_keys=[str(entry["privateKeyFile"])],
            known_hosts=([asyncssh.import_public_key(machine.host_key)], [], []), config=None, agent_path=None,
        ) as client:  # fmt: skip
            done = await client.run(line, input="tests/shells\n")
            assert done.exit_status == 0, done.stderr
            return str(done.stdout)

    with life(f"login shell {shell}", "a login that talks").part("first step"):
        printed = asyncio.run(run())
        assert "Welcome" in printed or shell in ("dash", "ksh")
        (result,) = reported(printed, ["machine"])
        assert set(result) >= {"machine"}
    assert machine.run("cat /var/lib/watchpost/owner; rm -r /var/lib/watchpost").stdout == "tests/shells\n"


@pytest.mark.long
def test_a_host_behind_a_bastion_with_a_talking_fish_and_a_tight_umask_lives_like_any_other(
    stack: Stack, bastion: Machine, life: Callable[..., Life]
) -> None:
    machine = stack.machines["vm"]
    entry = login(machine, "fish")
    machine.run(
        "echo 'session optional pam_umask.so umask=0077' >>/etc/pam.d/common-session\n"
        "echo 'Defaults umask=0077, umask_override' >/etc/sudoers.d/92-umask"
    )
    hidden = {**entry, "address": INSIDE, "proxy": host_entry(bastion)}
    stack.configure(loadRequests=0, hosts={"vm": hidden})
    # Files of fish and man from the logins themselves don't count.
    own = (f"/home/{USER}/", "/var/cache/man")
    traits = life(
        "login shell fish", "a login that talks", "umask 077", "behind a bastion", "user jane.doe", "Debian 12"
    )
    live(traits, stack, machine, also_changed=own)
    bare = host_state(machine)
    made = up(stack)
    assert made.code == 0, made.text

    # Rename the host: one update, and everything installed stays.
    before = inode(machine, "/opt/datadog-agent/bin/agent/agent")
    stack.configure(hosts={"web": hidden})
    renamed = up(stack)
    assert renamed.code == 0, renamed.text
    assert not any(name.endswith("-again") for name in renamed.names("create"))
    assert inode(machine, "/opt/datadog-agent/bin/agent/agent") == before
    assert "hostname: web" in machine.run("cat /etc/datadog-agent/datadog.yaml").stdout
    assert machine.run("systemctl is-active datadog-agent watchpost-app").stdout.split() == ["active"] * 2
    assert up(stack).names("create", "update", "delete", "replace") == set()

    # Simulate a state that recorded only login noise.
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
    assert sorted(line for line in bare ^ host_state(machine) if not any(path in line for path in own)) == []


@pytest.fixture
def agent(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Callable[[Path], None]]:
    """Return a function that starts a login session whose SSH agent has a key."""
    with contextlib.ExitStack() as sessions:

        def begin(key: Path) -> None:
            path = tmp_path / f"agent-{len(list(tmp_path.iterdir()))}"
            process = sessions.enter_context(
                subprocess.Popen(["ssh-agent", "-D", "-a", str(path)], stdout=subprocess.DEVNULL)
            )
            sessions.callback(process.terminate)
            while not path.exists():
                assert process.poll() is None
            monkeypatch.setenv("SSH_AUTH_SOCK", str(path))
            subprocess.run(["ssh-add", "-q", str(key)], check=True)

        yield begin


def another_name() -> str:
    """Return another name of ``::1``, without an IPv4 address if this host knows one."""
    for name in ("ip6-localhost", "ip6-loopback"):
        with contextlib.suppress(OSError):
            if {found[0] for found in socket.getaddrinfo(name, 22)} == {socket.AF_INET6}:
                return name
    return "0:0:0:0:0:0:0:1"


SUDOERS = """
Defaults:jane.doe use_pty, env_reset, timestamp_timeout=0, passwd_tries=0, !visiblepw, lecture=always
Defaults:jane.doe secure_path="/usr/bin:/bin"
Defaults:jane.doe !env_editor, log_output, iolog_dir=/run/sudo-io
"""

TURKISH = r"""
set -e
apt-get -q -y install locales >/dev/null
sed -i -E 's/^# *((tr_TR|de_DE).UTF-8)/\1/' /etc/locale.gen && locale-gen >/dev/null
printf 'LANG=tr_TR.UTF-8\nLC_ALL=tr_TR.UTF-8\nLANGUAGE=de:tr\n' | tee /etc/default/locale >>/etc/environment
echo 'SetEnv LANG=tr_TR.UTF-8 LC_ALL=tr_TR.UTF-8 LANGUAGE=de' >/etc/ssh/sshd_config.d/language.conf
systemctl restart ssh  # which waits until it listens again, unlike a reload
locale -a | grep -qi 'tr_TR.utf-\?8'
"""
"""Sets machine and SSH client to a locale where `I` has another lower case and a comma is the decimal mark."""


@pytest.mark.long
def test_a_host_by_ipv6_in_another_language_with_a_strict_sudo_and_an_ssh_agent_lives_like_any_other(
    stack: Stack, life: Callable[..., Life], agent: Callable[[Path], None]
) -> None:
    machine = stack.machines["vm"]
    machine.reset()
    machine.run("apt-get -q update >/dev/null")
    entry = login(machine, "tcsh")
    key = Path(str(entry.pop("privateKeyFile")))
    machine.run(TURKISH)
    machine.run("cat >/etc/sudoers.d/92-strict; visudo -cqf /etc/sudoers.d/92-strict", input=SUDOERS)
    url = stack.account.url
    port = int(url.rpartition(":")[2])
    outside = f"http://127.0.0.1:{port}"
    addresses = {
        "agentUrl": outside,
        "traceUrl": outside,
        "installScriptUrl": f"{outside}/agent/install_script_agent7.sh",
    }
    before = {name: stack.setting(name) for name in addresses}
    with relays.by_ipv6(machine, port) as way_in:
        agent(key)
        host = {**entry, "agent": True, "address": "::1", "port": way_in}
        stack.configure(loadRequests=0, checkInterval=None, hosts={"vm": host}, **addresses)

        def without_ipv4() -> None:
            # Only after packages and wheels came from registries; and in another session.
            relays.ByIPv6(machine, way_in).run(
                "systemd-run --quiet sh -c 'ip -4 route flush default; ip -4 address flush dev tap0'", check=False
            )
            agent(key)
            stack.configure(hosts={"vm": {**host, "address": another_name()}})
            moved = up(stack)
            assert moved.code == 0, moved.text
            stack.configure(hosts={"vm": host})
            back = up(stack)
            assert back.code == 0, back.text

        traits = life(
            "IPv6 only", "SSH agent", "login shell tcsh", "locale tr_TR, LANGUAGE de",
            "sudo use_pty", "sudo secure_path without sbin", "sudo log_output", "sudo timestamp_timeout=0",
        )  # fmt: skip
        live(
            traits,
            stack,
            relays.ByIPv6(machine, way_in),
            once_up=without_ipv4,
            also_changed=(f"/home/{USER}/", "/var/cache/man", "/run/sudo-io"),
        )
    stack.configure(**before)


@pytest.mark.long
def test_a_debian_13_with_sudo_rs_and_a_guarded_database_lives_like_any_other(life: Callable[..., Life]) -> None:
    folder = paths.local() / "tests" / "as-they-are-13"
    try:
        with Stack(folder=folder, tree=tree.ensure(tree.DEBIAN_13)).afresh() as stack:
            machine = stack.machines["vm"]
            entry = login(machine, "zsh")
            machine.run(
                """
                set -e
                apt-get -q update >/dev/null
                DEBIAN_FRONTEND=noninteractive apt-get -q -y install sudo-rs mariadb-server >/dev/null
                ln -s "$(command -v sudo-rs)" /usr/local/bin/sudo
                sudo --version 2>&1 | grep -q sudo-rs
                mariadb -e "INSTALL SONAME 'simple_password_check';
                    ALTER USER root@localhost IDENTIFIED VIA mysql_native_password USING PASSWORD('Fake-Root-0');
                    SET GLOBAL lc_messages = 'de_DE'"
                printf '[client]\npassword=Fake-Root-0\n' >/root/.my.cnf && chmod 600 /root/.my.cnf
                ! mariadb --no-defaults -e 'SELECT 1' 2>/dev/null
                """
            )
            stack.configure(loadRequests=0, hosts={"vm": entry})
            traits = life(
                "Debian 13", "sudo-rs", "login shell zsh", "database: root's password, simple_password_check, German"
            )
            live(
                traits,
                stack,
                machine,
                also_changed=(f"/home/{USER}/", "/var/lib/mysql", "/var/log/mysql", "/run/mysqld"),
            )
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.long
def test_a_host_of_root_without_sudo_and_with_a_tight_umask_lives_like_any_other(
    stack: Stack, life: Callable[..., Life]
) -> None:
    machine = stack.machines["vm"]
    machine.reset()
    machine.run(
        f"""
        install -d -m 700 ~root/.ssh && cp ~{machine.user}/.ssh/authorized_keys ~root/.ssh/
        sed -i '/^root/d' /etc/sudoers
        echo 'umask 077; CDPATH=/tmp; export CDPATH POSIXLY_CORRECT=1; echo Hello' >>~root/.bashrc
        apt-get -q update >/dev/null
        """
    )
    stack.configure(loadRequests=0, checkInterval=None, hosts={"vm": {**host_entry(machine), "user": "root"}})
    traits = life("user root", "login shell bash", "a login that talks", "umask 077")
    live(traits, stack, machine, also_changed=("/root/.bash_history",))


@pytest.mark.long
def test_a_host_hardened_as_benchmarks_advise_lives_like_any_other(stack: Stack, life: Callable[..., Life]) -> None:
    machine = stack.machines["vm"]
    machine.reset()
    machine.run(
        """
        set -e
        apt-get -q update >/dev/null
        for folder in /tmp /var/tmp /dev/shm /home /run; do
          mountpoint -q "$folder" || mount --bind "$folder" "$folder"
          mount -o remount,bind,nosuid,nodev,noexec "$folder"
        done
        printf '%s\\n' 'Defaults use_pty' 'Defaults logfile="/var/log/sudo.log"' >/etc/sudoers.d/93-hardened
        printf '%s\\n' '* hard core 0' '* hard nproc 400' >/etc/security/limits.d/hardened.conf
        echo 'TMOUT=600; readonly TMOUT; export TMOUT' >/etc/profile.d/tmout.sh
        """
    )
    stack.configure(loadRequests=0, checkInterval=None, hosts={"vm": host_entry(machine)})
    traits = life("noexec", "sudo use_pty")
    live(traits, stack, machine, also_changed=("/var/log/sudo.log",))

    # Processes that the Agent doesn't see have no times.
    machine.run("mount -o remount,hidepid=2 /proc")
    stack.configure(loadRequests=0, checkInterval=None)
    failed = up(stack)
    assert failed.code != 0
    (remount,) = set(
        re.findall(r"watchpost: .* did not submit mysql.performance.user_time: .*run `(.*?)`", failed.text)
    )
    machine.run(remount)
    assert up(stack).code == 0
    stack.pulumi("destroy", "--yes", "--skip-preview", "--stack", stack.name)


BEFORE = {
    "datadog.yaml": "api_key: fake-of-before\nsite: datadoghq.com\nlogs_enabled: true\ntags:\n- team:of-before\n",
    "conf.d/mysql.d/conf.yaml": (
        "init_config:\ninstances:\n- host: 127.0.0.1\n  port: 3399\n  username: theirs\n  password: fake-Password-2\n"
    ),
    "conf.d/theirs.d/conf.yaml": "instances:\n- {}\n",
    "checks.d/theirs.py": (
        "from datadog_checks.base import AgentCheck\n\n\nclass Theirs(AgentCheck):\n"
        "    def check(self, instance):\n        self.gauge('theirs', 1)\n"
    ),
}
"""What somebody has configured of their Agent, by path below ``/etc/datadog-agent``."""


@pytest.mark.long
def test_a_host_with_an_agent_of_somebody_s_lives_like_any_other(stack: Stack, life: Callable[..., Life]) -> None:
    machine = stack.machines["vm"]
    machine.reset()
    url = f"http://{INSIDE}:{stack.account.port}/agent/install_script_agent7.sh"
    machine.run(
        "apt-get -q update >/dev/null && apt-get -q -y install curl gnupg >/dev/null\n"
        f"cd /root && curl -fsS {url} -o agent.sh && DD_API_KEY=fake-of-before bash agent.sh >/dev/null\n"
        "gpgconf --kill all; rm -rf agent.sh ddagent-install.log .gnupg /tmp/[A-Za-z]* /var/cache/apt/*.bin"
    )
    for name, text in BEFORE.items():
        machine.run(
            f"cd /etc/datadog-agent && mkdir -p {Path(name).parent} && cat >{name}"
            f" && chown -R dd-agent: {Path(name).parts[0]}",
            input=text,
        )
    machine.run("systemctl restart datadog-agent")
    stack.configure(loadRequests=0, checkInterval=None, hosts={"vm": host_entry(machine)})

    def theirs_goes_on() -> None:
        merged = machine.run("cat /etc/datadog-agent/datadog.yaml /etc/datadog-agent/conf.d/mysql.d/conf.yaml").stdout
        for text in ("logs_enabled: true", "3399", "fake-Password-2"):
            assert text in merged
        assert "theirs" in machine.run("datadog-agent check theirs --json").stdout

    traits = life("an Agent of somebody's")
    live(traits, stack, machine, once_up=theirs_goes_on, also_changed=("/var/log/datadog/",))
    assert "fake-of-before" in machine.run("cat /etc/datadog-agent/datadog.yaml").stdout
    assert machine.run("systemctl is-active datadog-agent").stdout == "active\n"

"""Accounts as administrators set them up: what sudo and PAM allow, and what the first step reports.

Sources: https://www.sudo.ws/docs/man/sudoers.man/#SUDOERS_OPTIONS; pam_unix(8), shadow(5)
"""

import json
import subprocess
from pathlib import Path

import pytest

from components.remote import reported
from components.step_command import StepCommand, library
from sandbox.machine import Machine

USER = "jane"
NOPASSWD = f"; allow it there with: echo '{USER} ALL=(ALL) NOPASSWD:ALL' > /etc/sudoers.d/watchpost"
ALLOWED = f"{USER} ALL=(ALL) NOPASSWD: ALL\n"


@pytest.fixture(scope="module")
def machine(machine: Machine) -> Machine:
    """The machine, with a second login."""
    machine.run(
        f"""
        useradd --create-home --shell /bin/bash {USER} && install -d -o {USER} -m 700 ~{USER}/.ssh
        install -o {USER} -m 600 ~{machine.user}/.ssh/authorized_keys ~{USER}/.ssh/authorized_keys
        """
    )
    return machine


def steps(machine: Machine) -> tuple[int, str, str]:
    """Run the first step, and on success one that needs root; return its exit code, report, and both outputs."""

    def run(line: str, stdin: str) -> "subprocess.CompletedProcess[str]":
        *words, _ = machine.ssh()
        login = [*words, f"{USER}@{machine.address}", "--", line]
        return subprocess.run(login, input=stdin, capture_output=True, text=True, check=False)

    try:
        first = run(StepCommand.of("host/ready.sh", "apply", {}, sudo=False).render(), "tests/vm\n")
        if first.returncode:
            return first.returncode, "", first.stdout + first.stderr
        shared = run(StepCommand.of("host/library.sh", "apply", {}, sudo=True).render(), f"tests/vm\n{library()}")
        assert shared.returncode == 0, shared.stderr
        variables = {"path": "/etc/watchpost/it", "owner": "root:root", "mode": "0600"}
        file = run(StepCommand.of("host/file.sh", "apply", variables, sudo=True).render(), "tests/vm\nfake-content\n")
        return file.returncode, json.dumps(reported(file.stdout)), first.stdout + file.stdout + file.stderr
    finally:
        machine.run("rm -rf /var/lib/watchpost /etc/watchpost")


@pytest.mark.long
@pytest.mark.parametrize(
    "options",
    [
        "use_pty",
        "!visiblepw, passwd_tries=0",
        "timestamp_timeout=0",
        "env_reset, secure_path=/usr/bin",
        "umask=0077, umask_override",
        "lecture=always, log_output, iolog_dir=/run/sudo-io",
        "!env_reset",
        "ignore_dot, set_home, !pam_session",
    ],
)
def test_an_option_of_sudo_that_is_none_of_a_step_s_business(machine: Machine, options: str) -> None:
    machine.run(
        "cat >/etc/sudoers.d/91-jane; /usr/sbin/visudo -cqf /etc/sudoers.d/91-jane",
        input=f"{ALLOWED}Defaults:{USER} {options}\n",
    )
    code, report, said = steps(machine)
    assert (code, report) == (0, "[null]"), said


@pytest.mark.parametrize(
    ("rules", "words"),
    [
        (f"{ALLOWED}Defaults:{USER} requiretty\n", "'Defaults:jane !requiretty' > /etc/sudoers.d/watchpost"),
        (f"{ALLOWED}Defaults:{USER} noexec\n", "'Defaults:jane !noexec' > /etc/sudoers.d/watchpost"),
        (f"{USER} ALL=(ALL) ALL\n", NOPASSWD),
        (f"{USER} ALL=(ALL) NOPASSWD: /usr/bin/true, /usr/bin/id\n", NOPASSWD),
        ("", NOPASSWD),
        (f"{USER} ALL=(nobody) NOPASSWD: ALL\n", NOPASSWD),
    ],
)
def test_what_sudo_refuses_is_told_in_its_words_with_advice_that_fits(machine: Machine, rules: str, words: str) -> None:
    machine.run("cat >/etc/sudoers.d/91-jane; /usr/sbin/visudo -cqf /etc/sudoers.d/91-jane", input=rules)
    code, _, said = steps(machine)
    (sentence,) = [line for line in said.splitlines() if line.startswith("watchpost: ")]
    assert code == 1
    assert sentence.startswith("watchpost: jane may not use sudo without a password on vm: ")
    assert words in sentence


@pytest.mark.parametrize(
    ("change", "back", "words"),
    [
        (f"chage -d 0 {USER}", f"chage -d -1 {USER}", "assword"),
        (f"usermod --shell /usr/sbin/nologin {USER}", f"usermod --shell /bin/bash {USER}", "not available"),
    ],
)
def test_an_account_that_has_to_be_seen_to_is_told_by_its_own_system(
    machine: Machine, change: str, back: str, words: str
) -> None:
    machine.run("cat >/etc/sudoers.d/91-jane; /usr/sbin/visudo -cqf /etc/sudoers.d/91-jane", input=ALLOWED)
    machine.run(change)
    try:
        code, _, said = steps(machine)
    finally:
        machine.run(back)
    assert code == 1
    assert words in said


def test_limits_of_a_login_are_enough_for_a_step(machine: Machine) -> None:
    machine.run("cat >/etc/sudoers.d/91-jane; /usr/sbin/visudo -cqf /etc/sudoers.d/91-jane", input=ALLOWED)
    limits = Path("/etc/security/limits.d/jane.conf")
    machine.run(
        f"printf 'jane hard nofile 64\\njane hard nproc 64\\njane hard core 0\\nroot hard nofile 64\\n' >{limits}"
        " && grep -q pam_limits /etc/pam.d/sshd"
    )
    code, report, said = steps(machine)
    machine.run(f"rm {limits}")
    assert (code, report) == (0, "[null]"), said

"""Hosts that fail under ``up``: full, without names, cut off, rebooting.

The run either recovers, or ends with one sentence that names the cause, and the next one continues. The tests run in
order, each on the host as the last one left it.
"""

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from sandbox.machine import Machine, cgroup
from sandbox.stack import Stack
from sandbox.testing.account import ONE_OF_EACH, content
from sandbox.testing.stacks import Update, drift, host_state, steered, up

pytestmark = pytest.mark.long

CONFIGURING = "Setting up mariadb-server"
"""apt prints it when dpkg is about to configure the database."""

CHECKS_FOLDER = "/etc/datadog-agent/conf.d/my_metric.d"

before: set[str] = set()


@pytest.fixture(scope="module")
def machine(stack: Stack) -> Machine:
    """The stack's machine, bare."""
    stack.configure(loadRequests=0)
    machine = stack.machines["vm"]
    before.update(host_state(machine))
    return machine


@contextlib.contextmanager
def full(machine: Machine, folder: str) -> Iterator[None]:
    """Mount a full file system at ``folder``."""
    machine.run(
        f"mkdir -p {folder} && mount -t tmpfs -o size=64k,mode=0755 none {folder} && fallocate -l 64k {folder}/x"
    )
    try:
        yield
    finally:
        machine.run(f"umount {folder}")


@contextlib.contextmanager
def no_names(machine: Machine) -> Iterator[None]:
    """Point the machine at a missing name server; skip the test where a proxy resolves names for it."""
    if machine.run("env | grep -iE '^[a-z]+_proxy='; apt-config dump | grep -i '::proxy '", check=False).stdout:
        pytest.skip("a proxy resolves the machine's names")
    machine.run("cd /etc && mv resolv.conf resolv.conf.kept && echo nameserver 127.0.0.1 >resolv.conf")
    try:
        yield
    finally:
        machine.run("cd /etc && mv resolv.conf.kept resolv.conf")


def cut(machine: Machine, *programs: bytes) -> None:
    """Kill the machine's SSH sessions, and then ``programs``, so that their end goes unreported."""
    for names in ((b"sshd: ",), programs):
        for process in cgroup.processes(machine.id):
            with contextlib.suppress(OSError):
                if names and Path(f"/proc/{process}/cmdline").read_bytes().startswith(names):
                    os.kill(process, signal.SIGKILL)


def reboot(machine: Machine) -> None:
    """Reboot the machine, which also drops this connection."""
    machine.run("systemctl reboot", check=False)


def installed(machine: Machine, package: str) -> bool:
    """Whether a Debian package is completely installed."""
    state = machine.run(f"dpkg-query -W -f '${{db:Status-Status}}' {package}", check=False).stdout
    return state == "installed"


def told(done: Update, *sentences: str) -> None:
    """Assert that the run failed with exactly these sentences, each at the end of its step's output."""
    assert done.code != 0, done.text
    found = {line.strip() for line in done.text.splitlines() if line.strip().startswith("watchpost: ")}
    assert len(found) == len(sentences), done.text
    for sentence in sentences:
        assert any(sentence in line and f"    {line}\n\n" in done.text for line in found), done.text


def whole(stack: Stack, done: Update) -> None:
    """Assert that the run succeeded: everything exists once, as configured, and nothing half-made remains."""
    assert done.code == 0, done.text
    assert content(stack.account) == ONE_OF_EACH
    looked = drift(stack)
    assert looked.returncode == 0, looked.stdout + looked.stderr
    left = stack.machines["vm"].run(
        "dpkg --audit; find /etc /opt /run /var/lib/watchpost"
        " -name '*.watchpost' -o -name '*.new' -o -name 'watchpost*.log'"
    )
    assert left.stdout == ""
    again = up(stack, "--refresh", "--expect-no-changes")
    assert again.code == 0, again.text


def test_no_room_for_downloads(stack: Stack, machine: Machine) -> None:
    with full(machine, "/var/cache/apt/archives"):
        done = up(stack)
    told(
        done,
        "watchpost: no space left on vm: make room there and run `pulumi up` again (free: 0 on /var/cache/apt/arch",
    )
    assert not installed(machine, "mariadb-server")


def test_no_names_for_apt(stack: Stack, machine: Machine) -> None:
    with no_names(machine):
        done = up(stack)
    told(done, "watchpost: vm can't resolve ")
    no_cache = "-o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache="
    sources = machine.run(f"apt-get {no_cache} indextargets --no-release-info --format '$(SITE)'")
    source = sources.stdout.splitlines()[0]
    assert (
        f"can't resolve {source.split('/')[2]}: check its DNS (/etc/resolv.conf) and run `pulumi up` again" in done.text
    )
    assert not installed(machine, "mariadb-server")


def test_no_room_for_a_package_that_is_being_unpacked(stack: Stack, machine: Machine) -> None:
    with full(machine, "/usr/share/mysql"):
        done = up(stack)
    machine.run("rmdir /usr/share/mysql || true")
    told(done, "watchpost: no space left on vm: make room there and run `pulumi up` again (free: ")
    assert "0 on /usr/share/mysql" in done.text
    assert not installed(machine, "mariadb-server")


def test_cut_off_while_dpkg_configures(stack: Stack, machine: Machine) -> None:
    """Once with recovery in the same run, once in the next."""

    def cut_off_for_good(engine: int) -> None:
        os.killpg(engine, signal.SIGKILL)
        cut(machine, b"dpkg", b"/usr/bin/dpkg")

    done = steered(
        stack,
        (CONFIGURING, lambda _: cut(machine, b"dpkg", b"/usr/bin/dpkg")),
        ("you must manually run 'sudo dpkg --configure -a'", lambda _: None),
        (CONFIGURING, cut_off_for_good),
    )
    assert done.code != 0
    assert "vm-packages was cut off" in done.text
    assert not installed(machine, "mariadb-server")
    stack.start()


def test_no_names_for_pip_and_the_install_script(stack: Stack, machine: Machine) -> None:
    url = yaml.safe_load(stack.stack_file.read_text())["config"]["watchpost:installScriptUrl"]
    with no_names(machine):
        stack.configure(installScriptUrl="https://install.datadoghq.com/scripts/install_script_agent7.sh")
        done = up(stack, "--continue-on-error")
    stack.configure(installScriptUrl=url)
    assert "vm-packages" in done.names("create"), done.text
    told(
        done,
        "watchpost: vm can't resolve install.datadoghq.com: check its DNS (/etc/resolv.conf) and run `pulumi up` again",
        "watchpost: vm can't resolve names: check its DNS (/etc/resolv.conf) and run `pulumi up` again",
    )


def test_no_room_for_the_app(stack: Stack, machine: Machine) -> None:
    with full(machine, "/opt/watchpost-app/venv"):
        done = up(stack)
    told(done, "watchpost: no space left on vm: make room there and run `pulumi up` again (free: ")
    assert "0 on /opt/watchpost-app/venv" in done.text


def test_with_all_that_repaired_it_converges(stack: Stack) -> None:
    whole(stack, up(stack))


def test_no_room_for_a_file_of_the_agent(stack: Stack, machine: Machine) -> None:
    stack.configure(checkInterval=33)
    old = machine.run(f"cat {CHECKS_FOLDER}/conf.yaml").stdout
    with full(machine, CHECKS_FOLDER):
        done = up(stack)
        assert machine.run(f"ls -A {CHECKS_FOLDER}").stdout == "x\n"
    told(done, "watchpost: no space left on vm: make room there and run `pulumi up` again (free: ")
    assert f"0 on {CHECKS_FOLDER}" in done.text
    assert machine.run(f"cat {CHECKS_FOLDER}/conf.yaml").stdout == old
    whole(stack, up(stack))
    assert "min_collection_interval: 33\n" in machine.run(f"cat {CHECKS_FOLDER}/conf.yaml").stdout


def test_reboots_late_in_a_run(stack: Stack, machine: Machine) -> None:
    stack.configure(version="1.0.1", tags=["project:watchpost", "rebooted:yes"])
    done = steered(
        stack,
        ("vm-agent-service-restart updating", lambda _: reboot(machine)),
        ("/api/apm answers", lambda _: reboot(machine)),
    )
    assert "vm-agent-service-restart was cut off" in done.text, done.text
    whole(stack, done)


def test_a_reboot_while_dpkg_configures(stack: Stack, machine: Machine) -> None:
    stack.pulumi("destroy", "--yes", "--skip-preview", "--stack", stack.name)
    # If no step had created the app's folder by then, it is from `full`.
    machine.run("rmdir --ignore-fail-on-non-empty /opt/watchpost-app 2>/dev/null || true")
    assert sorted(before ^ host_state(machine)) == []
    done = steered(stack, (CONFIGURING, lambda _: reboot(machine)))
    assert "vm-packages was cut off" in done.text, done.text
    whole(stack, done)

"""Users of a host race against root's steps, on a real machine: a long form of ``tests/contract/test_races.py``.

dd-agent tries every file name trick in its own folders, another user in /tmp, and they hold every lock they can get,
while the steps of a stack run: install, change, drift check and repair, removal. ``WATCHPOST_SEED`` repeats a run.
"""

import os
import shlex
from collections.abc import Iterator

import pytest

from sandbox import paths
from sandbox.datadog import Account
from sandbox.machine import Machine
from sandbox.testing.stacks import host_state
from tests.contract.test_races import HOLDER, switched
from tests.engine.steps import in_background, step, went_well
from tests.engine.test_install import NEEDS, wanted

pytestmark = pytest.mark.long

SEED = os.environ.get("WATCHPOST_SEED") or "17"
ATTACKER = paths.ROOT / "tests" / "contract" / "attacker.py"
CONFIG, PYTHON = "/etc/datadog-agent", "/opt/datadog-agent/embedded/bin/python3"
NAMES = ["datadog.yaml", "checks.d/my_metric.py", "conf.d/mysql.d/conf.yaml", "conf.d/my_metric.d/conf.yaml"]
SHARED = ["ddog_install_error_msg", "DATADOG_APT_KEY_CURRENT.public", "policy-do-not-start-service-rc.d"]
ROUNDS = 4

CANARIES = """
set -eu
mkdir -p /etc/of-root/empty.d
echo 'secret: fake-secret-of-root' >/etc/of-root/secret && chmod 0600 /etc/of-root/secret
echo 'public: text' >/etc/of-root/public
id other >/dev/null 2>&1 || useradd --system other
"""
LOOK = """
find /etc/of-root -printf '%p %y %m %u:%g\\n' | sort
find /etc/of-root -type f -exec sha256sum {} + | sort
find / -xdev \\( -user other -o -user dd-agent \\) ! -path '/proc/*' ! -path '/tmp*' ! -path '/etc/datadog-agent*' \
  ! -path '/opt/datadog*' ! -path '/var/log/datadog*' ! -path '/run/*' \
  ! -path '/var/lib/watchpost/files/*' -printf 'theirs %p\\n'
grep -rlsF fake-secret-of-root /etc/datadog-agent /tmp 2>/dev/null | while read -r file; do
  sudo -u dd-agent test ! -r "$file" || echo "dd-agent reads root's text in $file"
done
"""


@pytest.fixture(scope="module")
def machine(machine: Machine) -> Machine:
    """The machine, with other users."""
    machine.run("apt-get -qq update; rm -f /var/cache/apt/*.bin")
    went_well(step(machine, "host/packages.sh", "apply", NEEDS))
    machine.run(CANARIES)
    machine.run("install -m 0644 /dev/stdin /srv/attacker.py", input=ATTACKER.read_text())
    return machine


def as_user(user: str) -> str:
    """Return the prefix that runs a command as a user."""
    return f"setpriv --reuid={user} --regid={user} --clear-groups"


def attack(machine: Machine, user: str, folder: str, names: list[str]) -> None:
    """Start a user's attack on root's steps."""
    words = shlex.join(["python3", "-I", "/srv/attacker.py", SEED, folder, "/etc/of-root", *names])
    in_background(machine, f"attack-{user}", f"exec {as_user(user)} {words} >/run/tried-{user}")


def over(machine: Machine, user: str) -> int:
    """End a user's attack; return the number of attempts."""
    machine.run(f"systemctl stop attack-{user}", check=False)
    return int(machine.run(f"cat /run/tried-{user}; rm -f /run/tried-{user}").stdout or 0)


def file_step(machine: Machine, verb: str, name: str, text: str) -> bool:
    """Run a step on a file of the Agent's; return whether it succeeded. A failure must be one sentence."""
    variables = {"path": f"{CONFIG}/{name}", "owner": "dd-agent:dd-agent", "mode": "0640"}
    if name == NAMES[0]:
        variables["python"] = PYTHON
    done = step(machine, "host/file.sh", verb, variables, text)
    assert done.returncode in (0, 1), done.stderr
    assert "Traceback" not in done.stderr
    return done.returncode == 0


@pytest.fixture(autouse=True)
def _over(machine: Machine) -> Iterator[None]:
    yield
    machine.run("systemctl stop holder attack-other attack-dd-agent", check=False)


@pytest.mark.parametrize("protected", ["0", "1"])
def test_nobody_wins_a_race_on_a_whole_host(
    machine: Machine, account: Account, protected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before, bare = machine.run(LOOK).stdout, host_state(machine)
    tried = steps = well = 0
    holder = shlex.join(["python3", "-I", "-c", HOLDER, "/run", "/var/lib", "/opt", "/etc"])
    with switched(protected):
        in_background(machine, "holder", f"exec {as_user('other')} {holder}")
        attack(machine, "other", "/tmp", SHARED)  # noqa: S108
        went_well(step(machine, "agent/install.sh", "apply", wanted(account)))
        attack(machine, "dd-agent", CONFIG, NAMES)
        for number in range(ROUNDS):
            for name in NAMES:
                for verb in ("apply", "check", "apply"):  # check and repair, as for drift
                    well += file_step(machine, verb, name, f"api_key: fake-of-round-{number}\n")
                    steps += 1
            went_well(step(machine, "host/packages.sh", "apply", {**NEEDS, "again": str(number)}))
            step(machine, "agent/service.sh", "check", {"checks": "cpu"})
            step(machine, "agent/install.sh", "check", wanted(account))
            steps += 3
            machine.run("systemctl kill --signal=STOP attack-dd-agent")  # so that it can't race the test itself
            seen = machine.run(LOOK).stdout.splitlines()
            machine.run("systemctl kill --signal=CONT attack-dd-agent")
            assert [line for line in seen if line not in before.splitlines()] == []
        for name in NAMES:
            well += file_step(machine, "remove", name, "")
            steps += 1
        tried += over(machine, "dd-agent")
        attack(machine, "dd-agent", CONFIG, NAMES)
        went_well(step(machine, "agent/install.sh", "remove", wanted(account)))
        tried += over(machine, "dd-agent") + over(machine, "other")
        machine.run(
            "systemctl stop holder; rm -rf /tmp/.[!.]*.[0-9] /tmp/ddog* /tmp/DATADOG* /tmp/policy*; rm -f /run/held"
        )
    with capsys.disabled():
        print(
            f"\nfs.protected_*={protected} seed {SEED}: {steps + 2} steps ({well} of files), races tried {tried}, won 0"
        )
    assert machine.run(LOOK).stdout == before
    left = sorted(line for line in bare ^ host_state(machine) if "/var/lib/watchpost" not in line)
    assert left == []
    assert tried > 0
    with capsys.disabled():
        print(f"races tried {tried}, won 0")

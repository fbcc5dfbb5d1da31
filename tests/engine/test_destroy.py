"""``destroy`` after outside changes: it succeeds, or says why not, and removes nothing that isn't ours.

The tests run in order; the machine has somebody else's Agent and database from the start.
"""

import subprocess

import pytest
import yaml

from sandbox.machine import Machine, cgroup
from sandbox.stack import Stack
from sandbox.testing.account import NONE, content, request
from sandbox.testing.stacks import host_state, recover, up

pytestmark = pytest.mark.long

REVOKED = {"DD_API_KEY": "fake-of-another-account", "DD_APP_KEY": "fake-of-another-person"}

SOMEBODY_ELSES = r"""
set -eu
export DEBIAN_FRONTEND=noninteractive
mkdir /srv/mine
apt-get -qq update
apt-get -qq -y install --no-install-recommends mariadb-server curl ca-certificates >/dev/null
mariadb -e "CREATE DATABASE shop; CREATE TABLE shop.orders (id INT PRIMARY KEY, item TEXT);
  INSERT INTO shop.orders VALUES (1, 'a bike'), (2, 'a bell');
  CREATE USER 'datadog'@'127.0.0.1' IDENTIFIED BY 'fake-of-before' WITH MAX_USER_CONNECTIONS 3;
  GRANT SELECT ON shop.* TO 'datadog'@'127.0.0.1'; CREATE USER 'shop'@'localhost'"
curl -fsS "$url" -o /srv/mine/agent.sh
DD_API_KEY=fake-of-before DD_INSTALL_ONLY=true DD_AGENT_MAJOR_VERSION=7 DD_AGENT_MINOR_VERSION=78.4 \
  bash /srv/mine/agent.sh >/dev/null
cd /etc/datadog-agent
printf 'api_key: fake-of-before\nhostname: mine\n# kept by hand\n' >datadog.yaml
printf '# somebody else\n' >checks.d/my_metric.py
mkdir -p conf.d/my_metric.d conf.d/mysql.d
printf 'instances: [{host: elsewhere}]\n' >conf.d/mysql.d/conf.yaml
printf 'instances: [{}]\n' >conf.d/my_metric.d/conf.yaml
chown -R dd-agent:dd-agent datadog.yaml checks.d conf.d
chmod 0600 datadog.yaml
systemctl enable -q --now datadog-agent
"""
"""Sets up a server with a database and users, and an Agent with a configuration and check named like ours."""

DATABASE = """
mariadb-dump --all-databases --skip-dump-date --skip-extended-insert --ignore-table=mysql.innodb_index_stats \
  --ignore-table=mysql.innodb_table_stats --ignore-table=mysql.db --ignore-table=mysql.global_priv --ignore-views
mariadb -BN -e "SELECT * FROM mysql.global_priv ORDER BY Host, User" | sed -E 's/"password_last_changed":[0-9]+,?//'
mariadb -BN -e "SELECT * FROM mysql.db ORDER BY Host, Db, User"
"""
"""Dumps the server with its users, password hashes and privileges."""


def contents_of_the_database(machine: Machine) -> list[str]:
    """Dump the database, one line per statement and user."""
    return machine.run(DATABASE).stdout.splitlines()


def files(machine: Machine) -> set[str]:
    """List the machine's files, without the database's, which are compared by content, and the Agent's logs."""
    own = ("/var/lib/mysql", "/var/log/datadog/")
    return {line for line in host_state(machine) if not any(place in line for place in own)}


before: set[str] = set()
database_before: list[str] = []


@pytest.fixture(scope="module", autouse=True)
def _mine(stack: Stack) -> None:
    stack.configure(loadRequests=0)
    machine = stack.machines["vm"]
    url = f"http://10.0.2.2:{stack.account.port}/agent/install_script_agent7.sh"
    machine.run(f"url={url}\n{SOMEBODY_ELSES}")
    before.update(files(machine))
    database_before.extend(contents_of_the_database(machine))


def destroy(stack: Stack, *, environment: dict[str, str] | None = None) -> "subprocess.CompletedProcess[str]":
    """Run ``pulumi destroy --refresh``, as in the manual."""
    return stack.destroy(check=False, environment=environment)


def ended(stack: Stack, done: "subprocess.CompletedProcess[str]") -> None:
    """Assert that the stack is gone and the machine is byte for byte as before."""
    assert done.returncode == 0, done.stdout + done.stderr
    assert content(stack.account) == NONE
    machine = stack.machines["vm"]
    assert sorted(before ^ files(machine)) == []
    assert contents_of_the_database(machine) == database_before
    assert machine.run("systemctl is-active datadog-agent mariadb").stdout == "active\nactive\n"


def test_after_a_half_finished_up(stack: Stack) -> None:
    stack.account.fault("POST", "/api/v2/downtime", 403, times=2)
    stack.configure(agentVersion="7.78.5")  # unknown to the install script
    done = up(stack)
    stack.configure(agentVersion=None)
    stack.account.clear_faults()
    assert done.code != 0
    ended(stack, destroy(stack))


def test_a_second_stack_on_the_machine_is_refused_and_touches_nothing(stack: Stack) -> None:
    done = up(stack)
    assert done.code == 0, done.text
    machine = stack.machines["vm"]
    held = files(machine)
    with Stack(folder=stack.folder.with_name("test_destroy_other"), hosts=()).afresh() as other:
        hosts = yaml.safe_load(stack.stack_file.read_text())["config"]["watchpost:hosts"]
        other.configure(part="hosts", loadRequests=0, hosts=hosts)
        refused = up(other)
        assert refused.code != 0
        assert "watchpost: vm belongs to another stack of Watchpost (watchpost:" in refused.text
        assert "sudo rm /var/lib/watchpost/owner" in refused.text
        assert destroy(other).returncode == 0
    assert sorted(held ^ files(machine)) == []


def test_with_revoked_keys_it_says_so_and_goes_on_when_they_are_good_again(stack: Stack) -> None:
    refused = destroy(stack, environment=REVOKED)
    assert refused.returncode != 0
    assert "403 Forbidden" in refused.stdout + refused.stderr
    assert content(stack.account) != NONE


def test_with_things_deleted_by_hand_nothing_is_left_and_what_was_there_before_is_untouched(stack: Stack) -> None:
    account = stack.account
    for path in (
        f"/api/v1/dashboard/{account.dashboards()[0]['id']}",
        f"/api/v1/monitor/{account.monitors()[0]['id']}",
        f"/api/v2/downtime/{account.downtimes()[0]['id']}",
    ):
        assert request(account, "DELETE", path).status in (200, 204)
    ended(stack, destroy(stack))


def test_a_second_time_there_is_nothing_to_do(stack: Stack) -> None:
    writes = len(stack.account.writes())
    ended(stack, destroy(stack))
    assert len(stack.account.writes()) == writes
    assert recover(stack).stdout == "nothing was left behind\n"


def test_with_the_machine_gone_the_stack_lets_go_of_it(stack: Stack) -> None:
    assert up(stack).code == 0
    cgroup.remove(stack.machines["vm"].id)
    stack.configure(onDestroy="leave")
    let_go = up(stack)  # works without the machine
    assert let_go.code == 0, let_go.text
    done = destroy(stack)
    assert done.returncode == 0, done.stdout + done.stderr
    assert content(stack.account) == NONE

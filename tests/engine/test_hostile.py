"""A stack with the worst values that its settings accept, and what users and keys may do there: as little as can be.

Host and Datadog get the values unchanged. Least privilege is tested by attempts: of the database user, the app, the
Agent's user, the application key.
"""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from sandbox import paths
from sandbox.machine import Machine
from sandbox.stack import Stack
from sandbox.testing.processes import wait_until
from sandbox.testing.stacks import up
from tests.engine.leaks import fake_key, generated_password
from tests.engine.steps import step, went_well
from watchpost import changes

HOST = "1e3.a-b.0x1f"
ENV = "0o17/a.b-c_d"
SERVICE = "1/s.v-c_" + "x" * 92
VERSION = "1e3"
TAGS = ["a/b.c-d_e:f/g.h-i_j:k:1", "null:true", "on:1e3", "n:" + "0" * 198]
RECIPIENTS = ["%._+-@a-b.c-d.example", "A%20b@EXAMPLE.com"]

EXPOSURE = 1.0
"""Maximum exposure of the app's service by ``systemd-analyze security``, of 10."""

MANUAL = paths.ROOT / "docs" / "operating.md"

SOMEBODY_ELSES = """
CREATE DATABASE customers;
CREATE TABLE customers.card (number TEXT);
INSERT INTO customers.card VALUES ('4111');
CREATE USER 'other'@'localhost' IDENTIFIED BY 'fake-password';
"""

NEEDED = [
    "SHOW GLOBAL STATUS",
    "SHOW GLOBAL VARIABLES",
    "SHOW ENGINE INNODB STATUS",
    "SHOW FULL PROCESSLIST",
    "SELECT * FROM information_schema.PROCESSLIST",
    "SELECT * FROM performance_schema.threads",
]
"""Statements of the integration. Source: ``mysql/datadog_checks/mysql`` of DataDog/integrations-core."""

REFUSED = [
    "SELECT * FROM customers.card",
    "SELECT * FROM mysql.user",
    "SELECT * FROM mysql.global_priv",
    "INSERT INTO customers.card VALUES ('1')",
    "UPDATE customers.card SET number = '1'",
    "DELETE FROM customers.card",
    "INSERT INTO performance_schema.setup_actors VALUES ('%', '%', '%', 'YES', 'YES')",
    "CREATE DATABASE mine",
    "CREATE TABLE customers.mine (a INT)",
    "CREATE TABLE performance_schema.mine (a INT)",
    "CREATE USER 'mine'@'localhost'",
    "CREATE FUNCTION mine RETURNS STRING SONAME 'mine.so'",
    "ALTER TABLE customers.card ADD a INT",
    "DROP TABLE customers.card",
    "DROP DATABASE customers",
    "DROP USER 'other'@'localhost'",
    "GRANT ALL ON *.* TO 'datadog'@'127.0.0.1'",
    "SET PASSWORD FOR 'other'@'localhost' = PASSWORD('x')",
    "ALTER USER 'datadog'@'127.0.0.1' WITH MAX_USER_CONNECTIONS 0",
    "SET GLOBAL max_connections = 1",
    "SET GLOBAL general_log = ON",
    "SELECT 1 INTO OUTFILE '/tmp/mine'",
    "LOAD DATA INFILE '/etc/passwd' INTO TABLE customers.card",
    "KILL :other",
    "FLUSH TABLES",
    "PURGE BINARY LOGS BEFORE NOW()",
    "INSTALL SONAME 'mine'",
    "SHUTDOWN",
]

SECRET = [
    "/etc/datadog-agent/datadog.yaml",
    "/etc/datadog-agent/conf.d/mysql.d/conf.yaml",
    "/var/lib/watchpost/files",
]
"""Files that the app must not read."""

NOT_ALLOWED = {"1044", "1045", "1095", "1142", "1227"}
"""MariaDB's errors for missing privileges: on a database, a login or file, a thread, a table, globally."""


@pytest.fixture(scope="module")
def outputs(stack: Stack) -> dict[str, Any]:
    """The outputs of a stack with all of them; its key file's folder has a name that a shell would expand."""
    (entry,) = yaml.safe_load(stack.stack_file.read_text())["config"]["watchpost:hosts"].values()
    folder = stack.folder / "project" / "a 'key' $(touch ran) `id` {{value}} é🐶"
    folder.mkdir()
    key = folder / "key"
    shutil.copy(stack.machines["vm"].private_key_file, key)
    values = {"env": ENV, "service": SERVICE, "tags": TAGS, "recipients": RECIPIENTS}
    stack.configure(hosts={HOST: {**entry, "privateKeyFile": str(key)}}, loadRequests=1, **values)
    # Set by Pulumi: PyYAML would write it so that Pulumi reads the number 1000.
    stack.pulumi("config", "set", "watchpost:version", VERSION, "--stack", stack.name)
    done = up(stack)
    assert done.code == 0, done.text
    return stack.outputs()


def test_the_agent_s_files_hold_them_letter_by_letter(stack: Stack, outputs: dict[str, Any]) -> None:
    assert outputs["hosts"][HOST]["proofs"]["agent"]
    read = yaml.safe_load(stack.machines["vm"].run("cat /etc/datadog-agent/datadog.yaml").stdout)
    assert (read["hostname"], read["env"], read["tags"]) == (HOST, ENV, TAGS)


def test_the_app_runs_with_them(stack: Stack, outputs: dict[str, Any]) -> None:
    assert outputs["hosts"][HOST]["proofs"]["load"]["/"]["requests"] == 1
    pid = "$(systemctl show -p MainPID --value watchpost-app)"
    environment = stack.machines["vm"].run(f"tr '\\0' '\\n' </proc/{pid}/environ").stdout.splitlines()
    assert {f"DD_SERVICE={SERVICE}", f"DD_ENV={ENV}", f"DD_VERSION={VERSION}"} <= set(environment)


def test_datadog_has_them_in_every_query_and_message(stack: Stack, outputs: dict[str, Any]) -> None:
    assert outputs["monitor"]
    (monitor,) = stack.account.monitors()
    assert f"env:{ENV}}}" in monitor["query"]
    assert monitor["message"].count(" ".join(f"@{recipient}" for recipient in RECIPIENTS)) == 4
    boards = json.dumps(stack.account.dashboards())
    assert SERVICE in boards
    assert f"env:{ENV}" in boards
    points = stack.account.series("my_metric")
    assert {point["host"] for point in points} <= {HOST}
    deployed = wait_until(
        lambda: [event for event in stack.account.events() if f"service:{SERVICE}" in event.get("tags", [])],
        "the deployment is an event",
    )
    assert {f"env:{ENV}", f"version:{VERSION}", *TAGS} <= set(deployed[0]["tags"])


def test_the_command_of_the_outputs_logs_in_and_runs_nothing_else(stack: Stack, outputs: dict[str, Any]) -> None:
    command = outputs["hosts"][HOST]["ssh"]
    assert "'" in command  # quoted for a shell
    machine = stack.machines["vm"]
    assert machine.running()
    options = f"-o StrictHostKeyChecking=no -o UserKnownHostsFile={stack.folder}/known -o LogLevel=ERROR"
    done = subprocess.run(
        ["sh", "-c", f"{command.replace('ssh ', f'ssh {options} ', 1)} hostname"],
        capture_output=True, text=True, cwd=stack.folder, check=False,
    )  # fmt: skip
    assert done.stdout.strip() == "vm", done.stderr
    assert not (stack.folder / "ran").exists()


def test_nothing_is_left_to_change(stack: Stack, outputs: dict[str, Any]) -> None:
    assert outputs
    assert up(stack, "--expect-no-changes").code == 0


@pytest.fixture(scope="module")
def machine(stack: Stack, outputs: dict[str, Any]) -> Iterator[Machine]:
    """The machine of a running stack, with somebody else's database and connection."""
    assert outputs
    machine = stack.machines["vm"]
    machine.run("mariadb", input=SOMEBODY_ELSES)
    sleeper = "mariadb --user=other --password=fake-password --execute 'SELECT SLEEP(600)'"
    machine.run(f"systemd-run --quiet --unit other-client {sleeper}")
    yield machine
    machine.run("systemctl stop other-client", check=False)


@pytest.fixture(scope="module")
def login(stack: Stack, machine: Machine) -> str:
    """The client's command as the Agent's user, without the password on the command line."""
    options = f"[client]\nuser=datadog\npassword={generated_password(stack, f'{HOST}-mysql-password')}\n"
    machine.run("install -m 0600 /dev/stdin /root/as-datadog.cnf", input=options)
    return "mariadb --defaults-extra-file=/root/as-datadog.cnf --batch --skip-column-names"


def test_the_database_user_can_read_what_the_integration_reads(machine: Machine, login: str) -> None:
    for statement in NEEDED:
        machine.run(f'{login} --host=127.0.0.1 --execute "{statement}"')


def test_the_database_user_can_do_nothing_more(machine: Machine, login: str) -> None:
    other = "SELECT id FROM information_schema.PROCESSLIST WHERE user = 'other'"
    thread = machine.run("mariadb --batch --skip-column-names", input=other).stdout.strip()
    assert thread.isdigit()
    script = "".join(f"{statement};\n" for statement in REFUSED).replace(":other", thread)
    printed = machine.run(f"{login} --host=127.0.0.1 --force", input=script, check=False).stderr
    refused = {
        int(line): code for code, line in re.findall(r"^ERROR (\d+) \(.*\) at line (\d+)", printed, re.MULTILINE)
    }
    allowed = {REFUSED[line - 1]: code for line, code in refused.items() if code not in NOT_ALLOWED}
    allowed |= {statement: "done" for line, statement in enumerate(REFUSED, 1) if line not in refused}
    assert allowed == {}


def test_the_database_user_reads_no_files_and_comes_from_nowhere_else(machine: Machine, login: str) -> None:
    assert machine.run(f"{login} --host=127.0.0.1 -e \"SELECT LOAD_FILE('/etc/passwd')\"").stdout.strip() == "NULL"
    by_socket = machine.run(f"{login} --host=localhost -e 'SELECT 1'", check=False)
    assert "ERROR 1045" in by_socket.stderr


def test_the_database_user_can_not_take_all_connections(machine: Machine, login: str) -> None:
    sleep = f"{login} --host=127.0.0.1 -e 'SELECT SLEEP(2)'"
    together = machine.run(f"for n in 1 2 3 4 5 6; do {sleep} & done; wait", check=False)
    assert "max_user_connections" in together.stderr


def test_the_database_user_s_grants_are_those_of_the_manual_of_the_integration(machine: Machine) -> None:
    grants = machine.run("mariadb --batch --skip-column-names -e \"SHOW GRANTS FOR 'datadog'@'127.0.0.1'\"").stdout
    given = {tuple(grant) for grant in re.findall(r"^GRANT (.*) ON (\S+) TO ", grants.replace("`", ""), re.MULTILINE)}
    # MariaDB's name for REPLICATION CLIENT is BINLOG MONITOR.
    assert given == {("PROCESS, BINLOG MONITOR", "*.*"), ("SELECT", "performance_schema.*")}
    assert "WITH MAX_USER_CONNECTIONS 5" in grants
    assert "GRANT OPTION" not in grants


def test_the_app_is_shut_in(machine: Machine) -> None:
    said = machine.run("systemd-analyze security --no-pager watchpost-app").stdout
    exposure = re.search(r"Overall exposure level for watchpost-app.service: ([\d.]+) ", said)
    assert exposure
    assert float(exposure[1]) <= EXPOSURE


def test_the_app_is_nobody_without_capabilities_and_reads_no_secret(machine: Machine) -> None:
    pid = machine.run("systemctl show -p MainPID --value watchpost-app").stdout.strip()
    status = dict(re.findall(r"^(\w+):\s+(\S+)", machine.run(f"cat /proc/{pid}/status").stdout, re.MULTILINE))
    assert 61184 <= int(status["Uid"]) <= 65519  # systemd's range of dynamic users
    assert {status[key] for key in ("CapEff", "CapPrm", "CapBnd", "CapAmb")} == {"0" * 16}
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
    # In the app's own namespaces, as its own user.
    within = f"nsenter --target {pid} --mount --setuid {status['Uid']} --setgid {status['Gid']}"
    machine.run(f"{within} test -r /etc/passwd")
    for path in SECRET:
        assert machine.run(f"{within} test -e {path}", check=False).returncode == 0, path
        assert machine.run(f"{within} test -r {path}", check=False).returncode == 1, path
    for path in ("/opt/watchpost-app", "/etc", "/var/lib", "/home"):
        assert machine.run(f"{within} touch {path}/mine", check=False).returncode != 0, path


def test_programs_that_the_agent_s_user_may_change_do_not_run_as_root(machine: Machine) -> None:
    log, home = "/var/log/datadog/ran", "/opt/datadog-agent"
    agent, python = f"{home}/bin/agent/agent", f"{home}/embedded/bin/python3"
    machine.run(
        f"sudo -u dd-agent test -w {agent} && cp -a {agent} {agent}.kept && cp -a {python} {python}.kept"
        f" && printf '#!/bin/sh\nid -u >>{log}\nexec {python}.kept {agent}.kept \"$@\"\n' >{agent}"
        f" && rm {python} && printf '#!/bin/sh\nid -u >>{log}\nexec {python}.kept \"$@\"\n' >{python}"
        f" && chmod 0755 {python} && chown dd-agent {python}"
    )
    try:
        file = {"path": "/etc/datadog-agent/datadog.yaml", "owner": "dd-agent:dd-agent", "mode": "0640"}
        step(machine, "host/file.sh", "check", {**file, "python": python}, "a: 1\n")
        went_well(step(machine, "agent/service.sh", "check", {"checks": "cpu"}))
        step(machine, "traced_app/prove_traces.sh", "apply", {"port": 5050, "endpoints": "/"})
        users = set(machine.run(f"cat {log}; rm {log}").stdout.split())
    finally:
        machine.run(f"mv {agent}.kept {agent}; mv {python}.kept {python}")
    assert users == set(machine.run("id -u dd-agent").stdout.split())


def test_what_watchpost_writes_belongs_to_root_or_the_agent_and_nobody_else_writes_it(machine: Machine) -> None:
    ours = "/etc/datadog-agent/datadog.yaml /etc/datadog-agent/checks.d /etc/datadog-agent/conf.d /opt/watchpost-app"
    places = f"{ours} /var/lib/watchpost /etc/systemd/system/watchpost-app.service"
    others = machine.run(f"find {places} ! -type l \\( -perm /022 -o ! -user root ! -user dd-agent \\)").stdout
    assert others == ""
    readable = machine.run("find /var/lib/watchpost/files -mindepth 0 -maxdepth 0 -perm /077").stdout
    assert readable == ""


def test_every_call_that_needs_the_application_key_has_its_permission_in_the_manual(
    stack: Stack, machine: Machine
) -> None:
    assert machine.running()
    rows = re.findall(r"^\| `(GET|POST|\*) (/api/[^`]*)` \| `(\w+)`", MANUAL.read_text(), re.MULTILINE)
    documented = {(method, re.compile(path.replace("*", "[^/]+") + r"($|/)")) for method, path, _ in rows}
    by_agent = (
        *("/api/v2/series", "/api/v1/check_run", "/api/v1/events", "/api/v0.2/", "/intake/"),
        *("/agent/", "/api/v1/validate"),
    )
    calls = {(r["method"], r["path"]) for r in stack.account.requests() if not r["path"].startswith(by_agent)}
    assert calls
    for method, path in calls:
        assert any(known in ("*", method) and match.match(path) for known, match in documented), (method, path)


def test_a_preview_needs_one_scope_and_drift_three_which_change_no_monitor_and_no_dashboard(
    stack: Stack, machine: Machine
) -> None:
    assert machine.running()
    scoped, preview = fake_key(40), ["preview", "--stack", stack.name, "--json"]
    stack.account.accept([stack.account.api_key], [stack.account.app_key, scoped])
    environment, before = {"DD_APP_KEY": scoped}, [stack.account.monitors(), stack.account.dashboards()]

    def run(scopes: str, *words: str) -> "subprocess.CompletedProcess[str]":
        stack.account.restrict(scoped, scopes.split())
        return stack.pulumi(*words, check=False, environment=environment)

    stack.configure(alertThreshold=799)
    previewed = run("monitors_read", *preview)
    told = changes.read(previewed.stdout)
    assert previewed.returncode == 0, previewed.stdout + previewed.stderr
    assert re.search(r"^update my-metric-monitor \(datadog:index/monitor:Monitor\): .*query", told, re.MULTILINE)
    assert "799" not in told
    assert run("dashboards_read", *preview).returncode != 0
    done = run("monitors_read", "up", "--yes", "--skip-preview", "--stack", stack.name)
    assert done.returncode != 0
    assert "403 Forbidden" in done.stdout + done.stderr
    stack.configure(alertThreshold=None)
    scopes = "monitors_read dashboards_read monitors_downtime"
    looked = run(scopes, *preview, "--refresh", "--expect-no-changes")
    assert looked.returncode == 0, changes.read(looked.stdout)
    assert [stack.account.monitors(), stack.account.dashboards()] == before


def test_an_application_key_from_the_environment_is_not_in_the_state_that_a_preview_reads(
    stack: Stack, machine: Machine
) -> None:
    assert machine.running()
    state = stack.pulumi("stack", "export", "--show-secrets", "--stack", stack.name).stdout
    assert stack.account.api_key in state  # in the content of the Agent's file
    assert stack.account.app_key not in state

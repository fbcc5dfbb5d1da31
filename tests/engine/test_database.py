"""The step that creates the Agent's database user, on real servers: MySQL 8 and 9, MariaDB 10.5, 10.11 and 11.8.

``make test`` runs it on MySQL 9 only; each of the others takes a minute for its tree.
"""

import contextlib
import json
import shlex
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from components.remote import REPORT
from sandbox.machine import Machine, tree
from sandbox.progress import SandboxError
from sandbox.pulumi.plugins import random
from tests.contract import program
from tests.engine.leaks import Search
from tests.engine.steps import OWNER, claimed

NOTE = "/var/lib/watchpost/mysql-user.sql"

SERVERS = {
    "mysql-9": (tree.MYSQL_9, "mysql-server"),
    "mysql-8": (tree.UBUNTU_24, "mysql-server"),
    "mariadb-10-5": (tree.DEBIAN_11, "mariadb-server"),
    "mariadb-of-the-host": (None, "mariadb-server"),
    "mariadb-11-8": (tree.DEBIAN_13, "mariadb-server"),
}

POLICIES = {
    "MySQL": "INSTALL COMPONENT 'file://component_validate_password'; SET GLOBAL validate_password.policy = STRONG;",
    "MariaDB": "INSTALL SONAME 'simple_password_check';",
}
STRICTER = {
    "MySQL": "SET GLOBAL validate_password.length = 40;",
    "MariaDB": "SET GLOBAL simple_password_check_minimal_length = 40;",
}
LAXER = {
    "MySQL": "UNINSTALL COMPONENT 'file://component_validate_password';",
    "MariaDB": "UNINSTALL SONAME 'simple_password_check';",
}

HALF_AN_ADMINISTRATOR = {
    "MySQL": """
        CREATE USER 'half'@'localhost' IDENTIFIED BY 'fake-Password-1';
        GRANT SELECT, CREATE USER ON *.* TO 'half'@'localhost';
        GRANT SYSTEM_VARIABLES_ADMIN, CONNECTION_ADMIN ON *.* TO 'half'@'localhost';
    """,
    "MariaDB": """
        CREATE USER 'half'@'localhost' IDENTIFIED BY 'fake-Password-1';
        GRANT SELECT, CREATE USER, SUPER, BINLOG ADMIN, CONNECTION ADMIN ON *.* TO 'half'@'localhost';
    """,
}
"""May create users, but not grant them anything."""

SOMEBODY_ELSES = """
    CREATE DATABASE shop; CREATE TABLE shop.orders (id INT);
    CREATE USER 'datadog'@'127.0.0.1' IDENTIFIED BY 'fake-Password-of-before-1'
      WITH MAX_USER_CONNECTIONS 3 MAX_QUERIES_PER_HOUR 7000;
    GRANT SELECT, INSERT ON shop.* TO 'datadog'@'127.0.0.1' WITH GRANT OPTION;
    CREATE USER 'datadog'@'10.%' IDENTIFIED BY 'fake-Password-of-before-2';
    GRANT SELECT ON shop.orders TO 'datadog'@'10.%';
"""


CHANGES = [
    "GRANT ALL ON *.* TO 'datadog'@'127.0.0.1' WITH GRANT OPTION",
    "REVOKE PROCESS ON *.* FROM 'datadog'@'127.0.0.1'",
    "REVOKE SELECT ON performance_schema.* FROM 'datadog'@'127.0.0.1'",
    "GRANT SELECT ON mysql.* TO 'datadog'@'127.0.0.1'",
    "ALTER USER 'datadog'@'127.0.0.1' WITH MAX_USER_CONNECTIONS 0",
    "CREATE ROLE reader; GRANT SELECT ON mysql.* TO reader; GRANT reader TO 'datadog'@'127.0.0.1'",
    "ALTER USER 'datadog'@'127.0.0.1' ACCOUNT LOCK",
    "ALTER USER 'datadog'@'127.0.0.1' REQUIRE SSL",
    "DROP USER 'datadog'@'127.0.0.1'",
]
"""Changes that others may have made to the Agent's user."""


def new_password() -> str:
    """Generate a password as Pulumi does for the program."""
    (inputs,) = PROGRAM["random:index/randomPassword:RandomPassword"]
    return random.make_password({**random.DEFAULTS, **inputs})


PROGRAM: program.Inputs = {}


@dataclass(frozen=True)
class Done:
    """The result of a step; ``said`` is its whole output."""

    code: int
    said: str


@dataclass
class Server:
    """A machine with a database server."""

    machine: Machine
    flavor: str
    unit: str

    def removed(self) -> Done:
        """Undo the step, with the password, as the program does."""
        done = self.step("remove", new_password())
        assert done.code == 0, done.said
        return done

    def step(self, verb: str, password: str, *, faulty: bool = False) -> Done:
        """Run ``files/mysql/user.sh`` as the program does, or with a ``faulty`` statement in user.sql.

        Asserts that no part of the password is ever shown.
        """
        (create,) = [
            step["create"]
            for step in PROGRAM["command:remote:Command"]
            if step["create"].endswith(" files/mysql/user.sh apply")
        ]
        command = claimed(f"{create.removesuffix('apply')}{verb}")
        if faulty:
            command = command.replace("GRANT SELECT ON", "GRANTS SELECT ON")
        command = command.replace("lock_wait_timeout = 60", "lock_wait_timeout = 2")
        done = self.machine.run(command, input=f"{OWNER}\n{password}\n", user=self.machine.user, check=False)
        # The step's report is printed as is.
        said = REPORT.sub(lambda line: json.loads(line[1]) or "", done.stdout).replace("\n\n", "\n") + done.stderr
        assert Search({"password": password}).names(said) == set(), "the password is shown"
        return Done(done.returncode, said)

    def applied(self, password: str | None = None) -> str:
        """Create the user; return its password."""
        password = password or new_password()
        done = self.step("apply", password)
        assert done.code == 0, done.said
        assert self.step("check", password) == Done(0, "")
        return password

    def refused(self, password: str, *sentences: str, faulty: bool = False) -> None:
        """Assert that the step fails with a single sentence containing all of ``sentences``."""
        done = self.step("apply", password, faulty=faulty)
        assert done.code == 1, done.said
        assert done.said.count("watchpost: ") == 1, done.said
        last = done.said.strip().splitlines()[-1]
        assert [words for words in sentences if words not in last] == [], done.said

    def sql(self, statements: str) -> str:
        """Run SQL statements as root."""
        statements = textwrap.dedent(statements)
        client = "$(command -v mariadb || command -v mysql)"
        return self.machine.run(f"{client} --batch --raw --skip-column-names", input=statements).stdout

    def users(self) -> str:
        """List every user with password hash, limits and privileges."""
        names = self.sql("SELECT CONCAT(QUOTE(User), '@', QUOTE(Host)) FROM mysql.user ORDER BY User, Host").split()
        shown = (f"SHOW CREATE USER {name}; SHOW GRANTS FOR {name};" for name in names if "mariadb.sys" not in name)
        hexadecimal = "SET print_identified_with_as_hex = ON;" if self.flavor == "MySQL" else ""
        return self.sql(hexadecimal + "".join(shown))

    @contextlib.contextmanager
    def client_before(self, words: str) -> Iterator[None]:
        """Prefix the client's command with these shell words."""
        client = self.machine.run("command -v mariadb || command -v mysql").stdout.strip()
        text = f'#!/bin/sh\n{words} exec {client}.real "$@"\n'
        self.machine.run(f"mv {client} {client}.real && install -m 0755 /dev/stdin {client}", input=text)
        try:
            yield
        finally:
            self.machine.run(f"mv {client}.real {client}")

    def configured(self, lines: str) -> None:
        """Restart the server with these configuration lines; without any, as it was."""
        folder = "/etc/mysql/mysql.conf.d" if self.flavor == "MySQL" else "/etc/mysql/mariadb.conf.d"
        self.machine.run(f"cat >{folder}/zz-test.cnf", input=f"[mysqld]\n{lines}\n")
        # Systemd starts a unit five times in ten seconds and then no more.
        self.machine.run(f"systemctl reset-failed {self.unit}; systemctl restart {self.unit}")


@pytest.fixture(
    scope="module",
    params=[name if name == "mysql-9" else pytest.param(name, marks=pytest.mark.long) for name in SERVERS],
)
def installed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A machine with the server, fresh from its package."""
    PROGRAM.update(program.inputs()["defaults"])
    release, package = SERVERS[request.param]
    folder: Path = tmp_path_factory.mktemp("database")
    try:
        start_from = tree.ensure(release)
    except SandboxError as error:
        if release != tree.MYSQL_9:
            raise
        pytest.skip(f"Debian's unstable is what it is, and no machine can be made of it now: {error}")
    machine = Machine("db", folder / "db", start_from)
    try:
        machine.start()
        install = f"apt-get install -qq -y --no-install-recommends {package}"
        machine.run(f"[ -e /usr/sbin/mysqld ] || {{ apt-get update -qq && DEBIAN_FRONTEND=noninteractive {install}; }}")
        mysql = package == "mysql-server"
        yield Server(machine, "MySQL" if mysql else "MariaDB", "mysql" if mysql else "mariadb")
    finally:
        machine.stop()


@pytest.fixture
def server(installed: Server) -> Iterator[Server]:
    """The server; unchanged by a test that removes its own users."""
    before = installed.users()
    yield installed
    installed.removed()
    assert installed.users() == before
    assert installed.machine.run("ls -A /var/lib/watchpost", check=False).stdout == ""


def test_a_user_is_made_and_nothing_is_done_again_without_need(server: Server) -> None:
    password = new_password()
    made = server.step("apply", password)
    assert made.code == 0, made.said
    version = server.sql("SELECT VERSION()").strip()
    # MariaDB's performance_schema is off by default.
    assert made.said.strip() == version + ("" if server.flavor == "MySQL" else ", performance_schema is off")
    users = server.users()
    assert server.step("check", password) == Done(0, "")
    assert server.step("apply", password).code == 0
    assert server.users() == users


def test_another_password_is_set_and_the_old_one_refused(server: Server) -> None:
    old = server.applied()
    new = server.applied()
    assert server.step("check", new) == Done(0, "")
    assert server.step("check", old).code == 1


@pytest.mark.long  # waits for a minute
def test_a_lock_of_another_session_is_told_and_not_waited_for_for_good(server: Server) -> None:
    client = server.machine.run("command -v mariadb || command -v mysql").stdout.strip()
    hold = shlex.join([client, "--execute", "FLUSH TABLES WITH READ LOCK; SELECT SLEEP(600)"])
    server.machine.run(f"systemd-run --quiet --unit db-lock {hold}")
    server.machine.run(
        f"timeout 20 bash -c 'until {client} -BNe \"SHOW PROCESSLIST\" | grep -q SLEEP; do sleep 0.1; done'"
    )
    told = ("another session there holds a lock for longer than a minute (error ", "root@localhost Query")
    try:
        server.refused(new_password(), *told)
    finally:
        # MySQL's server continues after its client has ended.
        server.machine.run(
            f"systemctl stop db-lock; {client} -BNe 'SHOW PROCESSLIST' | awk '/SLEEP/ {{ print $1 }}'"
            f" | xargs -r -I @ {client} -e 'KILL @'"
        )
    server.applied()


def test_the_agent_logs_in_after_a_restart_of_the_server_too(server: Server) -> None:
    # The restart empties MySQL's cache of logins over TLS; the next one without TLS authenticates differently.
    password = server.applied()
    server.machine.run(f"systemctl restart {server.unit}")
    assert server.step("check", password) == Done(0, "")


@pytest.mark.parametrize(
    "change", [*CHANGES[:2], *(pytest.param(change, marks=pytest.mark.long) for change in CHANGES[2:])]
)
def test_what_others_changed_of_the_user_is_found_and_put_right(server: Server, change: str) -> None:
    password = server.applied()
    right = server.sql("SHOW GRANTS FOR 'datadog'@'127.0.0.1'")
    server.sql(change)
    found = server.step("check", password)
    assert found.code == 1
    assert found.said.startswith("the database user datadog ")
    server.applied(password)
    assert server.sql("SHOW GRANTS FOR 'datadog'@'127.0.0.1'") == right
    server.sql("DROP ROLE IF EXISTS reader")


def test_a_user_that_was_there_before_is_there_again_and_its_neighbours_untouched(server: Server) -> None:
    server.sql(SOMEBODY_ELSES)
    users = server.users()
    server.applied()
    server.applied()
    assert "shop" not in server.sql("SHOW GRANTS FOR 'datadog'@'127.0.0.1'")
    server.removed()
    assert server.users() == users
    server.sql("DROP USER 'datadog'@'127.0.0.1', 'datadog'@'10.%'; DROP DATABASE shop")


@pytest.mark.long
def test_the_usual_rules_for_passwords_take_the_one_that_is_made(server: Server) -> None:
    server.sql(SOMEBODY_ELSES + POLICIES[server.flavor])
    users = server.users()
    for _ in range(5):
        server.applied()
    # The previous hash is restored although the rules can't check a hash.
    server.removed()
    assert server.users() == users
    if server.flavor == "MariaDB":
        assert server.sql("SELECT @@strict_password_validation") == "1\n"
    server.sql(LAXER[server.flavor])
    server.sql("DROP USER 'datadog'@'127.0.0.1', 'datadog'@'10.%'; DROP DATABASE shop")


def test_rules_that_refuse_it_are_told_without_it_and_the_user_stays_as_it_was(server: Server) -> None:
    server.sql(POLICIES[server.flavor] + STRICTER[server.flavor])
    before = server.users()
    server.refused(new_password(), "rules for passwords", "1819", "--replace '**-mysql-password'")
    assert server.users() == before
    server.sql(LAXER[server.flavor])
    password = server.applied()
    with_one = server.users()
    server.sql(POLICIES[server.flavor] + STRICTER[server.flavor])
    server.refused(new_password(), "rules for passwords")
    assert server.users() == with_one
    assert server.step("check", password) == Done(0, "")
    # The existing password is kept, though it would be refused today.
    server.applied(password)
    server.sql(LAXER[server.flavor])


def test_a_history_of_passwords_refuses_none_that_the_user_has(server: Server) -> None:
    if server.flavor == "MySQL":
        server.sql("SET GLOBAL password_history = 5")
    elif server.machine.run("ls /usr/lib/mysql/plugin/password_reuse_check.so", check=False).returncode:
        pytest.skip("MariaDB has password_reuse_check since 10.7")
    else:
        server.sql("INSTALL SONAME 'password_reuse_check'")
    password = server.applied()
    server.applied(password)
    another = server.applied()
    if server.flavor == "MySQL":
        server.sql("SET GLOBAL password_history = 0")
        return
    # MySQL drops the history with the user, MariaDB never does.
    server.refused(password, "rules for passwords", "1819")
    assert server.step("check", another) == Done(0, "")
    server.sql("UNINSTALL SONAME 'password_reuse_check'; DROP TABLE mysql.password_reuse_check_history")


def test_a_statement_that_the_server_can_not_read_is_told_by_its_number(server: Server) -> None:
    before = server.users()
    # Unknown syntax: the server quotes the rest of the statement, with the password.
    with server.client_before("sed 's/^CREATE USER/CREATE USRE/' |"):
        server.refused(new_password(), "error 1064 (42000)")
    assert server.users() == before
    server.refused(new_password(), "error 1064 (42000)", faulty=True)
    assert server.users() == before


def test_a_user_that_can_not_be_noted_is_not_touched(server: Server) -> None:
    server.sql(SOMEBODY_ELSES)
    users = server.users()
    with server.client_before('case "$*" in *"SHOW CREATE USER"*) exit 1 ;; esac;'):
        server.refused(new_password(), "can't show how its user")
    assert server.machine.run("ls -A /var/lib/watchpost", check=False).stdout == ""
    assert server.users() == users
    server.sql("DROP USER 'datadog'@'127.0.0.1', 'datadog'@'10.%'; DROP DATABASE shop")


@pytest.mark.long
def test_an_administrator_who_may_make_users_but_give_them_nothing_leaves_none(server: Server) -> None:
    server.sql(HALF_AN_ADMINISTRATOR[server.flavor])
    before = server.users()
    options = "[client]\nuser=half\npassword=fake-Password-1\n"
    server.machine.run("install -m 0600 /dev/stdin /root/.my.cnf", input=options)
    server.refused(new_password(), "half@localhost lacks a privilege")
    server.machine.run("rm /root/.my.cnf")
    assert server.users() == before
    server.applied()
    server.sql("DROP USER 'half'@'localhost'")


def test_root_with_a_password_needs_root_s_option_file(server: Server) -> None:
    by_socket = (
        "WITH auth_socket" if server.flavor == "MySQL" else "VIA mysql_native_password USING 'invalid' OR unix_socket"
    )
    by_password = "WITH caching_sha2_password BY" if server.flavor == "MySQL" else "BY"
    server.sql(f"ALTER USER 'root'@'localhost' IDENTIFIED {by_password} 'fake-Password-1'")
    password = new_password()
    server.refused(password, "refused root's login", "Access denied", "into /root/.my.cnf there, as a line password=")
    server.machine.run("install -m 0600 /dev/stdin /root/.my.cnf", input="[client]\npassword=fake-Password-0\n")
    server.refused(password, "refused root's login", "/root/.my.cnf")
    server.machine.run(
        "install -m 0600 /dev/stdin /root/.my.cnf", input="[client]\nuser=root\npassword=fake-Password-1\n"
    )
    server.applied(password)
    # The proof uses the Agent's login, not root's, whose options the client would read.
    assert server.step("check", new_password()).code == 1
    # The client prints a bad line of it in full.
    server.machine.run("install -m 0600 /dev/stdin /root/.my.cnf", input="[client]\npasswort=fake-Password-1\n")
    for verb in ("apply", "check"):
        done = server.step(verb, password)
        assert done.code == 1
        assert "fake-Password" not in done.said
    server.machine.run("install -m 0600 /dev/stdin /root/.my.cnf", input="[client]\npassword=fake-Password-1\n")
    server.sql(f"ALTER USER 'root'@'localhost' IDENTIFIED {by_socket}")
    server.machine.run("rm /root/.my.cnf")


@pytest.mark.long
@pytest.mark.parametrize(
    ("lines", "sentence"),
    [
        ("skip-networking", "takes no TCP connections, and the Agent needs 127.0.0.1: take skip-networking out"),
        ("port = 3307", "listens on port 3307"),
        ("require_secure_transport = ON", "over TLS only, and the Agent's to 127.0.0.1 has none: set require_"),
        ("bind_address = 127.0.0.2", "bind_address is 127.0.0.2"),
        ("skip-grant-tables", "runs with skip-grant-tables, so it lets in everybody"),
        ("init_connect = 'SELECT nothing'", "(see the server's init_connect)"),
    ],
)
def test_a_server_that_the_agent_can_not_reach_is_told_and_gets_no_user(
    server: Server, lines: str, sentence: str
) -> None:
    before = server.users()
    server.configured(lines)
    server.refused(new_password(), sentence)
    server.configured("")
    assert server.users() == before


@pytest.mark.long
def test_a_server_that_does_not_start_is_told_in_its_own_words(server: Server) -> None:
    with pytest.raises(SandboxError, match="systemctl restart"):
        server.configured("no_such_option = 1")
    try:
        done = server.step("apply", new_password())
        assert (done.code, done.said.count("watchpost: ")) == (1, 1), done.said
        assert f"{server.unit}.service does not start on db" in done.said
        assert "no_such_option=1" in done.said
    finally:
        server.machine.run(f"systemctl reset-failed {server.unit}")
        server.configured("")


@pytest.mark.long
@pytest.mark.parametrize(
    "options",
    [
        "[client]\nhost = 10.0.2.2\nport = 3399\n",
        "[client]\nprotocol = tcp\n",
        "[mysql]\ntable\nvertical\nauto-vertical-output\ncolumn-names\nshow-warnings\nforce\nsafe-updates\n",
    ],
)
def test_root_s_option_file_names_no_other_server_and_no_other_form_of_answers(server: Server, options: str) -> None:
    server.machine.run("install -m 0600 /dev/stdin /root/.my.cnf", input=options)
    try:
        server.applied()
        server.removed()
    finally:
        server.machine.run("rm /root/.my.cnf")


@pytest.mark.long
@pytest.mark.parametrize("option", ["tee = /root/tee.log", "verbose"])
def test_a_client_that_prints_more_than_answers_is_told(server: Server, option: str) -> None:
    server.machine.run("install -m 0600 /dev/stdin /root/.my.cnf", input=f"[mysql]\n{option}\n")
    server.refused(new_password(), "root's client on db prints more than answers: take options such as tee and verbose")
    server.machine.run("rm -f /root/.my.cnf /root/tee.log")


@pytest.mark.long
def test_each_server_of_a_cluster_has_its_own_user(server: Server) -> None:
    library = "/usr/lib/galera/libgalera_smm.so"
    if server.machine.run(f"test -e {library}", check=False).returncode:
        pytest.skip("this server has no Galera")

    def replicated() -> str:
        return server.sql("SHOW STATUS LIKE 'wsrep_last_committed'")

    cluster = f"wsrep_on = ON\nwsrep_provider = {library}\nwsrep_cluster_address = gcomm://"
    server.configured(f"{cluster}\nbinlog_format = ROW")
    before = replicated()
    server.sql("CREATE USER 'somebody'@'localhost'; DROP USER 'somebody'@'localhost'")
    between = replicated()
    assert between != before
    server.applied()
    server.removed()
    assert replicated() == between
    server.configured("")


@pytest.mark.long
def test_a_server_whose_socket_root_s_client_does_not_know_is_found_and_stays_stopped_where_somebody_stopped_it(
    server: Server,
) -> None:
    server.configured("socket = /run/mysqld/elsewhere.sock")
    try:
        server.applied()
        server.machine.run(f"systemctl stop {server.unit}")
        server.removed()
        assert server.machine.run(f"systemctl is-active {server.unit}", check=False).stdout == "inactive\n"
    finally:
        server.configured("")


def test_a_port_that_another_program_holds_is_told_with_who_it_is(server: Server) -> None:
    server.machine.run(f"systemctl stop {server.unit}")
    program = "import socket, time; held = socket.create_server(('127.0.0.1', 3306)); time.sleep(600)"
    server.machine.run(f"systemd-run --quiet --unit held-port python3 -c {shlex.quote(program)}")
    server.machine.run("timeout 20 bash -c 'until ss -Hltn | grep -q :3306; do sleep 0.1; done'")
    try:
        server.refused(new_password(), "does not start on db: port 3306 is taken by python3 (process ")
    finally:
        server.machine.run(
            f"systemctl stop held-port; systemctl reset-failed {server.unit}; systemctl start {server.unit}"
        )


@pytest.mark.long
def test_roles_that_the_server_gives_to_everybody_are_no_drift(server: Server) -> None:
    if server.flavor == "MariaDB":
        pytest.skip("MariaDB has no mandatory_roles")
    server.sql("CREATE ROLE everybody; SET GLOBAL mandatory_roles = 'everybody'")
    try:
        password = server.applied()
        users = server.users()
        server.applied(password)
        assert server.users() == users
    finally:
        server.sql("SET GLOBAL mandatory_roles = ''; DROP ROLE everybody")


def test_a_server_of_the_stack_s_own_that_does_not_start_any_more_is_no_obstacle(server: Server) -> None:
    server.applied()
    note, package = "/var/lib/watchpost/packages/ours", "mysql-server" if server.flavor == "MySQL" else "mariadb-server"
    owner = server.machine.run(f"dpkg-query --search '*/systemd/system/{server.unit}.service'").stdout.partition(":")[0]
    assert owner.startswith(package)
    server.machine.run(f"systemctl mask --now --quiet {server.unit}")
    try:
        done = server.step("remove", new_password())
        assert (done.code, done.said.count("watchpost: ")) == (1, 1), done.said
        server.machine.run(f"mkdir -p {note.rpartition('/')[0]} && echo 'installed {owner} purge .' >{note}")
        assert "its user datadog goes with it" in server.removed().said
    finally:
        server.machine.run(f"rm -rf {note.rpartition('/')[0]}; rmdir --ignore-fail-on-non-empty /var/lib/watchpost")
        server.machine.run(f"systemctl unmask --quiet {server.unit}; systemctl start {server.unit}")
        server.sql("DROP USER 'datadog'@'127.0.0.1'")


@pytest.mark.long
def test_a_server_that_resolves_no_names_or_reads_quotes_otherwise_does_too(server: Server) -> None:
    server.sql(SOMEBODY_ELSES)
    server.configured("skip_name_resolve = ON\nsql_mode = 'ANSI_QUOTES,NO_BACKSLASH_ESCAPES,PIPES_AS_CONCAT'")
    users = server.users()
    server.applied()
    server.configured("sql_mode = ''")
    server.removed()
    server.configured("skip_name_resolve = ON\nsql_mode = 'ANSI_QUOTES,NO_BACKSLASH_ESCAPES,PIPES_AS_CONCAT'")
    assert server.users() == users
    server.sql("DROP USER 'datadog'@'127.0.0.1', 'datadog'@'10.%'; DROP DATABASE shop")
    server.configured("")


@pytest.mark.long
def test_a_user_for_localhost_and_one_without_a_name_stay_and_are_told_where_they_are_in_the_way(
    server: Server,
) -> None:
    server.sql("CREATE USER ''@'localhost'; CREATE USER 'datadog'@'localhost' IDENTIFIED BY 'fake-Password-1'")
    before = server.users()
    if server.flavor == "MariaDB":
        server.refused(new_password(), "'datadog'@'localhost'", "skip_name_resolve")
        assert server.users() == before
    else:
        server.applied()
    server.removed()
    assert server.users() == before
    server.sql("DROP USER ''@'localhost', 'datadog'@'localhost'")


@pytest.mark.long
def test_a_server_that_nobody_may_write_to_is_told(server: Server) -> None:
    if server.flavor == "MariaDB":
        pytest.skip("read_only doesn't hold for MariaDB's root")
    before = server.users()
    server.sql("SET GLOBAL super_read_only = ON")
    server.refused(new_password(), "it is read-only")
    server.sql("SET GLOBAL super_read_only = OFF; SET GLOBAL read_only = OFF")
    server.applied()
    server.sql("SET GLOBAL super_read_only = ON")
    done = server.step("remove", new_password())
    assert (done.code, "can't be restored on db: it is read-only" in done.said) == (1, True), done.said
    server.sql("SET GLOBAL super_read_only = OFF; SET GLOBAL read_only = OFF")
    server.removed()
    server.configured("innodb_read_only = ON")
    server.refused(new_password(), "its own tables can't be written (error 3501")
    server.configured("")
    assert server.users() == before


@pytest.mark.long
def test_a_unit_that_was_stopped_and_disabled_is_so_again(server: Server) -> None:
    def state() -> str:
        return server.machine.run(
            f"systemctl is-enabled {server.unit}; systemctl is-active {server.unit}", check=False
        ).stdout

    server.machine.run(f"systemctl disable --now --quiet {server.unit}")
    server.applied()
    assert state() == "enabled\nactive\n"
    server.removed()
    assert state() == "disabled\ninactive\n"
    # A failed first run isn't in the stack's state, and no destroy would undo it.
    server.refused(new_password(), "error 1064", faulty=True)
    assert state() == "disabled\ninactive\n"
    server.machine.run(f"systemctl enable --now --quiet {server.unit}")


@pytest.mark.parametrize(
    "damage",
    ["truncate -s 0", *(pytest.param(words, marks=pytest.mark.long) for words in ("truncate -s -5", "sed -i 1d"))],
)
def test_a_damaged_note_leaves_the_user_and_says_so(server: Server, damage: str) -> None:
    server.sql(SOMEBODY_ELSES)
    server.applied()
    users = server.users()
    server.machine.run(f"{damage} {NOTE}")
    assert f"watchpost: {NOTE} on db is damaged" in server.removed().said
    assert server.users() == users
    server.sql("DROP USER 'datadog'@'127.0.0.1', 'datadog'@'10.%'; DROP DATABASE shop")


def test_the_note_of_an_older_version_counts(server: Server) -> None:
    server.machine.run("install -D -m 0600 /dev/null /var/lib/watchpost/mysql-user")
    server.sql("CREATE USER 'datadog'@'127.0.0.1' IDENTIFIED BY 'fake-Password-1'")
    server.applied()
    server.removed()
    assert "'datadog'@'127.0.0.1'" not in server.users().replace("`", "'")


@pytest.mark.long
def test_a_server_that_was_taken_away_took_its_user_along(installed: Server) -> None:
    """Must be last: it removes the server."""
    installed.applied()
    installed.machine.run("DEBIAN_FRONTEND=noninteractive apt-get purge -qq -y 'mysql-server*' 'mariadb-server*'")
    assert "is gone from db" in installed.removed().said
    assert installed.machine.run("ls -A /var/lib/watchpost", check=False).stdout == ""

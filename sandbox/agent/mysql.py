# mypy: disable-error-code="import-not-found,import-untyped", allow-subclassing-any
"""A small version of the MySQL integration; the real one is in no package registry.

Names, types and the rule for the server's processor time are the real integration's:
https://docs.datadoghq.com/integrations/mysql/ and ``mysql/datadog_checks/mysql/mysql.py`` of integrations-core.
"""

import re
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import psutil
import pymysql
from datadog_checks.base import AgentCheck, ConfigurationError

RATES = {
    "Connections": "mysql.net.connections",
    "Aborted_connects": "mysql.net.aborted_connects",
    "Queries": "mysql.performance.queries",
    "Questions": "mysql.performance.questions",
    "Slow_queries": "mysql.performance.slow_queries",
    "Com_select": "mysql.performance.com_select",
    "Bytes_received": "mysql.performance.bytes_received",
    "Bytes_sent": "mysql.performance.bytes_sent",
}
GAUGES = {
    "Max_used_connections": "mysql.net.max_connections",
    "max_connections": "mysql.net.max_connections_available",
    "Open_files": "mysql.performance.open_files",
    "Open_tables": "mysql.performance.open_tables",
    "Threads_connected": "mysql.performance.threads_connected",
    "Threads_running": "mysql.performance.threads_running",
}
LOCAL = ("localhost", "127.0.0.1", "0.0.0.0")  # noqa: S104 - hosts to connect to, as the real integration lists them


class MySql(AgentCheck):
    """One database server: ``host``, ``port``, ``sock``, ``username``, ``password``, ``tags``; ``dbm`` is ignored."""

    def __init__(self, name: str, init_config: Any, instances: list[dict[str, Any]]) -> None:
        super().__init__(name, init_config, instances)
        self._host = str(self.instance.get("host", ""))
        self._socket = str(self.instance.get("sock", ""))
        self._port = int(self.instance.get("port", 0))
        self._tags = [str(tag) for tag in self.instance.get("tags") or []]
        if not self._host and not self._socket:
            raise ConfigurationError("Mysql host or socket is required")

    def check(self, _: Any) -> None:
        """Connect; submit the server's variables and its process's times."""
        with self._connection() as connection, connection.cursor() as cursor:
            cursor.execute("SELECT VERSION()")
            version = str(cursor.fetchone()[0])
            flavor = "MariaDB" if "mariadb" in version.lower() else "MySQL"
            number = re.match(r"\d+(\.\d+)*", version)
            self.set_metadata("version", f"{number[0] if number else version}+unspecified")
            self.set_metadata("flavor", flavor)
            variables: dict[str, str] = {}
            for query in ("SHOW GLOBAL STATUS", "SHOW GLOBAL VARIABLES"):
                cursor.execute(query)
                variables.update(cursor.fetchall())
        for metrics, submit in ((RATES, self.rate), (GAUGES, self.gauge)):
            for variable, metric in metrics.items():
                if variable in variables:
                    submit(metric, float(variables[variable]), tags=self._tags)
        if self._host in LOCAL or self._socket:
            names = ["mysqld", *(["mariadbd"] if flavor == "MariaDB" else [])]
            self._submit_process_times(variables.get("pid_file", ""), names)

    @contextmanager
    def _connection(self) -> Iterator[Any]:
        where = {"unix_socket": self._socket} if self._socket else {"host": self._host, "port": self._port or 3306}
        user = self.instance.get("username", self.instance.get("user", ""))
        password = self.instance.get("password", self.instance.get("pass", ""))
        timeout = self.instance.get("connect_timeout", 10)
        tags = [f"port:{self._port or 'unix_socket'}", f"server:{self._socket or self._host}", *self._tags]
        try:
            # As the real one without `ssl` in its configuration: its pymysql, 1.1, doesn't try TLS then; 1.2 would.
            connection = pymysql.connect(
                user=user, password=password, connect_timeout=timeout, ssl_disabled=True, **where
            )
        except pymysql.MySQLError:
            self.service_check("mysql.can_connect", AgentCheck.CRITICAL, tags=tags)
            raise
        self.service_check("mysql.can_connect", AgentCheck.OK, tags=tags)
        with closing(connection):
            yield connection

    def _submit_process_times(self, pid_file: str, names: list[str]) -> None:
        pid = _pid(pid_file, names)
        if pid is None:
            self.log.debug("No process of the server found")
            return
        times = psutil.Process(pid).cpu_times()
        if times.user and times.system:
            self.rate("mysql.performance.user_time", times.user, tags=self._tags)
            self.rate("mysql.performance.kernel_time", times.system, tags=self._tags)
            self.rate("mysql.performance.cpu_time", times.user + times.system, tags=self._tags)


def _pid(pid_file: str, names: list[str]) -> int | None:
    """Find the server's process by its pid file, which the Agent's user may not be able to read, else by name."""
    try:
        return int(Path(pid_file).read_text())
    except (OSError, ValueError):
        found = [process.pid for process in psutil.process_iter(["name"]) if process.info["name"] in names]
        return found[-1] if found else None

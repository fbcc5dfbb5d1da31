"""MySQL, or the distribution's MariaDB, with the Agent's integration."""

from dataclasses import dataclass
from typing import Any

import pulumi
import pulumi_random as random

from components import agent, templates
from components.agent import DatadogAgent
from components.remote import RemoteFile, fingerprints

PACKAGES = ("mysql-server | mariadb-server | mysql-community-server | percona-server-server | virtual-mysql-server",)
"""The distribution's server, or an installed one under any name: all provide the last."""

DATABASES = "/var/lib/mysql"
DIRECTORIES = (
    DATABASES,
    "/var/lib/mysql-files",
    "/var/lib/mysql-keyring",
    "/var/log/mysql",
    "/etc/mysql",
    "/run/mysqld",
)
USERS = ("mysql",)
"""Directories, the data's among them, and users that purging the server's packages leaves behind."""

USER_TIME = "mysql.performance.user_time"
"""The server's CPU time in user space, in seconds per second: 1.0 is one core.

Sources: https://docs.datadoghq.com/integrations/mysql/#metrics; ``_collect_system_metrics`` in ``mysql.py`` of
integrations-core submits the rate of the process's CPU seconds.
"""


@dataclass(frozen=True, kw_only=True)
class MySqlArgs:
    """The database server on the host of ``agent``."""

    agent: DatadogAgent


class MySql(pulumi.ComponentResource):
    """The server with a ``datadog`` user, and the integration's configuration, proven by one run of its check.

    Source: https://docs.datadoghq.com/integrations/mysql/
    """

    config: RemoteFile
    """``mysql.d/conf.yaml``, which the Agent reads."""

    version: pulumi.Output[str]
    """The server's version."""

    user_time: pulumi.Output[dict[str, Any]]
    """The :data:`USER_TIME` sample that the proving run submitted: ``value`` and ``tags``."""

    def __init__(self, name: str, args: MySqlArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("watchpost:host:MySql", name, None, opts)
        host = args.agent.host
        password = random.RandomPassword(
            f"{name}-password",
            # Some of each kind, for common password policies; neither special character needs quoting in SQL or YAML.
            length=32,
            override_special="-_",
            min_lower=4,
            min_upper=4,
            min_numeric=4,
            min_special=4,
            opts=pulumi.ResourceOptions(parent=self),
        )
        user = host.shell.run(
            f"{name}-user",
            "mysql/user.sh",
            parent=self,
            variables={"sql": templates.text("mysql/user.sql")},
            stdin=password.result.apply(lambda secret: f"{secret}\n"),
            depends_on=[host.ready],
            reports=[],
        )
        content = password.result.apply(lambda secret: templates.yaml_file("mysql/conf.yaml", {"password": secret}))
        self.config = args.agent.file(
            f"{name}-conf.yaml", "conf.d/mysql.d/conf.yaml", content, parent=self, merged_by=agent.PYTHON
        )
        proof = host.shell.run(
            f"{name}-proof",
            "agent/prove_check.sh",
            holds_secrets=True,
            parent=self,
            variables={"check": "mysql", "metric": USER_TIME, "twice": "yes"},
            stdin=fingerprints([self.config]),
            depends_on=[user.resource, self.config.resource],
            undo=False,
            reports=["value", "tags"],
        )
        self.version = user.result
        self.user_time = proof.result
        self.register_outputs({"version": self.version, "user_time": self.user_time})

"""Datadog Agent 7 on a host: installed by the official script, configured by the stack, restarted once per update."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pulumi

from components import templates
from components.arrival import Arrival
from components.host import Host
from components.remote import RemoteFile, fingerprints

PACKAGES = ("ca-certificates", "curl", "gnupg", "python3", "sudo")
"""Packages that the install script and the proof scripts need."""

DIRECTORY = "/etc/datadog-agent"

VERSION = "7.78.4"
"""Default Agent version, a minimum: an installed Agent that is newer, or held by the package manager, is kept.

A release that Datadog builds and tests other software against: https://github.com/DataDog/saluki/pull/1672
"""

PYTHON = "/opt/datadog-agent/embedded/bin/python3"
"""The Agent's embedded Python, which includes PyYAML."""

CORE_CHECKS = ("cpu", "network")
"""Core checks whose metrics the dashboards show."""


@dataclass(frozen=True, kw_only=True)
class DatadogAgentArgs:
    """An Agent that reports to ``site`` under its host's name, with ``tags`` as host tags.

    ``agent_url`` (``dd_url``) and ``trace_url`` (``apm_config.apm_dd_url``) override the site's intake addresses;
    ``config`` adds further options to ``datadog.yaml``. ``version`` defaults to :data:`VERSION`. With
    ``install_script_sha256``, an install script with another digest is refused.
    """

    host: Host
    api_key: pulumi.Input[str]
    site: str
    env: str
    tags: Sequence[str]
    version: str
    install_script_url: str
    install_script_sha256: str = ""
    agent_url: str = ""
    trace_url: str = ""
    config: Mapping[str, Any] = field(default_factory=dict)


class DatadogAgent(pulumi.ComponentResource):
    """The Agent's package and its main configuration; :class:`AgentService` starts the Agent with it.

    Source: https://docs.datadoghq.com/agent/supported_platforms/linux/
    """

    host: Host
    files: list[RemoteFile]
    """The Agent's own configuration files on the host."""

    version: str
    """The requested version."""

    installed: pulumi.Resource
    """The step that installs the package."""

    def __init__(self, name: str, args: DatadogAgentArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("watchpost:host:DatadogAgent", name, None, opts)
        self.host = args.host
        self.version = args.version or VERSION
        self.installed = args.host.shell.run(
            f"{name}-install",
            "agent/install.sh",
            holds_secrets=True,
            parent=self,
            variables={
                "url": args.install_script_url,
                "version": args.version or VERSION,
                **({} if args.version else {"exact": "no"}),
                **({"sha256": args.install_script_sha256} if args.install_script_sha256 else {}),
            },
            depends_on=[args.host.ready],
        ).resource
        content = pulumi.Output.from_input(args.api_key).apply(lambda api_key: datadog_yaml(args, api_key))
        self.files = [
            self.file(f"{name}-datadog.yaml", "datadog.yaml", content, parent=self, merged_by=PYTHON),
            self.file(
                f"{name}-network.yaml",
                "conf.d/network.d/conf.yaml",
                templates.yaml_file("agent/network.yaml", {}),
                parent=self,
                merged_by=PYTHON,
            ),
        ]
        self.register_outputs({})

    def file(
        self, name: str, path: str, content: pulumi.Input[str], *, parent: pulumi.Resource, merged_by: str = ""
    ) -> RemoteFile:
        """Write a file that only the Agent can read; ``path`` is relative to /etc/datadog-agent."""
        return self.host.shell.file(
            name,
            f"{DIRECTORY}/{path}",
            content,
            parent=parent,
            owner="dd-agent:dd-agent",
            mode="0640",
            merged_by=merged_by,
            depends_on=[self.installed],
        )


@dataclass(frozen=True, kw_only=True)
class AgentServiceArgs:
    """``reads`` are the files that restart the Agent when they change; ``checks`` must be loaded after the restart.

    ``arrival`` verifies that the restarted Agent's data reaches the account; without it, nothing is verified.
    """

    agent: DatadogAgent
    reads: Sequence[RemoteFile]
    checks: Sequence[str]
    arrival: Arrival | None = None


class AgentService(pulumi.ComponentResource):
    """The running Agent: restarted once when its version or a file it reads changes; healthy, its checks loaded."""

    version: pulumi.Output[str]
    """The output of ``datadog-agent version``; known once the account has the Agent's data, or a warning was logged."""

    def __init__(self, name: str, args: AgentServiceArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("watchpost:host:AgentService", name, None, opts)
        files, host = [*args.agent.files, *args.reads], args.agent.host
        self.restarted = host.shell.run(
            f"{name}-restart",
            "agent/service.sh",
            holds_secrets=True,
            parent=self,
            variables={"checks": " ".join([*CORE_CHECKS, *args.checks]), "version": args.agent.version},
            stdin=fingerprints(files),
            depends_on=[args.agent.installed, *(file.resource for file in files)],
            undo=False,
            then=[args.arrival.hook(host.name)] if args.arrival else [],
            reports=[],
        )
        said = self.restarted.result
        self.version = args.arrival.awaited(host.name, said) if args.arrival else said
        self.register_outputs({"version": self.version})


def datadog_yaml(args: DatadogAgentArgs, api_key: str) -> str:
    """Render ``datadog.yaml``: the options that the stack sets, overlaid with ``config``."""
    ours = templates.yaml_document(
        "agent/datadog.yaml",
        {
            "api_key": api_key,
            "site": args.site,
            "agent_url": args.agent_url or None,
            "trace_url": args.trace_url or None,
            "hostname": args.host.name,
            "env": args.env,
            "tags": list(args.tags),
        },
    )
    return templates.yaml_text(templates.merged(ours, args.config))

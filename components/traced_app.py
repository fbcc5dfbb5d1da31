"""The Flask app under ``ddtrace-run``, and the load that makes something to see of it."""

from dataclasses import dataclass
from typing import Any

import pulumi

from components import templates
from components.agent import AgentService
from components.host import Host
from components.remote import RemoteFile, fingerprints

PACKAGES = ("apache2-utils", "curl", "python3-venv")
"""What the app and the load generator need on the host."""

DIRECTORY = "/opt/watchpost-app"
UNIT = "watchpost-app.service"
ENDPOINTS = ("/", "/api/apm", "/api/trace")

OPERATION = "flask.request"
"""The span that ddtrace makes of each request: Datadog's metrics of the app are named after it.

Source: https://docs.datadoghq.com/tracing/metrics/metrics_namespace/
"""


@dataclass(frozen=True, kw_only=True)
class TracedAppArgs:
    """The app as Datadog knows it, by the three tags of unified service tagging, and its loopback port.

    Its traces are proven again when the Agent's ``trace_url`` is another one.

    Source: https://docs.datadoghq.com/getting_started/tagging/unified_service_tagging/
    """

    host: Host
    agent: AgentService
    service: str
    env: str
    version: str
    port: int = 5050
    trace_url: str = ""


class TracedApp(pulumi.ComponentResource):
    """The app as a service of systemd, answering at each endpoint, with traces of it received by the Agent."""

    files: list[RemoteFile]
    """What the app is made of."""

    port: int
    """The loopback port that it answers at."""

    traces: pulumi.Output[dict[str, Any]]
    """How many traces the Agent had received at the end of the proving run, and the tracer's version."""

    def __init__(self, name: str, args: TracedAppArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("watchpost:host:TracedApp", name, None, opts)
        shell, self.port = args.host.shell, args.port
        requirements = shell.file(
            f"{name}-requirements.txt",
            f"{DIRECTORY}/requirements.txt",
            templates.text("traced_app/requirements.txt"),
            parent=self,
            depends_on=[args.host.ready],
        )
        code = shell.file(
            f"{name}-app.py",
            f"{DIRECTORY}/app.py",
            templates.text("traced_app/app.py"),
            parent=self,
            depends_on=[args.host.ready],
        )
        unit = shell.file(
            f"{name}-unit",
            f"/etc/systemd/system/{UNIT}",
            templates.text_file(f"traced_app/{UNIT}", unit_values(args)),
            parent=self,
            depends_on=[args.host.ready],
        )
        self.files = [requirements, code, unit]
        environment = shell.run(
            f"{name}-environment",
            "traced_app/environment.sh",
            parent=self,
            variables={"directory": DIRECTORY},
            stdin=fingerprints([requirements]),
            depends_on=[requirements.resource],
        )
        self.started = shell.run(
            f"{name}-service",
            "traced_app/service.sh",
            parent=self,
            variables={
                "unit": UNIT,
                "port": args.port,
                "endpoints": " ".join(ENDPOINTS),
                "version": args.version,
                "tags": f"service:{args.service},env:{args.env},version:{args.version},deployed_by:watchpost",
            },
            stdin=fingerprints(self.files),
            depends_on=[environment.resource, code.resource, unit.resource, args.agent.restarted.resource],
        )
        url = {"url": args.trace_url} if args.trace_url else {}
        proof = shell.run(
            f"{name}-proof",
            "traced_app/prove_traces.sh",
            parent=self,
            variables={"port": args.port, "endpoints": " ".join(ENDPOINTS), **url},
            stdin=fingerprints(self.files),
            depends_on=[self.started.resource],
            undo=False,
            reports=["traces", "tracer"],
        )
        self.traces = proof.result
        self.register_outputs({"traces": self.traces})


@dataclass(frozen=True, kw_only=True)
class LoadGeneratorArgs:
    """``requests`` to each endpoint of the app, ``concurrency`` of them under way at once."""

    host: Host
    app: TracedApp
    requests: int
    concurrency: int


class LoadGenerator(pulumi.ComponentResource):
    """Requests to every endpoint of the app, from its own host: once, and again when the app or the load changes."""

    report: pulumi.Output[dict[str, Any]]
    """By endpoint: requests, errors, seconds, and latency_ms with the percentiles p50, p90, p95 and p99."""

    def __init__(self, name: str, args: LoadGeneratorArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("watchpost:host:LoadGenerator", name, None, opts)
        run = args.host.shell.run(
            f"{name}-run",
            "load/run.sh",
            parent=self,
            variables={
                "port": args.app.port,
                "endpoints": " ".join(ENDPOINTS),
                "requests": args.requests,
                "concurrency": args.concurrency,
            },
            stdin=fingerprints(args.app.files),
            depends_on=[args.app.started.resource],
            undo=False,
            reports=ENDPOINTS,
        )
        self.report = run.result
        self.register_outputs({"report": self.report})


def unit_values(args: TracedAppArgs) -> dict[str, Any]:
    """What the placeholders of the service's unit file stand for."""
    return {"service": args.service, "env": args.env, "version": args.version, "port": args.port}

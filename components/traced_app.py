"""The Flask app under ``ddtrace-run``, and the load generator that produces its traces."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pulumi

from components import templates
from components.agent import AgentService
from components.host import Host
from components.remote import RemoteFile, fingerprints
from settings import Rehearsal

PACKAGES = ("apache2-utils", "curl", "python3-venv")
"""Packages that the app and the load generator need."""

DIRECTORY = "/opt/watchpost-app"
KEY = f"{DIRECTORY}/pseudonym-key"
"""root's file with the pseudonyms' key, from which systemd loads the app's credential."""

UNIT = "watchpost-app.service"
ENDPOINTS = ("/", "/api/apm", "/api/trace")

OPERATION = "flask.request"
"""The name of ddtrace's span for each request; Datadog names the app's trace metrics after it.

Source: https://docs.datadoghq.com/tracing/metrics/metrics_namespace/
"""


@dataclass(frozen=True, kw_only=True)
class TracedAppArgs:
    """The app's three tags of unified service tagging, and its loopback port.

    With a ``pseudonym_key`` it also serves the order journey, for customers of these ``tiers``. A change of the Agent's
    ``trace_url`` reruns the proof of its traces.

    Source: https://docs.datadoghq.com/getting_started/tagging/unified_service_tagging/
    """

    host: Host
    agent: AgentService
    service: str
    env: str
    version: str
    port: int = 5050
    trace_url: str = ""
    pseudonym_key: pulumi.Input[str] | None = None
    tiers: Sequence[str] = ()


class TracedApp(pulumi.ComponentResource):
    """The app as a systemd service, proven to answer at each endpoint and to send its traces to the Agent."""

    files: list[RemoteFile]
    """The app's files: requirements, code, and systemd unit; the pseudonyms' key isn't among them."""

    port: int
    """The loopback port that the app listens on."""

    traces: pulumi.Output[dict[str, Any]]
    """``traces``, the number that the Agent had received by the end of the proof, and ``tracer``, its version."""

    def __init__(self, name: str, args: TracedAppArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("watchpost:host:TracedApp", name, None, opts)
        shell, self.port = args.host.shell, args.port
        contents = {
            "requirements.txt": (f"{DIRECTORY}/requirements.txt", templates.text("traced_app/requirements.txt")),
            "app.py": (f"{DIRECTORY}/app.py", templates.text("traced_app/app.py")),
            "unit": (f"/etc/systemd/system/{UNIT}", templates.text_file(f"traced_app/{UNIT}", unit_values(args))),
        }
        if args.pseudonym_key is not None:
            contents["journey.py"] = (f"{DIRECTORY}/journey.py", templates.text("traced_app/journey.py"))
        self.files = [
            shell.file(f"{name}-{key}", path, content, parent=self, depends_on=[args.host.ready])
            for key, (path, content) in contents.items()
        ]
        requirements = self.files[0]
        credentials = []
        if args.pseudonym_key is not None:
            key = shell.file(
                f"{name}-pseudonym-key",
                KEY,
                args.pseudonym_key,
                parent=self,
                mode="0600",
                depends_on=[args.host.ready],
            )
            credentials.append(key)
        started_from = [*self.files, *credentials]
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
            stdin=fingerprints(started_from),
            depends_on=[
                environment.resource,
                *(file.resource for file in started_from[1:]),
                args.agent.restarted.resource,
            ],
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
    """``requests`` to each endpoint of the app, ``concurrency`` of them at a time."""

    host: Host
    app: TracedApp
    requests: int
    concurrency: int


class LoadGenerator(pulumi.ComponentResource):
    """Sends requests to every endpoint of the app, from its host; again when the app or the load changes."""

    report: pulumi.Output[dict[str, Any]]
    """Per endpoint: ``requests``, ``errors``, ``seconds``, and ``latency_ms`` with p50, p90, p95 and p99."""

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


@dataclass(frozen=True, kw_only=True)
class CustomerLoadArgs:
    """``customers`` of all ``tiers`` together, each with so many ``orders``; a ``rehearsal`` lets some meet trouble."""

    host: Host
    app: TracedApp
    tiers: Sequence[str]
    customers: int = 24
    orders: int = 8
    rehearsal: Rehearsal | None = None


class CustomerLoad(pulumi.ComponentResource):
    """Plays customers who place orders in the app, from its host; again when the app or the load changes."""

    report: pulumi.Output[dict[str, Any]]
    """``customers``, ``orders``, how many were ``delivered``, and how many customers were ``troubled``."""

    def __init__(self, name: str, args: CustomerLoadArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("watchpost:host:CustomerLoad", name, None, opts)
        met = args.rehearsal
        trouble = (
            {"share": met.share, "step": met.step, "trouble": met.trouble, "delay": f"{met.seconds:g}"} if met else {}
        )
        run = args.host.shell.run(
            f"{name}-run",
            "load/customers.sh",
            parent=self,
            variables={
                "port": args.app.port,
                "tiers": " ".join(args.tiers),
                "customers": args.customers,
                "orders": args.orders,
                **trouble,
            },
            stdin=fingerprints(args.app.files),
            depends_on=[args.app.started.resource],
            undo=False,
            reports=["customers", "orders", "delivered", "troubled"],
        )
        self.report = run.result
        self.register_outputs({"report": self.report})


def unit_values(args: TracedAppArgs) -> dict[str, Any]:
    """Return the values for the placeholders in the service's unit file.

    Every span of the journey is kept, since a dropped span counts in no span-based metric. No caller's trace context is
    taken: it could drop spans, and its baggage becomes tags.

    Sources: https://docs.datadoghq.com/tracing/trace_pipeline/ingestion_mechanisms/,
    https://ddtrace.readthedocs.io/en/stable/configuration.html
    """
    journey = ""
    if args.pseudonym_key is not None:
        values = {"tiers": ",".join(args.tiers), "key": KEY}
        journey = "\n" + templates.text_file("traced_app/journey.conf", values).rstrip("\n")
    return {
        "service": args.service,
        "env": args.env,
        "version": args.version,
        "port": args.port,
        "journey": journey,
        "program": "journey.py" if journey else "app.py",
    }

"""The custom Agent check that submits ``my_metric``."""

from dataclasses import dataclass
from typing import Any

import pulumi

from components import templates
from components.agent import DatadogAgent
from components.remote import RemoteFile, fingerprints


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A custom metric, defined once for the check, the dashboards and the monitor.

    ``check`` is the check's name: the stem of its Python and YAML files.
    """

    check: str
    name: str
    tag: str
    minimum: int
    maximum: int

    def scope(self, env: str) -> str:
        """Return the tag filter for one environment: ``custom_check:my_metric,env:dev``."""
        return f"{self.tag},env:{env}"


MY_METRIC = Metric(check="my_metric", name="my_metric", tag="custom_check:my_metric", minimum=0, maximum=1000)


@dataclass(frozen=True, kw_only=True)
class CustomCheckArgs:
    """The check that submits ``metric`` every ``interval`` seconds."""

    agent: DatadogAgent
    metric: Metric
    interval: int = 45


class CustomCheck(pulumi.ComponentResource):
    """A check in ``checks.d`` with its YAML in ``conf.d``, proven by one run as dd-agent.

    The interval is set in the YAML only, so changing it leaves the Python file untouched.

    Source: https://docs.datadoghq.com/extend/custom_checks/write_agent_check/
    """

    files: list[RemoteFile]
    """The check's Python and YAML files, which the Agent reads."""

    sample: pulumi.Output[dict[str, Any]]
    """The sample that the proving run submitted: ``value``, ``tags``, and ``interval_s`` in seconds."""

    def __init__(self, name: str, args: CustomCheckArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("watchpost:host:CustomCheck", name, None, opts)
        agent, metric, check = args.agent, args.metric, args.metric.check
        config = templates.yaml_file(
            f"checks/{check}.yaml",
            {
                "interval": args.interval,
                "metric": metric.name,
                "minimum": metric.minimum,
                "maximum": metric.maximum,
                "tag": metric.tag,
            },
        )
        self.files = [
            agent.file(f"{name}-code", f"checks.d/{check}.py", templates.text(f"checks/{check}.py"), parent=self),
            agent.file(f"{name}-conf.yaml", f"conf.d/{check}.d/conf.yaml", config, parent=self),
        ]
        proof = agent.host.shell.run(
            f"{name}-proof",
            "agent/prove_check.sh",
            holds_secrets=True,
            parent=self,
            variables={"check": check, "metric": metric.name, "twice": "no"},
            stdin=fingerprints(self.files),
            depends_on=[file.resource for file in self.files],
            undo=False,
            reports=["value", "tags", "interval_s"],
        )
        self.sample = proof.result
        self.register_outputs({"sample": self.sample})

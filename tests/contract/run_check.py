# mypy: disable-error-code="import-not-found"
"""Runs an Agent check under Datadog's own ``datadog_checks.base``, as ``python run_check.py CODE CONFIG RUNS``.

Prints what each run submitted, as JSON. The tests run it in an environment with that library.
"""

import importlib.util
import inspect
import json
import sys
from pathlib import Path
from typing import Any

import yaml
from datadog_checks.base import AgentCheck
from datadog_checks.base.stubs import aggregator


def main(code: str, config: str, runs: str) -> None:
    """Load the check's class and its configuration as the Agent does, and run each instance ``runs`` times."""
    spec = importlib.util.spec_from_file_location("check", code)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    check: Any
    (check,) = (c for _, c in inspect.getmembers(module, inspect.isclass) if c.__base__ is AgentCheck)
    given = yaml.safe_load(Path(config).read_text(encoding="utf-8"))
    submitted = []
    for instance in given["instances"]:
        running = check("my_metric", given["init_config"], [instance])
        for _ in range(int(runs)):
            aggregator.reset()
            error = running.run()
            metrics = [
                [m.name, m.type, m.value, m.tags] for name in aggregator.metric_names for m in aggregator.metrics(name)
            ]
            submitted.append({"error": error, "metrics": metrics, "gauge": aggregator.GAUGE})
    print(json.dumps(submitted))


if __name__ == "__main__":
    main(*sys.argv[1:])

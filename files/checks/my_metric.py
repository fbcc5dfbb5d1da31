"""A custom Agent check: one random value at every run.

Its interval, metric, range and tags are in its YAML, so that none of them needs a change of this file.

Source: https://docs.datadoghq.com/extend/custom_checks/write_agent_check/
"""

import random

from datadog_checks.base import AgentCheck

__version__ = "1.0.0"


class MyMetric(AgentCheck):
    def check(self, instance):
        value = random.randint(instance["minimum"], instance["maximum"])
        self.gauge(instance["metric"], value, tags=instance["tags"])

"""The components of Watchpost, one module each: settings, a host, what runs on it, and what watches it in Datadog."""

from components.process import tune
from components.slim import lighten

tune()
lighten("pulumi_datadog")

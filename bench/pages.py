"""The sandbox's pages with a day of data from 16 hosts: how long each takes, and the memory of the server."""

import json
import re
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from statistics import median

import urllib3

from bench.report import Report, verdict
from sandbox import paths
from sandbox.datadog import Account
from sandbox.datadog.store import opened
from sandbox.testing import sample_data

HOSTS = tuple(f"vm{number:02}" for number in range(16))
DAY = 86400

PATHS: Mapping[str, str] = {
    "first page": "/",
    "timeboard, 5 minutes": "/dashboard/{timeboard}?span=5m",
    "timeboard, 1 hour": "/dashboard/{timeboard}?span=1h",
    "timeboard, 1 day": "/dashboard/{timeboard}?span=1d",
    "anomalies, 1 hour": "/dashboard/{timeboard}?span=1h&fullscreen_widget={anomalies}",
    "APM dashboard, 15 minutes": "/dashboard/{apm}?span=15m",
    "APM dashboard, 1 hour": "/dashboard/{apm}?span=1h",
    "APM dashboard, 1 day": "/dashboard/{apm}?span=1d",
    "monitor": "/monitors/{monitor}",
    "downtimes": "/monitors/downtimes",
    "host map": "/infrastructure",
    "host": "/infrastructure?hostname=vm00",
    "service": "/apm/entity/service%3Ashop?env=dev&operationName=flask.request",
    "events": "/event/explorer",
    "mail": "/mail",
}

PAGE_BOUND, MEMORY_BOUND = 200.0, 300.0
"""Milliseconds, and MB."""


def run(runs: int) -> Report:
    """Fill an account, then load each page ``runs`` times, after once to warm up."""
    folder = paths.local() / "bench" / "pages"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    with opened(folder) as store:
        found = sample_data.fill(store, hosts=HOSTS, span=DAY, whole=False)
    account = Account.start(folder)
    try:
        figures = {name: _timed(account.url + path.format(**vars(found)), runs) for name, path in PATHS.items()}
        memory = _peak(int(json.loads((folder / "address.json").read_text())["pid"]))
    finally:
        account.stop()
        shutil.rmtree(folder)
    slowest = max(figures, key=lambda name: median(figures[name]))
    return Report(
        title="The sandbox's pages, with a day of data from 16 hosts",
        header=("page", "milliseconds"),
        rows=[(name, f"{median(taken):.0f} ({min(taken):.0f}-{max(taken):.0f})") for name, taken in figures.items()],
        notes=[
            f"the slowest ({slowest}), in ms: {verdict(median(figures[slowest]), PAGE_BOUND)}",
            f"the server's peak memory in MB: {verdict(memory, MEMORY_BOUND)}",
        ],
        figures={"milliseconds": figures, "peak_mb": memory},
    )


def _timed(url: str, runs: int) -> list[float]:
    """Load a page; return the milliseconds of each time but the first."""
    taken = []
    for _ in range(runs + 1):
        begun = time.perf_counter()
        answer = urllib3.request("GET", url, retries=False, timeout=60)
        taken.append(1000 * (time.perf_counter() - begun))
        if answer.status != 200:
            raise RuntimeError(f"{url}: {answer.status}")
    return taken[1:]


def _peak(process: int) -> float:
    """Return the most memory that a process has had, in MB."""
    status = Path(f"/proc/{process}/status").read_text()
    return int(re.findall(r"^VmHWM:\s+(\d+) kB", status, re.MULTILINE)[0]) / 1024

# mypy: disable-error-code="import-not-found,import-untyped", allow-subclassing-any
"""Small versions of the Agent's core checks, by psutil: cpu, load, memory and network."""

from pathlib import Path
from typing import Any

import psutil
from datadog_checks.base import AgentCheck


class Cpu(AgentCheck):
    """``system.cpu.*`` in percent of the time since the last run."""

    def check(self, _: Any) -> None:
        """Submit; the first run only takes a baseline."""
        now, before = psutil.cpu_times(), getattr(self, "_before", None)
        self._before = now
        self.gauge("system.cpu.num_cores", psutil.cpu_count())
        if before is None:
            return
        spent = {name: max(value - getattr(before, name), 0.0) for name, value in now._asdict().items()}
        total = sum(spent.values()) or 1.0
        system = spent["system"] + spent["irq"] + spent["softirq"]
        user = spent["user"] + spent["nice"]
        for name, value in (("user", user), ("system", system), ("idle", spent["idle"]), ("iowait", spent["iowait"])):
            self.gauge(f"system.cpu.{name}", 100 * value / total)


class Load(AgentCheck):
    """``system.load.*``."""

    def check(self, _: Any) -> None:
        """Submit the three averages, also per core."""
        for minutes, value in zip((1, 5, 15), psutil.getloadavg(), strict=True):
            self.gauge(f"system.load.{minutes}", value)
            self.gauge(f"system.load.norm.{minutes}", value / psutil.cpu_count())


class Memory(AgentCheck):
    """``system.mem.*`` in MiB."""

    def check(self, _: Any) -> None:
        """Submit."""
        memory = psutil.virtual_memory()
        sizes = {"total": memory.total, "used": memory.used, "free": memory.free, "usable": memory.available}
        for name, size in sizes.items():
            self.gauge(f"system.mem.{name}", size / 2**20)
        self.gauge("system.mem.pct_usable", memory.available / memory.total)


class Network(AgentCheck):
    """``system.net.*`` per interface, and TCP segments of the host."""

    def check(self, instance: dict[str, Any]) -> None:
        """Submit rates; ``excluded_interfaces`` as in the real check's configuration."""
        excluded = set(instance.get("excluded_interfaces") or [])
        for name, counted in psutil.net_io_counters(pernic=True).items():
            if name not in excluded:
                tags = [f"device:{name}", f"device_name:{name}"]
                self.rate("system.net.bytes_rcvd", counted.bytes_recv, tags=tags)
                self.rate("system.net.bytes_sent", counted.bytes_sent, tags=tags)
                self.rate("system.net.packets_in.count", counted.packets_recv, tags=tags)
                self.rate("system.net.packets_out.count", counted.packets_sent, tags=tags)
        names, values = (
            line.split()[1:] for line in Path("/proc/net/snmp").read_text().splitlines() if line.startswith("Tcp:")
        )
        tcp = dict(zip(names, map(int, values), strict=True))
        for name, counter in (("in_segs", "InSegs"), ("out_segs", "OutSegs"), ("retrans_segs", "RetransSegs")):
            self.rate(f"system.net.tcp.{name}", tcp[counter])


CHECKS = {"cpu": Cpu, "load": Load, "memory": Memory, "network": Network}

"""``datadog-agent run``: schedules the checks, listens for DogStatsD, answers the command line."""

import functools
import json
import logging
import logging.handlers
import signal
import socketserver
import threading
import time
import urllib.request
from collections.abc import Callable
from typing import Any

from . import checks, dogstatsd, settings
from .forwarder import Forwarder
from .samples import Sampler, Serie

DOGSTATSD = ("127.0.0.1", 8125)
FLUSH = 10
"""Seconds covered by one point of a DogStatsD metric."""
METADATA = 1800.0
"""Seconds between reports of the host's metadata."""
ALIVE = 1.0
"""Seconds between submissions of ``datadog.agent.running``; the real Agent submits it with each flush, every 15 s."""
TRACE_STATUS = 5012
"""Port of the trace agent's status, as in the real Agent (``apm_config.debug.port``)."""

log = logging.getLogger(__name__)


def start_logging(process: str, path: str) -> None:
    """Log to the journal and, as the real Agent does, to ``/var/log/datadog``."""
    file = logging.handlers.RotatingFileHandler(settings.LOGS / path, maxBytes=10_000_000, backupCount=1)
    line = f"%(asctime)s UTC | {process} | %(levelname)s | (%(module)s in %(funcName)s) | %(message)s"
    logging.Formatter.converter = time.gmtime
    logging.basicConfig(level=logging.INFO, format=line, handlers=[logging.StreamHandler(), file])


class Statsd:
    """DogStatsD on UDP; invalid lines are counted and logged."""

    def __init__(self, forwarder: Forwarder, host: str) -> None:
        self._forwarder, self._sampler = forwarder, Sampler(host)
        self._received, self._lock = dogstatsd.Received(), threading.Lock()
        self.stats = dict.fromkeys(("MetricPackets", "EventPackets", "ServiceCheckPackets", "MetricParseErrors"), 0)
        self.stats |= {"UdpPackets": 0, "UdpBytes": 0}

    def take(self, datagram: bytes) -> None:
        """Read one datagram, which may have several lines."""
        with self._lock:
            self.stats["UdpPackets"] += 1
            self.stats["UdpBytes"] += len(datagram)
            for line in datagram.decode(errors="replace").splitlines():
                self._take_line(line)

    def _take_line(self, line: str) -> None:
        try:
            dogstatsd.parse(line, self._received)
        except (ValueError, IndexError) as error:
            self.stats["MetricParseErrors"] += 1
            log.warning("DogStatsD: %s", error)
            return
        kind = {"_e{": "EventPackets", "_sc": "ServiceCheckPackets"}.get(line[:3], "MetricPackets")
        self.stats[kind] += 1

    def flush(self) -> None:
        """Pass what was received to the forwarder."""
        with self._lock:
            received, self._received = self._received, dogstatsd.Received()
        self._forwarder.series(self._sampler.series(received.samples, interval=FLUSH))
        self._forwarder.service_checks(received.service_checks)
        for event in received.events:
            self._forwarder.event(event)


class Daemon:
    """The core Agent in one process: a thread for each check instance, for sending, for DogStatsD and for commands."""

    def __init__(self, agent: settings.Settings, version: str) -> None:
        self._agent, self._version, self._started = agent, version, int(time.time())
        self._stopping = threading.Event()
        self.forwarder = Forwarder(agent.dd_url, agent.api_key, agent.hostname, agent.tags, version)
        self.statsd = Statsd(self.forwarder, agent.hostname)
        self._configs, self._config_errors = settings.load_checks()
        self._instances, self._load_errors = checks.load(agent, self._configs)

    def run(self) -> None:
        """Run until SIGTERM or SIGINT."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self._stopping.set())
        for error in self._agent.found.errors.values():
            if "compliant" in error or "length" in error:
                log.error("ValidHostname: %s", error)
        log.info("Hostname is: %s", self._agent.hostname)
        for key in self._agent.ignored:
            log.warning("The stand-in does nothing about %s", key)
        for name, error in self._config_errors.items():
            log.warning("%s is not a valid config file: %s", name, error)
        for name, errors in self._load_errors.items():
            log.error("Unable to load a check from instance of config '%s': %s", name, errors)
        self.forwarder.start()
        for instance in self._instances:
            self._every(instance.config.interval, functools.partial(self._collect, instance))
        self._every(FLUSH, self.statsd.flush)
        self._every(METADATA, lambda: self.forwarder.metadata(self._version))
        self._every(settings.DEFAULT_INTERVAL, self._say_up)
        self._every(ALIVE, self._say_running)
        with _udp_server(self.statsd) as udp, _command_server(self.answer) as commands:
            for server in (udp, commands):
                threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True).start()
            log.info(
                "Agent %s runs %d check instances, sends to %s", self._version, len(self._instances), self._agent.dd_url
            )
            self._stopping.wait()
            for server in (udp, commands):
                server.shutdown()
        self.statsd.flush()
        self.forwarder.stop()
        settings.SOCKET.unlink(missing_ok=True)
        log.info("Stopped")

    def _every(self, seconds: float, action: Callable[[], None]) -> None:
        def loop() -> None:
            due = time.monotonic()
            while not self._stopping.wait(max(due - time.monotonic(), 0)):
                due = max(due + seconds, time.monotonic())
                try:
                    action()
                except Exception:  # a failed run must not prevent further ones
                    log.exception("A run failed")

        threading.Thread(target=loop, daemon=True).start()

    def _collect(self, instance: checks.Instance) -> None:
        result = instance.run()
        self.forwarder.series(result.series)
        self.forwarder.service_checks(result.service_checks)
        for event in result.events:
            names = {"msg_title": "title", "msg_text": "text", "timestamp": "date_happened"}
            self.forwarder.event({names.get(key, key): value for key, value in event.items() if key != "event_type"})
        if instance.stats["LastError"]:
            log.error("Check %s failed: %s", instance.config.id, instance.stats["LastError"])

    def _say_up(self) -> None:
        self.forwarder.service_checks([{"check": "datadog.agent.up", "status": 0, "message": "", "tags": []}])

    def _say_running(self) -> None:
        """Submit what the real Agent submits with each flush: ``pkg/aggregator/aggregator.go``."""
        running = Serie(
            metric="datadog.agent.running", value=1, when=time.time(), type="gauge",
            tags=(f"version:{self._version}",), host=self._agent.hostname,
        )  # fmt: skip
        self.forwarder.series([running])

    def answer(self, command: str) -> Any:
        """Answer the command line: ``status``, ``configcheck`` or ``health``."""
        match command:
            case "status":
                return self._status()
            case "configcheck":
                loaded = [
                    {"name": c.name, "source": c.source, "id": c.id, "instance": c.instance} for c in self._configs
                ]
                return {"errors": self._config_errors, "checks": settings.scrubbed(loaded)}
            case "health":
                well = ["collector", "dogstatsd", *(["forwarder"] if self.forwarder.healthy else [])]
                return {"Healthy": well, "Unhealthy": [] if self.forwarder.healthy else ["forwarder"]}
        return {"error": f"unknown command {command}"}

    def _status(self) -> dict[str, Any]:
        running: dict[str, dict[str, Any]] = {}
        for instance in self._instances:
            running.setdefault(instance.config.name, {})[instance.config.id] = instance.stats
        return {
            "version": self._version,
            "flavor": "agent",
            "agent_start_nano": self._started * 10**9,
            "conf_file": str(settings.CONFIG / "datadog.yaml"),
            "hostname": self._agent.hostname,
            "hostnameStats": {"provider": self._agent.found.provider, "errors": self._agent.found.errors},
            "hostTags": list(self._agent.tags),
            "runnerStats": {"Checks": running, "Workers": {}},
            "checkSchedulerStats": {"LoaderErrors": self._load_errors, "RunErrors": {}},
            "autoConfigStats": {"ConfigErrors": self._config_errors, "ResolveWarnings": {}},
            "forwarderStats": self.forwarder.status(),
            "dogstatsdStats": self.statsd.stats,
            "apmStats": _trace_agent_status(),
        }


def _trace_agent_status() -> dict[str, Any]:
    url = f"http://127.0.0.1:{TRACE_STATUS}/debug/vars"
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            found: dict[str, Any] = json.load(answer)
            return found
    except OSError as error:
        return {"port": TRACE_STATUS, "error": str(error)}


def _udp_server(statsd: Statsd) -> socketserver.UDPServer:
    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            statsd.take(self.request[0])

    return socketserver.UDPServer(DOGSTATSD, Handler)


def _command_server(answer: Callable[[str], Any]) -> socketserver.BaseServer:
    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self.wfile.write(json.dumps(answer(self.rfile.readline().decode().strip())).encode())

    class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
        daemon_threads = True

    settings.SOCKET.parent.mkdir(parents=True, exist_ok=True)
    settings.SOCKET.unlink(missing_ok=True)
    server = Server(str(settings.SOCKET), Handler)
    settings.SOCKET.chmod(0o600)
    return server

# mypy: disable-error-code="import-not-found"
"""``trace-agent``: Datadog's own ``ddapm-test-agent`` on the receiver's port, plus statistics.

The test agent decodes and checks what tracers send, and keeps every request for inspection; here its memory is
emptied at each flush, after the spans were counted. Its optional checks are disabled, so it accepts everything that
the real trace-agent accepts.
"""

import asyncio
import itertools
import logging
import signal
from collections.abc import AsyncIterator, Awaitable, Callable

from aiohttp import ClientSession, web
from ddapm_test_agent.agent import make_app
from ddapm_test_agent.trace import decode_v04, decode_v05

from . import daemon, settings
from .trace_writer import STATS, TRACES, Writer
from .traces import FLUSH, TraceStats, source_of

log = logging.getLogger(__name__)
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

MISSING_KEY = "you must specify an API Key, either via a configuration file or the DD_API_KEY env var"


class Writers:
    """Sends traces and their statistics to Datadog, in threads, so that nobody waits for them."""

    def __init__(self, agent: settings.Settings, stats: TraceStats) -> None:
        self._stats = stats
        self.traces = Writer(agent.apm_url, TRACES, agent.api_key)
        self.statistics = Writer(agent.apm_url, STATS, agent.api_key)

    def flush_traces(self, timeout: float = 10.0) -> None:
        """Send the traces received since the last flush."""
        self.traces.put(self._stats.flush_traces())
        self.traces.flush(timeout)

    def flush_statistics(self, timeout: float = 10.0) -> None:
        """Send the statistics since the last flush."""
        self.statistics.put(self._stats.flush())
        self.statistics.flush(timeout)


def application(agent: settings.Settings, stats: TraceStats, writers: Writers) -> web.Application:
    """Build the test agent's application, with counting and flushing added."""
    app: web.Application = make_app(
        enabled_checks=[],
        log_span_fmt="[{name}]",
        snapshot_dir="/nonexistent",
        snapshot_ci_mode=False,
        snapshot_ignored_attrs=[],
        snapshot_removed_attrs=[],
        snapshot_regex_placeholders={},
        agent_url="",
        trace_request_delay=0.0,
        suppress_trace_parse_errors=False,
        pool_trace_check_failures=False,
        disable_error_responses=False,
        vcr_cassettes_directory="/nonexistent",
    )

    @web.middleware
    async def count(request: web.Request, handler: Handler) -> web.StreamResponse:
        response = await handler(request)
        if request.path in {"/v0.4/traces", "/v0.5/traces"} and response.status == 200:
            body = await request.read()
            decoded = decode_v05(body) if "v0.5" in request.path else decode_v04(request.content_type, body, False)
            stats.add(source_of(request.headers, request.path), decoded, len(body))
        return response

    async def flush(_: web.Application) -> AsyncIterator[None]:
        task = asyncio.create_task(_flush_forever(f"http://127.0.0.1:{agent.apm_port}", writers))
        yield
        task.cancel()
        await asyncio.to_thread(writers.flush_traces, 0.5)
        await asyncio.to_thread(writers.flush_statistics, 0.5)

    app.middlewares.append(count)
    app.cleanup_ctx.append(flush)
    return app


async def _flush_forever(own_url: str, writers: Writers) -> None:
    async with ClientSession() as session:
        for second in itertools.count(1):
            await asyncio.sleep(1)
            await asyncio.to_thread(writers.flush_traces)
            if second % FLUSH == 0:
                await asyncio.to_thread(writers.flush_statistics)
                async with session.get(f"{own_url}/test/session/clear"):
                    pass


async def _serve(agent: settings.Settings, version: str) -> None:
    env = next((tag[4:] for tag in agent.tags if tag.startswith("env:")), "none")
    stats = TraceStats(host=agent.apm_hostname, env=env, version=version)
    writers = Writers(agent, stats)

    async def status(_: web.Request) -> web.Response:
        config = {
            "Hostname": agent.apm_hostname,
            "Endpoints": [{"Host": agent.apm_url, "NoProxy": False}],
            "DefaultEnv": env,
            "ReceiverHost": "localhost",
            "ReceiverPort": agent.apm_port,
        }
        content = {"config": config, "receiver": stats.receiver(), "version": {"Version": version}}
        sent = {"trace_writer": writers.traces.status(), "stats_writer": writers.statistics.status()}
        return web.json_response(content | sent)

    debug = web.Application()
    debug.router.add_get("/debug/vars", status)
    receiver = application(agent, stats, writers)
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    runners = [web.AppRunner(app, access_log=None, shutdown_timeout=0.5) for app in (debug, receiver)]
    for runner, port in zip(runners, (daemon.TRACE_STATUS, agent.apm_port), strict=True):
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port).start()
    log.info("Listening for traces at http://localhost:%d", agent.apm_port)
    await stopping.wait()
    for runner in runners:
        await runner.cleanup()


def main(version: str) -> int:
    """Serve until SIGTERM; do nothing if ``apm_config.enabled`` is false, and fail without a key."""
    agent = settings.load()
    daemon.start_logging("TRACE", "trace-agent.log")
    logging.getLogger("ddapm_test_agent").setLevel(logging.WARNING)
    if not agent.apm_enabled:
        log.info("trace-agent not enabled. Set the environment variable DD_APM_ENABLED=true or apm_config.enabled")
        return 0
    if not agent.api_key:
        log.error(MISSING_KEY)
        return 1
    log.info("Trace agent running on host %s", agent.apm_hostname)
    asyncio.run(_serve(agent, version))
    return 0

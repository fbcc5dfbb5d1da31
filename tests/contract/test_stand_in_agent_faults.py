"""The stand-in Agent fails where the real one fails: each test names the source file that shows it.

The files are those of https://github.com/DataDog/datadog-agent.
"""

import contextlib
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sandbox.agent import forwarder, sending, settings, trace_writer
from sandbox.agent.forwarder import Forwarder
from sandbox.datadog import Account
from sandbox.testing.processes import free_port, wait_until

from .agents import KEY, Agent, Intake, accepting, intake

GOOD = (
    "from datadog_checks.base import AgentCheck\nclass Good(AgentCheck):\n    def check(self, _): self.gauge('a', 1)\n"
)


@pytest.fixture
def agent(agent_python: Path, tmp_path: Path) -> Agent:
    """An unconfigured Agent."""
    return Agent.installed(tmp_path / "agent", agent_python)


def written(folder: Path, text: str) -> Path:
    """Write a ``datadog.yaml``."""
    file = folder / "datadog.yaml"
    file.write_text(text)
    return file


# Destinations: pkg/config/utils/endpoints.go, comp/trace/config/setup.go


@pytest.mark.parametrize(
    ("text", "metrics", "traces"),
    [
        ("", "https://app.datadoghq.com.", "https://trace.agent.datadoghq.com."),
        ("site: us3.datadoghq.com", "https://app.us3.datadoghq.com.", "https://trace.agent.us3.datadoghq.com."),
        ("dd_url: http://10.0.0.1:1", "http://10.0.0.1:1", "https://trace.agent.datadoghq.com."),
        ("apm_config: {apm_dd_url: http://10.0.0.1:1}", "https://app.datadoghq.com.", "http://10.0.0.1:1"),
    ],
)
def test_dd_url_is_not_for_traces(text: str, metrics: str, traces: str, tmp_path: Path) -> None:
    read = settings.load(written(tmp_path, text), {})
    assert (read.dd_url, read.apm_url) == (metrics, traces)


@pytest.mark.parametrize(
    ("url", "sent_to", "asked"),
    [
        ("https://app.datadoghq.com.", "https://7-78-4-app.agent.datadoghq.com.", "https://api.datadoghq.com"),
        (
            "https://app.us5.datadoghq.com",
            "https://7-78-4-app.agent.us5.datadoghq.com",
            "https://api.us5.datadoghq.com",
        ),
        ("https://proxy.example:3834", "https://proxy.example:3834", "https://proxy.example:3834"),
    ],
)
def test_the_site_s_address_has_the_version_in_front_and_its_api_tells_of_the_key(
    url: str, sent_to: str, asked: str
) -> None:
    """pkg/config/utils/endpoints.go, comp/forwarder/defaultforwarder/forwarder_health.go"""
    assert forwarder.of_version(url, "7.78.4") == sent_to
    assert forwarder.validating(url) == asked


@pytest.mark.parametrize(
    ("url", "kept"),
    [
        ("https://trace.agent.datadoghq.com.", True),
        ("https://agents.example.com", True),
        ("http://8.8.8.8", True),
        ("http://10.0.2.2:1", False),
        ("http://127.0.0.1:1/x", False),
    ],
)
def test_nothing_leaves_the_sandbox(url: str, kept: bool) -> None:
    assert sending.kept_back(url) is kept
    if kept:
        with pytest.raises(sending.UnreachableError, match="nothing is sent"):
            sending.request(f"{url}/api/v1/validate?api_key=fake")


def test_a_path_is_put_behind_the_address_as_it_is() -> None:
    """transaction.go below comp/forwarder/defaultforwarder: ``t.Domain + t.Endpoint.Route``"""
    with intake(lambda _, path: 404 if path.startswith("//") else 202) as server:
        at_work = Forwarder(f"{server.url}/", KEY, "vm")
        at_work.metadata("7.78.4")
        at_work.flush()
        assert set(server.requests) == {"POST //intake/"}
    assert at_work.status()["Transactions"]["Success"] == 0


# Configuration: comp/core/config/setup.go


@pytest.mark.parametrize("text", ["a: {", "- a", "just a text", "apm_config: 5"])
def test_a_file_that_is_no_map_ends_every_command(text: str, tmp_path: Path) -> None:
    with pytest.raises(settings.SettingsError, match=r"unable to load Datadog config file"):
        settings.load(written(tmp_path, text), {})


def test_a_file_of_somebody_else_s_tells_whom_to_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: Path) -> str:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_text", refuse)
    with pytest.raises(
        settings.SettingsError, match="try running the command under the same user as the Datadog Agent"
    ):
        settings.load(tmp_path / "datadog.yaml", {})


def test_tags_in_one_text_are_several(tmp_path: Path) -> None:
    assert settings.load(written(tmp_path, "tags: a:b c:d"), {}).tags == ("a:b", "c:d")


def test_a_name_that_is_not_taken_is_the_trace_agent_s_all_the_same(tmp_path: Path) -> None:
    """comp/trace/config/setup.go uses the configured value as is."""
    read = settings.load(written(tmp_path, "hostname: localhost"), {})
    assert (read.hostname, read.apm_hostname) == (socket.gethostname(), "localhost")


# Files of checks: comp/core/autodiscovery/providers/config_reader.go


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", None),
        ("logs: [{type: file}]", None),
        ("instances: []", "Configuration file contains no valid instances"),
        ("- instances: [{}]", "instances must be a list of maps"),
        ("instances: {a: b}", "instances must be a list of maps"),
        ("instances: [text]", "instances must be a list of maps"),
        ("instances: [", "while parsing"),
    ],
)
def test_a_file_without_instances_is_an_error_unless_it_is_empty(text: str, error: str | None, tmp_path: Path) -> None:
    (tmp_path / "one.yaml").write_text(text)
    configs, errors = settings.load_checks(tmp_path)
    assert configs == []
    assert errors.keys() == ({"one"} if error else set())
    assert error is None or error in errors["one"]


@pytest.mark.parametrize(
    ("instance", "seconds"),
    [
        ({}, 15), ({"min_collection_interval": 45}, 45), ({"min_collection_interval": 45.9}, 45),
        ({"min_collection_interval": 0}, 15), ({"min_collection_interval": -1}, 15),
        ({"min_collection_interval": "45"}, None), ({"min_collection_interval": True}, None),
    ],
)  # fmt: skip
def test_the_interval_is_the_instance_s_own_number(instance: dict[str, Any], seconds: int | None) -> None:
    """``Configure`` in pkg/collector/python/check.go"""
    config = settings.CheckConfig(name="a", source="", instance=instance, init_config={"min_collection_interval": 60})
    if seconds is None:
        with pytest.raises(ValueError, match="into int"):
            assert config.interval
    else:
        assert config.interval == seconds


# Payloads: transaction.go, forwarder_health.go below comp/forwarder/defaultforwarder


def sent(status: int | None) -> tuple[Forwarder, dict[str, Any]]:
    """Have a forwarder send one service check; return it and its statistics."""
    with intake(lambda *_: status) as server:
        at_work = Forwarder(server.url, KEY, "vm")
        at_work.service_checks([{"check": "up", "status": 0, "message": "", "tags": []}])
        at_work.flush(timeout=0.2)
    return at_work, at_work.status()["Transactions"]


@pytest.mark.parametrize("status", [400, 403, 413])
def test_what_datadog_finds_wrong_is_dropped(status: int) -> None:
    _, counted = sent(status)
    assert (counted["Success"], counted["Dropped"], counted["Errors"]) == (0, 1, 0)
    assert counted["DroppedByEndpoint"] == {"check_run_v1": 1}


@pytest.mark.parametrize("status", [401, 404, 408, 429, 500, None])
def test_what_gets_another_answer_or_none_is_kept_and_counts_as_an_error(status: int | None) -> None:
    at_work, counted = sent(status)
    assert (counted["Success"], counted["Dropped"], counted["Errors"]) == (0, 0, 1)
    with intake() as server:
        at_work._url = server.url
        at_work.flush()
    assert at_work.status()["Transactions"]["SuccessByEndpoint"] == {"check_run_v1": 1}


@pytest.mark.parametrize(
    ("status", "place", "words", "healthy"),
    [
        (200, "APIKeyStatus", "API Key valid", True),
        (403, "APIKeyFailure", "API Key invalid", False),
        (500, "APIKeyStatus", "Unexpected response code from the API Key validation endpoint", True),
        (None, "APIKeyStatus", "Unable to reach the API Key validation endpoint", True),
    ],
)
def test_only_a_key_that_is_refused_makes_the_forwarder_unhealthy(
    status: int | None, place: str, words: str, healthy: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forwarder, "VALIDATION_TIMEOUT", 0.2)
    with intake(lambda *_: status) as server:
        at_work = Forwarder(server.url, KEY, "vm")
        assert not at_work.healthy
        at_work.validate()
    assert at_work.healthy is healthy
    shown = at_work.status()
    assert list(shown[place].values()) == [words]
    assert KEY not in json.dumps(shown)
    assert shown[{"APIKeyStatus": "APIKeyFailure", "APIKeyFailure": "APIKeyStatus"}[place]] == {}


@pytest.mark.parametrize(("status", "counted"), [(202, "Payloads"), (403, "Errors"), (404, "Errors"), (503, "Retries")])
def test_a_payload_of_traces_is_sent_dropped_or_kept(status: int, counted: str) -> None:
    """pkg/trace/writer/sender.go"""
    with intake(lambda *_: status) as server:
        writer = trace_writer.Writer(server.url, trace_writer.STATS, KEY)
        writer.put({"Stats": []})
        writer.flush()
        assert server.requests == {"POST /api/v0.2/stats": 1}
    figures = writer.status()
    assert [name for name in ("Payloads", "Errors", "Retries") if figures[name]] == [counted]


# The whole Agent


def test_a_key_that_is_refused_fails_the_health_command(agent: Agent) -> None:
    """pkg/cli/subcommands/health/command.go"""
    with intake(lambda *_: 403) as server:
        agent.configure(f"api_key: {KEY}\nhostname: vm\ndd_url: {server.url}\n")
        with agent.running():
            wait_until(lambda: server.requests["GET /api/v1/validate"], "the key is asked about")
            wait_until(lambda: "reporting the forwarder as unhealthy" in agent.log(), "the answer is logged")
            done = agent("health")
    assert done.returncode == 255
    assert done.stdout.startswith("Agent health: FAIL\n")
    assert "=== 1 unhealthy components ===\nforwarder\n" in done.stdout
    assert done.stderr == "Error: found 1 unhealthy components\n"
    assert KEY not in agent.log()


def test_an_agent_that_reaches_nobody_calls_itself_healthy(agent: Agent) -> None:
    """forwarder_health.go: an outage must not end all Agents."""
    agent.configure(f"api_key: {KEY}\nhostname: localhost\ndd_url: http://127.0.0.1:{free_port()}\n")
    with agent.running():
        wait_until(lambda: agent("health").returncode == 0, "the Agent is healthy")
        wait_until(lambda: agent.status()["forwarderStats"]["Transactions"]["Errors"], "an attempt to send")
        status = agent.status()
        assert agent("hostname").stdout.strip() == socket.gethostname()
    assert list(status["forwarderStats"]["APIKeyStatus"].values()) == [
        "Unable to reach the API Key validation endpoint"
    ]
    assert status["forwarderStats"]["Transactions"]["Success"] == 0
    assert status["hostnameStats"]["provider"] == "os"
    assert "localhost is a local hostname" in status["hostnameStats"]["errors"].values()


def test_configcheck_shows_a_check_that_can_not_be_loaded_and_its_status_says_why(agent: Agent) -> None:
    """pkg/flare/config_check.go, pkg/collector/scheduler.go"""
    agent.check("broken", "import no_such_module\n")
    agent.check("empty", "from datadog_checks.base import AgentCheck\n")
    agent.check("good", GOOD, "instances: [{}, {tags: [a:b]}]")
    agent.check("interval", GOOD, "instances: [{min_collection_interval: '45'}]")
    agent.check("yaml", GOOD, "instances: [")
    with intake(accepting) as server:
        agent.configure(f"api_key: {KEY}\nhostname: vm\ndd_url: {server.url}\n")
        with agent.running():
            shown = agent("configcheck").stdout
            status = agent.status()
    assert shown.startswith("=== Configuration errors ===\n\nyaml: ")
    assert [shown.count(f"=== {name} check ===") for name in ("broken", "empty", "good", "yaml")] == [1, 1, 1, 0]
    assert shown.count("Config for instance ID: good:") == 2
    errors = status["checkSchedulerStats"]["LoaderErrors"]
    assert errors.keys() == {"broken", "empty", "interval"}
    assert "ModuleNotFoundError: No module named 'no_such_module'" in errors["broken"]["Python Check Loader"]
    assert "unable to find a subclass of the base check" in errors["empty"]["Python Check Loader"]
    assert "into int" in errors["interval"]["Python Check Loader"]
    assert status["runnerStats"]["Checks"].keys() == {"good"}


def test_of_several_classes_the_first_by_name_is_the_check_even_an_imported_one(agent: Agent) -> None:
    """``_findSubclassOf`` in rtloader/three/three.cpp"""
    agent.check("other", GOOD.replace("'a'", "'other'").replace("Good", "Aaa"), "")
    agent.check("mine", "from other import Aaa\n" + GOOD.replace("'a'", "'mine'"))
    agent.configure("hostname: vm\n")
    (run,) = json.loads(agent("check", "mine", "--json").stdout)
    assert [metric["metric"] for metric in run["aggregator"]["metrics"]] == ["other"]


def test_a_check_that_raises_does_not_fail_the_command_and_one_that_is_not_there_does(agent: Agent) -> None:
    """pkg/cli/subcommands/check/command.go"""
    agent.configure("hostname: vm\n")
    agent.check("raises", GOOD.replace("self.gauge('a', 1)", "1 / 0"))
    agent.check("broken", "import no_such_module\n")
    raised = agent("check", "raises", "--json")
    assert raised.returncode == 0
    assert "ZeroDivisionError" in json.loads(raised.stdout)[0]["runner"]["LastError"]
    for name in ("broken", "unknown"):
        failed = agent("check", name)
        assert (failed.returncode, failed.stderr) == (255, "Error: no valid check found\n")
        assert ("No module named 'no_such_module'" in failed.stdout) == (name == "broken")
    assert agent("check").returncode == 0
    assert "Usage:" in agent("check").stdout


@pytest.mark.parametrize(
    "words", [("no-such-command",), ("check", "x", "--no-such-flag"), ("status",), ("configcheck",)]
)
def test_what_can_not_be_done_ends_with_255_and_one_error(words: tuple[str, ...], agent: Agent) -> None:
    agent.configure("hostname: vm\n")
    done = agent(*words)
    assert done.returncode == 255
    assert done.stderr.startswith("Error: ")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("command", ["run", "health", "status", "configcheck", "hostname"])
def test_a_file_that_can_not_be_read_ends_the_service_and_every_command(command: str, agent: Agent) -> None:
    agent.configure("api_key: {\n")
    done = agent(command)
    assert done.returncode == 255
    assert done.stderr.startswith("Error: unable to load Datadog config file: ")


def test_without_a_key_the_agent_runs_unhealthy_and_the_trace_agent_not_at_all(agent: Agent) -> None:
    """forwarder_health.go; ``FailIfAPIKeyMissing`` in comp/trace/config/impl/config.go"""
    with intake(lambda *_: 403) as server:
        agent.configure(f"hostname: vm\ndd_url: {server.url}\n")
        with agent.running():
            wait_until(lambda: "reporting the forwarder as unhealthy" in agent.log(), "the key is found missing")
            assert agent("health").returncode == 255
        with pytest.raises(AssertionError), agent.running("trace-agent"):
            pass
    assert "you must specify an API Key" in agent.log("trace-agent")


@contextlib.contextmanager
def traced(agent: Agent, server: Intake, apm: str) -> Iterator[None]:
    """Run both Agents, with metrics going to ``server``, and one trace received."""
    agent.configure(
        f"api_key: {KEY}\nhostname: vm\ndd_url: {server.url}\napm_config:\n  receiver_port: {agent.apm_port}\n{apm}"
    )
    with agent.running(), agent.running("trace-agent"):
        span = {"trace_id": 1, "span_id": 2, "parent_id": 0, "name": "flask.request", "service": "shop"}
        span |= {"resource": "GET /", "start": 1, "duration": 10**9, "error": 0, "meta": {"env": "dev"}, "metrics": {}}
        url = f"http://127.0.0.1:{agent.apm_port}/v0.4/traces"
        headers = {"Content-Type": "application/json", "Datadog-Meta-Lang": "python", "X-Datadog-Trace-Count": "1"}
        code, answer = sending.request(url, json.dumps([[span]]).encode(), headers)
        assert code == 200, answer
        yield


def test_traces_go_to_their_own_address_and_nowhere_else(agent: Agent) -> None:
    with (
        intake(accepting) as metrics,
        intake(accepting) as traces,
        traced(agent, metrics, f"  apm_dd_url: {traces.url}\n"),
    ):
        wait_until(lambda: traces.bodies.get("/api/v0.2/stats"), "statistics arrive")
        wait_until(lambda: metrics.requests["POST /api/v2/series"], "metrics arrive")
        stats = agent.status()["apmStats"]
    assert set(traces.requests) == {"POST /api/v0.2/traces", "POST /api/v0.2/stats"}
    assert not any(path.startswith("/api/v0.2") for path in metrics.bodies)
    assert stats["trace_writer"]["Payloads"] >= 1
    assert stats["config"]["Endpoints"] == [{"Host": traces.url, "NoProxy": False}]
    assert traces.bodies["/api/v0.2/stats"][0]["Stats"][0]["Hostname"] == "vm"


def test_traces_without_an_address_are_for_the_site_and_an_error_in_the_sandbox(agent: Agent) -> None:
    with intake(accepting) as metrics, traced(agent, metrics, ""):
        wait_until(lambda: agent.status()["apmStats"]["trace_writer"]["Retries"], "an attempt to send")
    assert not any(path.startswith("/api/v0.2") for path in metrics.bodies)
    assert "https://trace.agent.datadoghq.com./api/v0.2/traces" in agent.log("trace-agent")


def test_the_account_makes_metrics_of_statistics_and_refuses_what_is_none(tmp_path: Path) -> None:
    account = Account.start(tmp_path / "account")
    try:
        group = {"Service": "shop", "Name": "flask.request", "Resource": "GET /", "Hits": 2, "Errors": 1}
        bucket = {"Start": 10**18, "Duration": 10**10, "Stats": [group | {"Duration": 4 * 10**9}]}
        good = {"Stats": [{"Hostname": "vm", "Env": "dev", "Version": "", "Stats": [bucket]}]}
        for body, key, status in ((good, account.api_key, 202), ({}, account.api_key, 400), (good, "wrong", 403)):
            found, _ = sending.request(f"{account.url}/api/v0.2/stats", json.dumps(body).encode(), {"DD-API-KEY": key})
            assert found == status
        assert {(p["metric"], p["value"], p["host"]) for p in account.series()} == {
            ("trace.flask.request.hits", 2.0, "vm"),
            ("trace.flask.request.errors", 1.0, "vm"),
            ("trace.flask.request", 2.0, ""),
        }
    finally:
        account.stop()

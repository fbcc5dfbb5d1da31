"""The step that restarts the Agent trusts the Agent's own status, and names the wrong setting.

The Agent is the stand-in, which reports as the real one: see test_stand_in_agent_faults.py.
"""

import contextlib
import json
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sandbox.testing.processes import free_port, wait_until

from .agents import KEY, Agent, accepting, intake
from .scripts import Done, command, stand_in
from .test_stand_in_agent_faults import GOOD


@pytest.fixture
def agent(agent_python: Path, tmp_path: Path) -> Agent:
    """An Agent with one check, and no-op programs in place of systemd's."""
    agent = Agent.installed(tmp_path / "agent", agent_python)
    agent.check("good", GOOD)
    stand_in(agent.folder / "bin", "journalctl", "exit 0")
    stand_in(agent.folder / "bin", "systemctl", '[ "$1" != is-failed ]')
    return agent


def restart(agent: Agent, checks: str = "good", patience: str = "") -> Done:
    """Run the step, with the Agent already restarted, and less ``patience`` (patched into its text) if given."""
    words = command("agent/service.sh", "apply", {"checks": checks})
    text = words[2].replace("/etc/datadog-agent/datadog.yaml", f"{agent.folder}/etc/datadog.yaml")
    if patience:
        assert "SECONDS + 60" in text
        text = text.replace("SECONDS + 60", f"SECONDS + {patience}")
    environment = {"PATH": f"{agent.folder}/bin:{agent.environment['PATH']}"}
    return subprocess.run([*words[:2], text], capture_output=True, text=True, timeout=100, check=False, env=environment)


@contextlib.contextmanager
def at_work(agent: Agent, url: str, rest: str = "") -> Iterator[None]:
    """Run the service with its metrics going to ``url``; the site is unreachable."""
    agent.configure(f"api_key: {KEY}\nsite: datadoghq.eu\nhostname: vm\n{f'dd_url: {url}' if url else ''}\n{rest}")
    with agent.running():
        yield


def sentence(done: Done) -> str:
    """Assert that the step failed with one sentence; return it."""
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("watchpost: ")]
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == line
    assert "Traceback" not in done.stderr
    return line.removeprefix("watchpost: ")


def test_an_agent_that_sends_ends_the_step_with_its_version(agent: Agent) -> None:
    with intake(accepting) as server, at_work(agent, server.url):
        done = restart(agent)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("Agent 7.78.4 ")


def test_a_proxy_that_forwards_only_what_agents_send_will_do(agent: Agent) -> None:
    with (
        intake(lambda method, _: 404 if method == "GET" else 202) as server,
        at_work(agent, server.url),
    ):
        done = restart(agent)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_refused_key_is_said_with_its_setting(agent: Agent) -> None:
    with intake(lambda *_: 403) as server, at_work(agent, server.url):
        done = restart(agent)
        url = server.url
    assert sentence(done) == f"{url} (watchpost:agentUrl) refuses the Agent's API key: check datadog:apiKey"
    assert KEY not in done.stderr + done.stdout


def test_an_address_where_nobody_answers_is_said_with_its_setting(agent: Agent) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    with at_work(agent, url):
        done = restart(agent, patience="2")
    assert sentence(done).startswith(f"the Agent gets no answer from {url} (watchpost:agentUrl), so nothing")


def test_a_site_that_is_not_reached_is_said_with_its_setting(agent: Agent) -> None:
    with at_work(agent, ""):
        done = restart(agent, patience="2")
    assert sentence(done).startswith("the Agent doesn't reach Datadog on datadoghq.eu (watchpost:site), so nothing")


def test_an_address_that_takes_requests_and_never_answers_is_one_where_nobody_answers(agent: Agent) -> None:
    forwarder = agent.folder / "lib" / "agent7" / "forwarder.py"
    text = forwarder.read_text()
    assert "TIMEOUT = 10.0" in text
    forwarder.write_text(text.replace("TIMEOUT = 10.0", "TIMEOUT = 0.5").replace("TIMEOUT = 20.0", "TIMEOUT = 0.5"))
    with intake(lambda *_: None) as server, at_work(agent, server.url):
        wait_until(lambda: agent("health").returncode == 0, "the Agent calls itself healthy")
        done = restart(agent, patience="2")
        url = server.url
    assert sentence(done).startswith(f"the Agent gets no answer from {url} (watchpost:agentUrl)")


def test_an_agent_that_ends_as_soon_as_it_starts_is_said_with_its_own_reason(agent: Agent) -> None:
    """systemd gives up after five attempts: ``StartLimitBurst`` in the package's unit."""
    stand_in(agent.folder / "bin", "systemctl", "exit 0")
    agent.configure("api_key: {\n")
    said = sentence(restart(agent))
    assert said.startswith("the Agent ends as soon as it starts: Error: unable to load Datadog config file: ")


def test_a_check_that_can_not_be_loaded_is_said_though_configcheck_shows_it(agent: Agent) -> None:
    agent.check("broken", "import no_such_module\n")
    with intake(accepting) as server, at_work(agent, server.url):
        done = restart(agent, "good broken")
    assert sentence(done) == (
        "the Agent can't load the check broken (ModuleNotFoundError: No module named 'no_such_module')"
    )


VALID, INVALID = "API Key valid", "API Key invalid"


@pytest.mark.parametrize(
    ("stats", "said"),
    [
        ({"APIKeyStatus": {"a": VALID}}, None),
        ({"APIKeyStatus": {"a": VALID}, "APIKeyFailure": {"b": INVALID}}, None),
        ({"APIKeyFailure": {"b": INVALID}, "Transactions": {"Success": 1}}, "refuses the Agent's API key"),
        ({"APIKeyStatus": {"a": "Unable to reach the API Key validation endpoint"}}, "doesn't reach Datadog"),
        ({"APIKeyStatus": {"a": "Fake API Key that skips validation"}, "Transactions": {"Success": 1}}, None),
        ({}, "doesn't reach Datadog"),
        (None, "doesn't reach Datadog"),
    ],
)
def test_an_agent_with_several_keys_sends_if_one_is_valid(
    stats: dict[str, Any] | None, said: str | None, agent: Agent
) -> None:
    """``checkValidAPIKey`` in forwarder_health.go of https://github.com/DataDog/datadog-agent"""
    (agent.folder / "status").write_text("" if stats is None else json.dumps({"forwarderStats": stats}))
    shown = f'case $1 in status) cat {agent.folder}/status ;; configcheck) echo "=== good check ===" ;; esac'
    stand_in(agent.folder / "bin", "datadog-agent", f"{shown}\n[ $1 != version ] || echo Agent 7.78.4")
    done = restart(agent, patience="1")
    if said is None:
        assert (done.returncode, done.stdout, done.stderr) == (0, "Agent 7.78.4\n", "")
    else:
        assert said in sentence(done)


# Traces


def receiver(traces: int = 3, **changes: Any) -> dict[str, Any]:
    """``apmStats`` of an Agent with traces. Source: pkg/trace/info of github.com/DataDog/datadog-agent"""
    writers = {"trace_writer": {"Payloads": 0, "Errors": 0, "Retries": 0}, "stats_writer": {"Payloads": 0}}
    received = [{"Lang": "python", "TracesReceived": traces, "TracerVersion": "4.13.2"}]
    config = {"Endpoints": [{"Host": "https://traces.example", "NoProxy": False}]}
    return {"receiver": received if traces else [], "config": config, **writers, **changes}


@pytest.mark.parametrize(
    ("stats", "said"),
    [
        (receiver(trace_writer={"Payloads": 1}), None),
        (receiver(stats_writer={"Payloads": 1}), None),
        (
            receiver(trace_writer={"Errors": 2}),
            "https://traces.example refuses the traces of the Agent: check watchpost:traceUrl",
        ),
        (
            receiver(trace_writer={"Retries": 2}),
            "the Agent can not send its traces to https://traces.example: check watchpost:traceUrl",
        ),
        (receiver(traces=0), "the Agent received no trace of the app: check apm_config in datadog.yaml"),
        ({"port": 5012, "error": "connection refused"}, "the Agent received no trace of the app"),
        (None, "the Agent does not tell its status"),
    ],
)
def test_traces_count_once_the_agent_has_sent_some_on(
    stats: dict[str, Any] | None, said: str | None, tmp_path: Path
) -> None:
    programs = tmp_path / "bin"
    (tmp_path / "status").write_text("" if stats is None else json.dumps({"apmStats": stats}))
    stand_in(programs, "datadog-agent", f"cat {tmp_path}/status")
    stand_in(programs, "curl", "exit 0")
    words = command("traced_app/prove_traces.sh", "apply", {"port": 5050, "endpoints": "/"})
    assert "SECONDS + 150" in words[2]
    text = words[2].replace("SECONDS + 150", "SECONDS + 1")
    environment = {"PATH": f"{programs}:/usr/bin:/bin"}
    done = subprocess.run([*words[:2], text], capture_output=True, text=True, timeout=60, check=False, env=environment)
    if said is None:
        assert (done.returncode, done.stderr) == (0, "")
        assert json.loads(done.stdout) == {"traces": 3, "tracer": "4.13.2"}
    else:
        assert sentence(done).startswith(said)


def test_another_program_on_the_port_for_traces_is_told(tmp_path: Path) -> None:
    programs = tmp_path / "bin"
    (tmp_path / "status").write_text(json.dumps({"apmStats": receiver(traces=0)}))
    stand_in(programs, "datadog-agent", f"cat {tmp_path}/status")
    stand_in(programs, "curl", "exit 0")
    words = command("traced_app/prove_traces.sh", "apply", {"port": 5050, "endpoints": "/"})
    with socket.create_server(("127.0.0.1", 0)) as taken:
        text = (
            words[2].replace("SECONDS + 150", "SECONDS + 1").replace("holder 8126", f"holder {taken.getsockname()[1]}")
        )
        environment = {"PATH": f"{programs}:/usr/sbin:/usr/bin:/bin"}
        done = subprocess.run(
            [*words[:2], text], capture_output=True, text=True, timeout=60, check=False, env=environment
        )
    assert f"where the Agent takes traces, is taken by {Path('/proc/self/comm').read_text().strip()} " in sentence(done)


def test_a_service_that_somebody_has_masked_is_told_with_the_way_out(agent: Agent) -> None:
    said = "Failed to enable unit: Unit file /etc/systemd/system/datadog-agent.service is masked."
    stand_in(agent.folder / "bin", "systemctl", f'[ "$1" != enable ] || {{ echo "{said}" >&2; exit 1; }}')
    told = sentence(restart(agent))
    assert told.startswith("datadog-agent can't be enabled on ")
    assert f": {said} " in told
    assert "`systemctl unmask datadog-agent`" in told

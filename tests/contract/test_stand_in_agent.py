"""The stand-in Agent reports as the real one: the parts testable without a machine."""

import gzip
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path

import pytest
from datadog_api_client.model_utils import validate_and_convert_types
from datadog_api_client.v2.model.metric_payload import MetricPayload
from hypothesis import given
from hypothesis import strategies as st

from components import agent as agent_component
from sandbox import agent
from sandbox.agent import dogstatsd, repository, settings
from sandbox.agent.samples import Sample, Sampler
from sandbox.agent.traces import TraceStats, source_of
from sandbox.datadog import telemetry

HEADERS = {"Datadog-Meta-Lang": "python", "Datadog-Meta-Lang-Version": "3.11", "Datadog-Meta-Tracer-Version": "4.13.2"}
SOURCE = source_of(HEADERS, "/v0.5/traces")


def sample(
    kind: str, value: float, *, when: float = 0.0, name: str = "my_metric", tags: tuple[str, ...] = ()
) -> Sample:
    return Sample(kind=kind, name=name, value=value, when=when, tags=tags)


def span(**changes: object) -> dict[str, object]:
    root = {"span_id": 1, "parent_id": 0, "name": "flask.request", "service": "shop", "resource": "GET /"}
    return root | {"duration": 2_000_000_000, "error": 0, "meta": {"env": "dev", "version": "1"}} | changes


def test_the_script_points_at_where_the_machine_sees_the_server() -> None:
    script = agent.install_script("http://10.0.2.2:4711/")
    assert "repository='http://10.0.2.2:4711/agent/apt/'" in script
    assert agent.PLACEHOLDER not in script
    subprocess.run(["bash", "-n"], input=script, text=True, check=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="the script runs as root, or by sudo")
@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({}, "API key not available in DD_API_KEY environment variable."),
        ({"DD_API_KEY": "0" * 32, "DD_AGENT_MAJOR_VERSION": "6"}, "DD_AGENT_MAJOR_VERSION must be"),
    ],
)
def test_the_script_refuses_before_it_changes_anything(variables: dict[str, str], message: str, tmp_path: Path) -> None:
    script = agent.install_script("http://127.0.0.1:1")
    ended = subprocess.run(
        ["bash", "-c", script],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"]} | variables,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 1
    assert message in ended.stdout
    assert ended.stderr == ""
    assert [path.name for path in tmp_path.iterdir()] == ["ddagent-install.log"]


@pytest.mark.skipif(not shutil.which("dpkg-deb") or not shutil.which("gpgv"), reason="needs dpkg-deb and gpgv")
def test_the_repository_is_signed_and_its_packages_are_those_of_the_index() -> None:
    folder = repository.ensure()
    suite = folder / "apt/dists/stable"
    keyring = subprocess.run(
        ["gpg", "--dearmor"],
        input=(folder / "keys" / repository.KEY_FILES[0]).read_bytes(),
        capture_output=True,
        check=True,
    ).stdout
    with tempfile.NamedTemporaryFile() as file:
        file.write(keyring)
        file.flush()
        subprocess.run(["gpgv", "--quiet", "--keyring", file.name, suite / "InRelease"], check=True)
    index = gzip.decompress((suite / "7/binary-amd64/Packages.gz").read_bytes()).decode()
    assert agent_component.VERSION == repository.DEFAULT
    for version in (repository.OLDER, repository.DEFAULT, repository.NEWER):
        package = folder / f"apt/pool/datadog-agent_{version}-1_all.deb"
        assert hashlib.sha256(package.read_bytes()).hexdigest() in index
        fields = subprocess.run(["dpkg-deb", "--field", package], capture_output=True, text=True, check=True).stdout
        assert fields.startswith("Package: datadog-agent\n")
        assert f"Version: 1:{version}-1\n" in fields


@given(value=st.floats(allow_nan=False, allow_infinity=False, width=32), kind=st.sampled_from(["gauge", "count"]))
def test_datadogs_own_model_takes_the_metrics(value: float, kind: str) -> None:
    (serie,) = Sampler("vm").series([sample(kind, value, tags=("device:eth0",))], interval=10)
    body = {"series": [serie.for_api(["env:dev"])]}
    payload = validate_and_convert_types(body, (MetricPayload,), ["body"], True, True)
    assert payload.series[0].resources[0].name == "vm"


def test_a_rate_needs_two_runs_and_a_count_that_only_grows_gives_what_was_added() -> None:
    sampler = Sampler("vm")
    assert sampler.series([sample("rate", 10, when=0), sample("monotonic_count", 10)]) == []
    later = sampler.series([sample("rate", 40, when=15), sample("monotonic_count", 40)])
    assert [(serie.type, serie.value) for serie in later] == [("gauge", 2.0), ("count", 30.0)]
    restarted = sampler.series([sample("rate", 0, when=30), sample("monotonic_count", 0)])
    assert [(serie.type, serie.value) for serie in restarted] == [("count", 0.0)]


def test_only_check_json_moves_the_device_out_of_the_tags() -> None:
    (serie,) = Sampler("vm").series([sample("gauge", 512, tags=("a:b", "device:eth0"))])
    assert serie.for_check_command()["tags"] == ["a:b", "device:eth0"]
    shown = serie.for_check_command(device_field=True)
    assert shown["tags"] == ["a:b"]
    assert shown["device"] == "eth0"
    assert json.dumps(shown["points"][0][1]) == "512"


def test_settings_keep_a_key_of_digits_and_put_the_environment_first(tmp_path: Path) -> None:
    file = tmp_path / "datadog.yaml"
    file.write_text(
        f"api_key: {'0' * 32}\nsite: datadoghq.eu\nenv: dev\ntags: ['team:ops']\napm_config: {{enabled: no}}\n"
    )
    read = settings.load(file, {"DD_HOSTNAME": "vm"})
    assert (read.api_key, read.hostname, read.dd_url) == ("0" * 32, "vm", "https://app.datadoghq.eu.")
    assert read.tags == ("team:ops", "env:dev")
    assert not read.apm_enabled
    assert settings.load(file, {"DD_URL": "http://10.0.2.2:1/"}).dd_url == "http://10.0.2.2:1/"
    assert settings.load(file, {"DD_URL": "http://x", "DD_DD_URL": "http://y"}).dd_url == "http://y"


def test_a_default_file_counts_only_where_there_is_no_other(tmp_path: Path) -> None:
    for name, text in {
        "network.d/conf.yaml.default": "instances: [{excluded_interfaces: [lo]}]",
        "network.d/conf.yaml": "instances: [{excluded_interfaces: []}]",
        "cpu.d/conf.yaml.default": "instances: [{}]",
        "mysql.d/conf.yaml.example": "instances: [{}]",
        "my_metric.yaml": "instances: [{min_collection_interval: 45}, {}]",
        "empty.yaml": "instances:",
        "broken.yaml": "instances: {",
    }.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    configs, errors = settings.load_checks(tmp_path)
    assert sorted((config.name, config.interval) for config in configs) == [
        ("cpu", 15.0),
        ("my_metric", 15.0),
        ("my_metric", 45.0),
        ("network", 15.0),
    ]
    assert {config.source for config in configs if config.name == "network"} == {f"file:{tmp_path}/network.d/conf.yaml"}
    assert set(errors) == {"empty", "broken"}
    assert len({config.id for config in configs if config.name == "my_metric"}) == 2


def test_configcheck_hides_secrets_at_any_depth() -> None:
    shown = settings.scrubbed({"username": "datadog", "password": "fake", "ssl": [{"api_key": "fake", "port": 1}]})
    assert shown == {"username": "datadog", "password": "********", "ssl": [{"api_key": "********", "port": 1}]}


def test_dogstatsd_reads_metrics_events_and_service_checks() -> None:
    received = dogstatsd.Received()
    text = "a\\nb é"
    event_line = f"_e{{5,{len(text.encode())}}}:title|{text}|t:error|#x:y"
    for line in ("queue:7|g|#a:b,c", "orders:1|c|@0.1", event_line, "_sc|up|1|m:slow"):
        dogstatsd.parse(line, received)
    assert [(s.kind, s.name, s.value, s.tags) for s in received.samples] == [
        ("gauge", "queue", 7.0, ("a:b", "c")),
        ("count", "orders", 10.0, ()),
    ]
    (event,) = received.events
    assert (event["title"], event["text"], event["alert_type"], event["tags"]) == ("title", "a\nb é", "error", ["x:y"])
    assert received.service_checks == [{"check": "up", "status": 1, "message": "slow", "tags": []}]


@pytest.mark.parametrize("line", ["", "bad", "a:b|g", "a:1|x", "_e{9,9}:t|t", "_sc|up|x"])
def test_what_is_not_dogstatsd_is_refused(line: str) -> None:
    with pytest.raises(ValueError, match=r".*"):
        dogstatsd.parse(line, dogstatsd.Received())


def test_statistics_count_each_services_entry_and_no_inner_span() -> None:
    stats = TraceStats(host="vm")
    inner, database = span(span_id=2, parent_id=1), span(span_id=3, parent_id=1, service="db", name="mysql.query")
    stats.add(SOURCE, [[span(), inner, database], [span(error=1)]], 100)
    payload = stats.flush()
    assert payload
    points = list(telemetry.trace_metrics(payload))
    values = {(point.metric, tuple(point.tags)): point.value for point in points}
    tags = ("env:dev", "service:shop", "resource_name:GET /", "version:1")
    assert values["trace.flask.request.hits", tags] == 2
    assert values["trace.flask.request.errors", tags] == 1
    assert values["trace.flask.request", tags] == 2.0
    assert values["trace.mysql.query.hits", ("env:dev", "service:db", "resource_name:GET /", "version:1")] == 1
    # Latency has no host: https://docs.datadoghq.com/tracing/metrics/metrics_namespace/
    assert {(point.metric.rpartition(".")[2], point.host) for point in points} == {
        ("hits", "vm"), ("errors", "vm"), ("request", ""), ("query", ""),
    }  # fmt: skip
    assert stats.flush() is None


def test_the_receiver_shows_the_last_minute_only() -> None:
    stats = TraceStats(host="vm")
    stats.add(SOURCE, [[span()], [span()]], 100)
    (shown,) = stats.receiver()
    assert (shown["Lang"], shown["EndpointVersion"], shown["TracesReceived"]) == ("python", "v0.5", 2)
    for _ in range(7):
        stats.flush()
    assert stats.receiver() == []


def test_fifteen_thousand_traces_are_cheap_to_count() -> None:
    stats, started = TraceStats(host="vm"), time.process_time()
    for _ in range(150):
        stats.add(SOURCE, [[span(), span(span_id=2, parent_id=1)]] * 100, 1000)
    assert time.process_time() - started < 2
    assert stats.receiver()[0]["TracesReceived"] == 15_000
    payload = stats.flush()
    assert payload
    (entry,) = payload["Stats"][0]["Stats"][0]["Stats"]
    assert entry["Hits"] == 15_000


def test_latency_keeps_its_distribution() -> None:
    stats = TraceStats(host="vm")
    spans = [span(duration=milliseconds * 10**6) for milliseconds in (2, 2, 2, 900.4)]
    stats.add(SOURCE, [[each] for each in spans], 100)
    payload = stats.flush()
    assert payload
    latency = [point for point in telemetry.trace_metrics(payload) if point.kind == "distribution"]
    assert [(point.value, point.weight) for point in latency] == [(0.002, 3), (0.9, 1)]


def test_the_package_brings_bytecode_wherever_make_keeps_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(repository, "_python", lambda: "{}.{}".format(*sys.version_info))
    monkeypatch.setenv("PYTHONPYCACHEPREFIX", str(tmp_path / "elsewhere"))
    made = repository._libraries(tmp_path)
    if made is None:
        pytest.skip("uv can't get the packages here")
    with tarfile.open(made) as archive:
        assert any("__pycache__" in name for name in archive.getnames())
    assert not (tmp_path / "elsewhere").exists()

"""The stand-in plugins, started and ended as by the engine, with and without their pool."""

import contextlib
import importlib.metadata
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import grpc  # type: ignore[import-untyped]
import pytest
from google.protobuf import empty_pb2  # type: ignore[import-untyped]
from pulumi.runtime.proto import provider_pb2_grpc

from sandbox import paths
from sandbox.pulumi import plugins
from sandbox.testing.processes import listens, wait_until

TALKATIVE = ("--logtostderr", "-v=9", "--logflow")
"""The engine's arguments before its address when logging is on."""


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """An engine's home, with a pool."""
    plugins.start_pool(tmp_path)
    yield tmp_path
    plugins.stop_pool(tmp_path)


@contextlib.contextmanager
def started(home: Path, *words: str) -> Iterator["tuple[subprocess.Popen[str], int]"]:
    """Start the plugin ``random`` as an engine does; yield it and its port."""
    command = [sys.executable, "-I", "-S", str(plugins.LAUNCH), plugins.address(home), "random", *words, "127.0.0.1:1"]
    environment = {**os.environ, "PYTHONPATH": str(paths.ROOT)}
    with subprocess.Popen(command, env=environment, cwd=home, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process, int(process.stdout.readline())
        finally:
            process.kill()


def version(port: int) -> str:
    """Ask a plugin for its version."""
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        return str(provider_pb2_grpc.ResourceProviderStub(channel).GetPluginInfo(empty_pb2.Empty(), timeout=10).version)


@pytest.mark.parametrize("words", [(), TALKATIVE])
def test_a_copy_from_the_pool_is_the_plugin_and_ends_with_who_asked_for_it(home: Path, words: tuple[str, ...]) -> None:
    with started(home, *words) as (process, port):
        assert version(port) == importlib.metadata.version("pulumi-random")
        assert plugins.LAUNCH.name in Path(f"/proc/{process.pid}/cmdline").read_text()
        process.kill()
        wait_until(lambda: not listens(port), "the copy ends")


@pytest.mark.parametrize("words", [(), TALKATIVE])
def test_without_a_pool_it_is_the_plugin_itself(tmp_path: Path, words: tuple[str, ...]) -> None:
    with started(tmp_path, *words) as (process, port):
        assert version(port) == importlib.metadata.version("pulumi-random")
        assert plugins.LAUNCH.name not in Path(f"/proc/{process.pid}/cmdline").read_text()


def test_several_at_once_are_plugins_of_their_own(home: Path) -> None:
    with started(home) as (_, one), started(home) as (_, other):
        assert one != other
        assert version(one) == version(other)


def test_the_pool_is_started_once_and_keeps_no_key(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DD_API_KEY", "fake" + "0" * 28)
    plugins.stop_pool(home)
    assert plugins.listening(plugins.address(home)) is None
    plugins.start_pool(home)
    pool = plugins.listening(plugins.address(home))
    plugins.start_pool(home)
    assert pool == plugins.listening(plugins.address(home))
    assert b"DD_API_KEY" not in Path(f"/proc/{pool}/environ").read_bytes()


def test_the_pool_ends_when_its_folder_is_gone(home: Path) -> None:
    shutil.rmtree(home)
    wait_until(lambda: plugins.listening(plugins.address(home)) is None, "the pool ends")

"""The stand-in for the command plugin, called directly, against an SSH server in the same process."""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncssh
import pytest
from pulumi.provider.experimental.provider import (
    CheckRequest,
    CreateRequest,
    DeleteRequest,
    DiffRequest,
    PropertyDiffKind,
    UpdateRequest,
)

from sandbox.pulumi.plugins.command import ssh
from sandbox.pulumi.plugins.command.provider import CommandProvider
from sandbox.pulumi.plugins.serve import ASSET, Engine, PluginError, boxed, has_unknown, plain_map

REMOTE = "command:remote:Command"
URN = "urn:pulumi:dev::watchpost::{}::step"
USER_KEY, HOST_KEY, OTHER_KEY = (asyncssh.generate_private_key("ssh-ed25519") for _ in range(3))
USER_KEY_TEXT = USER_KEY.export_private_key().decode()


def public(key: asyncssh.SSHKey) -> str:
    return key.export_public_key().decode()


class Log(Engine):
    """Records what the plugin would show."""

    def __init__(self) -> None:
        super().__init__("")
        self.lines: list[str] = []

    async def log(self, urn: str, text: str, *, severity: str = "info", ephemeral: bool = False) -> None:  # noqa: ARG002
        self.lines.append(text if severity == "info" else f"{severity}: {text}")


@dataclass
class Bench:
    """The plugin, its log, and a reachable host."""

    port: int
    log: Log = field(default_factory=Log)

    def __post_init__(self) -> None:
        self.plugin = CommandProvider(self.log)

    def connection(self, **given: Any) -> dict[str, Any]:
        known = {"host": "127.0.0.1", "port": self.port, "user": "someone", "privateKey": USER_KEY_TEXT}
        return {**known, "hostKey": public(HOST_KEY), "dialErrorLimit": 0, **given}

    def inputs(self, **given: Any) -> dict[str, Any]:
        return {name: boxed(value) for name, value in ({"connection": self.connection()} | given).items()}

    async def create(self, kind: str = REMOTE, *, preview: bool = False, **given: Any) -> dict[str, Any]:
        answer = await self.plugin.create(CreateRequest(URN.format(kind), self.inputs(**given), 0, preview))
        return plain_map(answer.properties)

    async def update(self, old: dict[str, Any], **given: Any) -> dict[str, Any]:
        olds = {name: boxed(value) for name, value in old.items()}
        news = self.inputs(**given)
        return plain_map(
            (await self.plugin.update(UpdateRequest(URN.format(REMOTE), "id", olds, news, 0, [], False))).properties
        )

    async def check(self, kind: str = REMOTE, **given: Any) -> dict[str, str]:
        answer = await self.plugin.check(CheckRequest(URN.format(kind), {}, self.inputs(**given), b""))
        return {failure.property: failure.reason for failure in answer.failures or []}


async def _shell(process: "asyncssh.SSHServerProcess[bytes]") -> None:
    pipe = asyncio.subprocess.PIPE
    environment = {**os.environ, **{name: value for name, value in process.env.items() if name.startswith("OK_")}}
    child = await asyncio.create_subprocess_shell(
        process.command or "true", stdin=pipe, stdout=pipe, stderr=pipe, env=environment
    )
    out, err = await child.communicate(await process.stdin.read())
    process.stdout.write(out)
    process.stderr.write(err)
    process.exit(child.returncode or 0)


class _Server(asyncssh.SSHServer):
    def begin_auth(self, username: str) -> bool:
        return username == "someone"

    def connection_requested(self, dest_host: str, dest_port: int, orig_host: str, orig_port: int) -> bool:  # noqa: ARG002
        return True


@asynccontextmanager
async def bench() -> AsyncIterator[Bench]:
    """A bench with a host on a free loopback port."""
    allowed = asyncssh.import_authorized_keys(public(USER_KEY))
    async with asyncssh.listen(
        "127.0.0.1",
        0,
        server_factory=_Server,
        server_host_keys=[HOST_KEY],
        authorized_client_keys=allowed,
        process_factory=_shell,
        encoding=None,
        sftp_factory=True,
    ) as server:
        yield Bench(server.get_port())


def on_bench(body: Callable[[Bench], Awaitable[None]]) -> None:
    async def whole() -> None:
        async with bench() as tools:
            await asyncio.wait_for(body(tools), 20)

    asyncio.run(whole())


def test_a_command_gets_its_stdin_and_its_streams_are_stored_without_their_last_newline() -> None:
    async def body(on: Bench) -> None:
        made = await on.create(create="cat; echo err >&2", stdin="hello\n\n", logging="none")
        assert (made["stdout"], made["stderr"]) == ("hello\n", "err")
        assert on.log.lines == []

    on_bench(body)


@pytest.mark.parametrize(("logging", "shown"), [(None, ["a", "b"]), ("stdout", ["a"]), ("stderr", ["b"]), ("none", [])])
def test_lines_are_shown_as_logging_says(logging: str | None, shown: list[str]) -> None:
    async def body(on: Bench) -> None:
        given: dict[str, Any] = {"logging": logging} if logging else {}
        await on.create(create="echo a; echo b >&2", **given)
        assert on.log.lines == shown

    on_bench(body)


def test_a_failing_command_is_told_with_its_text_and_all_that_it_wrote() -> None:
    async def body(on: Bench) -> None:
        with pytest.raises(PluginError) as caught:
            await on.create(create='echo "out"; echo err >&2; exit 3')
        assert str(caught.value) == (
            'Process exited with status 3: running "echo \\"out\\"; echo err >&2; exit 3":\nout\nerr\n'
        )

    on_bench(body)


def test_update_runs_update_else_create_again_else_nothing() -> None:
    async def body(on: Bench) -> None:
        made = await on.create(create="echo made")
        assert (await on.update(made, create="echo made", update="echo updated"))["stdout"] == "updated"
        assert (await on.update(made, create="echo again"))["stdout"] == "again"
        assert (await on.update(made, delete="true"))["stdout"] == "made"

    on_bench(body)


def test_delete_runs_delete_and_fails_where_the_host_is_gone(tmp_path: Path) -> None:
    async def body(on: Bench) -> None:
        urn, mark = URN.format(REMOTE), tmp_path / "deleted"
        await on.plugin.delete(DeleteRequest(urn, "id", on.inputs(delete=f"touch {mark}"), 0))
        assert mark.exists()
        gone = on.inputs(delete="true", connection=on.connection(port=1))
        with pytest.raises(PluginError, match=r"dial tcp 127\.0\.0\.1:1: connect: connection refused"):
            await on.plugin.delete(DeleteRequest(urn, "id", gone, 0))

    on_bench(body)


def test_another_host_key_is_refused_and_none_accepts_any() -> None:
    async def body(on: Bench) -> None:
        with pytest.raises(PluginError, match="ssh: handshake failed: ssh: host key mismatch"):
            await on.create(create="true", connection=on.connection(hostKey=public(OTHER_KEY)))
        with pytest.raises(PluginError, match="failed to parse host key: ssh: "):
            await on.create(create="true", connection=on.connection(hostKey="nonsense"))
        without = on.connection()
        del without["hostKey"]
        assert (await on.create(create="echo in", connection=without))["stdout"] == "in"

    on_bench(body)


def test_a_key_that_the_host_does_not_know_is_refused() -> None:
    async def body(on: Bench) -> None:
        other = on.connection(privateKey=OTHER_KEY.export_private_key().decode())
        with pytest.raises(PluginError, match="unable to authenticate"):
            await on.create(create="true", connection=other)

    on_bench(body)


def test_dialing_goes_on_until_its_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ssh, "FIRST_DELAY", 0.001)

    async def body(on: Bench) -> None:
        with pytest.raises(PluginError, match=r"^after 3 failed attempts: dial tcp"):
            await on.create(create="true", connection=on.connection(port=1, dialErrorLimit=3))
        assert on.log.lines == [f"Dial {dials}/3 failed: retrying" for dials in (1, 2, 3)]

    on_bench(body)


def test_a_connection_through_a_bastion_works() -> None:
    async def body(on: Bench) -> None:
        through = on.connection(proxy=on.connection())
        assert (await on.create(create="echo in", connection=through))["stdout"] == "in"
        through = on.connection(proxy=on.connection(port=1))
        with pytest.raises(PluginError, match=r"^proxy: after 0 failed attempts: dial tcp"):
            await on.create(create="true", connection=through)

    on_bench(body)


def test_variables_need_accept_env_and_previous_output_is_given_where_the_host_takes_it() -> None:
    async def body(on: Bench) -> None:
        assert (await on.create(create="echo $OK_A", environment={"OK_A": "a"}))["stdout"] == "a"
        with pytest.raises(PluginError, match='could not set environment variable "NO_A": ssh: setenv failed'):
            await on.create(create="true", environment={"NO_A": "a"})
        made = await on.create(create="echo one")
        on.log.lines.clear()
        assert (await on.update(made, create="echo two", logging="none"))["stdout"] == "two"
        assert [line.split(".")[0] for line in on.log.lines] == ["warning: Unable to set 'PULUMI_COMMAND_STDOUT'"]

    on_bench(body)


def test_many_commands_run_at_once() -> None:
    async def body(on: Bench) -> None:
        loop = asyncio.get_running_loop()
        started = loop.time()
        await asyncio.gather(*(on.create(create="sleep 0.5") for _ in range(8)))
        assert loop.time() - started < 3

    on_bench(body)


def test_only_triggers_replace() -> None:
    async def body(on: Bench) -> None:
        old = on.inputs(create="a", triggers=["1"])
        for given, kind in (
            ({"create": "b", "triggers": ["1"]}, PropertyDiffKind.UPDATE),
            ({"create": "a", "triggers": ["2"]}, PropertyDiffKind.UPDATE_REPLACE),
            ({"create": "a", "triggers": ["1"], "stdin": "x"}, PropertyDiffKind.ADD),
            ({"create": "a"}, PropertyDiffKind.DELETE_REPLACE),
        ):
            answer = await on.plugin.diff(DiffRequest(URN.format(REMOTE), "id", old, on.inputs(**given), []))
            assert [change.kind for change in answer.detailed_diff.values()] == [kind]
            assert bool(answer.replaces) is kind.name.endswith("REPLACE")
        same = DiffRequest(URN.format(REMOTE), "id", old, on.inputs(create="a", triggers=["1"]), [])
        assert (await on.plugin.diff(same)).changes is False

    on_bench(body)


def test_a_preview_runs_nothing_and_knows_no_output() -> None:
    async def body(on: Bench) -> None:
        made = await on.create(create="exit 1", preview=True)
        assert made["create"] == "exit 1"
        assert has_unknown(made["stdout"])

    on_bench(body)


def test_unknown_names_wrong_types_and_missing_inputs_are_refused() -> None:
    async def body(on: Bench) -> None:
        wrong = {"user": "x", "port": "22", "hosst": "y"}
        failures = await on.check(create=7, foo=1, logging="loud", connection=wrong)
        assert set(failures) == {
            "create",
            "foo",
            "logging",
            "connection.host",
            "connection.hosst",
            "connection.port",
        }
        assert await on.check(create="true") == {}
        with pytest.raises(PluginError, match="unrecognized resource type command:remote:Nope"):
            await on.check("command:remote:Nope")

    on_bench(body)


def test_the_connection_is_secret_and_has_its_defaults() -> None:
    async def body(on: Bench) -> None:
        given = {"connection": boxed({"host": "h"})}
        answer = await on.plugin.check(CheckRequest(URN.format(REMOTE), {}, given, b""))
        assert answer.inputs is not None
        assert answer.inputs["connection"].is_secret
        expected = {"host": "h", "port": 22, "user": "root", "dialErrorLimit": 10, "perDialTimeout": 15}
        assert plain_map(answer.inputs)["connection"] == expected

    on_bench(body)


def test_files_folders_and_texts_are_copied(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    (source / "deep").mkdir(parents=True)
    (source / "deep" / "file").write_text("content")
    target.mkdir()

    async def body(on: Bench) -> None:
        for given in ({"path": str(source)}, {"path": f"{source}/"}, {"path": str(source / "deep" / "file")}):
            mark = {ASSET: "an asset", "hash": "0", **given}
            await on.create("command:remote:CopyToRemote", source=mark, remotePath=str(target))
        text = {ASSET: "an asset", "text": "words"}
        await on.create("command:remote:CopyToRemote", source=text, remotePath=str(target / "words"))
        found = {str(path.relative_to(target)) for path in target.rglob("*") if path.is_file()}
        assert found == {"source/deep/file", "deep/file", "file", "words"}

    on_bench(body)


def test_a_line_too_long_to_show_stops_a_command_for_good() -> None:
    """Observed of the real plugin: its LogOutput stops reading at bufio.MaxScanTokenSize."""

    async def body(on: Bench) -> None:
        long = "head -c 70000 /dev/zero | tr '\\0' x"
        made = await on.create("command:local:Command", create=long, logging="none")
        assert len(made["stdout"]) == 70000
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(on.create("command:local:Command", create=long), 1)

    on_bench(body)


@pytest.mark.parametrize("parents", ["", "watchpost:host:Host$", "watchpost:host:Host$watchpost:host:Inner$"])
def test_a_local_command_runs_here_below_any_component(tmp_path: Path, parents: str) -> None:
    async def body(on: Bench) -> None:
        kind = f"{parents}command:local:Command"
        made = await on.create(kind, create="pwd; echo $A; cat", dir=str(tmp_path), environment={"A": "a"}, stdin="in")
        assert made["stdout"] == f"{tmp_path}\na\nin"
        with pytest.raises(PluginError, match=r'^exit status 2: running "exit 2":\n$'):
            await on.create(kind, create="exit 2")
        urn = URN.format(kind)
        news = {"create": boxed(f"touch {tmp_path}/updated")}
        await on.plugin.update(UpdateRequest(urn, "id", {}, news, 0, [], False))
        await on.plugin.delete(DeleteRequest(urn, "id", {"delete": boxed(f"touch {tmp_path}/deleted")}, 0))

    on_bench(body)
    assert {path.name for path in tmp_path.iterdir()} == {"updated", "deleted"}

"""The command plugin's messages, word for word: of the real one or the stand-in, whichever the engine would run.

Sources: pulumi-command 1.2.1, provider/pkg/provider (remote/connection.go, remote/commandOutputs.go, local/*.go);
golang.org/x/crypto/ssh v0.48.0; Go's net and os/exec.
"""

import asyncio
import base64
import re
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncssh
import pytest

from tests.engine.plugin import SECRET, Plugin, PluginFailedError, plugin, secret

REMOTE, LOCAL = "watchpost:host:Host$command:remote:Command", "watchpost:host:Host$command:local:Command"
USER_KEY, HOST_KEY, OTHER_KEY = (asyncssh.generate_private_key("ssh-ed25519") for _ in range(3))
RSA_KEY = asyncssh.generate_private_key("ssh-rsa")
PRIVATE = USER_KEY.export_private_key().decode()


def public(key: asyncssh.SSHKey) -> str:
    return key.export_public_key().decode().strip()


def off_its_curve() -> str:
    """Generate a well-formed host key whose point isn't on the curve."""
    name, curve, point = b"ecdsa-sha2-nistp256", b"nistp256", b"\x04" + b"\x01" * 64
    blob = b"".join(len(part).to_bytes(4, "big") + part for part in (name, curve, point))
    return f"{name.decode()} {base64.b64encode(blob).decode()}"


async def _process(process: "asyncssh.SSHServerProcess[str]") -> None:
    """Act as the command says: die of a signal, lose the connection, or run a shell."""
    command = process.command or ""
    if command.startswith("die of "):
        process.exit_with_signal(command.removeprefix("die of "), False, "so it was told")
        return
    if command == "lose the connection":
        process.channel.get_connection().abort()
        return
    child = await asyncio.create_subprocess_shell(command, stdin=-1, stdout=-1, stderr=-1)
    out, err = await child.communicate((await process.stdin.read()).encode())
    process.stdout.write(out.decode())
    process.stderr.write(err.decode())
    process.exit(child.returncode or 0)


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """The port of an SSH server on loopback."""
    started, ended, found = threading.Event(), threading.Event(), []
    connections: list[asyncssh.SSHServerConnection] = []

    class Server(asyncssh.SSHServer):
        def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
            connections.append(conn)

    async def serve() -> None:
        allowed = asyncssh.import_authorized_keys(public(USER_KEY))
        async with asyncssh.listen(
            "127.0.0.1", 0, server_host_keys=[HOST_KEY], authorized_client_keys=allowed, process_factory=_process,
            server_factory=Server, gss_host=None, password_auth=False, kbdint_auth=False, public_key_auth=True,
        ) as server:  # fmt: skip
            found.append(server.get_port())
            started.set()
            await asyncio.to_thread(ended.wait)
        for connection in connections:  # the real plugin closes no connection
            connection.abort()
            await connection.wait_closed()

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    try:
        assert started.wait(10)
        yield found[0]
    finally:
        ended.set()
        thread.join()


@pytest.fixture(scope="module")
def command() -> Iterator[Plugin]:
    with plugin("command") as running:
        running.configure()
        yield running


def connection(port: int, **changes: Any) -> dict[str, Any]:
    """Return a working connection with changes; ``None`` omits a part."""
    known = {"host": "127.0.0.1", "port": port, "user": "someone", "privateKey": PRIVATE, "hostKey": public(HOST_KEY)}
    given = {**known, "dialErrorLimit": 0, **changes}
    return {name: value for name, value in given.items() if value is not None}


def refusal(command: Plugin, kind: str = REMOTE, **inputs: Any) -> str:
    """Return the error of a create."""
    with pytest.raises(PluginFailedError) as caught:
        command.create(kind, inputs)
    return caught.value.text


BROKEN_KEYS = {
    "nonsense": "ssh: no key found",
    USER_KEY.export_private_key(passphrase="fake").decode(): "ssh: this private key is passphrase protected",
    USER_KEY.export_private_key("pkcs8-pem", passphrase="fake").decode(): (
        'ssh: unsupported key type "ENCRYPTED PRIVATE KEY"'
    ),
}
"""Private keys without a password, with their errors: ParseRawPrivateKey in keys.go."""

LOCKED_KEYS = {
    PRIVATE: "ssh: key is not password protected",
    USER_KEY.export_private_key(passphrase="fake").decode(): "x509: decryption password incorrect",
    USER_KEY.export_private_key("pkcs8-pem").decode(): "ssh: not an encrypted key",
    USER_KEY.export_private_key("pkcs8-pem", passphrase="fake").decode(): "ssh: not an encrypted key",
}
"""Private keys with a wrong password, with their errors: ParseRawPrivateKeyWithPassphrase and
passphraseProtectedOpenSSHKey in keys.go."""

BROKEN_HOST_KEYS = {
    "nonsense": "",
    "ssh-ed25519 AAAA": "; last parsing error for ignored line: ssh: short read",
    "ssh-ed25519 AA!A": "; last parsing error for ignored line: illegal base64 data at input byte 2",
    off_its_curve(): "; last parsing error for ignored line: ssh: invalid curve point",
}
"""Bad host keys, with the errors beside "no key found": ParseAuthorizedKey in keys.go."""


def test_a_command_runs_and_its_streams_are_stored(command: Plugin, port: int) -> None:
    _, made = command.create(
        REMOTE, {"connection": secret(connection(port)), "create": "cat; echo err >&2", "stdin": "in\n\n"}
    )
    assert (made["stdout"], made["stderr"]) == ("in\n", "err")


def test_keys_and_passwords_are_secrets_inside_the_secret_connection(command: Plugin) -> None:
    given = {"host": "h", "privateKey": "fake", "privateKeyPassword": "fake", "password": "fake"}
    checked, failures = command.check(REMOTE, {"connection": secret({**given, "proxy": given}), "create": "true"})
    assert failures == []
    assert checked["connection"].items() >= SECRET.items()
    inside = checked["connection"]["value"]
    for endpoint in (inside, inside["proxy"]):
        for name in ("privateKey", "privateKeyPassword", "password"):
            assert endpoint[name] == secret("fake"), name
        assert {key: endpoint[key] for key in ("port", "user", "dialErrorLimit", "perDialTimeout")} == {
            "port": 22, "user": "root", "dialErrorLimit": 10, "perDialTimeout": 15
        }  # fmt: skip


def test_a_command_that_fails_is_told_with_its_text_and_all_that_it_wrote(command: Plugin, port: int) -> None:
    text = 'echo "out"; echo err >&2; exit 3'
    said = refusal(command, connection=connection(port), create=text)
    assert said.startswith('Process exited with status 3: running "echo \\"out\\"; echo err >&2; exit 3":\n')
    assert set(said.splitlines()[1:]) == {"out", "err"}


@pytest.mark.parametrize(("signal", "status"), [("TERM", 143), ("KILL", 137), ("HUP", 129), ("USR1", 128)])
def test_a_command_that_dies_of_a_signal(command: Plugin, port: int, signal: str, status: int) -> None:
    said = refusal(command, connection=connection(port), create=f"die of {signal}")
    reason = f"Process exited with status {status} from signal {signal}. Reason was: so it was told"
    assert said.startswith(f'{reason}: running "die of {signal}":')


def test_a_connection_that_is_lost(command: Plugin, port: int) -> None:
    said = refusal(command, connection=connection(port), create="lose the connection")
    lost = "wait: remote command exited without exit status or exit signal"
    assert said == f'{lost}: running "lose the connection":\n'


def test_another_host_key_than_expected(command: Plugin, port: int) -> None:
    said = refusal(command, connection=connection(port, hostKey=public(OTHER_KEY)), create="true")
    assert said == "after 0 failed attempts: ssh: handshake failed: ssh: host key mismatch"


def test_a_host_key_of_a_type_that_the_host_does_not_have(command: Plugin, port: int) -> None:
    said = refusal(command, connection=connection(port, hostKey=public(RSA_KEY)), create="true")
    assert said == (
        "after 0 failed attempts: ssh: handshake failed: ssh: no common algorithm for host key;"
        " we offered: [ssh-rsa], peer offered: [ssh-ed25519]"
    )


def test_a_key_that_the_host_does_not_know(command: Plugin, port: int) -> None:
    other = OTHER_KEY.export_private_key().decode()
    said = refusal(command, connection=connection(port, privateKey=other), create="true")
    assert said == (
        "after 0 failed attempts: ssh: handshake failed: ssh: unable to authenticate,"
        " attempted methods [none publickey], no supported methods remain"
    )


def test_a_port_where_nobody_listens_and_a_name_that_nobody_knows(command: Plugin) -> None:
    said = refusal(command, connection=connection(1), create="true")
    assert said == "after 0 failed attempts: dial tcp 127.0.0.1:1: connect: connection refused"
    said = refusal(command, connection=connection(22, host="no-such-host.invalid"), create="true")
    assert re.fullmatch(r"after 0 failed attempts: dial tcp: lookup no-such-host\.invalid on \S+:53: .+", said), said


@pytest.mark.parametrize(("key", "said"), BROKEN_KEYS.items(), ids=BROKEN_KEYS.values())
def test_a_private_key_that_cannot_be_read(command: Plugin, port: int, key: str, said: str) -> None:
    assert refusal(command, connection=connection(port, privateKey=key), create="true") == said


@pytest.mark.parametrize(("key", "said"), LOCKED_KEYS.items())
def test_a_private_key_that_a_password_does_not_open(command: Plugin, port: int, key: str, said: str) -> None:
    wrong = connection(port, privateKey=key, privateKeyPassword="wrong")
    assert refusal(command, connection=wrong, create="true") == said


def test_a_private_key_with_its_password(command: Plugin, port: int) -> None:
    locked = USER_KEY.export_private_key(passphrase="fake").decode()
    inputs = {"connection": connection(port, privateKey=locked, privateKeyPassword="fake"), "create": "echo in"}
    assert command.create(REMOTE, inputs)[1]["stdout"] == "in"


@pytest.mark.parametrize(("key", "said"), BROKEN_HOST_KEYS.items(), ids=["none", "short", "base64", "curve"])
def test_a_host_key_that_is_none(command: Plugin, port: int, key: str, said: str) -> None:
    refused = refusal(command, connection=connection(port, hostKey=key), create="true")
    assert refused == f"failed to parse host key: ssh: no key found{said}"


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The socket of an SSH agent that holds the user's key."""
    path = tmp_path_factory.mktemp("agent") / "socket"
    with subprocess.Popen(["ssh-agent", "-D", "-a", str(path)], stdout=subprocess.DEVNULL) as process:
        try:
            while not path.exists():
                assert process.poll() is None
            key = PRIVATE.encode()
            subprocess.run(["ssh-add", "-q", "-"], input=key, env={"SSH_AUTH_SOCK": str(path)}, check=True)
            yield path
        finally:
            process.terminate()


def test_a_login_by_an_ssh_agent(command: Plugin, port: int, agent: Path) -> None:
    inputs = {"connection": connection(port, privateKey=None, agentSocketPath=str(agent)), "create": "echo in"}
    assert command.create(REMOTE, inputs)[1]["stdout"] == "in"


def test_the_agent_of_the_environment_is_asked_and_has_to_be_there_even_beside_a_key(port: int, agent: Path) -> None:
    with plugin("command", {"SSH_AUTH_SOCK": str(agent)}) as command:
        command.configure()
        without = {"connection": connection(port, privateKey=None), "create": "echo in"}
        assert command.create(REMOTE, without)[1]["stdout"] == "in"
    gone = agent.with_name("gone")
    with plugin("command", {"SSH_AUTH_SOCK": str(gone)}) as command:
        command.configure()
        said = refusal(command, connection=connection(port), create="true")
        assert said == f"dial unix {gone}: connect: no such file or directory"


def test_local_commands(command: Plugin, tmp_path: Path) -> None:
    inputs = {"create": "pwd; echo $A; cat", "dir": str(tmp_path), "environment": {"A": "a"}, "stdin": "in"}
    assert command.create(LOCAL, inputs)[1]["stdout"] == f"{tmp_path}\na\nin"
    assert refusal(command, LOCAL, create="exit 2") == 'exit status 2: running "exit 2":\n'
    assert refusal(command, LOCAL, create="kill -TERM $$") == 'signal: terminated: running "kill -TERM $$":\n'
    said = refusal(command, LOCAL, create="true", interpreter=["no-such-shell"])
    assert said == 'exec: "no-such-shell": executable file not found in $PATH: running "true":\n'
    said = refusal(command, LOCAL, create="true", interpreter=["/no/such/shell"])
    assert said == 'fork/exec /no/such/shell: no such file or directory: running "true":\n'

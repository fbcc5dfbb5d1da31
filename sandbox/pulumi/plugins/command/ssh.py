"""Commands and files over SSH, with the connection arguments, retries and error texts of the real plugin.

The texts are those of pulumi-command 1.2.1 (remote/connection.go, remote/commandOutputs.go) and of its libraries:
golang.org/x/crypto/ssh v0.48.0 (client.go, client_auth.go, common.go, keys.go, session.go) and Go's net. Where the real
plugin's text is unknown, this module raises an error of its own, never a guess.
"""

import asyncio
import contextlib
import itertools
import json
import os
import re
import signal
import socket
import string
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import asyncssh

from sandbox.pulumi.plugins.command.process import STDERR_VARIABLE, STDOUT_VARIABLE, Output, Say, previous_output
from sandbox.pulumi.plugins.serve import PluginError

FIRST_DELAY, GROWTH, LONGEST_DELAY = 0.1, 1.5, 5.0
"""Seconds between dials: ten dials last 11 s, a hundred 8 minutes."""

KEEPALIVE = 15
"""Seconds between keepalives; a host that misses three is lost."""

NO_ACCEPT_ENV = """\
Unable to set '{}'. This only works if your SSH server is configured to accept
	these variables via AcceptEnv. Alternatively, if a Bash-like shell runs the command on the remote host, you could
	prefix the command itself with the variables in the form 'VAR=value command'"""

CUT_OFF = "wait: remote command exited without exit status or exit signal"

SIGNALS = {
    name: signal.Signals[f"SIG{name}"].value
    for name in ("ABRT", "ALRM", "FPE", "HUP", "ILL", "INT", "KILL", "PIPE", "QUIT", "SEGV", "TERM")
}
"""Signals whose number Go's library adds to 128; any other adds nothing."""

AGENT = "SSH_AUTH_SOCK"
"""Names the SSH agent if the connection doesn't; it is dialed even beside a private key."""

UNKNOWN = "this stand-in doesn't know what the real plugin says here: {}"


PEM = re.compile(r"-----BEGIN (?P<kind>[A-Z0-9 ]+)-----\n(?P<body>.*?)-----END (?P=kind)-----", re.DOTALL)
KEY_KINDS = ("RSA PRIVATE KEY", "PRIVATE KEY", "EC PRIVATE KEY", "DSA PRIVATE KEY", "OPENSSH PRIVATE KEY")
BASE64 = string.ascii_letters + string.digits + "+/="


class _DialError(Exception):
    """One dial that failed; the next may succeed."""


async def run(state: Mapping[str, Any], command: str, *, say: Say, warn: Say) -> dict[str, str]:
    """Run ``command`` on the host of ``state["connection"]``; return its ``stdout`` and ``stderr``.

    Raises:
        PluginError: no connection, a variable that the host refuses, or a failing command.
    """
    output = Output(state.get("logging"), say)
    async with _connected(state["connection"], say) as client:
        variables = await _accepted(client, state.get("environment") or {}, previous_output(state), warn)
        process, given, taken = None, (state.get("stdin") or "").encode(), True
        try:
            async with client.create_process(command, env=variables, encoding=None) as process:
                try:
                    try:
                        process.stdin.write(given)
                        process.stdin.write_eof()
                    except OSError:
                        taken = not given  # it ended without reading, as its status shows
                    await output.gather(stdout=process.stdout, stderr=process.stderr)
                    await process.wait_closed()
                except asyncio.CancelledError:
                    client.abort()  # otherwise closing waits for the command
                    raise
        except (asyncssh.Error, OSError) as error:
            if process is None or (process.exit_status is None and process.exit_signal is None):
                raise output.failure(CUT_OFF, command) from error
    assert process is not None
    if process.exit_signal is not None:
        name, _, message, _ = process.exit_signal
        said = f"Process exited with status {128 + SIGNALS.get(name, 0)} from signal {name}"
        raise output.failure(f"{said}. Reason was: {message}" if message else said, command)
    if process.exit_status is None:
        raise output.failure(CUT_OFF, command)
    if process.exit_status:
        raise output.failure(f"Process exited with status {process.exit_status}", command)
    if not taken:
        raise output.failure("EOF", command)
    return output.stored()


async def copy(connection: Mapping[str, Any], source: str | None, text: str | None, target: str, *, say: Say) -> None:
    """Copy the file or folder ``source``, or else ``text``, to ``target`` on the host.

    A folder ``dir`` is copied to ``target/dir``, the content of ``dir/`` to ``target``.
    """
    async with _connected(connection, say) as client, client.start_sftp_client() as sftp:
        try:
            if source is None:
                async with sftp.open(target, "w") as remote:
                    await remote.write(text or "")
            elif (entries := _entries(source)) is not None:
                folder = target if source.endswith("/") else f"{target}/{Path(source).name}"
                await sftp.makedirs(folder, exist_ok=True)
                await sftp.put(entries, folder, recurse=True)
            else:
                await sftp.put(source, target)
        except (asyncssh.Error, OSError) as error:
            raise PluginError(f"failed to copy {source or 'the text'} to remote path {target}: {error}") from error


def _entries(source: str) -> list[Path] | None:
    """List the folder ``source``; ``None`` if it is a file."""
    return sorted(Path(source).iterdir()) if Path(source).is_dir() else None


async def _accepted(
    client: asyncssh.SSHClientConnection, wanted: Mapping[str, str], optional: Mapping[str, str], warn: Say
) -> dict[str, str]:
    """Return the variables to set, checked on the host, which silently drops those not in its AcceptEnv.

    A dropped variable of the user's is an error, one of the plugin's own only a warning.
    """
    variables = {**wanted, **optional}
    if not variables:
        return {}
    seen = str((await client.run("env", env=variables, stdin=asyncssh.DEVNULL)).stdout).splitlines()
    names = {line.partition("=")[0] for line in seen}
    for name in variables:
        if name not in names:
            await warn(NO_ACCEPT_ENV.format(name))
            if name in wanted or name not in (STDOUT_VARIABLE, STDERR_VARIABLE):
                raise PluginError(f'could not set environment variable "{name}": ssh: setenv failed')
    return variables


@contextlib.asynccontextmanager
async def _connected(connection: Mapping[str, Any], say: Say) -> AsyncIterator[asyncssh.SSHClientConnection]:
    """Connect as ``connection`` says, through its proxy if any."""
    proxy = connection.get("proxy")
    async with contextlib.AsyncExitStack() as stack:
        if proxy is None:
            client = await stack.enter_async_context(await _dial(connection, None, "Dial", say))
        else:
            try:
                bastion = await stack.enter_async_context(await _dial(proxy, None, "Dial proxy", say))
                client = await stack.enter_async_context(await _dial(connection, bastion, "Dial from proxy", say))
            except PluginError as error:
                raise PluginError(f"proxy: {error}") from error
        yield client


async def _dial(
    connection: Mapping[str, Any], bastion: asyncssh.SSHClientConnection | None, what: str, say: Say
) -> asyncssh.SSHClientConnection:
    """Connect, redialing up to the connection's limit."""
    options = await _options(connection)
    limit, delay = connection.get("dialErrorLimit", 10), FIRST_DELAY
    for dials in itertools.count(1):
        try:
            return await _connect(connection, options, bastion)
        except _DialError as error:
            if 0 <= limit < dials:
                raise PluginError(f"after {dials - 1} failed attempts: {error}") from error
        await say(f"{what} {dials}/{'inf' if limit < 0 else limit} failed: retrying")
        await asyncio.sleep(delay)
        delay = min(delay * GROWTH, LONGEST_DELAY)
    raise AssertionError("never reached")


async def _options(connection: Mapping[str, Any]) -> asyncssh.SSHClientConnectionOptions:
    """Return the connection arguments as asyncssh's; the user's own keys and configuration are ignored."""
    seconds = connection.get("perDialTimeout", 15) or None
    host_key, keys = _host_key(connection), _private_key(connection)
    agent = connection.get("agentSocketPath") or os.environ.get(AGENT)
    if agent:
        agent_keys = await _agent_keys(agent)
        keys = keys or agent_keys  # Go's library tries only the first of two public-key methods
    return asyncssh.SSHClientConnectionOptions(
        config=None,
        username=connection.get("user", "root"),
        client_keys=keys,
        password=connection.get("password"),
        agent_path=None,
        known_hosts=host_key and ([host_key], [], []),
        # As the real plugin: only the key's own type, which for RSA is the signature that sshd 8.8 dropped.
        server_host_key_algs=[host_key.algorithm.decode()] if host_key else (),
        gss_host=None,
        connect_timeout=seconds,
        login_timeout=seconds or 0,
        keepalive_interval=KEEPALIVE,
    )


async def _agent_keys(path: str) -> list[Any]:
    """Return the keys of the SSH agent at ``path``."""
    try:
        async with asyncssh.connect_agent(path) as agent:
            return list(await agent.get_keys())
    except OSError as error:
        reason = os.strerror(error.errno).lower() if error.errno else str(error)
        raise PluginError(f"dial unix {path}: connect: {reason}") from error


def _private_key(connection: Mapping[str, Any]) -> list[asyncssh.SSHKey] | None:
    text, password = connection.get("privateKey"), connection.get("privateKeyPassword")
    if text is None:
        return None
    block = PEM.search(text)
    if block is None:
        raise PluginError("ssh: no key found")
    kind, headers = block["kind"], block["body"].partition("\n\n")[0] if "\n\n" in block["body"] else ""
    if password is not None and kind != "OPENSSH PRIVATE KEY" and "ENCRYPTED" not in headers:
        raise PluginError("ssh: not an encrypted key")
    if kind not in KEY_KINDS:
        raise PluginError(f"ssh: unsupported key type {json.dumps(kind)}")
    try:
        key = asyncssh.import_private_key(text, password)
        if password is not None and kind == "OPENSSH PRIVATE KEY" and _opens_without_password(text):
            raise PluginError("ssh: key is not password protected")
    except asyncssh.KeyEncryptionError as error:
        raise PluginError("x509: decryption password incorrect") from error
    except asyncssh.KeyImportError as error:
        if "Passphrase" in str(error):
            raise PluginError("ssh: this private key is passphrase protected") from error
        raise PluginError(UNKNOWN.format(f"a private key that can't be read ({error})")) from error
    return [key]


def _opens_without_password(text: str) -> bool:
    try:
        asyncssh.import_private_key(text)
    except (asyncssh.KeyEncryptionError, asyncssh.KeyImportError):
        return False
    return True


def _host_key(connection: Mapping[str, Any]) -> asyncssh.SSHKey | None:
    """Return the host key to trust; without one ``None``, which trusts any."""
    text = connection.get("hostKey")
    if text is None:
        return None
    words = str(text).split()
    failure = "failed to parse host key: ssh: no key found"
    if len(words) < 2:
        raise PluginError(failure)
    failure += "; last parsing error for ignored line: "
    try:
        key = asyncssh.import_public_key(text)
        key.pyca_key  # noqa: B018 - an off-curve point fails only here
    except asyncssh.KeyImportError as error:
        raise PluginError(failure + _parsing_error(words)) from error
    except ValueError as error:
        raise PluginError(failure + "ssh: invalid curve point") from error
    return key


def _parsing_error(words: list[str]) -> str:
    """Return Go's error for the last place where it looked for a key: after the first word, or the second.

    Source: parseAuthorizedKey in keys.go, CorruptInputError in encoding/base64.
    """
    encoded = words[2] if len(words) > 2 else words[1]
    for number, character in enumerate(encoded):
        if character not in BASE64:
            return f"illegal base64 data at input byte {number}"
    if len(encoded) % 4:
        return f"illegal base64 data at input byte {len(encoded) - len(encoded) % 4}"
    return "ssh: short read"


async def _connect(
    connection: Mapping[str, Any],
    options: asyncssh.SSHClientConnectionOptions,
    bastion: asyncssh.SSHClientConnection | None,
) -> asyncssh.SSHClientConnection:
    host, port = connection["host"], int(connection.get("port", 22))
    try:
        return await asyncssh.connect(host, port, options=options, tunnel=bastion or ())
    except asyncssh.HostKeyNotVerifiable as error:
        raise _DialError("ssh: handshake failed: ssh: host key mismatch") from error
    except (asyncssh.KeyExchangeFailed, asyncssh.ConnectionLost) as error:
        ours, theirs = _host_key(connection), [] if bastion else await _offered_host_keys(host, port)
        if ours is not None and theirs and ours.algorithm.decode() not in theirs:
            raise _DialError(
                "ssh: handshake failed: ssh: no common algorithm for host key;"
                f" we offered: [{ours.algorithm.decode()}], peer offered: [{' '.join(theirs)}]"
            ) from error
        if isinstance(error, asyncssh.KeyExchangeFailed):
            raise PluginError(UNKNOWN.format(error)) from error
        raise _DialError("ssh: handshake failed: EOF") from error
    except asyncssh.PermissionDenied as error:
        given = {"publickey": options.client_keys, "password": options.password}
        methods = " ".join(["none", *(method for method, means in given.items() if means)])
        raise _DialError(
            f"ssh: handshake failed: ssh: unable to authenticate, attempted methods [{methods}], no supported methods"
            " remain"
        ) from error
    except socket.gaierror as error:
        raise _DialError(f"dial tcp: lookup {host} on {_name_server()}: no such host") from error
    except TimeoutError as error:
        raise _DialError(f"dial tcp {await _endpoint(host, port)}: i/o timeout") from error
    except asyncssh.ChannelOpenError as error:
        raise _DialError(f"ssh: rejected: connect failed ({error.reason})") from error
    except OSError as error:
        if not error.errno:
            raise PluginError(UNKNOWN.format(error)) from error
        reason = os.strerror(error.errno).lower()
        raise _DialError(f"dial tcp {await _endpoint(host, port)}: connect: {reason}") from error
    except asyncssh.DisconnectError as error:
        raise _DialError(f"ssh: handshake failed: ssh: disconnect, reason {error.code}: {error.reason}") from error
    except asyncssh.Error as error:
        raise PluginError(UNKNOWN.format(error)) from error


async def _offered_host_keys(host: str, port: int) -> list[str]:
    """Return the host key algorithms in a server's first packet; none if it sends none.

    Source: https://www.rfc-editor.org/rfc/rfc4253#section-7.1
    """
    try:
        reader, writer = await asyncio.open_connection(host, port)
    except OSError:
        return []
    try:
        writer.write(b"SSH-2.0-Go\r\n")
        while (line := await reader.readline()) and not line.startswith(b"SSH-"):
            pass
        packet = await reader.readexactly(int.from_bytes(await reader.readexactly(4), "big"))
    except (OSError, asyncio.IncompleteReadError):
        return []
    finally:
        writer.close()
    at = 1 + 1 + 16  # padding length, message number, and cookie
    at += 4 + int.from_bytes(packet[at : at + 4], "big")  # the list of key exchanges
    length = int.from_bytes(packet[at : at + 4], "big")
    return packet[at + 4 : at + 4 + length].decode().split(",")


async def _endpoint(host: str, port: int) -> str:
    """Return the first address of ``host`` with its port, as Go's net formats it."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    address = found[0][4][0]
    return f"[{address}]:{port}" if ":" in str(address) else f"{address}:{port}"


def _name_server() -> str:
    """Return the system's first name server, as Go's resolver formats it."""
    path = Path("/etc/resolv.conf")
    lines = path.read_text().splitlines() if path.exists() else []
    servers = [line.split()[1] for line in lines if line.startswith("nameserver ")]
    server = servers[0] if servers else "127.0.0.1"
    return f"[{server}]:53" if ":" in server else f"{server}:53"

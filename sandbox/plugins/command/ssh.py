"""Commands and files over SSH, with the connection arguments, retries and error texts of the real plugin."""

import asyncio
import contextlib
import itertools
import os
import socket
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import asyncssh

from sandbox.plugins.command.process import STDERR_VARIABLE, STDOUT_VARIABLE, Output, Say, previous_output
from sandbox.plugins.serve import PluginError

FIRST_DELAY, GROWTH, LONGEST_DELAY = 0.1, 1.5, 5.0
"""Seconds between dials: ten of them last 11 s, a hundred 8 minutes."""

KEEPALIVE = 15
"""Seconds between signs of life; a host that misses three of them is lost."""

NO_ACCEPT_ENV = (
    "Unable to set '{}'. This only works if your SSH server is configured to accept these variables via AcceptEnv. "
    "Alternatively, if a Bash-like shell runs the command on the remote host, you could prefix the command itself "
    "with the variables in the form 'VAR=value command'"
)


class _DialError(Exception):
    """One dial that failed; the next may succeed."""


async def run(state: Mapping[str, Any], command: str, *, say: Say, warn: Say) -> dict[str, str]:
    """Run ``command`` on the host of ``state["connection"]`` and give its ``stdout`` and ``stderr``.

    Raises:
        PluginError: no connection, a variable that the host refuses, or a command that fails.
    """
    output = Output(state.get("logging"), say)
    async with _connected(state["connection"], say) as client:
        variables = await _accepted(client, state.get("environment") or {}, previous_output(state), warn)
        try:
            async with client.create_process(command, env=variables, encoding=None) as process:
                try:
                    process.stdin.write((state.get("stdin") or "").encode())
                    process.stdin.write_eof()
                    await output.gather(stdout=process.stdout, stderr=process.stderr)
                    await process.wait_closed()
                except asyncio.CancelledError:
                    client.abort()  # else closing waits for the command's end
                    raise
        except (asyncssh.Error, OSError) as error:
            raise output.failure(f"ssh: connection lost ({error})", command) from error
    if process.exit_status is None:
        raise output.failure("wait: remote command exited without exit status or exit signal", command)
    if process.exit_signal is not None:
        raise output.failure(f"Process exited with signal {process.exit_signal[0]}", command)
    if process.exit_status:
        raise output.failure(f"Process exited with status {process.exit_status}", command)
    return output.stored()


async def copy(connection: Mapping[str, Any], source: str | None, text: str | None, target: str, *, say: Say) -> None:
    """Copy the file or folder ``source``, or where there is none the ``text``, to ``target`` on the host.

    A folder ``dir`` lands in ``target/dir``, one written ``dir/`` gives its content to ``target``.
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
    """What is in the folder ``source``; ``None`` if it is a file."""
    return sorted(Path(source).iterdir()) if Path(source).is_dir() else None


async def _accepted(
    client: asyncssh.SSHClientConnection, wanted: Mapping[str, str], optional: Mapping[str, str], warn: Say
) -> dict[str, str]:
    """The variables to set, after asking the host: it drops silently what its AcceptEnv doesn't name.

    A variable of the user's that the host drops is an error, one of the plugin's own only a warning.
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
    """A connection as ``connection`` says, through its proxy if it has one."""
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
    """Connect, dialing again until the connection's limit is reached."""
    options = _options(connection)
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


def _options(connection: Mapping[str, Any]) -> asyncssh.SSHClientConnectionOptions:
    """The connection arguments as asyncssh's: nothing is taken from the user's own keys, agent or configuration."""
    seconds = connection.get("perDialTimeout", 15) or None
    return asyncssh.SSHClientConnectionOptions(
        config=None,
        username=connection.get("user", "root"),
        client_keys=_private_key(connection),
        password=connection.get("password"),
        agent_path=connection.get("agentSocketPath"),
        known_hosts=_host_key(connection),
        gss_host=None,
        connect_timeout=seconds,
        login_timeout=seconds or 0,
        keepalive_interval=KEEPALIVE,
    )


def _private_key(connection: Mapping[str, Any]) -> list[asyncssh.SSHKey] | None:
    text, password = connection.get("privateKey"), connection.get("privateKeyPassword")
    if text is None:
        return None
    try:
        return [asyncssh.import_private_key(text, password)]
    except asyncssh.KeyEncryptionError as error:
        reason = "this private key is passphrase protected" if password is None else "decryption password incorrect"
        raise PluginError(f"ssh: {reason}") from error
    except asyncssh.KeyImportError as error:
        if "Passphrase" in str(error):
            raise PluginError("ssh: this private key is passphrase protected") from error
        raise PluginError("ssh: no key found") from error


def _host_key(connection: Mapping[str, Any]) -> tuple[list[asyncssh.SSHKey], list[Any], list[Any]] | None:
    """The one host key to trust; ``None``, which trusts any, if the connection has none."""
    text = connection.get("hostKey")
    if text is None:
        return None
    try:
        return [asyncssh.import_public_key(text)], [], []
    except asyncssh.KeyImportError as error:
        raise PluginError("failed to parse host key: ssh: no key found") from error


async def _connect(
    connection: Mapping[str, Any],
    options: asyncssh.SSHClientConnectionOptions,
    bastion: asyncssh.SSHClientConnection | None,
) -> asyncssh.SSHClientConnection:
    host, port = connection["host"], int(connection.get("port", 22))
    try:
        return await asyncssh.connect(host, port, options=options, tunnel=bastion or ())
    except (asyncssh.HostKeyNotVerifiable, asyncssh.KeyExchangeFailed) as error:
        raise _DialError(f"ssh: handshake failed: ssh: host key mismatch ({error.reason})") from error
    except asyncssh.PermissionDenied as error:
        raise _DialError(f"ssh: handshake failed: ssh: unable to authenticate ({error.reason})") from error
    except socket.gaierror as error:
        raise _DialError(f"dial tcp: lookup {host}: no such host") from error
    except TimeoutError as error:
        raise _DialError(f"dial tcp {host}:{port}: i/o timeout") from error
    except OSError as error:
        reason = os.strerror(error.errno).lower() if error.errno else str(error)
        raise _DialError(f"dial tcp {host}:{port}: connect: {reason}") from error
    except asyncssh.Error as error:
        raise _DialError(f"ssh: handshake failed: {error.reason}") from error

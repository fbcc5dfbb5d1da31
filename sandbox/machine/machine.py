"""A real systemd machine in namespaces of this host: SSH on a loopback port, apt, sudo, its own network."""

import contextlib
import fcntl
import hashlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sandbox import paths
from sandbox.machine import cgroup, host, tree
from sandbox.progress import SandboxError, step

STATE = "machine.json"
DETACH = """
echo 0 >"$0/cgroup.procs"
exec setsid --fork unshare --mount --pid --fork --kill-child --mount-proc "$@"
"""
"""Runs a command in the control group ``$0``, detached, as PID 1 of its own namespaces."""
BOOT_SECONDS = 90.0
"""Time limit for SSH to answer and systemd to be up."""


class Machine:
    """The machine ``name``; it lives in ``folder``, where later processes find it.

    From inside, the host's loopback is 10.0.2.2. It runs until :meth:`stop`, and restarts after a reboot.
    """

    address = "127.0.0.1"
    """Address of its SSH server."""
    user = tree.USER
    """The login; has passwordless sudo."""

    def __init__(self, name: str, folder: Path, start_from: Path | None = None) -> None:
        if not re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", name):
            raise SandboxError(
                f"A machine's name is a host name of a-z, 0-9 and inner hyphens, at most 63, not {name!r}"
            )
        self.name = name
        self.folder = folder.absolute()
        self.id = f"watchpost-{hashlib.sha256(str(self.folder.resolve()).encode()).hexdigest()[:12]}"
        self.private_key_file = self.folder / "id_ed25519"
        self.start_from = start_from
        """The tree to start from instead of a bare machine's."""

    @property
    def port(self) -> int:
        """The loopback port of its SSH server; kept across restarts, unless taken meanwhile."""
        return int(self._read("port"))

    @property
    def host_key(self) -> str:
        """Its public host key, ``ssh-ed25519 AAAA...``: generated here before it boots, so it is authentic."""
        return " ".join(self._read("ssh_host_ed25519_key.pub").split()[:2])

    def _read(self, file: str) -> str:
        try:
            return (self.folder / file).read_text()
        except FileNotFoundError as error:
            raise SandboxError(f"The machine {self.name} has not been started") from error

    def running(self) -> bool:
        """Whether it has processes; it may still be booting or shutting down."""
        return bool(cgroup.processes(self.id))

    def start(self) -> None:
        """Start it, or restart it if it died; does nothing if it runs and answers.

        Raises:
            SandboxError: this host can't run a machine, or it did not come up.
        """
        host.require()
        with self._locked():
            if self.running():
                try:
                    self._wait(BOOT_SECONDS / 3)
                except SandboxError:
                    cgroup.remove(self.id)
                else:
                    return
            base = self._base()
            try:
                with step(f"Starting the machine {self.name}"):
                    self._launch(base)
                    self._wait(BOOT_SECONDS)
            except BaseException:
                cgroup.remove(self.id)
                raise

    def stop(self) -> None:
        """Stop and remove it, in any state; does nothing if there is none."""
        if sys.platform != "linux" or os.geteuid() != 0:
            return  # it can't be running
        with self._locked():
            cgroup.remove(self.id)
            for path in self.folder.iterdir():
                if path.is_dir():
                    shutil.rmtree(path)
                elif path.name != STATE:
                    path.unlink()
            (self.folder / STATE).unlink()  # last, since it marks the folder as a machine's
            self.folder.rmdir()

    def reset(self) -> None:
        """Reset to a bare machine, with the same keys and port."""
        with self._locked():
            cgroup.remove(self.id)
            self._discard()
        self.start()

    def run(
        self,
        command: str,
        *,
        check: bool = True,
        input: str | None = None,
        user: str = "root",
        timeout: float = 600,
    ) -> subprocess.CompletedProcess[str]:
        """Run a shell command as ``user``, over SSH.

        Raises:
            SandboxError: it failed (with ``check``), or took longer than ``timeout`` seconds.
        """
        shell = ["bash", "-c", command]
        words = shell if user == self.user else ["sudo", "-n", "-H", "-u", user, "--", *shell]
        try:
            done = subprocess.run(
                [*self.ssh(), "--", shlex.join(words)],
                input=input if input is not None else "",
                capture_output=True,
                text=True,
                timeout=timeout,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise SandboxError(f"On {self.name}, {command!r} took longer than {timeout:.0f} s") from error
        if check and done.returncode:
            tail = (done.stdout + done.stderr)[-2000:].strip()
            raise SandboxError(f"On {self.name}, {command!r} failed with exit code {done.returncode}: {tail}")
        return done

    def ssh(self) -> list[str]:
        """Return the ``ssh`` command that logs in; append a command to run."""
        folder = str(self.folder).replace("%", "%%")  # ssh expands %
        options = {
            "BatchMode": "yes",
            "ConnectTimeout": "5",
            "HostKeyAlias": self.name,
            "IdentitiesOnly": "yes",
            "IdentityFile": f'"{folder}/{self.private_key_file.name}"',
            "KexAlgorithms": "curve25519-sha256",  # the default's post-quantum keys take most of a login's time
            "LogLevel": "ERROR",
            "StrictHostKeyChecking": "yes",
            "UserKnownHostsFile": f'"{folder}/known_hosts"',
        }
        words = [word for key, value in options.items() for word in ("-o", f"{key}={value}")]
        target = ["-p", str(self.port), f"{self.user}@{self.address}"]
        return ["ssh", "-F", "none", *words, *target]

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Lock this machine; the lock is the folder itself, so that nothing else is left."""
        while True:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            descriptor = os.open(self.folder, os.O_RDONLY)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX)
                # Another process may have removed it meanwhile.
                if self.folder.exists() and os.path.samestat(self.folder.stat(), os.fstat(descriptor)):
                    state = self.folder / STATE
                    if not state.exists() and any(self.folder.iterdir()):
                        raise SandboxError(f"{self.folder} holds something else than a machine; give it another folder")
                    state.touch()
                    yield
                    return
            finally:
                os.close(descriptor)

    def _state(self) -> dict[str, Any]:
        text = (self.folder / STATE).read_text()
        return json.loads(text) if text else {}

    def _base(self) -> Path:
        """Return its base tree; if that is gone from the cache, discard the machine and use the current one."""
        used = self._state().get("tree")
        if used and Path(used).exists() and (self.folder / "upper").exists():
            return Path(used)
        self._discard()
        return self.start_from or tree.ensure()

    def _discard(self) -> None:
        for part in ("upper", "work", "root"):
            shutil.rmtree(self.folder / part, ignore_errors=True)

    def _launch(self, base: Path) -> None:
        for key in ("id_ed25519", "ssh_host_ed25519_key"):
            if not (self.folder / key).exists():
                make = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", self.name, "-f", str(self.folder / key)]
                subprocess.run(make, check=True, stdin=subprocess.DEVNULL)
        (self.folder / "known_hosts").write_text(f"{self.name} {self.host_key}\n")
        port_file = self.folder / "port"
        port = int(port_file.read_text()) if port_file.exists() else self._state().get("port", 0)
        state = {"id": self.id, "name": self.name, "port": port, "tree": str(base), "user": self.user}
        (self.folder / STATE).write_text(json.dumps(state, indent=2))
        port_file.unlink(missing_ok=True)
        (self.folder / "slirp.sock").unlink(missing_ok=True)
        group = cgroup.make(self.id) / "supervisor"
        group.mkdir(exist_ok=True)
        with (self.folder / "console.log").open("w") as log:
            subprocess.run(
                ["sh", "-c", DETACH, str(group), sys.executable, "-m", "sandbox.machine.supervisor"],
                cwd=self.folder,
                env={**os.environ, "PYTHONPATH": str(paths.ROOT)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                check=True,
            )

    def _wait(self, seconds: float) -> None:
        """Wait until SSH answers and systemd is up."""
        deadline = time.monotonic() + seconds
        why = "its network did not come up"
        while time.monotonic() < deadline and self.running():
            if (self.folder / "port").exists():
                left = max(1.0, deadline - time.monotonic())
                with contextlib.suppress(SandboxError):
                    answer = self.run("systemctl is-system-running --wait", check=False, user=self.user, timeout=left)
                    if answer.stdout.strip() in ("running", "degraded"):
                        return
                    why = (answer.stderr + answer.stdout).strip() or "SSH does not answer"
            time.sleep(0.05)
        log = self.folder / "console.log"
        lines = log.read_text(errors="replace").split("\n") if log.exists() else []
        tail = "\n    ".join([line for line in lines if line.strip()][-10:])
        raise SandboxError(f"The machine {self.name} did not come up: {why}; {log} ends with:\n    {tail}")

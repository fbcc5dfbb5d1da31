"""Finds leaked secrets: in files, printed text and processes, in every encoding that occurs.

Searches for pieces of each of a secret's forms, so that truncated or wrapped ones are found too.
"""

import base64
import json
import os
import secrets
import shlex
import subprocess
import threading
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote

from sandbox.machine import Machine
from sandbox.stack import Stack

PIECE = 16
"""Characters of a secret, enough not to match by chance."""

STEP = 0.005
"""Seconds between two samples of all processes."""

ON_MACHINE = r"""
export LC_ALL=C
pieces=$(cat)
search() { grep -aoFZ -D skip "$@" -f <(printf '%s\n' "$pieces") || true; }
for top in /*; do
  case $top in /proc | /sys) continue ;; esac
  [ -L "$top" ] || search -rH "$top"
done
find / -xdev -name '*.gz' -not -path '/usr/share/*' -exec zcat -qf {} + | search -H --label=compressed
journalctl --all --output=export | search -H --label=journal
"""
"""Prints ``FILE NUL PIECE`` for every piece (standard input) found in any file, compressed file or journal."""


def fake_key(length: int) -> str:
    """Generate a unique fake key of hexadecimal digits: any match comes from this test."""
    return "fa4e" + secrets.token_hex(length)[4:length]


def forms(text: str) -> set[str]:
    """Return all encodings in which a line may occur, also within a longer text."""
    raw = text.encode()
    inside = json.dumps(text)[1:-1]
    found = {text, quote(text), quote(text, safe=""), inside, inside.replace("/", "\\/"), json.dumps(inside)[1:-1]}
    found |= {json.dumps(text, ensure_ascii=False)[1:-1], shlex.quote(text).strip("'"), raw.hex(), raw.hex().upper()}
    for before in range(3):
        # Base64 depends on the offset within three bytes; the edges also depend on the neighbours.
        whole = base64.b64encode(b"\0" * before + raw)[-(-before * 8 // 6) :]
        inner = whole[: len(whole) - len(whole) % 4 - 4].decode()
        found |= {inner, inner.replace("+", "-").replace("/", "_")}
    return found


def _secret_part(secret: str) -> str:
    """Return the secret part of ``secret``: the non-public part of an ed25519 key written by ``ssh-keygen``."""
    return secret.splitlines()[4][8:40] if secret.startswith("-----BEGIN OPENSSH PRIVATE KEY-----\n") else secret


class Search:
    """Searches for named secrets; findings are sets of their names."""

    def __init__(self, wanted: Mapping[str, str]) -> None:
        self.pieces: dict[bytes, str] = {}
        for name, secret in wanted.items():
            for form in forms(_secret_part(secret)):
                self.pieces |= dict.fromkeys([form[:PIECE].encode(), form[-PIECE:].encode()], name)

    def names(self, content: bytes | str) -> set[str]:
        """Return the secrets that occur in ``content``, even partly."""
        content = content.encode() if isinstance(content, str) else content
        return {name for piece, name in self.pieces.items() if piece in content}

    def in_files(self, *places: Path, but: Iterable[Path] = (), since: float = 0) -> dict[str, set[str]]:
        """Return secrets by file, below ``places``, in files written ``since`` then (Unix seconds)."""
        found = {}
        for path in _files(places, but, since):
            try:
                content = path.read_bytes()
            except OSError:  # gone meanwhile
                continue
            if names := self.names(content) | self.names(_decompressed(content)):
                found[str(path)] = names
        return found

    def on_machine(self, machine: Machine) -> dict[str, set[str]]:
        """Return secrets by file on the machine; ``journal`` and ``compressed`` stand for all of these."""
        patterns = "".join(f"{piece.decode()}\n" for piece in self.pieces)
        found: dict[str, set[str]] = {}
        for line in machine.run(ON_MACHINE, input=patterns).stdout.splitlines():
            path, _, piece = line.rpartition("\0")
            found.setdefault(path, set()).add(self.pieces[piece.encode()])
        return found


def _decompressed(content: bytes) -> bytes:
    """Decompress a gzip file as far as possible; empty for others. Detected by its first bytes: see .gz.bak."""
    if not content.startswith(b"\x1f\x8b"):
        return b""
    whole = b""
    # A file may contain several streams, and end within one that is being written.
    while content.startswith(b"\x1f\x8b"):
        reader = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
        try:
            whole += reader.decompress(content)
        except zlib.error:
            break
        content = reader.unused_data
    return whole


def _files(places: Iterable[Path], but: Iterable[Path], since: float) -> list[Path]:
    """List files with ``find``, which is many times faster; skips unreadable and vanished ones."""
    pruned = [word for path in but for word in ("-path", str(path), "-prune", "-o")]
    command = ["find", *map(str, places), *pruned, "-type", "f", "-newermt", f"@{since}", "-print0"]
    found = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    return [Path(name) for name in found.split("\0") if name]


@dataclass(frozen=True)
class Exposed:
    """A secret in the command line or environment of a process."""

    secret: str
    inside: bool
    """Whether the process runs on the machine."""
    program: str
    variable: str
    """Empty for the command line."""


@dataclass
class Processes:
    """Samples the command line and environment of every process on this host, machines included.

    May miss processes that live only a few milliseconds.
    """

    machine: Machine
    _seen: dict[tuple[str, bytes], set[int]] = field(default_factory=dict)
    _inside: dict[int, bool] = field(default_factory=dict)
    _ended: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ended.wait(STEP):
            for pid in filter(str.isdigit, os.listdir("/proc")):  # noqa: PTH208 - several times as fast
                for kind in ("cmdline", "environ"):
                    try:
                        content = Path(f"/proc/{pid}/{kind}").read_bytes()
                        if (kind, content) not in self._seen:
                            self._inside[int(pid)] = self.machine.id in Path(f"/proc/{pid}/cgroup").read_text()
                    except OSError:
                        continue
                    self._seen.setdefault((kind, content), set()).add(int(pid))

    def exposed(self, search: Search) -> set[Exposed]:
        """Return the secrets that ``search`` finds in the samples."""
        programs = {pid: line for (kind, line), pids in self._seen.items() if kind == "cmdline" for pid in pids}
        found = set()
        for (kind, content), pids in self._seen.items():
            entries = content.split(b"\0") if kind == "environ" else [content]
            for entry in entries:
                for secret in search.names(entry):
                    variable = entry.partition(b"=")[0].decode() if kind == "environ" else ""
                    for pid in pids:
                        program = programs.get(pid, b"").replace(b"\0", b" ").decode(errors="replace")
                        found.add(Exposed(secret, self._inside.get(pid, False), program, variable))
        return found


def set_secret(stack: Stack, key: str, value: str) -> None:
    """Set a secret in the stack's configuration via standard input, as an operator would."""
    words = ["config", "set", "--secret", key, "--stack", stack.name]
    subprocess.run(
        ["pulumi", "--non-interactive", "-C", str(stack.folder / "project"), *words],
        input=value,
        env=stack.environment(),
        text=True,
        check=True,
        timeout=60,
    )


def generated_password(stack: Stack, name: str = "vm-mysql-password") -> str:
    """Return a password that the stack made, by default that of the database, from the state."""
    state: Mapping[str, list[dict[str, object]]] = json.loads(
        stack.pulumi("stack", "export", "--show-secrets", "--stack", stack.name).stdout
    )["deployment"]
    (made,) = [r["outputs"] for r in state["resources"] if str(r["urn"]).endswith(f"::{name}") and not r.get("delete")]
    assert isinstance(made, dict)
    return str(json.loads(made["result"]["plaintext"]))

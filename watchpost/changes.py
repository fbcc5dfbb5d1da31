"""Shows what a preview would change without values, for what others can read.

A diff shows addresses, users and recipients, and a repository's issues, comments and logs may be public. So this shows
operations, resources and the names of properties, and takes addresses out of what went wrong. ``pulumi preview --diff``
shows the values to who may see them.

Source: ``PreviewDigest`` in pkg/display/json.go of https://github.com/pulumi/pulumi
"""

import ipaddress
import json
import re
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from settings.project import key as setting

LENGTH = 30_000
"""How many characters are shown at most: a comment on GitHub has 65,536 bytes."""

MARKUP = re.compile(r"<\{%.*?%\}>|\x1b\[[0-9;]*m")
"""Colours in the engine's messages."""

ADDRESS = re.compile(
    r"[\w.%+-]+@(?:[\w-]+\.)+\w{2,}|(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?![\w.]*\w)|[0-9A-Fa-f]*:[0-9A-Fa-f:]*:[0-9A-Fa-f:.]*"
)
"""What may be an e-mail or IP address."""

UNCHANGED = ("same", "read", "refresh")


def masked(text: str, hidden: Collection[str] = ()) -> str:
    """``text`` without e-mail addresses, IP addresses but loopback ones, and what is ``hidden``.

    >>> masked("dial 192.0.2.7:22 for me@example.com at 12:30:05, not 127.0.0.1 or [2001:db8::1]")
    'dial ***:22 for *** at 12:30:05, not 127.0.0.1 or [***]'
    """
    for value in sorted(hidden, key=len, reverse=True):
        text = re.sub(rf"(?<![\w.-]){re.escape(value)}(?![\w-])", "***", text)
    return ADDRESS.sub(_hide, text)


def _hide(found: re.Match[str]) -> str:
    text = found[0]
    if "@" in text:
        return "***"
    for address in (text, text[:-1]):  # it may stand before a colon or at a sentence's end
        try:
            shown = ipaddress.ip_address(address).is_loopback
        except ValueError:
            continue
        return text if shown else f"***{text[len(address) :]}"
    return text


def addresses(config: Mapping[str, Any]) -> set[str]:
    """Where the stack's hosts are, and whom the stack tells, by its configuration."""
    found = set()
    for key in (setting("hosts"), setting("recipients")):
        try:
            found |= set(_texts(json.loads(config.get(key, "null"))))
        except ValueError:
            continue
    return found


def _texts(value: Any, name: str = "") -> Iterator[str]:
    if isinstance(value, Mapping):
        for key, entry in value.items():
            yield from _texts(entry, key)
    elif isinstance(value, list):
        for entry in value:
            yield from _texts(entry, "recipient")
    elif isinstance(value, str) and name in ("address", "recipient"):
        yield value


def summary(digest: Mapping[str, Any]) -> str:
    """What ``pulumi preview --json`` found, a line for each resource that changes, and what it complains of."""
    hidden = addresses(digest.get("config") or {})
    changed = [step for step in digest.get("steps") or [] if step["op"] not in UNCHANGED]
    lines = [_line(step) for step in changed]
    counts = digest.get("changeSummary") or {}
    lines.append(
        ", ".join(f"{count} {operation}" for operation, count in sorted(counts.items())) or "nothing to change"
    )
    lines += [
        f"{said['severity']}: {MARKUP.sub('', said['message']).strip().removeprefix('error: ')}"
        for said in digest.get("diagnostics") or []
        if said.get("severity") in ("error", "warning", "info#err")
    ]
    return masked("\n".join(lines), hidden)


def _line(step: Mapping[str, Any]) -> str:
    parts = str(step["urn"]).split("::")
    kind = parts[2].rpartition("$")[2] if len(parts) > 3 else ""
    properties = sorted(step.get("detailedDiff") or step.get("diffReasons") or [])
    return f"{step['op']} {parts[-1]} ({kind})" + (f": {', '.join(properties)}" if properties else "")


def read(text: str) -> str:
    """The summary of what a preview printed, or the errors in it where that isn't JSON."""
    try:
        digest = json.loads(text[text.index("{") :])
        return summary(digest)
    except (ValueError, KeyError, TypeError, AttributeError):
        lines = MARKUP.sub("", text).splitlines()
        return masked("\n".join(line for line in lines if line.lstrip().startswith(("error:", "watchpost:"))))


@click.command()
@click.argument("files", nargs=-1, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--text", is_flag=True, help="FILES hold sentences, not previews.")
def command(files: Sequence[Path], text: bool) -> None:
    """Show what a preview would change, without values.

    FILES hold what `pulumi preview --json` printed, and its errors; standard input if there are none. What it shows can
    stand in public: operations, resources and names of properties, but no value and no address.
    """
    texts = [file.read_text(errors="replace") for file in files] or [sys.stdin.read()]
    said = [masked(part.strip()) if text else read(part) for part in texts]
    shown = "\n".join(filter(None, said)) or "the preview ended without saying why"
    click.echo(shown if len(shown) <= LENGTH else f"{shown[:LENGTH]}\n... and {len(shown) - LENGTH} characters more")

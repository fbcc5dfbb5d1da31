"""Summarizes a preview without values, fit for public places.

A diff shows addresses, users and recipients, while a repository's issues, comments and logs may be public. The summary
shows operations, resources and property names, and masks addresses in error messages. ``pulumi preview --diff`` shows
the values to those who may see them.

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
"""Characters shown at most: GitHub limits a comment to 65,536 bytes."""

MARKUP = re.compile(r"<\{%.*?%\}>|\x1b\[[0-9;]*m")
"""Color markup in the engine's messages."""

ADDRESS = re.compile(
    r"[\w.%+-]+@(?:[\w-]+\.)+\w{2,}|(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?![\w.]*\w)|[0-9A-Fa-f]*:[0-9A-Fa-f:]*:[0-9A-Fa-f:.]*"
)
"""Possible e-mail and IP addresses."""

UNCHANGED = ("same", "read", "refresh")


def masked(text: str, hidden: Collection[str] = ()) -> str:
    """Mask e-mail addresses, IP addresses except loopback ones, and the values in ``hidden``.

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
    for address in (text, text[:-1]):  # a colon or full stop may follow
        try:
            shown = ipaddress.ip_address(address).is_loopback
        except ValueError:
            continue
        return text if shown else f"***{text[len(address) :]}"
    return text


def addresses(config: Mapping[str, Any]) -> set[str]:
    """Collect the hosts' addresses and the recipients from a stack's configuration."""
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
    """Summarize ``pulumi preview --json``: a line for each changed resource, the counts, and errors and warnings."""
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
    """Summarize a preview's output; if it isn't JSON, return the errors in it."""
    try:
        digest = json.loads(text[text.index("{") :])
        return summary(digest)
    except (ValueError, KeyError, TypeError, AttributeError):
        lines = MARKUP.sub("", text).splitlines()
        return masked("\n".join(line for line in lines if line.lstrip().startswith(("error:", "watchpost:"))))


@click.command()
@click.argument("files", nargs=-1, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--text", is_flag=True, help="FILES hold plain text: only mask its addresses.")
def command(files: Sequence[Path], text: bool) -> None:
    """Summarize a preview without values.

    FILES hold the output of `pulumi preview --json`, and its errors; by default, standard input is read. The summary is
    safe to publish: it shows operations, resources and property names, but neither values nor addresses.
    """
    texts = [file.read_text(errors="replace") for file in files] or [sys.stdin.read()]
    said = [masked(part.strip()) if text else read(part) for part in texts]
    shown = "\n".join(filter(None, said)) or "the preview ended without saying why"
    click.echo(shown if len(shown) <= LENGTH else f"{shown[:LENGTH]}\n... and {len(shown) - LENGTH} characters more")

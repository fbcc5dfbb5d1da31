"""DogStatsD's datagrams: https://docs.datadoghq.com/extend/dogstatsd/datagram_shell/"""

import time
from dataclasses import dataclass, field
from typing import Any

from .samples import Sample

KINDS = {"g": "gauge", "c": "count", "h": "histogram", "ms": "histogram", "d": "histogram"}


@dataclass
class Received:
    """What was received since the last flush."""

    samples: list[Sample] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)
    service_checks: list[dict[str, Any]] = field(default_factory=list)


def parse(line: str, received: Received) -> None:
    """Add one line of a datagram to ``received``.

    Raises:
        ValueError: the line is not DogStatsD.
    """
    if line.startswith("_e{"):
        received.events.append(_event(line))
    elif line.startswith("_sc|"):
        received.service_checks.append(_service_check(line))
    else:
        received.samples.extend(_metric(line))


def _metric(line: str) -> list[Sample]:
    head, *fields = line.split("|")
    name, *values = head.split(":")
    if not name or not values or not fields or fields[0] not in KINDS:
        raise ValueError(f"not a metric: {line!r}")
    rate = next((float(part[1:]) for part in fields[1:] if part.startswith("@")), 1.0)
    kind, now = KINDS[fields[0]], time.time()
    scale = 1 / rate if kind == "count" else 1.0
    return [
        Sample(kind=kind, name=name, value=float(value) * scale, when=now, tags=tuple(_tags(fields)))
        for value in values
    ]


def _event(line: str) -> dict[str, Any]:
    lengths, _, rest = line[3:].partition("}:")
    title_length, text_length = (int(part) for part in lengths.split(","))
    content = rest.encode()
    title, text = content[:title_length], content[title_length + 1 : title_length + 1 + text_length]
    fields = content[title_length + 1 + text_length :].decode().split("|")
    if len(title) != title_length or len(text) != text_length:
        raise ValueError(f"not an event: {line!r}")
    keys = {"d": "date_happened", "h": "host", "k": "aggregation_key", "p": "priority", "s": "source_type_name"}
    event: dict[str, Any] = {
        keys[key]: value for key, _, value in (part.partition(":") for part in fields) if key in keys
    }
    if "date_happened" in event:
        event["date_happened"] = int(event["date_happened"])
    kind = next((part[2:] for part in fields if part.startswith("t:")), "info")
    decoded = text.decode().replace("\\n", "\n")
    return {"title": title.decode(), "text": decoded, "alert_type": kind, "tags": _tags(fields), **event}


def _service_check(line: str) -> dict[str, Any]:
    _, name, status, *fields = line.split("|")
    message = next((part[2:] for part in fields if part.startswith("m:")), "")
    return {"check": name, "status": int(status), "message": message, "tags": _tags(fields)}


def _tags(fields: list[str]) -> list[str]:
    return next((part[1:].split(",") for part in fields if part.startswith("#") and len(part) > 1), [])

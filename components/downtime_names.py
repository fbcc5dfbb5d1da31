"""The names of the downtimes' resources, which ``python -m watchpost drift`` reads without a provider's SDK.

    NAME-KIND-DIGEST-SCHEDULE, as in ``closed-office-nights-1a2b3c4d-mo-tu-we-th-fr-su-1900-14h-Europe-Paris``

DIGEST hashes the message with its recipients.
"""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from components.recurrences import Recurrence, duration_text


def digest(text: str, repair: str = "") -> str:
    """Hash a downtime's message and its ``watchpost:repairs`` text to eight hexadecimal digits."""
    return hashlib.sha256(json.dumps([text, repair]).encode()).hexdigest()[:8]


def repair_key(resource: str) -> str:
    """Return the ``watchpost:repairs`` key that recreates a downtime, from its resource's name.

    >>> repair_key("closed-office-nights-1a2b3c4d-mo-tu-we-th-fr-su-1900-14h-Europe-Paris")
    'closed-office-nights'
    """
    return re.split(r"-[0-9a-f]{8}-", resource, maxsplit=1)[0]


def identity(repeated: Sequence[Recurrence]) -> str:
    """Encode a schedule: ``mo-tu-we-th-fr-su-1900-14h-Europe-Paris``."""
    parts = [_part(each.rrule, f"{each.start:%H%M}", duration_text(each.duration)) for each in repeated]
    return _identity(parts, repeated[0].timezone)


def identity_in_datadog(schedule: Mapping[str, Any]) -> str:
    """Encode a downtime's schedule as Datadog returns it, without one-time recurrences; empty if none is left.

    >>> rule = "FREQ=WEEKLY;INTERVAL=1;BYDAY=SA,SU"
    >>> each = {"rrule": rule, "start": "2027-01-02T00:00:00", "duration": "24h"}
    >>> identity_in_datadog({"timezone": "Europe/Paris", "recurrences": [each]})
    'sa-su-0000-24h-Europe-Paris'
    """
    parts = [
        _part(each["rrule"], str(each.get("start"))[11:16].replace(":", ""), each["duration"])
        for each in schedule.get("recurrences") or []
        if "COUNT=" not in each["rrule"]
    ]
    return _identity(parts, str(schedule.get("timezone", ""))) if parts else ""


def _part(rrule: str, start: str, duration: str) -> str:
    return f"{rrule.rpartition('=')[2].lower().replace(',', '-')}-{start}-{duration}"


def _identity(parts: Sequence[str], timezone: str) -> str:
    return "-".join([*parts, timezone.replace("/", "-")])

"""Drives a monitor through its states: warning, alert, no data, and recovery.

The account's clock runs ahead meanwhile, about a minute per second, and is reset at the end. The values are submitted
in place of the Agent's, which are too old by that clock.
"""

import datetime
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import Any

from sandbox.datadog import downtimes
from sandbox.datadog.account import Account
from sandbox.datadog.evaluation import language, rounds
from sandbox.datadog.store import Point, opened
from sandbox.progress import SandboxError

MINUTE = datetime.timedelta(minutes=1)

PATIENCE = 30.0
"""Timeout of the evaluation of one minute, in seconds."""

AHEAD = datetime.timedelta(days=14)
"""How far ahead to look for a time at which the monitor isn't muted."""


def run(account: Account, say: Callable[[str], None]) -> None:
    """Show the metric monitor's mail for each state, with values of the first host that has its metric.

    Raises:
        SandboxError: there is no such monitor or host, or it is never unmuted for long enough.
    """
    monitor = next((each for each in account.monitors() if _is_of_hosts(each)), None)
    if monitor is None:
        raise SandboxError("the account has no monitor that is evaluated: `make up` makes one")
    compared = language.comparison(monitor["query"])
    source = next((point for point in account.series(compared.query.metric) if point["host"]), None)
    if source is None:
        raise SandboxError(f"no host has sent {compared.query.metric} yet: try again in a minute")
    minutes = list(_values(compared, monitor["options"]))
    with opened(account.folder) as store:
        begin = _unmuted(
            [each for each in account.downtimes() if rounds.mutes(each, monitor)], store.now(), len(minutes) * MINUTE
        )
        known = len(account.mails())
        say(f"{compared.query.metric} of {source['host']}, from {begin:%A %H:%M} UTC on by the account's clock")
        try:
            for number, (words, value) in enumerate(minutes):
                at = begin + number * MINUTE
                if words:
                    say(f"{at:%H:%M} {words}")
                if value is not None:
                    store.add_points(
                        Point(
                            metric=compared.query.metric,
                            at=at.timestamp() + second,
                            value=value,
                            host=source["host"],
                            tags=source["tags"],
                        )
                        for second in (15, 45)
                    )
                _pass(account, at + MINUTE)
                for mail in account.mails()[known:]:
                    say(f"{at + MINUTE:%H:%M}   mail to {', '.join(mail['to'])}: {mail['subject']}")
                    known += 1
        finally:
            account.travel(None)
    say(f"the mail, as people would read it: {account.url}/mail")


def _is_of_hosts(monitor: Mapping[str, Any]) -> bool:
    """Return whether a monitor is evaluated here and grouped by host, so that values can be submitted for it."""
    return not rounds.fault(monitor) and rounds.form(monitor, {}).by == ("host",)


def _values(compared: language.Comparison, options: dict[str, Any]) -> Iterator[tuple[str, float | None]]:
    """Return each minute's value, ``None`` for silence, with the name of a phase that begins there."""
    critical, warning = options["thresholds"]["critical"], options["thresholds"].get("warning")
    far = abs(critical) / 4 or 1.0
    away = far if compared.comparator.startswith(">") else -far
    window = compared.window // 60
    phases: list[tuple[str, float | None, int]] = [("all is well", (warning or critical) - away, window + 1)]
    if warning is not None:
        phases.append(("above the warning threshold", (warning + critical) / 2, window + 2))
    phases.append(("above the alert threshold", critical + away, window + 2))
    if options.get("notify_no_data"):
        phases.append(("the Agent falls silent", None, int(options["no_data_timeframe"]) + 2))
    phases.append(("recovery", (warning or critical) - away, window + 2))
    for words, value, minutes in phases:
        yield words, value
        yield from (("", value) for _ in range(minutes - 1))


def _unmuted(muting: list[dict[str, Any]], now: datetime.datetime, length: datetime.timedelta) -> datetime.datetime:
    """Return the next full minute from which nothing is muted for that long."""
    begin = now.replace(second=0, microsecond=0) + 2 * MINUTE
    stretches = sorted(
        stretch
        for downtime in muting
        for stretch in downtimes.occurrences(downtime["attributes"]["schedule"], begin, begin + AHEAD)
    )
    for start, end in stretches:
        if start >= begin + length:
            break
        with suppress(OverflowError):
            begin = max(begin, (end + 2 * MINUTE).replace(second=0, microsecond=0))
    if begin > now + AHEAD:
        raise SandboxError("the monitor is muted for the next two weeks: a downtime has to end first")
    return begin


def _pass(account: Account, minute: datetime.datetime) -> None:
    """Set the account's clock to a minute, and wait for its evaluation."""
    account.travel(minute)
    deadline = time.monotonic() + PATIENCE
    while account.evaluated < minute:
        if time.monotonic() > deadline:
            raise SandboxError(f"the account does not evaluate: see {account.folder / 'server.log'}")
        time.sleep(0.25)

"""Has a monitor go through its states: over the warning, over the alert, silence, and well again.

The account's clock runs ahead meanwhile, a minute for each second or so, and is brought back at the end. The values are
put into the account in the Agent's place, whose own are of earlier times by that clock.
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
"""Seconds that the evaluation of one minute may take."""

AHEAD = datetime.timedelta(days=14)
"""How far ahead a time is looked for at which the monitor isn't muted."""


def run(account: Account, say: Callable[[str], None]) -> None:
    """Show what the account's metric monitor tells at each state, by the first host that has its metric.

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
    say(f"the mail, as it is read: {account.url}/mail")


def _is_of_hosts(monitor: Mapping[str, Any]) -> bool:
    """Whether a monitor is evaluated here and grouped by host: values for another one can't be submitted."""
    return not rounds.fault(monitor) and rounds.form(monitor, {}).by == ("host",)


def _values(compared: language.Comparison, options: dict[str, Any]) -> Iterator[tuple[str, float | None]]:
    """The value of each minute, None for silence; with what begins, where something does."""
    critical, warning = options["thresholds"]["critical"], options["thresholds"].get("warning")
    far = abs(critical) / 4 or 1.0
    away = far if compared.comparator.startswith(">") else -far
    window = compared.window // 60
    phases: list[tuple[str, float | None, int]] = [("all is well", (warning or critical) - away, window + 1)]
    if warning is not None:
        phases.append(("over the warning", (warning + critical) / 2, window + 2))
    phases.append(("over the alert", critical + away, window + 2))
    if options.get("notify_no_data"):
        phases.append(("the Agent falls silent", None, int(options["no_data_timeframe"]) + 2))
    phases.append(("all is well again", (warning or critical) - away, window + 2))
    for words, value, minutes in phases:
        yield words, value
        yield from (("", value) for _ in range(minutes - 1))


def _unmuted(muting: list[dict[str, Any]], now: datetime.datetime, length: datetime.timedelta) -> datetime.datetime:
    """The next full minute from which on nothing mutes for as long."""
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
    """Set the account's clock to a minute, and wait until that is evaluated."""
    account.travel(minute)
    deadline = time.monotonic() + PATIENCE
    while account.evaluated < minute:
        if time.monotonic() > deadline:
            raise SandboxError(f"the account does not evaluate: see {account.folder / 'server.log'}")
        time.sleep(0.25)

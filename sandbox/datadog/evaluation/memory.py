"""Stores the results of evaluation: each group's state, its transitions, and the mail that people would get."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from sandbox.datadog.evaluation.messages import State
from sandbox.datadog.store import Store

About = Literal["monitor", "change", "downtime", "event"]


@dataclass(kw_only=True)
class Group:
    """A group of a monitor, such as ``{"host": "vm"}``; times in Unix seconds.

    ``silenced``: it left OK while it was muted. ``cycle`` lasts from when it leaves OK until it is back. ``last_told``
    is when it last changed or notified, ``renotified`` how often it was renotified since.
    """

    monitor: int
    name: str
    tags: dict[str, str]
    status: State = "OK"
    since: float = 0.0
    value: float | None = None
    first_seen: float = 0.0
    first_triggered: float = 0.0
    last_triggered: float = 0.0
    silenced: bool = False
    cycle: str = ""
    last_told: float = 0.0
    renotified: int = 0


@dataclass(frozen=True, kw_only=True)
class Transition:
    """A change of a group's state; ``told`` says whether anybody was notified."""

    monitor: int
    group: str
    old: State
    new: State
    at: float
    value: float | None
    muted: bool
    told: bool


@dataclass(frozen=True, kw_only=True)
class Mail:
    """A message that somebody would get; ``text`` is Markdown, ``of`` the id of its subject."""

    at: float
    to: tuple[str, ...]
    subject: str
    text: str
    about: About
    of: str
    group: dict[str, str] = field(default_factory=dict)
    kind: str = ""


def groups(store: Store, monitor: int | None = None) -> list[Group]:
    """Return the groups of a monitor, or of all, by name."""
    found = (Group(**kept) for kept in store.all("group"))
    return sorted((group for group in found if monitor in (None, group.monitor)), key=lambda group: group.name)


def by_monitor(store: Store) -> dict[int, dict[str, Group]]:
    """Return the groups of all monitors, by name."""
    found: dict[int, dict[str, Group]] = {}
    for group in groups(store):
        found.setdefault(group.monitor, {})[group.name] = group
    return found


WORST_FIRST: tuple[State, ...] = ("Alert", "Warn", "No Data", "OK")
"""States from worst to best: a monitor has the worst of its groups'.

Source: https://docs.datadoghq.com/monitors/status/
"""


def state(store: Store, monitor: int) -> State:
    """Return a monitor's state: the worst of its groups', or ``No Data`` without groups."""
    return states(store).get(monitor, "No Data")


def states(store: Store) -> dict[int, State]:
    """Return the state of each monitor that has groups."""
    return {number: min(found.values(), key=badness).status for number, found in by_monitor(store).items()}


def badness(group: Group) -> int:
    """Return a state's rank; the worst is 0."""
    return WORST_FIRST.index(group.status)


def keep(store: Store, group: Group) -> None:
    """Store the state of a group."""
    store.put("group", f"{group.monitor} {group.name}", vars(group))


def forget(store: Store, monitor: int) -> None:
    """Delete the groups of a deleted monitor."""
    for group in groups(store, monitor):
        store.drop("group", f"{group.monitor} {group.name}")


def note(store: Store, transition: Transition) -> None:
    """Store a transition."""
    store.put("transition", str(store.next("transition", 1)), asdict(transition))


def transitions(store: Store, monitor: int | None = None) -> list[Transition]:
    """Return the transitions of a monitor's groups, or of all, oldest first."""
    found = (Transition(**kept) for kept in store.all("transition"))
    return [transition for transition in found if monitor in (None, transition.monitor)]


def send(store: Store, mail: Mail) -> None:
    """Add a message to the outbox, if it has recipients."""
    if mail.to:
        number = store.next("mail", 1)
        store.put("mail", str(number), {"id": number, **asdict(mail)})


def mails(store: Store) -> list[dict[str, Any]]:
    """Return the outbox, oldest first."""
    return store.all("mail")


def subject(words: Iterable[str], name: str) -> str:
    """Format a subject as Datadog does: ``[Triggered on {host:vm}] name``."""
    return f"[{' '.join(words)}] {name}"

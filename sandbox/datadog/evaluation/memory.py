"""What the evaluation keeps: the state of each group, its transitions, and the mail that somebody would get."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from sandbox.datadog.evaluation.messages import State
from sandbox.datadog.store import Store

About = Literal["monitor", "change", "downtime", "event"]


@dataclass(kw_only=True)
class Group:
    """A group of a monitor, such as ``{"host": "vm"}``; times in Unix seconds.

    ``silenced``: it left OK while it was muted. ``cycle`` is one from when it leaves OK until it is back. ``last_told``
    is when it last changed or was told of, ``renotified`` how often its state was told once more.
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
    """A group went from one state to another; ``told`` says whether anybody was to know."""

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
    """A message that somebody would get; ``text`` is Markdown, ``of`` the id of what it is about."""

    at: float
    to: tuple[str, ...]
    subject: str
    text: str
    about: About
    of: str
    group: dict[str, str] = field(default_factory=dict)
    kind: str = ""


def groups(store: Store, monitor: int | None = None) -> list[Group]:
    """The groups of a monitor, or of all, by name."""
    found = (Group(**kept) for kept in store.all("group"))
    return sorted((group for group in found if monitor in (None, group.monitor)), key=lambda group: group.name)


def by_monitor(store: Store) -> dict[int, dict[str, Group]]:
    """The groups of all monitors, each by its name."""
    found: dict[int, dict[str, Group]] = {}
    for group in groups(store):
        found.setdefault(group.monitor, {})[group.name] = group
    return found


WORST_FIRST: tuple[State, ...] = ("Alert", "Warn", "No Data", "OK")
"""The first of these that one of its groups is in is the state of a monitor.

Source: https://docs.datadoghq.com/monitors/status/
"""


def state(store: Store, monitor: int) -> State:
    """The state of a monitor: the worst of its groups; ``No Data`` as long as it has none."""
    return states(store).get(monitor, "No Data")


def states(store: Store) -> dict[int, State]:
    """The state of each monitor that has groups."""
    return {number: min(found.values(), key=badness).status for number, found in by_monitor(store).items()}


def badness(group: Group) -> int:
    """The less, the worse."""
    return WORST_FIRST.index(group.status)


def keep(store: Store, group: Group) -> None:
    """Keep the state of a group."""
    store.put("group", f"{group.monitor} {group.name}", vars(group))


def forget(store: Store, monitor: int) -> None:
    """Forget the groups of a monitor that is gone."""
    for group in groups(store, monitor):
        store.drop("group", f"{group.monitor} {group.name}")


def note(store: Store, transition: Transition) -> None:
    """Keep a transition."""
    store.put("transition", str(store.next("transition", 1)), asdict(transition))


def transitions(store: Store, monitor: int | None = None) -> list[Transition]:
    """The transitions of a monitor's groups, or of all, oldest first."""
    found = (Transition(**kept) for kept in store.all("transition"))
    return [transition for transition in found if monitor in (None, transition.monitor)]


def send(store: Store, mail: Mail) -> None:
    """Put a message into the outbox, if it is for anybody."""
    if mail.to:
        number = store.next("mail", 1)
        store.put("mail", str(number), {"id": number, **asdict(mail)})


def mails(store: Store) -> list[dict[str, Any]]:
    """The outbox, oldest first."""
    return store.all("mail")


def subject(words: Iterable[str], name: str) -> str:
    """A subject as Datadog writes it: ``[Triggered on {host:vm}] name``."""
    return f"[{' '.join(words)}] {name}"

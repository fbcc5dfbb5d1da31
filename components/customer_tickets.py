"""The tickets of the Proactive Customer Experience System: their texts and JSON, which webhooks send.

Placeholders such as ``${step}`` are filled in here, for each step; those such as ``$ALERT_SCOPE`` by Datadog, for each
alert. Source: https://docs.datadoghq.com/integrations/webhooks/#variables
"""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from components import templates
from components.customer_signals import Signals, prefix
from settings import CustomerExperience
from settings.office_hours import OfficeHours

Action = Literal["open", "close"]

FOLDER = "customer_experience"


@dataclass(frozen=True, kw_only=True)
class Desk:
    """What all tickets share; ``dashboard`` is the link to the customers' dashboard."""

    signals: Signals
    dashboard: str
    hours: OfficeHours

    def payload(self, step: str, action: Action) -> str:
        """Render the JSON that opens or closes a customer's ticket at ``step``, in the ticket system's own shape."""
        experience = self.signals.experience
        values = self._values(step)
        support, customer = (self._text(f"{whom}_{action}", values) for whom in ("support", "customer"))
        values |= {
            "support": support,
            "customer": customer,
            "both": f"{support}\n\nFor the customer:\n{customer}",
            "tell": tell(experience, self.hours),
            "label": slug(f"{self.signals.env}-{step}"),
        }
        body = json.loads(templates.text(f"{FOLDER}/tickets/{experience.ticket_system}.json"))[action]
        filled = templates.fill(body, values)
        return json.dumps(templates.merged(filled, experience.ticket_fields) if action == "open" else filled)

    def _values(self, step: str) -> dict[str, Any]:
        signals, experience = self.signals, self.signals.experience
        names = [found.name for found in experience.steps]
        return {
            "key": f"{prefix(signals.owner, signals.stack)}/{step}/$ALERT_SCOPE",
            "subject": f"Customer in trouble at {step} ({signals.env}): $ALERT_SCOPE",
            "step": step,
            "env": signals.env,
            "service": signals.service,
            "objective": next(found.objective for found in experience.steps if found.name == step),
            "minutes": experience.window_minutes,
            "stands": stands(names, step),
            "goes_on": f"past {step}" if step == names[-1] else f"on their way to {names[names.index(step) + 1]}",
            "symptom": "takes longer than we promise, or fails and is tried again",
            "dashboard": self.dashboard,
            "runbook": runbook(experience),
        }

    @staticmethod
    def _text(name: str, values: Mapping[str, Any]) -> str:
        return " ".join(templates.text_file(f"{FOLDER}/texts/{name}.txt", values).split())


def tell(experience: CustomerExperience, hours: OfficeHours) -> dict[str, Any]:
    """Say when a customer may be told: at most once in a time, and in office hours if the setting says so."""
    office = {
        "days": list(hours.days),
        "start": f"{hours.start:%H:%M}",
        "end": f"{hours.end:%H:%M}",
        "timezone": hours.timezone,
    }
    return {
        "again_after_minutes": experience.tell_again_minutes,
        "office_hours": office if experience.tell_in_office_hours else None,
    }


def runbook(experience: CustomerExperience) -> str:
    """Return what ends a message to the team: the address of its runbook, if there is one.

    >>> runbook(CustomerExperience(runbook_url="https://wiki.example.com/customers"))
    ' More: https://wiki.example.com/customers'
    """
    return f" More: {experience.runbook_url}" if experience.runbook_url else ""


def stands(names: list[str], step: str) -> str:
    """Say in a customer's words where an order stands that is at ``step``.

    >>> stands(["place", "pay", "prepare"], "prepare")
    'place and pay are done, prepare is under way'
    >>> stands(["place", "pay"], "place")
    'place is under way, pay follows'
    """
    at = names.index(step)
    done, next_ = names[:at], names[at + 1 : at + 2]
    parts = [f"{' and '.join(done)} {'are' if len(done) > 1 else 'is'} done"] if done else []
    return ", ".join([*parts, f"{step} is under way", *(f"{name} follows" for name in next_)])


def slug(text: str) -> str:
    """Return a text as a part of a webhook's name.

    >>> slug("My_dev/pay.now")
    'my-dev-pay-now'
    """
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def webhook(owner: str, stack: str, step: str, action: Action) -> str:
    """Return the name of a webhook, which is unique in the organization; a message mentions it as ``@webhook-NAME``.

    >>> webhook("watchpost:abcdefghij12", "dev", "pay", "open")
    'watchpost-dev-abcdefghij12-pay-open'
    """
    return "-".join([slug(prefix(owner, stack)), slug(step), action])


def variable(owner: str, stack: str) -> str:
    """Return the name of the secret variable that the webhooks send as their authorization.

    >>> variable("watchpost:abcdefghij12", "dev")
    'WATCHPOST_DEV_ABCDEFGHIJ12'
    """
    return prefix(owner, stack).replace(".", "_").upper()


def unlisted(owner: str, stack: str, steps: Iterable[str]) -> list[tuple[str, str]]:
    """List what a stack with these ``steps`` has in Datadog that no API lists, each by its kind and name.

    >>> unlisted("watchpost:abcdefghij12", "dev", ["pay"])[1:]
    [('webhook', 'watchpost-dev-abcdefghij12-pay-close'), ('webhook-variable', 'WATCHPOST_DEV_ABCDEFGHIJ12')]
    """
    webhooks = [webhook(owner, stack, step, action) for step in steps for action in get_args(Action)]
    return [*(("webhook", name) for name in webhooks), ("webhook-variable", variable(owner, stack))]


def authorization(token: str) -> str:
    """Return the header's value: a token alone is a bearer's, and ``Basic ...`` stays as it is.

    >>> authorization("abc"), authorization("Basic abc")
    ('Bearer abc', 'Basic abc')
    """
    return token if " " in token else f"Bearer {token}"

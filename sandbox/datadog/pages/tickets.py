"""Pages of the ticket desk: the tickets that webhooks opened, what customers were told, and each delivery.

Datadog has no such pages: its webhooks reach a ticket system.
"""

from sandbox.datadog import desk
from sandbox.datadog.evaluation import memory, rounds, webhooks
from sandbox.datadog.pages.rendering import Asked, NotFoundError, Page
from sandbox.datadog.store import Store

LISTED = 100


def list_all(store: Store, _: Asked) -> Page:
    """List all tickets and deliveries, newest first."""
    return "tickets.html", {
        "tickets": desk.tickets(store)[::-1][:LISTED],
        "deliveries": webhooks.deliveries(store)[::-1][:LISTED],
    }


def show(store: Store, asked: Asked) -> Page:
    """Show a ticket."""
    ticket = store.get(desk.KIND, asked.match["id"])
    if ticket is None:
        raise NotFoundError(f"There is no ticket {asked.match['id']}.")
    number, scope = str(ticket["asked"].get("monitor", "")), ticket["asked"].get("scope")
    known = (group for group in memory.groups(store) if str(group.monitor) == number and rounds.scope(group) == scope)
    monitor = store.get("monitor", number)
    named = next((name for _, _, name in rounds.names(store, known)), monitor["name"] if monitor else "")
    return "ticket.html", {"ticket": ticket, "monitor": monitor, "name": named}

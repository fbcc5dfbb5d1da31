"""Pages of the mail that people would get."""

from sandbox.datadog.evaluation import memory
from sandbox.datadog.pages.rendering import Asked, NotFoundError, Page
from sandbox.datadog.store import Store

LISTED = 200


def list_all(store: Store, _: Asked) -> Page:
    """List the latest messages, newest first."""
    return "mails.html", {"mails": memory.mails(store)[-LISTED:][::-1], "LISTED": LISTED}


def show(store: Store, asked: Asked) -> Page:
    """Show a message."""
    mail = store.get("mail", asked.match["id"])
    if mail is None:
        raise NotFoundError(f"There is no message {asked.match['id']}.")
    gone = mail["about"] in ("monitor", "change") and store.get("monitor", mail["of"]) is None
    return "mail.html", {"mail": mail, "gone": gone}

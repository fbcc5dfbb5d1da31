"""The traced app's order journey: four steps, each an endpoint whose entry span says whose order it is.

Who the customer is arrives in the request's headers and stays here. What leaves is a pseudonym, a hash under a key that
systemd hands over as a credential; the caller's own texts, such as the path and the query, are cut from the spans.

Sources: https://docs.datadoghq.com/tracing/trace_collection/custom_instrumentation/python/dd-api/,
https://ddtrace.readthedocs.io/en/stable/advanced_usage.html#trace-filtering, https://systemd.io/CREDENTIALS/
"""

import hashlib
import hmac
import ipaddress
import os
import sys
import threading
import time
import unicodedata
import uuid
from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path

from app import app
from ddtrace.trace import Span, TraceFilter, tracer
from flask import Blueprint, abort, request

STEPS = ("place", "pay", "prepare", "deliver")
STANDS = {"place": "placed", "pay": "paid", "prepare": "prepared", "deliver": "delivered"}
"""Where an order stands once a step is done."""

CREDENTIAL = "pseudonym-key"
SHORTEST_KEY = 16
PSEUDONYM = 16
"""Hexadecimal digits of a pseudonym."""

KEPT = 10_000
"""Orders that are remembered, the latest ones."""

LONGEST_DELAY = 10.0
"""Seconds by which a rehearsal can delay a step."""

CALLERS_OWN = ("http.url", "http.query.string", "http.useragent", "http.referrer_hostname")
"""Tags of a span that hold whatever its caller wrote."""

journey = Blueprint("journey", __name__)


@dataclass
class Order:
    """An order: whose it is, by pseudonym, and when each step was done (Unix seconds)."""

    customer: str
    tier: str
    done: dict[str, float] = field(default_factory=dict)

    @property
    def stands(self) -> str:
        """Where it stands, in one word."""
        return STANDS[list(self.done)[-1]]

    @property
    def next(self) -> str:
        """The step that is to be done next; empty once it is delivered."""
        return STEPS[len(self.done)] if len(self.done) < len(STEPS) else ""


orders: OrderedDict[uuid.UUID, Order] = OrderedDict()
lock = threading.Lock()


class CallersTexts(TraceFilter):
    """Cuts what a caller wrote from every span: a name or an address in a path would reach Datadog by it."""

    def process_trace(self, trace: list[Span]) -> list[Span]:
        """Leave of each request its route."""
        for span in trace:
            if span.get_tag("http.url") is not None:
                route = span.get_tag("http.route") or ""
                for name in CALLERS_OWN:
                    span.set_tag(name, "")
                span.set_tag("http.url", route)
        return trace


def read_key() -> bytes:
    """Read the pseudonyms' key; ends the app where there is none."""
    folder = os.environ.get("CREDENTIALS_DIRECTORY", "")
    try:
        key = Path(folder, CREDENTIAL).read_bytes().strip()
    except OSError:
        key = b""
    if len(key) < SHORTEST_KEY:
        sys.exit(f"the credential {CREDENTIAL} is missing or shorter than {SHORTEST_KEY} bytes: see LoadCredential=")
    return key


def folded(customer: str) -> str:
    """Return one spelling of a name or an address, whatever its case, accents' form, and blanks; none of nothing.

    Source: https://www.unicode.org/reports/tr31/#NFKC_Modifications (both mappings, until nothing changes)
    """
    shown = "".join(letter for letter in customer if unicodedata.category(letter) != "Cf")
    mapped = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", shown).casefold()).casefold()
    return " ".join(unicodedata.normalize("NFKC", mapped).split())


def pseudonym(key: bytes, customer: str) -> str:
    """Return a customer's pseudonym: one for all spellings of a name or an address."""
    return hmac.new(key, folded(customer).encode(), hashlib.sha256).hexdigest()[:PSEUDONYM]


def sent(name: str) -> str:
    """Return a header's text, which is UTF-8, or Latin-1 where it isn't; as bytes, WSGI reads it as the latter."""
    text = request.headers.get(name, "")
    try:
        return text.encode("latin-1").decode("utf-8")
    except UnicodeError:
        return text


def tag(order: Order, step: str) -> None:
    """Say on the request's entry span whose order it is, and at which step."""
    span = tracer.current_root_span()
    if span is not None:
        span.set_tags({"customer.id": order.customer, "customer.tier": order.tier, "journey.step": step})


def rehearse() -> None:
    """Be slow (``X-Rehearse: slow SECONDS``) or fail (``X-Rehearse: error``), if this host itself asks for it."""
    word, _, seconds = request.headers.get("X-Rehearse", "").partition(" ")
    if not word or not ipaddress.ip_address(request.remote_addr or "::").is_loopback:
        return
    if word == "error":
        abort(500, "as rehearsed")
    try:
        time.sleep(max(0.0, min(float(seconds), LONGEST_DELAY)))
    except ValueError:
        abort(400, "X-Rehearse is `slow SECONDS` or `error`")


@journey.post("/api/orders")
def place() -> dict[str, str]:
    """Place an order."""
    customer = sent("X-Customer")
    tier = request.headers.get("X-Customer-Tier", "")
    tiers = app.config["TIERS"]
    if not folded(customer) or tier not in tiers:
        abort(400, f"X-Customer says who orders, and X-Customer-Tier is one of {', '.join(tiers)}")
    number, order = uuid.uuid4(), Order(customer=pseudonym(app.config["KEY"], customer), tier=tier)
    tag(order, "place")
    rehearse()
    order.done["place"] = time.time()
    with lock:
        orders[number] = order
        while len(orders) > KEPT:
            orders.popitem(last=False)
    return {"order": str(number)}


def advance(number: uuid.UUID, step: str) -> dict[str, str]:
    """Do a step of an order, if it is the next one."""
    order = orders.get(number) or abort(404)
    tag(order, step)
    if order.next != step:
        abort(409, f"the order is {order.stands}, so that {step} is not its next step")
    rehearse()
    order.done[step] = time.time()
    return shown(number, order)


for name in STEPS[1:]:
    journey.add_url_rule(f"/api/orders/<uuid:number>/{name}", name, advance, methods=["POST"], defaults={"step": name})


@journey.get("/api/orders/<uuid:number>")
def look(number: uuid.UUID) -> dict[str, str]:
    """Say where an order stands."""
    return shown(number, orders.get(number) or abort(404))


def shown(number: uuid.UUID, order: Order) -> dict[str, str]:
    """Return an order as it is answered, without its customer."""
    since = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(list(order.done.values())[-1]))
    return {"order": str(number), "stands": order.stands, "since": since, "next": order.next}


if __name__ == "__main__":
    app.config["KEY"], app.config["TIERS"] = read_key(), tuple(os.environ["JOURNEY_TIERS"].split(","))
    tracer.configure(trace_processors=[CallersTexts()])
    app.register_blueprint(journey)
    app.run(host=os.environ.get("APP_HOST", "127.0.0.1"), port=int(os.environ.get("APP_PORT", "5050")), threaded=True)

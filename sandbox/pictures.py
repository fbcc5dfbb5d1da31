"""Takes the pictures in docs/pictures/: of the pages of the stack of `make up`, and of its resources.

Times and values are the stack's and differ between runs; everything else is fixed.
"""

import io
import json
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import jinja2
import PIL.Image
from playwright.sync_api import Browser

from sandbox import paths
from sandbox.datadog import Account, demo, desk
from sandbox.datadog.store import opened
from sandbox.progress import SandboxError, say, step
from sandbox.stack import Stack

FOLDER = paths.ROOT / "docs" / "pictures"

LARGEST = 200_000
"""Maximum bytes of a picture, since every clone has them all."""

WIDTH = 1280
TALLEST = 1800
"""Maximum pixels of a picture. A `close` one is half as wide on its page, and drawn twice as large."""

SEEN = 900
"""Seconds of the metric that have to exist before a graph shows anything."""

METRIC = "my_metric"
DATABASE = "mysql.performance.user_time"
WORK = "mysql --execute \"SELECT BENCHMARK(20000000, MD5('watchpost'))\""
"""Keeps the database busy for some seconds, which is an anomaly on an idle one."""

HITS = "trace.flask.request.hits"
STATES = {"Alert": "alert", "Warn": "warning", "No Data": "no-data"}
"""The pictures of the monitor's mail, by state."""


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A page of the account, or the part that a selector finds; for ``close`` see `TALLEST`."""

    name: str
    path: str
    query: Mapping[str, object] = field(default_factory=dict)
    part: str = ""
    close: bool = False

    @property
    def address(self) -> str:
        """The URL's path and query."""
        return f"{self.path}?{urlencode(self.query)}" if self.query else self.path


def take(stack: Stack, browser: Browser) -> None:
    """Take all pictures of a running stack; drives its monitor through its states, as `make demo` does.

    Raises:
        SandboxError: something to be pictured doesn't appear; the message names it.
    """
    account, outputs = stack.account, stack.outputs()
    FOLDER.mkdir(parents=True, exist_ok=True)
    with step("waiting for a customer in trouble"):
        ticket = _ticket(account)
    # First of all, since their trouble is rehearsed during `up` and over some minutes later.
    customers = _path(outputs["customerExperience"]["dashboard"], account)
    _shoot(browser, account, Picture(name="customers", path=customers))
    with step(f"waiting for {SEEN // 60} minutes of {METRIC}"):
        _wait(account)
    with step(f"waiting for {DATABASE} to stray from what it was"):
        _strain(stack)
    stack.python("-m", "watchpost", "snapshot", "--stack", stack.name, cwd=stack.project)
    for picture in _of_now(outputs, account, ticket):
        _shoot(browser, account, picture)
    if not STATES.keys() <= {mail["kind"] for mail in account.mails() if mail["about"] == "monitor"}:
        demo.run(account, say)
    for picture in _of_mail(account):
        _shoot(browser, account, picture)
    _draw(
        browser,
        "resources",
        resources(json.loads(stack.pulumi("stack", "export", "--stack", stack.name).stdout), stack.name),
    )
    say(f"the pictures are in {FOLDER.relative_to(paths.ROOT)}: look at each before you commit it")


def _wait(account: Account) -> None:
    deadline = time.monotonic() + 2 * SEEN
    while True:
        now = time.time()
        # A demo leaves points in the future.
        seen = [point["at"] for point in account.series(METRIC) if point["at"] <= now]
        if seen and now - min(seen) >= SEEN and now - max(seen) < SEEN / 2:
            return
        if time.monotonic() > deadline:
            raise SandboxError(f"{METRIC} has not arrived for {SEEN // 60} minutes: look at the Agent on the host")
        time.sleep(5)


def _strain(stack: Stack) -> None:
    """Keep the database busy, and wait until its metric shows that and some time after it."""
    began = time.time()
    next(iter(stack.machines.values())).run(WORK)
    done = time.time()
    while True:
        seen = [point for point in stack.account.series(DATABASE) if began < point["at"] <= time.time()]
        if any(point["value"] > 0.1 for point in seen) and any(point["at"] > done + 60 for point in seen):
            return
        if time.time() > done + SEEN:
            raise SandboxError(f"{DATABASE} has not followed what the database did: look at the Agent on the host")
        time.sleep(5)


def _of_now(outputs: Mapping[str, Any], account: Account, ticket: int) -> Iterator[Picture]:
    """The pictures of what the stack's Agent and app sent, and of the ticket that followed."""
    timeboard = _path(outputs["timeboard"], account)
    yield Picture(name="hosts", path="/infrastructure", close=True)
    yield Picture(name="host", path="/infrastructure", query={"hostname": next(iter(outputs["hosts"])), "span": "15m"})
    yield Picture(name="timeboard", path=timeboard)
    for name, words in (("my-metric", "over the host"), ("anomalies", "anomalies"), ("rollup", "sum over each hour")):
        part = f"section.card:has(h2:has-text('{words}'))"
        yield Picture(name=name, path=timeboard, query={"span": "15m"}, part=part, close=True)
    yield Picture(name="apm", path=_path(outputs["apmDashboard"], account), query=_load(account))
    yield Picture(name="shared", path=_path(outputs["sharedDashboard"], account))  # viewers can't choose a time frame
    yield Picture(name="service", path=_path(outputs["service"], account), query=_load(account))
    yield Picture(name="downtimes", path="/monitors/downtimes")
    yield Picture(name="ticket", path=f"/tickets/{ticket}", close=True)


def _ticket(account: Account) -> int:
    """Wait for a ticket whose customer was told; return its number."""
    deadline = time.monotonic() + SEEN
    while True:
        with opened(account.folder) as store:
            found = [ticket["id"] for ticket in desk.tickets(store) if ticket["told"]]
        if found:
            return int(found[-1])
        if time.monotonic() > deadline:
            raise SandboxError("no customer in trouble has got a ticket: look at the load on the host")
        time.sleep(5)


def _load(account: Account) -> dict[str, object]:
    """Return the time frame of the traced app's load, with some time before and after."""
    hits = [point["at"] for point in account.series(HITS)]
    if not hits:
        raise SandboxError(f"the traced app has sent no {HITS}: look at the load on the host")
    return _frame(min(hits) - 180, max(hits) + 180)


def _frame(start: float, end: float) -> dict[str, object]:
    return {"from_ts": int(1000 * start), "to_ts": int(1000 * end)}


def _of_mail(account: Account) -> Iterator[Picture]:
    """The pictures of the mail, and of the monitor meanwhile."""
    last: dict[tuple[str, str], dict[str, Any]] = {(mail["about"], mail["kind"]): mail for mail in account.mails()}
    states = {state: last["monitor", state] for state in STATES}
    start, end = states["Warn"]["at"] - 900, states["No Data"]["at"] + 600
    yield Picture(name="monitor", path=f"/monitors/{states['Alert']['of']}", query=_frame(start, end))
    for state, name in STATES.items():
        yield Picture(name=f"mail-{name}", path=f"/mail/{states[state]['id']}", close=True)
    told = {"downtime": last.get(("downtime", "scheduled")), "snapshot": last.get(("event", ""))}
    for name, mail in told.items():
        if mail is None:
            raise SandboxError(f"the account has no mail of a {name}")
        yield Picture(name=f"mail-{name}", path=f"/mail/{mail['id']}", close=True)


def _path(address: str, account: Account) -> str:
    """Return the path of one of the stack's links to the account's pages."""
    return address.removeprefix(account.url).partition("?")[0]


def _shoot(browser: Browser, account: Account, picture: Picture) -> None:
    """Take a picture of a page."""
    with browser.new_context(
        viewport={"width": WIDTH // (1 + picture.close), "height": 720},
        device_scale_factor=1 + picture.close,
        color_scheme="light",
        reduced_motion="reduce",
        locale="en-GB",
        timezone_id="UTC",
    ) as context:
        page = context.new_page()
        page.goto(account.url + picture.address)
        page.wait_for_load_state("networkidle")
        # The whole page, or a part of it with its surroundings, as wide as the page.
        box = page.locator(picture.part).first.bounding_box() if picture.part else None
        whole = page.evaluate("document.body.offsetHeight")
        top, height = (box["y"] - 12, box["height"] + 24) if box else (0, whole)
        clip = {
            "x": 0,
            "y": top,
            "width": WIDTH / (1 + picture.close),
            "height": min(height, TALLEST / (1 + picture.close)),
        }
        _keep(picture.name, page.screenshot(full_page=True, clip=clip, animations="disabled"))  # type: ignore[arg-type]


def _draw(browser: Browser, name: str, html: str) -> None:
    """Take a picture of the given HTML."""
    with browser.new_context(viewport={"width": WIDTH, "height": 720}, color_scheme="light") as context:
        page = context.new_page()
        page.set_content(html)
        _keep(name, page.locator("body").screenshot())


def _keep(name: str, png: bytes) -> None:
    path = FOLDER / f"{name}.png"
    # Drops some of the many shades of letters' edges, but no rarer colours.
    colours = PIL.Image.open(io.BytesIO(png)).convert("RGB")
    few = colours.quantize(256, PIL.Image.Quantize.MAXCOVERAGE, kmeans=2, dither=PIL.Image.Dither.NONE)
    few.save(path, optimize=True)
    size = path.stat().st_size
    if size > LARGEST:
        raise SandboxError(f"the picture {name} has {size} bytes, more than {LARGEST}: show less on it")
    say(f"{path.name}: {size // 1000} kB")


def resources(state: Mapping[str, Any], stack: str) -> str:
    """Render a stack's resources, from ``pulumi stack export``, as a page with each below its parent."""
    # By name: the engine's order is that of their creation.
    found = sorted(state["deployment"]["resources"], key=lambda resource: str(resource["urn"]).rpartition("::")[2])
    nodes: dict[str, dict[str, Any]] = {}
    roots: list[dict[str, Any]] = []
    for resource in found:
        kind, _, name = resource["urn"].rpartition("::")
        nodes[resource["urn"]] = {
            "name": name,
            "type": re.sub(":index/[^:]*:", ":", kind.rpartition("::")[2].rpartition("$")[2]),
            "custom": resource["custom"],
            "children": [],
        }
    for resource in found:
        parent = nodes.get(resource.get("parent", ""))
        (roots if parent is None else parent["children"]).append(nodes[resource["urn"]])
    shown = [
        child for root in roots for child in (root["children"] if root["type"] == "pulumi:pulumi:Stack" else [root])
    ]
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("resources.html").render(stack=stack, count=len(found), nodes=shown)

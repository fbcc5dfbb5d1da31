"""The order journey: its steps, its spans under the real tracer, and that no customer is known by them."""

import hashlib
import hmac
import json
import re
import shlex
import subprocess
import urllib.parse
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from components import templates
from components.traced_app import KEY, UNIT, TracedAppArgs, unit_values
from sandbox.testing.processes import free_port, running, wait_until

from .scripts import Done, run
from .test_traced_app import get, unit_environment

FILES = Path(templates.FILES, "traced_app")
DOCS = Path(templates.FILES.parent, "docs", "customer-experience.md")
SECRET = "fake-pseudonym-key-of-the-tests"
STEPS = ("place", "pay", "prepare", "deliver")
JANE = ("Jane Doe", "jane.doe@example.com", "12 Elm Street", "Zo\u00eb \u00d6st")
"""What must not be found anywhere outside of the app."""


def unit(tiers: tuple[str, ...] = ("gold", "silver", "bronze"), key: str | None = SECRET) -> str:
    """Return the app's unit file."""
    args = TracedAppArgs(
        host=mock.Mock(),
        agent=mock.Mock(),
        service="shop",
        env="dev",
        version="1.0.0",
        pseudonym_key=key,
        tiers=tiers,
    )
    return templates.text_file(f"traced_app/{UNIT}", unit_values(args))


@dataclass(frozen=True, kw_only=True)
class Shop:
    """The running app with its journey, and the agent that hears of it."""

    port: int
    agent_port: int
    log: Path
    process: "subprocess.Popen[bytes]"

    def post(self, path: str, customer: str = "", tier: str = "gold", **headers: str) -> tuple[int, Any]:
        """Send a step; return the status, and the answer where it is JSON."""
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        if customer:
            headers |= {"X-Customer": customer.encode().decode("latin-1"), "X-Customer-Tier": tier}
        status, text = get(f"http://127.0.0.1:{self.port}{path}", method="POST", headers=headers)
        return status, json.loads(text) if status == 200 else text

    def place(self, customer: str, tier: str = "gold", **headers: str) -> str:
        """Place an order; return its path."""
        status, answer = self.post("/api/orders", customer, tier, **headers)
        assert status == 200, answer
        return f"/api/orders/{answer['order']}"

    def look(self, path: str) -> Any:
        """Return where an order stands."""
        return json.loads(get(f"http://127.0.0.1:{self.port}{path}")[1])

    def traces(self, count: int) -> list[list[dict[str, Any]]]:
        """Wait for ``count`` traces, and return them."""
        traces: list[list[dict[str, Any]]] = []

        def received() -> bool:
            traces[:] = json.loads(get(f"http://127.0.0.1:{self.agent_port}/test/session/traces")[1])
            return len(traces) >= count

        wait_until(received, f"{count} traces of the app are received")
        return traces

    def entries(self, count: int) -> list[dict[str, Any]]:
        """Return the entry spans of the journey among ``count`` traces, oldest first."""
        spans = [span for trace in self.traces(count) for span in trace if "journey.step" in span["meta"]]
        return sorted(spans, key=lambda span: span["start"])


@pytest.fixture(scope="module")
def agent_port(agent_python: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of a test agent for all shops."""
    port, folder = free_port(), tmp_path_factory.mktemp("agent")
    agent: list[str | Path] = [agent_python.with_name("ddapm-test-agent"), "--port", str(port)]
    with running(agent, folder / "agent.log", port=port, env={}, cwd=folder):
        yield port


@pytest.fixture
def shop(app_python: Path, agent_port: int, tmp_path: Path) -> Iterator[Shop]:
    """The app as its unit starts it, except for its ports and folder; its agent has forgotten the ones before."""
    for name in ("app.py", "journey.py"):
        (tmp_path / name).write_text((FILES / name).read_text())
    (tmp_path / "pseudonym-key").write_text(SECRET)
    text = unit()
    start = re.findall(r"^ExecStart=(.*)$", text, re.MULTILINE)[0]
    command = shlex.split(start.replace("/opt/watchpost-app/venv/bin", str(app_python.parent)))
    port, log = free_port(), tmp_path / "app.log"
    environment = unit_environment(text) | {"APP_PORT": str(port), "DD_TRACE_AGENT_PORT": str(agent_port)}
    environment |= {"CREDENTIALS_DIRECTORY": str(tmp_path)}
    assert get(f"http://127.0.0.1:{agent_port}/test/session/clear")[0] == 200
    with running(command, log, port=port, env=environment, cwd=tmp_path) as process:
        yield Shop(port=port, agent_port=agent_port, log=log, process=process)


def test_an_order_goes_through_its_steps_and_says_where_it_stands(shop: Shop) -> None:
    path = shop.place("jane")
    assert shop.look(path)["stands"] == "placed"
    for step, stands in (("pay", "paid"), ("prepare", "prepared"), ("deliver", "delivered")):
        assert shop.look(path)["next"] == step
        assert shop.post(f"{path}/{step}")[1]["stands"] == stands
    assert (shop.look(path)["stands"], shop.look(path)["next"]) == ("delivered", "")


def test_a_step_out_of_turn_changes_nothing(shop: Shop) -> None:
    path = shop.place("jane")
    assert shop.post(f"{path}/deliver")[0] == 409
    assert shop.post(f"{path}/pay")[0] == 200
    assert shop.post(f"{path}/pay")[0] == 409
    assert shop.look(path)["stands"] == "paid"
    assert shop.post("/api/orders/00000000-0000-4000-8000-000000000000/pay")[0] == 404
    assert shop.post("/api/orders/jane/pay")[0] == 404


def test_the_entry_span_of_each_step_says_whose_it_is_and_is_never_sampled_away(shop: Shop) -> None:
    # The caller's own decision to drop the trace doesn't count.
    dropped = {"x_datadog_sampling_priority": "-1", "x_datadog_trace_id": "7", "x_datadog_parent_id": "7"}
    for customer, tier in (("jane", "gold"), ("joe", "bronze")):
        path = shop.place(customer, tier, **dropped)
        for step in STEPS[1:]:
            shop.post(f"{path}/{step}", **dropped)
    entries = shop.entries(8)
    assert [span["meta"]["journey.step"] for span in entries] == [*STEPS, *STEPS]
    assert {span["name"] for span in entries} == {"flask.request"}
    assert [span["meta"]["customer.tier"] for span in entries] == ["gold"] * 4 + ["bronze"] * 4
    customers = [span["meta"]["customer.id"] for span in entries]
    assert (len(set(customers[:4])), len(set(customers))) == (1, 2)
    assert all(re.fullmatch(r"[0-9a-f]{16}", customer) for customer in customers)
    # Kept by a rule (2, user keep), of which none is over a limit. Source:
    # https://docs.datadoghq.com/tracing/trace_pipeline/ingestion_mechanisms/
    for span in entries:
        assert span["metrics"]["_sampling_priority_v1"] == 2
        assert (span["metrics"]["_dd.rule_psr"], span["metrics"].get("_dd.limit_psr", 1)) == (1, 1)
        assert not span.get("parent_id")


def test_more_orders_than_the_tracers_own_limit_are_all_kept(shop: Shop) -> None:
    # A hundred a second, unless told otherwise.
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: shop.place(f"customer {number}"), range(400)))
    assert {span["metrics"]["_sampling_priority_v1"] for span in shop.entries(400)} == {2}


SPELLINGS = [
    [
        "jane@example.com",
        " Jane@Example.COM ",
        "\uff4aane@example.com",
        "jane\u200b@example.com",
        "\ufeffjane@example.com",
    ],
    ["zo\u00eb \u00f6st", "ZOE\u0308  O\u0308ST", "Zo\u00eb\u00a0\u00d6st", "zo\u00eb\u00ad \u00f6st"],
    ["STRASSE", "stra\u00dfe", "Stra\u1e9ee"],
    ["jane " + "x" * 8000],
    ["jane " + "x" * 7999 + "y"],
]
"""Customers, each with spellings of theirs."""


def test_one_customer_is_one_pseudonym_however_they_spell_it(shop: Shop) -> None:
    for spellings in SPELLINGS:
        for customer in spellings:
            shop.place(customer)
    found = iter(span["meta"]["customer.id"] for span in shop.entries(sum(map(len, SPELLINGS))))
    pseudonyms = [{next(found) for _ in spellings} for spellings in SPELLINGS]
    assert [len(each) for each in pseudonyms] == [1] * len(SPELLINGS)
    assert len(set.union(*pseudonyms)) == len(SPELLINGS)


def test_support_computes_the_pseudonym_that_the_app_uses(shop: Shop, app_python: Path) -> None:
    (command,) = re.findall(r"```sh\ncd /opt/watchpost-app\n(.*?)```", DOCS.read_text(), re.DOTALL)
    typed = command.replace("venv/bin/python", str(app_python)).replace("getpass.getpass", "input")
    shop.place("Jane.Doe@example.com")
    (entry,) = shop.entries(1)
    done = subprocess.run(
        ["bash", "-c", typed],
        cwd=shop.log.parent,
        input=" jane.doe@example.com\n",
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split()[-1] == entry["meta"]["customer.id"]
    assert "jane" not in command.lower()


def test_the_python_snippet_tags_the_entry_span_and_survives_without_one(app_python: Path) -> None:
    (snippet,) = re.findall(r"```python\n(.*?)```", DOCS.read_text(), re.DOTALL)
    use = """
KEY = b"fake-key-of-a-snippet"
tag("pay", "Jane@example.com", "gold")
with tracer.trace("entry") as entry, tracer.trace("inner") as inner:
    tag("pay", "Jane@example.com", "gold")
names = ("customer.id", "customer.tier", "journey.step")
print([entry.get_tag(name) for name in names], [inner.get_tag(name) for name in names])
"""
    environment = {"DD_TRACE_ENABLED": "true", "DD_INSTRUMENTATION_TELEMETRY_ENABLED": "false"}
    done = subprocess.run(
        [app_python, "-c", snippet + use], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    pseudonym = hmac.new(b"fake-key-of-a-snippet", b"jane@example.com", hashlib.sha256).hexdigest()[:16]
    assert done.stdout.strip() == f"{[pseudonym, 'gold', 'pay']} {[None] * 3}"


def test_a_header_in_latin_1_is_the_same_customer_as_in_utf_8_and_no_other(shop: Shop) -> None:
    def in_latin_1(customer: str) -> None:
        headers = {"X-Customer": customer, "X-Customer-Tier": "gold"}
        assert get(f"http://127.0.0.1:{shop.port}/api/orders", method="POST", headers=headers)[0] == 200

    shop.place("zo\u00eb")
    in_latin_1("zo\u00eb")
    in_latin_1("zo\u00e9")
    found = [span["meta"]["customer.id"] for span in shop.entries(3)]
    assert found[0] == found[1] != found[2]


@pytest.mark.parametrize("nobody", ["\u200b", "\u00ad\u2060", "\u3000"])
def test_a_name_that_shows_nothing_is_nobody_s(shop: Shop, nobody: str) -> None:
    assert shop.post("/api/orders", nobody)[0] == 400
    assert shop.entries(1) == []


def test_no_name_or_address_leaves_the_app(shop: Shop) -> None:
    for customer in JANE:
        path = shop.place(customer, baggage=f"user.id={urllib.parse.quote(customer)}")
        quoted = urllib.parse.quote(customer)
        for step in STEPS[1:]:
            shop.post(f"{path}/{step}?customer={quoted}", customer, User_Agent=customer.encode().decode("latin-1"))
        shop.post(f"/api/orders/{quoted}/pay", customer)
        shop.post("/api/orders", customer, quoted)
        shop.post("/api/orders", customer, X_Rehearse="error", Referer=f"http://example.com/{quoted}")
        get(f"http://127.0.0.1:{shop.port}{path}?{quoted}")
        get(f"http://127.0.0.1:{shop.port}/{quoted}", headers={"Host": quoted.replace("%", "")})
    sent = json.dumps(shop.traces(9 * len(JANE)), ensure_ascii=False)
    everything = sent + shop.log.read_text()
    for customer in JANE:
        for spelling in (customer, urllib.parse.quote(customer), customer.encode().decode("latin-1"), customer.lower()):
            assert spelling not in everything
            assert spelling.replace("%", "") not in everything
    assert SECRET not in everything


def test_a_rehearsed_failure_is_an_error_of_that_step_and_a_delay_its_duration(shop: Shop) -> None:
    path = shop.place("jane", X_Rehearse="slow 0.3")
    assert shop.post(f"{path}/pay", X_Rehearse="error")[0] == 500
    assert shop.look(path)["stands"] == "placed"
    assert shop.post(f"{path}/pay", X_Rehearse="slow lots")[0] == 400
    slow, failed = shop.entries(4)[:2]
    assert slow["duration"] >= 0.3e9
    assert (slow["error"], failed["error"], failed["meta"]["journey.step"]) == (0, 1, "pay")


def test_an_order_without_a_customer_or_a_tier_is_refused(shop: Shop) -> None:
    assert shop.post("/api/orders")[0] == 400
    status, text = shop.post("/api/orders", "jane", "platinum")
    assert status == 400
    assert "gold, silver, bronze" in text
    assert shop.entries(2) == []


def test_without_its_credential_the_app_says_which_one_is_missing(app_python: Path, tmp_path: Path) -> None:
    for name in ("app.py", "journey.py"):
        (tmp_path / name).write_text((FILES / name).read_text())
    for content in ("", "short"):
        (tmp_path / "pseudonym-key").write_text(content)
        done = subprocess.run(
            [app_python, "journey.py"],
            cwd=tmp_path,
            env={"CREDENTIALS_DIRECTORY": str(tmp_path), "JOURNEY_TIERS": "gold", "DD_TRACE_ENABLED": "false"},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 1
        assert "credential pseudonym-key" in done.stderr
        assert "Traceback" not in done.stderr


def test_the_key_reaches_the_app_as_a_credential_and_by_no_variable() -> None:
    text = unit()
    assert f"LoadCredential=pseudonym-key:{KEY}\n" in text
    assert SECRET not in text


def test_without_a_key_the_unit_is_that_of_the_app_alone() -> None:
    text = unit(key=None)
    assert not re.search("journey|JOURNEY|LoadCredential|SAMPLING", text)
    assert "ddtrace-run /opt/watchpost-app/venv/bin/python app.py\n" in text


def play(port: int, **changes: str | int) -> Done:
    """Run the load generator that plays customers."""
    variables: dict[str, str | int] = {
        "port": port,
        "tiers": "gold silver bronze",
        "customers": 9,
        "orders": 2,
    }
    return run("load/customers.sh", variables={**variables, **changes})


def test_customers_of_each_tier_place_orders_and_have_them_delivered(shop: Shop) -> None:
    done = play(shop.port)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"customers": 9, "orders": 18, "delivered": 18, "troubled": 0}
    entries = shop.entries(18 * 4)
    seen = Counter((span["meta"]["customer.tier"], span["meta"]["journey.step"]) for span in entries)
    assert seen == {(tier, step): 6 for tier in ("gold", "silver", "bronze") for step in STEPS}
    assert len({span["meta"]["customer.id"] for span in entries}) == 9


@pytest.mark.parametrize(("trouble", "delivered"), [("slow", 12), ("error", 9)])
def test_only_a_share_of_each_tiers_customers_meets_trouble_at_one_step(
    shop: Shop, trouble: str, delivered: int
) -> None:
    done = play(shop.port, customers=12, orders=1, share=25, step="pay", trouble=trouble, delay="0.5")
    assert json.loads(done.stdout) == {"customers": 12, "orders": 12, "delivered": delivered, "troubled": 3}
    entries = shop.entries(12 * 4 - (12 - delivered) * 2)
    bad = [span for span in entries if span["error"] or span["duration"] > 0.5e9]
    assert {span["meta"]["journey.step"] for span in bad} == {"pay"}
    assert sorted(span["meta"]["customer.tier"] for span in bad) == ["bronze", "gold", "silver"]


def test_customers_whose_shop_does_not_answer_are_said_so() -> None:
    done = play(free_port())
    assert (done.returncode, done.stdout) == (1, "")
    assert "watchpost: the customers' orders broke off: " in done.stderr
    assert "Traceback" not in done.stderr

"""The proof of the Proactive Customer Experience System: simulated customers before the monitors that it makes.

A share of a population meets slowness or errors at one step: they, and only they, get a ticket.
"""

import os
import tempfile
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from statistics import median

from bench.report import Report
from sandbox.testing import customers
from sandbox.testing.customers import NONE, REALISTIC, Noise, Outcome, System

SEEDS = 50
"""Fewest seeded runs, each with slowness or errors by turns, without noise and with it."""

KINDS: tuple[str, ...] = ("slow", "errors")
SCENARIOS: Mapping[str, tuple[Callable[..., customers.Trouble], int, Noise]] = {
    "platform": (customers.everybody, 90, REALISTIC),
    "flapping": (customers.flapping, 165, NONE),
}
"""What is chosen, minutes, and noise of the other runs."""


def run(runs: int) -> Report:
    """Run the simulations, at least 50 of each kind of noise."""
    seeds = range(max(SEEDS, runs))
    with _pool() as pool:
        found = {
            name: list(pool.map(_simulated, [(name, seed) for seed in seeds]))
            for name in ("without noise", "with noise")
        }
        others = {name: list(pool.map(_simulated, [(name, seed) for seed in range(10)])) for name in SCENARIOS}
    report = Report(
        title=f"Customers in trouble, over {len(seeds)} seeded runs each",
        header=("population", "customers in trouble", "with a ticket", "precision", "recall", "minutes to the ticket"),
        figures={name: [_figures(outcome) for outcome in outcomes] for name, outcomes in (found | others).items()},
    )
    for name, outcomes in found.items():
        times = sorted(minutes for outcome in outcomes for minutes in outcome.minutes_since_enough)
        first = max(minutes for outcome in outcomes for minutes in outcome.minutes_since_first)
        report.rows.append(
            (
                name,
                str(sum(len(outcome.in_trouble) for outcome in outcomes)),
                str(sum(len(outcome.ticketed) for outcome in outcomes)),
                f"{precision(outcomes):.3f}",
                f"{recall(outcomes):.3f}",
                f"{median(times):.1f} (at most {times[-1]:.1f})",
            )
        )
        still = sum(outcome.left_open for outcome in outcomes)
        report.notes.append(
            f"{name}: at most {first:.1f} minutes from a customer's very first order in trouble, also where they order"
            f" seldom; {still} tickets stayed open after the trouble was over"
        )
    platform, flapping = others["platform"], others["flapping"]
    incidents = _each(outcome.incidents for outcome in platform)
    about_it = sum(outcome.about_it for outcome in platform)
    others_too = sum(outcome.tickets for outcome in platform) - about_it
    report.notes.append(
        f"a slowdown of the whole platform, {len(platform)} runs with noise: {incidents} incident each, {about_it}"
        f" tickets about it, {others_too} about another step"
    )
    told, tickets = (
        _each(sum(outcome.told.values()) for outcome in flapping),
        _each(outcome.tickets for outcome in flapping),
    )
    report.notes.append(f"a customer in and out of trouble four times: told {told} time of {tickets} tickets")
    return report


def precision(outcomes: list[Outcome]) -> float:
    """Return the share of customers with a ticket who met the trouble at that step."""
    ticketed = sum(len(outcome.ticketed) for outcome in outcomes)
    return sum(len(outcome.ticketed & outcome.met) for outcome in outcomes) / ticketed


def recall(outcomes: list[Outcome]) -> float:
    """Return the share of customers in trouble, with enough orders to tell anything by, who got a ticket."""
    in_trouble = sum(len(outcome.in_trouble) for outcome in outcomes)
    return sum(len(outcome.ticketed & outcome.in_trouble) for outcome in outcomes) / in_trouble


def _simulated(asked: tuple[str, int]) -> Outcome:
    """Run one simulation, in a process of its own."""
    name, seed = asked
    with tempfile.TemporaryDirectory() as folder:
        system = System(Path(folder))
        if name in SCENARIOS:
            chosen, minutes, noise = SCENARIOS[name]
            return system.simulate(seed, chosen, minutes=minutes, noise=noise)
        kind = KINDS[seed % len(KINDS)]
        noise = NONE if name == "without noise" else REALISTIC
        return system.simulate(seed, customers.some(kind), noise=noise)  # type: ignore[arg-type]


def _pool() -> ProcessPoolExecutor:
    # Each process does one thing at a time: polars needs no threads.
    os.environ.setdefault("POLARS_MAX_THREADS", "1")
    return ProcessPoolExecutor(len(os.sched_getaffinity(0)), mp_context=get_context("spawn"))


def _each(values: Iterable[int]) -> str:
    """Format what is the same in each run as one number, else as a range."""
    found = sorted(values)
    return str(found[0]) if found[0] == found[-1] else f"{found[0]} to {found[-1]}"


def _figures(outcome: Outcome) -> dict[str, object]:
    return {
        "watched": len(outcome.watched),
        "met": len(outcome.met),
        "in_trouble": len(outcome.in_trouble),
        "ticketed": len(outcome.ticketed),
        "right": len(outcome.ticketed & outcome.met),
        "missed": len(outcome.in_trouble - outcome.ticketed),
        "minutes_since_first": [round(minutes, 2) for minutes in outcome.minutes_since_first],
        "minutes_since_enough": [round(minutes, 2) for minutes in outcome.minutes_since_enough],
        "left_open": outcome.left_open,
        "tickets": outcome.tickets,
        "told": sum(outcome.told.values()),
        "incidents": outcome.incidents,
    }

"""The proof of the Proactive Customer Experience System: simulated customers before the monitors that it makes.

A share of a population meets slowness or errors at one step: they, and only they, get a ticket.
"""

import os
import tempfile
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from statistics import median

import startup
from bench.report import Report
from sandbox.testing import customers
from sandbox.testing.customers import NONE, REALISTIC, Noise, Outcome, System

SEEDS = 50
"""Fewest seeded runs, each with slowness or errors by turns, without noise and with it."""

KINDS: tuple[str, ...] = ("slow", "errors")
SCENARIOS: Mapping[str, tuple[Callable[..., customers.Trouble], int, int, Noise]] = {
    "platform": (customers.everybody, 36, 90, REALISTIC),
    "flapping": (customers.flapping, 18, 165, NONE),
}
"""What is chosen, customers, minutes, and noise of the other runs."""


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
        report.notes.append(f"{name}: {_waited(outcomes)}")
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


def _waited(outcomes: list[Outcome]) -> str:
    """Say how long customers waited since their very first order in trouble, by how often they order."""
    met = sum(len(outcome.met) for outcome in outcomes)
    right = sum(len(outcome.ticketed & outcome.met) for outcome in outcomes)
    often = [minutes for outcome in outcomes for minutes in outcome.minutes_since_first]
    seldom = [minutes for outcome in outcomes for minutes in outcome.minutes_of_seldom]
    still = sum(outcome.left_open for outcome in outcomes)
    return (
        f"{right} of {met} customers who met the trouble got a ticket; {len(often)} of them ordered often enough from"
        f" their first order in trouble on, and waited at most {max(often):.1f} minutes since it; {len(seldom)} more"
        f" seldom{f', and waited at most {max(seldom):.1f} minutes' if seldom else ''}; {still} tickets stayed open"
        " after the trouble was over"
    )


def _simulated(asked: tuple[str, int]) -> Outcome:
    """Run one simulation, in one of the pool's processes."""
    name, seed = asked
    system, _ = _system()
    if name in SCENARIOS:
        chosen, size, minutes, noise = SCENARIOS[name]
        return system.simulate(seed, chosen, size=size, minutes=minutes, noise=noise)
    kind = KINDS[seed % len(KINDS)]
    noise = NONE if name == "without noise" else REALISTIC
    return system.simulate(seed, customers.some(kind), noise=noise)  # type: ignore[arg-type]


@cache
def _system() -> "tuple[System, tempfile.TemporaryDirectory[str]]":
    """Make the system, once for each process, in a folder that is removed at its end."""
    folder = tempfile.TemporaryDirectory()
    return System(Path(folder.name)), folder


def _pool() -> ProcessPoolExecutor:
    # Each process does one thing at a time: polars needs no threads.
    os.environ.setdefault("POLARS_MAX_THREADS", "1")
    return ProcessPoolExecutor(
        len(os.sched_getaffinity(0)), mp_context=get_context("spawn"), initializer=startup.prepare
    )


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
        "minutes_of_seldom": [round(minutes, 2) for minutes in outcome.minutes_of_seldom],
        "minutes_since_enough": [round(minutes, 2) for minutes in outcome.minutes_since_enough],
        "left_open": outcome.left_open,
        "tickets": outcome.tickets,
        "told": sum(outcome.told.values()),
        "incidents": outcome.incidents,
    }

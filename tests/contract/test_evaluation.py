"""Queries evaluate as Datadog documents: cases with sources, and properties against a plain implementation."""

import math
import statistics
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sandbox.datadog.evaluation import formulas, language, series
from sandbox.datadog.store import Kind, Point, Store, opened

from . import program
from .test_queries import boards

ROLLUP = "https://docs.datadoghq.com/dashboards/functions/rollup/"
MODIFIERS = "https://docs.datadoghq.com/metrics/custom_metrics/type_modifiers/"
QUERYING = "https://docs.datadoghq.com/dashboards/querying/"
FILL = "https://docs.datadoghq.com/metrics/guide/interpolation-the-fill-modifier-explained/"
DISTRIBUTIONS = "https://docs.datadoghq.com/metrics/distributions/"
FILTERING = "https://docs.datadoghq.com/metrics/advanced-filtering/"
ZERO = "https://docs.datadoghq.com/dashboards/functions/interpolation/#default-zero"
GROUPS = "https://docs.datadoghq.com/monitors/guide/troubleshooting-monitor-alerts/"

Lines = Mapping[str, list[tuple[int, float]]]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with opened(tmp_path) as store:
        yield store


def put(
    store: Store,
    values: Mapping[float, float],
    host: str = "a",
    tags: tuple[str, ...] = ("env:dev",),
    metric: str = "m",
    kind: Kind = "gauge",
    interval: int = 0,
) -> None:
    store.add_points(
        Point(metric=metric, at=at, value=value, host=host, tags=tags, kind=kind, interval=interval)
        for at, value in values.items()
    )


def lines(frame: pl.DataFrame) -> Lines:
    found: dict[str, list[tuple[int, float]]] = {}
    for group, at, value in frame.select("group", "at", "value").rows():
        found.setdefault(group, []).append((at, value))
    return found


def of(store: Store, query: str, start: float = 0, end: float = 120, every: int = 60) -> Lines:
    return lines(series.evaluate(series.Source(store), language.parse(query), start, end, every))


CASES = [
    # query, result, source
    ("avg:m{*}", {"*": [(0, 4.0), (60, 12.5)]}, ROLLUP),  # avg in time is the default, then avg in space
    ("sum:m{*}", {"*": [(0, 8.0), (60, 25.0)]}, QUERYING),
    ("min:m{*}", {"*": [(0, 2.0), (60, 5.0)]}, QUERYING),
    ("max:m{*}", {"*": [(0, 6.0), (60, 20.0)]}, QUERYING),
    ("avg:m{host:a}", {"*": [(0, 2.0), (60, 5.0)]}, QUERYING),
    ("avg:m{env:dev,host:b}", {"*": [(0, 6.0), (60, 20.0)]}, FILTERING),
    ("avg:m{!host:a}", {"*": [(0, 6.0), (60, 20.0)]}, FILTERING),
    ("avg:m{env:prod}", {}, FILTERING),
    ("avg:m{*} by {host}", {"a": [(0, 2.0), (60, 5.0)], "b": [(0, 6.0), (60, 20.0)]}, QUERYING),
    ("avg:m{*} by {env,host}", {"dev,a": [(0, 2.0), (60, 5.0)], "dev,b": [(0, 6.0), (60, 20.0)]}, QUERYING),
    ("avg:m{*} by {team}", {"N/A": [(0, 4.0), (60, 12.5)]}, GROUPS),
    ("sum:m{*}.rollup(sum, 60)", {"*": [(0, 10.0), (60, 25.0)]}, ROLLUP),
    ("sum:m{*}.rollup(max)", {"*": [(0, 9.0), (60, 25.0)]}, ROLLUP),
    ("sum:m{*}.rollup(min)", {"*": [(0, 7.0), (60, 25.0)]}, ROLLUP),
    ("sum:m{*}.rollup(count)", {"*": [(0, 3.0), (60, 2.0)]}, ROLLUP),
    ("sum:c{*}.as_count()", {"*": [(0, 90.0)]}, MODIFIERS),
    ("sum:c{*}.as_rate()", {"*": [(0, 1.5)]}, MODIFIERS),
    ("sum:c{*} by {host}.as_count()", {"a": [(0, 30.0)], "b": [(0, 60.0)]}, MODIFIERS),
    ("sum:r{*}.as_count()", {"*": [(0, 50.0)]}, MODIFIERS),
    ("sum:r{*}.as_rate()", {"*": [(0, 50 / 60)]}, MODIFIERS),
    ("p50:d{*}", {"*": [(0, 50.0)]}, DISTRIBUTIONS),
    ("p95:d{*}", {"*": [(0, 95.0)]}, DISTRIBUTIONS),
    ("avg:d{*}", {"*": [(0, 50.5)]}, DISTRIBUTIONS),
]


@pytest.mark.parametrize(("query", "expected", "source"), CASES)
def test_a_query_has_its_documented_result(store: Store, query: str, expected: Lines, source: str) -> None:
    put(store, {10: 1, 50: 3, 60: 5})
    put(store, {10: 6, 60: 20}, host="b")
    put(store, {5: 10, 15: 20}, metric="c", kind="count", interval=10)
    put(store, {5: 60}, metric="c", host="b", kind="count", interval=10)
    put(store, {5: 2, 15: 3}, metric="r", kind="rate", interval=10)
    put(store, {0.1 + number / 10: float(number) for number in range(1, 101)}, metric="d", kind="distribution")
    found = of(store, query)
    assert found.keys() == expected.keys(), source
    for group, points in expected.items():
        assert [at for at, _ in found[group]] == [at for at, _ in points], source
        assert [value for _, value in found[group]] == pytest.approx([value for _, value in points]), source


@pytest.mark.parametrize(
    ("at", "expected"),
    [
        (20, [(0, 2.0), (20, 3.0), (40, 4.0)]),  # b's value in the middle is interpolated
        (400, [(0, 2.0), (20, 1.0), (400, 4.0)]),  # no interpolation across more than five minutes
    ],
)
def test_sources_are_put_together_across_gaps_of_five_minutes(
    store: Store, at: int, expected: list[tuple[int, float]]
) -> None:
    last = 40 if at == 20 else 400
    put(store, {0: 1, 20: 1, last: 1})
    put(store, {0: 3, last: 7}, host="b")
    assert of(store, "avg:m{*}", end=500, every=20)["*"] == expected, FILL


@pytest.mark.parametrize(
    ("span", "bars", "asked", "expected"),
    [
        (300, False, 0, 20),
        (3600, False, 0, 20),
        (3600, True, 0, 60),
        (4 * 3600, False, 0, 60),
        (4 * 3600, True, 0, 120),
        (86400, False, 0, 300),
        (86400, True, 0, 1200),
        (86400, True, 3600, 3600),
        (30 * 86400, False, 20, 1728),  # at most 1500 points
    ],
)
def test_the_interval_follows_the_time_frame(span: float, bars: bool, asked: int, expected: int) -> None:
    assert series.interval(span, bars=bars, asked=asked) == expected, ROLLUP


NUMBERS = st.floats(-1e6, 1e6, allow_nan=False)
MADE = st.dictionaries(st.sampled_from(["a", "b", "c"]), st.dictionaries(st.integers(0, 599), NUMBERS, min_size=1))
PLAIN: dict[str, Callable[[list[float]], float]] = {
    "avg": statistics.fmean,
    "sum": math.fsum,
    "min": min,
    "max": max,
}


@given(made=MADE, how=st.sampled_from(sorted(PLAIN)), rollup=st.sampled_from(sorted(PLAIN)), grouped=st.booleans())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_aggregation_equals_its_plain_form(
    tmp_path_factory: pytest.TempPathFactory,
    made: dict[str, dict[int, float]],
    how: str,
    rollup: str,
    grouped: bool,
) -> None:
    with opened(tmp_path_factory.mktemp("store")) as store:
        for host, values in made.items():
            put(store, {float(at): value for at, value in values.items()}, host=host)
        found = of(store, f"{how}:m{{*}}{' by {host}' if grouped else ''}.rollup({rollup}, 300)", end=600, every=300)
    buckets: dict[str, dict[int, list[float]]] = {}
    for host, values in made.items():
        for begin in (0, 300):
            if inside := [value for at, value in values.items() if begin <= at < begin + 300]:
                group = buckets.setdefault(host if grouped else "*", {})
                group.setdefault(begin, []).append(PLAIN[rollup](inside))
    assert found.keys() == buckets.keys()
    for name, group in buckets.items():
        assert [at for at, _ in found[name]] == sorted(group)
        for at, value in found[name]:
            assert value == pytest.approx(PLAIN[how](group[at]), rel=1e-9, abs=1e-6)


@given(values=st.lists(NUMBERS, min_size=1, max_size=80), quantile=st.sampled_from([50, 75, 95, 99]))
@settings(max_examples=40, deadline=None)
def test_a_percentile_is_a_value_with_as_many_below_it(
    tmp_path_factory: pytest.TempPathFactory, values: list[float], quantile: int
) -> None:
    with opened(tmp_path_factory.mktemp("store")) as store:
        store.add_points(Point(metric="d", at=1, value=value, kind="distribution") for value in values)
        ((_, found),) = of(store, f"p{quantile}:d{{*}}")["*"]
    assert found == sorted(values)[math.floor((len(values) - 1) * quantile / 100)]


WEIGHED = st.tuples(st.integers(0, 119), NUMBERS, st.integers(1, 30), st.sets(st.sampled_from("abc"), min_size=1))


@given(made=st.lists(WEIGHED, min_size=1, max_size=40), quantiles=st.permutations([50, 75, 95, 99]))
@settings(max_examples=40, deadline=None)
def test_percentiles_of_one_source_are_those_of_each_group_and_interval(
    tmp_path_factory: pytest.TempPathFactory,
    made: list[tuple[int, float, int, set[str]]],
    quantiles: list[int],
) -> None:
    """Of whatever was asked before, by whatever is grouped; a value with several tags of a key is in several groups."""
    with opened(tmp_path_factory.mktemp("store")) as store:
        store.add_points(
            Point(
                metric="d",
                at=at,
                value=value,
                kind="distribution",
                weight=weight,
                tags=[f"t:{tag}" for tag in sorted(tags)],
            )
            for at, value, weight, tags in made
        )
        source = series.Source(store)
        found = {
            (quantile, by): lines(series.evaluate(source, language.parse(f"p{quantile}:d{{*}}{by}"), 0, 120, 60))
            for quantile in quantiles
            for by in ("", " by {t}")
        }
    for (quantile, by), groups in found.items():
        cells: dict[tuple[str, int], list[float]] = {}
        for at, value, weight, tags in made:
            for name in tags if by else ["*"]:
                cells.setdefault((name, at // 60 * 60), []).extend([value] * weight)
        plain = {cell: sorted(values)[math.floor((len(values) - 1) * quantile / 100)] for cell, values in cells.items()}
        assert {(name, at): value for name, points in groups.items() for at, value in points} == plain


def test_counts_and_rates_of_one_source_are_not_mixed_up(store: Store) -> None:
    put(store, {5: 10, 65: 20}, metric="c", kind="count")
    put(store, {5: 2}, metric="r", kind="rate", interval=30)
    source = series.Source(store)
    found = [
        lines(series.evaluate(source, language.parse(query), 0, 120, every))
        for query, every in (
            ("sum:c{*}.as_count()", 60),
            ("sum:c{*}.as_rate()", 60),
            ("sum:c{*} by {host}.as_count()", 60),
            ("sum:c{*}.as_count()", 120),
            ("sum:c{*}.rollup(max)", 120),
            ("sum:r{*}.as_count()", 120),
            ("sum:r{*}.as_rate()", 120),
            ("sum:r{*}.rollup(sum)", 120),
        )
    ]
    assert found == [
        {"*": [(0, 10.0), (60, 20.0)]},
        {"*": [(0, 10 / 60), (60, 20 / 60)]},
        {"a": [(0, 10.0), (60, 20.0)]},
        {"*": [(0, 30.0)]},
        {"*": [(0, 20.0)]},
        {"*": [(0, 60.0)]},
        {"*": [(0, 0.5)]},
        {"*": [(0, 2.0)]},
    ], MODIFIERS


def test_a_value_that_stands_for_many_counts_as_many(store: Store) -> None:
    store.add_points(
        Point(metric="d", at=1, value=value, kind="distribution", weight=weight) for value, weight in ((1, 98), (9, 2))
    )
    assert of(store, "p95:d{*}") == {"*": [(0, 1.0)]}
    assert of(store, "p99:d{*}") == {"*": [(0, 9.0)]}


def frame(values: Mapping[str, list[float | None]]) -> pl.DataFrame:
    rows = [
        (group, at * 20, value) for group, line in values.items() for at, value in enumerate(line) if value is not None
    ]
    return pl.DataFrame(rows, schema=series.COLUMNS, orient="row")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a", [(0, 1.0), (20, 4.0)]),
        ("a + b", [(0, 3.0)]),
        ("100 * a / b", [(0, 50.0)]),
        ("a / (b - 2)", []),  # division by zero
        ("-a", [(0, -1.0), (20, -4.0)]),
    ],
)
def test_formulas_take_what_has_a_value_in_each_query(text: str, expected: list[tuple[int, float]]) -> None:
    found = formulas.compute(language.formula(text), {"a": frame({"*": [1, 4]}), "b": frame({"*": [2, None]})})
    assert lines(found).get("*", []) == expected


EMPTY = pl.DataFrame(schema=series.COLUMNS)


@pytest.mark.parametrize("modifier", ["as_count", "as_rate"])
@pytest.mark.parametrize(
    ("by", "all_of_them", "expected"),
    [
        ("", frame({"*": [4, 2]}), {"*": [(0, 0.0), (20, 0.0)]}),
        (" by {host}", frame({"*": [4, 2]}), {}),  # there is no group that could have none
        (" by {host}", frame({"a": [4], "b": [2]}), {"a": [(0, 0.0)], "b": [(0, 0.0)]}),
    ],
)
def test_what_was_never_counted_is_zero(modifier: str, by: str, all_of_them: pl.DataFrame, expected: Lines) -> None:
    queries = {
        name: language.parse(f"sum:{name}{{*}}{by if name == 'errors' or 'a' in set(all_of_them['group']) else ''}")
        for name in ("errors", "hits")
    }
    counted = {name: language.parse(f"sum:{name}{{*}}{by}.{modifier}()") for name in queries}
    counted["hits"] = language.parse(f"sum:hits{{*}}{' by {host}' if queries['hits'].by else ''}.{modifier}()")
    found = formulas.over(language.formula("100 * errors / hits"), counted, {"errors": EMPTY, "hits": all_of_them})
    assert lines(found) == expected, ZERO


def test_a_count_of_a_group_is_zero_where_the_whole_has_a_value() -> None:
    queries = {"a": language.parse("sum:m{*} by {host}.as_count()"), "b": language.parse("sum:m{*}.as_count()")}
    found = formulas.over(language.formula("a / b"), queries, {"a": frame({"x": [1, None]}), "b": frame({"*": [2, 2]})})
    assert lines(found) == {"x": [(0, 0.5), (20, 0.0)]}, ZERO


def test_what_is_not_grouped_goes_with_each_group() -> None:
    found = formulas.compute(language.formula("a / b"), {"a": frame({"x": [1], "y": [4]}), "b": frame({"*": [2]})})
    assert lines(found) == {"x": [(0, 0.5)], "y": [(0, 2.0)]}


def test_a_band_of_anomalies_is_around_what_was_before_and_leaves_out_what_jumps() -> None:
    steady = [10.0, 11.0, 9.0, 10.0, 12.0, 8.0, 10.0, 11.0, 9.0, 10.0] * 2
    found = formulas.compute(language.formula("anomalies(q, 'basic', 3)"), {"q": frame({"*": [*steady, 60.0]})})
    rows = found.rows(named=True)
    assert [row["lower"] is None for row in rows] == [True] * formulas.FEWEST + [False] * 17
    for row in rows[len(steady) // 2 : -1]:
        assert row["lower"] <= row["value"] <= row["upper"]
    assert rows[-1]["value"] > rows[-1]["upper"]
    wider = formulas.band(frame({"*": [*steady, 60.0]}), 6)
    assert wider["upper"][-1] > found["upper"][-1]


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ("avg:m{*}.fill(zero)", ".fill(zero)"),
        ("avg:m{*}.rollup(p95, 60)", ".rollup(p95, 60)"),
        ("moving_rollup(avg:m{*}, 60, 'sum')", "moving_rollup"),
        ("avg:m{a:b AND c:d}", "a:b AND c:d"),
        ("avg:m{a:b*}", "a:b*"),
        ("avg:m{$host}", "$host"),
        ("m{*}", "without avg"),
        ("p95:m{*}.rollup(avg, 60)", "p95 with rollup"),
        ("avg:m{*} by {$group}", "grouped by $group"),
        ("avg:m{*} by {*}", "grouped by *"),
        ("sum:m{*}.as_count().rollup(avg, 60)", ".as_count() with .rollup(avg)"),
    ],
)
def test_another_form_is_refused_by_name(query: str, named: str) -> None:
    with pytest.raises(language.UnknownFormError) as refused:
        language.parse(query)
    assert named in str(refused.value)


@pytest.mark.parametrize("value", ["a*", "a,b"])
def test_a_variable_with_several_values_is_refused_by_name(value: str) -> None:
    with pytest.raises(language.UnknownFormError, match=r"\$host with several values"):
        language.parse("avg:m{$host}", {"host": f"host:{value}"})


@pytest.mark.parametrize("text", ["+".join(["q"] * 100_000), "(" * 10_000 + "q" + ")" * 10_000, "-" * 100_000 + "q"])
def test_an_endless_formula_is_refused(text: str) -> None:
    with pytest.raises(language.UnknownFormError):
        language.formula(text)


@pytest.mark.parametrize(
    "text", ["anomalies(q, 'agile', 2)", "top(q, 10, 'mean', 'desc')", "q ** 2", "q.x", "q +", "5", "1 + 2"]
)
def test_another_formula_is_refused_by_name(text: str) -> None:
    with pytest.raises(language.UnknownFormError) as refused:
        language.formula(text)
    assert text in str(refused.value)


@pytest.mark.parametrize(
    "text",
    [
        "a && b",
        "change(avg(last_5m),last_1h):avg:m{*} > 1",
        "avg(last_5m):m{*} > 1",
        "avg(last_5m):other + avg:m{*} > 1",
        "avg(last_5m):2 > 1",
        "avg(last_99999999999m):avg:m{*} > 1",
        "sum(last_1h):sum:m{*}.rollup(sum, 600) + sum:m{*} > 1",
    ],
)
def test_another_monitor_is_refused_by_name(text: str) -> None:
    with pytest.raises(language.UnknownFormError):
        language.comparison(text)


def test_a_count_without_its_function_and_a_percentile_of_a_gauge_are_refused(store: Store) -> None:
    put(store, {1: 1}, metric="c", kind="count")
    put(store, {1: 1})
    for query, named in (("sum:c{*}", "as_count()"), ("p95:m{*}", "no distribution")):
        with pytest.raises(language.UnknownFormError) as refused:
            of(store, query)
        assert named in str(refused.value)


def test_every_query_of_the_program_is_evaluated(resources: dict[str, program.Inputs]) -> None:
    found = 0
    for inputs in resources.values():
        for board in boards(inputs):
            variables = {variable["name"]: "*" for variable in board.get("template_variables", [])}
            for widget in board["widgets"]:
                for request in widget["definition"]["requests"]:
                    for query in request["queries"]:
                        assert language.parse(query["query"], variables)
                        found += 1
                    for formula in request["formulas"]:
                        assert language.formula(formula["formula"])
        for monitor in inputs["datadog:index/monitor:Monitor"]:
            assert language.comparison(monitor["query"]).window in (300, 600)
            found += 1
    assert found >= 15

"""The stand-in Datadog's storage: one SQLite file, which the server and `Account` read and write."""

import contextlib
import datetime
import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

FILE = "datadog.sqlite"
"""The store's file name in the account's folder."""

TABLES = """
create table if not exists setting (name text primary key, value text not null);
create table if not exists thing (kind text, id text, body text not null, primary key (kind, id));
create table if not exists series (
    id integer primary key, metric text, host text, tags text, kind text, interval integer, unique (metric, host, tags)
);
create table if not exists sample (series integer, at real, value real, weight integer);
create index if not exists sample_series on sample (series, at);
create table if not exists trace (
    id text primary key, at real, host text, service text, name text, resource text, duration real, error integer,
    spans text
);
create index if not exists trace_service on trace (service, at);
create table if not exists request (
    number integer primary key, at real, method text, path text, query text, body text, status integer
);
create table if not exists fault (
    number integer primary key, method text, path text, action text, times integer, headers text, seconds real
);
"""


EVALUATED = "evaluated"
"""The setting with the last minute at which monitors were evaluated."""

KEPT_TRACES = 2000
"""Number of traces kept, the newest ones."""

Kind = Literal["gauge", "count", "rate", "distribution"]


@dataclass(frozen=True, kw_only=True)
class Point:
    """A value at ``at`` (Unix seconds); for a count or a rate, over ``interval`` seconds, 0 if unknown.

    A distribution's value stands for ``weight`` equal ones.
    """

    metric: str
    at: float
    value: float
    host: str = ""
    tags: Sequence[str] = ()
    kind: Kind = "gauge"
    interval: int = 0
    weight: int = 1


@dataclass(frozen=True, kw_only=True)
class Series:
    """A metric from one source; ``number`` identifies it."""

    number: int
    tags: tuple[str, ...]
    kind: Kind
    interval: int


class Store:
    """Stores things by kind and id, each a JSON object; metric points, settings, the log of requests, and faults."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / FILE
        path.touch(mode=0o600)
        self._db = sqlite3.connect(path, timeout=30, isolation_level=None)
        self._db.row_factory = sqlite3.Row
        self._db.execute("pragma journal_mode = wal")
        self._db.execute("pragma synchronous = off")
        self._db.executescript(TABLES)

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """Commit all changes made inside, or none."""
        self._db.execute("begin immediate")
        try:
            yield
        except BaseException:
            self._db.execute("rollback")
            raise
        self._db.execute("commit")

    def get(self, kind: str, name: str) -> dict[str, Any] | None:
        """Return the thing of that kind and id, if there is one."""
        row = self._db.execute("select body from thing where kind = ? and id = ?", (kind, name)).fetchone()
        return None if row is None else json.loads(row["body"])

    def put(self, kind: str, name: str, body: Mapping[str, Any]) -> None:
        """Store ``body`` as the thing of that kind and id."""
        self._db.execute("insert or replace into thing values (?, ?, ?)", (kind, name, json.dumps(body)))

    def drop(self, kind: str, name: str) -> None:
        """Delete the thing of that kind and id."""
        self._db.execute("delete from thing where kind = ? and id = ?", (kind, name))

    def all(self, kind: str) -> list[dict[str, Any]]:
        """Return all things of a kind, oldest first."""
        rows = self._db.execute("select body from thing where kind = ? order by rowid", (kind,))
        return [json.loads(row["body"]) for row in rows]

    def setting(self, name: str, default: str = "") -> str:
        """Return the setting of that name."""
        row = self._db.execute("select value from setting where name = ?", (name,)).fetchone()
        return default if row is None else str(row["value"])

    def set(self, name: str, value: str) -> None:
        """Change a setting."""
        self._db.execute("insert or replace into setting values (?, ?)", (name, value))

    def next(self, name: str, first: int) -> int:
        """Return the next number of a sequence that begins at ``first``."""
        number = int(self.setting(f"next {name}", str(first)))
        self.set(f"next {name}", str(number + 1))
        return number

    def now(self) -> datetime.datetime:
        """Return the account's time in UTC: the machine's, shifted by `Account.travel`."""
        offset = datetime.timedelta(seconds=float(self.setting("clock", "0")))
        return datetime.datetime.now(datetime.UTC) + offset

    def add_points(self, points: Iterable[Point]) -> None:
        """Store points of metrics, all or none."""
        numbers: dict[tuple[str, ...], int] = {}
        with self.transaction():
            rows = ((self._series(point, numbers), point.at, point.value, point.weight) for point in points)
            self._db.executemany("insert into sample values (?, ?, ?, ?)", rows)

    def _series(self, point: Point, numbers: dict[tuple[str, ...], int]) -> int:
        """Return the number of a point's series, a new one for its first point; ``numbers`` caches known ones."""
        known = (point.metric, point.host, *point.tags)
        if known not in numbers:
            found = self._db.execute(
                "insert into series (metric, host, tags, kind, interval) values (?, ?, ?, ?, ?)"
                " on conflict do update set kind = excluded.kind, interval = excluded.interval returning id",
                (point.metric, point.host, json.dumps(sorted(point.tags)), point.kind, point.interval),
            )
            numbers[known] = found.fetchone()["id"]
        return numbers[known]

    def points(self, metric: str | None = None, start: float = 0, end: float = 1e12) -> list[dict[str, Any]]:
        """Return the points of one metric, or of all, between two Unix times, oldest first."""
        rows = self._db.execute(
            "select metric, at, value, host, tags from sample join series on series.id = sample.series"
            " where (?1 is null or metric = ?1) and at between ?2 and ?3 order by at, sample.rowid",
            (metric, start, end),
        )
        return [{**row, "tags": json.loads(row["tags"])} for row in rows]

    def series(self, metric: str) -> list[Series]:
        """Return the series of a metric; their tags include the host's name."""
        rows = self._db.execute("select * from series where metric = ? order by id", (metric,))
        return [
            Series(
                number=row["id"],
                tags=(*json.loads(row["tags"]), *([f"host:{row['host']}"] if row["host"] else [])),
                kind=row["kind"],
                interval=row["interval"],
            )
            for row in rows
        ]

    def metrics(self, host: str | None = None) -> list[str]:
        """Return the metrics of a host, or of all, sorted."""
        rows = self._db.execute(
            "select distinct metric from series where ?1 is null or host = ?1 order by metric", (host,)
        )
        return [row["metric"] for row in rows]

    def tags(self) -> list[str]:
        """Return all tags of all series, sorted."""
        rows = self._db.execute("select distinct tags, host from series").fetchall()
        hosts = {f"host:{row['host']}" for row in rows if row["host"]}
        return sorted(hosts.union(*(json.loads(row["tags"]) for row in rows)))

    def samples(self, series: Iterable[int], start: float, end: float) -> list[tuple[int, float, float, int]]:
        """Return series, Unix time, value and weight of these series' points from ``start`` to before ``end``."""
        cursor = self._db.cursor()
        cursor.row_factory = None
        return cursor.execute(
            "select series, at, value, weight from sample"
            " where series in (select value from json_each(?)) and at >= ? and at < ?",
            (json.dumps(list(series)), start, end),
        ).fetchall()

    def samples_after(self, row: int, most: int) -> list[tuple[int, int, float, float, int]]:
        """Return the next points in order of arrival: row number, series, Unix time, value and weight."""
        cursor = self._db.cursor()
        cursor.row_factory = None
        return cursor.execute(
            "select rowid, series, at, value, weight from sample where rowid > ? order by rowid limit ?", (row, most)
        ).fetchall()

    def sums(self, series: Iterable[int], start: float, end: float) -> dict[int, float]:
        """Return each series' sum from ``start`` to before ``end``, if it has points there."""
        rows = self._db.execute(
            "select series, sum(value) as total from sample"
            " where series in (select value from json_each(?)) and at >= ? and at < ? group by series",
            (json.dumps(list(series)), start, end),
        )
        return {row["series"]: row["total"] for row in rows}

    def latest(self, series: Iterable[int], before: float) -> dict[int, float]:
        """Return the Unix time of each series' last point before a time."""
        rows = self._db.execute(
            "select value, (select max(at) from sample where series = json_each.value and at < ?) as at"
            " from json_each(?)",
            (before, json.dumps(list(series))),
        )
        return {row["value"]: row["at"] for row in rows if row["at"] is not None}

    def add_traces(self, traces: Iterable[Mapping[str, Any]]) -> None:
        """Store traces by id, with facts about their first span; keep only the newest of all."""
        self._db.executemany(
            "insert or replace into trace values"
            " (:id, :at, :host, :service, :name, :resource, :duration, :error, :spans)",
            [{**trace, "spans": json.dumps(trace["spans"])} for trace in traces],
        )
        self._db.execute(
            "delete from trace where at < (select at from trace order by at desc limit 1 offset ?)", (KEPT_TRACES - 1,)
        )

    def traces(self, service: str, start: float, end: float, count: int) -> list[dict[str, Any]]:
        """Return a service's latest traces in a time frame, without their spans, newest first."""
        rows = self._db.execute(
            "select id, at, host, service, name, resource, duration, error from trace"
            " where service = ? and at >= ? and at < ? order by at desc limit ?",
            (service, start, end, count),
        )
        return [dict(row) for row in rows]

    def latest_traces(self) -> Iterator[dict[str, Any]]:
        """Return the stored traces with their spans, newest first."""
        for row in self._db.execute("select * from trace order by at desc"):
            yield {**row, "spans": json.loads(row["spans"])}

    def trace(self, name: str) -> dict[str, Any] | None:
        """Return a trace with its spans, by id."""
        row = self._db.execute("select * from trace where id = ?", (name,)).fetchone()
        return None if row is None else {**row, "spans": json.loads(row["spans"])}

    def last_seen(self) -> dict[str, float]:
        """Return the Unix time of each host's latest point up to now, by name; a demo leaves later ones."""
        rows = self._db.execute(
            "select host, max((select max(at) from sample where sample.series = series.id and at <= ?)) as at"
            " from series where host != '' group by host order by host",
            (self.now().timestamp(),),
        )
        return {row["host"]: row["at"] for row in rows if row["at"] is not None}

    def log(self, method: str, path: str, query: str, body: str, status: int) -> None:
        """Log a request."""
        self._db.execute(
            "insert into request (at, method, path, query, body, status) values (?, ?, ?, ?, ?, ?)",
            (self.now().timestamp(), method, path, query, body, status),
        )

    def requests(self) -> list[dict[str, Any]]:
        """Return the requests so far, oldest first; ``body`` is parsed JSON or ``None``."""
        rows = self._db.execute("select at, method, path, query, body, status from request order by number")
        return [{**row, "body": json.loads(row["body"]) if row["body"] else None} for row in rows]

    def add_fault(
        self, method: str, path: str, action: str, times: int, headers: Mapping[str, str], seconds: float
    ) -> None:
        """Inject a fault into the next ``times`` requests whose method and path match the globs."""
        self._db.execute(
            "insert into fault (method, path, action, times, headers, seconds) values (?, ?, ?, ?, ?, ?)",
            (method, path, action, times, json.dumps(dict(headers)), seconds),
        )

    def take_fault(self, method: str, path: str) -> dict[str, Any] | None:
        """Return the fault for this request, if any, and count it as used."""
        row = self._db.execute(
            "select * from fault where times > 0 and ? glob method and ? glob path order by number limit 1",
            (method, path),
        ).fetchone()
        if row is None:
            return None
        self._db.execute("update fault set times = times - 1 where number = ?", (row["number"],))
        return {**row, "headers": json.loads(row["headers"])}

    def clear_faults(self) -> None:
        """Discard all faults."""
        self._db.execute("delete from fault")


@contextlib.contextmanager
def opened(folder: Path) -> Iterator[Store]:
    """Open the store of a folder, and close it at the end."""
    store = Store(folder)
    try:
        yield store
    finally:
        store.close()

"""What the stand-in Datadog keeps: one SQLite file, read and written by the server and by `Account` alike."""

import contextlib
import datetime
import json
import sqlite3
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

FILE = "datadog.sqlite"
"""The store's name in the account's folder."""

TABLES = """
create table if not exists setting (name text primary key, value text not null);
create table if not exists thing (kind text, id text, body text not null, primary key (kind, id));
create table if not exists point (metric text, at real, value real, host text, tags text);
create index if not exists point_metric on point (metric, at);
create table if not exists request (
    number integer primary key, at real, method text, path text, query text, body text, status integer
);
create table if not exists fault (
    number integer primary key, method text, path text, action text, times integer, headers text, seconds real
);
"""


class Store:
    """Things by kind and id, each a JSON object; metric points, settings, the log of requests, fault orders."""

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
        """Let go of the file."""
        self._db.close()

    def get(self, kind: str, name: str) -> dict[str, Any] | None:
        """The thing of that kind and id, if there is one."""
        row = self._db.execute("select body from thing where kind = ? and id = ?", (kind, name)).fetchone()
        return None if row is None else json.loads(row["body"])

    def put(self, kind: str, name: str, body: Mapping[str, Any]) -> None:
        """Keep ``body`` as the thing of that kind and id."""
        self._db.execute("insert or replace into thing values (?, ?, ?)", (kind, name, json.dumps(body)))

    def drop(self, kind: str, name: str) -> None:
        """Forget the thing of that kind and id."""
        self._db.execute("delete from thing where kind = ? and id = ?", (kind, name))

    def all(self, kind: str) -> list[dict[str, Any]]:
        """Every thing of a kind, oldest first."""
        rows = self._db.execute("select body from thing where kind = ? order by rowid", (kind,))
        return [json.loads(row["body"]) for row in rows]

    def setting(self, name: str, default: str = "") -> str:
        """The setting of that name."""
        row = self._db.execute("select value from setting where name = ?", (name,)).fetchone()
        return default if row is None else str(row["value"])

    def set(self, name: str, value: str) -> None:
        """Change a setting."""
        self._db.execute("insert or replace into setting values (?, ?)", (name, value))

    def next(self, name: str, first: int) -> int:
        """The next number of a sequence that begins at ``first``."""
        number = int(self.setting(f"next {name}", str(first)))
        self.set(f"next {name}", str(number + 1))
        return number

    def now(self) -> datetime.datetime:
        """The account's time in UTC: the machine's, moved by what `Account.travel` was told."""
        offset = datetime.timedelta(seconds=float(self.setting("clock", "0")))
        return datetime.datetime.now(datetime.UTC) + offset

    def add_point(self, metric: str, at: float, value: float, host: str, tags: list[str]) -> None:
        """Keep one point of a metric; ``at`` in Unix seconds."""
        self._db.execute(
            "insert into point values (?, ?, ?, ?, ?)", (metric, at, value, host, json.dumps(sorted(tags)))
        )

    def points(self, metric: str | None = None, start: float = 0, end: float = 1e12) -> list[dict[str, Any]]:
        """The points of one metric, or of all, between two Unix times, oldest first."""
        rows = self._db.execute(
            "select * from point where (?1 is null or metric = ?1) and at between ?2 and ?3 order by at",
            (metric, start, end),
        )
        return [{**row, "tags": json.loads(row["tags"])} for row in rows]

    def log(self, method: str, path: str, query: str, body: str, status: int) -> None:
        """Note a request."""
        self._db.execute(
            "insert into request (at, method, path, query, body, status) values (?, ?, ?, ?, ?, ?)",
            (self.now().timestamp(), method, path, query, body, status),
        )

    def requests(self) -> list[dict[str, Any]]:
        """The requests so far, oldest first; ``body`` is parsed JSON or None."""
        rows = self._db.execute("select at, method, path, query, body, status from request order by number")
        return [{**row, "body": json.loads(row["body"]) if row["body"] else None} for row in rows]

    def add_fault(
        self, method: str, path: str, action: str, times: int, headers: Mapping[str, str], seconds: float
    ) -> None:
        """Order a fault for the next ``times`` requests whose method and path match the globs."""
        self._db.execute(
            "insert into fault (method, path, action, times, headers, seconds) values (?, ?, ?, ?, ?, ?)",
            (method, path, action, times, json.dumps(dict(headers)), seconds),
        )

    def take_fault(self, method: str, path: str) -> dict[str, Any] | None:
        """The fault ordered for this request, if any; taking it uses it up."""
        row = self._db.execute(
            "select * from fault where times > 0 and ? glob method and ? glob path order by number limit 1",
            (method, path),
        ).fetchone()
        if row is None:
            return None
        self._db.execute("update fault set times = times - 1 where number = ?", (row["number"],))
        return {**row, "headers": json.loads(row["headers"])}

    def clear_faults(self) -> None:
        """Forget every fault order."""
        self._db.execute("delete from fault")


@contextlib.contextmanager
def opened(folder: Path) -> Iterator[Store]:
    """The store of a folder, closed at the end."""
    store = Store(folder)
    try:
        yield store
    finally:
        store.close()

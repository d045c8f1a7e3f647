"""What histories ask a database for, in InfluxQL."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from archiver.influx.database import Database, identifier

PAGE = 10_000


class HistoryError(Exception):
    """There is no history to be had; the text says why."""


def source_of(database: Database, measurement: str) -> str:
    """Return what to select from."""
    policy = database.server.retention_policy
    return f"{identifier(policy)}.{identifier(measurement)}" if policy else identifier(measurement)


def everything(database: Database, measurement: str, since: int, until: int) -> Iterator[dict[str, Any]]:
    """Yield the rows of a measurement between two times (Unix ns), page by page."""
    query = f"SELECT * FROM {source_of(database, measurement)} WHERE time >= {since} AND time <= {until} LIMIT {PAGE}"
    count = 0
    while page := database.rows(f"{query} OFFSET {count}"):
        yield from page
        count += len(page)


def select(
    database: Database, source: str, columns: Sequence[str], tags: Mapping[str, str], since: int, until: int
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Ask for one series page by page; yields time (Unix ns) and the fields that have a value."""
    where = _where(tags)
    while True:
        rows = database.rows(
            f"SELECT {', '.join(map(identifier, columns))} FROM {source}"
            f" WHERE time >= {since} AND time <= {until}{where} ORDER BY time LIMIT {PAGE}"
        )
        for row in rows:
            time = int(row.pop("time"))
            yield time, {key: value for key, value in row.items() if value is not None}
        if len(rows) < PAGE:
            return
        since = time + 1


def last_before(
    database: Database, source: str, column: str, tags: Mapping[str, str], moment: int
) -> tuple[int, Any] | None:
    """Return the newest value of a column before a moment (Unix ns), with its time; None when there is none."""
    rows = database.rows(
        f"SELECT {identifier(column)} FROM {source} WHERE time < {moment}{_where(tags)} ORDER BY time DESC LIMIT 1"
    )
    return (int(rows[0]["time"]), rows[0][column]) if rows and rows[0].get(column) is not None else None


def _where(tags: Mapping[str, str]) -> str:
    return "".join(f" AND {identifier(key)} = {_string(value)}" for key, value in tags.items())


def _string(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"

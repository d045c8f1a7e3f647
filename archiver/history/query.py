"""Questions in InfluxQL, which InfluxDB v1 and v2 understand at ``/query`` and v3 at ``/api/v3/query_influxql``."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from archiver.config import ServerConfig
from archiver.influx.api import authorization
from archiver.influx.downsample import identifier
from archiver.influx.http import HttpClient

PAGE = 10_000
_LARGEST_PAGE = 100_000_000
_NS = 1_000_000_000


class HistoryError(Exception):
    """There is no history to be had; the text says why."""


def source_of(server: ServerConfig, measurement: str) -> str:
    """Return what to select from."""
    source = identifier(measurement)
    return f"{identifier(server.retention_policy)}.{source}" if server.retention_policy else source


def select(
    client: HttpClient,
    server: ServerConfig,
    source: str,
    columns: Sequence[str],
    tags: Mapping[str, str],
    since: int,
    until: int,
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Ask for one series page by page; yields time (Unix ns) and the fields that have a value."""
    where = _where(tags)
    while True:
        query = (
            f"SELECT {', '.join(map(identifier, columns))} FROM {source}"
            f" WHERE time >= {since} AND time <= {until}{where} ORDER BY time LIMIT {PAGE}"
        )
        rows = ask(client, server, query)
        for row in rows:
            time = int(row.pop("time"))
            yield time, {key: value for key, value in row.items() if value is not None}
        if len(rows) < PAGE:
            return
        since = time + 1


def last_before(
    client: HttpClient, server: ServerConfig, source: str, column: str, tags: Mapping[str, str], moment: int
) -> tuple[int, Any] | None:
    """Return the newest value of a column before a moment (Unix ns), with its time; None when there is none."""
    rows = ask(
        client,
        server,
        f"SELECT {identifier(column)} FROM {source} WHERE time < {moment}{_where(tags)} ORDER BY time DESC LIMIT 1",
    )
    return (int(rows[0]["time"]), rows[0][column]) if rows and rows[0].get(column) is not None else None


def _where(tags: Mapping[str, str]) -> str:
    return "".join(f" AND {identifier(key)} = {_string(value)}" for key, value in tags.items())


def ask(client: HttpClient, server: ServerConfig, query: str) -> list[dict[str, Any]]:
    """Return the rows of a query with their times in ns. Raises HistoryError with the server's words."""
    headers = authorization(server)
    if server.version == 3:
        words = {"db": server.database, "q": query, "format": "json"}
        answer = client.request("GET", "/api/v3/query_influxql", words, headers, limit=_LARGEST_PAGE)
    else:
        words = {"db": server.bucket if server.version == 2 else server.database, "q": query, "epoch": "ns"}
        answer = client.request("GET", "/query", words, headers, limit=_LARGEST_PAGE)
    if answer.status != 200:
        raise HistoryError(f"{server.name}: {answer.status} {answer.body[:300].decode(errors='replace').strip()}")
    data = json.loads(answer.body)
    if server.version == 3:
        return [{**row, "time": _nanoseconds(row["time"])} for row in data]
    (result,) = data["results"]
    if "error" in result:
        raise HistoryError(f"{server.name}: {result['error']}")
    return [
        dict(zip(series["columns"], values, strict=True))
        for series in result.get("series", ())
        for values in series["values"]
    ]


def _nanoseconds(stamp: str | int) -> int:
    """Read a time of InfluxDB 3: nanoseconds, or ISO 8601 in UTC with up to nine digits behind the point."""
    if isinstance(stamp, int):
        return stamp
    whole, _, fraction = stamp.rstrip("Z").partition(".")
    return round(datetime.fromisoformat(whole).replace(tzinfo=UTC).timestamp()) * _NS + int(fraction.ljust(9, "0"))


def _string(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"

"""One database that is asked and configured, over HTTP.

Questions are in InfluxQL, which InfluxDB v1 and v2 understand at ``/query`` and v3 at ``/api/v3/query_influxql``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Final, Self

from archiver.config import ServerConfig
from archiver.influx.api import authorization, connect
from archiver.influx.http import Answer, NoAnswer

PAGE: Final = 10_000
_LARGEST_ANSWER: Final = 100_000_000
_NS: Final = 1_000_000_000


class Database:
    """A connection to a server, a context manager; what fails in it is raised as ``error`` with the server's words.

    Raises OSError when its certificates cannot be read.
    """

    def __init__(self, server: ServerConfig, error: type[Exception]) -> None:
        self.server = server
        self._error = error
        self._client = connect(server)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _: object, error: BaseException | None, trace: TracebackType | None) -> None:
        self._client.close()
        if isinstance(error, NoAnswer):
            raise self.failure(str(error)) from error

    def failure(self, what: str | Answer) -> Exception:
        """Make the error of an answer, or of some words."""
        if isinstance(what, Answer):
            what = f"{what.status} {what.body[:300].decode(errors='replace').strip()}"
        return self._error(f"{self.server.name}: {what}")

    def ask(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Send a request as the user of the settings. Raises NoAnswer."""
        headers = {**(headers or {}), **authorization(self.server)}
        return self._client.request(method, path, query, headers, body, _LARGEST_ANSWER)

    def rows(self, query: str) -> list[dict[str, Any]]:
        """Return the rows of a query with their times in ns."""
        server = self.server
        if server.version == 3:
            words = {"db": server.database, "q": query, "format": "json"}
            answer = self.ask("GET", "/api/v3/query_influxql", words)
            if answer.status != 200:
                raise self.failure(answer)
            return [{**row, "time": _nanoseconds(row["time"])} for row in json.loads(answer.body)]
        words = {"db": server.bucket if server.version == 2 else server.database, "q": query, "epoch": "ns"}
        return self._result(self.ask("GET", "/query", words))

    def source(self, measurement: str) -> str:
        """Return what to select from."""
        policy = self.server.retention_policy
        return f"{identifier(policy)}.{identifier(measurement)}" if policy else identifier(measurement)

    def everything(self, measurement: str, since: int, until: int) -> Iterator[dict[str, Any]]:
        """Yield the rows of a measurement between two times (Unix ns), page by page."""
        query = f"SELECT * FROM {self.source(measurement)} WHERE time >= {since} AND time <= {until} LIMIT {PAGE}"
        count = 0
        while page := self.rows(f"{query} OFFSET {count}"):
            yield from page
            count += len(page)

    def select(
        self, source: str, columns: Sequence[str], tags: Mapping[str, str], since: int, until: int
    ) -> Iterator[tuple[int, dict[str, Any]]]:
        """Ask for one series page by page; yields time (Unix ns) and the fields that have a value."""
        where = _where(tags)
        while True:
            rows = self.rows(
                f"SELECT {', '.join(map(identifier, columns))} FROM {source}"
                f" WHERE time >= {since} AND time <= {until}{where} ORDER BY time LIMIT {PAGE}"
            )
            for row in rows:
                time = int(row.pop("time"))
                yield time, {key: value for key, value in row.items() if value is not None}
            if len(rows) < PAGE:
                return
            since = time + 1

    def last_before(self, source: str, column: str, tags: Mapping[str, str], moment: int) -> tuple[int, Any] | None:
        """Return the newest value of a column before a moment (Unix ns), with its time; None when there is none."""
        rows = self.rows(
            f"SELECT {identifier(column)} FROM {source} WHERE time < {moment}{_where(tags)} ORDER BY time DESC LIMIT 1"
        )
        return (int(rows[0]["time"]), rows[0][column]) if rows and rows[0].get(column) is not None else None

    def run(self, statement: str, tolerated: str = "") -> list[dict[str, Any]]:
        """Run a statement of InfluxDB 1 that changes something; an error with the tolerated words is none."""
        return self._result(self.ask("POST", "/query", {"q": statement}), f" ({statement})", tolerated)

    def _result(self, answer: Answer, statement: str = "", tolerated: str = "") -> list[dict[str, Any]]:
        """Return the rows of the one result in an answer of v1 or v2."""
        try:
            (result,) = json.loads(answer.body)["results"]
        except (ValueError, KeyError, TypeError):
            raise self.failure(answer) from None
        if "error" in result and not (tolerated and tolerated in result["error"]):
            raise self.failure(result["error"] + statement)
        return [
            dict(zip(series["columns"], values, strict=True))
            for series in result.get("series", ())
            for values in series.get("values", ())
        ]


def identifier(text: str) -> str:
    """Write a name for InfluxQL."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _where(tags: Mapping[str, str]) -> str:
    return "".join(f" AND {identifier(key)} = {_string(value)}" for key, value in tags.items())


def _string(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _nanoseconds(stamp: str | int) -> int:
    """Read a time of InfluxDB 3: nanoseconds, or ISO 8601 in UTC with up to nine digits behind the point."""
    if isinstance(stamp, int):
        return stamp
    whole, _, fraction = stamp.rstrip("Z").partition(".")
    return round(datetime.fromisoformat(whole).replace(tzinfo=UTC).timestamp()) * _NS + int(fraction.ljust(9, "0"))

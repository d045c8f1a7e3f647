"""One database that is asked and configured, over HTTP.

Questions are in InfluxQL, which InfluxDB v1 and v2 understand at ``/query`` and v3 at ``/api/v3/query_influxql``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Final, Self

from archiver.config import ServerConfig
from archiver.influx.api import authorization, connect
from archiver.influx.http import Answer, NoAnswer

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


def _nanoseconds(stamp: str | int) -> int:
    """Read a time of InfluxDB 3: nanoseconds, or ISO 8601 in UTC with up to nine digits behind the point."""
    if isinstance(stamp, int):
        return stamp
    whole, _, fraction = stamp.rstrip("Z").partition(".")
    return round(datetime.fromisoformat(whole).replace(tzinfo=UTC).timestamp()) * _NS + int(fraction.ljust(9, "0"))

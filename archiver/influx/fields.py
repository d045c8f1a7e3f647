"""Which fields a database has with another type than the points are sent with.

An InfluxDB keeps for each field the type that it saw first (in a shard) and refuses points with any other, so that a
database filled by another program, or with another configuration, is better known at the start. The statement is that
of the InfluxData documentation, InfluxQL "Explore your schema", which v1 and v2 understand at ``/query`` and v3 at
``/api/v3/query_influxql``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from archiver.config import ServerConfig
from archiver.influx.api import authorization
from archiver.influx.http import HttpClient
from archiver.points.series import FieldType

LARGEST_ANSWER: Final = 50_000_000
"""Bytes; about a million fields."""

_STATEMENT: Final = "SHOW FIELD KEYS"
_ACCEPTED: Final = {
    FieldType.FLOAT: ("float",),
    FieldType.INTEGER: ("integer",),
    FieldType.TEXT: ("string",),
    FieldType.BOOLEAN: ("boolean",),
    FieldType.NUMBER_OR_TEXT: ("float", "string"),
}

Fields = Mapping[tuple[str, str], FieldType]
"""The type that each field is sent with, by measurement and field."""


class FieldsUnknown(Exception):
    """The server does not say which fields it has; the text has its words."""


def other_types(client: HttpClient, server: ServerConfig, sent: Fields) -> dict[tuple[str, str], str]:
    """Return the fields that a database has with another type, with a sentence each; none for what is no InfluxDB.

    Raises FieldsUnknown and NoAnswer.
    """
    if server.version not in (1, 2, 3):
        return {}
    return {
        (
            measurement,
            field,
        ): f"field {field} of {measurement} is {found} there, and sent as {_words(sent[measurement, field])}"
        for measurement, field, found in sorted(_known(client, server))
        if (measurement, field) in sent and found not in _ACCEPTED[sent[measurement, field]]
    }


def _words(kind: FieldType) -> str:
    return " or ".join(_ACCEPTED[kind])


def _known(client: HttpClient, server: ServerConfig) -> Iterator[tuple[str, str, str]]:
    """Ask for measurement, field and type of all there is."""
    if server.version == 3:
        path, query = "/api/v3/query_influxql", {"db": server.database, "q": _STATEMENT, "format": "json"}
    else:
        path, query = "/query", {"db": server.bucket if server.version == 2 else server.database, "q": _STATEMENT}
    answer = client.request("GET", path, query, authorization(server), limit=LARGEST_ANSWER)
    try:
        if answer.status != 200:
            raise ValueError(answer.status)
        data: Any = json.loads(answer.body)
        if server.version == 3:
            for row in data:
                yield row["iox::measurement"], row["fieldKey"], row["fieldType"]
            return
        (result,) = data["results"]
        if "error" in result:
            raise ValueError(result["error"])
        for series in result.get("series", ()):
            for field, found in series["values"]:
                yield series["name"], field, found
    except (ValueError, KeyError, TypeError) as error:
        words = answer.body[:300].decode(errors="replace").strip()
        raise FieldsUnknown(f"{answer.status} {words}".strip()) from error

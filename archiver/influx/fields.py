"""Fields that a database has with another type than the points are sent with.

An InfluxDB keeps for each field the type that it saw first (in a shard) and refuses points with any other, so that a
database filled by another program, or with another configuration, is better known at the start. The statement is that
of the InfluxData documentation, InfluxQL "Explore your schema", which v1 and v2 understand at ``/query`` and v3 at
``/api/v3/query_influxql``.

Points that are refused for it are set aside, so that all others get through. A row holds many fields, and a database
that has one of them with another type refuses the whole row. So a refused row is divided into its fields, and a field
that was refused several times is taken out of what is sent from then on, and kept with the dead letters. One point of
it is tried with each batch, because another shard may take it, or it has been mended; what the batch has more of it
waits for the outcome.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

from archiver.config import ServerConfig
from archiver.influx.api import authorization
from archiver.influx.http import HttpClient
from archiver.points.lineprotocol import Point, parse, split_lines
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

LEARNED_AFTER: Final = 8
"""Refusals of a field in a batch after which the rest of it is set aside without being tried."""

_TYPE_CONFLICT: Final = re.compile("field type conflict|invalid column type", re.IGNORECASE)
"""Words of InfluxDB 1 and 2, and of 3."""

Key = tuple[str, str]
"""Measurement and field."""

_Sent = tuple[str, str, type]
"""The same, and the type it is sent with: of a PV of another IOC that is a number now and a text then."""


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


class ConflictScreen:
    """What is known of the fields of one server; ``refused`` are points to be kept as dead letters, with the reason.

    ``compared`` are the fields that the database says it has with another type. While it is not ``active`` no field was
    refused, and there is nothing to ask it.
    """

    def __init__(self) -> None:
        self.refused: list[tuple[bytes, str]] = []
        self.compared: dict[Key, str] = {}
        self.active = False
        self._known: dict[_Sent, str] = {}
        self._refusals: Counter[_Sent] = Counter()
        self._trials: dict[bytes, _Sent] = {}
        self._held: dict[_Sent, list[bytes]] = {}
        self._tried: set[_Sent] = set()

    def conflicts(self) -> list[str]:
        """Return a sentence for each field that is in conflict."""
        refused = {key[:2]: f"field {key[1]} of {key[0]} is refused: {reason}" for key, reason in self._known.items()}
        return list({**refused, **self.compared}.values())

    def learn(self, line: bytes, reason: str) -> bool:
        """Take note of a point that was refused; True when that is a conflict that was not known."""
        if (trial := self._trials.pop(line + b"\n", None)) is not None:
            self.refused += [(held, self._known[trial]) for held in self._held.pop(trial, ())]
        point = parse_or_none(line)
        if point is None or len(point.fields) != 1 or not _TYPE_CONFLICT.search(reason):
            return False
        ((field, value),) = point.fields.items()
        key = (point.measurement, field, type(value))
        self.active = True
        self._tried.add(key)
        self._refusals[key] += 1
        if key in self._known or self._refusals[key] < LEARNED_AFTER:
            return False
        self._known[key] = reason
        return True

    def stored(self, part: bytes) -> bytes | None:
        """Take note that a request was stored.

        When it was the trial of a field, which is sent again from then on, return what has waited for it.
        """
        key = self._trials.pop(part, None)
        if key is None:
            return None
        self._known.pop(key, None)
        self.compared.pop(key[:2], None)
        return b"".join(line + b"\n" for line in self._held.pop(key, ()))

    def begin(self, payload: bytes) -> list[bytes]:
        """Return what is to be sent of a new batch, with one point of each field that was refused before."""
        self._refusals.clear()
        self._tried.clear()
        self._trials.clear()
        self._held.clear()
        self.active = bool(self._known)
        return self.parts([payload])

    def parts(self, parts: Iterable[bytes]) -> list[bytes]:
        """Return what is to be sent of some parts; what is not goes to ``refused``."""
        return [kept for part in parts for kept in self._screened(part)] if self._known else list(parts)

    def _screened(self, part: bytes) -> list[bytes]:
        if part in self._trials:
            return [part]
        names = {f"{field}=".encode() for _, field, _ in self._known}
        kept: list[bytes] = []
        trials: list[bytes] = []
        for line in split_lines(part):
            point = parse_or_none(line) if any(name in line for name in names) else None
            if point is None:
                kept.append(line)
                continue
            good = dict(point.fields)
            for field, value in point.fields.items():
                key = (point.measurement, field, type(value))
                if key in self._known:
                    alone = replace(point, fields={field: good.pop(field)}).line().encode()
                    self._set_aside(alone, key, trials)
            if good:
                kept.append(line if len(good) == len(point.fields) else replace(point, fields=good).line().encode())
        return trials + ([b"\n".join(kept) + b"\n"] if kept else [])

    def _set_aside(self, line: bytes, key: _Sent, trials: list[bytes]) -> None:
        if key in self._tried:
            if key in self._trials.values():
                self._held.setdefault(key, []).append(line)
            else:
                self.refused.append((line, self._known[key]))
            return
        self._tried.add(key)
        trials.append(line + b"\n")
        self._trials[line + b"\n"] = key


def fields_of(line: bytes) -> list[bytes]:
    """Return a point for each field of a point."""
    point = parse_or_none(line)
    if point is None or len(point.fields) < 2:
        return [line]
    return [replace(point, fields={name: value}).line().encode() for name, value in point.fields.items()]


def parse_or_none(line: bytes) -> Point | None:
    """Read a point; None for what is no line protocol."""
    try:
        return parse(line)
    except ValueError:
        return None

"""What a PV did: its events read back from the durable log of a bridge, or from an InfluxDB."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

from archiver.config import ServerConfig
from archiver.influx.api import authorization, connect
from archiver.influx.http import HttpClient, NoAnswer
from archiver.log.reader import lines
from archiver.points.catalogue import Catalogue
from archiver.points.lineprotocol import FieldValue, Point, parse
from archiver.points.series import CONNECTION, Series

SEVERITIES = ("NO_ALARM", "MINOR", "MAJOR", "INVALID")

_NS = 1_000_000_000
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604_800}
_PAGE = 10_000
_LARGEST_PAGE = 100_000_000


class HistoryError(Exception):
    """There is no history to be had; the text says why."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One event; ``time`` in Unix nanoseconds.

    ``value`` is None where the reading was no number, and when the PV was lost (``connected`` False) or came back
    (``connected`` True). ``severity`` is None where the point does not tell it: as before.
    """

    time: int
    value: FieldValue | None = None
    severity: int | None = None
    connected: bool | None = None


def parse_moment(text: str, now_ns: int) -> int:
    """Read ``1h`` (so long ago; s, m, h, d, w), or a date and time of ISO 8601 (local without a zone), as Unix ns.

    Raises ValueError.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smhdw])", text)
    if match:
        return now_ns - round(float(match[1]) * _UNITS[match[2]] * _NS)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{text!r} is neither a time like 90s, 1h or 7d nor a date like 2026-01-31T12:00") from None
    return round(moment.astimezone().timestamp() * 1_000_000) * 1000


def from_log(directory: Path, known: Catalogue, pv: str, since: int, until: int) -> list[Sample]:
    """Return the samples of a PV in the log of a folder, in the order of their stamps. Raises HistoryError."""
    series = _series(known, pv)
    found = lines(directory, _starts(series, known), since)
    names = [name.encode() for name in (series.field_start, f"{series.field_start[:-1]}_sev=", series.connection_field)]
    samples = {}
    for line in found:
        if not any(name in line for name in names):
            continue  # another field of the channel
        point = parse(line)
        if point.time is not None and since <= point.time <= until:
            field = pv if point.measurement == CONNECTION else series.field
            for sample in _sample(point.time, point.fields, field, point.measurement == CONNECTION):
                samples[sample.time, sample.connected is None] = sample
    return sorted(samples.values(), key=lambda sample: sample.time)


def from_influxdb(server: ServerConfig, known: Catalogue, pv: str, since: int, until: int) -> list[Sample]:
    """Return the samples of a PV that an InfluxDB has, in the order of their stamps. Raises HistoryError.

    Asked in InfluxQL, which v1 and v2 understand at ``/query`` and v3 at ``/api/v3/query_influxql``.
    """
    if server.version not in (1, 2, 3):
        raise HistoryError(f"{server.name} takes line protocol, but how to ask it is not known")
    series = _series(known, pv)
    client = connect(server)
    try:
        samples: list[Sample] = []
        for connection in (False, True):
            point = parse(f"{series.connection if connection else series.head}x=0 0".encode())
            field = pv if connection else series.field
            for time, fields in _rows(client, server, point, field, since, until):
                samples += _sample(time, fields, field, connection)
    except NoAnswer as error:
        raise HistoryError(f"{server.name}: {error}") from error
    finally:
        client.close()
    return sorted(samples, key=lambda sample: sample.time)


def write_csv(samples: Iterable[Sample], file: TextIO) -> None:
    """Write samples with a heading; times in UTC to the nanosecond and in Unix nanoseconds."""
    writer = csv.writer(file)
    writer.writerow(("time", "unix_ns", "value", "severity", "connected"))
    for sample in samples:
        value = "" if sample.value is None else repr(sample.value) if isinstance(sample.value, float) else sample.value
        severity = "" if sample.severity is None else SEVERITIES[sample.severity & 3]
        connected = "" if sample.connected is None else int(sample.connected)
        writer.writerow((iso(sample.time), sample.time, value, severity, connected))


def as_lines(samples: Iterable[Sample]) -> Iterator[str]:
    """Write samples for people, in local time, with the severity in force."""
    severity = 0
    for sample in samples:
        severity = severity if sample.severity is None else sample.severity
        moment = datetime.fromtimestamp(sample.time // _NS).strftime("%Y-%m-%d %H:%M:%S")
        start = f"{moment}.{sample.time % _NS:09d}"
        if sample.connected is not None:
            yield f"{start}  *** {'connected' if sample.connected else 'disconnected'}"
        else:
            value = "*** no number" if sample.value is None else sample.value
            yield f"{start}  {value}{f'  {SEVERITIES[severity & 3]}' if severity else ''}"


def iso(time: int) -> str:
    """Write Unix nanoseconds as ISO 8601 in UTC, every digit kept."""
    return f"{datetime.fromtimestamp(time // _NS, UTC):%Y-%m-%dT%H:%M:%S}.{time % _NS:09d}Z"


def _series(known: Catalogue, pv: str) -> Series:
    if pv not in known.pvs:
        close = [name for name in known.pvs if name.startswith(pv) or pv.lower() == name.lower()]
        hint = f"; there is {', '.join(close[:5])}" if close else ""
        raise HistoryError(f"{pv} is not archived here{hint}")
    return Series(known.pvs[pv], known.schema)


def _starts(series: Series, known: Catalogue) -> tuple[bytes, ...]:
    """Return what the lines begin with that may be of a PV: all of its channel when it is part of rows."""
    if known.schema.row_period(known.pvs[series.pv]):
        return series.head.encode(), series.connection.encode()
    return series.start.encode(), series.severity_alone.encode(), series.connection.encode()


def _sample(time: int, fields: Mapping[str, FieldValue], name: str, connection: bool) -> list[Sample]:
    """Return the sample of a PV in a point, if there is one."""
    value = fields.get(name)
    if connection:
        return [Sample(time, connected=bool(value))] if value is not None else []
    severity = fields.get(f"{name}_sev")
    if value is None and severity is None:
        return []
    value = int(value) if isinstance(value, bool) else value
    return [Sample(time, value, None if severity is None else int(severity))]


def _rows(
    client: HttpClient, server: ServerConfig, series: Point, name: str, since: int, until: int
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Ask for one series page by page; yields time and the fields that have a value."""
    columns = [name] if series.measurement == CONNECTION else [name, f"{name}_sev"]
    where = "".join(f" AND {_identifier(key)} = {_string(value)}" for key, value in series.tags.items())
    source = _identifier(series.measurement)
    if server.retention_policy:
        source = f"{_identifier(server.retention_policy)}.{source}"
    while True:
        query = (
            f"SELECT {', '.join(map(_identifier, columns))} FROM {source}"
            f" WHERE time >= {since} AND time <= {until}{where} ORDER BY time LIMIT {_PAGE}"
        )
        rows = _ask(client, server, query)
        for row in rows:
            time = int(row.pop("time"))
            yield time, {key: value for key, value in row.items() if value is not None}
        if len(rows) < _PAGE:
            return
        since = time + 1


def _ask(client: HttpClient, server: ServerConfig, query: str) -> list[dict[str, Any]]:
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


def _identifier(name: str) -> str:
    return '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _string(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"

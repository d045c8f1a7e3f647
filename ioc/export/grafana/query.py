"""Queries in the two languages of InfluxDB: InfluxQL for version 1, Flux for version 2.

Grafana replaces ``$timeFilter``, ``$__interval``, ``v.timeRangeStart`` ... and the variables ``$device``, ``$channel``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

DATASOURCE_UID: Final = "labioc"

Where = Sequence[tuple[str, str]]
"""Tags that must have a value."""


@dataclass(frozen=True, slots=True)
class Query:
    """What a panel asks for: fields of a measurement, one value for each step of time, and for each set of ``tags``.

    ``by`` are the tags that a variable of the dashboard chooses from. Without ``steps`` it is the last value alone.
    ``keep`` fills steps without a point with the value before.
    """

    measurement: str
    fields: Sequence[str]
    by: Sequence[str] = ("device", "channel")
    function: str = "mean"
    steps: bool = True
    keep: bool = False


class InfluxQl:
    """InfluxQL."""

    name = "influxql"
    version = 1

    def query(self, query: Query) -> str:
        """Return the statement."""
        columns = ", ".join(f'{query.function}("{field}") AS "{field}"' for field in query.fields)
        conditions = ["$timeFilter", *(f'"{tag}" =~ /^${tag}$/' for tag in query.by)]
        group = [*(["time($__interval)"] if query.steps else []), *(f'"{tag}"' for tag in query.by)]
        fill = (" fill(previous)" if query.keep else " fill(none)") if query.steps else ""
        grouping = f" GROUP BY {', '.join(group)}" if group else ""
        return f'SELECT {columns} FROM "{query.measurement}" WHERE {" AND ".join(conditions)}{grouping}{fill}'

    def annotation(self, measurement: str, field: str) -> dict[str, Any]:
        """Return what marks the texts of one field: this data source has the query beside its standard elements."""
        text = f'SELECT "{field}" FROM "{measurement}" WHERE $timeFilter AND "device" =~ /^$device$/'
        return {"query": text, "textColumn": field}

    def values(self, measurement: str, tag: str) -> str:
        """Return a query for the values of a tag."""
        where = ' WHERE "device" =~ /^$device$/' if tag == "channel" else ""
        return f'SHOW TAG VALUES FROM "{measurement}" WITH KEY = "{tag}"{where}'

    def alert(self, measurement: str, field: str, by: Sequence[str], where: Where) -> str:
        """Return the query of an alert rule, which knows no variables."""
        conditions = ["$timeFilter", *(f"\"{tag}\" = '{value}'" for tag, value in where)]
        tags = ", ".join(f'"{tag}"' for tag in by)
        group = f" GROUP BY {tags}" if by else ""
        return f'SELECT last("{field}") FROM "{measurement}" WHERE {" AND ".join(conditions)}{group}'

    def target(self, text: str, alias: str = "") -> dict[str, Any]:
        """Return the query as a panel holds it."""
        return {"query": text, "rawQuery": True, "resultFormat": "time_series", "alias": alias}


class Flux:
    """Flux."""

    name = "flux"
    version = 2

    def query(self, query: Query) -> str:
        """Return the script."""
        fields = " or ".join(f'r._field == "{field}"' for field in query.fields)
        lines = _source(query.measurement, fields, *(f"r.{tag} =~ /^${{{tag}:regex}}$/" for tag in query.by))
        if query.steps:
            empty = "true" if query.keep else "false"
            lines.append(f"  |> aggregateWindow(every: v.windowPeriod, fn: {query.function}, createEmpty: {empty})")
        else:
            lines.append(f"  |> {query.function}()")
        if query.keep:
            lines.append("  |> fill(usePrevious: true)")
        return "\n".join(lines)

    def annotation(self, measurement: str, field: str) -> dict[str, Any]:
        """Return what marks the texts of one field."""
        text = "\n".join(_source(measurement, f'r._field == "{field}"', "r.device =~ /^${device:regex}$/"))
        return {"target": {"refId": "A", **self.target(text)}}

    def values(self, measurement: str, tag: str) -> str:
        """Return a query for the values of a tag."""
        call = f'schema.measurementTagValues(bucket: v.defaultBucket, measurement: "{measurement}", tag: "{tag}")'
        return f'import "influxdata/influxdb/schema"\n{call}'

    def alert(self, measurement: str, field: str, by: Sequence[str], where: Where) -> str:
        """Return the query of an alert rule, which knows no variables."""
        lines = _source(measurement, f'r._field == "{field}"', *(f'r.{tag} == "{value}"' for tag, value in where))
        columns = ", ".join(f'"{tag}"' for tag in by)
        return "\n".join([*lines, f"  |> group(columns: [{columns}])", '  |> sort(columns: ["_time"])', "  |> last()"])

    def target(self, text: str, alias: str = "") -> dict[str, Any]:
        """Return the query as a panel holds it; names of curves come from the fields and tags."""
        return {"query": text}


Language = InfluxQl | Flux
LANGUAGES: Final[Sequence[Language]] = (InfluxQl(), Flux())


def _source(measurement: str, *conditions: str) -> list[str]:
    """Return the lines that a script begins with: a measurement in the span of the dashboard, by conditions of rows."""
    wanted = f'r._measurement == "{measurement}"', *conditions
    return [
        "from(bucket: v.defaultBucket)",
        "  |> range(start: v.timeRangeStart, stop: v.timeRangeStop)",
        *(f"  |> filter(fn: (r) => {condition})" for condition in wanted),
    ]

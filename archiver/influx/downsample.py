"""Mean, min, max and last of windows: what ``--setup`` lets a server compute, and ``backfill`` computes again.

Each run looks at more than its last window, because points come late after an outage. What came later still is
computed by ``backfill``. Statements are those of the InfluxData documentation: InfluxQL "Continuous queries" (RESAMPLE
FOR) and "Retention policies" (SHARD DURATION) for v1, Flux ``aggregateWindow`` and ``date.truncate`` for v2.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final

from archiver.config import ServerConfig
from archiver.influx.database import Database, identifier

_SECONDS: Final = {"m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_NS: Final = 1_000_000_000
_SHORTEST_OVERLAP: Final = 3600
_WINDOWS_AGAIN: Final = 10
_AT_ONCE: Final = 86_400
"""Seconds of raw data that one statement of ``backfill`` reads, at least."""

_SHARDS: Final = ((2 * 86_400, "1h"), (180 * 86_400, "1d"))
"""Shard duration for retentions shorter than so many seconds, as InfluxDB chooses it for a new policy."""

FUNCTIONS: Final = ("mean", "min", "max", "last")


class SetupError(Exception):
    """A server could not be set up, or asked; the text has its words."""


def seconds_of(duration: str) -> int:
    """Read a duration; raises SetupError."""
    match = re.fullmatch(r"([0-9]+)([mhdw])", duration)
    if match is None:
        raise SetupError(f"retention {duration!r}: 6h, 30d or 52w for example")
    return int(match[1]) * _SECONDS[match[2]]


def shard_duration(retention: str) -> str:
    """Return the duration of a shard; an existing policy would keep that of its old retention, and refuse a shorter."""
    if not retention:
        return "7d"
    return next((shard for limit, shard in _SHARDS if seconds_of(retention) < limit), "7d")


def overlap(every: str) -> int:
    """Return how far back each run computes windows again, in seconds."""
    return max(_WINDOWS_AGAIN * seconds_of(every), _SHORTEST_OVERLAP)


def coarse_policy(every: str) -> str:
    """Return the retention policy of v1 that holds windows."""
    return f"labioc_{every}"


def coarse_bucket(server: ServerConfig, every: str) -> str:
    """Return the bucket of v2 that holds windows."""
    return f"{server.bucket}_{every}"


def select_windows(server: ServerConfig, every: str, where: str = "") -> str:
    """Return the statement of v1 that computes windows."""
    database, policy = identifier(server.database), identifier(server.retention_policy or "autogen")
    functions = ", ".join(f"{function}(*)" for function in FUNCTIONS)
    return (
        f"SELECT {functions} INTO {database}.{identifier(coarse_policy(every))}.:MEASUREMENT"
        f" FROM {database}.{policy}./.*/{where} GROUP BY time({every}), *"
    )


_IMPORTS = 'import "date"\nimport "types"\n'


def flux_task(server: ServerConfig, every: str, name: str) -> str:
    """Return the Flux script of a task of v2; its options stand behind the imports, as the language demands."""
    start = f"date.truncate(t: -{overlap(every)}s, unit: {every})"
    option = f"option task = {{name: {json.dumps(name)}, every: {every}}}\n"
    return _IMPORTS + option + _flux_windows(server, every, start, f"date.truncate(t: now(), unit: {every})")


def flux_windows(server: ServerConfig, every: str, start: str, stop: str) -> str:
    """Return the Flux that computes the windows between two times once."""
    return _IMPORTS + _flux_windows(server, every, start, stop)


def _flux_windows(server: ServerConfig, every: str, start: str, stop: str) -> str:
    """Return what computes the windows between two times; only ``last`` takes what is no number."""
    target = f"to(bucket: {json.dumps(coarse_bucket(server, every))}, org: {json.dumps(server.org)})"
    source = f"from(bucket: {json.dumps(server.bucket)}) |> range(start: {start}, stop: {stop})"
    parts = []
    for function in FUNCTIONS:
        numbers = "" if function == "last" else " |> filter(fn: (r) => types.isNumeric(v: r._value))"
        parts.append(
            f"{source}{numbers} |> aggregateWindow(every: {every}, fn: {function}, createEmpty: false, timeSrc: "
            f'"_start") |> map(fn: (r) => ({{r with _field: "{function}_" + r._field}})) |> {target}'
            f' |> yield(name: "{function}")'
        )
    return "\n".join(parts)


def backfill(server: ServerConfig, since: int, until: int) -> Iterator[str]:
    """Compute the windows between two times (Unix ns) again, from what the server has; yields what was done.

    Raises SetupError.
    """
    if server.version not in (1, 2) or not server.downsample:
        yield f"{server.name}: nothing to compute (version {server.version}, {len(server.downsample)} windows)"
        return
    with Database(server, SetupError) as database:
        for every in server.downsample:
            window = seconds_of(every) * _NS
            first, end = since // window * window, -(-until // window) * window
            step = max(_AT_ONCE * _NS // window, 1) * window
            written = 0
            for start in range(first, end, step):
                stop = min(start + step, end)
                if server.version == 1:
                    where = f" WHERE time >= {start} AND time < {stop}"
                    written += sum(row["written"] for row in database.run(select_windows(server, every, where)))
                else:
                    _flux(database, flux_windows(server, every, _rfc3339(start), _rfc3339(stop)))
            count = f", {written} points" if server.version == 1 else ""
            yield f"{server.name}: windows of {every} from {_rfc3339(first)} to {_rfc3339(end)}{count}"


def _flux(database: Database, script: str) -> None:
    headers = {"Content-Type": "application/vnd.flux", "Accept": "application/csv"}
    answer = database.ask("POST", "/api/v2/query", {"org": database.server.org}, script.encode(), headers)
    if answer.status != 200:
        raise database.failure(answer)


def _rfc3339(ns: int) -> str:
    return f"{datetime.fromtimestamp(ns // _NS, UTC):%Y-%m-%dT%H:%M:%SZ}"

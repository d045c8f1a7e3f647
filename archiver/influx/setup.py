"""Set up a database: ``labioc archive SITE --setup``, and ``backfill``, which computes its windows again.

Set-up creates database, retention and downsampling where they are missing; asking again changes nothing that is there.
A window has mean, min, max and last of its points. Each run of the server looks at more than its last window, because
points come late after an outage; what came later still is computed by ``backfill``.

Statements and endpoints are those of the InfluxData documentation: InfluxQL "Database management", "Continuous queries"
(RESAMPLE FOR) and "Retention policies" (SHARD DURATION) for v1; ``/api/v2/buckets``, ``/api/v2/tasks``, Flux
``aggregateWindow`` and ``date.truncate`` for v2; ``/api/v3/configure/database`` for v3.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from archiver.config import ServerConfig
from archiver.influx.database import Database, identifier
from archiver.influx.http import Answer

_SECONDS: Final = {"m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_NS: Final = 1_000_000_000
_SHORTEST_OVERLAP: Final = 3600
_WINDOWS_AGAIN: Final = 10
_AT_ONCE: Final = 86_400
"""Seconds of raw data that one statement of ``backfill`` reads, at least."""

_SHARDS: Final = ((2 * 86_400, "1h"), (180 * 86_400, "1d"))
"""Shard duration for retentions shorter than so many seconds, as InfluxDB chooses it for a new policy."""

_FUNCTIONS: Final = ("mean", "min", "max", "last")


class SetupError(Exception):
    """A server could not be set up, or asked; the text has its words."""


def set_up(server: ServerConfig) -> list[str]:
    """Create what is missing on one server; returns what was done, one sentence each. Raises SetupError."""
    steps: dict[int | str, Callable[[Database, ServerConfig], Iterator[str]]] = {1: _v1, 2: _v2, 3: _v3}
    if server.version not in steps:
        return [f"{server.name}: nothing to create"]
    with Database(server, SetupError) as database:
        return [f"{server.name}: {done}" for done in steps[server.version](database, server)]


def _v1(database: Database, server: ServerConfig) -> Iterator[str]:
    name, policy = server.database, server.retention_policy or "autogen"
    database.run(f"CREATE DATABASE {identifier(name)}")
    yield f"database {name}"
    if server.retention or server.retention_policy:
        known = database.run(f"SHOW RETENTION POLICIES ON {identifier(name)}")
        verb = "ALTER" if policy in [row["name"] for row in known] else "CREATE"
        database.run(
            f"{verb} RETENTION POLICY {identifier(policy)} ON {identifier(name)} DURATION {server.retention or 'INF'}"
            f" REPLICATION 1 SHARD DURATION {_shard_duration(server.retention)} DEFAULT"
        )
        yield f"retention policy {policy}, {server.retention or 'for ever'}"
    for every in server.downsample:
        coarse = f"{identifier(_coarse_policy(every))} ON {identifier(name)}"
        database.run(f"CREATE RETENTION POLICY {coarse} DURATION INF REPLICATION 1")
        # Dropped first, because one that is there is never changed.
        database.run(f"DROP CONTINUOUS QUERY {coarse}", "not found")
        windows = _select_windows(server, every)
        database.run(f"CREATE CONTINUOUS QUERY {coarse} RESAMPLE FOR {_overlap(every)}s BEGIN {windows} END")
        yield f"mean, min, max and last of {every} in retention policy {_coarse_policy(every)}"


def _v2(database: Database, server: ServerConfig) -> Iterator[str]:
    orgs = _json(database, "GET", "/api/v2/orgs", {"org": server.org})["orgs"]
    if not orgs:
        raise database.failure(f"there is no organization {server.org}")
    org = orgs[0]["id"]
    yield _bucket(database, org, server.bucket, server.retention)
    known = _json(database, "GET", "/api/v2/tasks", {"orgID": org, "limit": "500"})["tasks"]
    tasks = {task["name"]: task["id"] for task in known}
    for every in server.downsample:
        coarse = _coarse_bucket(server, every)
        yield _bucket(database, org, coarse, "")
        name = f"labioc_{coarse}"
        flux = _flux_task(server, every, name)
        if name in tasks:
            _json(database, "PATCH", f"/api/v2/tasks/{tasks[name]}", body={"flux": flux})
        else:
            _json(database, "POST", "/api/v2/tasks", body={"orgID": org, "flux": flux})
        yield f"task {name}, mean, min, max and last of {every}"


def _bucket(database: Database, org: str, name: str, retention: str) -> str:
    answer = _ask(database, "GET", "/api/v2/buckets", {"orgID": org, "name": name})
    known = _content(database, answer).get("buckets") if answer.status != 404 else None
    rules = [{"type": "expire", "everySeconds": _seconds_of(retention)}] if retention else []
    if not known:
        _json(database, "POST", "/api/v2/buckets", body={"orgID": org, "name": name, "retentionRules": rules})
    elif retention:
        _json(database, "PATCH", f"/api/v2/buckets/{known[0]['id']}", body={"retentionRules": rules})
    return f"bucket {name}, {retention or 'for ever'}"


def _v3(database: Database, server: ServerConfig) -> Iterator[str]:
    body = {"db": server.database}
    if server.retention:
        body["retention_period"] = server.retention
    answer = _ask(database, "POST", "/api/v3/configure/database", body=body)
    if answer.status not in (200, 201, 204, 409):
        raise database.failure(answer)
    kept = " was there, with its retention" if answer.status == 409 else f", {server.retention or 'for ever'}"
    yield f"database {server.database}{kept}"


def _json(
    database: Database, method: str, path: str, query: Mapping[str, str] | None = None, body: object = None
) -> dict[str, Any]:
    return _content(database, _ask(database, method, path, query, body))


def _content(database: Database, answer: Answer) -> dict[str, Any]:
    if answer.status >= 300:
        raise database.failure(answer)
    data: dict[str, Any] = json.loads(answer.body or b"{}")
    return data


def _ask(
    database: Database, method: str, path: str, query: Mapping[str, str] | None = None, body: object = None
) -> Answer:
    sent = json.dumps(body).encode() if body is not None else b""
    return database.ask(method, path, query, sent, {"Content-Type": "application/json"})


def _seconds_of(duration: str) -> int:
    """Read a duration; raises SetupError."""
    match = re.fullmatch(r"([0-9]+)([mhdw])", duration)
    if match is None:
        raise SetupError(f"retention {duration!r}: 6h, 30d or 52w for example")
    return int(match[1]) * _SECONDS[match[2]]


def _shard_duration(retention: str) -> str:
    """Return the duration of a shard; an existing policy would keep that of its old retention, and refuse a shorter."""
    if not retention:
        return "7d"
    return next((shard for limit, shard in _SHARDS if _seconds_of(retention) < limit), "7d")


def _overlap(every: str) -> int:
    """Return how far back each run computes windows again, in seconds."""
    return max(_WINDOWS_AGAIN * _seconds_of(every), _SHORTEST_OVERLAP)


def _coarse_policy(every: str) -> str:
    """Return the retention policy of v1 that holds windows."""
    return f"labioc_{every}"


def _coarse_bucket(server: ServerConfig, every: str) -> str:
    """Return the bucket of v2 that holds windows."""
    return f"{server.bucket}_{every}"


def _select_windows(server: ServerConfig, every: str, where: str = "") -> str:
    """Return the statement of v1 that computes windows."""
    database, policy = identifier(server.database), identifier(server.retention_policy or "autogen")
    functions = ", ".join(f"{function}(*)" for function in _FUNCTIONS)
    return (
        f"SELECT {functions} INTO {database}.{identifier(_coarse_policy(every))}.:MEASUREMENT"
        f" FROM {database}.{policy}./.*/{where} GROUP BY time({every}), *"
    )


def _flux_task(server: ServerConfig, every: str, name: str) -> str:
    """Return the Flux script of a task of v2."""
    start = f"date.truncate(t: -{_overlap(every)}s, unit: {every})"
    option = f"option task = {{name: {json.dumps(name)}, every: {every}}}\n"
    return _flux_windows(server, every, start, f"date.truncate(t: now(), unit: {every})", option)


def _flux_windows(server: ServerConfig, every: str, start: str, stop: str, option: str = "") -> str:
    """Return the Flux that computes the windows between two times; only ``last`` takes what is no number.

    The option of a task stands behind the imports, as the language demands.
    """
    target = f"to(bucket: {json.dumps(_coarse_bucket(server, every))}, org: {json.dumps(server.org)})"
    source = f"from(bucket: {json.dumps(server.bucket)}) |> range(start: {start}, stop: {stop})"
    parts = []
    for function in _FUNCTIONS:
        numbers = "" if function == "last" else " |> filter(fn: (r) => types.isNumeric(v: r._value))"
        parts.append(
            f"{source}{numbers} |> aggregateWindow(every: {every}, fn: {function}, createEmpty: false, timeSrc: "
            f'"_start") |> map(fn: (r) => ({{r with _field: "{function}_" + r._field}})) |> {target}'
            f' |> yield(name: "{function}")'
        )
    return 'import "date"\nimport "types"\n' + option + "\n".join(parts)


def backfill(server: ServerConfig, since: int, until: int) -> Iterator[str]:
    """Compute the windows between two times (Unix ns) again, from what the server has; yields what was done.

    Raises SetupError.
    """
    if server.version not in (1, 2) or not server.downsample:
        yield f"{server.name}: nothing to compute (version {server.version}, {len(server.downsample)} windows)"
        return
    with Database(server, SetupError) as database:
        for every in server.downsample:
            window = _seconds_of(every) * _NS
            first, end = since // window * window, -(-until // window) * window
            step = max(_AT_ONCE * _NS // window, 1) * window
            written = 0
            for start in range(first, end, step):
                stop = min(start + step, end)
                if server.version == 1:
                    where = f" WHERE time >= {start} AND time < {stop}"
                    written += sum(row["written"] for row in database.run(_select_windows(server, every, where)))
                else:
                    _flux(database, _flux_windows(server, every, _rfc3339(start), _rfc3339(stop)))
            count = f", {written} points" if server.version == 1 else ""
            yield f"{server.name}: windows of {every} from {_rfc3339(first)} to {_rfc3339(end)}{count}"


def _flux(database: Database, script: str) -> None:
    headers = {"Content-Type": "application/vnd.flux", "Accept": "application/csv"}
    answer = database.ask("POST", "/api/v2/query", {"org": database.server.org}, script.encode(), headers)
    if answer.status != 200:
        raise database.failure(answer)


def _rfc3339(ns: int) -> str:
    return f"{datetime.fromtimestamp(ns // _NS, UTC):%Y-%m-%dT%H:%M:%SZ}"

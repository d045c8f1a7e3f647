"""``labioc archive SITE --setup``: create database, retention and downsampling where they are missing.

Asking again changes nothing that is there. Statements and endpoints are those of the InfluxData documentation: InfluxQL
"Database management" and "Continuous queries" for v1, ``/api/v2/buckets`` and ``/api/v2/tasks`` for v2,
``/api/v3/configure/database`` for v3.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from archiver.config import ServerConfig
from archiver.influx.database import Database, identifier
from archiver.influx.downsample import (
    SetupError,
    coarse_bucket,
    coarse_policy,
    flux_task,
    overlap,
    seconds_of,
    select_windows,
    shard_duration,
)
from archiver.influx.http import Answer

__all__ = ["SetupError", "set_up"]


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
            f" REPLICATION 1 SHARD DURATION {shard_duration(server.retention)} DEFAULT"
        )
        yield f"retention policy {policy}, {server.retention or 'for ever'}"
    for every in server.downsample:
        coarse = f"{identifier(coarse_policy(every))} ON {identifier(name)}"
        database.run(f"CREATE RETENTION POLICY {coarse} DURATION INF REPLICATION 1")
        # Dropped first, because one that is there is never changed.
        database.run(f"DROP CONTINUOUS QUERY {coarse}", "not found")
        database.run(
            f"CREATE CONTINUOUS QUERY {coarse} RESAMPLE FOR {overlap(every)}s BEGIN {select_windows(server, every)} END"
        )
        yield f"mean, min, max and last of {every} in retention policy {coarse_policy(every)}"


def _v2(database: Database, server: ServerConfig) -> Iterator[str]:
    orgs = _json(database, "GET", "/api/v2/orgs", {"org": server.org})["orgs"]
    if not orgs:
        raise database.failure(f"there is no organization {server.org}")
    org = orgs[0]["id"]
    yield _bucket(database, org, server.bucket, server.retention)
    known = _json(database, "GET", "/api/v2/tasks", {"orgID": org, "limit": "500"})["tasks"]
    tasks = {task["name"]: task["id"] for task in known}
    for every in server.downsample:
        coarse = coarse_bucket(server, every)
        yield _bucket(database, org, coarse, "")
        name = f"labioc_{coarse}"
        flux = flux_task(server, every, name)
        if name in tasks:
            _json(database, "PATCH", f"/api/v2/tasks/{tasks[name]}", body={"flux": flux})
        else:
            _json(database, "POST", "/api/v2/tasks", body={"orgID": org, "flux": flux})
        yield f"task {name}, mean, min, max and last of {every}"


def _bucket(database: Database, org: str, name: str, retention: str) -> str:
    answer = _ask(database, "GET", "/api/v2/buckets", {"orgID": org, "name": name})
    known = _content(database, answer).get("buckets") if answer.status != 404 else None
    rules = [{"type": "expire", "everySeconds": seconds_of(retention)}] if retention else []
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

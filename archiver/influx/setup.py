"""``labioc archive SITE --setup``: create database, retention and downsampling where they are missing.

Asking again changes nothing that is there. Statements and endpoints are those of the InfluxData documentation: InfluxQL
"Database management" and "Continuous queries" for v1, ``/api/v2/buckets`` and ``/api/v2/tasks`` for v2,
``/api/v3/configure/database`` for v3.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from archiver.config import ServerConfig
from archiver.influx.api import authorization, connect
from archiver.influx.downsample import (
    SetupError,
    coarse_bucket,
    coarse_policy,
    failure,
    flux_task,
    identifier,
    influxql,
    overlap,
    seconds_of,
    select_windows,
    shard_duration,
)
from archiver.influx.http import Answer, HttpClient, NoAnswer

__all__ = ["SetupError", "set_up"]


def set_up(server: ServerConfig) -> list[str]:
    """Create what is missing on one server; returns what was done, one sentence each. Raises SetupError."""
    client = connect(server)
    try:
        if server.version == 1:
            return _v1(client, server)
        if server.version == 2:
            return _v2(client, server)
        if server.version == 3:
            return _v3(client, server)
        return [f"{server.name}: nothing to create"]
    except NoAnswer as error:
        raise SetupError(f"{server.name}: {error}") from error
    finally:
        client.close()


def _v1(client: HttpClient, server: ServerConfig) -> list[str]:
    database, policy = server.database, server.retention_policy or "autogen"
    influxql(client, server, f"CREATE DATABASE {identifier(database)}")
    done = [f"{server.name}: database {database}"]
    if server.retention or server.retention_policy:
        duration = (
            f"DURATION {server.retention or 'INF'} REPLICATION 1 SHARD DURATION {shard_duration(server.retention)}"
        )
        what = f"RETENTION POLICY {identifier(policy)} ON {identifier(database)} {duration}"
        known = influxql(client, server, f"SHOW RETENTION POLICIES ON {identifier(database)}")
        names = [values[0] for series in known.get("series", ()) for values in series.get("values", ())]
        influxql(client, server, f"{'ALTER' if policy in names else 'CREATE'} {what} DEFAULT")
        done.append(f"{server.name}: retention policy {policy}, {server.retention or 'for ever'}")
    for every in server.downsample:
        coarse = coarse_policy(every)
        influxql(
            client,
            server,
            f"CREATE RETENTION POLICY {identifier(coarse)} ON {identifier(database)} DURATION INF REPLICATION 1",
        )
        # Dropped first, because one that is there is never changed.
        influxql(client, server, f"DROP CONTINUOUS QUERY {identifier(coarse)} ON {identifier(database)}", "not found")
        influxql(
            client,
            server,
            f"CREATE CONTINUOUS QUERY {identifier(coarse)} ON {identifier(database)}"
            f" RESAMPLE FOR {overlap(every)}s BEGIN {select_windows(server, every)} END",
        )
        done.append(f"{server.name}: mean, min, max and last of {every} in retention policy {coarse}")
    return done


def _v2(client: HttpClient, server: ServerConfig) -> list[str]:
    orgs = _json(client, server, "GET", "/api/v2/orgs", {"org": server.org})["orgs"]
    if not orgs:
        raise SetupError(f"{server.name}: there is no organization {server.org}")
    org = orgs[0]["id"]
    done = [_bucket(client, server, org, server.bucket, server.retention)]
    known = _json(client, server, "GET", "/api/v2/tasks", {"orgID": org, "limit": "500"})["tasks"]
    tasks = {task["name"]: task["id"] for task in known}
    for every in server.downsample:
        coarse = coarse_bucket(server, every)
        done.append(_bucket(client, server, org, coarse, ""))
        name = f"labioc_{coarse}"
        flux = flux_task(server, every, name)
        if name in tasks:
            _json(client, server, "PATCH", f"/api/v2/tasks/{tasks[name]}", body={"flux": flux})
        else:
            _json(client, server, "POST", "/api/v2/tasks", body={"orgID": org, "flux": flux})
        done.append(f"{server.name}: task {name}, mean, min, max and last of {every}")
    return done


def _bucket(client: HttpClient, server: ServerConfig, org: str, name: str, retention: str) -> str:
    known = _json(client, server, "GET", "/api/v2/buckets", {"orgID": org, "name": name}, missing=True)
    rules = [{"type": "expire", "everySeconds": seconds_of(retention)}] if retention else []
    if known.get("buckets"):
        if retention:
            path = f"/api/v2/buckets/{known['buckets'][0]['id']}"
            _json(client, server, "PATCH", path, body={"retentionRules": rules})
    else:
        _json(client, server, "POST", "/api/v2/buckets", body={"orgID": org, "name": name, "retentionRules": rules})
    return f"{server.name}: bucket {name}, {retention or 'for ever'}"


def _v3(client: HttpClient, server: ServerConfig) -> list[str]:
    body = {"db": server.database}
    if server.retention:
        body["retention_period"] = server.retention
    answer = _ask(client, server, "POST", "/api/v3/configure/database", body=body)
    if answer.status not in (200, 201, 204, 409):
        raise failure(server, answer)
    done = f"{server.name}: database {server.database}"
    if answer.status == 409:
        return [f"{done} was there, with its retention"]
    return [f"{done}, {server.retention or 'for ever'}"]


def _json(
    client: HttpClient,
    server: ServerConfig,
    method: str,
    path: str,
    query: Mapping[str, str] | None = None,
    body: object = None,
    missing: bool = False,
) -> dict[str, Any]:
    answer = _ask(client, server, method, path, query, body)
    if missing and answer.status == 404:
        return {}
    if answer.status >= 300:
        raise failure(server, answer)
    data: dict[str, Any] = json.loads(answer.body or b"{}")
    return data


def _ask(
    client: HttpClient,
    server: ServerConfig,
    method: str,
    path: str,
    query: Mapping[str, str] | None = None,
    body: object = None,
) -> Answer:
    headers = {"Content-Type": "application/json", **authorization(server)}
    return client.request(
        method, path, query, headers, json.dumps(body).encode() if body is not None else b"", 10_000_000
    )

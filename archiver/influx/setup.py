"""``labioc archive SITE --setup``: create database, retention and downsampling where they are missing.

Asking again changes nothing that is there. Statements and endpoints are those of the InfluxData documentation: InfluxQL
"Database management" and "Continuous queries" for v1, ``/api/v2/buckets`` and ``/api/v2/tasks`` for v2,
``/api/v3/configure/database`` for v3.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from archiver.config import ServerConfig
from archiver.influx.api import authorization, connect
from archiver.influx.http import Answer, HttpClient, NoAnswer

_SECONDS = {"m": 60, "h": 3600, "d": 86_400, "w": 604_800}
DURATION = r"^[1-9][0-9]*[mhdw]$"
"""What ``retention`` and ``downsample`` look like: 1m, 6h, 30d, 52w."""


class SetupError(Exception):
    """A server could not be set up; the text has its words."""


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
    _influxql(client, server, f"CREATE DATABASE {_name(database)}")
    done = [f"{server.name}: database {database}"]
    if server.retention or server.retention_policy:
        what = (
            f"RETENTION POLICY {_name(policy)} ON {_name(database)} DURATION {server.retention or 'INF'} REPLICATION 1"
        )
        known = _influxql(client, server, f"SHOW RETENTION POLICIES ON {_name(database)}")
        names = [values[0] for series in known.get("series", ()) for values in series.get("values", ())]
        _influxql(client, server, f"{'ALTER' if policy in names else 'CREATE'} {what} DEFAULT")
        done.append(f"{server.name}: retention policy {policy}, {server.retention or 'for ever'}")
    for every in server.downsample:
        coarse = f"labioc_{every}"
        _influxql(
            client, server, f"CREATE RETENTION POLICY {_name(coarse)} ON {_name(database)} DURATION INF REPLICATION 1"
        )
        # Dropped first, because one that is there is never changed. Means of numbers only: texts have none.
        _influxql(client, server, f"DROP CONTINUOUS QUERY {_name(coarse)} ON {_name(database)}", "not found")
        _influxql(
            client,
            server,
            f"CREATE CONTINUOUS QUERY {_name(coarse)} ON {_name(database)} BEGIN SELECT mean(*)"
            f" INTO {_name(database)}.{_name(coarse)}.:MEASUREMENT FROM {_name(database)}.{_name(policy)}./.*/"
            f" GROUP BY time({every}), * END",
        )
        done.append(f"{server.name}: means of {every} in retention policy {coarse}")
    return done


def _v2(client: HttpClient, server: ServerConfig) -> list[str]:
    orgs = _json(client, server, "GET", "/api/v2/orgs", {"org": server.org})["orgs"]
    if not orgs:
        raise SetupError(f"{server.name}: there is no organization {server.org}")
    org = orgs[0]["id"]
    done = [_bucket(client, server, org, server.bucket, server.retention)]
    known = _json(client, server, "GET", "/api/v2/tasks", {"orgID": org, "limit": "500"})["tasks"]
    for every in server.downsample:
        coarse = f"{server.bucket}_{every}"
        done.append(_bucket(client, server, org, coarse, ""))
        if any(task["name"] == f"labioc_{coarse}" for task in known):
            continue
        flux = (
            f"option task = {{name: {json.dumps(f'labioc_{coarse}')}, every: {every}}}\n"
            f"from(bucket: {json.dumps(server.bucket)}) |> range(start: -task.every)"
            " |> filter(fn: (r) => types.isNumeric(v: r._value))"
            f" |> aggregateWindow(every: {every}, fn: mean, createEmpty: false)"
            f" |> to(bucket: {json.dumps(coarse)}, org: {json.dumps(server.org)})"
        )
        _json(client, server, "POST", "/api/v2/tasks", body={"orgID": org, "flux": f'import "types"\n{flux}'})
        done.append(f"{server.name}: task labioc_{coarse}, means of {every}")
    return done


def _bucket(client: HttpClient, server: ServerConfig, org: str, name: str, retention: str) -> str:
    known = _json(client, server, "GET", "/api/v2/buckets", {"orgID": org, "name": name}, missing=True)
    rules = [{"type": "expire", "everySeconds": _seconds(retention)}] if retention else []
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
        raise _error(server, answer)
    done = f"{server.name}: database {server.database}"
    if answer.status == 409:
        return [f"{done} was there, with its retention"]
    return [f"{done}, {server.retention or 'for ever'}"]


def _influxql(client: HttpClient, server: ServerConfig, statement: str, tolerated: str = "") -> dict[str, Any]:
    """Run a statement of InfluxDB 1 and return its result; an error with the tolerated words is none."""
    answer = client.request("POST", "/query", {"q": statement}, authorization(server))
    try:
        result: dict[str, Any] = json.loads(answer.body)["results"][0]
    except (ValueError, KeyError, IndexError):
        raise _error(server, answer) from None
    if "error" in result and not (tolerated and tolerated in result["error"]):
        raise SetupError(f"{server.name}: {result['error']} ({statement})")
    return result


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
        raise _error(server, answer)
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


def _error(server: ServerConfig, answer: Answer) -> SetupError:
    return SetupError(f"{server.name}: {answer.status} {answer.body[:300].decode(errors='replace').strip()}")


def _name(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _seconds(duration: str) -> int:
    match = re.fullmatch(r"([0-9]+)([mhdw])", duration)
    if match is None:
        raise SetupError(f"retention {duration!r}: 6h, 30d or 52w for example")
    return int(match[1]) * _SECONDS[match[2]]

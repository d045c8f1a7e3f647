"""What Grafana reads from its provisioning folder: the data source, where the dashboards lie, and alert rules.

The files are JSON, which YAML readers understand. Keys are those of "Provision Grafana" in its documentation.
"""

from __future__ import annotations

import json
from typing import Any

from archiver.config import ServerConfig
from ioc.export.grafana.query import DATASOURCE_UID, Language
from ioc.export.grafana.series import Series
from ioc.export.plant import Plant

_MONTH, _MINUTES = 2_592_000, 600


def provisioning(plant: Plant, series: Series, language: Language) -> dict[str, str]:
    """Return the files of the folder."""
    made = {
        "datasources/labioc.yaml": _source(plant, series, language),
        "dashboards/labioc.yaml": _provider(plant),
        "alerting/labioc.yaml": {"apiVersion": 1, "groups": [_rules(plant, series, language)]},
    }
    return {f"provisioning/{path}": json.dumps(content, indent=1) + "\n" for path, content in made.items()}


def _source(plant: Plant, series: Series, language: Language) -> dict[str, Any]:
    """Use the first server of the site file that speaks the language; a password or token is not written out."""
    usual = ServerConfig(
        "", "http://localhost:8086", language.version, plant.prefix.lower(), org="labioc", bucket="labioc"
    )
    server = next((server for server in series.config.servers if server.version == language.version), usual)
    source: dict[str, Any] = {"name": "labioc", "uid": DATASOURCE_UID, "type": "influxdb", "access": "proxy"}
    source["url"] = server.url
    if language.version == 1:
        source["jsonData"] = {"version": "InfluxQL", "dbName": server.database, "httpMode": "POST"}
        if server.username:
            source |= {"user": server.username, "secureJsonData": {"password": "$LABIOC_INFLUXDB_PASSWORD"}}
    else:
        source["jsonData"] = {"version": "Flux", "organization": server.org, "defaultBucket": server.bucket}
        source["secureJsonData"] = {"token": "$LABIOC_INFLUXDB_TOKEN"}
    return {"apiVersion": 1, "datasources": [source]}


def _provider(plant: Plant) -> dict[str, Any]:
    folder = {"path": "/etc/grafana/dashboards"}
    provider = {"name": "labioc", "folder": plant.prefix, "type": "file", "options": folder}
    return {"apiVersion": 1, "providers": [provider]}


def _rules(plant: Plant, series: Series, language: Language) -> dict[str, Any]:
    """Alert on trips, lost links, over-temperature, and an archiver that has stopped or loses points."""
    rules = []
    for kind, device in plant.first_of_types().items():
        name = series.measurement(device.records)
        link = "{{ $labels.device }} does not answer"
        rules.append(_rule(language, f"{kind} link", link, name, "COMM", ["device"], "lt", 1, _MONTH))
        if device.supplies:
            trip = "{{ $labels.device }} channel {{ $labels.channel }} has tripped"
            rules.append(_rule(language, f"{kind} trip", trip, name, "IS_TRIP", ["device", "channel"], "gt", 0))
    for device in plant.devices:
        limit = device.records["TEMP"].fields.get("HIHI") if device.heats else None
        if limit is not None:
            name = series.measurement(device.records)
            hot = f"{device.name} is above {limit} {device.records['TEMP'].fields.get('EGU', '')}"
            rules.append(_rule(language, f"{device.name} temperature", hot, name, "TEMP", [], "gt", float(limit),
                               where=(("device", device.name),)))  # fmt: skip
    archiver = "The archiver has stopped, or loses points"
    rules.append(_rule(language, "archiver", archiver, "archive_bridge", "running", [], "lt", 1, _MONTH))
    return {"orgId": 1, "name": "labioc", "folder": plant.prefix, "interval": "30s", "rules": rules}


def _rule(
    language: Language,
    title: str,
    summary: str,
    measurement: str,
    field: str,
    by: list[str],
    kind: str,
    limit: float,
    seconds: int = _MINUTES,
    where: tuple[tuple[str, str], ...] = (),
) -> dict[str, Any]:
    """One rule: the last value of a field for each set of tags, compared with a limit."""
    window = {"from": seconds, "to": 0}
    query = language.alert(measurement, field, by, where)
    threshold = {"type": "threshold", "refId": "C", "expression": "B",
                 "conditions": [{"evaluator": {"type": kind, "params": [limit]}}]}  # fmt: skip
    reduce = {"type": "reduce", "refId": "B", "expression": "A", "reducer": "last"}
    expression = {"type": "__expr__", "uid": "__expr__"}
    source = {"type": "influxdb", "uid": DATASOURCE_UID}
    return {
        "uid": f"labioc-{title}".lower().replace(" ", "-")[:40],
        "title": title,
        "condition": "C",
        "for": "0s",
        "noDataState": "NoData",
        "execErrState": "Error",
        "annotations": {"summary": summary},
        "labels": {"site": "labioc"},
        "data": [
            {"refId": "A", "datasourceUid": DATASOURCE_UID, "relativeTimeRange": window,
             "model": {"refId": "A", "datasource": source, **language.target(query)}},
            {"refId": "B", "datasourceUid": "__expr__", "relativeTimeRange": window,
             "model": {**reduce, "datasource": expression}},
            {"refId": "C", "datasourceUid": "__expr__", "relativeTimeRange": window,
             "model": {**threshold, "datasource": expression}},
        ],
    }  # fmt: skip

"""The queries of the dashboards as Grafana sends them, answered by a real InfluxDB that IOC and bridge have filled."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import yaml

from ioc.export import grafana
from tests.archiver.influx.databases import Influx1
from tests.conftest import unavailable
from tests.debian import program
from tests.ioc.export import plants
from tests.softioc import free_port

LABIOC = [sys.executable, "-c", "from ioc.cli import main; raise SystemExit(main())"]
CHANNELS = {"DT5533E": 8, "ISEG": 64}


def as_grafana_sends(query: str) -> str:
    """Put in what Grafana does: the range, the step, All for each variable."""
    query = query.replace("$timeFilter", "time > now() - 1h").replace("$__interval", "1s")
    return query.replace("^$device$", "^(.*)$").replace("^$channel$", "^(.*)$")


def test_GIVEN_a_bridge_that_archives_a_site_WHEN_grafana_asks_THEN_every_query_returns_rows(tmp_path: Path) -> None:
    binary = program("influxd", "influxdb")
    if binary is None:
        unavailable("no influxd, and Debian's package influxdb cannot be downloaded")
    port = free_port()
    influxdb = Influx1(binary, tmp_path / "influxdb")
    archiver = f'[[archiver.influxdb]]\nurl = "{influxdb.url}"\nversion = 1\ndatabase = "lab"\n'
    head = (
        f'{plants.HEAD}[server]\ninterfaces = ["127.0.0.1"]\nport = {port}\n[archiver]\ndirectory = "log"\n{archiver}'
    )
    site = tmp_path / "site.toml"
    site.write_text(plants.site_file("simulated = true", head))
    environment = {**os.environ, "EPICS_CA_ADDR_LIST": f"127.0.0.1:{port}"}
    influxdb.query("CREATE DATABASE lab")
    with (tmp_path / "log.txt").open("w") as log:
        running = [
            subprocess.Popen([*LABIOC, command, str(site)], stderr=log, env=environment)
            for command in ("run", "archive")
        ]
        try:
            _wait(influxdb, tmp_path / "log.txt")
            _ask_everything(influxdb, grafana.write(plants.plant(head)))
        finally:
            for process in running:
                process.send_signal(signal.SIGTERM)
            assert [process.wait(20) for process in running] == [0, 0], (tmp_path / "log.txt").read_text()
            influxdb.stop()


def _wait(influxdb: Influx1, log: Path) -> None:
    """Until every channel of both types has a few rows."""
    end = time.monotonic() + 60
    while True:
        counts = {
            name: [
                row["VMON"] for row in influxdb.rows(f'SELECT count("VMON") AS "VMON" FROM "{name}" GROUP BY *', "lab")
            ]
            for name in CHANNELS
        }
        if all(len(counts[name]) == size and min(counts[name]) >= 3 for name, size in CHANNELS.items()):
            return
        assert time.monotonic() < end, (counts, log.read_text())
        time.sleep(0.2)


def _ask_everything(influxdb: Influx1, files: dict[str, str]) -> None:
    asked = 0
    for path, text in files.items():
        if path.startswith("influxql/dashboards/"):
            board: dict[str, Any] = json.loads(text)
            queries = [(panel["title"], t["query"]) for panel in board["panels"] for t in panel["targets"]]
            queries += [(one["name"], one["query"]) for one in board["templating"]["list"]]
            queries += [(one["name"], one["query"]) for one in board["annotations"]["list"]]
            for title, query in queries:
                series = influxdb.query(as_grafana_sends(query), "lab")
                assert series, f"{path}: {title}: {query}"
                channels = CHANNELS.get(series[0]["name"])
                if channels and "GROUP BY" in query and '"channel"' in query:
                    assert len(series) == channels, f"{path}: {title}: {query}"
                asked += 1
    rules = yaml.safe_load(files["influxql/provisioning/alerting/labioc.yaml"])["groups"][0]["rules"]
    for rule in rules:
        query = rule["data"][0]["model"]["query"]
        assert influxdb.query(as_grafana_sends(query), "lab"), f"{rule['title']}: {query}"
    assert asked > 30

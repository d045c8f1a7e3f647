"""A real InfluxDB 2 for tests, on a free port, with its data in a temporary folder.

LABIOC_INFLUXD2 names the binary ``influxd``.
"""

from __future__ import annotations

import csv
import io
import json
import urllib.request
from pathlib import Path
from typing import Any

from archiver.config import ServerConfig
from tests.archiver.influx.databases import Database
from tests.softioc import free_port

ORG, BUCKET, TOKEN = "lab", "slow control", "a-token-for-tests"


class Influx2(Database):
    """InfluxDB 2 with an organization and a bucket."""

    ready = "/health"

    def __init__(self, binary: str, root: Path) -> None:
        port = free_port()
        root.mkdir(parents=True, exist_ok=True)
        command = [binary, f"--bolt-path={root}/bolt", f"--sqlite-path={root}/sqlite", f"--engine-path={root}/engine"]
        super().__init__([*command, f"--http-bind-address=127.0.0.1:{port}", "--reporting-disabled"], port)
        self.ask(
            "/api/v2/setup",
            {"username": "lab", "password": "open sesame", "org": ORG, "bucket": BUCKET, "token": TOKEN},
        )

    def server(self, **settings: Any) -> ServerConfig:
        """Return the settings for a writer."""
        return ServerConfig("db", self.url, 2, org=ORG, bucket=BUCKET, token=TOKEN, **settings)

    def ask(self, path: str, body: object) -> Any:
        """Post JSON; the answer as JSON, or None."""
        headers = {"Content-Type": "application/json", "Authorization": f"Token {TOKEN}"}
        request = urllib.request.Request(self.url + path, json.dumps(body).encode(), headers)
        with urllib.request.urlopen(request, timeout=30) as answer:
            text = answer.read()
            return json.loads(text) if text else None

    def flux(self, script: str) -> list[dict[str, str]]:
        """Run a script; its rows."""
        headers = {
            "Content-Type": "application/vnd.flux",
            "Authorization": f"Token {TOKEN}",
            "Accept": "application/csv",
        }
        request = urllib.request.Request(f"{self.url}/api/v2/query?org={ORG}", script.encode(), headers)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return list(csv.DictReader(io.StringIO(answer.read().decode())))

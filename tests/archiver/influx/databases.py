"""Real databases for tests: InfluxDB 1.6 and VictoriaMetrics, on free ports, with their data in a temporary folder.

They are those of the PATH, or of Debian's packages (tests.debian).
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.softioc import free_port

_CONFIG = """
reporting-disabled = true
bind-address = "127.0.0.1:{rpc}"
[meta]
dir = "{root}/meta"
logging-enabled = false
[data]
dir = "{root}/data"
wal-dir = "{root}/wal"
query-log-enabled = false
[coordinator]
[http]
bind-address = "127.0.0.1:{port}"
log-enabled = false
auth-enabled = {auth}
[monitor]
store-enabled = false
[continuous_queries]
log-enabled = false
run-interval = "1s"
[logging]
level = "error"
"""


class Database:
    """A database server as a process."""

    ready = "/ping"

    def __init__(self, command: list[str], port: int) -> None:
        self.port = port
        self._command = command
        self.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Run it, and wait until it answers."""
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        end = time.monotonic() + 20
        while True:
            assert self._process.poll() is None, f"{self._command[0]} ended"
            try:
                with urllib.request.urlopen(self.url + self.ready, timeout=1):
                    return
            except OSError:
                assert time.monotonic() < end, f"{self._command[0]} does not answer"
                time.sleep(0.02)

    def kill(self) -> None:
        """kill -9"""
        self._process.kill()
        self._process.wait()

    def pause(self, paused: bool) -> None:
        """Let it hang (SIGSTOP), or go on."""
        self._process.send_signal(signal.SIGSTOP if paused else signal.SIGCONT)

    def stop(self) -> None:
        self._process.send_signal(signal.SIGCONT)
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self.kill()

    def cpu(self) -> float:
        """Processor time so far, in seconds."""
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Influx1(Database):
    """InfluxDB 1.x."""

    def __init__(self, binary: str, root: Path, auth: bool = False) -> None:
        port = free_port()
        root.mkdir(parents=True, exist_ok=True)
        config = root / "influxdb.conf"
        config.write_text(_CONFIG.format(root=root, port=port, rpc=free_port(), auth=str(auth).lower()))
        super().__init__([binary, "-config", str(config)], port)

    def query(self, statement: str, database: str = "", **more: str) -> list[dict[str, Any]]:
        """Run a statement; the series of its result."""
        words = urllib.parse.urlencode({"q": statement, "db": database, "epoch": "ns", **more})
        try:
            with urllib.request.urlopen(f"{self.url}/query?{words}", data=b"", timeout=30) as answer:
                result = json.load(answer)["results"][0]
        except urllib.error.HTTPError as error:
            with error:
                raise AssertionError(error.read()) from None
        assert "error" not in result, result
        series: list[dict[str, Any]] = result.get("series", [])
        return series

    def rows(self, statement: str, database: str) -> Iterator[dict[str, Any]]:
        """Run a query; its rows with the tags of their series."""
        for series in self.query(statement, database):
            for values in series["values"]:
                yield {**series.get("tags", {}), **dict(zip(series["columns"], values, strict=True))}


class VictoriaMetrics(Database):
    """VictoriaMetrics, single node."""

    ready = "/health"

    def __init__(self, binary: str, root: Path) -> None:
        port = free_port()
        command = [binary, f"-storageDataPath={root}", f"-httpListenAddr=127.0.0.1:{port}", "-loggerLevel=ERROR"]
        super().__init__([*command, "-dedup.minScrapeInterval=1ms", "-retentionPeriod=100y"], port)

    def export(self, match: str) -> list[dict[str, Any]]:
        """Every sample of the series that match."""
        with urllib.request.urlopen(f"{self.url}/internal/force_flush", timeout=10):
            pass
        query = urllib.parse.urlencode({"match[]": match})
        with urllib.request.urlopen(f"{self.url}/api/v1/export?{query}", timeout=30) as answer:
            return [json.loads(line) for line in answer]

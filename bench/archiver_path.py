"""The whole path under load: softIoc, bridge and InfluxDB on this computer.

``python bench/archiver_path.py [--records 5000] [--rate 10] [--seconds 20]`` runs records that count up, archives
them, and says how many events a second went through, what the bridge's processor time for one was, how long a value
took to be in the database, and whether every value is there once. What the log has as often as the database was not
lost behind the log; what is missing there too, while nothing was lost or refused, did not come: a server that cannot
get rid of its events, to a client on a computer with too much to do, leaves out all but the newest of each record.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from archiver.log.reader import lines
from tests.archiver.influx.databases import Influx1
from tests.debian import program
from tests.softioc import ROOT, ServerProcess, free_port, start_softioc

_LABIOC = [sys.executable, "-c", "import sys; from ioc.cli import main; sys.exit(main())"]
_SCAN = {1: "1 second", 2: ".5 second", 5: ".2 second", 10: ".1 second"}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--records", type=int, default=5000)
    parser.add_argument("--rate", type=int, choices=_SCAN, default=10, help="events per second of each record")
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--gzip", action="store_true", help="compress what is sent")
    parser.add_argument("--outage", type=float, default=0.0, help="seconds for which the database is dead meanwhile")
    args = parser.parse_args()
    binary = program("influxd", "influxdb")
    if binary is None:
        sys.exit("no influxd")
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        softioc = start_softioc([(database(root, args.records, _SCAN[args.rate]), {})], deadline=60)
        influxd = Influx1(binary, root / "influxdb")
        influxd.query("CREATE DATABASE lab")
        bridge = start_bridge(root, softioc, influxd, args.records, args.gzip)
        try:
            measure(args, root, softioc, influxd, bridge)
        finally:
            bridge.kill()
            softioc.stop()
            influxd.stop()


def database(root: Path, records: int, scan: str) -> Path:
    text = (
        'record(calc, "B:{n}") {{ field(INPA, "B:{n}.VAL NPP NMS") field(CALC, "A+1") field(SCAN, "{scan}")'
        ' field(MDEL, "-1") }}\n'
    )
    path = root / "bench.db"
    path.write_text("".join(text.format(n=n, scan=scan) for n in range(records)))
    return path


def start_bridge(
    root: Path, softioc: ServerProcess, influxd: Influx1, records: int, compress: bool
) -> subprocess.Popen[bytes]:
    (root / "pvs.txt").write_text("\n".join(f"B:{n}" for n in range(records)))
    (root / "site.toml").write_text(
        '[site]\nprefix = "LAB"\n[archiver]\ndirectory = "log"\nlists = ["pvs.txt"]\n[[archiver.influxdb]]\n'
        f'url = "{influxd.url}"\nversion = 1\ndatabase = "lab"\nname = "db"\ngzip = {str(compress).lower()}\n'
    )
    environment = {
        **os.environ,
        "EPICS_CA_ADDR_LIST": f"127.0.0.1:{softioc.port}",
        "EPICS_CA_AUTO_ADDR_LIST": "NO",
        "EPICS_CA_SERVER_PORT": str(free_port()),
    }
    return subprocess.Popen([*_LABIOC, "archive", str(root / "site.toml")], cwd=ROOT, env=environment)


def measure(
    args: argparse.Namespace, root: Path, softioc: ServerProcess, influxd: Influx1, bridge: subprocess.Popen[bytes]
) -> None:
    while status(root).get("connected", 0) < args.records:
        if bridge.poll() is not None:
            sys.exit("the bridge ended")
        time.sleep(0.1)
    time.sleep(3)
    began, first = time.monotonic(), status(root)
    processor = [cpu(bridge.pid), cpu(softioc.pid), influxd.cpu()]
    ages = Freshness(influxd, args)
    memory = rss(bridge.pid)
    if args.outage:
        time.sleep(2)
        influxd.kill()
        time.sleep(args.outage)
        influxd.start()
        drained = drain(root)
        print(f"drained {drained[0]} points in {drained[1]:.1f} s: {drained[0] / drained[1]:.0f} points/s")
    else:
        time.sleep(args.seconds)
    passed, last = time.monotonic() - began, status(root)
    events = last["events"] - first["events"]
    used = [
        now - before for now, before in zip((cpu(bridge.pid), cpu(softioc.pid), influxd.cpu()), processor, strict=True)
    ]
    ages.stop()
    grown = rss(bridge.pid) - memory
    bridge.send_signal(signal.SIGTERM)
    ending = time.monotonic()
    bridge.wait(20)
    ending = time.monotonic() - ending
    print(f"{events / passed:.0f} events/s, {1e6 * used[0] / events:.2f} us of the bridge's processor time each")
    shares = (100 * part / passed for part in used)
    print("processor: bridge {:.0f} %, softIoc {:.0f} %, InfluxDB {:.0f} %".format(*shares))
    print(
        f"memory of the bridge {(memory + grown) / 1e6:.0f} MB, grown {grown / 1e6:.1f} MB; SIGTERM took {ending:.1f} s"
    )
    print(ages)
    check(influxd, root / "log", args.records, last)


class Freshness(threading.Thread):
    """Asks all the time how old the newest value in the database is, by its time stamp."""

    def __init__(self, influxd: Influx1, args: argparse.Namespace) -> None:
        super().__init__(daemon=True)
        self.ages: list[float] = []
        self._influxd, self._args = influxd, args
        self._over = threading.Event()
        if not args.outage:
            self.start()

    def run(self) -> None:
        while not self._over.wait(0.1):
            asked = time.time()
            rows = list(self._influxd.rows('SELECT last(value) FROM "B:0"', "lab"))
            # The newest value may itself be a period old.
            self.ages += [max(asked - row["time"] / 1e9 - 1 / self._args.rate, 0.0) for row in rows]

    def stop(self) -> None:
        self._over.set()

    def __str__(self) -> str:
        if not self.ages:
            return "freshness not measured"
        ages = sorted(self.ages)
        return f"in the database after {ages[len(ages) // 2]:.2f} s (half of them), {ages[-1]:.2f} s (all)"


def drain(root: Path) -> tuple[int, float]:
    """Wait until the queue is short again; how many points were taken, and in which time."""
    while (begun := status(root))["servers"][0]["state"] != "ok":
        time.sleep(0.05)
    began = time.monotonic()
    while (now := status(root))["servers"][0]["lag"] > 2:
        time.sleep(0.1)
    return now["servers"][0]["points"] - begun["servers"][0]["points"], time.monotonic() - began


def check(influxd: Influx1, log: Path, records: int, last: dict[str, Any]) -> None:
    """Compare how many values there are with how far each record has counted, and with the log."""
    missing = stored = 0
    query = "SELECT count(value), min(value), max(value) FROM /^B:/"
    for row in influxd.rows(query, "lab"):
        stored += row["count"]
        missing += int(row["max"] - row["min"] + 1 - row["count"])
    logged = sum(1 for line in lines(log, [b"B:"]) if b" value=" in line)
    print(f"{stored} values of {records} records stored, {logged} in the log, {last['lost']} points lost by the bridge")
    print(f"{missing} missing in the database, where the records have counted on")
    print(f"events refused: {last['refused']}")


def status(root: Path) -> dict[str, Any]:
    try:
        url = (root / "log" / "status-address").read_text().strip()
        with urllib.request.urlopen(url + "/status", timeout=5) as answer:
            result: dict[str, Any] = json.load(answer)
            return result
    except OSError:
        return {}


def cpu(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def rss(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    main()

"""The bridge beside naive ones: pyepics, and caproto's threading client, each with a list and an HTTP post.

``python bench/archiver_naive.py [--records 5000] [--seconds 15]`` lets records count up at 10 Hz and runs each bridge
for the same time, one after the other, against the same softIoc and InfluxDB 1: events stored in a second, the bridge's
processor time for one, how many values between the first and the last stored are missing.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from bench.archiver_path import cpu, database, rss, start_bridge
from tests.archiver.influx.databases import Influx1
from tests.debian import program
from tests.softioc import ServerProcess, start_softioc

_MEMORY = 3 << 30
"""Bytes of address space for a naive bridge: caproto's was seen to take more than a computer has."""

_CONNECT_SECONDS = 8.0


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--records", type=int, default=5000)
    parser.add_argument("--seconds", type=float, default=15)
    parser.add_argument("--naive", nargs=2, metavar=("CLIENT", "URL"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.naive:
        naive(*args.naive, args.records)
        return
    binary = program("influxd", "influxdb")
    if binary is None:
        sys.exit("no influxd")
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        softioc = start_softioc([(database(root, args.records, ".1 second"), {})], deadline=60)
        try:
            for client in ("labioc", "pyepics", "caproto"):
                influxd = Influx1(binary, root / f"influxdb-{client}")
                influxd.query("CREATE DATABASE lab")
                try:
                    compare(client, args, root, softioc, influxd)
                finally:
                    influxd.stop()
        finally:
            softioc.stop()


def compare(client: str, args: argparse.Namespace, root: Path, softioc: ServerProcess, influxd: Influx1) -> None:
    if client == "labioc":
        process: subprocess.Popen[Any] = start_bridge(root, softioc, influxd, args.records, False)
    else:
        environment = {
            **os.environ,
            "EPICS_CA_ADDR_LIST": f"127.0.0.1:{softioc.port}",
            "EPICS_CA_AUTO_ADDR_LIST": "NO",
        }
        command = [sys.executable, __file__, "--records", str(args.records), "--naive", client, influxd.url]
        process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
    time.sleep(_CONNECT_SECONDS)
    used, begun, since = cpu(process.pid), stored(influxd)[0], time.monotonic()
    time.sleep(args.seconds)
    used, memory = cpu(process.pid) - used, rss(process.pid)
    taken, passed = stored(influxd)[0] - begun, time.monotonic() - since
    process.terminate()
    process.wait()
    missing = stored(influxd)[1]  # now, when nothing is written any more while it is counted
    each = f"{1e6 * used / taken:.1f} us each" if taken else "none"
    print(
        f"{client:8} {taken / passed:8.0f} events/s stored, {each}, {missing} missing, {memory / 1e6:.0f} MB",
        flush=True,
    )


def stored(influxd: Influx1) -> tuple[int, int]:
    """Return how many values there are, and how many between them are missing."""
    points = missing = 0
    for row in influxd.rows("SELECT count(value), min(value), max(value) FROM /^B:/", "lab"):
        points += row["count"]
        missing += int(row["max"] - row["min"] + 1 - row["count"])
    return points, missing


def naive(client: str, url: str, records: int) -> None:
    """Append a line for each event to a list, and post the list twice a second."""
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    lines: list[str] = []
    subscribe = {"pyepics": with_pyepics, "caproto": with_caproto}[client]
    kept = subscribe([f"B:{number}" for number in range(records)], lines.append)
    while kept:
        time.sleep(0.5)
        count = len(lines)
        body = "\n".join(lines[:count]).encode()
        del lines[:count]
        with urllib.request.urlopen(f"{url}/write?db=lab", data=body, timeout=60):
            pass


def with_pyepics(names: list[str], add: Callable[[str], None]) -> object:
    import epics  # noqa: PLC0415 -- its libraries read the environment of this process only

    def changed(pvname: str = "", value: float = 0.0, timestamp: float = 0.0, **_: object) -> None:
        add(f"{pvname} value={value} {round(timestamp * 1e9)}")

    return [epics.PV(name, callback=changed, form="time", auto_monitor=True) for name in names]


def with_caproto(names: list[str], add: Callable[[str], None]) -> object:
    from caproto.threading.client import Context  # noqa: PLC0415

    def changed(subscription: Any, response: Any) -> None:
        add(f"{subscription.pv.name} value={response.data[0]} {round(response.metadata.timestamp * 1e9)}")

    context = Context()
    pvs = context.get_pvs(*names)
    kept: list[object] = [context, pvs, changed]

    def connect() -> None:
        for pv in pvs:
            pv.wait_for_connection(timeout=30)
            subscription = pv.subscribe(data_type="time")
            subscription.add_callback(changed)
            kept.append(subscription)

    threading.Thread(target=connect, daemon=True).start()
    return kept


if __name__ == "__main__":
    main()

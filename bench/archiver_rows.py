"""What rows cost: processor time for an event and for a steady channel, and bytes in an InfluxDB.

``python bench/archiver_rows.py [--channels 5000] [--seconds 20] [--hours 6]`` makes the points of so many channels at
1 Hz without any network, with rows and without, and fills an InfluxDB 1 with some hours of 20 channels.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from archiver.config import PvSpec, Schema
from archiver.points.builder import PointBuilder
from labioc_ca.events import Event, Kind
from tests.archiver.influx.databases import Influx1
from tests.debian import program

_FLAGS = "ON UP DOWN OVC OVV UNV MAXV TRIP MAXPW TWARN OVT KILL INTLCK".split()  # noqa: SIM905
_FIELDS = {"VSET": "ai", "VMON": "ai", "ISET": "ai", "IMON": "ai", "TRIP": "ai", "STAT": "longin"}
_SCHEMA = Schema(measurements={"caen-dt55xx": "DT5533E"})
_START = 1_795_000_000 * 10**9
_NS = 10**9


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--channels", type=int, default=5000)
    parser.add_argument("--seconds", type=int, default=20)
    parser.add_argument("--hours", type=float, default=6)
    args = parser.parse_args()
    for name, schema in (("rows", _SCHEMA), ("no rows", replace(_SCHEMA, rows=False))):
        for noisy in (True, False):
            events, seconds, size = run(schema, args.channels, args.seconds, noisy)
            each = f"{1e6 * seconds / events:.2f} us for an event" if events else "no events"
            print(
                f"{name:8} {'voltage and current move' if noisy else 'nothing moves':25}"
                f" {events / args.seconds:7.0f} events/s, {each},"
                f" {100 * seconds / args.seconds:.1f} % of a processor, {size / args.seconds / 1e6:.2f} MB/s"
            )
    binary = program("influxd", "influxdb")
    if binary is None:
        sys.exit("no influxd")
    os.environ["INFLUXDB_DATA_CACHE_SNAPSHOT_WRITE_COLD_DURATION"] = "1s"
    os.environ["INFLUXDB_DATA_COMPACT_FULL_WRITE_COLD_DURATION"] = "2s"
    variants = (
        ("rows", _SCHEMA),
        ("rows, row_period = 10", replace(_SCHEMA, row_every=10.0)),
        ("no rows", replace(_SCHEMA, rows=False)),
    )
    for name, schema in variants:
        for noisy in (True, False):
            size = stored(binary, schema, args.hours, noisy)
            moves = "voltage and current move" if noisy else "nothing moves"
            print(
                f"{name:22} {moves:25} {size * 24 / args.hours / 20 / 1000:8.1f} kB a day and channel in InfluxDB 1.6"
            )


def pvs(channels: int) -> list[PvSpec]:
    """The core signals of a supply's channels, some devices of 4 each."""
    found = []
    for number in range(channels):
        device, channel = f"HV{number // 4}", f"{number % 4:02d}"
        for field, rtyp in (*_FIELDS.items(), *((f"IS_{flag}", "bi") for flag in _FLAGS)):
            tag = {"VMON": "monitor 0.5", "IMON": "monitor 1%"}.get(field, "monitor")
            found.append(
                PvSpec(
                    f"B:{device}:CH{channel}:{field}", device, "caen-dt55xx", channel, field, tag, rtyp, row_period=1.0
                )
            )
        if number % 4 == 0:
            found.append(PvSpec(f"B:{device}:COMM:RTT", device, "caen-dt55xx", "", "COMM_RTT", "monitor 10%", "ai"))
    return found


def scans(specs: list[PvSpec], seconds: int, noisy: bool) -> Iterator[tuple[int, list[Event]]]:
    """The events of each second: everything at first, then what moves."""
    moving = [pv for pv in specs if pv.field in ("VMON", "IMON", "COMM_RTT")]
    for second in range(seconds):
        stamp = _START + second * _NS + random.randrange(3_000_000)  # a scan is never quite in time
        if second == 0:
            yield second, [Event(pv.name, Kind.DOUBLE, 1.0 if pv.rtyp == "ai" else 1, stamp) for pv in specs]
        else:
            yield (
                second,
                [
                    Event(pv.name, Kind.DOUBLE, round(random.gauss(1500, 0.3), 2), stamp)
                    for pv in moving
                    if noisy or pv.field == "COMM_RTT"
                ],
            )


def make(schema: Schema, channels: int, seconds: int, noisy: bool) -> Iterator[tuple[int, float, bytes]]:
    """The points of each second, with the number of events and the processor time for them."""
    now = [0]
    specs = pvs(channels)
    builder = PointBuilder(specs, schema, clock=lambda: _START, monotonic=lambda: now[0])
    builder.build([Event(pv.name, Kind.CONNECTION, None, _START) for pv in specs])
    for second, events in scans(specs, seconds, noisy):
        now[0] = second * _NS
        began = time.process_time()
        lines = builder.build(events)[0]
        for _ in range(4):
            now[0] += _NS // 4
            lines += builder.tick(lambda pv: now[0])[0]
        lines += builder.due(lambda pv: now[0])[0]
        yield len(events), time.process_time() - began, lines


def run(schema: Schema, channels: int, seconds: int, noisy: bool) -> tuple[int, float, int]:
    made = list(make(schema, channels, seconds + 1, noisy))[1:]  # the first second is the start
    return sum(one[0] for one in made), sum(one[1] for one in made), sum(len(one[2]) for one in made)


def stored(binary: str, schema: Schema, hours: float, noisy: bool) -> int:
    """Bytes that an InfluxDB needs for some hours of 20 channels, when it has compacted them."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "influxdb"
        influxd = Influx1(binary, root)
        try:
            influxd.query("CREATE DATABASE lab")
            pending = b""
            for second, (_, _, lines) in enumerate(make(schema, 20, round(hours * 3600), noisy)):
                pending += lines
                if second % 60 == 59:
                    write(influxd, pending)
                    pending = b""
            write(influxd, pending)
            sizes = [0, 0, 0]
            while not sizes[-1] or len(set(sizes[-3:])) > 1:  # until everything is compacted
                time.sleep(4)
                sizes.append(sum(path.stat().st_size for path in (root / "data").rglob("*.tsm")))
            return sizes[-1]
        finally:
            influxd.stop()


def write(influxd: Influx1, lines: bytes) -> None:
    if lines:
        with urllib.request.urlopen(f"{influxd.url}/write?db=lab", data=lines, timeout=60):
            pass


if __name__ == "__main__":
    main()

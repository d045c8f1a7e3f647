"""kill -9 of the bridge at random moments, with the database up and down in turn: how much is missing each time.

``python bench/archiver_kill.py [--kills 200]`` lets records count up, kills and restarts the bridge, and says how long
the stretch in front of each kill is of which no event is in the log; the scan period of 0.1 s is part of it.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from archiver.history.samples import from_log
from archiver.points.catalogue import load
from bench.archiver_path import database, start_bridge, status
from tests.archiver.influx.databases import Influx1
from tests.debian import program
from tests.softioc import start_softioc

_RECORDS = 200


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=200)
    kills = parser.parse_args().kills
    binary = program("influxd", "influxdb")
    if binary is None:
        sys.exit("no influxd")
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        softioc = start_softioc([(database(root, _RECORDS, ".1 second"), {})], deadline=60)
        influxd = Influx1(binary, root / "influxdb")
        influxd.query("CREATE DATABASE lab")
        try:
            ends = kill_again_and_again(kills, root, softioc, influxd)
            report(root, influxd, ends)
        finally:
            softioc.stop()
            influxd.stop()


def kill_again_and_again(kills: int, root: Path, softioc: object, influxd: Influx1) -> list[int]:
    """Return the Unix time in ns of each kill."""
    chance, ends, up = random.Random(1), [], True
    for kill in range(kills + 1):
        if up is not (kill % 20 < 10):
            up = not up
            if up:
                influxd.start()
            else:
                influxd.kill()
        bridge = start_bridge(root, softioc, influxd, _RECORDS, False)
        while status(root).get("connected", 0) < _RECORDS:
            if bridge.poll() is not None:
                sys.exit(f"the bridge ended by itself after {kill} kills")
            time.sleep(0.02)
        time.sleep(0.3 + chance.random() * 0.7)
        if kill == kills:
            break
        ends.append(time.time_ns())
        bridge.kill()
        bridge.wait()
        (root / "log" / "status-address").unlink(missing_ok=True)
    while status(root)["lag"] > 2 or status(root)["servers"][0]["state"] != "ok":
        time.sleep(0.2)
    bridge.terminate()
    bridge.wait()
    return ends


def report(root: Path, influxd: Influx1, ends: list[int]) -> None:
    lost: list[float] = []
    kept = Counter[str]()
    catalogue = load(root / "log")
    for number in range(0, _RECORDS, 10):
        name = f"B:{number}"
        stamps = [
            one.time for one in from_log(root / "log", catalogue, name, 0, time.time_ns()) if one.value is not None
        ]
        kept[name] = len(stamps)
        lost += [(end - max(stamp for stamp in stamps if stamp <= end)) / 1e9 for end in ends]
    lost.sort()
    print(f"{len(ends)} kills: {lost[len(lost) // 2]:.3f} s missing in half of them, {lost[-1]:.3f} s at most")
    stored = {name: next(influxd.rows(f'SELECT count(value) FROM "{name}"', "lab"))["count"] for name in kept}
    short = sum(kept[name] - stored[name] for name in kept)
    print(
        f"log readable; {sum(kept.values())} points of {len(kept)} records in it, {short} of them not in the database"
    )


if __name__ == "__main__":
    main()

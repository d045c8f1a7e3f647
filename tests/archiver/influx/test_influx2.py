"""Log and writers against a real InfluxDB 2; only where LABIOC_INFLUXD2 names one."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from archiver.config import PvSpec
from archiver.history.samples import Sample, from_influxdb
from archiver.history.verify import verify
from archiver.influx.deadletter import DeadLetters
from archiver.influx.setup import backfill, set_up
from archiver.influx.writers import Writer
from archiver.log.reader import Reader
from archiver.log.segments import SegmentLog
from archiver.points.catalogue import catalogue
from tests.archiver.influx.influx2 import BUCKET, Influx2
from tests.archiver.schemas import SCHEMA

START = time.time_ns() // 10**9 * 10**9 - 3600 * 10**9


@pytest.fixture(scope="module")
def influx2(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Influx2]:
    binary = os.environ.get("LABIOC_INFLUXD2")
    if not binary:
        pytest.skip("LABIOC_INFLUXD2 names no influxd of InfluxDB 2")
    server = Influx2(binary, tmp_path_factory.mktemp("influx2"))
    try:
        yield server
    finally:
        server.stop()


class Pipe:
    def __init__(self, directory: Path, influx2: Influx2) -> None:
        self.directory = directory / "log"
        self.log = SegmentLog(self.directory)
        self.server = influx2.server(batch_seconds=0.02, downsample=("1m",))
        self.reader = Reader(self.log, "db")
        self.letters = DeadLetters(self.directory, "db")
        self.writer = Writer(self.server, self.reader, self.letters, first_delay=0.05)
        self.writer.start()

    def add(self, payload: bytes) -> None:
        self.log.append(payload, payload.count(b"\n"))
        self.log.flush()
        self.wait(lambda: self.reader.queued == 0)

    def wait(self, condition: Callable[[], bool], seconds: float = 60.0) -> None:
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, self.writer.progress
            time.sleep(0.02)


@contextmanager
def piping(directory: Path, influx2: Influx2) -> Iterator[Pipe]:
    pipe = Pipe(directory, influx2)
    try:
        yield pipe
    finally:
        pipe.writer.stop(0.5)
        pipe.reader.close()
        pipe.log.close()


def lines(measurement: bytes, first: int, count: int) -> bytes:
    return b"".join(
        b"%s,channel=1,device=HV1 VMON=%d.25,IS_ON=1i %d\n" % (measurement, n, START + n * 10**9)
        for n in range(first, first + count)
    )


def test_points_are_stored_read_back_and_verified(influx2: Influx2, tmp_path: Path) -> None:
    pv = PvSpec("LAB:HV1:CH01:VMON", "HV1", "caen-dt55xx", "01", "VMON", "monitor", "ai", row_period=1.0)
    with piping(tmp_path, influx2) as pipe:
        pipe.add(lines(b"DT5533E", 0, 2000))
        end = START + 3600 * 10**9
        samples = list(from_influxdb(pipe.server, catalogue([pv], SCHEMA), pv.name, START, end))
        result = verify(pipe.directory, pipe.server, START, end)
    assert samples == [Sample(START + n * 10**9, n + 0.25) for n in range(2000)]
    assert (result.compared, result.missing, result.differing, result.extra) == (4000, 0, 0, 0)


def test_a_field_of_another_type_costs_that_field_alone(influx2: Influx2, tmp_path: Path) -> None:
    with piping(tmp_path, influx2) as pipe:
        pipe.add(b"POISON,channel=1,device=HV1 IS_ON=true %d\n" % (START - 10**9))
        pipe.add(lines(b"POISON", 0, 500))
        pipe.add(lines(b"POISON", 500, 500))
        progress = pipe.writer.progress
    rows = influx2.flux(
        f'from(bucket: "{BUCKET}") |> range(start: -3h)'
        ' |> filter(fn: (r) => r._measurement == "POISON" and r._field == "VMON") |> count()'
    )
    assert [row["_value"] for row in rows] == ["1000"]
    assert progress.refused == 1000
    assert len(progress.conflicts) == 1
    assert "IS_ON" in progress.conflicts[0]


def test_windows_are_computed_by_the_task_and_by_backfill(influx2: Influx2, tmp_path: Path) -> None:
    with piping(tmp_path, influx2) as pipe:
        assert set_up(pipe.server) == set_up(pipe.server)
        pipe.add(b'COARSE,channel=1,device=HV1 MSG="x" %d\n' % START + lines(b"COARSE", 0, 120))
        minute = 60 * 10**9
        first = START // minute * minute + minute
        assert list(backfill(pipe.server, first, first + minute))
    rows = influx2.flux(
        f'from(bucket: "{BUCKET}_1m") |> range(start: -3h) |> filter(fn: (r) => r._measurement == "COARSE")'
    )
    found = {row["_field"]: float(row["_value"]) for row in rows if row["_field"].endswith("VMON")}
    assert set(found) == {"mean_VMON", "min_VMON", "max_VMON", "last_VMON"}
    assert found["max_VMON"] - found["min_VMON"] == 59.0
    assert found["mean_VMON"] == (found["max_VMON"] + found["min_VMON"]) / 2


def test_a_server_that_is_killed_loses_nothing(influx2: Influx2, tmp_path: Path) -> None:
    with piping(tmp_path, influx2) as pipe:
        for turn in range(3):
            payload = lines(b"KILLED", turn * 1000, 1000)
            pipe.log.append(payload, 1000)
            pipe.log.flush()
            influx2.kill()
            influx2.start()
        pipe.wait(lambda: pipe.reader.queued == 0)
    rows = influx2.flux(
        f'from(bucket: "{BUCKET}") |> range(start: -3h)'
        ' |> filter(fn: (r) => r._measurement == "KILLED" and r._field == "VMON") |> count()'
    )
    assert [row["_value"] for row in rows] == ["3000"]

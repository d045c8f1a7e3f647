"""Log and writers against real databases: what InfluxDB 1.6 and VictoriaMetrics make of our points and our mistakes."""

from __future__ import annotations

import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from archiver.config import PvSpec, ServerConfig
from archiver.history.samples import Sample, from_influxdb
from archiver.history.verify import verify
from archiver.influx.deadletter import DeadLetters
from archiver.influx.setup import SetupError, backfill, set_up
from archiver.influx.writers import State, Writer
from archiver.log.reader import Reader
from archiver.log.segments import SegmentLog
from archiver.points.catalogue import catalogue
from tests.archiver.influx.databases import Influx1, VictoriaMetrics
from tests.archiver.schemas import SCHEMA
from tests.conftest import unavailable
from tests.debian import program

START = time.time_ns() // 10**9 * 10**9 - 3600 * 10**9


def lines(first: int, count: int, channels: int = 4) -> bytes:
    return b"".join(
        b"DT5533E,channel=%d,device=HV1 VMON=%d.25,STAT=%di %d\n" % (n % channels, n, n % 2, START + n * 1_000_001)
        for n in range(first, first + count)
    )


class Pipe:
    """A log with one writer."""

    def __init__(self, directory: Path, server: ServerConfig) -> None:
        self.log = SegmentLog(directory)
        self.reader = Reader(self.log, server.name)
        self.letters = DeadLetters(directory, server.name)
        self.writer = Writer(server, self.reader, self.letters, first_delay=0.05)
        self.writer.start()

    def add(self, payload: bytes) -> None:
        self.log.append(payload, payload.count(b"\n"))
        self.log.flush()

    def wait(self, condition: Callable[[], bool], seconds: float = 20.0) -> None:
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, self.writer.progress
            time.sleep(0.01)

    def wait_drained(self) -> None:
        self.wait(lambda: self.reader.queued == 0)


@contextmanager
def piping(directory: Path, url: str, **settings: Any) -> Iterator[Pipe]:
    pipe = Pipe(directory / "log", ServerConfig("db", url, **{"batch_seconds": 0.02, "timeout": 2.0, **settings}))
    try:
        yield pipe
    finally:
        pipe.writer.stop(0.1)
        pipe.reader.close()
        pipe.log.close()


def count(influxd: Influx1, database: str = "lab") -> int:
    return sum(row["count"] for row in influxd.rows("SELECT count(VMON) FROM DT5533E", database))


def test_GIVEN_points_WHEN_they_are_written_THEN_influxdb_has_each_once_to_the_nanosecond(
    influxd: Influx1, tmp_path: Path
) -> None:
    with piping(tmp_path, influxd.url, database="lab") as pipe:
        for first in range(0, 20_000, 1000):
            pipe.add(lines(first, 1000))
        pipe.wait_drained()
    rows = list(influxd.rows("SELECT * FROM DT5533E GROUP BY *", "lab"))
    assert sorted((row["time"], row["channel"], row["VMON"], row["STAT"]) for row in rows) == sorted(
        (START + n * 1_000_001, str(n % 4), n + 0.25, n % 2) for n in range(20_000)
    )


def test_GIVEN_influxd_WHEN_it_is_killed_again_and_again_THEN_no_acknowledged_point_is_lost(
    influxd: Influx1, tmp_path: Path
) -> None:
    with piping(tmp_path, influxd.url, database="lab") as pipe:
        for attempt in range(4):
            pipe.add(lines(attempt * 5000, 5000))
            if attempt % 2:
                pipe.wait(lambda: pipe.writer.progress.points > 0)
            influxd.kill()
            influxd.start()
        pipe.wait_drained()
    assert count(influxd) == 20_000


def test_GIVEN_influxd_WHEN_it_hangs_THEN_everything_arrives_once_it_goes_on(influxd: Influx1, tmp_path: Path) -> None:
    with piping(tmp_path, influxd.url, database="lab", timeout=0.5) as pipe:
        influxd.pause(True)
        pipe.add(lines(0, 1000))
        pipe.wait(lambda: pipe.writer.progress.failures >= 2)
        assert "no answer in 0.5 s" in pipe.writer.progress.reason
        influxd.pause(False)
        pipe.wait_drained()
    assert count(influxd) == 1000


def test_GIVEN_a_missing_database_WHEN_it_is_set_up_THEN_the_points_that_waited_arrive(
    influxd: Influx1, tmp_path: Path
) -> None:
    server = ServerConfig("db", influxd.url, database="new", retention_policy="year", retention="52w")
    with piping(tmp_path, influxd.url, database="new", retention_policy="year") as pipe:
        pipe.add(lines(0, 100))
        pipe.wait(lambda: pipe.writer.progress.state is State.MISCONFIGURED)
        assert "database not found" in pipe.writer.progress.reason
        influxd.query("CREATE DATABASE new")
        pipe.wait(lambda: "retention policy not found" in pipe.writer.progress.reason)
        set_up(server)
        pipe.wait_drained()
    assert count(influxd, "new") == 100
    assert not pipe.letters.path.exists()


def test_GIVEN_bad_points_among_good_ones_WHEN_influxdb_refuses_them_THEN_only_they_are_dead_letters(
    influxd: Influx1, tmp_path: Path
) -> None:
    bad = [
        b'DT5533E,channel=0,device=HV1 VMON="text" %d\n' % (START + 1),
        b"DT5533E no field\n",
        b"DT5533E,channel=0,device=HV1 STAT=1.5 %d\n" % (START + 2),
        b"DT5533E,channel=1,device=HV1 VMON=1 99999999999999999999\n",
    ]
    with piping(tmp_path, influxd.url, database="lab") as pipe:
        pipe.add(lines(0, 10))
        pipe.wait_drained()
        pipe.add(lines(10, 500) + bad[0] + lines(510, 3) + bad[1] + bad[2] + lines(513, 487) + bad[3])
        pipe.wait_drained()
    assert count(influxd) == 1000
    letters = pipe.letters.path.read_bytes().splitlines(keepends=True)
    assert sorted(letters[1::2]) == sorted(bad)
    assert pipe.writer.progress.refused == 4
    assert b"field type conflict" in b"".join(letters[::2])


def test_GIVEN_points_older_than_the_retention_WHEN_they_are_sent_THEN_the_new_ones_are_stored(
    influxd: Influx1, tmp_path: Path
) -> None:
    influxd.query("CREATE DATABASE short WITH DURATION 1d")
    with piping(tmp_path, influxd.url, database="short") as pipe:
        pipe.add(b"DT5533E,channel=0 VMON=1 1000000000\n" * 3 + lines(0, 20))
        pipe.wait_drained()
    assert count(influxd, "short") == 20
    assert b"beyond retention policy" in pipe.letters.path.read_bytes()


def test_GIVEN_authentication_WHEN_the_password_is_wrong_THEN_points_wait_until_it_is_right(tmp_path: Path) -> None:
    binary = program("influxd", "influxdb")
    if binary is None:
        unavailable("no influxd")
    influxd = Influx1(binary, tmp_path / "influxdb", auth=True)
    try:
        influxd.query("CREATE USER admin WITH PASSWORD 'secret' WITH ALL PRIVILEGES")
        influxd.query("CREATE DATABASE lab", u="admin", p="secret")
        settings = {"database": "lab", "username": "bridge", "password": "open sesame"}
        with piping(tmp_path, influxd.url, **settings) as pipe:
            pipe.add(lines(0, 10))
            pipe.wait(lambda: pipe.writer.progress.state is State.MISCONFIGURED)
            assert "401 authorization failed" in pipe.writer.progress.reason
            influxd.query("CREATE USER bridge WITH PASSWORD 'open sesame'", u="admin", p="secret")
            pipe.wait(lambda: pipe.writer.progress.reason.startswith("403"))
            influxd.query("GRANT WRITE ON lab TO bridge", u="admin", p="secret")
            pipe.wait_drained()
    finally:
        influxd.stop()


def test_setting_up_twice_changes_nothing_and_means_are_kept(influxd: Influx1, tmp_path: Path) -> None:
    server = ServerConfig(
        "db", influxd.url, database="year", retention_policy="raw", retention="52w", downsample=("1m", "1h")
    )
    assert set_up(server) == set_up(server)
    policies = {row["name"]: row for row in influxd.rows("SHOW RETENTION POLICIES ON year", "year")}
    assert policies["raw"]["default"]
    assert policies["raw"]["duration"] == "8736h0m0s"
    assert {"labioc_1m", "labioc_1h"} <= policies.keys()
    (queries,) = [one["values"] for one in influxd.query("SHOW CONTINUOUS QUERIES") if one["name"] == "year"]
    assert [name for name, _ in queries] == ["labioc_1m", "labioc_1h"]
    with pytest.raises(SetupError, match="db: "):
        set_up(ServerConfig("db", influxd.url, database="x", retention="1m", retention_policy="too_short"))


def test_a_short_retention_can_be_set_and_changed(influxd: Influx1) -> None:
    for retention in ("52w", "6h", "7d", ""):
        set_up(ServerConfig("db", influxd.url, database="short", retention_policy="autogen", retention=retention))
        (policy,) = influxd.rows("SHOW RETENTION POLICIES ON short", "short")
        assert policy["shardGroupDuration"] == {"6h": "1h0m0s", "7d": "24h0m0s"}.get(retention, "168h0m0s")


def test_windows_that_an_outage_has_left_out_are_computed_by_the_next_run_or_by_backfill(
    influxd: Influx1, tmp_path: Path
) -> None:
    server = ServerConfig("db", influxd.url, database="lab", downsample=("1m",))
    set_up(server)
    minute = 60 * 10**9
    now = time.time_ns() // minute * minute
    late, later = now - 30 * minute, now - 300 * minute  # within what each run computes again, and before that
    payload = b"".join(
        b'DT5533E,channel=0,device=HV1 VMON=%d,STAT=%di,MSG="m%d" %d\n' % (n, n, n, start + n * 10**9)
        for start in (late, later)
        for n in range(60)
    )
    coarse = 'SELECT * FROM "labioc_1m"."DT5533E"'
    with piping(tmp_path, influxd.url, database="lab") as pipe:
        pipe.add(payload)
        pipe.wait_drained()
        pipe.wait(lambda: any(row["time"] == late for row in influxd.rows(coarse, "lab")), 75.0)
    assert not [row for row in influxd.rows(coarse, "lab") if row["time"] == later]
    assert "points" in "".join(backfill(server, later, later + minute))
    (row,) = [row for row in influxd.rows(coarse, "lab") if row["time"] == later]
    expected = {"mean_VMON": 29.5, "min_VMON": 0, "max_VMON": 59, "last_VMON": 59, "max_STAT": 59, "last_MSG": "m59"}
    assert {name: row[name] for name in expected} == expected
    assert (row["channel"], row["device"]) == ("0", "HV1")


def test_verify_names_what_is_missing_and_what_differs(influxd: Influx1, tmp_path: Path) -> None:
    with piping(tmp_path, influxd.url, database="lab") as pipe:
        pipe.add(lines(0, 1000))
        pipe.wait_drained()
        result = verify(tmp_path / "log", pipe.writer.server, START, START + 3600 * 10**9)
        assert (result.compared, result.missing, result.differing, result.extra) == (2000, 0, 0, 0)
        for line in (b"VMON=7.5 %d" % START, b"VMON=9 %d" % (START + 77)):
            with urllib.request.urlopen(f"{influxd.url}/write?db=lab", b"DT5533E,channel=0,device=HV1 " + line):
                pass
        influxd.query(f"DELETE FROM DT5533E WHERE time = {START + 1_000_001}", "lab")
        result = verify(tmp_path / "log", pipe.writer.server, START, START + 3600 * 10**9)
    assert (result.compared, result.missing, result.differing, result.extra) == (2000, 2, 1, 1)
    assert f"differing: DT5533E,channel=0,device=HV1 {START}: VMON=7.5 instead of 0.25" in result.examples


def test_history_is_read_from_influxdb_page_by_page(
    influxd: Influx1, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("archiver.influx.database.PAGE", 7)
    pv = PvSpec("LAB:HV1:CH01:VMON", "HV1", "caen-dt55xx", "01", "VMON", "monitor", "ai")
    with piping(tmp_path, influxd.url, database="lab") as pipe:
        pipe.add(lines(0, 200))
        pipe.add(b"DT5533E,channel=1,device=HV1 VMON_sev=3i %d\n" % (START + 10**9))
        pipe.add(b"archive_connection,device=HV1 LAB:HV1:CH00:VMON=1i,LAB:HV1:CH01:VMON=0i %d\n" % (START + 2 * 10**9))
        pipe.wait_drained()
        samples = list(from_influxdb(pipe.writer.server, catalogue([pv], SCHEMA), pv.name, START, START + 3600 * 10**9))
    numbers = [Sample(START + n * 1_000_001, n + 0.25) for n in range(1, 200, 4)]
    assert samples == [*numbers, Sample(START + 10**9, severity=3), Sample(START + 2 * 10**9, connected=False)]


@pytest.mark.parametrize(
    "settings",
    [{"version": "line"}, {"version": 2, "org": "lab", "bucket": "slow control", "token": "t"}],
    ids=["at /write", "at the API of InfluxDB 2"],
)
def test_GIVEN_victoria_metrics_WHEN_points_are_sent_twice_THEN_each_is_there_once(
    victoria: VictoriaMetrics, tmp_path: Path, settings: dict[str, Any]
) -> None:
    payload = b"".join(
        b"DT5533E,channel=%d,device=HV1 VMON=%d.25 %d\n" % (n % 4, n, START + n * 10**6) for n in range(2000)
    )
    with piping(tmp_path, victoria.url, timeout=30.0, **settings) as pipe:
        pipe.add(payload)
        pipe.add(payload)
        pipe.wait_drained()
        assert pipe.writer.progress.failures == pipe.writer.progress.refused == 0
    found = victoria.export('{__name__="DT5533E_VMON"}')
    assert len(found) == 4
    samples = [pair for one in found for pair in zip(one["timestamps"], one["values"], strict=True)]
    assert sorted(samples) == [(START // 10**6 + n, n + 0.25) for n in range(2000)]


def test_GIVEN_a_server_that_is_another_WHEN_it_refuses_the_path_THEN_the_points_wait(
    victoria: VictoriaMetrics, tmp_path: Path
) -> None:
    with piping(tmp_path, victoria.url, version=3, database="lab", token="t") as pipe:
        pipe.add(lines(0, 100))
        pipe.wait(lambda: pipe.writer.progress.state is State.MISCONFIGURED)
        assert "unsupported path" in pipe.writer.progress.reason
        assert (pipe.reader.queued, pipe.writer.progress.refused) == (100, 0)

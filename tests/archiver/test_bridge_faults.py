"""The whole bridge while others fail: the disk, and IOCs that restart and change what they serve."""

from __future__ import annotations

import itertools
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

from archiver.points.catalogue import load
from tests.archiver.influx.databases import Influx1
from tests.archiver.test_bridge import (
    COUNTERS,
    LABIOC,
    NAMES,
    TIME_STRING,
    BridgeProcess,
    assert_no_hole,
    history,
    influx1,
    softioc,
    wait,
)
from tests.conftest import unavailable
from tests.libca import Context
from tests.softioc import ServerProcess, free_port, start_softioc

__all__ = ["softioc"]


@pytest.fixture
def processes() -> Iterator[list[BridgeProcess]]:
    """Bridges that are killed at the end when the test has not stopped them."""
    started: list[BridgeProcess] = []
    yield started
    for one in started:
        if one.process.poll() is None:
            one.kill()


def limit_files(pid: int, size: int) -> None:
    """Let no file of a process grow beyond a size: its writes fail from there on, as on a full disk."""
    _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, hard))


def test_GIVEN_a_disk_that_takes_no_more_WHEN_there_is_room_again_THEN_the_alarm_ends_and_no_event_is_missing(
    softioc: ServerProcess, influxd: Influx1, tmp_path: Path, processes: list[BridgeProcess]
) -> None:
    port = free_port()
    one = BridgeProcess(tmp_path, softioc.port, influx1(influxd.url), f"port = {port}\n")
    processes.append(one)
    one.wait_points(COUNTERS * 5)
    (segment,) = one.directory.glob("0*.log")
    with Context(f"127.0.0.1:{port}") as context:
        (state,) = context.connect(["LAB:ARCH:STATE"])
        states = state.monitor(TIME_STRING)
        states.wait_value("OK")
        limit_files(one.process.pid, segment.stat().st_size + 2000)
        full = states.wait_value("LOSING")
        assert (full.decoded.value, full.decoded.severity) == ("LOSING", 2)
        assert one.status()["log_error"]
        before = one.status()
        wait(lambda: one.status()["events"] >= before["events"] + COUNTERS * 5)
        assert one.status()["points"] == before["points"]
        limit_files(one.process.pid, resource.RLIM_INFINITY)
        state.monitor(TIME_STRING).wait_value("OK", 10)
        one.wait_points(before["events"] + COUNTERS * 5)
        assert one.status()["lost"] == 0
        assert one.status()["log_error"] == ""
    one.stop()
    for name in NAMES:
        assert_no_hole([row["value"] for row in influxd.rows(f'SELECT value FROM "{name}"', "lab")])
        assert_no_hole([float(one.value) for one in history(one.directory, name) if one.value is not None])


NO_ROOM = "import resource as r; r.setrlimit(r.RLIMIT_FSIZE, (7, r.getrlimit(r.RLIMIT_FSIZE)[1])); "
"""Less than a file of the log begins with."""


def test_GIVEN_a_full_disk_WHEN_the_bridge_is_started_THEN_it_runs_and_loses_nothing_once_there_is_room(
    softioc: ServerProcess, influxd: Influx1, tmp_path: Path, processes: list[BridgeProcess]
) -> None:
    page = f"127.0.0.1:{free_port()}"
    one = BridgeProcess(tmp_path, softioc.port, influx1(influxd.url), f'status = "{page}"\n', NAMES[:5])
    processes.append(one)
    one.wait_points(COUNTERS)
    one.stop()
    (tmp_path / "pvs.txt").write_text("\n".join(NAMES))
    one.start([*LABIOC[:2], NO_ROOM + LABIOC[2]])
    (one.directory / "status-address").write_text(f"http://{page}\n")
    wait_connected(one, COUNTERS)
    before = one.status()
    assert (before["state"], before["points"]) == ("LOSING", 0)
    wait(lambda: one.status()["events"] >= before["events"] + COUNTERS * 3)
    limit_files(one.process.pid, resource.RLIM_INFINITY)
    wait(lambda: one.status()["state"] == "OK" and one.status()["queue"] < COUNTERS * 5, 20, one.status)
    assert one.status()["points"] > before["events"]
    assert one.status()["lost"] == 0
    wait(lambda: set(NAMES) == set(load(one.directory).pvs) & set(NAMES))
    one.stop()
    assert not (one.directory / "status-address").exists()
    for name in NAMES[5:]:
        assert_no_hole([row["value"] for row in influxd.rows(f'SELECT value FROM "{name}"', "lab")])
        assert_no_hole([float(one.value) for one in history(one.directory, name) if one.value is not None])


def write_database(path: Path, *records: str) -> Path:
    path.write_text("\n".join(records))
    return path


COUNTER = 'record(calc, "T:COUNT") { field(INPA, "T:COUNT NPP NMS") field(CALC, "A+1") field(SCAN, ".1 second") }'
NUMBER = 'record(ai, "T:X") { field(VAL, "2.5") field(PINI, "YES") }'
TEXT = 'record(stringin, "T:X") { field(VAL, "cold") field(PINI, "YES") }'


def test_GIVEN_an_ioc_WHEN_it_restarts_without_a_pv_and_with_another_type_of_it_THEN_the_data_tell_all_of_it(
    influxd: Influx1, tmp_path: Path, processes: list[BridgeProcess]
) -> None:
    port = free_port()
    one = BridgeProcess(tmp_path, port, influx1(influxd.url), pvs=["T:COUNT", "T:X"])
    processes.append(one)
    lives = ((COUNTER, NUMBER), (COUNTER,), (COUNTER, TEXT), (COUNTER, NUMBER))
    for number, records in enumerate(lives):
        try:
            server = start_softioc([(write_database(tmp_path / f"{number}.db", *records), {})], port=port)
        except (RuntimeError, TimeoutError) as error:
            unavailable(f"the softIoc does not start: {error}")
        try:
            wait_connected(one, len(records))
            one.wait_points(one.status()["points"] + 5)
        finally:
            server.kill()
        wait_connected(one, 0)
    wait(lambda: one.status()["servers"][0]["refused"] == 1 and one.status()["queue"] == 0, 20, one.status)
    one.stop()

    # In the log: everything, a value with the stamp of its IOC in front of the connection. T:X was away during the
    # second life, and a text in the third.
    shown = [sample.value if sample.connected is None else sample.connected for sample in history(one.directory, "T:X")]
    assert shown == [2.5, True, False, "cold", True, False, 2.5, True, False]

    # In the database: numbers, and the changes of connection; the text of a field of numbers is a dead letter.
    assert [row["value"] for row in influxd.rows('SELECT value FROM "T:X"', "lab")] == [2.5, 2.5]
    changes = {name: list(connections(influxd, name)) for name in ("T:X", "T:COUNT")}
    assert {name: [change for _, change in states] for name, states in changes.items()} == {
        "T:X": [1, 0] * 3,
        "T:COUNT": [1, 0] * 4,
    }
    reason, line = (one.directory / "dead-letters-db.lp").read_text().splitlines()
    assert "field type conflict" in reason
    assert line.startswith('T:X value="cold"')

    # The counter began anew with each life, which the changes of connection keep apart, and each is without a hole.
    counts = [(row["time"], row["value"]) for row in influxd.rows('SELECT value FROM "T:COUNT"', "lab")]
    ends = [stamp for stamp, change in changes["T:COUNT"] if change == 0]
    for begin, end in itertools.pairwise([0, *ends]):
        values = [value for stamp, value in counts if begin < stamp <= end]
        assert len(values) >= 5
        assert_no_hole(values)


def wait_connected(one: BridgeProcess, pvs: int) -> None:
    wait(lambda: one.status()["connected"] == pvs, 20, one.status)


def connections(influxd: Influx1, pv: str) -> Iterator[tuple[int, int]]:
    for row in influxd.rows(f'SELECT "{pv}" FROM archive_connection', "lab"):
        yield row["time"], row[pv]

"""The trip memory alone: what it takes, freezes and keeps, with time in the hands of the test."""

from __future__ import annotations

import asyncio
import json
import math
import threading
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ioc.automation import trip_files
from ioc.automation.trip_files import COLUMNS, KEPT, Trip, TripFiles, load, stem, stored
from ioc.automation.trip_memory import AFTER, BEFORE, MOST_SAMPLES, Ring, TripMemory
from ioc.records import Record, RecordSet
from ioc.scan.scanner import DeviceScanner
from ioc.site.config import Site, parse_site
from ioc.site.expansion import expand
from tests.fair_time import until
from tests.ioc.fakes import EPOCH, FakeClock, FakeDriver, settle

INVALID = 3
BASE = "LAB:HV1:CH00:"


def site(period: float = 1.0, simulated: bool = True) -> Site:
    device = {"name": "HV1", "type": "caen-dt55xx", "address": "tcp://127.0.0.1:1", "channels": 2, "period": period}
    return parse_site({"site": {"prefix": "LAB"}, "device": [device | {"simulated": simulated}]})


class Rig:
    """A site with one supply whose readings the test posts."""

    def __init__(self, folder: Path | None, period: float = 1.0) -> None:
        self.clock = FakeClock()
        self.site = site(period)
        self.records = RecordSet.build(expand(self.site).records.values(), time=self.clock.time)
        mine = [record for record in self.records.values() if record.device == "HV1"]
        self.scanner = DeviceScanner(FakeDriver(self.clock, {}), mine, self.clock)
        self.memory = TripMemory(self.site, self.records, self.clock, folder)

    def __getitem__(self, suffix: str) -> Record:
        return self.records[BASE + suffix]

    def array(self, name: str) -> tuple[float, ...]:
        value: Any = self[f"BBOX:{name}"].val
        return tuple(value)

    async def start(self) -> None:
        await self.memory.start({"HV1": self.scanner})

    def post(self, volts: float, current: float = 1.0, count: int = 0, level: int = 0, **more: Any) -> None:
        """Post what a scan of channel 0 has found, and tell those who listen."""
        now = self.clock.time()
        values = {"VMON": volts, "IMON": current, "STAT": 1, "VSET:RBV": 500.0, "ISET:RBV": 10.0,
                  "TRIP:COUNT": count, "TRIP:V": 500.0, "TRIP:I": 1.0, "STATE": 9 if count else 1}  # fmt: skip
        for suffix, value in (values | more).items():
            self[suffix].post(value, now, level)
        for listener in self.scanner.on_posted:
            listener()

    async def scan(self, seconds: int, volts: float = 500.0, count: int = 0) -> None:
        for _ in range(seconds):
            self.post(volts, count=count)
            await self.clock.advance(1.0)


@given(st.integers(1, 20), st.lists(st.floats(0, 1e6), max_size=60))
def test_a_ring_has_the_last_samples_in_their_order(room: int, times: list[float]) -> None:
    ring, wanted = Ring(room), sorted(times)
    for time in wanted:
        ring.add(time, 1, 2, 3, 4, 5)
    assert [sample[0] for sample in ring.since(-1.0)] == wanted[-room:]
    assert [sample[0] for sample in ring.since(500.0)] == [time for time in wanted[-room:] if time >= 500.0]


async def test_GIVEN_no_trip_WHEN_served_THEN_the_arrays_are_no_numbers_without_alarm() -> None:
    rig = Rig(None)
    await rig.start()
    for name in "VIT":
        assert len(rig.array(name)) == MOST_SAMPLES
        assert all(map(math.isnan, rig.array(name)))
        assert rig[f"BBOX:{name}"].sevr == 0


async def test_GIVEN_a_scanned_channel_WHEN_it_trips_THEN_the_minutes_before_and_the_seconds_after_are_frozen(
    tmp_path: Path,
) -> None:
    rig = Rig(tmp_path)
    await rig.start()
    await rig.scan(300)
    rig.post(20.0, 9.0, count=1, **{"STAT:TRIP": 1, "STAT:KILL": 0})
    tripped = rig.clock.time()
    times = rig.array("T")
    assert (times[0], times[180], times[181]) == (-BEFORE, 0.0, 0.0), "at once, and filled with the last sample"
    assert (rig.array("V")[179], rig.array("V")[180], rig.array("I")[-1]) == (500.0, 20.0, 9.0)
    assert rig["BBOX:T"].stamp == pytest.approx(tripped)
    await rig.clock.advance(1.0)
    await rig.scan(60, volts=0.0, count=1)
    times = rig.array("T")
    assert (times[0], max(times)) == (-BEFORE, AFTER - 1.0)
    assert rig.array("V")[-1] == 0.0
    await rig.memory.close()
    (path,) = stored(tmp_path / "trips", "LAB.HV1-simulated.CH00")
    trip = load(path)
    assert trip is not None
    assert (trip.pv, trip.time, trip.count) == ("LAB:HV1:CH00", pytest.approx(tripped), 1)
    assert (trip.volts, trip.current, trip.state, trip.bits) == (500.0, 1.0, "TRIPPED", ("STAT:TRIP",))
    assert trip.samples["VSET:RBV"][0] == 500.0
    assert len(trip.samples["T"]) == 190
    assert "NaN" not in path.read_text()


async def test_GIVEN_a_trip_on_the_disk_WHEN_restarted_THEN_the_arrays_show_it(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    await rig.start()
    await rig.scan(20)
    rig.post(20.0, count=1)
    arrays = [rig.array(name) for name in "VIT"]
    await rig.memory.close()
    again = Rig(tmp_path)
    await again.start()
    assert [again.array(name) for name in "VIT"] == arrays
    assert again["BBOX:V"].stamp == pytest.approx(EPOCH + 20)
    again.post(0.0, count=0)
    again.post(0.0, count=0)
    assert [again.array(name) for name in "VIT"] == arrays, "the counter of a new server begins at 0: no trip"
    await again.memory.close()


async def test_GIVEN_a_trip_WHEN_the_device_is_lost_at_once_THEN_it_is_kept_all_the_same(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    await rig.start()
    await rig.scan(20)
    rig.post(20.0, count=1)
    for record in rig.records.values():
        if record.device == "HV1" and "BBOX" not in record.name:
            record.lose(1)
    await rig.clock.advance(AFTER + 1)
    rig.memory._channels["LAB.HV1-simulated.CH00"][1].look()
    assert max(rig.array("T")) == 0.0
    assert rig["BBOX:V"].sevr == 0
    await rig.memory.close()
    assert len(stored(tmp_path / "trips", "LAB.HV1-simulated.CH00")) == 1


async def test_GIVEN_readings_that_are_none_WHEN_it_trips_THEN_they_are_gaps_and_not_0() -> None:
    rig = Rig(None)
    await rig.start()
    await rig.scan(5)
    rig.post(0.0, level=INVALID)
    await rig.clock.advance(1.0)
    rig.post(10.0, count=1)
    assert rig.array("V")[4] == 500.0
    assert math.isnan(rig.array("V")[5])
    assert rig.array("V")[6] == 10.0
    await rig.memory.close()


async def test_GIVEN_one_trip_after_the_other_WHEN_the_first_is_not_over_THEN_both_are_kept(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    await rig.start()
    await rig.scan(20)
    rig.post(20.0, count=1)
    await rig.clock.advance(1.0)
    await rig.scan(3, count=1)
    rig.post(20.0, count=2)
    await rig.memory.close()
    trips = [load(path) for path in stored(tmp_path / "trips", "LAB.HV1-simulated.CH00")]
    assert [(trip.count, len(trip.samples["T"])) for trip in trips if trip is not None] == [(1, 25), (2, 25)]


async def test_GIVEN_a_fast_scan_WHEN_it_trips_THEN_the_arrays_hold_what_fits() -> None:
    rig = Rig(None, period=0.1)
    await rig.start()
    for _ in range(2 * MOST_SAMPLES):
        rig.post(500.0)
        rig.clock.now += 0.1
    rig.post(1.0, count=1)
    assert len(set(rig.array("T"))) == MOST_SAMPLES
    assert rig.array("T")[-1] == 0.0
    await rig.memory.close()


def trip(number: int) -> Trip:
    samples = {name: (0.0, float(number)) for name in ("T", "VMON", "IMON", "STAT", "VSET:RBV", "ISET:RBV")}
    return Trip("LAB:HV1:CH00", EPOCH + number, number, 500.0, None, "TRIPPED", ("STAT:TRIP",), samples)


async def test_GIVEN_more_trips_than_are_kept_WHEN_saved_THEN_the_oldest_go_and_others_stay(tmp_path: Path) -> None:
    files = TripFiles(tmp_path)
    for number in range(KEPT + 5):
        files.save("LAB.HV1.CH00", trip(number))
        files.save("LAB.HV1.CH01", trip(number)) if number < 2 else None
    await files.close()
    kept = [load(path) for path in stored(tmp_path, "LAB.HV1.CH00")]
    assert kept == [trip(number) for number in range(5, KEPT + 5)]
    assert len(stored(tmp_path, "LAB.HV1.CH01")) == 2
    assert await files.newest(["LAB.HV1.CH00", "LAB.HV1.CH02"]) == {"LAB.HV1.CH00": trip(KEPT + 4)}


def changed(**values: object) -> str:
    """Return a trip as a file has it, with something else in it."""
    return json.dumps(asdict(trip(2)) | values)


@pytest.mark.parametrize(
    "text",
    [
        "", "[]", "{}", '{"samples": {}}', "null", '"x"', changed(volts="x"), changed(time="x"),
        changed(samples={name: [] for name in COLUMNS}), changed(samples={name: ["x"] for name in COLUMNS}),
    ],
)  # fmt: skip
async def test_GIVEN_a_file_that_is_no_trip_WHEN_read_THEN_the_one_before_counts(
    tmp_path: Path, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    files = TripFiles(tmp_path)
    files.save("A", trip(1))
    await files.close()
    (tmp_path / "A.99991231T235959.000000Z.json").write_text(text)
    assert await files.newest(["A"]) == {"A": trip(1)}
    assert "is no trip that can be read" in caplog.text


async def test_GIVEN_a_disk_that_takes_nothing_WHEN_saved_THEN_logged_once_and_all_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("in the way")
    files = TripFiles(tmp_path / "file")
    for number in range(3):
        files.save("A", trip(number))
    await files.close()
    await settle()
    assert caplog.text.count("trips are not kept") == 1
    assert not asyncio.all_tasks() - {asyncio.current_task()}


async def test_GIVEN_a_slow_disk_WHEN_the_end_does_not_wait_THEN_no_task_is_left_and_every_trip_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on, keep = threading.Event(), trip_files._keep

    def slow(folder: Path, path: Path, start: str, trip: Trip) -> None:
        assert go_on.wait(10)
        keep(folder, path, start, trip)

    monkeypatch.setattr(trip_files, "_keep", slow)
    files = TripFiles(tmp_path)
    for number in range(3):
        files.save("A", trip(number))
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(files.close(), 0.05)
    assert not asyncio.all_tasks() - {asyncio.current_task()}
    go_on.set()
    await until(lambda: len(stored(tmp_path, "A")) == 3)
    assert [load(path) for path in stored(tmp_path, "A")] == [trip(number) for number in range(3)]


@pytest.mark.parametrize("lasts", [1, 5])
async def test_GIVEN_no_thread_to_be_had_WHEN_the_server_ends_THEN_it_is_tried_again_and_the_end_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, lasts: int
) -> None:
    begin, errors = trip_files.in_thread, ["can't start new thread"] * lasts

    def starved(function: Callable[[Path], None], path: Path) -> asyncio.Future[None]:
        if errors:
            raise RuntimeError(errors.pop())
        return begin(function, path)

    monkeypatch.setattr(trip_files, "in_thread", starved)
    files = TripFiles(tmp_path)
    files.save("A", trip(1))
    await files.close()
    assert "1 trips cannot be written: can't start new thread" in caplog.text
    assert [load(path) for path in stored(tmp_path, "A")] == ([trip(1)] if lasts == 1 else [])


async def test_GIVEN_a_disk_that_hangs_WHEN_trips_go_on_THEN_the_newest_wait_and_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(trip_files, "MOST_WAITING", 3)
    files = TripFiles(tmp_path)
    for number in range(6):
        files.save("A", trip(number))
    await files.close()
    assert [load(path) for path in stored(tmp_path, "A")] == [trip(number) for number in (3, 4, 5)]
    assert caplog.text.count("is dropped") == 3


def test_simulated_devices_have_files_of_their_own() -> None:
    assert stem(site(), site().devices[0], "CH01") == "LAB.HV1-simulated.CH01"
    assert stem(site(), site(simulated=False).devices[0], "CH01") == "LAB.HV1.CH01"


def test_a_file_has_only_plain_json(tmp_path: Path) -> None:
    async def save() -> None:
        files = TripFiles(tmp_path)
        files.save("A", trip(1))
        await files.close()

    asyncio.run(save())
    (path,) = stored(tmp_path, "A")
    json.loads(path.read_text(), parse_constant=pytest.fail)

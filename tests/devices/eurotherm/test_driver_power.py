"""The three stories of a power cut, and others, as the driver tells them with a furnace behind it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from devices.errors import Garbled, Refused
from devices.model import Level, Reading
from devices.rules import state_file
from tests.devices.eurotherm.bench import FAST, Bench

PWR = ["PWR.COUNT", "PWR.START", "PWR.DUR", "PWR.TBEFORE", "PWR.TMIN", "PWR.TAFTER", "PWR.MSG"]


async def hot(bench: Bench) -> None:
    """A furnace at 600 C that runs a program at a rate limit."""
    memory = bench.model.memory
    memory["SP1"] = 600.0
    bench.model.furnace.temperature = bench.model.furnace.measured = 600.0
    memory["TM.CFG"], memory["T.STAT"], memory["DWELL"], memory["THRES"] = 1, 1, 7200.0, 50.0
    bench.model.step(300.0)
    await bench.start()
    await bench.run(90.0)


async def story(bench: Bench) -> dict[str, Reading]:
    return dict(await bench.driver.read(PWR))


async def test_GIVEN_a_hot_furnace_WHEN_its_mains_fail_for_30_s_THEN_the_record_tells_it(tmp_path: Path):
    bench = Bench(tmp_path)
    await hot(bench)
    before = bench.model.memory["PV.IN"]
    bench.model.mains_off()
    await bench.lose()
    bench.let_pass(29.0)
    bench.model.mains_on()
    await bench.come_back()
    found = await story(bench)
    message = str(found["PWR.MSG"].value)
    assert (found["PWR.COUNT"].value, found["PWR.COUNT"].level) == (1, Level.MAJOR)
    assert 30.0 <= float(found["PWR.DUR"].value or 0) <= 36.0
    assert found["PWR.TBEFORE"].value == pytest.approx(before, abs=0.5)
    assert found["PWR.TAFTER"].value < before - 5.0
    for text in ("Power interruption between", "The computer kept running", "Setpoint 600.0 C as before", "Mode AUTO",
                 "The programmer was running with 114 min left and is reset now: start it by hand"):  # fmt: skip
        assert text in message
    assert bench.link.writes == []
    await bench.run(30.0)
    found = await story(bench)
    assert "lowest" in str(found["PWR.MSG"].value)
    assert found["PWR.TMIN"].value < found["PWR.TAFTER"].value
    acknowledged = await bench.driver.write("PWR.ACK.CMD", 1)
    assert acknowledged["PWR.COUNT"].level is Level.OK
    assert (await bench.scan())["STAT.MAINS"].value == 1  # the controller's own flag is the operator's
    await bench.driver.close()


@pytest.mark.parametrize("computer", [True, False])
async def test_GIVEN_a_hot_furnace_WHEN_the_server_dies_in_the_cut_too_THEN_the_disk_tells_it(
    tmp_path: Path, computer: bool
):
    bench = Bench(tmp_path)
    await hot(bench)
    before = bench.model.memory["PV.IN"]
    for file in bench.driver._memory._files.values():
        await file.flush()  # of what was given to the disk; nothing is reported to the driver, it just ceases to exist
    bench.model.mains_off()
    bench.let_pass(600.0)
    if computer:
        bench.computer.restart()
    bench.model.mains_on()
    bench.driver = bench.new_driver()
    await bench.come_back()
    found = await story(bench)
    message = str(found["PWR.MSG"].value)
    assert (found["PWR.COUNT"].value, found["PWR.COUNT"].level) == (1, Level.MAJOR)
    assert 600.0 <= float(found["PWR.DUR"].value or 0) <= 670.0  # the last reading on disk is a minute old at most
    assert found["PWR.TBEFORE"].value == pytest.approx(before, abs=2.0)
    assert ("The computer was off too, it started at" in message) is computer
    assert ("This server was not running in between" in message) is not computer
    assert "is reset now: start it by hand" in message
    await bench.driver.close()
    bench.driver = bench.new_driver()  # and the alarm survives the next start
    assert (await bench.start())["PWR.COUNT"].level is Level.MAJOR
    await bench.driver.close()


async def test_GIVEN_a_hot_furnace_WHEN_only_the_cable_is_pulled_THEN_it_is_no_power_cut(tmp_path: Path):
    bench = Bench(tmp_path)
    await hot(bench)
    bench.link.plugged = False
    await bench.lose()
    bench.let_pass(95.0)
    bench.link.plugged = True
    await bench.come_back()
    found = await story(bench)
    message = str(found["PWR.MSG"].value)
    assert (found["PWR.COUNT"].value, found["PWR.COUNT"].level) == (0, Level.OK)
    for text in ("Link lost between", "Not a power interruption", "the serial port was gone", "the furnace went on"):
        assert text in message
    await bench.driver.close()
    history = json.loads((tmp_path / "FURN1-power.json").read_text())["history"]
    assert [event["kind"] for event in history] == ["link"]


async def test_GIVEN_the_flag_still_set_WHEN_the_mains_fail_again_THEN_it_is_counted(tmp_path: Path):
    bench = Bench(tmp_path)
    await hot(bench)
    for _ in range(2):
        bench.model.memory["T.STAT"] = 1
        await bench.run(20.0)
        bench.model.mains_off()
        await bench.lose()
        bench.let_pass(60.0)
        bench.model.mains_on()
        await bench.come_back()
    found = await story(bench)
    assert found["PWR.COUNT"].value == 2
    assert "Probable power interruption" in str(found["PWR.MSG"].value)
    assert "the programmer was reset" in str(found["PWR.MSG"].value)
    await bench.driver.close()


async def test_GIVEN_a_computer_without_clock_chip_WHEN_its_clock_is_set_THEN_the_duration_is_right(tmp_path: Path):
    bench = Bench(tmp_path)
    await hot(bench)
    await bench.driver._memory.flush()
    bench.model.mains_off()
    bench.let_pass(7200.0)
    bench.computer.restart()
    bench.computer.right, bench.wrong = False, -7180.0  # the clock stood still
    bench.model.mains_on()
    bench.driver = bench.new_driver()
    await bench.come_back()
    found = await story(bench)
    assert (found["PWR.DUR"].value, found["PWR.DUR"].level) == (None, Level.INVALID)
    assert "for an unknown time" in str(found["PWR.MSG"].value)
    bench.computer.right, bench.wrong = True, 0.0
    await bench.scan()
    found = await story(bench)
    assert 7200.0 <= float(found["PWR.DUR"].value or 0) <= 7270.0
    assert "at most 2 h" in str(found["PWR.MSG"].value)
    assert (found["PWR.COUNT"].value, found["PWR.COUNT"].level) == (1, Level.MAJOR)
    await bench.driver.close()


async def test_GIVEN_a_dip_between_two_scans_WHEN_reported_THEN_the_programmer_is_that_after_it(tmp_path: Path):
    bench = Bench(tmp_path)
    await hot(bench)
    await bench.run(3.0)
    bench.model.mains_off()
    bench.model.mains_on()
    bench.model.step(5.0)
    await bench.scan()
    await bench.scan()
    found = await story(bench)
    assert found["PWR.COUNT"].value == 1
    assert "is reset now: start it by hand" in str(found["PWR.MSG"].value)
    assert {name for name in PWR if found[name].level is Level.MAJOR} == {"PWR.COUNT"}
    await bench.driver.close()


async def test_GIVEN_the_flag_still_set_and_no_traces_WHEN_the_link_was_lost_THEN_it_is_not_known(tmp_path: Path):
    bench = Bench(tmp_path)
    await bench.start()
    bench.model.mains_off()
    await bench.lose()
    bench.model.mains_on()
    await bench.come_back()
    await bench.driver.write("PWR.ACK.CMD", 1)
    bench.link.plugged = False
    await bench.lose()
    bench.let_pass(30.0)
    bench.link.plugged = True
    await bench.come_back()
    message = str((await story(bench))["PWR.MSG"].value)
    assert "is not known" in message
    assert "acknowledge with ACK:CMD" in message
    assert "the furnace went on" not in message
    await bench.driver.close()


async def test_GIVEN_a_pause_for_maintenance_WHEN_it_ends_THEN_nothing_is_reported(tmp_path: Path):
    bench = Bench(tmp_path)
    await hot(bench)
    await bench.driver.close()
    bench.let_pass(500.0)
    await bench.start()
    assert (await story(bench))["PWR.MSG"].value == ""
    await bench.driver.close()


async def test_the_disk_is_written_about_once_a_minute(tmp_path: Path):
    bench = Bench(tmp_path)
    await bench.start()
    sample = bench.driver._memory._files["sample"]
    await bench.driver.write("TSET", 100.0)
    for _ in range(1800):
        await bench.scan()
        await sample.flush()
    assert 30 <= sample.writes <= 33
    assert (tmp_path / "FURN1-sample.json").stat().st_size < 400
    assert not (tmp_path / "FURN1-power.json").exists()
    await bench.driver.close()


async def test_broken_files_do_not_keep_a_furnace_from_being_read(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    (tmp_path / "FURN1-power.json").write_text("{")
    (tmp_path / "FURN1-sample.json").write_text('{"time": 1}')
    (tmp_path / "FURN1-writes.json").write_text('{"x": "y"}')
    bench = Bench(tmp_path)
    found = await bench.start()
    assert found["TEMP"].value == 25.0
    assert found["WRITES"].value == 0
    assert len(caplog.records) == 3
    await bench.driver.close()
    assert (tmp_path / "FURN1-writes.bad").read_text() == '{"x": "y"}'


@pytest.mark.parametrize("broken", ["power", "sample"])
async def test_a_broken_file_does_not_cost_what_is_in_the_others(tmp_path: Path, broken: str):
    (tmp_path / f"FURN1-{broken}.json").write_text('{"count": 1, "time": null, "flag": false}')
    (tmp_path / "FURN1-writes.json").write_text('{"24": 40000}')
    bench = Bench(tmp_path)
    assert (await bench.start())["WRITES"].value == 40_000
    await bench.driver.write("TSET", 100.0)
    await bench.driver.close()
    assert json.loads((tmp_path / "FURN1-writes.json").read_text()) == {"24": 40_000, "2": 1}


async def test_GIVEN_the_mains_flag_not_yet_read_WHEN_back_THEN_the_record_waits_for_it(tmp_path: Path):
    bench = Bench(tmp_path)
    await hot(bench)
    before = bench.model.memory["PV.IN"]
    bench.model.mains_off()
    await bench.lose()
    bench.let_pass(29.0)
    bench.model.mains_on()
    bench.let_pass(10.0)
    good = bench.link.read_registers

    async def spoilt(start: int, count: int) -> tuple[int, ...]:
        if start <= 87 < start + count:
            raise Garbled("no valid reply")
        return await good(start, count)

    bench.driver._unit.planner.refused.add((False, 80))
    await bench.driver.connect()
    bench.link.read_registers = spoilt  # type: ignore[method-assign]
    # the status words come alone, as on an instrument that refuses gaps
    bench.driver._unit.planner.refused |= {(False, address) for address in range(77, 87)}
    await bench.driver.read(FAST)
    assert (await story(bench))["PWR.COUNT"].value == 0
    bench.link.read_registers = good  # type: ignore[method-assign]
    await bench.scan()
    found = await story(bench)
    assert found["PWR.COUNT"].value == 1
    assert found["PWR.TBEFORE"].value == pytest.approx(before, abs=0.5)
    await bench.driver.close()


async def test_an_interruption_is_on_disk_before_the_reading_that_ends_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Killed in between, the program would take the flag for an old one and forget the interruption."""
    order: list[str] = []
    store = state_file.write_json
    monkeypatch.setattr(state_file, "write_json", lambda path, *rest: (order.append(path.name), store(path, *rest)))
    bench = Bench(tmp_path)
    await hot(bench)
    for file in bench.driver._memory._files.values():
        await file.flush()
    bench.model.mains_off()
    bench.model.mains_on()
    bench.model.step(5.0)
    order.clear()
    await bench.scan()
    assert (await story(bench))["PWR.COUNT"].value == 1
    for file in bench.driver._memory._files.values():
        await file.flush()
    assert order == ["FURN1-power.json"]
    await bench.scan()
    await bench.driver._memory._files["sample"].flush()
    assert order[:2] == ["FURN1-power.json", "FURN1-sample.json"]
    await bench.driver.close()


async def test_an_interruption_that_the_disk_did_not_take_is_saved_later(tmp_path: Path):
    folder = tmp_path / "state"
    bench = Bench(folder)
    await hot(bench)
    for file in bench.driver._memory._files.values():
        await file.flush()
    shutil.rmtree(folder)
    folder.write_text("")  # no folder any more
    bench.model.mains_off()
    bench.model.mains_on()
    bench.model.step(5.0)
    await bench.scan()
    for file in bench.driver._memory._files.values():
        await file.flush()
    folder.unlink()
    await bench.run(70.0)
    for file in bench.driver._memory._files.values():
        await file.flush()
    assert json.loads((folder / "FURN1-power.json").read_text())["count"] == 1
    await bench.driver.close()


async def test_before_the_first_interruption_nothing_alarms():
    bench = Bench()
    await bench.start()
    assert {reading.level for reading in (await bench.driver.read([*PWR, *FAST])).values()} == {Level.OK, Level.INVALID}
    assert {reading.level for reading in (await story(bench)).values()} == {Level.OK}
    await bench.driver.close()


async def test_an_acknowledge_that_did_not_clear_the_mains_flag_is_refused(tmp_path: Path):
    bench = Bench(tmp_path)
    await bench.start()
    bench.model.mains_off()
    bench.model.mains_on()
    bench.let_pass(10.0)
    bench.link.lose_writes = True
    with pytest.raises(Refused, match="acknowledge"):
        await bench.driver.write("ACK.CMD", 1)
    await bench.driver.close()


async def test_the_alarm_of_an_interruption_is_kept_until_it_is_acknowledged(tmp_path: Path):
    bench = Bench(tmp_path)
    await bench.start()
    bench.model.mains_off()
    bench.model.mains_on()
    bench.let_pass(10.0)
    await bench.scan()
    assert bench.driver.latched()["PWR.COUNT"].level is Level.MAJOR
    await bench.driver.write("PWR.ACK.CMD", 1)
    assert bench.driver.latched() == {}
    await bench.driver.close()

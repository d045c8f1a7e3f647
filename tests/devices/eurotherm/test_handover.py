"""Puts to a Eurotherm 3200 that would lift the furnace over the limits of the site, by whatever way."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from devices.errors import OutOfLimits
from devices.eurotherm.furnace import FLOAT_RANGE
from devices.model import Level
from tests.devices.eurotherm.bench import Bench

SITE = {"TSET": (0.0, 500.0)}


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    """A furnace at 100 C, in which 900 C was set where it is not in force."""
    made = Bench(limits=SITE)
    made.model.memory["SP1"] = 100.0
    made.model.settle()
    await made.start()
    yield made
    await made.driver.close()


async def refused(bench: Bench, name: str, value: float) -> None:
    count = len(bench.link.writes)
    with pytest.raises(OutOfLimits, match=r"900 C is above 500 C \(site\)"):
        await bench.driver.write(name, value)
    assert len(bench.link.writes) == count


async def raw_refused(bench: Bench, register: int, value: float) -> None:
    count = len(bench.link.writes)
    with pytest.raises(OutOfLimits):
        await bench.driver.raw(register, value)
    assert len(bench.link.writes) == count


async def test_GIVEN_a_second_setpoint_of_900_C_WHEN_it_is_selected_THEN_refused(bench: Bench):
    bench.model.memory["SP2"] = 900.0  # at the front panel, a moment ago
    await refused(bench, "SPSEL", 1)
    await raw_refused(bench, 15, 1)
    bench.model.memory["SP2"] = 400.0
    await bench.driver.write("SPSEL", 1)
    assert bench.model.memory["SP.SEL"] == 1


async def test_GIVEN_a_local_setpoint_of_900_C_WHEN_remote_is_left_THEN_refused(bench: Bench):
    await bench.driver.write("REMOTE", 1)
    bench.model.memory["SP1"] = 900.0
    await refused(bench, "REMOTE", 0)
    await raw_refused(bench, 276, 0)


async def test_GIVEN_a_target_of_900_C_WHEN_automatic_operation_or_tuning_THEN_refused(bench: Bench):
    memory = bench.model.memory
    memory["A-M"], memory["SP1"] = 1, 900.0
    await refused(bench, "MODE", 0)
    await raw_refused(bench, 273, 0)
    await refused(bench, "TUNE", 1)
    memory["IM"] = 1
    await refused(bench, "OPMODE", 0)
    memory["SP1"] = 100.0
    await bench.driver.write("MODE", 0)
    assert memory["A-M"] == 0


async def test_GIVEN_a_target_of_900_C_WHEN_remote_takes_it_over_THEN_refused(bench: Bench):
    bench.model.memory["SP1"] = 900.0
    bench.model.settle()
    count = len(bench.link.writes)
    with pytest.raises(OutOfLimits, match="site"):
        await bench.driver.write("REMOTE", 1)
    assert len(bench.link.writes) == count


async def test_GIVEN_a_segment_of_900_C_WHEN_the_program_is_started_THEN_refused(bench: Bench):
    bench.model.memory["TM.CFG"] = 10
    bench.model.memory["SEG3.TSP"] = 900.0
    await bench.scan(names=["TMR.TYPE.RBV"])
    await refused(bench, "TMR.RUN.CMD", 1)
    await raw_refused(bench, 23, 1)
    bench.model.memory["SEG3.TSP"] = 400.0
    await bench.driver.write("TMR.RUN.CMD", 1)
    assert bench.model.memory["T.STAT"] in (1, 3)


async def test_GIVEN_a_running_program_with_900_C_WHEN_manual_is_left_THEN_refused(bench: Bench):
    memory = bench.model.memory
    memory["A-M"], memory["TM.CFG"], memory["T.STAT"], memory["SEG3.TSP"] = 1, 10, 2, 900.0
    await refused(bench, "MODE", 0)
    memory["SEG3.TSP"] = 400.0
    await bench.driver.write("MODE", 0)
    assert memory["A-M"] == 0


@pytest.mark.parametrize("mode", [1, 2])
async def test_GIVEN_an_output_of_80_percent_on_entering_manual_WHEN_the_site_allows_50_THEN_refused(mode: int):
    bench = Bench(limits={"MOUT": (0.0, 50.0)})
    memory = bench.model.memory
    memory["F.MOD"], memory["F.OP"], memory["MAN.OP"] = mode, 80.0, 80.0
    await bench.start()
    with pytest.raises(OutOfLimits, match=r"80 % is above 50 % \(site\)"):
        await bench.driver.write("MODE", 1)
    await raw_refused(bench, 273, 1)
    assert bench.link.writes == []
    await bench.driver.close()


async def test_the_limits_of_the_instrument_are_not_set_beyond_those_of_the_site(bench: Bench):
    await refused(bench, "SPMAX", 900.0)
    with pytest.raises(OutOfLimits):
        await bench.driver.write("SPMIN", 600.0)


async def test_GIVEN_a_furnace_outside_the_limits_of_the_site_WHEN_read_THEN_the_setting_is_an_alarm(bench: Bench):
    assert (await bench.scan())["TSET.RBV"].level is Level.OK
    bench.model.memory["SP1"] = 900.0
    found = await bench.scan()
    assert (found["TSET.RBV"].value, found["TSET.RBV"].level) == (900.0, Level.MAJOR)
    assert found["TWORK"].level is Level.OK  # one cause, one alarm
    bench.model.memory["SP1"] = 100.0
    assert (await bench.scan())["TSET.RBV"].level is Level.OK


async def test_GIVEN_a_program_beyond_the_limits_of_the_site_WHEN_read_THEN_TWORK_is_an_alarm(
    bench: Bench,
):
    memory = bench.model.memory
    memory["TM.CFG"], memory["T.STAT"], memory["SEG1.TSP"], memory["SEG1.DWELL"] = 10, 1, 900.0, 600.0
    found = await bench.run(12.0)
    assert (found["TWORK"].level, found["TSET.RBV"].level) == (Level.MAJOR, Level.OK)


async def test_GIVEN_ramp_rates_per_hour_WHEN_a_rate_is_put_THEN_words_of_16_bits_do_not_limit_it():
    bench = Bench()
    bench.model.memory["RAMPU"] = 1
    await bench.start()
    limits = bench.driver.limits("RATE")
    assert limits is not None
    assert limits.high == FLOAT_RANGE
    await bench.driver.write("RATE", 20.0)
    assert bench.model.memory["SP.RAT"] == pytest.approx(1200.0)  # per hour
    await bench.driver.close()


async def test_GIVEN_a_remote_setpoint_WHEN_it_is_lost_THEN_the_instruments_own_write_is_counted(bench: Bench):
    await bench.driver.write("REMOTE", 1)
    before = (await bench.scan())["WRITES"].value
    await bench.driver.forbid_writes("a test")
    await bench.run(8.0)
    found = await bench.scan()
    assert found["STAT.RSPFAIL"].value == 1
    assert int(str(found["WRITES"].value)) == int(str(before)) + 1


async def test_units_on_one_line_write_one_at_a_time_and_making_safe_does_not_wait():
    one, other = (Bench(options={"unit": unit}).driver for unit in (1, 2))
    assert one.way("TSET", 1.0).wire == other.way("TSET", 1.0).wire
    assert one.way("TSET", 1.0).room == 1
    assert other.way("SAFE.CMD", 1).urgent
    assert not other.way("SAFE.CMD", 0).urgent

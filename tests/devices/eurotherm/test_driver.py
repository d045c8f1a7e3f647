"""The driver of a Eurotherm 3200 on a simulated instrument: readings, alarms, decimals, what goes wrong."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator

import pytest

from devices.errors import Garbled, LinkDown, Refused, ReplyTimeout
from devices.eurotherm.blocks import Planner
from devices.eurotherm.catalogue import QUANTITIES, SETTINGS, registers_of
from devices.eurotherm.registers import LONGEST_BLOCK, REGISTERS
from devices.eurotherm.simulator.model import BreakReading, EurothermModel
from devices.eurotherm.watch import LOST_HEAT
from devices.links.modbus_frames import READ, ModbusRefusal, Request
from devices.model import Cause, Level
from tests.devices.eurotherm.bench import FAST, READABLE, Bench


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    made = Bench()
    yield made
    await made.driver.close()


def alarm(reading: object) -> tuple[Level, Cause]:
    return reading.level, reading.cause  # type: ignore[attr-defined]


async def test_connecting_and_scanning_write_nothing(bench: Bench):
    await bench.start()
    await bench.run(60.0)
    assert bench.link.writes == []


async def test_everything_is_read_once_after_connecting(bench: Bench):
    found = await bench.start()
    assert set(found) == set(READABLE)
    assert found["TEMP"].value == 25.0
    assert found["ID.FW"].value == "2.13"
    assert found["ID.TYPE"].value == "3216"
    assert found["TSET.HI"].value == 1200.0
    bad = {name for name, reading in found.items() if reading.level is Level.INVALID}
    assert bad == {"SLOPE"}


@pytest.mark.parametrize("floats", [True, False])
async def test_a_fast_scan_is_two_requests_and_slow_ones_come_in_portions(floats: bool, bench: Bench):
    bench.link.slave.float_area = floats
    await bench.start()
    bench.link.requests.clear()
    await bench.scan()
    assert len(bench.link.requests) == (2 if floats else 3)  # words come with the decimals
    slow = [name for name in READABLE if name not in FAST]
    portions = bench.driver.portions(slow)
    assert sorted(name for portion in portions for name in portion) == sorted(slow)
    assert "ID.FW" in portions[0] or "ID.FW" in portions[1]
    for portion in portions:
        bench.link.requests.clear()
        found = await bench.scan(0.0, portion)
        assert set(found) == set(portion)
        assert len(bench.link.requests) <= 5
    assert len(portions) > 10
    assert bench.driver.portions(["WRITES"]) == [["WRITES"]]


def test_blocks_are_never_longer_than_the_family_allows():
    names = {register for name in QUANTITIES for register in registers_of(name)}
    for floats in (True, False):
        blocks = Planner(floats).blocks(names)
        assert {name for block in blocks for name in block.names} == names
        for block in blocks:
            assert block.count * (2 if block.twins else 1) <= LONGEST_BLOCK


def test_every_setting_is_of_a_register_that_can_be_written():
    for name, setting in SETTINGS.items():
        assert REGISTERS[setting.register].writable, name
    assert all(row.settable for name, row in QUANTITIES.items() if name.endswith(".CMD"))


@pytest.mark.parametrize("decimals", [0, 1, 2])
@pytest.mark.parametrize("floats", [True, False])
@pytest.mark.parametrize("temp", [-12.4, 0.0, 183.42, 25.0])
async def test_no_combination_of_decimals_and_area_gives_a_wrong_value(decimals: int, floats: bool, temp: float):
    bench = Bench()
    bench.model.memory["DEC.P"] = decimals
    bench.model.memory["SP.RAT"] = 5.0
    bench.model.furnace.temperature = bench.model.furnace.measured = temp
    bench.model.settle()
    bench.link.slave.float_area = floats
    found = await bench.start()
    assert found["TEMP"].value == pytest.approx(temp, abs=1e-4 if floats else 0.5001 * 10**-decimals)
    assert found["RATE.RBV"].value == pytest.approx(5.0)
    assert found["TSET.HI"].value == pytest.approx(327.67 if decimals == 2 and not floats else 1200.0)
    assert bench.driver.precision("TEMP") == decimals
    assert alarm(found["PB.RBV"]) == ((Level.OK, Cause.NONE) if floats else (Level.INVALID, Cause.READ))
    await bench.driver.close()


@pytest.mark.parametrize("floats", [True, False])
async def test_decimals_changed_at_the_panel_never_show(floats: bool, bench: Bench):
    bench.link.slave.float_area = floats
    bench.model.memory["SP1"], bench.model.held = 250.0, 25.0
    await bench.start()
    for decimals in (0, 2, 1):
        bench.model.memory["DEC.P"] = decimals
        found = await bench.scan()
        assert found["TEMP"].value == pytest.approx(25.0, abs=0.5)
        assert found["TSET.RBV"].value == pytest.approx(250.0, abs=0.5)
        await bench.run(60.0)
        assert bench.driver.precision("TEMP") == decimals
        assert bench.driver.word(2) == round(250.0 * 10**decimals)


async def test_decimals_that_are_not_reported_are_those_of_the_site_file_or_unknown():
    for options, temp in (({}, None), ({"decimals": 1}, 25.0)):
        bench = Bench(options=options)
        bench.link.slave.float_area = False
        bench.model.memory["DEC.P"] = 1
        good = bench.link.slave._word
        bench.link.slave._word = lambda at, good=good: 7 if at == 525 else good(at)  # type: ignore[method-assign]
        found = await bench.start()
        assert found["TEMP"].value == temp
        assert (found["TEMP"].level is Level.INVALID) == (temp is None)
        await bench.driver.close()


@pytest.mark.parametrize("reading", BreakReading)
async def test_a_broken_sensor_is_invalid_and_never_a_number(reading: BreakReading, bench: Bench):
    await bench.start()
    bench.model.break_reading, bench.model.sensor_broken = reading, True
    found = await bench.scan()
    for name in ("TEMP", "TDIFF", "SLOPE"):
        assert (found[name].value, *alarm(found[name])) == (None, Level.INVALID, Cause.READ)
    assert found["STAT.SBREAK"].value == 1
    assert bench.driver.word(1) is None
    bench.model.sensor_broken = False
    assert (await bench.scan())["TEMP"].value == pytest.approx(25.0)


async def test_out_of_range_is_invalid_too(bench: Bench):
    await bench.start()
    bench.model.held = 2000.0
    found = await bench.scan()
    assert (found["TEMP"].value, found["STAT.RANGE"].value) == (None, 1)


async def test_every_bit_of_the_status_word_is_a_signal(bench: Bench):
    await bench.start()
    bench.model.memory["A1"], bench.model.memory["A1.TYP"] = 10.0, 2
    bench.model.memory["A-M"] = 1
    found = await bench.scan()
    assert (found["STAT.AL1"].value, found["STAT.MANUAL"].value, found["STAT.NEWALM"].value) == (1, 1, 1)
    assert found["STAT"].value == int(bench.model.memory["StAt"])


async def test_a_status_word_without_its_complement_is_dropped_once_and_invalid_twice(bench: Bench):
    await bench.start()
    good = bench.link.slave._word
    bench.link.slave._word = lambda address: good(address) ^ (0x20 if address == 75 else 0)  # type: ignore[method-assign]
    found = await bench.scan()
    assert "STAT" not in found
    found = await bench.scan()
    assert alarm(found["STAT"]) == (Level.INVALID, Cause.READ)
    assert bench.driver.stats.errors == 2


async def test_a_relative_of_the_family_is_read_with_a_warning(bench: Bench, caplog: pytest.LogCaptureFixture):
    good = bench.link.slave._word
    bench.link.slave._word = lambda address: 0 if address == 76 else good(address)  # type: ignore[method-assign]
    found = await bench.start()
    assert alarm(found["STAT"]) == (Level.MINOR, Cause.STATE)
    assert "complement" in caplog.text


async def test_an_instrument_that_refuses_gaps_is_read_without_them(bench: Bench):
    bench.link.slave.gaps_refused = True
    found = await bench.start()
    assert set(found) == set(READABLE)
    assert {name for name, reading in found.items() if reading.level is Level.INVALID} == {"SLOPE"}
    bench.link.requests.clear()
    await bench.scan()
    assert len(bench.link.requests) <= 4


async def test_four_segments_are_enough(bench: Bench):
    await bench.driver.close()
    bench = Bench(model=EurothermModel(segments=4))
    bench.link.slave.gaps_refused = True
    found = await bench.start()
    assert found["SEG4.TARGET.RBV"].level is Level.OK
    assert alarm(found["SEG5.TARGET.RBV"]) == (Level.INVALID, Cause.READ)
    await bench.driver.close()


async def test_rates_are_per_minute_whatever_the_unit_on_the_panel(bench: Bench):
    bench.model.memory["SP.RAT"], bench.model.memory["RAMPU"] = 60.0, 1
    found = await bench.start()
    assert found["RATE.RBV"].value == pytest.approx(1.0)
    await bench.driver.write("RATE", 2.0)
    assert bench.model.memory["SP.RAT"] == pytest.approx(120.0)


async def test_a_rate_never_shows_in_a_unit_that_the_panel_has_just_left(bench: Bench):
    bench.model.memory["SP.RAT"] = 60.0
    await bench.start()
    bench.model.memory["RAMPU"] = 1  # 60 per hour is 1 per minute
    for n in range(20):
        found = await bench.scan(names=["RATE.RBV"] if n else FAST)
        assert "RATE.RBV" not in found or found["RATE.RBV"].value == pytest.approx(1.0)
    assert found["RATE.RBV"].level is Level.MINOR  # it is not what was demanded any more


@pytest.mark.parametrize("unit", [0, 1, 2])
async def test_a_rate_is_sent_in_the_unit_that_the_panel_has_now(unit: int, bench: Bench):
    await bench.start()
    bench.model.memory["RAMPU"] = unit
    await bench.driver.write("RATE", 6.0)
    assert bench.model.memory["SP.RAT"] == pytest.approx((6.0, 360.0, 0.1)[unit])


async def test_a_rate_in_a_unit_that_is_not_known_is_invalid(bench: Bench):
    bench.model.memory["RAMPU"], bench.model.memory["SP.RAT"] = 7, 5.0
    found = await bench.start()
    assert alarm(found["RATE.RBV"]) == (Level.INVALID, Cause.READ)
    with pytest.raises(Refused):
        await bench.driver.write("RATE", 6.0)
    assert bench.link.writes == []


async def test_without_a_register_for_the_unit_rates_are_per_minute(bench: Bench):
    bench.link.slave.gaps_refused = True
    present = bench.model.memory.present
    bench.model.memory.present = (  # type: ignore[method-assign]
        lambda address: None if address in (321, 531) else present(address)
    )
    bench.model.memory["SP.RAT"] = 5.0
    found = await bench.start()
    assert (found["RATE.RBV"].value, found["RATE.RBV"].level) == (5.0, Level.OK)
    assert found["TMR.DWELL.RBV"].level is Level.OK
    assert found["RATEUNIT.RBV"].level is Level.INVALID


@pytest.mark.parametrize("seconds", [False, True])
async def test_a_timer_in_words_never_shows_in_a_unit_that_the_panel_has_just_left(seconds: bool, bench: Bench):
    bench.link.slave.float_area = False
    memory = bench.model.memory
    memory["TM.RES"], memory["DWELL"] = int(not seconds), 600.0
    await bench.start()
    memory["TM.RES"] = int(seconds)
    for _ in range(20):
        found = await bench.scan(names=["TMR.DWELL.RBV"])
        assert "TMR.DWELL.RBV" not in found or found["TMR.DWELL.RBV"].value == 600.0


async def test_no_ramp_is_a_warning_unless_allowed():
    for allowed in (True, False):
        bench = Bench(options={"allow_no_ramp": allowed})
        found = await bench.start()
        assert (found["RATE.RBV"].level is Level.MINOR) is not allowed
        await bench.driver.close()


async def test_slope_over_a_minute_and_its_alarm():
    bench = Bench(options={"slope_limit": 15.0})
    await bench.start()
    for n in range(70):
        bench.model.held = 100.0 + n / 3  # 20 C/min
        found = await bench.scan()
    assert found["SLOPE"].value == pytest.approx(20.0, abs=0.2)
    assert alarm(found["SLOPE"]) == (Level.MAJOR, Cause.HIHI)
    await bench.driver.close()


async def test_the_deviation_counts_once_the_setpoint_has_stood_still():
    bench = Bench(options={"deviation": [5.0, 20.0], "settle": 30.0})
    bench.model.memory["SP1"] = 100.0
    bench.model.held = 90.0
    await bench.start()
    levels = [(await bench.scan())["TDIFF"].level for _ in range(40)]
    assert levels[:29] == [Level.OK] * 29
    assert levels[-1] is Level.MINOR
    bench.model.held = 70.0
    assert alarm((await bench.scan())["TDIFF"]) == (Level.MAJOR, Cause.LOLO)
    bench.model.memory["SP1"] = 101.0
    assert (await bench.scan())["TDIFF"].level is Level.OK
    await bench.driver.close()


async def test_a_furnace_is_settled_after_a_time_within_the_band_of_a_setpoint_that_stands_still():
    bench = Bench(options={"settled_band": 3.0, "settled_time": 20.0})
    bench.model.memory["SP1"] = 100.0
    bench.model.held = 90.0
    found = await bench.start()
    assert (found["SETTLED"].value, found["SETTLED"].level) == (0, Level.OK)
    assert (await bench.run(40.0))["SETTLED"].value == 0
    bench.model.held = 98.0
    values = [(await bench.scan())["SETTLED"].value for _ in range(25)]
    assert values[:19] == [0] * 19
    assert values[-1] == 1
    bench.model.memory["SP1"] = 101.0  # the setpoint has moved, within the band
    assert (await bench.scan())["SETTLED"].value == 0
    assert (await bench.run(25.0))["SETTLED"].value == 1
    bench.model.sensor_broken = True
    assert (await bench.scan())["SETTLED"].level is Level.INVALID
    await bench.driver.close()


async def test_display_ranges_are_those_of_the_instrument(bench: Bench):
    assert bench.driver.display_range("TEMP") is None
    await bench.start()
    await bench.scan()
    memory = bench.model.memory
    assert bench.driver.display_range("TEMP") == (memory["RNG.LO"], memory["RNG.HI"])
    assert bench.driver.display_range("TSET.RBV") == (memory["SP.LO"], memory["SP.HI"])
    assert bench.driver.display_range("OUT") == (0.0, 100.0)
    assert bench.driver.display_range("STAT") is None


async def test_full_output_without_heat_is_an_alarm_after_five_minutes(bench: Bench):
    bench.model.memory["SP1"] = 600.0
    bench.model.furnace.temperature = bench.model.furnace.measured = 500.0
    bench.model.furnace.heater_broken = True
    bench.model.settle()
    await bench.start()
    found = await bench.run(LOST_HEAT)
    assert found["OUT"].level is Level.OK
    found = await bench.run(40.0)
    assert (found["OUT"].value, *alarm(found["OUT"])) == (100.0, Level.MAJOR, Cause.STATE)


async def test_a_setting_changed_at_the_panel_is_a_warning_after_two_polls(bench: Bench):
    await bench.start()
    bench.model.memory["SP1"] = 300.0
    levels = [(await bench.scan())["TSET.RBV"].level for _ in range(4)]
    assert levels == [Level.OK, Level.OK, Level.MINOR, Level.MINOR]
    assert await bench.value("TSET") == 0.0


@pytest.mark.parametrize("unit", [1, 2])
async def test_an_instrument_in_fahrenheit_or_kelvin_is_an_alarm_of_every_temperature(bench: Bench, unit: int):
    bench.model.memory["UNITS"] = unit
    found = await bench.start()
    assert found["UNITS"].level is Level.MAJOR
    for name in ("TEMP", "TWORK", "TSET.RBV", "TDIFF", "RANGE.HI"):
        assert found[name].level is Level.MAJOR, name
        assert found[name].value is not None
    assert found["OUT"].level is Level.OK


async def test_silence_and_a_port_that_is_gone_end_the_connection(bench: Bench):
    await bench.start()
    bench.model.mains_off()
    with pytest.raises(ReplyTimeout):
        await bench.scan()
    await bench.driver.close()
    with pytest.raises(LinkDown):
        await bench.driver.read(FAST)
    bench.link.plugged = False
    with pytest.raises(LinkDown):
        await bench.driver.connect()


async def test_rubbish_is_left_out_then_invalid_then_lost(bench: Bench):
    await bench.start()
    bench.link.error = Garbled("rubbish")
    assert "TEMP" not in await bench.scan()
    with pytest.raises(Garbled):
        await bench.scan()


async def test_something_else_at_that_address_is_no_controller(bench: Bench):
    bench.link.error = ModbusRefusal(Request(1, READ, 1), 2)
    with pytest.raises(Garbled, match="not a controller"):
        await bench.driver.connect()
    assert not bench.link.connected


def test_limits_and_precision_of_nothing_are_nothing():
    driver = Bench().driver
    for name in ("TEMP", "NONSENSE", "TSET"):
        assert driver.limits(name) is None
        assert driver.precision(name) is None
    assert math.isfinite(driver.limits("TI").high)  # type: ignore[union-attr]

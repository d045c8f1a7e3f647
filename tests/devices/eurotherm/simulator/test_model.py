"""The simulated furnace: setpoints, ramps, output, alarms and what the controller keeps."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devices.eurotherm.registers import Status
from devices.eurotherm.simulator.furnace import Furnace
from devices.eurotherm.simulator.model import BOOT, BreakReading, EurothermModel
from devices.eurotherm.simulator.slave import Slave
from devices.links.modbus_frames import READ, WRITE, WRITE_ONE, Request, is_frame, with_crc
from tests.devices.eurotherm.simulator.client import MINUTE, status, write


def test_GIVEN_a_setpoint_WHEN_time_passes_THEN_the_furnace_reaches_it_and_stays(model):
    write(model, "SP1", 400.0)
    model.step(60 * MINUTE)
    assert model.memory["PV.IN"] == pytest.approx(400.0, abs=1.0)
    holding = model.furnace.loss * (400.0 - model.furnace.ambient) / model.furnace.watts * 100
    assert model.memory["WRK.OP"] == pytest.approx(holding, abs=2.0)
    assert model.memory["P.Err"] == pytest.approx(0.0, abs=1.0)


def test_GIVEN_no_heat_WHEN_time_passes_THEN_the_furnace_cools_with_its_time_constant():
    furnace = Furnace(525.0)
    for _ in range(150):
        furnace.step(10.0, 0.0)
    assert furnace.temperature == pytest.approx(25.0 + 500.0 / math.e, abs=0.5)  # 3000 J/K over 2 W/K are 1500 s
    assert furnace.measured > furnace.temperature


def test_GIVEN_a_rate_limit_WHEN_the_target_changes_THEN_the_working_setpoint_ramps(model):
    write(model, "SP.RAT", 5.0)
    write(model, "SP1", 125.0)
    model.step(10 * MINUTE)
    assert model.memory["TG.SP"] == 125.0
    assert model.memory["WKG.SP"] == pytest.approx(50.0, abs=0.1)
    assert Status.RUNNING in status(model)
    model.step(20 * MINUTE)
    assert model.memory["WKG.SP"] == 125.0
    assert Status.RUNNING not in status(model)


@pytest.mark.parametrize(("code", "seconds"), [(0, 60.0), (1, 3600.0), (2, 1.0)])
def test_GIVEN_a_unit_of_ramp_rates_WHEN_ramping_THEN_it_is_meant(model, code, seconds):
    model.memory["RAMPU"], model.memory["SP.RAT"], model.memory["SP1"] = code, 6.0, 1200.0
    model.memory["WKG.SP"] = 0.0
    model.step(5.0)
    assert model.memory["WKG.SP"] == pytest.approx(5.0 * 6.0 / seconds)


def test_GIVEN_manual_WHEN_entered_THEN_the_output_is_kept_until_it_is_set(model):
    write(model, "SP1", 300.0)
    model.step(30 * MINUTE)
    before = model.memory["WRK.OP"]
    write(model, "A-M", 1)
    model.step(1.0)
    assert model.memory["WRK.OP"] == pytest.approx(before, abs=0.1)
    assert Status.MANUAL in status(model)
    write(model, "MAN.OP", 40.0)
    model.step(1.0)
    assert model.memory["WRK.OP"] == 40.0
    write(model, "A-M", 0)
    model.step(1.0)
    assert model.memory["WRK.OP"] == pytest.approx(40.0, abs=5.0), "leaving manual is bumpless too"


def test_GIVEN_remote_WHEN_the_setpoint_is_not_repeated_THEN_the_local_one_is_back_with_a_flag(model):
    write(model, "SP1", 100.0)
    write(model, "Rm.SP", 333.0)
    write(model, "L-R", 1)
    model.step(1.0)
    assert model.memory["WKG.SP"] == 333.0
    assert Status.REMOTE_FAIL not in status(model)
    model.step(5.0)
    assert model.memory["WKG.SP"] == 100.0
    assert Status.REMOTE_FAIL in status(model)
    assert model.memory["TG.SP"] == 100.0


@pytest.mark.parametrize(
    ("kind", "threshold", "bad", "good"),
    [(1, 50.0, 49.0, 52.0), (2, 50.0, 51.0, 48.0), (16, 10.0, 111.0, 100.0), (17, 10.0, 111.0, 100.0),
     (18, 10.0, 89.0, 100.0)],
)  # fmt: skip
def test_GIVEN_an_alarm_of_each_type_WHEN_its_condition_holds_THEN_its_bit_is_on(model, kind, threshold, bad, good):
    model.memory["SP1"], model.memory["A2"], model.memory["A2.TYP"] = 100.0, threshold, kind
    model.held = bad
    model.step(1.0)
    assert {Status.ALARM_2, Status.NEW_ALARM} <= set(status(model))
    assert model.memory["A2.STS"]
    model.held = good
    model.step(1.0)
    assert Status.ALARM_2 not in status(model)


def test_GIVEN_hysteresis_WHEN_the_value_is_just_back_THEN_the_alarm_stays(model):
    model.memory["A1"], model.memory["A1.TYP"], model.memory["A1.HYS"] = 50.0, 2, 5.0
    for value, on in ((49.0, False), (51.0, True), (46.0, True), (44.0, False), (49.0, False)):
        model.held = value
        model.step(1.0)
        assert (Status.ALARM_1 in status(model)) is on, value


@pytest.mark.parametrize(("latch", "early", "late"), [(0, False, False), (1, False, False), (2, True, False)])
def test_GIVEN_latching_WHEN_acknowledged_before_the_condition_is_gone_THEN_manual_wants_it_again(
    model, latch, early, late
):
    model.memory["A1"], model.memory["A1.TYP"], model.memory["A1.LAT"] = 50.0, 2, latch
    model.held = 60.0
    model.step(1.0)
    write(model, "Ac.ALL", 1)
    model.step(1.0)
    assert Status.ALARM_1 in status(model)
    model.held = 20.0
    model.step(1.0)
    assert (Status.ALARM_1 in status(model)) is early
    write(model, "Ac.ALL", 1)
    model.step(1.0)
    assert (Status.ALARM_1 in status(model)) is late


def test_GIVEN_a_latched_alarm_WHEN_the_condition_goes_THEN_it_stays_until_acknowledged(model):
    model.memory["A1"], model.memory["A1.TYP"], model.memory["A1.LAT"] = 50.0, 2, 1
    for value in (60.0, 20.0):
        model.held = value
        model.step(1.0)
        assert Status.ALARM_1 in status(model)
    write(model, "Ac.ALL", 1)
    assert Status.ALARM_1 not in status(model)


def test_GIVEN_a_blocking_alarm_WHEN_it_starts_in_alarm_THEN_it_waits_for_a_good_value(model):
    model.memory["A1"], model.memory["A1.TYP"], model.memory["A1.BLK"] = 50.0, 1, 1
    model.held = 20.0
    model.mains_off()
    model.mains_on()
    model.step(BOOT)
    seen = []
    for value in (20.0, 60.0, 20.0):
        model.held = value
        model.step(1.0)
        seen.append(Status.ALARM_1 in status(model))
    assert seen == [False, False, True]


@pytest.mark.parametrize("reading", BreakReading)
def test_GIVEN_a_broken_sensor_WHEN_read_THEN_status_and_flag_tell_and_the_output_is_safe(model, reading):
    model.memory["SAFE"] = 12.5
    model.held = 100.0
    model.sensor_broken, model.break_reading = True, reading
    model.step(1.0)
    assert Status.SENSOR_BREAK in status(model)
    assert model.memory["SBR"] == 1
    assert model.memory["WRK.OP"] == 12.5
    shown = {BreakReading.RAIL: 1372.0, BreakReading.FROZEN: 25.0, BreakReading.NAN: math.nan}[reading]
    value = model.memory["PV.IN"]
    assert math.isnan(value) if math.isnan(shown) else value >= shown
    assert is_frame(Slave(model).respond(Request(1, READ, 0x8002, 10).frame))


def test_GIVEN_a_broken_heater_WHEN_heating_THEN_the_load_and_the_loop_alarm(model):
    model.memory["LBT"] = 30.0
    write(model, "SP1", 500.0)
    model.step(5 * MINUTE)
    assert model.memory["LD.AMP"] == 8.0
    assert Status.LOAD_LOW not in status(model)
    model.furnace.heater_broken = True
    model.step(2 * MINUTE)
    assert {Status.LOAD_LOW, Status.LOOP_BREAK} <= set(status(model))
    assert model.memory["LD.AMP"] == 0.0
    assert model.memory["LBR"] == 1
    model.leak_amps, model.load_amps = 5.0, 30.0
    model.furnace.heater_broken = False
    model.step(1.0)
    assert {Status.LEAKAGE_HIGH, Status.OVERCURRENT} <= set(status(model))


def test_GIVEN_writes_WHEN_the_value_changes_THEN_only_that_wears_the_memory(model):
    for value in (100.0, 100.0, 101.0):
        write(model, "SP1", value)
    write(model, "TG.SP", 102.0)
    for value in (1.0, 2.0, 3.0):
        write(model, "Rm.SP", value)
    assert model.memory.wear == {"SP1": 3}
    model.memory.endurance = 3
    write(model, "SP1", 103.0)
    assert Slave(model).respond(Request(1, READ, 1).frame) == b"", "a worn memory ends it"


def test_GIVEN_operation_WHEN_configuration_is_written_THEN_it_is_refused_until_the_mode_changes(model):
    assert write(model, "DEC.P", 2) == 3
    assert write(model, "IM", 3) == 3, "codes beyond reach calibration"
    assert write(model, "IM", 2) == 0
    assert write(model, "DEC.P", 1) == 0
    model.step(1.0)
    assert model.memory["WRK.OP"] == 0.0
    assert write(model, "IM", 0) == 0
    assert model.silent
    model.step(5.5)
    assert not model.silent


def test_GIVEN_an_autotune_WHEN_it_ends_THEN_the_terms_have_changed(model):
    write(model, "A.TUNE", 1)
    assert Status.TUNING in status(model)
    model.step(125.0)
    assert Status.TUNING not in status(model)
    assert model.memory["PB"] == 45.0


def test_GIVEN_limits_WHEN_a_value_is_outside_THEN_it_is_refused(model):
    for name, value in (("SP1", 1200.1), ("SP2", -0.1), ("MAN.OP", 100.1), ("T.STAT", 3), ("A-M", 2), ("TM.CFG", 5)):
        assert write(model, name, value) == 3, name


def test_GIVEN_an_early_firmware_WHEN_segment_5_is_read_THEN_there_is_none():
    slave = Slave(EurothermModel(segments=4))
    assert slave.respond(Request(1, READ, 1292).frame)[3:5] == b"\x80\x00"
    slave.gaps_refused = True
    assert slave.respond(Request(1, READ, 1292).frame)[1:3] == b"\x83\x02"


def test_GIVEN_no_float_area_WHEN_read_THEN_it_is_refused(model):
    slave = Slave(model)
    slave.float_area = False
    assert slave.respond(Request(1, READ, 0x8002, 2).frame)[1:3] == b"\x83\x02"
    slave.float_area = True
    assert slave.respond(Request(1, READ, 0x8003, 2).frame)[1:3] == b"\x83\x02"


def test_a_misspelt_attribute_or_parameter_raises(model):
    with pytest.raises(AttributeError):
        model.sensor_brocken = True
    with pytest.raises(KeyError):
        model.memory["SP3"] = 1.0


@given(st.binary(max_size=40), st.booleans())
def test_no_request_makes_it_fail(data, framed):
    slave = Slave(EurothermModel())
    request = with_crc(b"\x01" + data) if framed else data
    reply = slave.respond(request)
    assert reply == b"" or is_frame(reply)


@given(st.sampled_from([READ, 4, WRITE_ONE, WRITE]), st.integers(0, 0xFFFF), st.integers(0, 0xFFFF))
def test_no_address_makes_it_fail(function, address, word):
    slave = Slave(EurothermModel())
    body = (
        bytes((1, function))
        + address.to_bytes(2)
        + (b"\0\x02\x04" + word.to_bytes(2) * 2 if function == WRITE else word.to_bytes(2))
    )
    assert is_frame(slave.respond(with_crc(body)))
    slave.model.step(1.0)

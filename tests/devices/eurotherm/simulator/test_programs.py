"""Programs, timers and what a power cut does to them, in the model of a furnace controller."""

import pytest

from devices.eurotherm.registers import Inputs, Status
from devices.eurotherm.simulator.model import BOOT, EurothermModel
from devices.eurotherm.simulator.slave import Slave
from devices.links.modbus_frames import READ, Request
from tests.devices.eurotherm.simulator.client import MINUTE, status, write


def a_program(model: EurothermModel, servo: int = 0) -> None:
    memory = model.memory
    memory["TM.CFG"], memory["SERVO"] = 10, servo
    memory["End.T"] = 1
    for number, (target, rate, dwell) in enumerate(((100.0, 60.0, 30.0), (50.0, 0.0, 20.0)), 1):
        memory[f"SEG{number}.TSP"], memory[f"SEG{number}.RATE"] = target, rate
        memory[f"SEG{number}.DWELL"] = dwell
    for number in range(3, 9):
        memory[f"SEG{number}.TSP"] = 50.0


def test_GIVEN_a_program_WHEN_run_THEN_its_segments_follow_and_it_ends(model):
    a_program(model)
    model.held = 40.0
    model.memory["WKG.SP"] = model.memory["SP1"] = 40.0
    write(model, "T.STAT", 1)
    model.step(30.0)
    assert Status.RUNNING in status(model)
    assert model.memory["WKG.SP"] == pytest.approx(70.0, abs=1.0)
    write(model, "T.STAT", 2)
    model.step(100.0)
    assert model.memory["WKG.SP"] == pytest.approx(70.0, abs=1.0), "hold"
    write(model, "T.STAT", 1)
    model.step(45.0)
    assert model.memory["WKG.SP"] == 100.0
    assert model.memory["T.REMN"] == pytest.approx(15.0, abs=1.0)
    model.step(45.0)
    assert model.memory["T.STAT"] == 3
    assert Status.PROGRAM_END in status(model)
    write(model, "T.STAT", 1)
    assert Status.RUNNING in status(model), "run from the end needs no reset"
    write(model, "T.STAT", 0)
    model.step(1.0)
    assert model.memory["WKG.SP"] == 40.0


def test_GIVEN_cycles_WHEN_run_THEN_the_program_repeats(model):
    a_program(model)
    model.held, model.memory["P.CYCL"] = 40.0, 2
    write(model, "T.STAT", 1)
    model.step(170.0)
    assert model.memory["CYCLE"] == 2
    assert model.memory["T.STAT"] == 1
    model.step(200.0)
    assert model.memory["T.STAT"] == 3


def test_GIVEN_a_dwell_timer_WHEN_ramping_THEN_it_counts_only_at_the_setpoint(model):
    memory = model.memory
    memory["TM.CFG"], memory["DWELL"], memory["SP1"], memory["SP.RAT"], memory["SP2"] = 1, 60.0, 85.0, 60.0, 30.0
    memory["End.T"] = 2
    model.held = memory["WKG.SP"] = 25.0
    write(model, "T.STAT", 1)
    model.step(59.0)
    assert memory["T.ELAP"] == 0.0
    memory["THRES"] = 5.0
    model.step(30.0)
    assert memory["T.ELAP"] == 0.0, "too far from the setpoint"
    model.held = 84.0
    model.step(61.0)
    assert memory["T.STAT"] == 3
    assert memory["SP.SEL"] == 1
    assert memory["T.REMN"] == 0.0


def test_GIVEN_end_type_off_WHEN_the_timer_is_in_reset_or_ended_THEN_the_heating_is_off(model):
    memory = model.memory
    memory["TM.CFG"], memory["DWELL"], memory["SP1"] = 1, 10.0, 500.0
    model.step(1.0)
    assert memory["WRK.OP"] == 0.0
    write(model, "T.STAT", 1)
    model.step(5.0)
    assert memory["WRK.OP"] == 100.0
    model.step(10.0)
    assert memory["WRK.OP"] == 0.0


def test_GIVEN_delay_and_soft_start_WHEN_run_THEN_the_output_is_kept_down(model):
    memory = model.memory
    memory["DWELL"], memory["SP1"], memory["SS.SP"], memory["SS.PWR"] = 60.0, 500.0, 100.0, 20.0
    for kind, limit in ((2, 0.0), (3, 20.0)):
        memory["TM.CFG"] = kind
        write(model, "T.STAT", 1)
        model.step(10.0)
        assert memory["WRK.OP"] == limit
        write(model, "T.STAT", 0)
        model.step(1.0)
    model.held = 150.0
    write(model, "T.STAT", 1)
    model.step(1.0)
    assert memory["WRK.OP"] == 100.0, "warm enough"


@pytest.mark.parametrize(("servo", "state"), [(0, 0), (1, 0), (2, 1), (3, 1)])
def test_GIVEN_a_running_program_WHEN_the_mains_fail_THEN_the_start_type_decides(model, servo, state):
    a_program(model, servo)
    model.furnace.temperature = model.furnace.measured = 60.0
    write(model, "T.STAT", 1)
    model.step(25.0)
    setpoint = model.memory["WKG.SP"]
    model.mains_off()
    model.step(30.0)
    assert Slave(model).respond(Request(1, READ, 1).frame) == b""
    cooled = model.furnace.measured
    model.mains_on()
    assert model.silent
    model.step(BOOT + 0.25)
    assert not model.silent
    assert model.memory["T.STAT"] == state
    assert int(model.memory["Di.IP"]) & Inputs.MAINS_FAILED
    if servo == 2:
        assert model.memory["WKG.SP"] == pytest.approx(setpoint, abs=2.0)
    if servo == 3:
        assert model.memory["WKG.SP"] == pytest.approx(cooled, abs=2.0)
    write(model, "Ac.ALL", 1)
    assert not int(model.memory["Di.IP"]) & Inputs.MAINS_FAILED


def test_GIVEN_settings_WHEN_the_mains_fail_THEN_only_volatile_ones_are_gone(model):
    write(model, "SP1", 300.0)
    write(model, "SP.RAT", 10.0)
    write(model, "L-R", 1)
    write(model, "Rm.SP", 200.0)
    model.step(MINUTE)
    before = model.furnace.temperature
    model.mains_off()
    model.step(MINUTE)
    assert model.furnace.temperature < before
    model.mains_on()
    model.step(BOOT + 1.0)
    memory = model.memory
    assert (memory["SP1"], memory["L-R"], memory["Rm.SP"]) == (300.0, 1, 0.0)
    assert Status.REMOTE_FAIL in status(model)
    assert memory["WKG.SP"] == pytest.approx(model.furnace.measured, abs=2.0), "the ramp starts from the value"


def test_GIVEN_a_delay_timer_WHEN_the_mains_return_THEN_it_starts_by_itself(model):
    model.memory["TM.CFG"], model.memory["DWELL"] = 2, 100.0
    model.mains_off()
    model.mains_on()
    model.step(BOOT + 1.0)
    assert model.memory["T.STAT"] == 1

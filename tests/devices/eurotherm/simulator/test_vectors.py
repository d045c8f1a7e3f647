"""The simulated controller against the exchanges and status words of the handbook."""

import pytest

from devices.eurotherm.simulator.model import BreakReading, EurothermModel
from devices.eurotherm.simulator.slave import Slave
from tests.devices.eurotherm.vectors import (
    FIVE_FLOATS,
    NEGATIVE,
    NO_DECIMALS,
    POWER_FAILED,
    RATE,
    SENSOR_BREAK,
    TWO_DECIMALS,
    VECTORS,
    Vector,
)


@pytest.fixture
def slave():
    model = EurothermModel()
    model.held = 183.4
    model.memory["SP1"], model.memory["SP2"] = 250.0, 100.0
    model.memory["A-M"], model.memory["MAN.OP"] = 1, 32.5
    model.settle()
    return Slave(model)


def answer(slave: Slave, vector: Vector) -> str | None:
    reply = slave.respond(bytes.fromhex(vector.request))
    return reply.hex(" ").upper() or None


def test_every_exchange_of_the_handbook(slave):
    assert answer(slave, FIVE_FLOATS) == FIVE_FLOATS.reply
    for vector in VECTORS:
        assert answer(slave, vector) == vector.reply, vector.what
    assert slave.model.memory["SP1"] == 250.0, "a broadcast is obeyed"


def test_states_of_the_handbook(slave):
    memory = slave.model.memory
    memory["SP.RAT"] = 5.0
    assert answer(slave, RATE) == RATE.reply
    slave.model.sensor_broken, slave.model.break_reading = True, BreakReading.FROZEN
    slave.model.settle()
    memory["SP.RAT"] = 0.0
    slave.model.settle()
    assert answer(slave, SENSOR_BREAK) == SENSOR_BREAK.reply
    slave.model.sensor_broken = False
    for value, decimals, vector in ((-12.4, 1, NEGATIVE), (183.42, 0, NO_DECIMALS), (183.42, 2, TWO_DECIMALS)):
        slave.model.held, memory["DEC.P"] = value, decimals
        slave.model.settle()
        assert answer(slave, vector) == vector.reply


def test_the_mains_failure_shows_until_it_is_acknowledged(slave):
    slave.model.mains_off()
    assert answer(slave, POWER_FAILED) is None
    slave.model.mains_on()
    assert answer(slave, POWER_FAILED) is None, "it starts for some seconds"
    slave.model.step(5.0)
    assert answer(slave, POWER_FAILED) == POWER_FAILED.reply
    slave.respond(bytes.fromhex("01 06 01 12 00 01 E9 F3"))
    assert answer(slave, POWER_FAILED) != POWER_FAILED.reply

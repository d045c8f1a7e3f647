"""A Modbus device that is a table: forms of numbers, batches, settings, on a pseudo terminal."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devices.errors import OutOfLimits, Refused, ReplyTimeout
from devices.links.modbus import UNITS
from devices.links.modbus_frames import READ, WRITE, WRITE_ONE
from devices.model import Level
from devices.rules.options import MODBUS_UNIT
from devices.simple import Register, modbus_family
from devices.simple.modbus import FORMS, proof_of
from tests.devices.simple.bench import REGISTERS, modbus_device


async def test_registers_that_follow_each_other_are_read_at_once():
    async with modbus_device() as (driver, simulator):
        simulator.received.clear()
        found = await driver.read([name for name in driver.signals() if not name.endswith((".HI", ".LO"))])
        assert {name: reading.value for name, reading in found.items()} == {
            "TEMP": 20.0, "COUNT": 70000, "FLOW": 1.5, "SP": 25.0, "SP.RBV": 25.0,
            "GAIN": 1.0, "GAIN.RBV": 1.0, "MODE": 0, "MODE.RBV": 0,
        }  # fmt: skip
        assert [(frame[1], int.from_bytes(frame[2:4], "big"), frame[5]) for frame in simulator.received] == [
            (READ, 100, 5), (READ, 200, 1), (READ, 300, 3),
        ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "value", "function"),
    [("SP", 40.5, WRITE_ONE), ("SP", -3.2, WRITE_ONE), ("GAIN", 12.25, WRITE), ("MODE", 2, WRITE_ONE)],
)
async def test_a_setting_is_sent_once_and_read_back(name: str, value: float, function: int):
    async with modbus_device() as (driver, simulator):
        found = await driver.write(name, value)
        assert found[f"{name}.RBV"].value == pytest.approx(value)
        assert [frame[1] for frame in simulator.received if frame[1] != READ] == [function]


async def test_limits_and_refusals():
    async with modbus_device(limits={"SP": (0.0, 50.0)}) as (driver, simulator):
        with pytest.raises(OutOfLimits, match="site limit"):
            await driver.write("SP", -5.0)
        simulator.model.set = lambda row, value: False  # type: ignore[method-assign]
        with pytest.raises(Refused, match="value not allowed"):
            await driver.write("SP", 40.0)


async def test_faults_of_the_line():
    async with modbus_device() as (driver, simulator):
        simulator.faults.mute = True
        assert (await driver.write("SP", 40.0))["SP.RBV"].value == 40.0
        simulator.faults.mute, simulator.faults.silent = False, True
        with pytest.raises(ReplyTimeout):
            await driver.read(["TEMP"])
        simulator.faults.silent, simulator.faults.crc = False, True
        assert await driver.read(["TEMP"]) == {}
        assert (await driver.read(["TEMP"]))["TEMP"].level is Level.INVALID
        simulator.faults.crc = False
        await driver.close()
        await driver.connect()
        found = await driver.read(["TEMP"])
        assert (found["TEMP"].value, found["TEMP"].level) == (20.0, Level.OK)


@given(st.sampled_from(sorted(FORMS)), st.booleans(), st.integers(-(2**15), 2**15 - 1))
def test_every_form_gives_back_what_was_written(form: str, swapped: bool, number: int):
    row = Register("X", register=1, form=form, swapped=swapped, whole=True)
    if number < 0 and form.startswith("u"):
        with pytest.raises(ValueError, match="does not fit"):
            row.format(number)
    else:
        assert row.parse(row.format(number)) == number


@given(st.lists(st.integers(0, 0xFFFF), min_size=2, max_size=2), st.sampled_from(sorted(FORMS)))
def test_any_words_are_a_number_or_none(words: list[int], form: str):
    row = Register("X", register=1, form=form)
    value = row.parse(words[: row.words])
    assert value is None or isinstance(value, float)


def test_the_registers_to_get_in_step_with_are_the_longest_run():
    assert proof_of(REGISTERS) == range(100, 105)
    assert proof_of([Register("X", register=7)]) == range(7, 8)


def test_a_site_file_may_have_every_unit_that_the_link_takes():
    assert range(MODBUS_UNIT["minimum"], MODBUS_UNIT["maximum"] + 1) == UNITS


def test_limits_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"X: 40000 does not fit int16"):
        modbus_family(
            type="x", title="X", template="x", rows=[Register("X", register=1, writable=True, limits=(0, 40000))]
        )

"""The table of registers against the handbook: addresses, decimals, rights and wear."""

import math

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from devices.eurotherm.registers import (
    BY_ADDRESS,
    LONGEST_BLOCK,
    REGISTERS,
    Access,
    Form,
    Inputs,
    Scale,
    decimals_in,
    decimals_of,
    firmware_text,
)
from devices.links.modbus_frames import word_from


def test_no_two_registers_share_a_name_or_an_address():
    assert len(BY_ADDRESS) == len(REGISTERS)
    assert len({register.twin for register in REGISTERS.values()}) == len(REGISTERS)


@pytest.mark.parametrize("register", REGISTERS.values(), ids=lambda register: register.name)
def test_every_register_explains_itself(register):
    assert register.help[:1].isupper()
    assert not register.help.endswith(".")
    assert register.help.isascii()
    assert bool(register.labels) == (register.form in (Form.ENUM, Form.FLAG))
    assert not register.nonvolatile or register.access is Access.WRITE
    assert register.twin == 0x8000 + 2 * register.address < 0x10000
    assert register.signed == (register.form not in (Form.BITS, Form.INT))


@pytest.mark.parametrize(
    ("address", "twin", "name"),
    [(1, 0x8002, "PV.IN"), (24, 0x8030, "SP1"), (35, 0x8046, "SP.RAT"), (111, 0x80DE, "SP.HI"), (324, 0x8288, "DWELL"),
     (276, 0x8228, "L-R"), (539, 0x8436, "A4.TYP"), (1280, 0x8A00, "SEG1.DWELL"), (12290, 0xE004, "IN.TYP"),
     (75, 0x8096, "StAt"), (297, 0x8252, "A4.STS"), (1303, 0x8A2E, "SEG8.RATE")],
)  # fmt: skip
def test_addresses_of_the_handbook(address, twin, name):
    assert BY_ADDRESS[address].name == name
    assert REGISTERS[name].twin == twin


def test_who_may_write_what_and_what_wears():
    assert REGISTERS["SP1"].nonvolatile
    assert not REGISTERS["Rm.SP"].nonvolatile
    assert REGISTERS["Rm.SP"].writable
    assert REGISTERS["Ac.ALL"].writable
    assert not REGISTERS["PV.IN"].writable
    assert not REGISTERS["DEC.P"].writable
    assert LONGEST_BLOCK == 32


@pytest.mark.parametrize(
    ("word", "number", "decimals"),
    [(183, 183.42, 0), (1834, 183.42, 1), (18342, 183.42, 2), (0xFF84, -12.4, 1), (12000, 1200.0, 1), (0, 0.0, None),
     (0, 0.004, None), (1834, math.nan, None), (1834, math.inf, None), (1834, 77.0, None)],
)  # fmt: skip
def test_decimals_follow_from_word_and_float(word, number, decimals):
    assert decimals_of(word, number) == decimals


@given(st.floats(-3276.7, 3276.7), st.sampled_from([0, 1, 2]))
def test_decimals_are_never_reported_wrong(number, decimals):
    assume(abs(number) * 10**decimals <= 32767)
    assert decimals_of(word_from(number, decimals), number) in (decimals, None)


@given(st.floats(1.0, 327.0), st.sampled_from([0, 1, 2]))
def test_decimals_are_reported_of_every_value_above_one(number, decimals):
    assert decimals_of(word_from(number, decimals), number) == decimals


def test_decimals_by_scale():
    assert [decimals_in(scale, 1) for scale in Scale] == [1, 2, 1, 0, 0, None]


def test_the_power_failed_bit_is_tested_by_mask():
    assert Inputs.MAINS_FAILED in Inputs(0x85)
    assert Inputs.MAINS_FAILED not in Inputs(0x05)


def test_the_firmware_reads_as_on_the_panel():
    assert firmware_text(0x0213) == "2.13"

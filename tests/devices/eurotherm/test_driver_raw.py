"""Any register of a Eurotherm 3200: guarded reads and writes past the signals, and words for the text interface."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devices.errors import DeviceError, NotReady, OutOfLimits, Refused, ReplyTimeout
from devices.eurotherm.raw import raw_word
from devices.eurotherm.registers import BY_ADDRESS, REGISTERS
from devices.links.modbus_frames import twin_of
from tests.devices.eurotherm.bench import Bench, limited_bench


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    async with limited_bench() as made:
        yield made


async def test_raw_access_is_guarded(bench: Bench):
    assert await bench.driver.raw(1) == 250
    assert await bench.driver.raw(1, None, True) == 25.0
    assert await bench.driver.raw(24, 1000) == 1000
    assert await bench.driver.raw(24, 123.4, True) == pytest.approx(123.4)
    assert bench.driver._memory.wear.counts[24] == 2
    for address, value, reason in (
        (12290, 2, "allow_configuration"),
        (199, 2, "allow_configuration"),
        (199, 7, "calibration"),
        (66, 1, "not a known one"),
        (1, 5, "read only"),
        (0x4001, 1, "permissions"),
        (-1, 1, "permissions"),
        (24, 9500, "above 900"),
        (24, 1.5, "whole number"),
    ):
        with pytest.raises(Refused, match=reason):
            await bench.driver.raw(address, value)
    allowed = Bench(options={"allow_configuration": True})
    await allowed.start()
    assert await allowed.driver.raw(199, 2) == 2
    assert await allowed.driver.raw(525, 2) == 2
    with pytest.raises(Refused, match="calibration"):
        await allowed.driver.raw(199, 7)
    await allowed.driver.close()


@pytest.mark.parametrize("value", [65536, 65536 + 100, -32769, 1e30, float("inf"), float("nan"), 1.5])
async def test_a_raw_value_that_is_no_word_is_refused_and_not_bent(value: float, bench: Bench):
    for address in (24, 332):
        with pytest.raises(Refused):
            await bench.driver.raw(address, value)
    with pytest.raises(ValueError, match=r"number|word"):
        raw_word(value)
    assert bench.link.writes == []


@pytest.mark.parametrize(("register", "value"), [(131, 7), (313, 1), (314, 1)])
async def test_what_loses_the_controller_or_changes_everything_needs_allow_configuration(register: int, value: int):
    async with limited_bench() as bench:
        with pytest.raises(Refused, match="allow_configuration"):
            await bench.driver.raw(register, value)
        assert bench.link.writes == []


async def test_a_raw_write_after_which_the_controller_answers_elsewhere_is_not_called_refused():
    bench = Bench(options={"allow_configuration": True})
    await bench.start()
    good = bench.link.slave.respond

    def respond(frame: bytes) -> bytes:
        reply = good(frame)
        bench.link.slave.unit = int(bench.model.memory["ADDR"])
        return reply

    bench.link.slave.respond = respond  # type: ignore[method-assign]
    with pytest.raises(ReplyTimeout, match="sent, and the controller does not answer any more"):
        await bench.driver.raw(131, 7)
    assert bench.model.memory["ADDR"] == 7
    await bench.driver.close()


async def test_a_negative_raw_word_is_a_negative_number():
    bench = Bench(limits={"TSET": (-100.0, 900.0)})
    bench.model.memory["SP.LO"] = -200.0
    await bench.start()
    assert await bench.driver.raw(24, -500) == -500
    assert bench.model.memory["SP1"] == -50.0
    assert await bench.driver.raw(24, 65536 - 500) == -500
    assert len(bench.link.writes) == 1  # it is there already
    with pytest.raises(OutOfLimits, match="below -100"):
        await bench.driver.raw(24, -1500)
    await bench.driver.close()


async def test_the_float_form_of_a_time_is_seconds_and_of_a_choice_there_is_none(bench: Bench):
    assert await bench.driver.raw(8, None, True) == 300.0
    assert await bench.driver.raw(8, 250.5, True) == 250.5
    assert bench.model.memory["Ti"] == 250.5
    for address in (276, 332, 75):
        with pytest.raises(Refused, match="no float form"):
            await bench.driver.raw(address, None, True)
    with pytest.raises(Refused, match="no float form"):
        await bench.driver.raw(332, 2.0, True)
    assert bench.model.memory["P.CYCL"] == 1


async def test_a_raw_rate_is_held_to_the_limit_of_the_site_in_whatever_unit_it_counts():
    bench = Bench(limits={"RATE": (0.0, 20.0)})
    bench.model.memory["RAMPU"] = 2  # per second
    await bench.start()
    with pytest.raises(OutOfLimits, match="600 C/min is above 20"):
        await bench.driver.raw(35, 10.0, True)
    assert await bench.driver.raw(35, 0.25, True) == 0.25
    await bench.driver.close()


async def test_no_raw_write_before_the_limits_are_known():
    bench = Bench()
    await bench.driver.connect()
    with pytest.raises(NotReady, match="decimal point"):
        await bench.driver.raw(24, 100)
    assert bench.link.writes == []
    await bench.driver.close()


async def test_a_raw_write_whose_answer_is_lost_is_decided_by_reading_back(bench: Bench):
    bench.link.lose_answers_to_writes = True
    assert await bench.driver.raw(24, 1000) == 1000
    bench.link.writes_until_silence = len(bench.link.writes)
    with pytest.raises(ReplyTimeout, match="outcome unknown"):
        await bench.driver.raw(24, 1100)


@given(st.integers(-5, 70000), st.integers(-40000, 70000), st.booleans())
async def test_no_raw_access_can_do_what_is_forbidden(address: int, value: int, as_float: bool):
    bench = Bench()
    await bench.start()
    before = {name: bench.model.memory[name] for name in REGISTERS}
    with suppress(DeviceError):
        await bench.driver.raw(address, value, as_float)
    register = BY_ADDRESS.get(address)
    for request in bench.link.writes:
        assert register is not None
        assert register.writable
        assert request.address in (register.address, register.twin)
    if register is None or not register.writable:
        assert {name: bench.model.memory[name] for name in REGISTERS} == before
    await bench.driver.close()


# ---- words for the text interface


async def test_a_word_that_could_not_be_read_again_and_again_is_none(bench: Bench):
    bench.link.refusal = lambda request: 4 if request.address == twin_of(1) else 0
    for _ in range(3):
        await bench.scan()
    assert bench.driver.word(2) is None


async def test_words_are_those_of_the_wire(bench: Bench):
    await bench.driver.write("TSET", 250.0)
    await bench.driver.write("RATE", 5.0)
    await bench.scan()
    for address in (1, 2, 4, 5, 35, 75, 76, 87, 111, 273, 107):
        (word,) = await bench.link.read_registers(address, 1)
        assert bench.driver.word(address) == word, address
    with pytest.raises(Refused, match="not among"):
        bench.driver.word(66)
    await bench.driver.close()
    assert bench.driver.word(1) is None


async def test_a_word_to_set_becomes_a_signal(bench: Bench):
    assert bench.driver.setting_at(2, 2500) == ("TSET", 250.0)
    assert bench.driver.setting_at(35, 500) == ("RATE", 5.0)
    assert bench.driver.setting_at(273, 1) == ("MODE", 1)
    assert bench.driver.setting_at(320, 10) == ("TMR.TYPE", 4)
    assert bench.driver.setting_at(274, 1) == ("ACK.CMD", 1)
    assert bench.driver.setting_at(23, 1) == ("TMR.RUN.CMD", 1)
    assert bench.driver.setting_at(332, 3) == ("TMR.CYCLES", 3)
    for address, word in ((1, 5), (66, 1), (273, 7), (274, 0)):
        with pytest.raises(Refused):
            bench.driver.setting_at(address, word)

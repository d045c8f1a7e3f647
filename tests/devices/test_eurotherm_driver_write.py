"""Puts to a Eurotherm 3200: limits, refusals, lost answers, care for the memory, remote setpoint, any register."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from devices.errors import DeviceError, LinkDown, NotReady, OutOfLimits, Refused, ReplyTimeout
from devices.eurotherm_catalogue import QUANTITIES, SETTINGS
from devices.eurotherm_registers import BY_ADDRESS, REGISTERS
from devices.modbus_frames import READ, ModbusRefusal, Request
from devices.model import Kind, Level
from tests.devices.eurotherm_bench import FAST, Bench


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    made = Bench(limits={"TSET": (0.0, 900.0)})
    await made.start()
    yield made
    await made.driver.close()


async def test_a_target_is_written_as_float_and_read_back(bench: Bench):
    found = await bench.driver.write("TSET", 250.25)
    assert bench.model.memory["SP1"] == 250.25
    assert (found["TSET"].value, found["TSET.RBV"].value, found["SP1.RBV"].value) == (250.25, 250.25, 250.25)
    assert (await bench.scan())["TSET.RBV"].level is Level.OK
    assert len(bench.link.writes) == 1


@pytest.mark.parametrize("name", [name for name, row in SETTINGS.items() if row.kind is not Kind.ENUM])
async def test_every_number_can_be_set_within_its_limits(name: str, bench: Bench):
    if name == "MOUT":
        await bench.driver.write("MODE", 1)
    limits = bench.driver.limits(name)
    assert limits is not None
    value = round(max(limits.low, min(limits.high, 5.0)))
    found = await bench.driver.write(name, value)
    assert found[name].value == found[f"{name}.RBV"].value == value
    with pytest.raises(OutOfLimits, match=rf"{name}.*above"):
        await bench.driver.write(name, limits.high + 1.0)
    with pytest.raises(OutOfLimits, match=rf"{name}.*below"):
        await bench.driver.write(name, limits.low - 1.0)
    with pytest.raises(OutOfLimits, match="not a number"):
        await bench.driver.write(name, float("nan"))


@pytest.mark.parametrize("name", [name for name, row in SETTINGS.items() if row.labels])
async def test_every_choice_can_be_set(name: str, bench: Bench):
    for index in reversed(range(len(SETTINGS[name].labels))):
        if (name, index) == ("OPMODE", 2):
            with pytest.raises(Refused, match="configuration mode"):
                await bench.driver.write(name, index)
            continue
        found = await bench.driver.write(name, index)
        assert found[name].value == found[f"{name}.RBV"].value == index
        assert bench.model.memory[SETTINGS[name].register] == QUANTITIES[name].codes[index]
    with pytest.raises(OutOfLimits):
        await bench.driver.write(name, 99)


async def test_limits_are_the_tighter_ones(bench: Bench):
    limits = bench.driver.limits("TSET")
    assert limits is not None
    assert (limits.low, limits.high, limits.high_from) == (0.0, 900.0, "site")
    await bench.driver.write("SPMAX", 500.0)
    with pytest.raises(OutOfLimits, match=r"TSET 600 C is above 500 C \(instrument SP.HI\)"):
        await bench.driver.write("TSET", 600.0)
    assert bench.driver.limits("SEG1.TARGET") == bench.driver.limits("TSET")


async def test_what_the_instrument_has_already_is_not_written(bench: Bench):
    await bench.driver.write("TSET", 250.0)
    await bench.driver.write("TSET", 250.0)
    assert len(bench.link.writes) == 1
    assert bench.model.memory.wear["SP1"] == 1


async def test_a_refusal_says_why(bench: Bench):
    bench.model.memory["RNG.HI"] = 1372.0
    with pytest.raises(Refused, match=r"PB: controller refused: value not allowed.*code 03"):
        await bench.driver.write("PB", 5000.0)
    for name, value, reason in (
        ("TEMP", 1.0, "cannot be set"),
        ("NONSENSE", 1.0, "cannot be set"),
        ("MOUT", 10.0, "in automatic"),
        ("TMR.RUN.CMD", 1, "not in use"),
    ):
        with pytest.raises(Refused, match=reason):
            await bench.driver.write(name, value)


async def test_nothing_is_written_before_it_was_read():
    bench = Bench()
    await bench.driver.connect()
    with pytest.raises(NotReady):
        await bench.driver.write("TSET", 10.0)
    await bench.driver.close()


async def test_readonly_means_nothing_is_written_but_the_own_latch_may_be_cleared():
    bench = Bench(readonly=True)
    await bench.start()
    for name, row in QUANTITIES.items():
        if row.settable and name != "PWR.ACK.CMD":
            with pytest.raises(Refused, match="switched off"):
                await bench.driver.write(name, 1)
    with pytest.raises(Refused, match="switched off"):
        await bench.driver.raw(24, 10)
    await bench.driver.write("PWR.ACK.CMD", 1)
    assert bench.link.writes == []
    await bench.driver.close()


async def test_a_lost_answer_is_decided_by_reading_back(bench: Bench):
    bench.link.lose_answers_to_writes = True
    assert (await bench.driver.write("TSET", 250.0))["TSET.RBV"].value == 250.0
    bench.link.lose_answers_to_writes, bench.link.lose_writes = False, True
    with pytest.raises(Refused, match="no answer, and the controller reads back 250"):
        await bench.driver.write("TSET", 260.0)
    assert len([write for write in bench.link.writes if write.address == REGISTERS["TG.SP"].twin]) == 2


async def test_an_outcome_that_can_not_be_learnt_is_told_as_such(bench: Bench):
    bench.link.lose_answers_to_writes = True
    good = bench.link.read_registers

    async def until_written(start: int, count: int) -> tuple[int, ...]:
        if bench.link.writes:
            raise ReplyTimeout("no reply")
        return await good(start, count)

    bench.link.read_registers = until_written  # type: ignore[method-assign]
    with pytest.raises(ReplyTimeout, match="outcome unknown"):
        await bench.driver.write("TSET", 250.0)


async def test_without_a_line_nothing_is_sent(bench: Bench):
    bench.link.plugged = False
    with pytest.raises(LinkDown, match="nothing was sent"):
        await bench.driver.write("TSET", 250.0)
    assert bench.link.writes == []


async def test_a_value_that_the_instrument_clips_is_a_refusal(bench: Bench):
    good = bench.model.memory.store
    bench.model.memory.store = lambda register, value: good(register, min(value, 100.0))  # type: ignore[method-assign]
    with pytest.raises(Refused, match="answered OK but reads back 100"):
        await bench.driver.write("TSET", 250.0)


# ---- care for the memory


async def test_writes_are_counted_for_ever_and_limited_per_hour(tmp_path: Path):
    bench = Bench(tmp_path, options={"writes_per_hour": 5})
    await bench.start()
    for n in range(5):
        found = await bench.driver.write("TSET", 100.0 + n)
    assert (found["WRITES"].value, found["WRITES"].level) == (5, Level.OK)
    with pytest.raises(Refused, match=r"wears out the memory.*possible again in 60 min"):
        await bench.driver.write("TSET", 200.0)
    found = await bench.scan()
    assert (found["WRITES"].value, found["WRITES"].level) == (5, Level.MINOR)
    assert "TG.SP (2) 5" in str(found["WRITES.MSG"].value)
    await bench.driver.write("SAFE.CMD", 1)  # safety is not a question of wear
    await bench.driver.write("SP2", 200.0)
    bench.let_pass(3700.0)
    await bench.driver.write("TSET", 200.0)
    await bench.driver.close()
    bench.driver = bench.new_driver()
    assert (await bench.start())["WRITES"].value == 8
    await bench.driver.close()


async def test_many_writes_are_an_alarm(bench: Bench):
    bench.driver._memory.wear.counts[2] = 50_001
    assert (await bench.scan())["WRITES"].level is Level.MINOR
    bench.driver._memory.wear.counts[2] = 95_000
    assert (await bench.scan())["WRITES.MAX"].level is Level.MAJOR


# ---- the remote setpoint


async def settle() -> None:
    for _ in range(50):
        await asyncio.sleep(0)


async def test_in_remote_the_target_goes_to_the_volatile_setpoint_and_is_repeated(bench: Bench):
    await bench.driver.write("TSET", 100.0)
    await bench.driver.write("REMOTE", 1)
    wear = dict(bench.model.memory.wear)
    for n in range(60):
        found = await bench.driver.write("TSET", 200.0 + n)
        assert found["TSET.RBV"].value == 200.0 + n
    assert dict(bench.model.memory.wear) == wear
    for _ in range(20):
        bench.let_pass(1.0)
        await settle()
    found = await bench.scan(0.1)
    assert (found["STAT.RSPFAIL"].value, found["TWORK"].value, found["TSET.RBV"].value) == (0, 259.0, 259.0)
    assert bench.model.memory["SP1"] == 100.0
    await bench.driver.write("REMOTE", 0)
    assert await bench.value("TSET") == 100.0
    writes = len(bench.link.writes)
    bench.let_pass(10.0)
    await settle()
    assert len(bench.link.writes) == writes


async def test_nothing_is_repeated_after_a_reconnection(bench: Bench):
    await bench.driver.write("REMOTE", 1)
    await bench.driver.write("TSET", 200.0)
    await bench.driver.close()
    writes = len(bench.link.writes)
    await bench.start()
    for _ in range(10):
        found = await bench.scan()
        await settle()
    assert len(bench.link.writes) == writes
    assert found["STAT.RSPFAIL"].value == 1
    assert found["TSET.RBV"].value == 0.0  # the local setpoint is in force
    await bench.driver.write("TSET", 210.0)
    assert (await bench.scan())["STAT.RSPFAIL"].value == 0


async def test_turned_to_local_at_the_panel_nothing_is_repeated(bench: Bench):
    await bench.driver.write("REMOTE", 1)
    bench.model.memory["L-R"] = 0
    await bench.run(12.0)
    await settle()
    assert not bench.driver._writer.keeper.holding


@pytest.mark.parametrize(("register", "value"), [("VERSION", 0x0109), ("SP1", 77.0)])
async def test_register_26_is_left_alone_where_it_may_be_something_else(register: str, value: float):
    bench = Bench()
    bench.model.memory[register] = value
    if register == "SP1":  # an indicator has no setpoints that agree with each other
        bench.model.memory["SP.SEL"] = 0
        good = bench.link.slave.model.memory.twin
        bench.link.slave.model.memory.twin = (  # type: ignore[method-assign]
            lambda row: (0x4000, 0) if row.name == "TG.SP" else good(row)
        )
    await bench.start()
    for name, number in (("REMOTE", 1.0), ("RSP", 5.0)):
        with pytest.raises(Refused, match="remote setpoint"):
            await bench.driver.write(name, number)
    assert bench.link.writes == []
    await bench.driver.close()


# ---- commands


async def test_timer_run_hold_reset(bench: Bench):
    await bench.driver.write("TMR.TYPE", 1)
    await bench.driver.write("TMR.DWELL", 600.0)
    assert (await bench.driver.write("TMR.RUN.CMD", 1))["TMR.STATE"].value == 1
    bench.let_pass(60.0)
    found = await bench.driver.write("TMR.HOLD.CMD", 1)
    assert (found["TMR.STATE"].value, found["TMR.LEFT"].value) == (2, 540.0)
    assert (await bench.driver.write("TMR.RESET.CMD", 1))["TMR.STATE"].value == 0
    assert (await bench.driver.write("TMR.RUN.CMD", 0))["TMR.RUN.CMD"].value == 0
    assert bench.model.memory["T.STAT"] == 0


async def test_acknowledge_is_the_operators_alone(bench: Bench):
    bench.model.mains_off()
    bench.model.mains_on()
    bench.let_pass(10.0)
    found = await bench.run(30.0)
    assert found["STAT.MAINS"].value == 1
    assert bench.link.writes == []
    assert (await bench.driver.write("ACK.CMD", 1))["STAT.MAINS"].value == 0


async def test_safe_says_when_it_does_not_help(bench: Bench):
    await bench.driver.write("TSET", 500.0)
    await bench.driver.write("SAFE.CMD", 1)
    assert bench.model.memory["SP1"] == 20.0
    await bench.driver.write("MODE", 1)
    await bench.scan()
    with pytest.raises(Refused, match="in manual"):
        await bench.driver.write("SAFE.CMD", 1)
    await bench.driver.write("MODE", 0)
    await bench.driver.write("TMR.TYPE", 1)
    await bench.driver.write("TMR.DWELL", 600.0)
    await bench.driver.write("TMR.RUN.CMD", 1)
    with pytest.raises(Refused, match="timer or programmer is running"):
        await bench.driver.write("SAFE.CMD", 1)


# ---- any register


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
            await bench.driver._unit.write_raw(address, value, False)
    assert bench.link.writes == []


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
    with pytest.raises(NotReady):
        await bench.driver.raw(24, 100)
    assert bench.link.writes == []
    await bench.driver.close()


async def test_a_raw_write_whose_answer_is_lost_is_decided_by_reading_back(bench: Bench):
    bench.link.lose_answers_to_writes = True
    assert await bench.driver.raw(24, 1000) == 1000
    good = bench.link.read_registers
    written = len(bench.link.writes)

    async def until_written(start: int, count: int) -> tuple[int, ...]:
        if len(bench.link.writes) > written:
            raise ReplyTimeout("no reply")
        return await good(start, count)

    bench.link.read_registers = until_written  # type: ignore[method-assign]
    with pytest.raises(ReplyTimeout, match="outcome unknown"):
        await bench.driver.raw(24, 1100)


@settings(max_examples=60, deadline=None)
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
    bench.link.error = ModbusRefusal(Request(1, READ, 1), 4)
    for _ in range(3):
        await bench.scan()
    assert bench.driver.word(2) is None


async def test_a_timer_in_a_state_that_nobody_knows_is_told(bench: Bench):
    await bench.driver.write("TMR.TYPE", 1)
    good = bench.link.slave._word
    bench.link.slave._word = lambda at: 9 if at == 23 else good(at)  # type: ignore[method-assign]
    with pytest.raises(Refused, match=r"unknown state \(9"):
        await bench.driver.write("TMR.RUN.CMD", 1)


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


async def test_fast_scans_go_on_beside_puts(bench: Bench):
    async def put() -> None:
        for n in range(10):
            await bench.driver.write("TSET", 100.0 + n)

    async with asyncio.TaskGroup() as group:
        group.create_task(put())
        for _ in range(20):
            assert (await bench.driver.read(FAST))["TEMP"].value == pytest.approx(25.0, abs=1.0)

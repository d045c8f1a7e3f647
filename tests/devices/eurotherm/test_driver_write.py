"""Puts to a Eurotherm 3200: limits, refusals, lost answers, care for the memory, remote setpoint, commands."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from devices.errors import LinkDown, OutOfLimits, Refused, ReplyTimeout, TakenOtherwise, Withdrawn
from devices.eurotherm.catalogue import QUANTITIES, SETTINGS
from devices.eurotherm.registers import REGISTERS
from devices.links.modbus_frames import READ
from devices.model import Kind, Level
from devices.permit import Permit
from tests.devices.eurotherm.bench import FAST, Bench, limited_bench


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    async with limited_bench() as made:
        yield made


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


async def test_what_a_put_depends_on_is_read_before_anything_is_written():
    bench = Bench(limits={"TSET": (0.0, 900.0)})
    await bench.driver.connect()
    with pytest.raises(OutOfLimits, match="site"):
        await bench.driver.write("TSET", 1000.0)
    bench.model.memory["SP.HI"] = 500.0
    with pytest.raises(OutOfLimits, match=r"above 500 C \(instrument SP.HI\)"):
        await bench.driver.write("TSET", 600.0)
    assert bench.link.writes == []
    await bench.driver.write("TSET", 10.0)
    assert bench.model.memory["SP1"] == 10.0
    await bench.driver.close()


async def test_readonly_means_nothing_is_written_but_the_own_latch_may_be_cleared():
    bench = Bench(readonly=True)
    await bench.start()
    for name, row in QUANTITIES.items():
        if row.settable and name != "PWR.ACK.CMD":
            with pytest.raises(Refused, match="readonly = true"):
                await bench.driver.write(name, 1)
    with pytest.raises(Refused, match="readonly = true"):
        await bench.driver.raw(24, 10)
    await bench.driver.write("PWR.ACK.CMD", 1)
    assert bench.link.writes == []
    await bench.driver.close()


async def test_a_lost_answer_is_decided_by_reading_back(bench: Bench):
    bench.link.lose_answers_to_writes = True
    assert (await bench.driver.write("TSET", 250.0))["TSET.RBV"].value == 250.0
    bench.link.lose_answers_to_writes, bench.link.lose_writes = False, True
    with pytest.raises(Refused, match="gave no answer and reads back 250"):
        await bench.driver.write("TSET", 260.0)
    assert len([write for write in bench.link.writes if write.address == REGISTERS["TG.SP"].twin]) == 2


@pytest.mark.parametrize("writes", [0, 1], ids=["of the limits", "of the read-back"])
async def test_what_is_not_answered_once_is_asked_for_again(bench: Bench, writes: int):
    codes = iter([6])
    bench.link.refusal = lambda one: next(codes, 0) if one.function == READ and len(bench.link.writes) == writes else 0
    await bench.driver.write("TSET", 250.0)
    assert next(codes, None) is None
    assert (bench.model.memory["SP1"], len(bench.link.writes)) == (250.0, 1)


async def test_an_outcome_that_can_not_be_learnt_is_reported_as_such(bench: Bench):
    bench.link.lose_answers_to_writes = True
    bench.link.writes_until_silence = 0
    with pytest.raises(ReplyTimeout, match="outcome unknown"):
        await bench.driver.write("TSET", 250.0)


async def test_without_a_line_nothing_is_sent(bench: Bench):
    bench.link.plugged = False
    with pytest.raises(LinkDown, match="nothing was sent"):
        await bench.driver.write("TSET", 250.0)
    assert bench.link.writes == []


async def test_a_line_that_is_lost_behind_the_write_and_stays_lost_leaves_the_outcome_unknown(bench: Bench):
    good = bench.link.write_float

    async def write_and_go(address: int, number: float) -> None:
        await good(address, number)
        bench.link.plugged = bench.link.connected = False
        raise LinkDown("port: lost: Input/output error")

    bench.link.write_float = write_and_go  # type: ignore[method-assign]
    with pytest.raises(ReplyTimeout, match="TSET: outcome unknown, port: lost: Input/output error"):
        await bench.driver.write("TSET", 250.0)
    await bench.driver.close()
    bench.link.plugged = True
    await bench.start()
    assert "TSET 250 C, whose outcome was unknown, has come true" in bench.driver.stats.late


async def test_a_value_that_the_instrument_clips_is_a_refusal(bench: Bench):
    good = bench.model.memory.store
    bench.model.memory.store = lambda register, value: good(register, min(value, 100.0))  # type: ignore[method-assign]
    with pytest.raises(TakenOtherwise, match="the controller took 100 C instead of 250 C"):
        await bench.driver.write("TSET", 250.0)
    shown = await bench.scan(names=["TSET", "TSET.RBV"])
    assert {name: (one.value, one.level) for name, one in shown.items() if name.startswith("TSET")} == {
        "TSET": (100.0, Level.MINOR),
        "TSET.RBV": (100.0, Level.MINOR),
    }


@pytest.mark.parametrize(("name", "value", "text"), [("TSET", 250.0, "TSET 250 C"), ("MODE", 1, "MODE MANUAL"),
                                                     ("CTLOW", 3.0, "CTLOW 3 A")])  # fmt: skip
async def test_a_write_whose_outcome_was_unknown_and_that_comes_true_is_shown(
    bench: Bench, name: str, value: float, text: str
):
    """As behind a serial device server that keeps what it has got, and delivers it when the line is there again."""
    register = REGISTERS[SETTINGS[name].register].name
    bench.link.lose_writes = True
    bench.link.writes_until_silence = 0
    with pytest.raises(ReplyTimeout, match="outcome unknown"):
        await bench.driver.write(name, value)
    bench.link.writes_until_silence = None
    await bench.driver.close()
    bench.model.memory["SP1" if register == "TG.SP" else register] = value
    bench.model.settle()
    await bench.start()
    shown = await bench.scan(names=[name, f"{name}.RBV"])
    assert [(shown[one].value, shown[one].level) for one in (name, f"{name}.RBV")] == [(value, Level.MINOR)] * 2
    assert f"{text}, whose outcome was unknown, has come true" in bench.driver.stats.late
    bench.link.lose_writes = False
    await bench.driver.write(name, value)
    assert (await bench.scan(names=[name]))[name].level is Level.OK


async def test_a_put_that_is_withdrawn_does_not_take_the_value_that_the_instrument_has_already(bench: Bench):
    before = await bench.value("TSET")
    bench.model.memory["SP1"] = 250.0
    bench.model.settle()
    withdrawn = Permit()
    withdrawn.withdraw("the client gave up")
    put = asyncio.create_task(bench.driver.write("TSET", 250.0), context=withdrawn.context())
    with pytest.raises(Withdrawn, match="the client gave up"):
        await put
    assert (await bench.scan(names=["TSET"]))["TSET"].value == before


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


async def test_the_alarm_of_too_many_writes_lasts_an_hour_whatever_the_clock_of_the_computer_does():
    bench = Bench(options={"writes_per_hour": 1})
    await bench.start()
    await bench.driver.write("TSET", 100.0)
    with pytest.raises(Refused, match="wears out the memory"):
        await bench.driver.write("TSET", 200.0)
    bench.wrong = 1e6
    assert (await bench.scan(3590.0))["WRITES"].level is Level.MINOR
    assert (await bench.scan(20.0))["WRITES"].level is Level.OK
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


async def test_a_timer_in_a_state_that_is_not_known_is_reported(bench: Bench):
    await bench.driver.write("TMR.TYPE", 1)
    good = bench.link.slave._word
    bench.link.slave._word = lambda at: 9 if at == 23 else good(at)  # type: ignore[method-assign]
    with pytest.raises(Refused, match=r"unknown state \(9"):
        await bench.driver.write("TMR.RUN.CMD", 1)


async def test_fast_scans_go_on_beside_puts(bench: Bench):
    async def put() -> None:
        for n in range(10):
            await bench.driver.write("TSET", 100.0 + n)

    async with asyncio.TaskGroup() as group:
        group.create_task(put())
        for _ in range(20):
            assert (await bench.driver.read(FAST))["TEMP"].value == pytest.approx(25.0, abs=1.0)

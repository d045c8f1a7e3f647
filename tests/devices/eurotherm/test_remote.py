"""The remote setpoint of a Eurotherm 3200: what repeats it, what ends that, and that nothing jumps."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from devices.errors import OutOfLimits, Refused, ReplyTimeout, TakenOtherwise
from devices.model import Level, WriteGuard
from tests.devices.eurotherm.bench import Bench

WHY = "LAB:IOC:ARMED is 0"


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    made = Bench(limits={"TSET": (0.0, 900.0)})
    await made.start()
    yield made
    await made.driver.close()


async def settle() -> None:
    for _ in range(50):
        await asyncio.sleep(0)


async def let_pass(bench: Bench, seconds: float) -> None:
    """Let time pass in small steps, so that what waits for it acts in between."""
    for _ in range(round(2 * seconds)):
        bench.let_pass(0.5)
        await settle()


async def hold(bench: Bench, local: float = 100.0, remote: float = 500.0) -> None:
    """Let the controller follow a remote setpoint."""
    await bench.driver.write("TSET", local)
    await bench.driver.write("REMOTE", 1)
    await bench.driver.write("TSET", remote)
    await let_pass(bench, 10.0)
    assert (await bench.scan(0.1))["TWORK"].value == remote


# ---- writes that are forbidden


async def test_when_writes_are_forbidden_nothing_is_sent_and_COMM_MSG_can_say_why(bench: Bench):
    await hold(bench)
    assert isinstance(bench.driver, WriteGuard)
    await bench.driver.forbid_writes(WHY)
    writes = len(bench.link.writes)
    assert bench.driver.stats.last_error == f"remote setpoint not refreshed: {WHY}"
    await let_pass(bench, 10.0)
    assert len(bench.link.writes) == writes
    found = await bench.scan(0.1)
    assert (found["STAT.RSPFAIL"].value, found["TWORK"].value, found["TSET.RBV"].value) == (1, 100.0, 100.0)
    for name, value in (("TSET", 200.0), ("SAFE.CMD", 1), ("REMOTE", 0), ("ACK.CMD", 1), ("PB", 50.0)):
        with pytest.raises(Refused, match=f"nothing was sent: {WHY}"):
            await bench.driver.write(name, value)
    with pytest.raises(Refused, match=f"nothing was sent: {WHY}"):
        await bench.driver.raw(24, 1500)
    assert len(bench.link.writes) == writes


async def test_allowing_writes_again_moves_nothing_until_a_put(bench: Bench):
    await hold(bench)
    await bench.driver.forbid_writes(WHY)
    await let_pass(bench, 3.0)
    bench.driver.permit_writes()
    writes = len(bench.link.writes)
    await let_pass(bench, 20.0)
    assert len(bench.link.writes) == writes
    message = bench.driver.stats.last_error
    assert message == f"remote setpoint not refreshed until TSET is put again (ended by: {WHY})"
    assert (await bench.scan(0.1))["TWORK"].value == 100.0
    await bench.driver.write("TSET", 300.0)
    await let_pass(bench, 10.0)
    found = await bench.scan(0.1)
    assert (found["STAT.RSPFAIL"].value, found["TWORK"].value) == (0, 300.0)


async def test_a_refresh_on_its_way_is_awaited_when_writes_are_forbidden(bench: Bench):
    async with bench.driver._writer.keeper._refreshing:
        forbidding = asyncio.create_task(bench.driver.forbid_writes(WHY))
        await settle()
        assert not forbidding.done()  # it returns when nothing is under way any more
    await forbidding
    with pytest.raises(Refused, match="nothing was sent"):
        await bench.driver.write("TSET", 200.0)
    assert bench.link.writes == []


async def test_forbidden_writes_stay_forbidden_over_a_reconnection(bench: Bench):
    await bench.driver.forbid_writes(WHY)
    await bench.driver.close()
    await bench.start()
    with pytest.raises(Refused, match="nothing was sent"):
        await bench.driver.write("TSET", 200.0)
    assert bench.link.writes == []


async def test_without_a_remote_setpoint_there_is_nothing_to_tell(bench: Bench):
    await bench.driver.forbid_writes(WHY)
    bench.driver.permit_writes()
    assert bench.driver.stats.last_error == ""


# ---- the repetition


async def test_a_put_and_a_repetition_never_cross(bench: Bench):
    """A repetition on its way while a new setpoint is put must not bring the old one back after it."""
    await hold(bench)
    good, gate = bench.link.write_float, asyncio.Event()

    async def slow(address: int, number: float) -> None:
        if number == 500.0:
            await gate.wait()
        await good(address, number)

    bench.link.write_float = slow  # type: ignore[method-assign]
    bench.let_pass(1.6)
    await settle()  # the repetition hangs
    put = asyncio.create_task(bench.driver.write("TSET", 600.0))
    await settle()
    gate.set()
    await put
    await settle()
    assert bench.model.memory["Rm.SP"] == 600.0


async def test_a_repetition_that_got_lost_is_made_good_before_the_controller_gives_up(bench: Bench):
    await hold(bench)
    bench.link.lose_writes = True
    bench.let_pass(1.6)
    await settle()
    bench.link.lose_writes, bench.model.memory["Rm.SP"] = False, 0.0
    bench.let_pass(0.5)
    await settle()
    assert bench.model.memory["Rm.SP"] == 500.0


async def test_a_repetition_that_is_refused_is_reported_once(bench: Bench, caplog: pytest.LogCaptureFixture):
    await hold(bench)
    bench.model.memory["SP.HI"] = 400.0
    caplog.clear()
    await let_pass(bench, 10.0)
    assert "remote setpoint not refreshed" in bench.driver.stats.last_error
    assert len([record for record in caplog.records if "not refreshed" in record.message]) == 1


async def test_after_a_reconnection_COMM_MSG_can_say_that_the_setpoint_is_not_repeated(bench: Bench):
    await hold(bench)
    bench.link.plugged = False
    await bench.lose()
    bench.link.plugged = True
    await bench.start()
    assert "not refreshed until TSET is put again" in bench.driver.stats.last_error


# ---- nothing jumps


async def test_choosing_remote_again_keeps_the_remote_setpoint(bench: Bench):
    await hold(bench, 100.0, 500.0)
    found = await bench.driver.write("REMOTE", 1)
    assert bench.model.memory["Rm.SP"] == 500.0
    assert found["TSET"].value == found["TSET.RBV"].value == 500.0


async def test_choosing_remote_again_after_a_fall_back_keeps_the_local_one(bench: Bench):
    await hold(bench, 100.0, 500.0)
    await bench.driver.close()
    await bench.start()
    await let_pass(bench, 10.0)
    await bench.scan(0.1)
    await bench.driver.write("REMOTE", 1)
    assert bench.model.memory["Rm.SP"] == 100.0
    await let_pass(bench, 10.0)
    found = await bench.scan(0.1)
    assert (found["STAT.RSPFAIL"].value, found["TWORK"].value) == (0, 100.0)


async def test_the_same_remote_setpoint_put_again_is_sent_again(bench: Bench):
    """After the controller has given up, register 26 may still hold the value; only writing it brings it back."""
    await hold(bench, 100.0, 500.0)
    await bench.driver.close()
    await bench.start()
    await let_pass(bench, 10.0)
    await bench.scan(0.1)
    found = await bench.driver.write("TSET", 500.0)
    assert found["TSET.RBV"].value == 500.0
    assert (await bench.scan(0.1))["STAT.RSPFAIL"].value == 0


async def test_turned_to_local_at_the_panel_a_put_goes_to_the_local_setpoint_at_once(bench: Bench):
    await hold(bench, 100.0, 500.0)
    bench.model.memory["L-R"] = 0
    found = await bench.driver.write("TSET", 300.0)
    assert bench.model.memory["SP1"] == 300.0
    assert found["TSET.RBV"].value == 300.0
    await settle()


async def test_turned_to_remote_at_the_panel_a_put_spares_the_memory_at_once(bench: Bench):
    await bench.driver.write("TSET", 100.0)
    bench.model.memory["L-R"] = 1
    await bench.driver.write("TSET", 300.0)
    assert (bench.model.memory["SP1"], bench.model.memory["Rm.SP"]) == (100.0, 300.0)


async def test_a_trim_changed_at_the_panel_counts_at_once(bench: Bench):
    await hold(bench, 100.0, 500.0)
    bench.model.memory["LOC.t"] = 20.0
    await bench.driver.write("TSET", 600.0)
    assert (await bench.scan(0.1))["TWORK"].value == 600.0


async def test_the_trim_can_not_carry_the_setpoint_past_the_limit_of_the_site(bench: Bench):
    await hold(bench, 100.0, 500.0)
    await bench.driver.write("RSPTRIM", 50.0)
    assert await bench.value("TSET") == 550.0
    with pytest.raises(OutOfLimits, match="900"):
        await bench.driver.write("RSP", 870.0)
    await bench.driver.write("RSP", 840.0)
    with pytest.raises(OutOfLimits, match="900"):
        await bench.driver.write("RSPTRIM", 100.0)
    for register, value in ((27, 1000), (26, 8700)):
        with pytest.raises(OutOfLimits, match="900"):
            await bench.driver.raw(register, value)
    assert bench.model.memory["LOC.t"] == 50.0


async def test_a_clipped_remote_setpoint_is_shown_with_its_trim_and_without_touching_REMOTE(bench: Bench):
    await hold(bench, 100.0, 500.0)
    bench.model.memory["LOC.t"] = 20.0
    good = bench.model.memory.store
    bench.model.memory.store = (  # type: ignore[method-assign]
        lambda register, value: good(register, min(value, 580.0) if register.name == "Rm.SP" else value)
    )
    with pytest.raises(TakenOtherwise, match="TSET: the controller took 600 C instead of 700 C"):
        await bench.driver.write("TSET", 700.0)
    shown = await bench.scan(names=["TSET", "REMOTE"])
    assert (shown["TSET"].value, shown["TSET"].level) == (600.0, Level.MINOR)
    await bench.driver.write("REMOTE", 0)
    bench.model.memory["SP1"] = 700.0
    bench.model.settle()
    with pytest.raises(Refused, match="REMOTE 680: the controller answered OK but reads back 580"):
        await bench.driver.write("REMOTE", 1)
    shown = await bench.scan(names=["REMOTE"])
    assert (shown["REMOTE"].value, shown["REMOTE"].level) == (0, Level.OK)


async def test_a_refused_change_to_local_goes_on_repeating(bench: Bench):
    await hold(bench, 100.0, 500.0)
    good = bench.model.memory.store
    bench.model.memory.store = (  # type: ignore[method-assign]
        lambda register, value: good(register, 1.0 if register.name == "L-R" else value)
    )
    with pytest.raises(Refused, match="reads back REMOTE"):
        await bench.driver.write("REMOTE", 0)
    await let_pass(bench, 10.0)
    assert (await bench.scan(0.1))["TWORK"].value == 500.0


async def test_safe_holds_when_the_remote_setpoint_is_lost_later(bench: Bench):
    await hold(bench, 800.0, 500.0)
    await bench.driver.write("SAFE.CMD", 1)
    assert (await bench.scan(0.1))["TWORK"].value == 20.0
    await bench.driver.forbid_writes(WHY)
    await let_pass(bench, 10.0)
    assert (await bench.scan(0.1))["TWORK"].value == 20.0


async def test_a_raw_write_to_the_remote_setpoint_is_the_one_that_is_repeated(bench: Bench):
    await hold(bench, 100.0, 500.0)
    await bench.driver.raw(26, 6000)
    await let_pass(bench, 10.0)
    assert bench.model.memory["Rm.SP"] == 600.0
    await bench.driver.raw(26, 610.5, True)
    await let_pass(bench, 10.0)
    assert bench.model.memory["Rm.SP"] == 610.5


async def test_a_put_that_was_confirmed_is_not_called_failed_for_what_is_read_after_it(bench: Bench):
    good = bench.link.read_registers

    async def reads(start: int, count: int) -> tuple[int, ...]:
        if bench.link.writes and count > 2:  # the registers that may have changed with it
            raise ReplyTimeout("no reply")
        return await good(start, count)

    bench.link.read_registers = reads  # type: ignore[method-assign]
    found = await bench.driver.write("TSET", 250.0)
    assert (found["TSET"].value, found["TSET.RBV"].value) == (250.0, 250.0)

"""SAFE:CMD of a Eurotherm 3200: the furnace is safe after it, or an alarm tells what is not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from devices.errors import DeviceError, Refused, Withdrawn
from devices.eurotherm.furnace import DONE, GOING, INCOMPLETE, NONE
from devices.links.modbus_frames import READ, Request, twin_of
from devices.model import Level, Value
from devices.permit import Permit, current
from tests.devices.eurotherm.bench import Bench

SAFE = 20.0


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    """A furnace at 600 C."""
    made = Bench(options={"safe_temperature": SAFE})
    made.model.memory["SP1"] = 600.0
    made.model.furnace.temperature = made.model.furnace.measured = 600.0
    made.model.step(120.0)
    await made.start()
    yield made
    await made.driver.close()


def refuse_writes(bench: Bench, *addresses: int) -> None:
    bench.link.refusal = lambda request: 3 if request.function != READ and request.address in addresses else 0


async def go(bench: Bench) -> str:
    """Send SAFE:CMD; return the reason when it could not be completed."""
    refusal: Refused | None = None
    try:
        found = await bench.driver.write("SAFE.CMD", 1)
    except Refused as error:
        refusal = error
    if refusal is not None:
        assert refusal.readings["SAFE.STATE"].value == INCOMPLETE
        assert refusal.readings["SAFE.STATE"].level is Level.MAJOR
        assert str(refusal.readings["SAFE.MSG"].value) in str(refusal)
        assert "SAFE.STATE" in bench.driver.latched()
        return str(refusal)
    assert (found["SAFE.STATE"].value, found["SAFE.STATE"].level) == (DONE, Level.OK)
    assert "SAFE.STATE" not in bench.driver.latched()
    return ""


async def assert_cooling(bench: Bench) -> None:
    """Neither the output nor the setpoint does anything but go down."""
    memory = bench.model.memory
    before = memory["WRK.OP"]
    for _ in range(60):
        bench.let_pass(1.0)
        assert memory["WRK.OP"] <= before + 1e-6
    assert memory["WKG.SP"] == SAFE


async def test_GIVEN_a_local_setpoint_WHEN_safe_THEN_it_is_the_safe_temperature(bench: Bench):
    assert (await bench.driver.read(["SAFE.STATE"]))["SAFE.STATE"].value == NONE
    assert await go(bench) == ""
    assert bench.model.memory["SP1"] == SAFE
    assert [request.address for request in bench.link.writes] == [twin_of(24)]
    assert await bench.value("TSET") == SAFE
    await assert_cooling(bench)


async def test_GIVEN_the_second_setpoint_WHEN_safe_THEN_that_one_is_set(bench: Bench):
    bench.model.memory["SP.SEL"], bench.model.memory["SP2"] = 1, 700.0
    assert await go(bench) == ""
    assert (bench.model.memory["SP1"], bench.model.memory["SP2"]) == (600.0, SAFE)
    await assert_cooling(bench)


@pytest.mark.parametrize("version", [0x0109, 0x0213])
async def test_GIVEN_a_remote_setpoint_WHEN_safe_THEN_it_is_local_whatever_the_firmware(bench: Bench, version: int):
    bench.model.memory["VERSION"] = version
    bench.model.memory["L-R"], bench.model.memory["Rm.SP"] = 1, 650.0
    bench.model.written("Rm.SP")
    await bench.scan()
    assert await go(bench) == ""
    assert (bench.model.memory["SP1"], bench.model.memory["L-R"]) == (SAFE, 0)
    first = bench.link.writes[0]
    assert first.address == twin_of(24)  # the local setpoint comes first
    await assert_cooling(bench)


@pytest.mark.parametrize("state", [1, 2])
async def test_GIVEN_a_running_program_WHEN_safe_THEN_it_is_reset(bench: Bench, state: int):
    memory = bench.model.memory
    memory["TM.CFG"], memory["T.STAT"], memory["SEG1.TSP"], memory["SEG1.RATE"] = 10, 1, 800.0, 10.0
    bench.model.step(10.0)
    memory["T.STAT"] = state
    await bench.scan()
    assert await go(bench) == ""
    assert memory["T.STAT"] == 0
    await assert_cooling(bench)


async def test_GIVEN_manual_with_output_WHEN_safe_THEN_automatic_without_more_output(bench: Bench):
    memory = bench.model.memory
    memory["A-M"], memory["MAN.OP"] = 1, 45.0
    await bench.scan()
    assert await go(bench) == ""
    assert memory["A-M"] == 0
    assert memory["WRK.OP"] <= 45.0
    assert await bench.value("TSET") == SAFE
    await assert_cooling(bench)


@pytest.mark.parametrize("broken", [True, False])
async def test_GIVEN_manual_and_a_loop_that_would_heat_WHEN_safe_THEN_manual_without_output(bench: Bench, broken: bool):
    memory = bench.model.memory
    memory["A-M"], memory["MAN.OP"] = 1, 10.0
    memory["SAFE"] = 80.0  # output in sensor break
    if broken:
        bench.model.sensor_broken = True
    else:
        bench.model.held = 5.0  # colder than the safe temperature
    await bench.scan()
    assert await go(bench) == ""
    assert (memory["A-M"], memory["WRK.OP"]) == (1, 0.0)
    assert "in manual without output" in str(await bench.value("SAFE.MSG"))


async def test_GIVEN_everything_at_once_WHEN_safe_THEN_every_step_is_done(bench: Bench):
    memory = bench.model.memory
    memory["TM.CFG"], memory["T.STAT"], memory["SEG1.TSP"], memory["A.TUNE"] = 10, 1, 800.0, 1
    bench.model.written("A.TUNE")
    memory["L-R"], memory["A-M"], memory["MAN.OP"] = 1, 1, 45.0
    bench.model.step(1.0)
    await bench.scan()
    assert await go(bench) == ""
    assert [memory[name] for name in ("SP1", "L-R", "T.STAT", "A-M", "A.TUNE")] == [SAFE, 0, 0, 0, 0]
    for text in ("local setpoint 20 C", "setpoint local", "autotune stopped", "timer reset", "manual left"):
        assert text in str(await bench.value("SAFE.MSG"))
    await assert_cooling(bench)


@pytest.mark.parametrize(("register", "name"), [(276, "still remote"), (23, "program or timer is in RUN")])
async def test_GIVEN_a_step_that_fails_WHEN_safe_THEN_the_others_are_done_and_it_is_reported(
    bench: Bench, register: int, name: str
):
    memory = bench.model.memory
    memory["TM.CFG"], memory["T.STAT"], memory["SEG1.TSP"], memory["SEG1.RATE"] = 10, 1, 800.0, 10.0
    memory["L-R"] = 1
    memory["A-M"], memory["MAN.OP"] = 1, 45.0
    bench.model.step(1.0)
    await bench.scan()
    refuse_writes(bench, register)
    reason = await go(bench)
    assert name in reason
    assert "code 03" in reason
    assert memory["SP1"] == SAFE
    assert memory["A-M"] == 0
    assert (memory["L-R"], memory["T.STAT"]) == ((1, 0) if register == 276 else (0, 1))
    # the latch stays until it is acknowledged
    assert (await bench.scan())["SAFE.STATE"].level is Level.MAJOR
    bench.link.refusal = lambda _: 0
    assert (await bench.driver.write("ACK.CMD", 1))["SAFE.STATE"].level is Level.OK


async def test_GIVEN_a_setpoint_that_cannot_be_set_WHEN_safe_in_remote_THEN_there_is_no_output(bench: Bench):
    """Leaving remote would send the furnace to a local setpoint that is hotter."""
    memory = bench.model.memory
    memory["SP1"], memory["L-R"], memory["Rm.SP"] = 900.0, 1, 300.0
    bench.model.written("Rm.SP")
    bench.model.step(1.0)
    await bench.scan()
    refuse_writes(bench, twin_of(24))
    assert "local setpoint 20 C" in await go(bench)
    assert (memory["A-M"], memory["WRK.OP"]) == (1, 0.0)


async def test_GIVEN_no_answer_to_a_write_WHEN_safe_THEN_reading_back_decides(bench: Bench):
    bench.link.lose_answers_to_writes = True
    assert await go(bench) == ""
    assert bench.model.memory["SP1"] == SAFE


async def test_GIVEN_a_controller_that_is_gone_WHEN_safe_THEN_it_is_incomplete_and_no_setting_lies(bench: Bench):
    bench.link.lose_writes = True
    assert "local setpoint 20 C" in await go(bench)
    assert await bench.value("TSET") == 600.0


class Overlap:
    """Two SAFE:CMD at a time, each under a permit of its own, as the puts of two clients; the first stands still."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.permits = Permit(urgent=True), Permit(urgent=True)
        self._gates = asyncio.Event(), asyncio.Event()
        exchange = bench.link._exchange

        async def gated(request: Request) -> bytes:
            for permit, gate in zip(self.permits, self._gates, strict=True):
                if current() is permit:
                    await gate.wait()
            return await exchange(request)

        bench.link._exchange = gated  # type: ignore[method-assign]
        self.puts = [
            asyncio.create_task(bench.driver.write("SAFE.CMD", 1), context=permit.context()) for permit in self.permits
        ]

    async def end(self, which: int, withdrawn: bool = False) -> DeviceError | None:
        """Let one go on to its end, or withdraw it before it has begun; return what it raises."""
        await asyncio.sleep(0)  # both wait for their first answer
        if withdrawn:
            assert self.permits[which].withdraw("its client has left")
        self._gates[which].set()
        (ended,) = await asyncio.gather(self.puts[which], return_exceptions=True)
        assert isinstance(ended, DeviceError | dict)
        return ended if isinstance(ended, DeviceError) else None

    async def state(self) -> Value | None:
        return (await self.bench.driver.read(["SAFE.STATE"]))["SAFE.STATE"].value


async def test_GIVEN_two_at_a_time_WHEN_the_first_is_withdrawn_THEN_what_became_of_the_second_is_shown(bench: Bench):
    both = Overlap(bench)
    assert isinstance(await both.end(0, withdrawn=True), Withdrawn)
    assert await both.state() == GOING
    refuse_writes(bench, twin_of(24))
    assert "local setpoint 20 C" in str(await both.end(1))
    assert await both.state() == INCOMPLETE
    assert "SAFE.STATE" in bench.driver.latched()


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
async def test_GIVEN_two_at_a_time_WHEN_both_are_withdrawn_THEN_none_is_shown_as_done(
    bench: Bench, order: tuple[int, int]
):
    both = Overlap(bench)
    for which, state in zip(order, (GOING, NONE), strict=True):
        assert isinstance(await both.end(which, withdrawn=True), Withdrawn)
        assert await both.state() == state
    assert bench.link.writes == []


@pytest.mark.parametrize("first", [0, 1])
async def test_GIVEN_two_at_a_time_WHEN_the_later_to_end_fails_THEN_it_is_incomplete(bench: Bench, first: int):
    both = Overlap(bench)
    assert await both.end(first) is None
    assert await both.state() == (GOING if first == 0 else DONE)
    bench.model.memory["SP1"] = 600.0
    refuse_writes(bench, twin_of(24))
    assert isinstance(await both.end(1 - first), Refused)
    assert await both.state() == INCOMPLETE


async def test_GIVEN_one_that_is_safe_WHEN_one_that_cannot_read_all_is_withdrawn_THEN_it_stays_safe(bench: Bench):
    both = Overlap(bench)
    assert await both.end(1) is None
    bench.link.refusal = lambda request: 6 if request.function == READ and request.address != twin_of(24) else 0
    assert isinstance(await both.end(0, withdrawn=True), Withdrawn)
    bench.link.refusal = lambda _: 0
    assert await both.state() == DONE


async def test_GIVEN_two_at_a_time_WHEN_one_of_them_ends_THEN_each_client_gets_its_own_answer(bench: Bench):
    both = Overlap(bench)
    refuse_writes(bench, twin_of(24))
    assert "local setpoint 20 C" in str(await both.end(0))
    bench.link.refusal = lambda _: 0
    assert await both.end(1) is None
    assert await both.state() == DONE
    assert bench.model.memory["SP1"] == SAFE


async def test_a_site_without_a_safe_temperature_refuses_and_changes_nothing():
    bench = Bench(options={"safe_temperature": None})
    await bench.start()
    with pytest.raises(Refused, match="no safe_temperature"):
        await bench.driver.write("SAFE.CMD", 1)
    assert bench.link.writes == []
    await bench.driver.close()

"""Each link asks for leave immediately before the first byte of what changes a device, and urgent writes go first."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devices.clock import DriverClock
from devices.errors import Withdrawn
from devices.eurotherm.simulator.model import EurothermModel
from devices.eurotherm.simulator.server import simulated_furnaces
from devices.iseg.edcp.items import BY_NAME
from devices.iseg.edcp.protocol import write
from devices.iseg.link import ModuleLink
from devices.links.line import LineLink
from devices.links.modbus import open_unit
from devices.permit import NOTHING, Permit, Precedence, changing, current
from tests.devices.links.line_bench import ASK, SET, Held, talking_to
from tests.fair_time import until


def started(permit: Permit, work):
    """Run something under a permit."""
    return asyncio.create_task(work, context=permit.context())


async def test_a_permit_is_asked_for_at_the_moment_of_sending() -> None:
    open_now = [True]
    permit = Permit(lambda: None if open_now[0] else "not armed")
    permit.begin()
    assert permit.begun
    assert not permit.withdraw("too late")
    open_now[0] = False
    with pytest.raises(Withdrawn, match="not armed"):
        permit.begin()
    open_now[0] = True
    assert not permit.end("off overtook it")
    with pytest.raises(Withdrawn, match="off overtook it"):
        permit.begin()


async def test_without_a_context_everything_is_permitted_and_a_scan_may_change_nothing() -> None:
    changing()

    async def scan() -> None:
        NOTHING.use()
        changing()

    with pytest.raises(Withdrawn, match="a scan does not write"):
        await asyncio.create_task(scan())
    assert current() is not NOTHING


async def test_a_line_that_is_busy_sends_nothing_of_a_write_that_was_withdrawn_meanwhile() -> None:
    gate = asyncio.Event()

    async def script(count, writer):
        await gate.wait()
        writer.write(b"#CMD:OK,VAL:12.5;\r\n")

    async with talking_to(script, timeout=5.0) as (link, peer):
        scan = asyncio.create_task(link.exchange(ASK))
        await until(lambda: len(peer.requests) == 1)
        permit = Permit()
        setting = started(permit, link.exchange(SET, changes=True))
        await asyncio.sleep(0)
        assert permit.withdraw("the client gave up")
        gate.set()
        with pytest.raises(Withdrawn, match="the client gave up"):
            await setting
        await scan
        assert await link.exchange(ASK) == "#CMD:OK,VAL:12.5;"
        assert peer.requests == [ASK, ASK]
        assert (link.stats.errors, link.stats.reconnects, peer.connections) == (0, 0, 1)
        await started(allowed := Permit(), link.exchange(SET, changes=True))
        assert allowed.begun
        assert peer.requests[-1] == SET


@pytest.mark.parametrize("answered", [True, False])
async def test_a_line_that_gets_in_step_sends_nothing_of_a_write_that_was_withdrawn_meanwhile(answered: bool) -> None:
    transport = Held()
    transport.let.set()
    link = LineLink(transport, "tcp://held:23", 5.0)
    await link.connect()
    transport.let.clear()
    link.mark_unsynchronised()
    permit = Permit()
    setting = started(permit, link.exchange(SET, changes=True) if answered else link.tell(SET))
    await until(lambda: transport.opening)
    assert permit.withdraw("the client gave up")
    transport.let.set()
    with pytest.raises(Withdrawn, match="the client gave up"):
        await setting
    assert (transport.sent, permit.begun, link.connected) == ([], False, True)
    await link.close()


async def test_a_modbus_line_sends_nothing_of_a_write_that_was_withdrawn_and_stays_in_step() -> None:
    async with simulated_furnaces({1: EurothermModel()}) as line:
        unit = open_unit(line.address, 1, 2.0)
        await unit.connect()
        try:
            await unit.read_registers(1, 2)
            received = len(line.received)
            permit = Permit(lambda: "the server is not armed")
            with pytest.raises(Withdrawn, match="not armed"):
                await started(permit, unit.write_register(24, 2600))
            assert len(line.received) == received
            before = await unit.read_registers(24, 1)
            assert len(line.received) == received + 1
            assert before != (2600,)
            await started(allowed := Permit(), unit.write_register(24, 2600))
            assert allowed.begun
            assert await unit.read_registers(24, 1) == (2600,)
            assert unit.stats.errors == 0
        finally:
            await unit.close()


async def test_a_can_bus_gets_no_frame_of_a_write_that_was_withdrawn() -> None:
    class Bus:
        def __init__(self) -> None:
            self.sent = []

        def send(self, frame, *_, **__):
            self.sent.append(frame)

    link = ModuleLink("bench", {}, 5, 1.0, DriverClock())
    link.bus = bus = Bus()
    frame = write(5, BY_NAME["VoltageSet"], 100.0, 3, base=link.base)

    async def send() -> None:
        link.send(frame, changes=True)

    permit = Permit()
    permit.withdraw("waited 5 s")
    with pytest.raises(Withdrawn, match="waited 5 s"):
        await started(permit, send())
    assert bus.sent == []
    await started(allowed := Permit(), send())
    assert (bus.sent, allowed.begun) == ([frame], True)


async def test_an_urgent_write_gets_its_line_before_all_that_wait() -> None:
    line, order, answered = Precedence(), [], asyncio.Event()

    async def use(name: str) -> None:
        async with line:
            order.append(name)
            await answered.wait()

    first = asyncio.create_task(use("scan"))
    await asyncio.sleep(0)
    others = [started(Permit(), use(f"setting {n}")) for n in range(3)]
    await asyncio.sleep(0)
    offs = [started(Permit(urgent=True), use(f"off {n}")) for n in range(2)]
    await asyncio.sleep(0)
    answered.set()
    await asyncio.gather(first, *others, *offs)
    assert order == ["scan", "off 0", "off 1", "setting 0", "setting 1", "setting 2"]


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 6), st.booleans()), max_size=12))
def test_a_line_is_never_given_twice_and_never_lost_whichever_waiter_gives_up(
    users: list[tuple[bool, int, bool]],
) -> None:
    async def run() -> None:
        line, inside = Precedence(), 0

        async def use(turns: int) -> None:
            nonlocal inside
            async with line:
                inside += 1
                assert inside == 1
                try:
                    for _ in range(turns):
                        await asyncio.sleep(0)
                finally:
                    inside -= 1

        tasks = []
        for urgent, turns, gives_up in users:
            tasks.append(started(Permit(urgent=urgent), use(turns)))
            await asyncio.sleep(0)
            if gives_up:
                tasks[len(tasks) // 2].cancel()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(one is None or isinstance(one, asyncio.CancelledError) for one in outcomes)
        async with asyncio.timeout(1):
            await use(0)

    asyncio.run(run())

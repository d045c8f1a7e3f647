"""The back door of the simulated segment: every command, right and wrong."""

import asyncio
import time

import pytest

from devices.iseg.edcp.bits import ChannelStatus
from devices.iseg.simulator.backdoor import BackDoor
from devices.iseg.simulator.bus import SimulatedIsegBus
from devices.iseg.simulator.module import SimulatedIsegModule


@pytest.fixture
async def door():
    bus = SimulatedIsegBus([SimulatedIsegModule(5, channels=2)], channel=f"door {time.monotonic()}")
    bus.modules[5].register(True)
    await bus.start()
    back = BackDoor(bus)
    await back.start()
    try:
        yield back
    finally:
        await back.stop()
        await bus.stop()


async def test_GIVEN_a_port_WHEN_a_line_is_sent_THEN_a_line_comes_back(door):
    reader, writer = await asyncio.open_connection("127.0.0.1", door.port)
    writer.write(b"show 5\n")
    assert (await reader.readline()).startswith(b"CH00 0.0 V 0.000 uA status 0000; CH01")
    writer.close()
    await writer.wait_closed()


@pytest.mark.parametrize(
    ("command", "seen"),
    [
        ("load 5 1 0.5", lambda bus: bus.modules[5].channels[1].load == 0.5),
        ("trip 5 0", lambda bus: bus.modules[5].channels[0].status() & ChannelStatus.TRIP),
        ("trip any 1", lambda bus: bus.modules[5].channels[1].status() & ChannelStatus.TRIP),
        ("inhibit 5 0 on", lambda bus: bus.modules[5].channels[0].inhibited),
        ("drift 5 0 -3", lambda bus: bus.modules[5].channels[0].error_volts == -3),
        ("power 5", lambda bus: not bus.modules[5].registered),
        ("pull 5", lambda bus: not bus.modules),
        ("unknown 5 410F on", lambda bus: 0x410F in bus.modules[5].unknown),
        ("silent 5 on", lambda bus: bus.faults.silent == {5}),
        ("loop 5 off", lambda bus: not bus.modules[5].safety_loop),
        ("service 5 on", lambda bus: bus.modules[5].service),
        ("dcp 5 on", lambda bus: bus.modules[5].dcp),
        ("temperature 5 60", lambda bus: bus.modules[5].temperature == 60),
        ("supply24 5 20", lambda bus: bus.modules[5].supply24 == 20),
        ("supply5 5 4", lambda bus: bus.modules[5].supply5 == 4),
        ("vmax 5 50", lambda bus: bus.modules[5].volts_max == 50),
        ("delay 0.5", lambda bus: bus.faults.delay == 0.5),
        ("flood 2000", lambda bus: bus.faults.flood == 2000),
        ("lose 5", lambda bus: bus.faults.lose == 0.05),
        ("duplicate 100", lambda bus: bus.faults.duplicate == 1),
        ("reorder 10", lambda bus: bus.faults.reorder == 0.1),
        ("garbage 1", lambda bus: bus.faults.garbage == 0.01),
        ("bus off", lambda bus: bus.faults.bus_off),
        ("crate off", lambda bus: not bus.crate.power),
    ],
)
async def test_GIVEN_a_command_WHEN_it_is_given_THEN_the_segment_has_changed(door, command, seen):
    assert await door.execute(command) == "ok"
    assert seen(door._bus)


async def test_GIVEN_commands_that_end_a_fault_WHEN_they_are_given_THEN_it_has_ended(door):
    for command in ("pull 5", "insert 5", "silent 5 on", "silent 5 off", "bus off", "bus on", "plug off", "plug on"):
        assert await door.execute(command) == "ok"
    for command in ("unknown 5 4100 on", "unknown 5 4100 off", "crate off", "crate on"):
        assert await door.execute(command) == "ok"
    assert (5 in door._bus.modules, door._bus.faults.silent, door._bus.faults.bus_off) == (True, set(), False)


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        ("trip 6 0", "no module 6, there are 5"),
        ("trip 5 2", "no channel 2, there are 0 to 1"),
        ("load 5 0 -1", "not a load in Mohm"),
        ("insert 7", "module 7 has not been pulled out"),
        ("lose -1", "-1 is negative"),
        ("raw 00", "only an slcan adapter has a line"),
        ("loop 5 maybe", "neither on nor off"),
        ("trip 5", "use trip MODULE CHANNEL"),
    ],
)
async def test_GIVEN_a_wrong_command_WHEN_it_is_given_THEN_the_answer_says_what_is_wrong(door, command, reason):
    answer = await door.execute(command)
    assert answer.startswith("error")
    assert reason in answer

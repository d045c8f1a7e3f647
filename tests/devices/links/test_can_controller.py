"""The state of the CAN controller: what error frames and adapters report of it."""

from __future__ import annotations

import time

import can
import pytest

from devices.links.can_frame import ControllerState, Frame, controller_error
from tests.devices.links.can_bench import opened
from tests.fair_time import until


async def test_GIVEN_a_controller_that_was_passive_WHEN_it_only_warns_THEN_it_is_active(adapters):
    made, _ = adapters
    bus, ear = await opened()
    frames = [can.Message(arbitration_id=0x004, data=data, is_error_frame=True) for data in (b"\0\x08", b"\0\x20")]
    made[0].plan = lambda timeout: frames.pop() if frames else time.sleep(timeout)
    await until(lambda: bus.counters.errors == 2)
    assert bus.state is ControllerState.ACTIVE
    await bus.leave(ear)


@pytest.mark.parametrize(("data", "identifier", "state"), [(b"\0\x30", 0x004, "PASSIVE"), (b"\0\0", 0x040, "OFF")])
async def test_GIVEN_error_frames_WHEN_received_THEN_the_controller_state_follows(adapters, data, identifier, state):
    made, _ = adapters
    bus, ear = await opened()
    frames = [can.Message(arbitration_id=identifier, data=data, is_error_frame=True)]
    made[0].plan = lambda timeout: frames.pop() if frames else time.sleep(timeout)
    await until(lambda: bus.state is ControllerState[state])
    assert bus.counters.errors == 1
    if state == "OFF":
        await until(lambda: bool(ear.lost))
        assert "bus off" in str(ear.lost[0])
    await bus.leave(ear)


@pytest.mark.parametrize(("reported", "state"), [(can.BusState.PASSIVE, "PASSIVE"), (can.BusState.ERROR, "OFF")])
async def test_GIVEN_an_adapter_that_tells_its_state_WHEN_it_changes_THEN_so_does_ours(adapters, reported, state):
    made, _ = adapters
    bus, ear = await opened()
    made[0].controller = reported
    await until(lambda: bus.state is ControllerState[state])
    await until(lambda: bool(ear.lost) == (state == "OFF"))
    await bus.leave(ear)


@pytest.mark.parametrize(
    ("identifier", "controller", "state", "reason"),
    [
        (0x040, 0, ControllerState.OFF, "bus off"),
        (0x004, 0x10, ControllerState.PASSIVE, "controller error passive"),
        (0x004, 0x20, ControllerState.PASSIVE, "controller error passive"),
        (0x004, 0x40, ControllerState.ACTIVE, "controller back to error active"),
        (0x100, 0, ControllerState.ACTIVE, "controller back to error active"),
        (0x020, 0, None, "no node acknowledges"),
        (0x0A8, 0, None, "no node acknowledges, protocol violation (wrong bit rate?), bus error"),
        (0x004, 0x08, ControllerState.ACTIVE, "controller warning"),
        (0x004, 0x01, None, "controller"),
        (0, 0, None, "unspecified error"),
    ],
)
def test_error_frames(identifier, controller, state, reason):
    error = Frame(identifier, bytes((0, controller, 0, 0, 0, 0, 0, 0)), error=True)
    assert controller_error(error) == (reason, state)

"""Old values of Iseg modules never look like fresh ones."""

from __future__ import annotations

from devices.iseg.simulator import answers, bus
from devices.model import Level
from devices.rules.hv_channel import State
from tests.devices.iseg.bench import bench

STATUS, VOLTS = 0x4000, 0x4102


async def test_GIVEN_an_output_WHEN_only_its_status_is_not_answered_THEN_the_current_is_the_one_just_read():
    async with bench() as made:
        channel = made.module.channels[3]
        with made.segment.lock:
            channel.vset, channel.on, channel.ramp = 250.0, True, 250.0
        assert (await made.wait_for("IMON", 0.25)).level is Level.OK
        with made.segment.lock:
            made.module.unknown.add(STATUS)
            channel.load = 10.0
            made.segment.advance()
            made.module.measure()
        found = await made.look("IMON", "VMON", "EFFLOAD")
        assert (found["VMON"].value, found["IMON"].value) == (250.0, 25.0)
        assert found["EFFLOAD"].value == 10.0


async def test_GIVEN_a_load_that_was_measured_WHEN_the_output_is_off_THEN_it_keeps_the_time_of_its_measurement():
    async with bench() as made:
        channel = made.module.channels[3]
        with made.segment.lock:
            channel.vset, channel.on, channel.ramp = 250.0, True, 250.0
        before = await made.wait_for("EFFLOAD", 1000.0)
        with made.segment.lock:
            channel.shut_off()
        await made.wait_for("VMON", 0.0)
        after = (await made.look("EFFLOAD"))["EFFLOAD"]
        assert after.value == 1000.0
        assert after.time >= before.time
        assert (await made.look("EFFLOAD"))["EFFLOAD"].time == after.time


async def test_GIVEN_errors_on_the_bus_WHEN_other_signals_are_read_in_between_THEN_their_growth_is_not_missed():
    async with bench() as made:
        names = ["BUS.ERR"]
        assert (await made.driver.read(names))["BUS.ERR"].level is Level.OK
        made.driver._link.bus.counters.errors += 1
        await made.look()  # the fast scan comes more often than that of the counters
        await made.look()
        found = (await made.driver.read(names))["BUS.ERR"]
        assert (found.value, found.level) == (1, Level.MINOR)
        assert (await made.driver.read(names))["BUS.ERR"].level is Level.OK


async def test_GIVEN_an_open_safety_loop_WHEN_the_module_status_is_garbled_THEN_channels_do_not_go_by_the_old_one(
    monkeypatch,
):
    def garbling(module, frame):
        return [
            one._replace(data=one.data[:3]) if one.data[:2] == b"\x10\x00" else one
            for one in answers.respond(module, frame)
        ]

    async with bench() as made:
        with made.segment.lock:
            made.module.safety_loop = False
        found = await made.driver.read(["MOD.SAFELOOP", "CH03.VMON", "CH03.STAT", "CH03.STATE"])
        assert (found["MOD.SAFELOOP"].level, found["CH03.STATE"].level) == (Level.MAJOR, Level.OK)
        assert found["CH03.STATE"].value == State.INHIBITED
        monkeypatch.setattr(bus, "respond", garbling)
        states = []
        for _ in range(3):
            found = await made.driver.read(["MOD.SAFELOOP", "CH03.VMON", "CH03.STAT", "CH03.STATE"])
            states.append(found["CH03.STATE"].value)
        assert found["MOD.SAFELOOP"].level is Level.INVALID
        assert (states[0], states[-1]) == (State.INHIBITED, State.OFF)

"""Puts to simulated modules: within limits, read back, refused with a reason, decided by reading back when lost."""

from __future__ import annotations

import asyncio
import math

import pytest

from devices.errors import LinkDown, NotReady, OutOfLimits, Refused, ReplyTimeout
from devices.iseg.edcp.bits import ChannelControl, ChannelEvent, ChannelStatus, ModuleControl
from devices.iseg.edcp.items import BY_NAME
from devices.iseg.edcp.protocol import Data, decode
from devices.iseg.simulator.module import E08F2, E16C1, F460N, FLEX
from devices.model import Level
from devices.rules.hv_channel import State
from tests.devices.iseg.bench import bench, make_driver


def frames(made, item):
    """Return the values that were written to an item."""
    messages = [decode(frame) for frame in made.written()]
    return [message.value for message in messages if isinstance(message, Data) and message.item.name == item]


SETTINGS = [
    ("CH03.VSET", 1000.0, "VoltageSet", 1000.0),
    ("CH03.ISET", 100.0, "CurrentSet", 1e-4),
    ("CH03.VBOUNDS", 50.0, "VoltageBounds", 50.0),
    ("CH03.IBOUNDS", 10.0, "CurrentBounds", 1e-5),
    ("CH03.EVT.MASK", 0x2000, "ChannelEventMask", 0x2000),
    ("CH03.RAMPUP", 300.0, "VoltageRampSpeed", 5.0),
    ("CH03.RAMPDN", 120.0, "VoltageRampSpeed", 2.0),
    ("MOD.RAMPV", 7.5, "VoltageRampSpeed", 7.5),
    ("MOD.KILLEN", 1, "ModuleControl", 0x5800),
    ("MOD.EVT.MASK", 0x6400, "ModuleEventMask", 0x6400),
    ("MOD.EVT.CHMASK", 0xFFFF, "ModuleEventChannelMask", 0xFFFF),
]


async def test_GIVEN_any_setting_WHEN_put_THEN_it_is_written_once_and_read_back():
    async with bench(F460N) as made:
        for name, value, item, wire in SETTINGS:
            made.segment.received.clear()
            readings = await made.driver.write(name, value)
            assert readings[name].value == pytest.approx(value)
            assert readings[f"{name}.RBV"].value == pytest.approx(value)
            assert readings[f"{name}.RBV"].level is Level.OK, name
            sign = -1 if item == "VoltageSet" else 1
            assert frames(made, item) == [pytest.approx(sign * wire, rel=1e-6)]
            for _ in range(4):  # what was put is the demand, so it never looks changed elsewhere
                found = await made.driver.read([name, f"{name}.RBV"])
                assert found[f"{name}.RBV"].level is Level.OK, name
                assert found[name].value == pytest.approx(value)


async def test_GIVEN_ramps_of_channels_WHEN_put_THEN_only_that_channel_changes():
    async with bench(FLEX) as made:
        await made.driver.write("CH03.RAMPUP", 42.0)
        assert frames(made, "VoltageRampSpeedUp") == [42.0]
        assert (await made.look("RAMPUP.RBV", "RAMPDN.RBV"))["RAMPUP.RBV"].value == 42.0
        assert (await made.look("RAMPDN.RBV"))["RAMPDN.RBV"].value == 300.0
        assert (await made.look("RAMPUP.RBV", channel=4))["RAMPUP.RBV"].value == 300.0


async def test_GIVEN_a_ramp_of_the_module_WHEN_put_through_a_channel_THEN_all_channels_show_it():
    async with bench(E16C1) as made:
        readings = await made.driver.write("CH03.RAMPUP", 300.0)
        assert readings["MOD.RAMPV"].value == 5.0
        assert readings["MOD.RAMPV.VPS"].value == 300.0
        assert readings["CH15.RAMPDN"].value == 300.0


OUTSIDE = [
    ("CH03.VSET", 1500.1, r"VSET 1500.1 V is above 1500 V \(site limit\)"),
    ("CH02.VSET", 6001, r"VSET 6001 V is above 6000 V \(nominal\)"),
    ("CH03.VSET", -1, r"VSET -1 V is below 0 V"),
    ("CH03.VSET", math.nan, "not a number"),
    ("CH03.VSET", math.inf, "not a number"),
    ("CH03.ISET", 1001.0, r"above 1000 uA \(nominal\)"),
    ("CH03.VSET", "high", "not a number"),
    ("MOD.RAMPV", 21.0, r"above 20 %/s \(device limit\)"),
    ("MOD.RAMPV", 0.0, "below"),
    ("CH03.EVT.MASK", 1.5, "whole number"),
    ("CH03.EVT.MASK", 0x10000, "above 65535"),
    ("CH03.ON", 2, "none of OFF, ON"),
]


async def test_GIVEN_a_value_outside_the_limits_WHEN_put_THEN_it_is_refused_and_nothing_is_sent():
    async with bench(channel_limits={3: {"VSET": (0.0, 1500.0)}}) as made:
        made.segment.received.clear()
        for name, value, reason in OUTSIDE:
            with pytest.raises(OutOfLimits, match=reason):
                await made.driver.write(name, value)
        assert not made.segment.received  # not even asked for


async def test_GIVEN_one_ramp_for_all_channels_WHEN_put_THEN_the_tightest_site_limit_of_any_of_them_holds():
    async with bench(channel_limits={5: {"RAMPUP": (0.0, 60.0)}}) as made:
        for name, value in (("MOD.RAMPV", 1.1), ("CH03.RAMPUP", 61.0), ("CH05.RAMPDN", 61.0)):
            with pytest.raises(OutOfLimits, match=r"above (1 %|60 V)/s \(site limit of CH05:RAMPUP\)"):
                await made.driver.write(name, value)
        assert made.written() == []
        await made.driver.write("CH03.RAMPUP", 60.0)
        assert frames(made, "VoltageRampSpeed") == [1.0]
    async with bench(limits={"MOD.RAMPV": (0.0, 2.0)}) as made:
        with pytest.raises(OutOfLimits, match=r"above 120 V/s \(site limit of MOD:RAMPV\)"):
            await made.driver.write("CH03.RAMPUP", 130.0)
    async with bench(FLEX, channel_limits={5: {"RAMPUP": (0.0, 60.0)}}) as made:
        await made.driver.write("CH03.RAMPUP", 300.0)  # ramps of its own


async def test_GIVEN_a_readonly_device_WHEN_put_THEN_only_the_latch_can_be_acknowledged():
    async with bench(readonly=True) as made:
        for name in ("CH03.VSET", "CH03.ON", "CH03.EMCY.CMD", "CH03.CLR.CMD", "MOD.KILLEN", "MOD.CLR.CMD"):
            with pytest.raises(Refused, match="readonly = true"):
                await made.driver.write(name, 1)
        with pytest.raises(Refused, match="readonly = true"):
            await made.driver.raw("DelayedTripTime", 3, 100)
        await made.driver.write("CH03.TRIP.ACK.CMD", 1)
        assert made.written() == []


async def test_GIVEN_what_is_no_setting_WHEN_put_THEN_it_is_refused():
    async with bench(E08F2, 8, connect=False) as made:
        driver = make_driver(made.segment, channels=16)
        try:
            with pytest.raises(Refused, match="cannot be set"):
                await driver.write("CH03.VMON", 1)
            with pytest.raises((NotReady, LinkDown)):
                await driver.write("CH03.VSET", 1)
            await driver.connect()
            with pytest.raises(Refused, match="only 8 channels"):
                await driver.write("CH09.VSET", 1)
            assert made.written() == []
            await driver.write("CH03.VSET", 1)  # it looks by itself at what has not been read yet
        finally:
            await driver.close()


async def test_GIVEN_on_and_off_WHEN_put_THEN_the_output_follows():
    async with bench() as made:
        await made.driver.write("CH03.VSET", 300.0)
        readings = await made.driver.write("CH03.ON", 1)
        assert (readings["CH03.ON"].value, readings["CH03.ON.RBV"].value) == (1, 1)
        assert (await made.look("STATE"))["STATE"].value == State.RAMP_UP
        await made.wait_for("STATE", State.ON)
        await made.wait_for("VDIFF", 0.0)
        readings = await made.driver.write("CH03.ON", 0)
        assert readings["CH03.ON.RBV"].value == 0
        await made.wait_for("STATE", State.OFF)
        assert (await made.look("TRIP"))["TRIP"].value == 0
        assert frames(made, "ChannelControl") == [8, 0]


async def test_GIVEN_a_tripped_channel_WHEN_switched_on_THEN_it_is_refused_until_cleared():
    async with bench() as made:
        with made.segment.lock:
            made.module.trip(3)
        await made.look()
        with pytest.raises(Refused, match="tripped, clear it with CLR:CMD first"):
            await made.driver.write("CH03.ON", 1)
        assert frames(made, "ChannelControl") == []
        readings = await made.driver.write("CH03.CLR.CMD", 1)
        assert (readings["CH03.STAT.TRIP"].value, readings["CH03.EVT.TRIP"].value) == (0, 0)
        assert readings["CH03.TRIP"].value == 1  # the latch waits for its own acknowledge
        await made.driver.write("CH03.ON", 1)


async def test_GIVEN_emergency_off_WHEN_put_THEN_the_output_is_off_at_once_until_cleared():
    async with bench() as made:
        await made.driver.write("CH03.VSET", 300.0)
        await made.driver.write("CH03.ON", 1)
        await made.wait_for("STATE", State.ON)
        readings = await made.driver.write("CH03.EMCY.CMD", 1)
        assert readings["CH03.STAT.EMCY"].value == 1
        assert readings["CH03.STATE"].value == State.KILLED
        assert readings["CH03.ON"].value == 0
        assert made.module.channels[3].volts == 0.0
        with pytest.raises(Refused, match="emergency off, clear it"):
            await made.driver.write("CH03.ON", 1)
        await made.driver.write("CH03.ON", 0)
        assert made.module.channels[3].emergency  # off does not release it
        await made.driver.write("CH03.CLR.CMD", 1)
        await made.driver.write("CH03.ON", 1)
        assert (await made.look("TRIP"))["TRIP"].value == 0


async def test_GIVEN_an_open_safety_loop_WHEN_switched_on_THEN_the_reason_is_reported():
    async with bench() as made:
        with made.segment.lock:
            made.module.safety_loop = False
            made.segment.advance()
        with pytest.raises(Refused, match="safety loop is open"):
            await made.driver.write("CH03.ON", 1)
        with made.segment.lock:
            made.module.safety_loop = True
        with pytest.raises(Refused, match=r"SAFETY_LOOP_NOT_GOOD.*MOD:CLR:CMD"):
            await made.driver.write("CH03.ON", 1)
        await made.driver.write("MOD.CLR.CMD", 1)
        assert await made.value("MOD.EVT") == 0
        await made.driver.write("CH03.ON", 1)


async def test_GIVEN_events_of_a_past_ramp_WHEN_they_block_THEN_they_are_cleared_and_on_is_tried_again():
    async with bench() as made:
        channel = made.module.channels[3]

        def stubborn(found, word, command=made.module.command):
            if found is channel and word & ChannelControl.ON and channel.events & ChannelEvent.VOLTAGE_BOUNDS:
                return
            command(found, word)

        type(made.module).command, original = (lambda _, found, word: stubborn(found, word)), type(made.module).command
        try:
            with made.segment.lock:
                channel.events |= int(ChannelEvent.VOLTAGE_BOUNDS)
            await made.driver.write("CH03.ON", 1)
        finally:
            type(made.module).command = original
        assert frames(made, "ChannelEventStatus") == [int(ChannelEvent.VOLTAGE_BOUNDS)]


async def test_GIVEN_kill_mode_WHEN_changed_THEN_only_that_bit_does():
    async with bench() as made:
        with made.segment.lock:
            made.module.control = ModuleControl.FINE_ADJUSTMENT | ModuleControl.BIG_ENDIAN
        assert (await made.driver.read(["MOD.KILLEN.RBV"]))["MOD.KILLEN.RBV"].level is Level.MINOR
        readings = await made.driver.write("MOD.KILLEN", 1)
        assert (readings["MOD.KILLEN.RBV"].value, readings["MOD.KILLEN.RBV"].level) == (1, Level.OK)
        await made.driver.write("MOD.KILLEN", 0)
        assert frames(made, "ModuleControl") == [0x5800, 0x1800]


async def test_GIVEN_kill_off_is_configured_WHEN_read_THEN_it_does_not_alarm():
    async with bench(options={"allow_kill_off": True}) as made:
        assert (await made.driver.read(["MOD.KILLEN.RBV"]))["MOD.KILLEN.RBV"].level is Level.OK


async def test_GIVEN_a_value_that_the_module_finds_implausible_WHEN_put_THEN_no_alarm_is_left_behind():
    async with bench() as made:
        channel = made.module.channels[3]
        with made.segment.lock:
            channel.volts_nominal = 500.0  # the module knows better than what it reported
        with pytest.raises(Refused, match="not plausible"):
            await made.driver.write("CH03.VSET", 1000.0)
        found = await made.look("STAT.IERR", "EVT.IERR", "STATE")
        assert (found["STAT.IERR"].value, found["STATE"].value) == (0, State.OFF)


async def test_GIVEN_a_setting_changed_by_another_WHEN_it_lasts_THEN_the_readback_says_so():
    async with bench() as made:
        await made.driver.write("CH03.VSET", 100.0)
        with made.segment.lock:
            made.module.channels[3].vset = 200.0
        levels = [(await made.driver.read(["CH03.VSET.RBV"]))["CH03.VSET.RBV"].level for _ in range(4)]
        assert levels == [Level.OK, Level.OK, Level.MINOR, Level.MINOR]
        assert await made.value("CH03.VSET") == 100.0


async def test_GIVEN_a_module_that_is_silent_WHEN_put_THEN_nothing_is_sent():
    async with bench(timeout=0.25) as made:
        made.segment.faults.silent.add(5)
        of_module = ("MOD.KILLEN", "MOD.CLR.CMD", "MOD.EVT.MASK")
        for name in ("CH03.VSET", "CH03.RAMPUP", "CH03.ON", "CH03.CLR.CMD", *of_module):
            with pytest.raises(ReplyTimeout, match="nothing was sent"):
                await made.driver.write(name, 1)
        with pytest.raises(ReplyTimeout, match="nothing was sent"):
            await made.driver.write("CH03.ON", 0)
        assert made.written() == []
        await made.driver.close()
        with pytest.raises(LinkDown):
            await made.driver.write("CH03.VSET", 123.0)


async def test_GIVEN_many_puts_at_once_WHEN_applied_THEN_each_channel_gets_its_own():
    async with bench() as made:
        await asyncio.gather(*(made.driver.write(f"CH{n:02d}.VSET", 100.0 + n) for n in range(16)))
        assert [channel.vset for channel in made.module.channels] == [100.0 + n for n in range(16)]


async def test_GIVEN_a_scan_under_way_WHEN_put_THEN_the_readback_is_the_new_value():
    async with bench() as made:
        for value in (10.0, 20.0, 30.0):
            scan = asyncio.create_task(made.driver.read([f"CH{n:02d}.VSET.RBV" for n in range(16)]))
            readings = await made.driver.write("CH03.VSET", value)
            assert readings["CH03.VSET.RBV"].value == value
            await scan


async def test_GIVEN_signed_or_plain_set_points_WHEN_configured_THEN_that_goes_to_the_wire():
    for setpoints, wire in (("auto", -250.0), ("signed", -250.0)):
        async with bench(E08F2, 8, options={"setpoints": setpoints}) as made:
            await made.driver.write("CH03.VSET", 250.0)
            assert frames(made, "VoltageSet") == [wire]
    async with bench(E08F2, 8, options={"setpoints": "magnitude"}) as made:
        with pytest.raises(Refused):  # this board wants them signed
            await made.driver.write("CH03.VSET", 250.0)
        assert set(frames(made, "VoltageSet")) == {250.0}


async def test_GIVEN_raw_access_WHEN_an_item_has_no_pv_THEN_it_is_read_and_set_like_a_put():
    async with bench() as made:
        raw = made.driver.raw
        assert await raw("DelayedTripTime", 3) == {3: 100}
        assert await raw(0x4005, 3, 250) == {3: 250}
        assert await raw("DelayedTripAction", 3, 2) == {3: 2}
        assert await raw("SerialNumber") == {None: 7900016}
        assert await raw(0x6005, 3) == {3: 250}
        assert len(await raw("Temperature")) == 3
        assert await raw("ModuleControl", None, 0x1840) == {None: 0x1800}
        assert await raw("TripAll", None, 0) == {None: 0}


NOT_ALLOWED = [
    ("VoltageSet", 3, 10.0, Refused, "CHnn:VSET"),
    ("VoltageSetAll", None, 10.0, Refused, "CHnn:VSET"),
    ("ChannelControl", 3, 8, Refused, "CHnn:ON"),
    ("OnAll", None, 1, Refused, "CHnn:ON"),
    ("VoltageMeasure", 3, 1.0, Refused, "cannot be set"),
    ("OnAllUpper", None, 1, Refused, "CHnn:ON"),
    ("ModuleControl", None, 0x40, OutOfLimits, "have to stay set"),
    ("ModuleControl", None, 64.0, OutOfLimits, "have to stay set"),
    ("ModuleControl32", None, 64.0, OutOfLimits, "have to stay set"),
    ("DelayedTripTime", 3, 5000, OutOfLimits, "outside 1 to 4095"),
    ("DelayedTripTime", 3, "long", OutOfLimits, "not a number"),
    ("CratePower", None, 1, Refused, "no item of a module"),
    ("Nonsense", None, None, Refused, "no item of a module"),
    (0x1401, None, 1, Refused, "no item of a module"),
    ("VoltageMeasure", None, None, OutOfLimits, "which channel"),
    ("OutputPolarity", 0, None, ReplyTimeout, "does not know it"),
    ("BitRate", None, 250, Refused, "no allow_configuration"),
    ("ModuleCommMode", None, 1, Refused, "no allow_configuration"),
]


async def test_GIVEN_raw_access_WHEN_it_is_not_allowed_THEN_it_says_why():
    async with bench() as made:
        for item, index, value, error, reason in NOT_ALLOWED:
            with pytest.raises(error, match=reason):
                await made.driver.raw(item, index, value)
        assert made.written() == []


def test_the_status_bits_that_switching_depends_on_are_those_of_the_event_word():
    assert int(ChannelStatus.TRIP) == int(ChannelEvent.TRIP)
    assert int(ChannelStatus.EMERGENCY_OFF) == int(ChannelEvent.EMERGENCY_OFF)
    assert BY_NAME["ChannelControl"].settable


@pytest.mark.parametrize("had", [False, True])
async def test_GIVEN_a_value_that_the_module_finds_not_plausible_WHEN_put_THEN_only_the_mark_it_left_is_cleared(had):
    async with bench(E08F2, 8, options={"setpoints": "magnitude"}) as made:  # this board wants them signed
        if had:
            with made.segment.lock:
                made.module.channels[3].events |= int(ChannelEvent.INPUT_ERROR)
            await made.driver.read(["CH03.EVT"])
        with pytest.raises(Refused, match=r"found the value not plausible \(input error\)"):
            await made.driver.write("CH03.VSET", 250.0)
        assert frames(made, "ChannelEventStatus") == ([] if had else [ChannelEvent.INPUT_ERROR])

"""What the simulated iseg module does to protect the load: trips, kill, bounds, safety loop, inhibit, interlock."""

import pytest

from devices.iseg.edcp.bits import (
    Action,
    ChannelEvent,
    ChannelStatus,
    ModuleControl,
    ModuleEvent,
    ModuleStatus,
)
from devices.iseg.edcp.protocol import (
    General,
    decode,
)
from tests.devices.iseg.simulator.host import Host

KEEP = ModuleControl.BIG_ENDIAN | ModuleControl.FINE_ADJUSTMENT


def test_GIVEN_no_kill_WHEN_the_load_is_too_heavy_THEN_the_current_is_regulated(host):
    host.set("CurrentSet", 1e-4, 0)
    host.module.channels[0].load = 1.0
    host.up(500.0)
    assert ChannelStatus.CURRENT_CONTROL in host.status()
    assert host.get("VoltageMeasure", 0) == pytest.approx(100.0)
    assert host.get("CurrentMeasure", 0) == pytest.approx(1e-4)


@pytest.mark.parametrize(
    ("action", "volts_after"), [(Action.RAMP_DOWN, True), (Action.OFF, False), (Action.MODULE_OFF, False)]
)
def test_GIVEN_a_delayed_trip_WHEN_the_current_is_limited_too_long_THEN_the_action_is_taken(host, action, volts_after):
    host.up(500.0, channel=1)
    host.set("CurrentSet", 1e-4, 0)
    host.set("DelayedTripTime", 500, 0)
    host.set("DelayedTripAction", action, 0)
    host.up(500.0)
    host.module.channels[0].load = 2.0
    host.wait(0.4)
    assert ChannelStatus.TRIP not in host.status()
    host.wait(0.16)
    assert ChannelStatus.TRIP in host.status()
    assert ChannelStatus.ON not in host.status()
    assert ChannelEvent.TRIP in host.events()
    assert (host.module.channels[0].volts > 0) is volts_after
    assert (ChannelStatus.ON in host.status(1)) is (action is not Action.MODULE_OFF)


def test_GIVEN_kill_WHEN_the_current_exceeds_the_set_one_THEN_the_channel_trips_at_once(host):
    host.set("CurrentSet", 1e-4, 0)
    host.up(500.0)
    host.set("ModuleControl", KEEP | ModuleControl.KILL_ENABLE)
    host.module.channels[0].load = 1.0
    host.wait(0.02)
    assert host.status() == ChannelStatus.TRIP
    assert ChannelEvent.ON_TO_OFF | ChannelEvent.TRIP in host.events()
    assert ModuleStatus.NO_SUM_ERROR not in host.board()
    assert not host.switch()  # blocked by the event
    host.module.channels[0].load = 1000.0
    host.set("ChannelEventStatus", 0xFEFE, 0)
    assert host.switch()


def test_GIVEN_kill_WHEN_the_output_leaves_its_bounds_THEN_the_channel_trips(host):
    host.up(500.0)
    host.set("VoltageBounds", 10.0, 0)
    host.set("ModuleControl", KEEP | ModuleControl.KILL_ENABLE)
    host.wait(0.1)
    assert ChannelStatus.ON in host.status()
    host.module.channels[0].error_volts = 11.0
    host.wait(0.02)
    assert ChannelStatus.TRIP in host.status()


def test_GIVEN_kill_WHEN_the_voltage_passes_the_hardware_limit_THEN_the_limit_is_named(host):
    host.up(3000.0)
    host.set("ModuleControl", KEEP | ModuleControl.KILL_ENABLE)
    host.module.volts_max = 40.0
    host.wait(0.1)
    assert ChannelStatus.TRIP | ChannelStatus.VOLTAGE_LIMIT in host.status()


def test_GIVEN_kill_WHEN_a_faster_ramp_is_stored_THEN_it_is_limited_until_the_limit_is_lifted(host):
    host.set("ModuleControl", KEEP | ModuleControl.KILL_ENABLE)
    host.set("VoltageSet", 3000.0, 0)
    host.switch()
    host.wait(1.0)
    assert host.module.channels[0].ramp == pytest.approx(60.0)
    assert ModuleStatus.RAMP_SPEED_LIMITED in ModuleStatus(host.get("ModuleStatus32"))
    host.set("ModuleControl32", KEEP | ModuleControl.KILL_ENABLE | ModuleControl.NO_RAMP_SPEED_LIMIT)
    host.wait(1.0)
    assert host.module.channels[0].ramp == pytest.approx(660.0)


def test_GIVEN_set_points_WHEN_they_are_beyond_THEN_they_are_clipped_to_the_hardware_or_refused(host):
    host.module.volts_max = 50.0
    host.set("VoltageSet", 4000.0, 0)
    assert host.get("VoltageSet", 0) == pytest.approx(3000.0, rel=1e-5)
    host.set("VoltageSet", 6001.0, 0)
    assert host.get("VoltageSet", 0) == pytest.approx(3000.0, rel=1e-5)
    assert host.status() == ChannelStatus.INPUT_ERROR
    host.set("CurrentSet", 2e-3, 1)
    assert host.get("CurrentSet", 1) == pytest.approx(1e-3)
    assert host.events(1) == ChannelEvent.INPUT_ERROR


def test_GIVEN_a_safety_loop_WHEN_it_opens_THEN_all_goes_off_and_stays_so_until_events_are_cleared(host):
    host.up(500.0)
    host.set("ModuleEventMask", ModuleEvent.SAFETY_LOOP_NOT_GOOD)
    host.unasked.clear()
    host.module.safety_loop = False
    host.wait(0.02)
    assert [type(decode(one)) for one in host.unasked] == [General]
    assert host.module.channels[0].volts == 0.0
    assert not host.board() & (ModuleStatus.SAFETY_LOOP_GOOD | ModuleStatus.MODULE_GOOD)
    assert ModuleStatus.EVENT_ACTIVE in host.board()
    host.set("ModuleEventStatus", 0xFFFF)
    assert host.get("ModuleEventStatus") == ModuleEvent.SAFETY_LOOP_NOT_GOOD  # the cause persists
    host.module.safety_loop = True
    assert not host.switch()
    host.set("ModuleControl", KEEP | ModuleControl.CLEAR)
    assert host.get("ModuleControl") == KEEP
    assert host.switch()


@pytest.mark.parametrize(
    ("attribute", "value", "bit", "event", "off"),
    [
        ("temperature", 56.0, ModuleStatus.TEMPERATURE_GOOD, ModuleEvent.TEMPERATURE_NOT_GOOD, True),
        ("supply24", 21.0, ModuleStatus.SUPPLY_GOOD, ModuleEvent.SUPPLY_NOT_GOOD, False),
        ("supply5", 5.3, ModuleStatus.SUPPLY_GOOD, ModuleEvent.SUPPLY_NOT_GOOD, False),
    ],
)
def test_GIVEN_a_board_WHEN_a_condition_is_bad_THEN_status_and_event_say_so(host, attribute, value, bit, event, off):
    host.up(500.0)
    setattr(host.module, attribute, value)
    host.wait(0.02)
    assert not host.board() & (bit | ModuleStatus.MODULE_GOOD)
    assert host.get("ModuleEventStatus") == event
    assert (ChannelStatus.ON in host.status()) is not off


@pytest.mark.parametrize(("action", "on"), [(Action.NONE, True), (Action.OFF, False), (Action.RAMP_DOWN, False)])
def test_GIVEN_an_inhibit_line_WHEN_it_is_active_THEN_the_channel_acts_as_configured(host, action, on):
    host.set("ExternalInhibitAction", action, 0)
    host.up(500.0)
    host.module.channels[0].inhibited = True
    host.wait(0.02)
    assert ChannelStatus.INHIBIT in host.status()
    assert (ChannelStatus.ON in host.status()) is on
    host.module.channels[0].inhibited = False
    host.wait(0.02)
    assert ChannelEvent.INHIBIT in host.events()


def test_GIVEN_an_interlock_WHEN_the_host_sets_it_THEN_every_channel_goes_off_with_an_event(host):
    host.up(500.0)
    host.set("ModuleControl", KEEP | ModuleControl.INTERLOCK)
    assert host.get("OnAll") == 0
    assert host.get("InhibitAll") == 0b1111


def test_GIVEN_more_channels_than_a_word_of_all_has_bits_WHEN_it_is_read_or_cleared_THEN_it_is_about_those_it_reaches():
    host = Host(channels=48)
    for channel in (31, 32, 47):
        host.module.channels[channel].events |= int(ChannelEvent.TRIP)
    assert host.get("TripAll") == 1 << 31
    host.set("ModuleControl", KEEP | ModuleControl.INTERLOCK)
    assert host.get("InhibitAll") == 0xFFFFFFFF
    host.set("TripAll", 0xFFFFFFFF)
    assert [ChannelEvent.TRIP in host.events(channel) for channel in (31, 32, 47)] == [False, True, True]
    assert host.get("TripAll") == 0

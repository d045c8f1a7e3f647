"""The simulated iseg module: physics, protections, events and registration, without a bus and without waiting."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devices.iseg.edcp.bits import (
    ChannelEvent,
    ChannelStatus,
    GeneralDetail,
    GeneralStatus,
    ModuleEvent,
    ModuleStatus,
)
from devices.iseg.edcp.items import BY_NAME, ITEMS
from devices.iseg.edcp.protocol import (
    Announcement,
    Data,
    General,
    Service,
    broadcast,
    decode,
    general_request,
    join_text,
    read,
    registration,
)
from devices.iseg.simulator.answers import respond
from devices.iseg.simulator.module import E08F2, E16C1, F460N, FLEX, OLD_MASK
from devices.links.can_frame import Frame
from tests.devices.iseg.simulator.host import Host


def test_GIVEN_a_ramp_of_10_percent_WHEN_the_channel_is_switched_on_THEN_volts_rise_600_V_a_second(host):
    host.set("VoltageSet", 3000.0, 0)
    host.switch()
    volts = []
    for _ in range(6):
        host.wait(1.0)
        volts.append(host.get("VoltageMeasure", 0))
    assert [b - a for a, b in pairwise(volts[:4])] == pytest.approx([600.0] * 3, abs=25)
    assert volts[-1] == 3000.0
    assert host.get("CurrentMeasure", 0) == pytest.approx(3e-6)


def test_GIVEN_a_channel_at_voltage_WHEN_it_is_switched_off_THEN_it_ramps_down_and_says_so(host):
    host.up(2400.0)
    host.set("ChannelEventStatus", 0xFEFE, 0)
    assert not host.switch(on=False)
    host.wait(0.5)
    assert host.status() == ChannelStatus.RAMPING
    host.wait(2.0)
    assert host.status() == 0
    assert ChannelEvent.END_OF_RAMP in host.events()
    assert host.get("VoltageMeasure", 0) == 0.0


def test_GIVEN_masks_WHEN_a_channel_trips_THEN_one_active_frame_and_the_map_of_channels_tell(host):
    host.set("ChannelEventMask", ChannelEvent.TRIP, 2)
    host.set("ModuleEventChannelMask", 0b1111, 0)
    host.module.trip(2)
    host.module.trip(1)  # not masked in
    host.wait(0.1)
    alarms = [decode(one) for one in host.unasked]
    assert [(alarm.active, alarm.detail) for alarm in alarms] == [(True, GeneralDetail.TRIP)]
    assert host.get("ModuleEventChannelStatus", 0) == 0b0100
    host.set("ChannelEventStatus", ChannelEvent.TRIP, 2)
    assert host.get("ModuleEventChannelStatus", 0) == 0
    assert ModuleStatus.EVENT_ACTIVE not in host.board()


def test_GIVEN_no_masks_WHEN_a_channel_trips_THEN_no_active_frame_is_sent(host):
    host.module.trip(2)
    host.wait(0.1)
    assert host.unasked == []


def test_GIVEN_a_registered_module_WHEN_no_host_speaks_for_a_minute_THEN_it_announces_itself_every_second(host):
    host.wait(59.0)
    host.get("ModuleStatus")
    host.wait(59.0)
    assert host.unasked == []
    host.wait(2.0)
    host.unasked.clear()
    for _ in range(50):
        host.wait(0.1)
    assert [type(decode(one)) for one in host.unasked] == [Announcement] * 5
    assert host.get("ModuleStatus") is None
    respond(host.module, registration(5, True))
    assert host.get("ModuleStatus") == 0x7701


def test_GIVEN_outputs_on_WHEN_the_host_goes_away_or_the_module_is_released_THEN_they_stay_on(host):
    host.up(500.0)
    respond(host.module, registration(5, False))
    host.wait(120.0)
    assert host.module.channels[0].volts == 500.0


def test_GIVEN_settings_WHEN_the_module_loses_power_THEN_it_comes_back_empty_and_announces_itself(host):
    host.up(500.0)
    host.set("ModuleEventMask", 0xFFFF)
    host.module.power_cycle()
    host.wait(0.1)
    assert [type(decode(one)) for one in host.unasked] == [Announcement]
    respond(host.module, registration(5, True))
    assert (host.get("VoltageSet", 0), host.get("OnAll"), host.get("ModuleEventMask")) == (0.0, 0, 0)


def test_GIVEN_old_firmware_WHEN_it_is_asked_for_many_channels_THEN_it_answers_only_what_it_understands():
    assert Host().all("VoltageMeasure") == dict.fromkeys(range(4), 0.0)
    assert Host(OLD_MASK, 20).all("VoltageMeasure") == {}
    assert Host(OLD_MASK, 20).all("VoltageMeasure", 0xFFFF, 16) == dict.fromkeys(range(16, 20), 0.0)
    assert Host(F460N).all("VoltageMeasure", 0xFFFF) == {}
    for firmware, count in ((F460N, 4), (OLD_MASK, None), (FLEX, 4)):
        assert Host(firmware).get("ChannelNumber") == count
    assert Host(F460N).get("ModuleStatus32") is None
    assert Host(F460N).get("VariableGroup", 0) is None


def test_GIVEN_ramps_of_channels_WHEN_the_board_has_them_THEN_they_count_and_otherwise_do_nothing():
    old, new = Host(F460N), Host(FLEX)
    for host, volts in ((old, -500.0), (new, 500.0)):
        host.set("VoltageSet", volts, 0)
        host.set("VoltageRampSpeedUp", 50.0, 0)
        host.switch()
        host.wait(1.0)
    assert old.get("VoltageRampSpeedUp", 0) is None
    assert old.module.channels[0].ramp == 500.0
    assert new.get("VoltageRampSpeedUp", 0) == 50.0
    assert new.module.channels[0].ramp == pytest.approx(50.0)
    assert (new.get("VoltageRampSpeedMin", 0), new.get("VoltageRampSpeedMax", 0)) == (pytest.approx(0.001), 600.0)


def test_GIVEN_a_negative_board_WHEN_a_positive_voltage_is_set_THEN_it_is_refused_and_readings_are_negative():
    host = Host(E08F2)
    host.set("VoltageSet", 100.0, 0)
    assert host.events() == ChannelEvent.INPUT_ERROR
    host.set("VoltageSet", -100.0, 0)
    host.switch()
    host.wait(1.0)
    assert (host.get("VoltageSet", 0), host.get("VoltageMeasure", 0)) == (-100.0, -100.0)
    assert host.get("CurrentMeasureRange", 0) == (pytest.approx(1e-7), 1)
    assert ChannelStatus.LOW_RANGE in host.status()


def test_GIVEN_all_channels_WHEN_one_request_sets_them_THEN_all_obey(host):
    host.set("VoltageSetAll", 300.0)
    host.set("CurrentSetAll", 5e-4)
    host.set("OnAll", 0b0101)
    host.wait(1.0)
    assert host.all("VoltageSet") == dict.fromkeys(range(4), 300.0)
    assert host.get("CurrentSet", 3) == pytest.approx(5e-4)
    assert [channel.on for channel in host.module.channels] == [True, False, True, False]
    host.set("EmergencyOffAll", 0b0001)
    assert host.get("EmergencyOffAll") == 0b0001
    assert [channel.on for channel in host.module.channels] == [False, False, True, False]
    host.set("EmergencyOffAll", 0)
    assert host.get("EmergencyOffAll") == 0


def test_GIVEN_broadcasts_WHEN_they_arrive_THEN_groups_and_states_obey(host):
    host.set("GroupNumber", 3, 1)
    respond(host.module, broadcast(Service.SET_CHANNELS, bytes.fromhex("03610042480000")))
    assert host.all("VoltageSet") == {0: 0.0, 1: 50.0, 2: 0.0, 3: 0.0}
    respond(host.module, broadcast(Service.BIT_RATE, b"\0\xfa"))
    assert host.get("BitRate") == 125  # only after stop
    respond(host.module, broadcast(Service.STOP))
    respond(host.module, broadcast(Service.BIT_RATE, b"\0\xfa"))
    host.set("BitRate", 100)
    assert host.get("BitRate") == 100
    respond(host.module, broadcast(Service.RESET))
    assert not host.module.registered
    assert host.module.bit_rate == 100


def test_GIVEN_the_older_protocol_WHEN_it_is_switched_to_THEN_the_module_announces_itself_but_answers_nothing(host):
    respond(host.module, broadcast(Service.PROTOCOL, b"\0"))
    assert host.get("ModuleStatus") is None
    host.module.reset_can()
    host.wait(0.1)
    assert decode(host.unasked[0]).device_class == 7
    (frame,) = respond(host.module, general_request(5))
    assert decode(frame).status == GeneralStatus(0x37)


def test_GIVEN_identity_WHEN_it_is_read_THEN_it_is_that_of_the_type(host):
    parts = [decode(one).value for one in respond(host.module, read(5, BY_NAME["ArticleDescription"]))]
    assert join_text(parts) == "EHS E16C1"
    assert host.get("FirmwareRelease") == (5, 1, 0, 0)
    assert host.get("SerialNumber") == 7900016
    assert [host.get("Temperature", n) for n in range(4)] == [*(pytest.approx(t) for t in (31.5, 31.3, 31.5)), None]
    assert host.get("SupplyMeasure", 0) == pytest.approx(24.1)
    assert host.get("AdcSamplesPerSecond") == 500
    host.set("AdcSamplesPerSecond", 50)
    assert host.get("AdcSamplesPerSecond") == 50


@pytest.mark.parametrize("what", ["unknown", "write", "garbage"])
def test_GIVEN_what_the_module_does_not_know_WHEN_it_arrives_THEN_silence_and_the_input_error(host, what):
    if what == "unknown":
        host.module.unknown.add(0x1106)
        assert host.get("BoardTemperature") is None
    elif what == "write":
        assert respond(host.module, Frame(0x228, bytes.fromhex("110441C00000"))) == []
    else:
        assert respond(host.module, Frame(0x228, bytes.fromhex("4FFF"))) == []
    assert ModuleStatus.INPUT_ERROR in host.board()
    host.set("ModuleEventStatus", ModuleEvent.INPUT_ERROR)
    assert ModuleStatus.INPUT_ERROR not in host.board()


def test_GIVEN_a_misspelt_attribute_WHEN_it_is_set_THEN_that_is_an_error(host):
    for thing in (host.module, host.module.channels[0]):
        with pytest.raises(AttributeError):
            thing.savety_loop = False


def test_GIVEN_noise_WHEN_the_output_is_constant_THEN_readings_vary(host):
    host.module.noise_volts = 0.1
    host.up(500.0)
    readings = set()
    for _ in range(5):
        host.wait(0.1)
        readings.add(host.get("VoltageMeasure", 0))
    assert len(readings) == 5
    assert all(reading == pytest.approx(500.0, abs=1.0) for reading in readings)


FRAMES = st.one_of(
    st.builds(Frame, st.sampled_from([0x228, 0x229, 0x004]), st.binary(max_size=8)),
    st.builds(
        lambda identifier, number, many, rest: Frame(identifier, (number | many).to_bytes(2, "big") + rest),
        st.sampled_from([0x228, 0x229]),
        st.sampled_from(sorted(ITEMS)),
        st.sampled_from([0, 0x2000]),
        st.binary(max_size=6),
    ),
)


@given(st.sampled_from([E16C1, E08F2, F460N, FLEX, OLD_MASK]), st.lists(FRAMES, max_size=20))
def test_GIVEN_any_frames_WHEN_they_arrive_THEN_the_module_lives_and_answers_in_its_own_name(firmware, frames):
    host = Host(firmware)
    for frame in frames:
        for answer in respond(host.module, frame):
            assert answer.id in (0x228, 0x028)
            assert isinstance(decode(answer), Data | General)
        host.wait(0.05)
    for channel in host.module.channels:
        assert 0.0 <= channel.volts <= channel.volts_nominal * (1 + 1e-5)

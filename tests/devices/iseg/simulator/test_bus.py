"""The simulated segment over real interfaces of python-can, with its faults and its model of the wire."""

import time
from contextlib import contextmanager

import can
import pytest
from hypothesis import given
from hypothesis import strategies as st

from devices.iseg.edcp.items import BY_NAME
from devices.iseg.edcp.protocol import (
    Announcement,
    Data,
    Unexplained,
    decode,
    read,
    read_channels,
    registration,
    write,
)
from devices.iseg.simulator.bus import simulated_bus
from devices.iseg.simulator.module import E08F2, SimulatedIsegModule
from devices.iseg.simulator.wire import HOST, Wire, frame_bits
from devices.links.can_frame import ControllerState, Frame, controller_error
from tests.conftest import unavailable
from tests.machines import needs_multicast
from tests.softioc import free_port

STATUS, VOLTS = BY_NAME["ModuleStatus"], BY_NAME["VoltageMeasure"]


class Host:
    def __init__(self, bus):
        self.bus = bus

    def send(self, frame):
        self.bus.send(can.Message(arbitration_id=frame.id, data=frame.data, is_extended_id=False))

    def ask(self, frame, count=1, seconds=2.0):
        self.send(frame)
        return self.hear(count, seconds)

    def hear(self, count, seconds=2.0, kind=object):
        frames, end = [], time.monotonic() + seconds
        while len(frames) < count and (left := end - time.monotonic()) > 0:
            if (m := self.bus.recv(left)) is not None:
                frame = Frame(m.arbitration_id, bytes(m.data), m.is_extended_id, error=m.is_error_frame)
                frames += [frame] if isinstance(decode(frame), kind) else []
        return frames

    def values(self, frame, count=1, seconds=2.0):
        """Ask, and return so many values, whatever a module announces or reports meanwhile."""
        self.send(frame)
        return [decode(one).value for one in self.hear(count, seconds, Data)]


@contextmanager
def host(**options):
    with can.Bus(**options) as bus:
        yield Host(bus)


@pytest.fixture
def module():
    one = SimulatedIsegModule(5)
    one.register(True)
    return one


@contextmanager
def virtual(*modules, **options):
    channel = f"test {time.monotonic()}"
    with (
        simulated_bus(*modules, channel=channel, **options) as segment,
        host(interface="virtual", channel=channel) as h,
    ):
        yield segment, h


def test_GIVEN_the_virtual_bus_WHEN_many_channels_are_asked_THEN_each_answers(module):
    with virtual(module) as (_, h):
        assert h.values(read_channels(5, VOLTS), 16) == [0.0] * 16


def test_GIVEN_two_modules_WHEN_each_is_asked_THEN_each_answers_itself(module):
    with virtual(module, SimulatedIsegModule(2, E08F2, channels=8)) as (_, h):
        h.send(registration(2, True))
        assert [h.values(read(a, BY_NAME["ChannelNumber"])) for a in (5, 2)] == [[16], [8]]


def test_GIVEN_an_unregistered_module_WHEN_no_host_registers_it_THEN_it_announces_itself():
    with virtual(SimulatedIsegModule(5)) as (segment, h):
        first, second = h.hear(2, 3.0)
        assert decode(first) == decode(second)
        assert isinstance(decode(first), Announcement)
        h.send(registration(5, True))
        assert h.values(read(5, STATUS)) == [0x7701]
        assert segment.written() == []


def test_GIVEN_slcan_WHEN_the_adapter_is_pulled_and_plugged_in_again_THEN_the_same_path_answers(module):
    with simulated_bus(module, interface="slcan") as segment:
        options = {"interface": "slcan", "channel": segment.channel, "bitrate": 125000, "sleep_after_open": 0}
        with host(**options) as h:
            assert h.values(read(5, STATUS)) == [0x7701]
            segment.unplug()
            with pytest.raises(can.CanError):
                h.hear(1, 1.0)
            h.bus.shutdown = lambda: None  # it would write to what is gone
        h.bus.serialPortOrig.close()
        can.BusABC.shutdown(h.bus)
        segment.plug_in()
        with host(**options) as h:
            assert h.values(read(5, STATUS)) == [0x7701]


def test_GIVEN_slcan_WHEN_the_host_chooses_another_bit_rate_THEN_nothing_is_received(module):
    with (
        simulated_bus(module, interface="slcan") as segment,
        host(interface="slcan", channel=segment.channel, bitrate=250000, sleep_after_open=0) as h,
    ):
        assert h.ask(read(5, STATUS), seconds=0.3) == []


def test_GIVEN_slcan_WHEN_the_adapter_says_nonsense_THEN_the_host_sees_those_bytes(module):
    with (
        simulated_bus(module, interface="slcan") as segment,
        host(interface="slcan", channel=segment.channel, bitrate=125000, sleep_after_open=0) as h,
    ):
        assert h.values(read(5, STATUS)) == [0x7701]
        segment.send_raw(b"tXYZ\r")
        with pytest.raises(ValueError, match="XYZ"):
            h.hear(1)


def test_GIVEN_udp_multicast_WHEN_a_module_is_asked_THEN_it_answers_and_ignores_its_own_echo(module):
    needs_multicast()
    options = {"channel": "239.74.163.2", "hop_limit": 0, "port": free_port()}
    try:
        with simulated_bus(module, interface="udp_multicast", **options) as segment:
            with host(interface="udp_multicast", **options) as h:
                sent = read(5, STATUS)
                frames = h.ask(sent, 2)
                assert frames[0] == sent  # this interface returns what one sends
                assert decode(frames[1]).value == 0x7701
            assert segment.written() == []
    except (can.CanInterfaceNotImplementedError, OSError) as error:
        unavailable(f"udp_multicast: {error}")


def test_GIVEN_a_silent_module_WHEN_both_are_asked_THEN_the_other_one_answers(module):
    other = SimulatedIsegModule(6)
    other.register(True)
    with virtual(module, other) as (segment, h):
        segment.faults.silent.add(5)
        assert h.ask(read(5, STATUS), seconds=0.2) == []
        assert h.values(read(6, STATUS)) == [0x7701]


def test_GIVEN_lost_frames_WHEN_a_hundred_requests_are_made_THEN_some_answers_are_missing(module):
    with virtual(module) as (segment, h):
        segment.faults.lose = 0.05
        for _ in range(100):
            h.send(read(5, STATUS))
        assert 70 <= len(h.hear(100, 0.5)) < 100
        assert len(segment.received) == 100


def test_GIVEN_duplicates_WHEN_one_request_is_made_THEN_the_answer_comes_twice(module):
    with virtual(module) as (segment, h):
        segment.faults.duplicate = 1.0
        first, second = h.ask(read(5, STATUS), 2)
        assert first == second


def test_GIVEN_reordering_WHEN_many_channels_are_asked_THEN_all_answer_in_another_order(module):
    with virtual(module) as (segment, h):
        segment.faults.reorder = 0.3
        channels = [decode(one).index for one in h.ask(read_channels(5, VOLTS), 16)]
        assert sorted(channels) == list(range(16))
        assert channels != sorted(channels)


def test_GIVEN_garbage_WHEN_requests_are_made_THEN_the_answers_are_among_frames_without_meaning(module):
    with virtual(module) as (segment, h):
        segment.faults.garbage = 1.0
        messages = [decode(one) for _ in range(20) for one in h.ask(read(5, STATUS), 2)]
        assert sum(isinstance(m, Data) and m.item is STATUS for m in messages) == 20
        assert sum(isinstance(m, Unexplained) for m in messages) >= 15


def test_GIVEN_bus_off_WHEN_it_ends_THEN_error_frames_report_both_and_the_module_answers_again(module):
    with virtual(module) as (segment, h):
        segment.bus_off(True)
        assert [controller_error(one).state for one in h.hear(1)] == [ControllerState.OFF]
        assert h.ask(read(5, STATUS), seconds=0.2) == []
        segment.bus_off(False)
        assert [controller_error(one).state for one in h.hear(1)] == [ControllerState.ACTIVE]
        assert h.values(read(5, STATUS)) == [0x7701]


def test_GIVEN_a_flood_of_2000_frames_a_second_WHEN_a_second_is_counted_THEN_that_many_came(module):
    with virtual(module) as (segment, h):
        segment.faults.flood = 2000.0
        frames = h.hear(4000, 1.0)
        assert 1000 <= len(frames) <= 2500
        assert not any(isinstance(decode(one), Data) and decode(one).address == 5 for one in frames)


def test_GIVEN_a_module_pulled_out_WHEN_it_is_plugged_in_again_THEN_it_announces_itself(module):
    with virtual(module) as (segment, h):
        segment.remove(5)
        assert h.ask(read(5, STATUS), seconds=0.2) == []
        module.power_cycle()
        segment.add(module)
        assert isinstance(decode(h.hear(1)[0]), Announcement)


def test_GIVEN_a_host_that_writes_WHEN_the_log_is_read_THEN_exactly_the_writes_are_in_it(module):
    with virtual(module) as (segment, h):
        h.send(registration(5, True))
        setting = write(5, BY_NAME["VoltageSet"], 100.0, 3)
        h.send(setting)
        assert h.values(read(5, BY_NAME["VoltageSet"], 3)) == [100.0]
        assert segment.written() == [setting]


def test_GIVEN_a_bit_rate_WHEN_16_channels_are_polled_THEN_it_takes_the_time_of_the_wire(module):
    with virtual(module, bit_rate=125) as (segment, h):
        begun = time.monotonic()
        for _ in range(10):
            assert len(h.ask(read_channels(5, VOLTS), 16)) == 16
        took = time.monotonic() - begun
        assert segment.wire.frames == 170
        assert segment.wire.busy == pytest.approx(segment.wire.bits / 125000)
        assert segment.wire.busy < took < segment.wire.busy + 2.0  # a loaded machine may take its time


@pytest.mark.parametrize(
    ("data", "least", "most"), [(2, 63, 75), (3, 71, 85), (5, 87, 105), (7, 103, 125), (8, 111, 135)]
)
def test_frames_take_47_and_8_bits_for_each_byte_and_the_stuffing(data, least, most):
    widths = [frame_bits(n, bytes((n * k) % 256 for k in range(data))) for n in range(0x7FF)]
    assert least <= min(widths) < max(widths) <= most


def bits_by_hand(identifier, data):
    """The same count by long division and by looking at what has already been sent."""
    head = f"0{identifier:011b}000{len(data):04b}" + "".join(f"{byte:08b}" for byte in data)
    rest = int(head, 2) << 15
    for shift in range(len(head) - 1, -1, -1):
        if rest >> (shift + 15) & 1:
            rest ^= 0xC599 << shift
    sent = ""
    for bit in f"{head}{rest:015b}":
        sent += bit
        if sent[-5:] in ("00000", "11111"):
            sent += "10"[int(bit)]
    return len(sent) + 13


@given(st.integers(0, 0x7FF), st.binary(max_size=8))
def test_bits_of_any_frame(identifier, data):
    assert frame_bits(identifier, data) == bits_by_hand(identifier, data)


def test_a_frame_of_zeros_has_a_stuff_bit_after_every_fifth():
    assert frame_bits(0, b"") == 47 + 6


def test_the_lowest_identifier_goes_first_and_a_node_keeps_its_order():
    wire = Wire(125000)
    for sender, identifier in ((HOST, 0x300), (5, 0x228), (5, 0x028), (2, 0x210)):
        wire.offer(Frame(identifier, b"\0"), 0.0, sender)
    assert [passed.frame.id for passed in wire.run(1.0)] == [0x210, 0x228, 0x028, 0x300]

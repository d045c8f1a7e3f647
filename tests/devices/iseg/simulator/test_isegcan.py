"""isegcan 0.7 from PyPI, a client by others: it registers with the simulated module, reads, sets, switches, resets.

It understands only the one-byte form of the channel number, waits 0.3 s for every answer, and works from blocking
code; importing it changes python-can's defaults, which are put back.
"""

import gc
import time
from contextlib import contextmanager
from dataclasses import replace

import can
import pytest

from devices.iseg.edcp.bits import ChannelEvent, ChannelStatus, ModuleStatus
from devices.iseg.simulator.bus import simulated_bus
from devices.iseg.simulator.module import E16C1, F460N, SimulatedIsegModule
from tests.conftest import unavailable

POSITIVE = replace(E16C1, count_bytes=1)


@pytest.fixture
def client_class():
    defaults = dict(can.rc)
    try:
        from isegcan.can_edcp import Resource
    except ImportError as error:
        unavailable(f"isegcan: {error}")
    yield Resource
    can.rc.clear()
    can.rc.update(defaults)


@contextmanager
def connected(client_class, module):
    channel = f"isegcan {time.monotonic()}"
    with simulated_bus(module, channel=channel) as segment:
        client = client_class(module.address, channel=channel, interface="virtual", bitrate=125000)
        try:
            yield segment, client
        finally:
            del client  # it releases the module and closes its bus when it is collected
            gc.collect()


def wait_until(condition, seconds=5.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not within {seconds} s"
        time.sleep(0.01)


def test_GIVEN_isegcan_WHEN_it_connects_THEN_it_registers_and_learns_the_channels(client_class):
    module = SimulatedIsegModule(5, POSITIVE, channels=8)
    with connected(client_class, module) as (segment, client):
        assert module.registered
        assert client.module_channel_number == 8
        assert ModuleStatus(client.module_status_query(None, 0)) == 0x7701
        assert segment.written() == []
        del client
    assert not module.registered  # released when the client ended


def test_GIVEN_isegcan_WHEN_it_sets_and_switches_THEN_the_output_follows(client_class):
    module = SimulatedIsegModule(5, POSITIVE, channels=8)
    with connected(client_class, module) as (_, client):
        assert client.voltage_set(600.0, 3) == 600.0
        assert client.current_set(2e-5, 3) == pytest.approx(2e-5)
        assert client.ramp_speed(1200.0, None) == pytest.approx(1200.0)
        assert client.state(1, 3) is True
        wait_until(lambda: module.measured[3][0] == 600.0)
        assert client.voltage_out_query(None, 3) == 600.0
        assert client.current_out_query(None, 3) == pytest.approx(600e-9)
        assert ChannelStatus(client.channel_status_query(None, 3)) == 0x0088
        assert client.state(0, 3) is False
        wait_until(lambda: module.measured[3][0] == 0.0)


def test_GIVEN_a_trip_WHEN_isegcan_resets_it_THEN_the_channel_can_be_switched_on_again(client_class):
    module = SimulatedIsegModule(5, POSITIVE, channels=8)
    with connected(client_class, module) as (segment, client):
        client.voltage_set(100.0, 0)
        client.state(1, 0)
        with segment.lock:
            module.trip(0)
        assert ChannelStatus.TRIP in ChannelStatus(client.channel_status_query(None, 0))
        assert client.state(1, 0) is False
        assert ChannelEvent.TRIP not in ChannelEvent(client.reset_trip(None, 0))
        assert client.state(1, 0) is True


def test_GIVEN_old_negative_firmware_WHEN_isegcan_reads_THEN_signs_are_those_of_the_polarity(client_class):
    module = SimulatedIsegModule(5, F460N, channels=16)
    with connected(client_class, module) as (_, client):
        assert client.module_channel_number == 16
        assert client.query_channel_nominal_voltage(None, 15) == -6000.0
        assert client.voltage_set(-250.0, 15) == -250.0
        assert client.ramp_speed_query(None, None) == pytest.approx(600.0)

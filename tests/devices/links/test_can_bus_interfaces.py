"""The interfaces of python-can under a driver: options, frames that come back, a serial adapter that is pulled."""

from __future__ import annotations

import asyncio

import can
import pytest

from devices.errors import LinkDown, Refused
from devices.iseg.simulator import answers
from devices.iseg.simulator.bus import simulated_bus
from devices.links import can_bus
from devices.links.can_options import option_mistakes
from tests.conftest import unavailable
from tests.devices.iseg.bench import CLOCK, bench, make_driver, make_module
from tests.fair_time import until
from tests.machines import needs_multicast
from tests.softioc import free_port


def test_wrong_options_are_named_and_right_ones_pass():
    assert list(option_mistakes({"interface": "virtual", "channel": "x", "bitrate": 125000})) == []
    assert list(option_mistakes({"interface": "socketcan", "channel": "can0", "bitrate": 125000})) == []
    assert list(option_mistakes({"interface": "slcan", "channel": "/dev/ttyACM0", "sleep_after_open": 0.1})) == []
    assert list(option_mistakes({"interface": "kvaser", "channel": 0, "driver_mode": True})) == []
    assert [name for name, _ in option_mistakes({"interface": "pcan", "chanel": "x"})] == ["chanel"]
    ((name, reason),) = option_mistakes({"interface": "slcn"})
    assert (name, reason[-20:]) == ("interface", "; did you mean slcan?"[-20:])
    assert [name for name, _ in option_mistakes({})] == ["interface"]


async def test_GIVEN_an_interface_that_echoes_WHEN_a_value_is_refused_THEN_the_echo_is_not_taken_for_the_answer(
    monkeypatch: pytest.MonkeyPatch,
):
    async with bench(connect=False) as made:
        bus = {"interface": "virtual", "channel": made.segment.channel, "receive_own_messages": True}
        driver = make_driver(made.segment, bus=bus, options={"can": "echoing"})
        try:
            await driver.connect()
            await driver.read(list(driver.signals()))
            read_module = answers._read_module
            monkeypatch.setattr(
                answers,
                "_read_module",
                lambda module, item, now: 100.0 if item.name == "VoltageMax" else read_module(module, item, now),
            )
            with made.segment.lock:
                made.module.volts_max = 10.0  # it does not report its potentiometer
            with pytest.raises(Refused, match="the module took 600 V instead of 1000 V"):
                await driver.write("CH03.VSET", 1000.0)
            await driver.write("CH03.VSET", 100.0)
        finally:
            await driver.close()


async def test_GIVEN_udp_multicast_WHEN_put_THEN_it_works_although_all_frames_come_back():
    needs_multicast()
    options = {"channel": "239.74.163.77", "port": free_port(), "hop_limit": 0}
    try:
        with simulated_bus(make_module(), interface="udp_multicast", **options) as segment:
            await _put_and_read(make_driver(segment, bus={"interface": "udp_multicast", **options}))
            assert segment.modules[5].channels[3].vset == 100.0
    except (can.CanError, OSError) as error:
        unavailable(f"udp_multicast: {error}")


async def test_GIVEN_an_slcan_adapter_WHEN_it_is_used_garbled_and_pulled_THEN_the_driver_notices_only_the_last():
    with simulated_bus(make_module(), interface="slcan") as segment:
        bus = {"interface": "slcan", "channel": segment.channel, "bitrate": 125000, "sleep_after_open": 0.0}
        driver = make_driver(segment, bus=bus, options={"can": "serial"})
        try:
            await _put_and_read(driver)
            segment.send_raw(b"t2281\xff\xfe\rtzz\r")
            await asyncio.sleep(0.1)
            assert (await driver.read(["MOD.STAT"]))["MOD.STAT"].value is not None
            lost: list[object] = []
            driver.notify(lost.append)
            segment.unplug()
            seconds = await until(lambda: bool(lost), 3.0, "the loss")
            print(f"unplugged, noticed after {seconds:.2f} s")
            await driver.close()
            with pytest.raises(LinkDown):
                await driver.connect()
            segment.plug_in()
            driver.settings.bus["channel"] = segment.channel  # type: ignore[index]
            rested = CLOCK.monotonic() + can_bus.RESTING
            await until(lambda: CLOCK.monotonic() > rested)
            await driver.connect()
        finally:
            await driver.close()


async def _put_and_read(driver):
    try:
        await driver.connect()
        await driver.read(list(driver.signals()))
        readings = await driver.write("CH03.VSET", 100.0)
        assert readings["CH03.VSET.RBV"].value == 100.0
    finally:
        if driver.settings.bus["interface"] != "slcan":
            await driver.close()

"""The load of a bus, as estimated, against the frames of a module in use on a wire that is counted."""

from __future__ import annotations

import pytest

from devices.iseg.catalogue import CHANNEL
from devices.iseg.load import SLOW, bus_load
from devices.model import DeviceSettings
from tests.devices.iseg.bench import bench


def settings(**more: object) -> DeviceSettings:
    values = {"channels": 16, "period": 1.0, "bus": {"bitrate": 125_000}} | more
    return DeviceSettings("ISEG5", "iseg-edcp", **values)  # type: ignore[arg-type]


def test_more_channels_and_faster_scans_take_more_of_the_bus():
    assert 0.03 < bus_load(settings()) < 0.10
    assert bus_load(settings(bus={"bitrate": 250_000})) == pytest.approx(bus_load(settings()) / 2)
    assert bus_load(settings(bus={})) == bus_load(settings())
    assert bus_load(settings(channels=8)) < bus_load(settings()) < bus_load(settings(period=0.5))
    assert bus_load(settings(channels=64, period=0.1)) > 1.0  # cannot be done


async def test_GIVEN_a_module_in_use_WHEN_its_frames_are_counted_THEN_the_estimate_is_right():
    async with bench() as made:
        with made.segment.lock:
            for channel in made.module.channels:
                channel.vset, channel.on, channel.ramp = 1234.5, True, 1234.5
        await made.look()
        bits = 0.0
        by_item = {row.items: name for name, row in CHANNEL.items() if not row.settable}
        scans = [(("VMON", "IMON", "STAT"), 1.0), *(((by_item[item,],), period) for item, period in SLOW.items())]
        for names, period in scans:
            before = made.segment.wire.bits
            await made.driver.read([f"CH{n:02d}.{name}" for n in range(16) for name in names])
            bits += (made.segment.wire.bits - before) / period
        assert bits / 125_000 == pytest.approx(bus_load(settings()), rel=0.2)

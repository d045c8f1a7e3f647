"""Limits in force are found anew only when what they depend on may have changed: here each of those things does."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from devices.errors import OutOfLimits, ReplyTimeout
from devices.iseg.edcp.bits import ModuleControl
from devices.iseg.edcp.items import BY_NAME
from devices.iseg.edcp.protocol import Request
from devices.iseg.question import Many
from devices.iseg.simulator import answers
from devices.iseg.simulator.module import E16C1, FLEX, OLD_MASK, SimulatedIsegModule
from devices.links.can_frame import Frame
from devices.model import Limits
from tests.devices.iseg.bench import Bench, bench, make_module
from tests.fair_time import until

OLD_SINGLE = replace(E16C1, many=Many.SINGLE)
SITE = {"limits": {"ISET": (0.0, 400.0)}, "channel_limits": {5: {"VSET": (10.0, 700.0), "RAMPUP": (1.0, 300.0)}}}


def shown(made: Bench) -> dict[str, Limits | None]:
    return {name: made.driver.limits(name) for name in made.driver.signals()}


@asynccontextmanager
async def changing(made: Bench, *names: str) -> AsyncIterator[None]:
    """Assert that what is done here changes the limits of these signals, and that all are as without any memory."""
    before = shown(made)
    yield
    after = shown(made)
    assert after == {name: made.driver._find_limits(name) for name in after}
    assert set(names) <= {name for name in after if after[name] != before[name]}


async def connect(made: Bench) -> None:
    """Connect, with limits asked for all the while; they are those of the connection from its first moment on."""
    connecting = asyncio.create_task(made.driver.connect())
    while not connecting.done():
        shown(made)
        await asyncio.sleep(0.001)
    await connecting
    assert made.driver.limits("CH03.VSET") is not None
    assert made.driver.limits("CH03.VSET") == made.driver._find_limits("CH03.VSET")


async def test_GIVEN_limits_that_were_shown_WHEN_the_module_or_a_group_has_others_THEN_they_follow():
    async with bench(**SITE) as made:
        for attribute, value, signal, limited in (
            ("volts_max", 10.0, "MOD.VMAX", "CH03.VSET"),
            ("amps_max", 20.0, "MOD.IMAX", "CH03.ISET"),
            ("control", made.module.control | ModuleControl.KILL_ENABLE, "MOD.STAT", "MOD.RAMPV"),
        ):
            async with changing(made, limited):
                with made.segment.lock:
                    setattr(made.module, attribute, value)
                await made.driver.read([signal])
        for members in (1 << 3 | 1 << 5, 0):
            async with changing(made, "CH03.VSET"):
                with made.segment.lock:
                    made.module.groups[7] = (members, 0x0110 | 3)  # copies the voltage setting of channel 3
                await made.driver.write("CH03.VSET", 100.0)


async def test_GIVEN_limits_that_were_shown_WHEN_connected_again_THEN_they_are_those_of_the_module_there_is():
    async with bench(**SITE) as made:
        async with changing(made, "CH03.VSET", "CH03.ISET", "CH03.RAMPUP", "MOD.RAMPV"):
            await made.driver.close()
            with made.segment.lock:
                made.module.firmware = replace(made.module.firmware, volts=500.0, amps=1e-4)
            await connect(made)  # the same module as before: its nominal values are read later
            await made.driver.read(made.everything())
        async with changing(made, "CH03.VSET", "CH09.VSET"):
            await made.driver.close()
            with made.segment.lock:
                made.segment.modules[5] = make_module(OLD_MASK, 8, serial=7900077)
            await connect(made)
        async with changing(made, "CH03.VSET", "MOD.RAMPV"):
            await made.driver.close()
            with made.segment.lock:
                made.module.unknown.add(BY_NAME["ModuleStatus"].id)
            with pytest.raises(ReplyTimeout):
                await made.driver.connect()


async def test_GIVEN_limits_that_were_shown_WHEN_the_ramp_of_channels_answers_later_THEN_they_are_its_own():
    async with bench(FLEX, connect=False) as made:
        item = BY_NAME["VoltageRampSpeedUp"].id
        made.module.unknown.add(item)
        await made.driver.connect()
        await made.driver.read(made.everything())
        async with changing(made, "CH03.RAMPUP"):
            await made.driver.close()
            with made.segment.lock:
                made.module.unknown.discard(item)
            await made.driver.connect()
            await made.driver.read(made.everything())
            await until(made.driver._limits.ramp_is_own)
            await made.driver.read(made.everything())


@pytest.mark.parametrize("read_as", [None, 0.0])
async def test_GIVEN_one_ramp_for_all_WHEN_the_nominal_voltage_of_a_limited_channel_is_missing_THEN_its_limit_holds(
    read_as, monkeypatch
):
    original = answers._answers

    def spoilt(module: SimulatedIsegModule, request: Request) -> list[Frame]:
        frames = {frame.data[2]: frame for frame in original(module, request)}
        if request.item.name == "VoltageNominal" and (frame := frames.pop(5, None)) and read_as is not None:
            frames[5] = frame._replace(data=frame.data[:3] + struct.pack(">f", read_as))
        return list(frames.values())

    async with bench(**SITE) as made:
        await made.driver.close()
        monkeypatch.setattr(answers, "_answers", spoilt)
        await made.driver.connect()  # the same module as before, so that its nominal voltages are read later
        await made.driver.read(made.everything())
    async with bench(**SITE) as other:
        for driver in (made.driver, other.driver):
            found = driver.limits("CH03.RAMPUP")
            assert (found.high, found.high_from) == (300.0, "site limit of CH05:RAMPUP")
        with pytest.raises(OutOfLimits, match=r"above 300 V/s \(site limit of CH05:RAMPUP\)"):
            await other.driver.write("CH03.RAMPUP", 301.0)
        assert other.written() == []


async def test_GIVEN_one_ramp_for_all_WHEN_the_nominal_voltage_of_a_limited_channel_comes_later_THEN_the_limit_follows(
    monkeypatch,
):
    silent = [True]

    def nominal(module: SimulatedIsegModule, channel: int) -> float | None:
        return None if channel == 5 and silent[0] else 12000.0 if channel == 5 else 6000.0

    monkeypatch.setitem(answers._OF_CHANNEL, "VoltageNominal", nominal)
    async with bench(OLD_SINGLE, **SITE) as made:
        assert made.driver.limits("MOD.RAMPV").high == 5.0
        silent[0] = False
        async with changing(made, "CH03.RAMPUP", "MOD.RAMPV"):
            await made.driver.read(["CH05.VNOM"])
        assert made.driver.limits("MOD.RAMPV").high == 2.5

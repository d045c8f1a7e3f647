"""Limits in force are found anew only when what they depend on may have changed: here each of those things does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from devices.errors import OutOfLimits, ReplyTimeout
from devices.iseg.edcp.bits import ModuleControl
from devices.iseg.edcp.items import BY_NAME
from devices.iseg.edcp.protocol import Request
from devices.iseg.simulator import answers
from devices.iseg.simulator.module import FLEX, OLD_MASK, SimulatedIsegModule
from devices.links.can_frame import Frame
from devices.model import Limits
from tests.devices.iseg.bench import Bench, bench, make_module
from tests.fair_time import until

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


async def test_GIVEN_one_ramp_for_all_WHEN_the_nominal_voltage_of_a_limited_channel_comes_later_THEN_its_limit_holds(
    monkeypatch,
):
    original, silent = answers._answers, [True]

    def without_channel_5(module: SimulatedIsegModule, request: Request) -> list[Frame]:
        found = original(module, request)
        lost = silent[0] and request.item.name == "VoltageNominal"
        return [frame for frame in found if not (lost and frame.data[2] == 5)]

    monkeypatch.setattr(answers, "_answers", without_channel_5)
    async with bench(**SITE) as made:
        silent[0] = False
        async with changing(made, "CH03.RAMPUP", "MOD.RAMPV"):
            await made.driver.read(["CH05.VNOM"])
        with pytest.raises(OutOfLimits, match=r"above 300 V/s \(site limit of CH05:RAMPUP\)"):
            await made.driver.write("CH03.RAMPUP", 301.0)
        assert made.written() == []

"""A driver on a bench: simulated modules on a virtual bus, in real time, but for the time that others take."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from devices.clock import DriverClock
from devices.iseg.driver import IsegDriver
from devices.iseg.simulator.bus import SimulatedIsegBus
from devices.iseg.simulator.module import E16C1, Firmware, SimulatedIsegModule
from devices.links.can_frame import Frame
from devices.model import DeviceSettings, Reading
from tests.fair_time import FairClock

CLOCK = DriverClock(monotonic=FairClock())
"""A module whose answers wait for the processor together with this test is not late."""

_names = itertools.count()


def fresh_channel() -> str:
    return f"bench {next(_names)}"


@dataclass
class Bench:
    segment: SimulatedIsegBus
    driver: IsegDriver

    @property
    def module(self) -> SimulatedIsegModule:
        return self.segment.modules[5]

    def everything(self) -> list[str]:
        return list(self.driver.signals())

    async def look(self, *suffixes: str, channel: int = 3) -> dict[str, Reading]:
        """Read signals of a channel after what a fast scan reads, as the scan engine does."""
        names = [f"CH{channel:02d}.{suffix}" for suffix in ("VMON", "IMON", "STAT", *suffixes)]
        found = await self.driver.read(names)
        return {name[5:]: reading for name, reading in found.items()}

    async def value(self, name: str) -> Any:
        return (await self.driver.read([name]))[name].value

    async def wait_for(self, suffix: str, value: object, channel: int = 3, seconds: float = 3.0) -> Reading:
        clock, found = FairClock(), None
        while clock() < seconds:
            found = (await self.look(suffix, channel=channel)).get(suffix)
            if found is not None and found.value == value:
                return found
            await asyncio.sleep(0.01)
        raise AssertionError(f"{suffix} is {found}, not {value}, after {seconds} s")

    def written(self) -> list[Frame]:
        return self.segment.written()


def make_module(firmware: Firmware = E16C1, channels: int = 16, **kwargs: Any) -> SimulatedIsegModule:
    return SimulatedIsegModule(5, firmware, channels=channels, **kwargs)


def make_driver(segment: SimulatedIsegBus, module: int = 5, **settings: Any) -> IsegDriver:
    options = {"module": module, "can": "bench", **settings.pop("options", {})}
    bus = {"interface": segment.interface, **({"channel": segment.channel} if segment.channel else {})}
    values: dict[str, Any] = {"channels": 16, "timeout": 0.4, "bus": bus, **settings}
    settings_of_device = DeviceSettings(f"ISEG{module}", "iseg-edcp", options=options, **values)
    return IsegDriver(settings_of_device, CLOCK)


@asynccontextmanager
async def bench(
    firmware: Firmware = E16C1, channels: int = 16, connect: bool = True, **settings: Any
) -> AsyncIterator[Bench]:
    segment = SimulatedIsegBus([make_module(firmware, channels)], channel=fresh_channel())
    segment.open()
    made = Bench(segment, make_driver(segment, **{"channels": channels, **settings}))
    try:
        if connect:
            await made.driver.connect()
            await made.driver.read(made.everything())
        yield made
    finally:
        await made.driver.close()
        segment.close()

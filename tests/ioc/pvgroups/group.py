"""A group as a laboratory may have written it for caproto."""

from __future__ import annotations

import asyncio
from typing import Any

from caproto.server import PVGroup, pvproperty

HAPPENED: list[str] = []


class Laboratory(PVGroup):
    """Hooks of every kind."""

    setpoint = pvproperty(value=1.0, name="SP", units="V", doc="Setpoint")
    double = pvproperty(value=0.0, name="DOUBLE", read_only=True, doc="Twice the setpoint")
    ticks = pvproperty(value=0, name="TICKS", read_only=True)
    wave = pvproperty(value=[1.0, 2.0, 3.0], name="WAVE", max_length=8)
    limited = pvproperty(value=0.0, name="LIMITED", record="ao", upper_alarm_limit=5.0)
    broken = pvproperty(value=0, name="BROKEN")
    slow = pvproperty(value=0, name="SLOW")
    stuck = pvproperty(value=0, name="STUCK")

    def __init__(self, prefix: str, *, factor: float = 2.0, **more: Any) -> None:
        super().__init__(prefix, **more)
        self.factor = factor

    @setpoint.putter
    async def setpoint(self, instance: Any, value: float) -> None:
        if value > 10:
            raise ValueError("more than the laboratory stands")

    @slow.putter
    async def slow(self, instance: Any, value: int) -> None:
        await asyncio.sleep(0.001)

    @stuck.putter
    async def stuck(self, instance: Any, value: int) -> None:
        await asyncio.Event().wait()

    @double.getter
    async def double(self, instance: Any) -> float:
        return float(self.factor * self.setpoint.value)

    @ticks.startup
    async def ticks(self, instance: Any, async_lib: Any) -> None:
        HAPPENED.append("started")
        while True:
            await instance.write(instance.value + 1)
            await async_lib.library.sleep(0.02)

    @ticks.shutdown
    async def ticks(self, instance: Any, async_lib: Any) -> None:
        HAPPENED.append("stopped")

    @broken.scan(period=0.02)
    async def broken(self, instance: Any, async_lib: Any) -> None:
        raise RuntimeError("a mistake of the group")

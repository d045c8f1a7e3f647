"""The remote setpoint of a Eurotherm 3200: volatile, so that it may be written at any rate, and has to be repeated.

The controller goes back to its local setpoint when it has not been written for 5 s (handbook HA028651). What an
operator has set is repeated as long as this connection lasts and the controller is in remote; a new connection repeats
nothing until somebody sets it again.
"""

from __future__ import annotations

import asyncio
import logging

from devices.clock import DriverClock
from devices.errors import DeviceError
from devices.eurotherm_registers import REGISTERS
from devices.eurotherm_unit import EurothermUnit

log = logging.getLogger("labioc.eurotherm")

EVERY = 1.5  # seconds; three are tried within the time that the controller waits


class RemoteKeeper:
    """Repeats one setpoint in a task of its own."""

    def __init__(self, name: str, unit: EurothermUnit, clock: DriverClock) -> None:
        self._name = name
        self._unit = unit
        self._clock = clock
        self._value = 0.0
        self._task: asyncio.Task[None] | None = None

    @property
    def holding(self) -> bool:
        """Whether a setpoint is being repeated."""
        return self._task is not None and not self._task.done()

    def hold(self, value: float) -> None:
        """Repeat this value from now on, which has just been written."""
        self._value = value
        if not self.holding:
            self._task = asyncio.create_task(self._repeat(), name=f"{self._name} remote setpoint")

    async def release(self) -> None:
        """Repeat nothing any more."""
        task, self._task = self._task, None
        if task is not None and task is not asyncio.current_task():
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _repeat(self) -> None:
        while True:
            await self._clock.sleep(EVERY)
            if not self._unit.value("L-R"):
                log.info("%s: the setpoint is local now, the remote one is not repeated any more", self._name)
                return
            try:
                await self._unit.write(REGISTERS["Rm.SP"], self._value)
            except DeviceError as error:
                log.warning("%s: remote setpoint not repeated: %s", self._name, error)

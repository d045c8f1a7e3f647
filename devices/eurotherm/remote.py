"""The remote setpoint of a Eurotherm 3200: volatile, so that it may be written at any rate, and has to be repeated.

The controller goes back to its local setpoint when it has not been written for 5 s (handbook HA028651). What an
operator has set is repeated as long as this connection lasts, the controller is in remote and writes are allowed.
Nothing else begins the repetition than a put: neither a new connection nor that writes are allowed again, since either
would move the furnace without anybody having asked for it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from devices.errors import DeviceError, Garbled, ReplyTimeout
from devices.eurotherm.furnace import Furnace
from devices.eurotherm.registers import REGISTERS
from devices.permit import current

log = logging.getLogger("labioc.eurotherm")

EVERY = 1.5  # seconds; three are tried within the time that the controller waits
AGAIN = 0.25  # seconds after one that got lost


class RemoteKeeper:
    """Repeats one setpoint in a task of its own, under the permit of the put that has set it, never beside a put."""

    def __init__(self, furnace: Furnace) -> None:
        self._name, self._unit, self._clock = furnace.settings.name, furnace.unit, furnace.clock
        self._puts = 0  # under way
        self._quiet = asyncio.Event()  # none is
        self._quiet.set()
        self._refreshing = asyncio.Lock()
        self._permit = current()
        self._value = 0.0
        self._task: asyncio.Task[None] | None = None
        self._lapsed = ""  # why nothing is repeated, although an operator had asked for it
        self._trouble = ""

    @property
    def holding(self) -> bool:
        """Whether a setpoint is being repeated."""
        return self._task is not None and not self._task.done()

    def hold(self, value: float) -> None:
        """Repeat this value from now on, which has just been written."""
        self._value, self._lapsed, self._trouble = value, "", ""
        self._permit = current()
        if not self.holding:
            self._task = asyncio.create_task(self._repeat(), name=f"{self._name} remote setpoint")

    @asynccontextmanager
    async def paused(self) -> AsyncIterator[None]:
        """Repeat nothing meanwhile, for a put that must not be mixed with it."""
        self._puts += 1
        self._quiet.clear()
        try:
            async with self._refreshing:
                pass
            yield
        finally:
            self._puts -= 1
            if not self._puts:
                self._quiet.set()

    async def release(self, why: str = "") -> None:
        """Repeat nothing any more; ``why`` when that was not asked for and the operator has to know."""
        if self.holding and why:
            self._lapsed = why
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def forbid(self, why: str) -> None:
        """Repeat nothing any more since writes are forbidden, and tell when that ends a repetition."""
        if self.holding:
            self._report(f"remote setpoint not refreshed: {why}")
        async with self._refreshing:  # one that is on its way is awaited: cancelled, it would leave all the same
            await self.release(why)

    def remind(self) -> None:
        """Tell that a controller in remote waits for a setpoint that was repeated once."""
        if self._lapsed and self._unit.value("L-R"):
            self._report(f"remote setpoint not refreshed until TSET is put again (ended by: {self._lapsed})")

    async def _repeat(self) -> None:
        pause = EVERY
        while True:
            await self._clock.sleep(pause)
            await self._quiet.wait()
            async with self._refreshing:
                if not self._unit.value("L-R"):
                    log.info("%s: the setpoint is local now, the remote one is not repeated any more", self._name)
                    return
                if self._quiet.is_set() and not self._unit.forbidden:
                    self._permit.use()
                    pause = await self._refresh()

    async def _refresh(self) -> float:
        """Write the setpoint once more; return after how many seconds it is due again."""
        try:
            await self._unit.write(REGISTERS["Rm.SP"], self._value)
        except DeviceError as error:
            trouble = f"remote setpoint not refreshed: {error}"
            if trouble != self._trouble:
                self._trouble = trouble
                self._report(trouble)
            # What got lost is lost for now only, and the controller does not wait for long.
            return AGAIN if isinstance(error, (Garbled, ReplyTimeout)) else EVERY
        self._trouble = ""
        return EVERY

    def _report(self, text: str) -> None:
        log.warning("%s: %s", self._name, text)
        self._unit.link.stats.last_error = text

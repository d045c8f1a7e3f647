"""Writing to an Iseg module and finding out what became of it.

Nothing on the bus acknowledges a write, and nothing says no: only reading back tells whether a frame arrived and was
accepted. A write that has left no trace is sent once more, since every one of them says what is to be the case, not
what is to be changed.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

from devices.clock import DriverClock
from devices.errors import DeviceError, LinkDown, ReplyTimeout
from devices.iseg.edcp.items import BY_NAME
from devices.iseg.unit import IsegUnit
from devices.model import Value

log = logging.getLogger("labioc.iseg")

LOOKS = 3  # times that something is read back before a write counts as lost or refused
PAUSE = 0.1  # s between these looks
FOLLOW_LOOKS = 20  # the same for a status: a board renews it every 10 ms per channel, slower with a slow ADC rate
SENDINGS = 2


@dataclass(frozen=True, slots=True)
class Target:
    """An item that a request is about, and how people call it."""

    what: str
    item: str
    channel: int | None = None


class IsegExchange:
    """Writes and read-backs of one module; ``name`` is that of the device in the log."""

    def __init__(self, unit: IsegUnit, name: str, clock: DriverClock) -> None:
        self._unit = unit
        self._name = name
        self._clock = clock

    def send(self, target: Target, value: Value) -> None:
        """Write once. Raises LinkDown when nothing can be sent."""
        if not self._unit.link.connected:
            raise LinkDown(f"{target.what}: not connected, nothing was sent")
        self._unit.write(BY_NAME[target.item], value, target.channel)

    async def apply(self, target: Target, value: Value, agrees: Callable[[Value], bool]) -> bool:
        """Write, read back, and write once more if there is no trace of it; return whether it is there."""
        for attempt in range(SENDINGS):
            if attempt:
                log.info("%s: %s reads back unchanged, sending it again", self._name, target.what)
            self.send(target, value)
            if await self.look(target, agrees):
                return True
        return False

    async def look(self, target: Target, agrees: Callable[[Value], bool], looks: int = LOOKS) -> bool:
        """Read an item back until it agrees, a few times at most."""
        for look in range(looks):
            if look:
                await self._clock.sleep(PAUSE)
            if agrees(await self.read_back(target)):
                return True
        return False

    async def read_before(self, target: Target) -> int:
        """Read a word that a write depends on. Raises ReplyTimeout when it cannot be learnt."""
        try:
            return bits(await self._unit.read_back(BY_NAME[target.item], target.channel))
        except DeviceError as error:
            raise ReplyTimeout(f"{target.what}: nothing was sent, {target.item} cannot be read: {error}") from error

    async def read_back(self, target: Target) -> Value:
        """Read an item during a write. Raises ReplyTimeout when it cannot be learnt."""
        try:
            return await self._unit.read_back(BY_NAME[target.item], target.channel)
        except DeviceError as error:
            raise ReplyTimeout(f"{target.what}: outcome unknown, {target.item} cannot be read: {error}") from error


def bits(value: Value) -> int:
    """Return a word as a number; 0 for what is none."""
    return int(value) if isinstance(value, int | float) else 0

"""Writing to an Iseg module and finding out what became of it.

Nothing on the bus acknowledges a write, and nothing refuses one: only reading back shows whether a frame arrived and
was accepted. What a write depends on is read immediately before it. Settings are sent once. Commands that only repeat
what is to be the case (off, clear) are sent once more when they have left no trace.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

from devices.clock import DriverClock
from devices.errors import DeviceError, Garbled, LinkDown, NotReady, ReplyTimeout
from devices.iseg.edcp.items import BY_NAME
from devices.iseg.unit import IsegUnit
from devices.model import Value

log = logging.getLogger("labioc.iseg")

LOOKS = 3  # times that something is read back before a write counts as lost or refused
PAUSE = 0.1  # s between these looks
FOLLOW_LOOKS = 20  # the same for a status: a board renews it every 10 ms per channel, slower with a slow ADC rate
SENDINGS = 2
_BYTE_ORDER = ("ModuleControl", None)


@dataclass(frozen=True, slots=True)
class Target:
    """An item that a request is about; ``what`` is its name in messages."""

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
        """Write what may be written twice, read back, and write once more if there is no trace of it.

        Returns whether it is there.
        """
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

    async def look_before(self, what: str, *cells: tuple[str, int | None], groups: bool = False) -> None:
        """Read what a write depends on, as it is now, with the byte order of the module, and its ``groups``.

        Items that the firmware does not know are left out. Raises NotReady, or ReplyTimeout when the module is silent;
        nothing has been sent then.
        """
        known = [cell for cell in (*cells, _BYTE_ORDER) if cell[0] not in self._unit.unsupported]
        try:
            with_groups = not groups or await self._unit.look_at_groups()
            silent = await self._unit.read_now(*known)
        except (ReplyTimeout, LinkDown) as error:
            raise type(error)(f"{what}: nothing was sent: {error}") from error
        except Garbled as error:
            raise NotReady(f"{what}: nothing was sent: {error}") from error
        if needed := [name for name, _ in cells if name in silent]:
            raise NotReady(f"{what}: nothing was sent, {', '.join(needed)} cannot be read")
        if not with_groups:
            raise NotReady(f"{what}: nothing was sent, the groups of the module cannot be read")

    async def read_before(self, target: Target) -> int:
        """Read a word that a write depends on; raises as ``look_before`` does."""
        await self.look_before(target.what, (target.item, target.channel))
        return self._unit.word(target.item, target.channel)

    async def read_back(self, target: Target) -> Value:
        """Read an item during a write. Raises ReplyTimeout when it cannot be learnt."""
        try:
            return await self._unit.read_back(BY_NAME[target.item], target.channel)
        except DeviceError as error:
            raise ReplyTimeout(f"{target.what}: outcome unknown, {target.item} cannot be read: {error}") from error


def bits(value: Value) -> int:
    """Return a word as a number; 0 for what is none."""
    return int(value) if isinstance(value, int | float) else 0

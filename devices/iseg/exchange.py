"""Writing to an Iseg module and finding out what became of it.

Nothing on the bus acknowledges a write, and nothing refuses one: only reading back shows whether a frame arrived and
was accepted. What a write depends on is read immediately before it. Settings are sent once. Commands that only repeat
what is to be the case (off, clear) are sent once more when they have left no trace.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace

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
class IsegExchange:
    """Writes and read-backs of one module; ``name`` is that of the device in the log.

    ``what`` is the name of a request in messages, ``channel`` what it is about, None for the module itself.
    """

    unit: IsegUnit
    name: str
    clock: DriverClock
    what: str = ""
    channel: int | None = None

    def about(self, what: str, channel: int | None = None) -> IsegExchange:
        """Return the same for a request."""
        return replace(self, what=what, channel=channel)

    def send(self, item: str, value: Value) -> None:
        """Write once. Raises LinkDown when nothing can be sent."""
        if not self.unit.link.connected:
            raise LinkDown(f"{self.what}: not connected, nothing was sent")
        self.unit.write(BY_NAME[item], value, self.channel)

    async def apply(self, item: str, value: Value, agrees: Callable[[int], bool]) -> bool:
        """Write what may be written twice, read back, and write once more if there is no trace of it.

        Returns whether it is there.
        """
        for attempt in range(SENDINGS):
            if attempt:
                log.info("%s: %s reads back unchanged, sending it again", self.name, self.what)
            self.send(item, value)
            if await self.look(item, agrees):
                return True
        return False

    async def look(self, item: str, agrees: Callable[[int], bool], looks: int = LOOKS) -> bool:
        """Read a word back until it agrees, a few times at most."""
        for look in range(looks):
            if look:
                await self.clock.sleep(PAUSE)
            if agrees(await self.read_back(item)):
                return True
        return False

    async def look_before(self, *cells: tuple[str, int | None], groups: bool = False) -> None:
        """Read what a write depends on, as it is now, with the byte order of the module, and its ``groups``.

        Items that the firmware does not know are left out. Raises NotReady, or ReplyTimeout when the module is silent;
        nothing has been sent then.
        """
        known = [cell for cell in (*cells, _BYTE_ORDER) if cell[0] not in self.unit.unsupported]
        try:
            with_groups = not groups or await self.unit.look_at_groups()
            silent = await self.unit.read_now(*known)
        except (ReplyTimeout, LinkDown) as error:
            raise type(error)(f"{self.what}: nothing was sent: {error}") from error
        except Garbled as error:
            raise NotReady(f"{self.what}: nothing was sent: {error}") from error
        if needed := [name for name, _ in cells if name in silent]:
            raise NotReady(f"{self.what}: nothing was sent, {', '.join(needed)} cannot be read")
        if not with_groups:
            raise NotReady(f"{self.what}: nothing was sent, the groups of the module cannot be read")

    async def read_before(self, item: str) -> int:
        """Read a word that a write depends on; raises as ``look_before`` does."""
        await self.look_before((item, self.channel))
        return self.unit.word(item, self.channel)

    async def read_back(self, item: str) -> int:
        """Read an item during a write and return its word, 0 for what is none.

        Raises ReplyTimeout when it cannot be learnt.
        """
        try:
            await self.unit.read_back(BY_NAME[item], self.channel)
        except DeviceError as error:
            raise ReplyTimeout(f"{self.what}: outcome unknown, {item} cannot be read: {error}") from error
        return self.unit.word(item, self.channel)

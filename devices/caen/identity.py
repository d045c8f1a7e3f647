"""Which unit answers, and in which dialect: asked after each connect.

What is known of a unit is kept when it is the one of the last connection; that one is asked for its serial number
alone, so that it is back soon.
"""

from __future__ import annotations

from devices.caen.catalogue import CONSTANTS
from devices.caen.protocol import Dialect, ErrorReply, Profile
from devices.caen.status import layout_of
from devices.caen.unit import IDENTITY, CaenUnit
from devices.errors import Garbled, ReplyTimeout

OTHER_UNIT = 10
"""Attempts to reach the unit of the last connection, of which the last one also looks for another."""


class CaenIdentity:
    """Finds out about the unit of one link; remembers how that of the last connection was spoken to."""

    def __init__(self, unit: CaenUnit) -> None:
        self._unit = unit
        self._candidates = (Dialect(Profile.A), Dialect(Profile.B, unit.board))
        self._spoken = unit.dialect
        self._silences = 0  # in a row when asked in that dialect while connecting

    async def find_out(self) -> None:
        """Find out which unit answers.

        Raises LinkDown, ReplyTimeout, and Garbled when neither dialect gives a name or the channel count makes no
        sense.
        """
        unit = self._unit
        unit.answers.reset()
        unit.channels.begin(unit.channels.count)
        if await self._is_same():
            self._keep()
            return
        name = await self._detect()
        self._silences = 0
        unit.forget()
        unit.store("BDNAME", None, name)
        unit.layout = layout_of(name, unit.dialect.profile)
        count = await unit.read_board("BDNCH")
        if not isinstance(count, int) or not 1 <= count <= 100:
            raise Garbled(f"the supply does not tell its number of channels ({count})")
        unit.channels.begin(count)
        for parameter in IDENTITY:
            await unit.read_board(parameter)

    async def _is_same(self) -> bool:
        """Ask for the serial number of the last connection. Raises ReplyTimeout when there is no answer at all."""
        unit = self._unit
        serial = unit.value("BDSNUM")
        if not unit.channels.count or serial is None:
            return False
        unit.dialect = self._spoken
        try:
            same = await unit.read_back("BDSNUM", None) == serial
        except (ErrorReply, Garbled):
            same = False
        except ReplyTimeout:
            self._silences += 1
            if self._silences % OTHER_UNIT:
                raise
            return False  # nothing is forgotten yet: another unit may be there, one that does not react to this dialect
        self._silences = 0
        if not same:
            unit.forget()
        return same

    def _keep(self) -> None:
        """Keep what does not change; it is confirmed as it is read."""
        unit = self._unit
        unit.unconfirmed = {*CONSTANTS, *unit.unsupported, "ISET"}  # ISET for the warning of IMON until it is read
        kept = {*CONSTANTS, *IDENTITY, "BDNAME", "BDNCH", "ISET"}
        for cells in unit.cells.values():
            for parameter in cells.keys() - kept:
                del cells[parameter]

    async def _detect(self) -> str:
        """Return the name of the unit that answers, in whatever dialect."""
        unit = self._unit
        failure: Exception = Garbled("no answer of a CAEN supply")
        # What it spoke last time comes first, a wrong dialect may cost a whole timeout; last when that was silent.
        for dialect in sorted(self._candidates, key=lambda one: (one != self._spoken) != bool(self._silences)):
            unit.dialect = dialect
            try:
                reply = await unit.monitor("BDNAME")
                name = reply.word()
            except (ErrorReply, Garbled, ReplyTimeout) as error:
                failure = error
                continue
            if dialect.profile is Profile.A and reply.board is not None:
                failure = Garbled(f"answers as board {reply.board}")
                continue
            if dialect.profile is Profile.B and reply.board is None:
                # Units without an address take requests with one, but their answers tell what they are.
                unit.dialect = Dialect(Profile.A)
            self._spoken = unit.dialect
            return name
        if isinstance(failure, ReplyTimeout):
            raise failure
        raise Garbled(f"not a CAEN supply of the DT55xxE or N1470 family: {failure}")

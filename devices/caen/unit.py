"""A CAEN supply as a table of parameters: which dialect it speaks, what it knows, how to read all channels at once.

Between the protocol (bytes) and the driver (meaning). Every value read is kept here with the time of its answer, so
that a later look sees the newest one, whichever task asked for it.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from devices.caen.catalogue import Plain, constants, values_of
from devices.caen.groups import Channels
from devices.caen.protocol import Dialect, ErrorReply, Profile, Reply, monitor, parse_reply, set_value
from devices.caen.status import layout_of
from devices.clock import DriverClock
from devices.errors import Garbled, LinkDown, ReplyTimeout
from devices.links.line import LineLink
from devices.rules.settings import BadAnswers

log = logging.getLogger("labioc.caen")

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Cell:
    """One parameter of one channel, or of the board, as last read; ``time`` is the Unix time of the answer."""

    value: Plain
    time: float


_CONSTANTS = constants()
_FORMER = {"VDEC": "VSDEC", "IMAX": "IMAXH", "IMDEC": "IMDECH"}
_OF_RANGE = ("IMAX", "IMDEC")
"""What a unit of profile B reports for the range that its current meter is in; profile A has names for each range."""

_ALWAYS = frozenset({"VMON", "IMON", "STAT", "VSET", "ISET"})  # every firmware knows these: a refusal says nothing

OTHER_UNIT = 10
"""Attempts to reach the unit of the last connection, of which the last one also looks for another."""

IDENTITY = ("BDSNUM", "BDFREL")
"""What distinguishes one unit, and one firmware, from another."""


class CaenUnit:
    """The parameters of one supply over one link.

    ``name`` is that of the device, for messages, ``board`` is the address used when the unit speaks the
    dialect with addresses, ``configured`` the number of channels that the site file has. All methods that talk raise
    LinkDown and ReplyTimeout, and Garbled when several answers in a row could not be read; those that say so raise
    ErrorReply, and Garbled for a single answer, too.
    """

    def __init__(self, name: str, link: LineLink, board: int, configured: int, clock: DriverClock) -> None:
        self.link = link
        self.name = name
        self.board = board
        self.channels = Channels(name, clock)
        self.unsupported: set[str] = set()
        self.answers = BadAnswers()
        self.cells: defaultdict[int | None, dict[str, Cell]] = defaultdict(dict)
        """What is known, by channel, with None for the board, and by parameter."""
        self.layout = layout_of("", Profile.A)
        self.dialect = Dialect(Profile.A)
        self._candidates = (Dialect(Profile.A), Dialect(Profile.B, board))
        self._configured = configured
        self._clock = clock
        self._known = set(_ALWAYS)
        self._again: set[str] = set()  # of the last connection, not confirmed in this one
        self._spoken = self.dialect
        self._silences = 0  # in a row when asked in that dialect while connecting
        self._understood = False

    def value(self, parameter: str, channel: int | None = None) -> Plain | None:
        """Return the last value of a parameter, None when it has not been read in this connection."""
        cell = self.cells[channel].get(parameter)
        return None if cell is None else cell.value

    def number(self, parameter: str, channel: int | None = None) -> float | None:
        """Return the last value of a numeric parameter."""
        value = self.value(parameter, channel)
        return None if value is None or isinstance(value, str) else float(value)

    def missed(self, parameter: str, channel: int | None) -> int:
        """Return how many reads in a row brought no usable answer."""
        return self.answers.missed((parameter, channel))

    @property
    def interlock_shown(self) -> bool:
        """Whether the board itself has just reported an active interlock: the alarm is that of BD.ILK then."""
        return bool(self.value("BDILK")) and self.missed("BDILK", None) < 2

    def interlocked(self) -> bool:
        """Whether a channel reports an interlock as last read."""
        for channel in self.channels.present:
            cell = self.cells[channel].get("STAT")
            if cell is not None and self.layout.has("INTLCK", int(cell.value)):
                return True
        return False

    def settled(self, parameter: str, channel: int) -> bool:
        """Return whether there is nothing more to learn about a constant: read, unknown to the firmware, not needed.

        Names of profile B are not needed when the unit knows what profile A calls the same thing.
        """
        known = self.cells[channel]
        if parameter in known or parameter in self.unsupported or channel in self.channels.absent:
            return True
        return _FORMER.get(parameter) in known

    def outdated(self, parameter: str, channel: int) -> bool:
        """Return whether a parameter is not settled, or has not been confirmed since the link came back."""
        return parameter in self._again or not self.settled(parameter, channel)

    # Talking

    def monitor(self, parameter: str, channel: int | None = None) -> Coroutine[Any, Any, Reply]:
        """Ask for one parameter. Raises ErrorReply and Garbled."""
        return self._exchange(monitor(self.dialect, parameter, channel))

    def set(
        self, parameter: str, channel: int | None = None, value: str | None = None, timeout: float | None = None
    ) -> Coroutine[Any, Any, Reply]:
        """Send one setting or command, exactly once. Raises ErrorReply and Garbled."""
        return self._exchange(set_value(self.dialect, parameter, channel, value), timeout, changes=True)

    async def _exchange(self, request: bytes, timeout: float | None = None, *, changes: bool = False) -> Reply:
        line = await self.link.exchange(request, timeout=timeout, changes=changes)
        try:
            return parse_reply(line, self.dialect)
        except Garbled as error:
            self._count(error)
            raise

    def _count(self, error: Garbled) -> None:
        # An answer that no rule explains may be half of another one: the link gets in step before it goes on.
        self.link.mark_unsynchronised()
        self.link.stats.errors += 1
        self.link.stats.last_error = str(error)

    # After connecting

    async def identify(self) -> None:
        """Find out which unit answers; what is known of it is kept when it is the one of the last connection.

        That one is asked for its serial number alone, so that it is back soon. Raises Garbled when neither dialect
        gives a name or the channel count makes no sense.
        """
        self.answers.reset()
        self.channels.begin(self.channels.count)
        if await self._is_same():
            # ISET for the warning of IMON until it is read
            self._again = {*_CONSTANTS, *self.unsupported, "ISET"}
            kept = {*_CONSTANTS, *IDENTITY, "BDNAME", "BDNCH", "ISET"}
            for cells in self.cells.values():
                for parameter in cells.keys() - kept:
                    del cells[parameter]
            return
        name = await self._detect()
        self._forget()
        self._store("BDNAME", None, name)
        self.layout = layout_of(name, self.dialect.profile)
        count = await self.read_board("BDNCH")
        if not isinstance(count, int) or not 1 <= count <= 100:
            raise Garbled(f"the supply does not tell its number of channels ({count})")
        self.channels.begin(count)
        for parameter in IDENTITY:
            await self.read_board(parameter)

    def _forget(self) -> None:
        """Begin anew with a unit of which nothing is known."""
        self._again.clear()
        self.unsupported.clear()
        for cells in self.cells.values():
            cells.clear()
        self._known = set(_ALWAYS)
        self._silences = 0

    async def _is_same(self) -> bool:
        """Ask for the serial number of the last connection. Raises ReplyTimeout when there is no answer at all."""
        serial = self.value("BDSNUM")
        if not self.channels.count or serial is None:
            return False
        self.dialect = self._spoken
        try:
            same = await self.read_back("BDSNUM", None) == serial
        except (ErrorReply, Garbled):
            same = False
        except ReplyTimeout:
            self._silences += 1
            if self._silences % OTHER_UNIT:
                raise
            return False  # nothing is forgotten yet: another unit may be there, one that does not react to this dialect
        self._silences = 0
        if not same:
            self._forget()
        return same

    async def _detect(self) -> str:
        """Return the name of the unit that answers, in whatever dialect."""
        failure: Exception = Garbled("no answer of a CAEN supply")
        # What it spoke last time comes first, a wrong dialect may cost a whole timeout; last when that was silent.
        for dialect in sorted(self._candidates, key=lambda one: (one != self._spoken) != bool(self._silences)):
            self.dialect = dialect
            try:
                reply = await self.monitor("BDNAME")
                name = reply.word()
            except (ErrorReply, Garbled, ReplyTimeout) as error:
                failure = error
                continue
            if dialect.profile is Profile.A and reply.board is not None:
                failure = Garbled(f"answers as board {reply.board}")
                continue
            if dialect.profile is Profile.B and reply.board is None:
                # Units without an address take requests with one, but their answers tell what they are.
                self.dialect = Dialect(Profile.A)
            self._spoken = self.dialect
            return name
        if isinstance(failure, ReplyTimeout):
            raise failure
        raise Garbled(f"not a CAEN supply of the DT55xxE or N1470 family: {failure}")

    # Reading

    async def read_board(self, parameter: str) -> Plain | None:
        """Read one parameter of the board; None when it is not supported or the answer was garbled."""
        if not self._asks(parameter):
            return None
        self._understood = False
        known = self.value(parameter)
        value = await self._read_one(parameter, None)
        self.answers.exchanged(self._understood, self.link.stats.last_error)
        if parameter in IDENTITY and None not in (known, value) and value != known:
            self._forget()
            raise LinkDown(f"another unit or firmware answers: {parameter} was {known} and is {value}; connecting anew")
        return value

    async def read_channels(self, parameter: str) -> None:
        """Read one parameter of all channels, in one request when the unit can."""
        if not self._asks(parameter):
            return
        self._understood = refused = done = False
        if self.channels.allowed(parameter):
            done, refused = await self._read_group(parameter)
        if not done:
            await self._read_each(parameter, refused)
        if self._understood:
            self._again.discard(parameter)
        self.answers.exchanged(self._understood, self.link.stats.last_error)

    def _asks(self, parameter: str) -> bool:
        return parameter in self._again or parameter not in self.unsupported

    async def _read_each(self, parameter: str, refused: bool) -> None:
        """Read one parameter channel by channel; ``refused`` says that it has just been refused for all of them."""
        for channel in range(min(self.channels.count, self._configured)):
            if self.channels.asked(channel):
                await self._read_one(parameter, channel, doubted=refused)
            if parameter in self.unsupported:
                return
        if refused and parameter in self._known:
            self.channels.refused(parameter)

    async def _read_one(self, parameter: str, channel: int | None, *, doubted: bool = False) -> Plain | None:
        """Read one value; ``doubted`` says that the parameter has just been refused for all channels."""
        ask = partial(self.read_back, parameter, channel)
        try:
            return await (ask() if doubted else self._insist(parameter, ask))
        except ErrorReply as error:
            self._refused(parameter, channel, error)
        except Garbled:
            self._miss(parameter, channel)
        return None

    async def _insist(self, parameter: str, ask: Callable[[], Awaitable[_T]]) -> _T:
        """Ask, and once more when what was never known is refused: a request damaged on its way is refused too."""
        try:
            return await ask()
        except ErrorReply:
            if parameter in self._known:
                raise
            return await ask()

    async def read_back(self, parameter: str, channel: int | None) -> Plain:
        """Read one parameter and keep it. Raises ErrorReply and Garbled."""
        reply = await self.monitor(parameter, channel)
        if channel is not None and channel > 1 and (reply.text or "").count(";") + 1 == channel:
            raise ErrorReply("CH")  # the number behind the last channel stands for all of them: this one is not there
        (value,) = self._values(parameter, reply, 1)
        self._store(parameter, channel, value)
        return value

    def _values(self, parameter: str, reply: Reply, count: int) -> tuple[Plain, ...]:
        try:
            return values_of(parameter, reply, count)
        except Garbled as error:
            self._count(error)
            raise

    async def _read_group(self, parameter: str) -> tuple[bool, bool]:
        """Read all channels in one request; return whether that is settled, and whether the unit refused it."""
        number = self.channels.number or self.channels.count
        try:
            reply = await self._insist(parameter, partial(self.monitor, parameter, number))
            values = self._values(parameter, reply, len((reply.text or "").split(";")))
            if len(values) != self.channels.size:
                error = Garbled(f"{parameter}: {len(values)} values instead of {self.channels.size}")
                self._count(error)
                if self.channels.wrong_count(parameter, len(values)):
                    return False, False
                raise error
        except ErrorReply as refusal:
            if refusal.word == "PAR" and self.channels.proven and parameter not in self._known:
                self._refused(parameter, None, refusal)
                return True, True
            # Either groups or this parameter are unknown to the unit: asking for one channel decides.
            return False, True
        except Garbled:
            self._miss(parameter, *range(self.channels.count))
            return True, False
        self.channels.worked(parameter)
        for channel, value in enumerate(values):
            self._store(parameter, channel, value)
        return True, False

    def _refused(self, parameter: str, channel: int | None, error: ErrorReply) -> None:
        if parameter in self._known and parameter not in self.unsupported:
            # It was known a moment ago, so this is about the request as it arrived, or about the channel.
            self._miss(parameter, channel)
            if channel not in self.channels.absent:
                self.link.stats.errors += 1
                self.link.stats.last_error = f"{parameter}: {error}"
            if channel is not None and error.word in ("CH", "CMD"):
                self.channels.refused_by(channel)
            return
        self._understood = True
        log.debug("%s: %s is not known to this firmware (%s)", self.name, parameter, error.word)
        self.unsupported.add(parameter)

    def _store(self, parameter: str, channel: int | None, value: Plain) -> None:
        self._understood = True
        self._known.add(parameter)
        self.unsupported.discard(parameter)
        self.answers.good((parameter, channel))
        if channel is not None:
            self.channels.answered(channel)
        if parameter == "IMRANGE" and self.value(parameter, channel) not in (None, value):
            for name in _OF_RANGE:
                self.cells[channel].pop(name, None)  # to be learnt again
        self.cells[channel][parameter] = Cell(value, self._clock.time())

    def _miss(self, parameter: str, *channels: int | None) -> None:
        self.answers.bad(*((parameter, channel) for channel in channels))

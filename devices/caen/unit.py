"""A CAEN supply as a table of parameters: which dialect it speaks, what it knows, how to read all channels at once.

Between the protocol (bytes) and the driver (meaning). Every value read is kept here with the time of its answer, so
that whoever looks later sees the newest one, whichever task asked for it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from devices.caen.catalogue import BOARD, CHANNEL
from devices.caen.protocol import Dialect, ErrorReply, Profile, Reply, monitor, parse_reply, set_value
from devices.errors import Garbled, ReplyTimeout
from devices.links.line import LineLink
from devices.model import Kind

log = logging.getLogger("labioc.caen")

Plain = float | int | str
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Cell:
    """One parameter of one channel, or of the board, as last read; ``time`` is the Unix time of the answer."""

    value: Plain
    time: float


@dataclass(frozen=True, slots=True)
class _Format:
    kind: Kind
    words: tuple[str, ...] = ()


_FORMATS = {row.wire: _Format(row.kind, row.words) for row in (*CHANNEL.values(), *BOARD.values()) if row.wire}
_OF_RANGE = ("IMAX", "IMDEC")
"""What a unit of profile B tells of the range that its current meter is in; profile A has names for each range."""

_LOST_AFTER = 4  # parameters in a row without a readable answer: more than one fast scan of them
_REFUSALS = 2  # refusals in a row of group reads that had worked, before they are given up
_WRONG_COUNTS = 2  # group answers of the wrong length in a row before groups are given up


def format_of(parameter: str) -> _Format:
    """Return how the value of a parameter is written; what is not published is a limit, resolution or count."""
    if parameter in _FORMATS:
        return _FORMATS[parameter]
    counts = "DEC" in parameter
    return _Format(Kind.INT if counts else Kind.FLOAT)


class CaenUnit:
    """The parameters of one supply over one link.

    ``name`` is that of the device, for messages, ``board`` is the address used when the unit speaks the
    dialect with addresses, ``configured`` the number of channels that anybody wants to know about. All
    methods that talk raise LinkDown and ReplyTimeout, and Garbled when several answers in a row could not
    be read; those that say so raise ErrorReply, and Garbled for a single answer, too.
    """

    def __init__(
        self, name: str, link: LineLink, board: int, configured: int, now: Callable[[], float] = time.time
    ) -> None:
        self.link = link
        self._name = name
        self.channels = 0
        self.unsupported: set[str] = set()
        self.misses: dict[tuple[str, int | None], int] = {}
        self.cells: dict[tuple[str, int | None], Cell] = {}
        self.dialect = Dialect(Profile.A)
        self._candidates = (Dialect(Profile.A), Dialect(Profile.B, board))
        self._configured = configured
        self._now = now
        self._known: set[str] = set()
        self._spoken = self.dialect
        self._heard = False  # it has spoken that dialect, and has not been silent since
        self._groups = True
        self._understood = False
        self._rubbish = 0  # parameters in a row of which no answer could be read
        self._refusals = 0  # of group reads that had worked before, in a row
        self._grouped: set[str] = set()  # parameters that have been read for all channels at once
        self._single: set[str] = set()  # parameters that are refused for all channels, but known
        self._wrong_counts: dict[str, int] = {}  # group answers of the wrong length in a row

    def value(self, parameter: str, channel: int | None = None) -> Plain | None:
        """Return the last value of a parameter, None when it has not been read in this connection."""
        cell = self.cells.get((parameter, channel))
        return None if cell is None else cell.value

    def number(self, parameter: str, channel: int | None = None) -> float | None:
        """Return the last value of a numeric parameter."""
        value = self.value(parameter, channel)
        return None if value is None or isinstance(value, str) else float(value)

    def missed(self, parameter: str, channel: int | None) -> int:
        """Return how many reads in a row brought no usable answer."""
        return self.misses.get((parameter, channel), 0)

    # Talking

    async def monitor(self, parameter: str, channel: int | None = None) -> Reply:
        """Ask for one parameter. Raises ErrorReply and Garbled."""
        return await self._exchange(monitor(self.dialect, parameter, channel))

    async def set(
        self, parameter: str, channel: int | None = None, value: str | None = None, timeout: float | None = None
    ) -> None:
        """Send one setting or command, exactly once. Raises ErrorReply and Garbled."""
        await self._exchange(set_value(self.dialect, parameter, channel, value), timeout, changes=True)

    async def _exchange(self, request: bytes, timeout: float | None = None, *, changes: bool = False) -> Reply:
        line = await self.link.exchange(request, timeout=timeout, changes=changes)
        try:
            return parse_reply(line, self.dialect)
        except Garbled as error:
            self._count(error)
            raise

    def _count(self, error: Garbled) -> None:
        # An answer nobody can explain may be half of another one: the link gets in step before it goes on.
        self.link.distrust()
        self.link.stats.errors += 1
        self.link.stats.last_error = str(error)

    # After connecting

    async def identify(self) -> None:
        """Find the dialect and the number of channels; forgets what was known of the unit before.

        Raises Garbled when neither dialect gives a name or the channel count makes no sense.
        """
        self.unsupported.clear()
        self.misses.clear()
        self.cells.clear()
        for parameters in (self._known, self._grouped, self._single):
            parameters.clear()
        self._wrong_counts.clear()
        self._groups, self._refusals, self._rubbish = True, 0, 0
        await self._detect()
        count = await self.read_board("BDNCH")
        if not isinstance(count, int) or not 1 <= count <= 100:
            raise Garbled(f"the supply does not tell its number of channels ({count})")
        self.channels = count

    async def _detect(self) -> None:
        failure: Exception = Garbled("no answer of a CAEN supply")
        # What it spoke last time comes first: a wrong dialect may cost a whole timeout.
        for dialect in sorted(self._candidates, key=lambda candidate: candidate != self._spoken):
            self.dialect = dialect
            try:
                reply = await self.monitor("BDNAME")
                name = reply.word()
            except (ErrorReply, Garbled, ReplyTimeout) as error:
                if isinstance(error, ReplyTimeout) and self._heard:
                    self._heard = False  # next time it may be another unit, one deaf to this dialect
                    raise
                failure = error
                continue
            if dialect.profile is Profile.A and reply.board is not None:
                failure = Garbled(f"answers as board {reply.board}")
                continue
            if dialect.profile is Profile.B and reply.board is None:
                # Units without an address take requests with one, but their answers tell what they are.
                self.dialect = Dialect(Profile.A)
            self._spoken, self._heard = self.dialect, True
            self._store("BDNAME", None, name)
            return
        if isinstance(failure, ReplyTimeout):
            raise failure
        raise Garbled(f"not a CAEN supply of the DT55xxE or N1470 family: {failure}")

    # Reading

    async def read_board(self, parameter: str) -> Plain | None:
        """Read one parameter of the board; None when it is not supported or the answer was garbled."""
        if parameter in self.unsupported:
            return None
        self._understood = False
        value = await self._read_one(parameter, None)
        self._judge(parameter)
        return value

    async def read_channels(self, parameter: str) -> None:
        """Read one parameter of all channels, in one request when the unit can."""
        if parameter not in self.unsupported:
            self._understood = False
            await self._read_all(parameter)
            self._judge(parameter)

    def _judge(self, parameter: str) -> None:
        """Give the supply up when nothing has been understood for longer than one fast scan."""
        if self._understood:
            self._rubbish = 0
            return
        self._rubbish += 1
        if self._rubbish >= _LOST_AFTER:
            raise Garbled(f"{self._rubbish} unreadable answers in a row, {self.link.stats.last_error}")

    async def _read_all(self, parameter: str) -> None:
        refused = False
        if self._groups and parameter not in self._single:
            done, refused = await self._read_group(parameter)
            if done:
                return
        for channel in range(min(self.channels, self._configured)):
            await self._read_one(parameter, channel, doubted=refused)
            if parameter in self.unsupported:
                return
        if refused and parameter in self._known:
            self._refusals += 1
            if parameter not in self._grouped or self._refusals >= _REFUSALS:
                self._give_up_groups(parameter)

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
        """Ask, and once more when what was never told is refused: a request damaged on its way is refused too."""
        try:
            return await ask()
        except ErrorReply:
            if parameter in self._known:
                raise
            return await ask()

    async def read_back(self, parameter: str, channel: int | None) -> Plain:
        """Read one parameter and keep it. Raises ErrorReply and Garbled."""
        reply = await self.monitor(parameter, channel)
        try:
            value = _values(parameter, reply, 1)[0]
        except Garbled as error:
            self._count(error)
            raise
        self._store(parameter, channel, value)
        return value

    async def _read_group(self, parameter: str) -> tuple[bool, bool]:
        """Read all channels in one request; return whether that is settled, and whether the unit refused it."""
        try:
            reply = await self._insist(parameter, partial(self.monitor, parameter, self.channels))
        except ErrorReply as error:
            if error.word == "PAR" and self._grouped and parameter not in self._known:
                self._refused(parameter, None, error)
                return True, True
            # Either groups or this parameter are unknown to the unit: asking for one channel tells which.
            return False, True
        except Garbled:
            self._miss(parameter, *range(self.channels))
            return True, False
        try:
            values = _values(parameter, reply, len((reply.text or "").split(";")))
        except Garbled as error:
            self._count(error)
            self._miss(parameter, *range(self.channels))
            return True, False
        if len(values) != self.channels:
            return self._wrong_count(parameter, len(values)), False
        self._grouped.add(parameter)
        self._wrong_counts.pop(parameter, None)
        self._refusals = 0
        for channel, value in enumerate(values):
            self._store(parameter, channel, value)
        return True, False

    def _give_up_groups(self, parameter: str) -> None:
        if self._grouped and (parameter not in self._grouped or parameter in self._wrong_counts):
            log.warning("%s: %s is not told for all channels at once, read singly", self._name, parameter)
            self._single.add(parameter)
            return
        log.warning("%s: no group reads (%s), reading channel by channel", self._name, parameter)
        self._groups = False

    def _wrong_count(self, parameter: str, found: int) -> bool:
        self._count(Garbled(f"{parameter}: {found} values instead of {self.channels}"))
        self._wrong_counts[parameter] = self._wrong_counts.get(parameter, 0) + 1
        # As long as no group answer was ever good, the unit as a whole is suspected, else this parameter.
        seen = self._wrong_counts[parameter] if self._grouped else sum(self._wrong_counts.values())
        if seen < _WRONG_COUNTS:
            self._miss(parameter, *range(self.channels))
            return True
        self._give_up_groups(parameter)
        return False

    def _refused(self, parameter: str, channel: int | None, error: ErrorReply) -> None:
        self._understood = True
        if parameter in self._known:
            # It was known a moment ago, so this is about the request as it arrived, not about the firmware.
            self._miss(parameter, channel)
            return
        log.debug("%s: %s is not known to this firmware (%s)", self._name, parameter, error.word)
        self.unsupported.add(parameter)

    def _store(self, parameter: str, channel: int | None, value: Plain) -> None:
        self._understood = True
        self._known.add(parameter)
        self.misses.pop((parameter, channel), None)
        if parameter == "IMRANGE" and self.value(parameter, channel) != value:
            for name in _OF_RANGE:
                self.cells.pop((name, channel), None)  # to be learnt again
        self.cells[parameter, channel] = Cell(value, self._now())

    def _miss(self, parameter: str, *channels: int | None) -> None:
        for channel in channels:
            self.misses[parameter, channel] = self.missed(parameter, channel) + 1


def _values(parameter: str, reply: Reply, count: int) -> tuple[Plain, ...]:
    """Read the values of an answer in the format of its parameter. Raises Garbled."""
    wanted = format_of(parameter)
    if wanted.kind is Kind.TEXT:
        return (reply.word(),) if count == 1 else reply.words(count)
    if wanted.kind is Kind.INT:
        numbers = (reply.integer(),) if count == 1 else reply.integers(count)
        if not all(0 <= number <= 0xFFFF for number in numbers):
            raise Garbled(f"{parameter}: {numbers} are no status words or counts")
        return numbers
    if wanted.kind is Kind.FLOAT:
        return (reply.number(),) if count == 1 else reply.numbers(count)
    words = (reply.word(),) if count == 1 else reply.words(count)
    if unknown := [word for word in words if word not in wanted.words]:
        raise Garbled(f"{parameter}: unknown word {unknown[0]!r}")
    return tuple(wanted.words.index(word) for word in words)

"""A CAEN supply as a table of parameters: what it knows, which channels it has, how to read all of them at once.

Between the protocol (bytes) and the driver (meaning). Every value read is kept here with the time of its answer, so
that a later look sees the newest one, whichever task asked for it.

Not every firmware answers the request for all channels, and not for every parameter; some claim channels that refuse
everything. What is given up is tried again after a minute, because noise on a line looks the same.
"""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from devices.caen.catalogue import Plain, values_of
from devices.caen.protocol import Dialect, ErrorReply, Profile, Reply, monitor, parse_reply, set_value
from devices.caen.status import layout_of
from devices.clock import DriverClock
from devices.errors import Garbled, LinkDown
from devices.links.line import LineLink
from devices.rules.settings import BadAnswers

log = logging.getLogger("labioc.caen")

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Cell:
    """One parameter of one channel, or of the board, as last read; ``time`` is the Unix time of the answer."""

    value: Plain
    time: float


_FORMER = {"VDEC": "VSDEC", "IMAX": "IMAXH", "IMDEC": "IMDECH"}
_OF_RANGE = ("IMAX", "IMDEC")
"""What a unit of profile B reports for the range that its current meter is in; profile A has names for each range."""

_ALWAYS = frozenset({"VMON", "IMON", "STAT", "VSET", "ISET"})  # every firmware knows these: a refusal says nothing

IDENTITY = ("BDSNUM", "BDFREL")
"""What distinguishes one unit, and one firmware, from another."""

RETRY = 60.0
"""Seconds after which what was given up is tried again."""

_REFUSALS = 2  # in a row of group reads that had worked, or by one channel, before they are given up
_WRONG_COUNTS = 2  # group answers of the wrong length in a row before groups are given up


class Channels:
    """What has been found out in this connection; ``name`` is that of the device, for the log."""

    def __init__(self, name: str, clock: DriverClock) -> None:
        self.count = 0  # as the unit says
        self._name = name
        self._clock = clock
        self.begin(0)

    def begin(self, count: int) -> None:
        """Begin anew: another connection, or a unit that has changed."""
        self.count = count
        self.present = set(range(count))  # as far as is known
        self.absent: dict[int, float] = {}  # channels that refuse everything, and the monotonic time of the last look
        self._refused: Counter[int] = Counter()  # by channel, in a row
        self._answering: set[int] = set()
        self._forget_groups()

    def _forget_groups(self) -> None:
        self.number: int | None = None  # of the request for all channels, when it is not the number of channels
        self._found: int | None = None  # values in the last answer of the wrong length
        self._refusals = 0
        self.grouped: set[str] = set()  # parameters that have been read for all channels at once
        self._wrong_counts: dict[str, int] = {}
        self._given_up: dict[str, float] = {}  # parameter, or "" for all of them, and the monotonic time of that

    # Single channels

    def asked(self, channel: int) -> bool:
        """Return whether a channel is to be asked now: one that refuses everything is tried once a minute."""
        if channel in self.absent:
            return self._clock.monotonic() - self.absent[channel] >= RETRY
        return channel in self.present

    def answered(self, channel: int) -> None:
        """Note a good answer of a channel."""
        self._answering.add(channel)
        self._refused.pop(channel, None)
        if self.absent.pop(channel, None) is not None:
            self.present.add(channel)
            self._forget_groups()

    def refused_by(self, channel: int) -> None:
        """Note a refusal by one channel: it may be absent."""
        if channel in self._answering or not self._answering:
            return  # it is there, or the unit does not answer for any channel: it may be starting
        self._refused[channel] += 1
        if self._refused[channel] < _REFUSALS:
            return
        if channel not in self.absent:
            # as CHnn: messages that differ by a number alone are one in the log
            log.warning("%s: CH%02d of %d channels does not answer", self._name, channel, self.count)
        self.absent[channel] = self._clock.monotonic()
        self.present.discard(channel)
        # Try groups of those that do answer.
        self.number = self.count if self._found == self.size else self.size
        self._given_up.clear()
        self._wrong_counts.clear()

    # All channels at once

    @property
    def size(self) -> int:
        """How many channels answer, when all that do not are behind them."""
        count = self.count
        while count - 1 in self.absent:
            count -= 1
        return count

    def allowed(self, parameter: str) -> bool:
        """Return whether a parameter is to be asked for all channels now."""
        # A group of one would be the request for the second channel, where the unit has more than answer.
        if self.count != 1 and self.size <= 1:
            return False
        now = self._clock.monotonic()
        return all(now - self._given_up.get(key, now - RETRY) >= RETRY for key in ("", parameter))

    def worked(self, parameter: str) -> None:
        """Note a good answer."""
        self.grouped.add(parameter)
        self._wrong_counts.pop(parameter, None)
        self._refusals = 0
        self._given_up.pop("", None)
        self._given_up.pop(parameter, None)

    def refused(self, parameter: str) -> None:
        """Note that the unit refused a group and answered for single channels."""
        self._refusals += 1
        if parameter not in self.grouped or self._refusals >= _REFUSALS:
            self._give_up(parameter)

    def wrong_count(self, parameter: str, found: int) -> bool:
        """Note an answer of the wrong length; return whether group reads are given up for it."""
        self._found = found
        self._wrong_counts[parameter] = self._wrong_counts.get(parameter, 0) + 1
        # As long as no group answer was ever good, the unit as a whole is suspected, else this parameter.
        seen = self._wrong_counts[parameter] if self.grouped else sum(self._wrong_counts.values())
        if seen < _WRONG_COUNTS:
            return False
        self._give_up(parameter)
        return True

    def _give_up(self, parameter: str) -> None:
        single = self.grouped and (parameter not in self.grouped or parameter in self._wrong_counts)
        key = parameter if single else ""
        if key not in self._given_up:
            what = "{} is not answered for all channels at once" if single else "no group reads ({})"
            log.warning("%s: %s, reading channel by channel", self._name, what.format(parameter))
        self._given_up[key] = self._clock.monotonic()


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
        self.unconfirmed: set[str] = set()
        """Parameters of which something is known from the last connection, not confirmed in this one."""
        self.answers = BadAnswers()
        self.cells: defaultdict[int | None, dict[str, Cell]] = defaultdict(dict)
        """What is known, by channel, with None for the board, and by parameter."""
        self.layout = layout_of("", Profile.A)
        self.dialect = Dialect(Profile.A)
        self._configured = configured
        self._clock = clock
        self._known = set(_ALWAYS)
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
        return parameter in self.unconfirmed or not self.settled(parameter, channel)

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

    def forget(self) -> None:
        """Forget everything."""
        self.unconfirmed.clear()
        self.unsupported.clear()
        for cells in self.cells.values():
            cells.clear()
        self._known = set(_ALWAYS)

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
            self.forget()
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
            self.unconfirmed.discard(parameter)
        self.answers.exchanged(self._understood, self.link.stats.last_error)

    def _asks(self, parameter: str) -> bool:
        return parameter in self.unconfirmed or parameter not in self.unsupported

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
        self.store(parameter, channel, value)
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
            if refusal.word == "PAR" and self.channels.grouped and parameter not in self._known:
                self._refused(parameter, None, refusal)
                return True, True
            # Either groups or this parameter are unknown to the unit: asking for one channel decides.
            return False, True
        except Garbled:
            self._miss(parameter, *range(self.channels.count))
            return True, False
        self.channels.worked(parameter)
        for channel, value in enumerate(values):
            self.store(parameter, channel, value)
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

    def store(self, parameter: str, channel: int | None, value: Plain) -> None:
        """Keep a value that has just been read."""
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

"""Text protocol of the CAEN DT55xxE and N1470 families: requests out, replies in, no I/O.

Two dialects of one language. Profile A (DT55xxE: DT5519E, DT5521E, DT5533E, DT5534E) sends ``$CMD:...``
and ends values with ``;``. Profile B (N1470, N1471, NDT14xx, DT14xxET, R14xxET, N1570) puts the module
address in front, ``$BD:nn,CMD:...``, and has no trailing ``;``. Sources: DT55xxE manual, p. 15; N1470
manual, "Serial protocol".

A reply carries neither channel nor parameter name and no checksum: it belongs to a request by its place in
the order only. The owner of the link has to guarantee that place; this module refuses what no rule explains.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from enum import Enum, IntFlag

from devices.errors import Garbled, OutOfLimits, Refused

HIGHEST_STATUS = 0x1FFFF
"""The highest word that any status layout has bits for (SMART HV: 17 bits, CAEN's caen_libs 3.3)."""

LONGEST_LINE = 512  # bytes; the longest known reply, a group read of eight channels, stays below 100

_BOARD = re.compile(r"BD:([0-9]{1,3})[,:]")
_ERROR = re.compile(r"([A-Z]{1,16}):ERR;?")
_PLAIN_NUMBER = re.compile(r"[+-]?(?:[0-9]{1,12}(?:\.[0-9]{0,9})?|\.[0-9]{1,9})")
_PLAIN_INTEGER = re.compile(r"([+-]?[0-9]{1,12})(?:\.0*)?")
_HEXADECIMAL = re.compile(r"0[xX][0-9A-Fa-f]{1,8}")


class Profile(Enum):
    """Which of the two dialects a unit speaks."""

    A = "A"
    B = "B"


@dataclass(frozen=True, slots=True)
class Dialect:
    """A profile together with the module address, 0..31 in profile B and always 0 in profile A."""

    profile: Profile
    board: int = 0

    @property
    def start(self) -> str:
        """What every request of this dialect begins with."""
        return "$" if self.profile is Profile.A else f"$BD:{self.board:02d},"


SENTENCES = {
    "LOC": "front panel is in LOCAL",
    "VAL": "value not accepted",
    "CH": "no such channel",
    "PAR": "parameter not known to this firmware",
    "CMD": "command not accepted, no reason given",
}
"""What the error words of the unit mean."""


class ErrorReply(Refused):
    """The unit answered ``XXX:ERR``.

    ``word`` is CMD (malformed), CH (no such channel), PAR (no such parameter), VAL (value refused), LOC (the
    front panel has control), or whatever else stood there: profile A may say CMD for every one of them.
    """

    def __init__(self, word: str) -> None:
        super().__init__(f"device refused: {word}")
        self.word = word

    @property
    def explained(self) -> str:
        """The same with what the word means."""
        return f"{self} ({SENTENCES.get(self.word, 'unknown reason')})"


@dataclass(frozen=True, slots=True)
class Reply:
    """A successful reply.

    ``text`` is what followed ``VAL:`` without the closing ``;``, None when there was no VAL. ``board`` is the
    address that the reply carried, None when it carried none. Every reading method raises Garbled when the
    reply holds something else than what was asked for.
    """

    board: int | None
    text: str | None

    def word(self) -> str:
        """Return the one value as text, never empty; may hold spaces and colons."""
        text = self._value()
        if not text:
            raise Garbled("empty value")
        return text

    def number(self) -> float:
        """Return the one value as a number written in plain decimals."""
        return _number(self._value())

    def integer(self) -> int:
        """Return the one value as a whole number: ``00001``, ``1``, ``1.0`` and ``0x1`` are all one."""
        return _integer(self._value())

    def words(self, count: int) -> tuple[str, ...]:
        """Return the values of a group read, one per channel."""
        values = tuple(part.strip() for part in self._value().split(";"))
        if len(values) != count:
            raise Garbled(f"{len(values)} values instead of {count}: {self.text!a}")
        if not all(values):
            raise Garbled(f"an empty value among {self.text!a}")
        return values

    def numbers(self, count: int) -> tuple[float, ...]:
        """Return the values of a group read as numbers; one bad value spoils them all."""
        return tuple(_number(word) for word in self.words(count))

    def integers(self, count: int) -> tuple[int, ...]:
        """Return the values of a group read as whole numbers; one bad value spoils them all."""
        return tuple(_integer(word) for word in self.words(count))

    def _value(self) -> str:
        if self.text is None:
            raise Garbled("reply without a value")
        return self.text


def monitor(dialect: Dialect, par: str, channel: int | None = None) -> bytes:
    """Return the request that reads a parameter.

    ``channel`` is None for the board, 0..N-1 for one channel, and N, their number, for all of them at once.
    """
    return _request(dialect, "MON", par, channel, None)


def set_value(dialect: Dialect, par: str, channel: int | None = None, value: str | None = None) -> bytes:
    """Return the request that sets a parameter, or gives a command that has no value (ON, OFF, BDCLR).

    Raises OutOfLimits when the value cannot be part of a request.
    """
    return _request(dialect, "SET", par, channel, value)


def _request(dialect: Dialect, command: str, par: str, channel: int | None, value: str | None) -> bytes:
    fields = [f"CMD:{command}"]
    if channel is not None:
        fields.append(f"CH:{channel}")
    fields.append(f"PAR:{par}")
    if value is not None:
        if not value or not value.isascii() or not value.isprintable() or set(value) & set("$#,;"):
            raise OutOfLimits(f"{value!a} cannot be sent")
        fields.append(f"VAL:{value}")
    return f"{dialect.start}{','.join(fields)}\r\n".encode("ascii")


def format_number(value: float, decimals: int) -> str:
    """Return a number as the unit wants it: plain decimals, never an exponent, no negative zero.

    Raises OutOfLimits for NaN and infinity, for which the protocol has no form.
    """
    if not math.isfinite(value):
        raise OutOfLimits(f"{value} is not a number that can be set")
    text = f"{value:.{decimals}f}"
    return text.lstrip("-") if not text.strip("-0.") else text


def parse_reply(line: str, dialect: Dialect) -> Reply:
    """Read one reply line without its CR LF.

    Accepted whatever the profile, because units differ from their manuals: ``BD`` present or not, a trailing
    ``;`` or not, a value behind the ``OK`` of a SET. Raises ErrorReply when the unit refused, Garbled for
    anything that is not a reply of this board.
    """
    if not line.startswith("#") or not line.isascii() or not line.isprintable() or len(line) > LONGEST_LINE:
        raise Garbled(f"not a reply: {line[:60]!a}")
    rest, board = line[1:], None
    if address := _BOARD.match(rest):
        board, rest = int(address[1]), rest[address.end() :]
        if board != dialect.board:
            raise Garbled(f"reply of board {board} instead of {dialect.board}")
    # Two lines that lost the line end between them read like one; no value of this protocol holds these.
    if "#" in rest or "$" in rest:
        raise Garbled(f"more than one reply: {line[:60]!a}")
    if error := _ERROR.fullmatch(rest):
        raise ErrorReply(error[1])
    if rest.startswith("ERR"):
        raise ErrorReply(rest.rstrip(";"))
    head, value_follows, text = rest.partition(",VAL:")
    if head.rstrip(";") != "CMD:OK" or (value_follows and head != "CMD:OK"):
        raise Garbled(f"not a reply: {line[:60]!a}")
    return Reply(board, text.strip().removesuffix(";").strip() if value_follows else None)


def _number(text: str) -> float:
    if not _PLAIN_NUMBER.fullmatch(text):
        raise Garbled(f"not a number: {text[:40]!a}")
    return float(text)


def _integer(text: str) -> int:
    if _HEXADECIMAL.fullmatch(text):
        return int(text, 16)
    if plain := _PLAIN_INTEGER.fullmatch(text):
        return int(plain[1])
    raise Garbled(f"not a whole number: {text[:40]!a}")


class ChannelStatus(IntFlag):
    """Status word of a channel (STAT), names as in the DT55xxE manual.

    Profile B differs in two bits: 9 is over temperature (above 105 C; A: warning above 80 C), 10 is disabled
    by the front panel switch (A: over temperature above 125 C; CAEN's own library says disabled there too).
    Bit 13 is not in the DT55xxE manual; CAEN's library and the N1470 manual call it a calibration error.
    """

    ON = 1 << 0
    UP = 1 << 1
    DOWN = 1 << 2
    OVC = 1 << 3
    OVV = 1 << 4
    UNV = 1 << 5
    MAXV = 1 << 6
    TRIP = 1 << 7
    MAXPW = 1 << 8
    TWARN = 1 << 9
    OVT = 1 << 10
    KILL = 1 << 11
    INTLCK = 1 << 12
    CALERR = 1 << 13


ALARM_BITS_A = 0x1FF8
"""BDALARM of profile A: status bits 3..12 of all channels, ORed; it does not say whose (DT55xxE manual).

In profile B bits 0 to 3 are channels in alarm, 4 PWFAIL, 5 OVP and 6 HVCKFAIL are the board's (N1470 manual).
"""

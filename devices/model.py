"""What a driver hands to the scan engine: signals, readings and limits.

A driver is asked for a batch of signals and answers with readings. It knows the meaning of a number (unit, text of a
state, whether it is alarming in this context) but nothing about records or Channel Access.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, IntEnum
from typing import Any, Protocol, runtime_checkable

Value = float | int | str | tuple[float, ...]

SiteLimits = Mapping[str, tuple[float, float]]
"""Lowest and highest value that the site file allows, by signal suffix (``VSET``)."""


class Level(IntEnum):
    """How bad a reading is, in the order of EPICS severities."""

    OK = 0
    MINOR = 1
    MAJOR = 2
    INVALID = 3


class Cause(Enum):
    """Why a reading is not OK; the names are those of the Channel Access alarm status."""

    NONE = "NO_ALARM"
    READ = "READ"
    WRITE = "WRITE"
    STATE = "STATE"
    COMM = "COMM"
    TIMEOUT = "TIMEOUT"
    HIHI = "HIHI"
    HIGH = "HIGH"
    LOW = "LOW"
    LOLO = "LOLO"
    HWLIMIT = "HWLIMIT"
    DISABLE = "DISABLE"
    UDF = "UDF"


class Kind(Enum):
    """Type of a signal's value: ENUM is the index into the labels, ARRAY a tuple of floats."""

    FLOAT = "float"
    INT = "int"
    ENUM = "enum"
    TEXT = "text"
    ARRAY = "array"


@dataclass(frozen=True, slots=True)
class Signal:
    """One quantity of a device, named as its PV suffix with dots: ``CH00.VSET.RBV``."""

    name: str
    kind: Kind
    settable: bool = False
    unit: str = ""
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Reading:
    """One answer about one signal.

    ``value`` is None when there is none to show (the last one is kept, the level says how bad that is).
    ``time`` is the Unix time in seconds at which the answer arrived.
    """

    value: Value | None
    time: float
    level: Level = Level.OK
    cause: Cause = Cause.NONE


def state_reading(value: Value | None, time: float, level: Level) -> Reading:
    """Return a reading whose level is about the state of the device; without a level it has no cause either."""
    return Reading(value, time, level, Cause.STATE if level else Cause.NONE)


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits in force for a setting, with the words that say whose they are (``device VMAX``, ``site``)."""

    low: float
    high: float
    low_from: str = "device"
    high_from: str = "device"


@dataclass(slots=True)
class LinkStats:
    """Counters of one device since start; ``rtt`` is the time of the last exchange in seconds.

    ``late`` are sentences about earlier writes that have come true since; the scan engine takes and shows them.
    ``notice`` is what people have to know of the device that is connected now, empty when it is as expected.
    """

    errors: int = 0
    reconnects: int = 0
    rtt: float = 0.0
    last_error: str = ""
    notice: str = ""
    late: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class DeviceSettings:
    """One ``[[device]]`` of the site file, as far as a driver cares.

    ``limits`` and ``channel_limits`` are site limits, ``options`` the keys that only this device family has, ``bus``
    the options of the adapter that the device shares with others.
    """

    name: str
    type: str
    address: str = ""
    channels: int = 0
    period: float = 1.0
    timeout: float = 1.0
    readonly: bool = False
    simulated: bool = False
    limits: SiteLimits = field(default_factory=dict)
    channel_limits: Mapping[int, SiteLimits] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    bus: Mapping[str, Any] = field(default_factory=dict)

    def limits_of(self, channel: int) -> tuple[SiteLimits, SiteLimits]:
        """Return the site limits that hold for a channel: those of the device and its own."""
        return self.limits, self.channel_limits.get(channel, {})


@dataclass(frozen=True, slots=True)
class Way:
    """How a write goes: what it shares with others, and whether it waits for them.

    ``wire`` names what carries it; drivers that name the same wire share it, and it carries as many ordinary writes at
    a time as it has ``room``. Writes to one ``place`` of a device (a channel; empty is the whole device) go one after
    the other. An ``urgent`` one, which makes an output safe, begins at once, and ends what waits for its place.
    """

    wire: str
    place: str = ""
    urgent: bool = False
    room: int = 1


class Driver(Protocol):
    """What the scan engine and the put path need of a device.

    All methods run on one event loop; none of them blocks it. Only errors of ``devices.errors`` leave them.
    """

    @property
    def settings(self) -> DeviceSettings:
        """What the site file says about this device."""

    @property
    def stats(self) -> LinkStats:
        """Counters of the link."""

    def signals(self) -> Mapping[str, Signal]:
        """Every signal that this device can have, by name; known without a connection."""

    async def connect(self) -> None:
        """Open the link and learn identity, limits and resolutions; sends nothing that changes the device.

        Raises LinkDown, ReplyTimeout or Garbled.
        """

    async def close(self) -> None:
        """Close the link; safe to call at any time and more than once."""

    async def read(self, names: Collection[str]) -> Mapping[str, Reading]:
        """Read a batch of signals with as few exchanges as the protocol allows.

        A signal that could not be read although the link works comes back without value at INVALID, or is left out
        when a single bad answer is only to be counted. Raises LinkDown or ReplyTimeout when the device is lost.
        """

    def way(self, name: str, value: Value) -> Way:
        """Return how a write of this value to a setting or command goes."""

    async def write(self, name: str, value: Value) -> Mapping[str, Reading]:
        """Apply one setting or command, read it back, and return every reading learnt on the way.

        The returned mapping holds at least ``name``. The link asks ``devices.permit`` before each exchange that changes
        the device; what takes effect without one asks by itself. Raises Refused (and its kin) when nothing was changed
        or the read-back disagrees, ReplyTimeout or LinkDown when the outcome is unknown; the text is for the operator,
        and the ``readings`` of the error are shown.
        """

    def limits(self, name: str) -> Limits | None:
        """Limits in force for a numeric setting; None when it has none or they are not known yet."""

    def precision(self, name: str) -> int | None:
        """Decimals that the device itself shows for this signal; None when it does not tell."""


@runtime_checkable
class Announcing(Protocol):
    """A driver whose device speaks up by itself, on top of being scanned."""

    def notify(self, hook: Callable[[Collection[str]], None]) -> None:
        """Call ``hook`` from now on, on the event loop, with signals that are worth reading at once."""


@runtime_checkable
class Portioned(Protocol):
    """A driver whose batches can be divided, so that the fast scan need not wait for the end of a long one.

    Of such a device the fast signals are read first after each connect, and it counts as connected from then on: a
    write looks by itself at what it needs and what has not been read yet.
    """

    def portions(self, names: Sequence[str]) -> Sequence[Collection[str]]:
        """Divide signals into batches of about one exchange each, in the order in which they are needed."""


@runtime_checkable
class Latching(Protocol):
    """A driver that remembers events by itself."""

    def latched(self) -> Mapping[str, Reading]:
        """Return the signals whose alarm is such a memory now: losing the link does not take it away."""


@runtime_checkable
class Ranged(Protocol):
    """A driver that knows the range of what it reads."""

    def display_range(self, name: str) -> tuple[float, float] | None:
        """Return the lowest and highest value that the device itself can show; None when it is not known."""


@runtime_checkable
class WriteGuard(Protocol):
    """A driver that sees to it by itself that nothing is written while that is forbidden.

    For devices that forget a setting unless it is written again and again: stopping puts on their way to the
    driver does not stop that.
    """

    async def forbid_writes(self, why: str) -> None:
        """Refuse every write from now on, for this reason; returns when no byte of one is under way any more.

        Holds over reconnections until ``permit_writes``. Raises nothing.
        """

    def permit_writes(self) -> None:
        """Take writes again. What was being repeated stays ended until a user sets it anew."""


@dataclass(frozen=True, slots=True)
class RawRequest:
    """One access past the PVs, understood but not begun.

    ``what`` names the place for people and the log, ``way`` is how a write goes. ``value`` is what is to be written, as
    it was given, None for a read. ``perform`` does it, reads back after a write, and returns the lines to show; like
    ``Driver.write`` it asks for leave before each exchange that changes the device, and raises errors of
    ``devices.errors`` only.
    """

    what: str
    value: str | None
    perform: Callable[[], Awaitable[Sequence[str]]]
    way: Way


@runtime_checkable
class RawAccess(Protocol):
    """A driver that lets experts reach what has no PV."""

    @property
    def raw_usage(self) -> str:
        """The words that ``raw_request`` takes, as a usage line: ``PARAMETER [CHANNEL] [= VALUE]``."""

    def raw_request(self, words: Sequence[str], value: str | None) -> RawRequest:
        """Understand the words that name a place, and the value to write there (None: read it).

        Sends nothing. Raises Refused with a sentence when they make no sense.
        """

"""Every quantity of a CAEN DT55xxE / N1470 supply: what it is called here and on the wire.

The tables follow the parameter lists of the DT55xxE manual (p. 15), the NDT14xx manual (UM2027) and the N1471
manual. They are the only list of CAEN signals: the driver, its limits and the tests are loops over them. How often a
quantity is read, and what it is called for people, is in the templates.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from devices.caen.protocol import HIGHEST_STATUS, ChannelStatus, Reply
from devices.errors import Garbled
from devices.model import DeviceSettings, Kind, Signal
from devices.rules.channels import supply_signals
from devices.rules.hv_channel import STATES

Plain = float | int | str
"""A value of the wire: a number, the index of a word, or a text."""


@dataclass(frozen=True, slots=True)
class Quantity(Signal):
    """One signal of a channel (without ``CHnn.``) or of the board.

    ``wire`` is the parameter that carries it, empty when the driver derives it. ``words`` are the words of the wire in
    the order of ``labels``. ``resolution`` and ``decimals`` are the parameters that tell its smallest step and how many
    decimals the unit shows (the first one this firmware knows counts), ``digits`` is what holds when none does.

    ``needs`` are the parameters without which it has no reading, ``context`` are settings that it also depends on,
    asked for when they have not been read yet, and ``constants`` what is read once.
    """

    wire: str = ""
    words: tuple[str, ...] = ()
    resolution: tuple[str, ...] = ()
    decimals: tuple[str, ...] = ()
    digits: int = 0
    needs: tuple[str, ...] = ()
    context: tuple[str, ...] = ()
    constants: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Setting(Quantity):
    """One setting, which is the signal of its demand; the others are ``.RBV``, of numbers ``.HI .LO .RES``.

    ``low`` and ``high`` are the parameters with the unit's own limits, best first: the two profiles use different names
    for the same thing. ``limited_with`` are the settings that its limit needs, its own first.
    """

    low: tuple[str, ...] = ()
    high: tuple[str, ...] = ()
    limited_with: tuple[str, ...] = ()

    @property
    def numeric(self) -> bool:
        """Whether the setting is a number with limits, not a choice of words."""
        return not self.labels

    def quantities(self) -> Iterator[Quantity]:
        """Yield the signals of this setting."""
        yield self
        back = Quantity(f"{self.name}.RBV", self.kind, False, self.unit, self.labels, self.wire, self.words)
        back = replace(back, decimals=self.decimals, digits=self.digits, needs=self.needs)
        # MAXV is alarming when it holds the output below VSET.
        yield replace(back, context=("VSET",)) if self.name == "MAXV" else back
        if self.numeric:
            number = replace(back, wire="", needs=())
            limit = replace(number, context=self.limited_with, constants=(*self.high, *self.low))
            yield replace(limit, name=f"{self.name}.HI")
            yield replace(limit, name=f"{self.name}.LO")
            yield replace(number, name=f"{self.name}.RES", constants=(*self.resolution, *self.decimals))


TRIP_INFINITE = 1000.0
"""TRIP value, in seconds, that means "never trip" (N1471 manual, table of parameters)."""

STATUS_BITS: tuple[str, ...] = tuple(str(bit.name) for bit in ChannelStatus)
"""Bits of the status word that have a signal (``STAT.TRIP``)."""

_OFF_ON = ("OFF", "ON")
_NO_YES = ("NO", "YES")


def _number(name: str, wire: str, unit: str, stem: str = "", digits: int = 0) -> Setting:
    """Return a number whose limits, resolution and decimals have the names of the wire with an ending."""
    low, high, resolution, decimals = ((f"{stem or wire}{end}",) for end in ("MIN", "MAX", "RES", "DEC"))
    given = Setting(name, Kind.FLOAT, True, unit, wire=wire, needs=(wire,), digits=digits, limited_with=(wire,))
    return replace(given, low=low, high=high, resolution=resolution, decimals=decimals)


def _choice(name: str, wire: str, labels: tuple[str, ...], words: tuple[str, ...] = ()) -> Setting:
    return Setting(name, Kind.ENUM, True, "", labels, wire, words or labels, needs=(wire,))


CHANNEL_SETTINGS: tuple[Setting, ...] = (
    Setting(
        "VSET", Kind.FLOAT, True, "V", wire="VSET", needs=("VSET",), low=("VMIN",), high=("VMAX",),
        limited_with=("VSET", "MAXV"), resolution=("VSRES",), decimals=("VSDEC", "VDEC"), digits=1,
    ),
    Setting(
        "ISET", Kind.FLOAT, True, "uA", wire="ISET", needs=("ISET",), low=("IMIN",), high=("IMAXH", "IMAXL", "IMAX"),
        limited_with=("ISET", "IMRANGE"), resolution=("ISRES",), decimals=("ISDEC",), digits=2,
    ),
    _number("MAXV", "MAXV", "V", "MV"),
    _number("RAMPUP", "RUP", "V/s"),
    _number("RAMPDN", "RDW", "V/s"),
    _number("TRIPTIME", "TRIP", "s", digits=1),
    _choice("PDWN", "PDWN", ("RAMP", "KILL")),
    _choice("IRANGE", "IMRANGE", ("HIGH", "LOW")),
    _choice("ZCADJ", "ZCADJ", _OFF_ON, ("DIS", "EN")),
)  # fmt: skip


def _number_read(name: str, unit: str, *needs: str, **more: Any) -> Quantity:
    return Quantity(name, Kind.FLOAT, False, unit, needs=needs, **more)


def _word_read(name: str, labels: tuple[str, ...], wire: str) -> Quantity:
    return Quantity(name, Kind.ENUM, labels=labels, wire=wire, words=labels, needs=(wire,))


def _derived(name: str, labels: tuple[str, ...], *needs: str, **more: Any) -> Quantity:
    return Quantity(name, Kind.ENUM, labels=labels, needs=needs, **more)


def _command(name: str, act: str) -> Quantity:
    return Quantity(name, Kind.ENUM, True, labels=("IDLE", act))


_VDEC, _IDEC = ("VMDEC", "VSDEC", "VDEC"), ("IMDEC",)
_RANGES = ("IMRESH", "IMRESL", "IMDECH", "IMDECL", "IMDEC")

CHANNEL_MONITORS: tuple[Quantity, ...] = (
    _number_read("VMON", "V", "VMON", wire="VMON", resolution=("VMRES",), decimals=_VDEC, digits=1),
    _number_read("VMON.RES", "V", constants=("VMRES", *_VDEC), decimals=_VDEC, digits=1),
    _number_read("IMON", "uA", "IMON", wire="IMON", context=("ISET",), decimals=_IDEC, digits=3),
    _number_read("IMON.RES", "uA", context=("IMRANGE",), constants=_RANGES, decimals=_IDEC, digits=3),
    Quantity("STAT", Kind.INT, wire="STAT", needs=("STAT",)),
    _derived("ON", _OFF_ON, "STAT", settable=True),
    _derived("ON.RBV", _OFF_ON, "STAT"),
    _derived("STATE", STATES, "STAT"),
    _derived("MOVING", ("STEADY", "RAMPING"), "STAT"),
    _number_read("VDIFF", "V", "VMON", "STAT", context=("VSET",), decimals=_VDEC, digits=1),
    _number_read("EFFLOAD", "Mohm", "VMON", "IMON", digits=2),
    _derived("FROZEN", _NO_YES, "VMON", "IMON", "STAT"),
    _derived("SETTLED", _NO_YES, "VMON", "STAT", context=("VSET",)),
    _word_read("POL", ("+", "-"), "POL"),
    _derived("TRIP", ("OK", "TRIPPED"), "STAT"),
    Quantity("TRIP.COUNT", Kind.INT, needs=("STAT",)),
    Quantity("TRIP.TIME", Kind.TEXT, needs=("STAT",)),
    _number_read("TRIP.V", "V", "STAT", decimals=_VDEC, digits=1),
    _number_read("TRIP.I", "uA", "STAT", decimals=_IDEC, digits=3),
    _command("TRIP.ACK.CMD", "ACK"),
    _command("CLR.CMD", "CLEAR"),
    _word_read("ZCDTC", _OFF_ON, "ZCDTC"),
    _command("ZCDTC.CMD", "SAMPLE"),
    *(_derived(f"STAT.{name}", _NO_YES if name != "ON" else _OFF_ON, "STAT") for name in STATUS_BITS),
)

BOARD_SETTINGS: tuple[Setting, ...] = (_choice("BD.ILKM", "BDILKM", ("OPEN", "CLOSED")),)

_TEXTS = {
    "NAME": "BDNAME", "SERIAL": "BDSNUM", "FW": "BDFREL", "MAC": "MACADDR", "IP": "IPADDR", "MASK": "SUBMASK",
    "GATEWAY": "GATEWAY", "DHCP": "DHCPEN",
}  # fmt: skip

BOARD_MONITORS: tuple[Quantity, ...] = (
    *(Quantity(f"BD.{name}", Kind.TEXT, wire=wire) for name, wire in _TEXTS.items()),
    Quantity("BD.NCH", Kind.INT, wire="BDNCH"),
    Quantity("BD.PROT", Kind.ENUM, labels=_NO_YES, wire="BDALARM"),  # before the row with the format of the parameter
    Quantity("BD.ALARM", Kind.INT, wire="BDALARM"),
    _word_read("BD.ILK", _NO_YES, "BDILK"),
    _word_read("BD.LOCAL", ("REMOTE", "LOCAL"), "BDCTR"),
    _word_read("BD.TERM", _OFF_ON, "BDTERM"),
    _command("BD.CLR.CMD", "CLEAR"),
)


def _rows(settings: tuple[Setting, ...], monitors: tuple[Quantity, ...]) -> dict[str, Quantity]:
    rows = [*monitors, *(row for setting in settings for row in setting.quantities())]
    return {row.name: row for row in rows}


CHANNEL: dict[str, Quantity] = _rows(CHANNEL_SETTINGS, CHANNEL_MONITORS)
"""Every quantity of a channel by its suffix (without ``CHnn.``)."""

BOARD: dict[str, Quantity] = _rows(BOARD_SETTINGS, BOARD_MONITORS)
"""Every quantity of the board by its signal name."""

LIVE = ("VMON", "IMON", "STAT")
"""What one fast scan reads; the status last, so that the values are those from before what it reports."""

CONSTANTS = frozenset(name for row in CHANNEL.values() for name in row.constants)
"""Every channel parameter that holds a limit, a resolution or a number of decimals."""

SETTINGS: dict[str, Setting] = {setting.name: setting for setting in (*CHANNEL_SETTINGS, *BOARD_SETTINGS)}


def signals(settings: DeviceSettings) -> dict[str, Signal]:
    """Return every signal that a supply with so many channels has."""
    return supply_signals(BOARD, CHANNEL, settings.channels)


_FORMATS = {row.wire: (row.kind, row.words) for row in (*CHANNEL.values(), *BOARD.values()) if row.wire}


def values_of(parameter: str, reply: Reply, count: int) -> tuple[Plain, ...]:
    """Read the values of an answer in the format of its parameter. Raises Garbled.

    What is not published is a limit, a resolution or a number of decimals.
    """
    kind, words = _FORMATS.get(parameter, (Kind.INT if "DEC" in parameter else Kind.FLOAT, ()))
    if kind is Kind.INT:
        numbers = (reply.integer(),) if count == 1 else reply.integers(count)
        if not all(0 <= number <= HIGHEST_STATUS for number in numbers):
            raise Garbled(f"{parameter}: {numbers} are no status words or counts")
        return numbers
    if kind is Kind.FLOAT:
        return (reply.number(),) if count == 1 else reply.numbers(count)
    found = (reply.word(),) if count == 1 else reply.words(count)
    if kind is Kind.TEXT:
        return found
    if unknown := [word for word in found if word not in words]:
        raise Garbled(f"{parameter}: unknown word {unknown[0]!r}")
    return tuple(words.index(word) for word in found)

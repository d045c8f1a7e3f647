"""Every quantity of a CAEN DT55xxE / N1470 supply: what it is called here and on the wire.

The tables follow the parameter lists of the DT55xxE manual (p. 15), the NDT14xx manual (UM2027) and the N1471
manual. They are the only list of CAEN signals: the driver, its limits and the tests are loops over them. How often a
quantity is read, and what it is called for people, is in the templates.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from devices.caen.protocol import HIGHEST_STATUS, ChannelStatus, Reply
from devices.errors import Garbled
from devices.model import DeviceSettings, Kind, Signal
from devices.rules.channels import supply_signals
from devices.rules.hv_channel import STATES

Plain = float | int | str
"""A value of the wire: a number, the index of a word, or a text."""


@dataclass(frozen=True, slots=True)
class Quantity:
    """One signal.

    ``wire`` is the parameter that carries it, empty when the driver derives it. ``words`` are the words of
    the wire in the order of ``labels``. ``decimals`` are the parameters that tell how many decimals the unit
    shows (the first one this firmware knows counts), ``digits`` is what holds when none does.
    """

    suffix: str
    kind: Kind
    wire: str = ""
    unit: str = ""
    labels: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    decimals: tuple[str, ...] = ()
    digits: int = 0
    settable: bool = False


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting, from which its signals follow: demand, ``.RBV``; of numbers ``.HI .LO .RES``.

    ``low``, ``high``, ``resolution`` and ``decimals`` name the parameters with the unit's own answer, best
    first: the two profiles use different names for the same thing.
    """

    suffix: str
    wire: str
    unit: str = ""
    labels: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    low: tuple[str, ...] = ()
    high: tuple[str, ...] = ()
    resolution: tuple[str, ...] = ()
    decimals: tuple[str, ...] = ()
    digits: int = 0

    @property
    def numeric(self) -> bool:
        """Whether the setting is a number with limits, not a choice of words."""
        return not self.labels

    def quantities(self) -> Iterator[Quantity]:
        """Yield the signals of this setting."""
        kind = Kind.FLOAT if self.numeric else Kind.ENUM
        common = (self.unit, self.labels, self.words, self.decimals, self.digits)
        yield Quantity(self.suffix, kind, self.wire, *common, settable=True)
        yield Quantity(f"{self.suffix}.RBV", kind, self.wire, *common)
        for part in ("HI", "LO", "RES") if self.numeric else ():
            yield Quantity(f"{self.suffix}.{part}", kind, "", *common)


TRIP_INFINITE = 1000.0
"""TRIP value, in seconds, that means "never trip" (N1471 manual, table of parameters)."""

STATUS_BITS: tuple[str, ...] = tuple(str(bit.name) for bit in ChannelStatus)
"""Bits of the status word that have a signal (``STAT.TRIP``)."""

_OFF_ON = ("OFF", "ON")
_NO_YES = ("NO", "YES")


def _number(suffix: str, wire: str, unit: str, stem: str = "", digits: int = 0) -> Setting:
    """Return a number whose limits, resolution and decimals have the names of the wire with an ending."""
    stem = stem or wire
    low, high, resolution, decimals = ((f"{stem}{end}",) for end in ("MIN", "MAX", "RES", "DEC"))
    return Setting(suffix, wire, unit, (), (), low, high, resolution, decimals, digits)


def _choice(suffix: str, wire: str, labels: tuple[str, ...], words: tuple[str, ...] = ()) -> Setting:
    return Setting(suffix, wire, labels=labels, words=words or labels)


CHANNEL_SETTINGS: tuple[Setting, ...] = (
    Setting("VSET", "VSET", "V", (), (), ("VMIN",), ("VMAX",), ("VSRES",), ("VSDEC", "VDEC"), 1),
    Setting("ISET", "ISET", "uA", (), (), ("IMIN",), ("IMAXH", "IMAXL", "IMAX"), ("ISRES",), ("ISDEC",), 2),
    _number("MAXV", "MAXV", "V", "MV"),
    _number("RAMPUP", "RUP", "V/s"),
    _number("RAMPDN", "RDW", "V/s"),
    _number("TRIPTIME", "TRIP", "s", digits=1),
    _choice("PDWN", "PDWN", ("RAMP", "KILL")),
    _choice("IRANGE", "IMRANGE", ("HIGH", "LOW")),
    _choice("ZCADJ", "ZCADJ", _OFF_ON, ("DIS", "EN")),
)


def _enum(suffix: str, labels: tuple[str, ...], wire: str = "", settable: bool = False) -> Quantity:
    return Quantity(suffix, Kind.ENUM, wire, labels=labels, words=labels if wire else (), settable=settable)


CHANNEL_MONITORS: tuple[Quantity, ...] = (
    Quantity("VMON", Kind.FLOAT, "VMON", "V", decimals=("VMDEC", "VSDEC", "VDEC"), digits=1),
    Quantity("VMON.RES", Kind.FLOAT, unit="V", digits=1),
    Quantity("IMON", Kind.FLOAT, "IMON", "uA", decimals=("IMDEC",), digits=3),
    Quantity("IMON.RES", Kind.FLOAT, unit="uA", digits=3),
    Quantity("STAT", Kind.INT, "STAT"),
    _enum("ON", _OFF_ON, settable=True),
    _enum("ON.RBV", _OFF_ON),
    _enum("STATE", STATES),
    _enum("MOVING", ("STEADY", "RAMPING")),
    Quantity("VDIFF", Kind.FLOAT, unit="V", digits=1),
    Quantity("EFFLOAD", Kind.FLOAT, unit="Mohm", digits=2),
    _enum("FROZEN", _NO_YES),
    _enum("SETTLED", _NO_YES),
    _enum("POL", ("+", "-"), "POL"),
    _enum("TRIP", ("OK", "TRIPPED")),
    Quantity("TRIP.COUNT", Kind.INT),
    Quantity("TRIP.TIME", Kind.TEXT),
    Quantity("TRIP.V", Kind.FLOAT, unit="V", digits=1),
    Quantity("TRIP.I", Kind.FLOAT, unit="uA", digits=3),
    _enum("TRIP.ACK.CMD", ("IDLE", "ACK"), settable=True),
    _enum("CLR.CMD", ("IDLE", "CLEAR"), settable=True),
    _enum("ZCDTC", _OFF_ON, "ZCDTC"),
    _enum("ZCDTC.CMD", ("IDLE", "SAMPLE"), settable=True),
    *(_enum(f"STAT.{name}", _NO_YES if name != "ON" else _OFF_ON) for name in STATUS_BITS),
)

BOARD_SETTINGS: tuple[Setting, ...] = (_choice("BD.ILKM", "BDILKM", ("OPEN", "CLOSED")),)

_TEXTS = {
    "NAME": "BDNAME", "SERIAL": "BDSNUM", "FW": "BDFREL", "MAC": "MACADDR", "IP": "IPADDR", "MASK": "SUBMASK",
    "GATEWAY": "GATEWAY", "DHCP": "DHCPEN",
}  # fmt: skip

BOARD_MONITORS: tuple[Quantity, ...] = (
    *(Quantity(f"BD.{name}", Kind.TEXT, wire) for name, wire in _TEXTS.items()),
    Quantity("BD.NCH", Kind.INT, "BDNCH"),
    Quantity("BD.PROT", Kind.ENUM, "BDALARM", labels=_NO_YES),  # before the row with the format of the parameter
    Quantity("BD.ALARM", Kind.INT, "BDALARM"),
    _enum("BD.ILK", _NO_YES, "BDILK"),
    _enum("BD.LOCAL", ("REMOTE", "LOCAL"), "BDCTR"),
    _enum("BD.TERM", _OFF_ON, "BDTERM"),
    _enum("BD.CLR.CMD", ("IDLE", "CLEAR"), settable=True),
)


def _rows(settings: tuple[Setting, ...], monitors: tuple[Quantity, ...]) -> dict[str, Quantity]:
    rows = [*monitors, *(row for setting in settings for row in setting.quantities())]
    return {row.suffix: row for row in rows}


_OF_METER = ("VMRES", "IMRESH", "IMRESL", "IMDECH", "IMDECL")


def constants() -> tuple[str, ...]:
    """Return every channel parameter that holds a limit, a resolution or a number of decimals."""
    names: list[str] = []
    for setting in CHANNEL_SETTINGS:
        names += [*setting.low, *setting.high, *setting.resolution, *setting.decimals]
    for suffix in ("VMON", "IMON"):
        names += CHANNEL[suffix].decimals
    return tuple(dict.fromkeys([*names, *_OF_METER]))


def constants_of(suffix: str) -> tuple[str, ...]:
    """Return the constants that a limit or a resolution (``VSET.HI``, ``IMON.RES``) comes from; none for others."""
    base, _, part = suffix.rpartition(".")
    if part == "RES" and base in ("VMON", "IMON"):
        own = [name for name in _OF_METER if name.startswith(base[:2])]
        return (*own, *CHANNEL[base].decimals)
    setting = SETTINGS.get(base)
    if setting is None:
        return ()
    return {"LO": setting.low, "HI": setting.high, "RES": setting.resolution + setting.decimals}.get(part, ())


CHANNEL: dict[str, Quantity] = _rows(CHANNEL_SETTINGS, CHANNEL_MONITORS)
"""Every quantity of a channel by its suffix (without ``CHnn.``)."""

BOARD: dict[str, Quantity] = _rows(BOARD_SETTINGS, BOARD_MONITORS)
"""Every quantity of the board by its signal name."""

LIVE = ("VMON", "IMON", "STAT")
"""What one fast scan reads; the status last, so that the values are those from before what it reports."""

SETTINGS: dict[str, Setting] = {setting.suffix: setting for setting in (*CHANNEL_SETTINGS, *BOARD_SETTINGS)}


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

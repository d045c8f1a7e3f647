"""Every quantity of a CAEN DT55xxE / N1470 supply: what it is called here and on the wire.

The tables follow the parameter lists of the DT55xxE manual (p. 15), the NDT14xx manual (UM2027) and the N1471
manual. They are the only list of CAEN signals: the driver, its limits and the tests are loops over them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from devices.model import Kind, Signal
from devices.rules.hv_channel import STATES


class Rate(Enum):
    """How often a quantity is worth reading."""

    FAST = "fast"  # what an operator watches, once per period of the device
    MEDIUM = "5 second"  # settings somebody else may change at any time, board alarms
    SLOW = "10 second"  # settings that change rarely
    ONCE = "once"  # identity and limits, read after each connect
    DEMAND = "passive"  # written by users, never polled


@dataclass(frozen=True, slots=True)
class Quantity:
    """One signal.

    ``wire`` is the parameter that carries it, empty when the driver derives it. ``words`` are the words of
    the wire in the order of ``labels``. ``decimals`` are the parameters that tell how many decimals the unit
    shows (the first one this firmware knows counts), ``digits`` is what holds when none does.
    """

    suffix: str
    kind: Kind
    help: str
    wire: str = ""
    unit: str = ""
    labels: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    decimals: tuple[str, ...] = ()
    digits: int = 0
    rate: Rate = Rate.FAST
    settable: bool = False

    def signal(self, prefix: str = "") -> Signal:
        """Describe the signal to the outside under its full name."""
        return Signal(prefix + self.suffix, self.kind, self.settable, self.unit, self.labels, self.help)


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting, from which its signals follow: demand, ``.RBV``; of numbers ``.HI .LO .RES``.

    ``low``, ``high``, ``resolution`` and ``decimals`` name the parameters with the unit's own answer, best
    first: the two profiles use different names for the same thing. ``moving_limit`` says that the highest
    allowed value depends on another setting (MAXV, the current range) and so is not a once-only quantity.
    """

    suffix: str
    wire: str
    help: str
    unit: str = ""
    labels: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    low: tuple[str, ...] = ()
    high: tuple[str, ...] = ()
    resolution: tuple[str, ...] = ()
    decimals: tuple[str, ...] = ()
    digits: int = 0
    rate: Rate = Rate.SLOW
    moving_limit: bool = False

    @property
    def numeric(self) -> bool:
        """Whether the setting is a number with limits, not a choice of words."""
        return not self.labels

    def quantities(self) -> Iterator[Quantity]:
        """Yield the signals of this setting."""
        kind = Kind.FLOAT if self.numeric else Kind.ENUM
        common = (self.unit, self.labels, self.words, self.decimals, self.digits)
        yield Quantity(self.suffix, kind, self.help, self.wire, *common, Rate.DEMAND, True)
        yield Quantity(f"{self.suffix}.RBV", kind, f"{self.help}, as read back", self.wire, *common, self.rate)
        if self.numeric:
            limit_rate = self.rate if self.moving_limit else Rate.ONCE
            yield Quantity(f"{self.suffix}.HI", kind, f"{self.help}, highest allowed", "", *common, limit_rate)
            yield Quantity(f"{self.suffix}.LO", kind, f"{self.help}, lowest allowed", "", *common, Rate.ONCE)
            yield Quantity(f"{self.suffix}.RES", kind, f"{self.help}, resolution", "", *common, Rate.ONCE)


TRIP_INFINITE = 1000.0
"""TRIP value, in seconds, that means "never trip" (N1471 manual, table of parameters)."""

STATUS_BITS: tuple[tuple[str, str], ...] = (
    ("ON", "Output is on"),
    ("UP", "Ramping up"),
    ("DOWN", "Ramping down"),
    ("OVC", "Overcurrent"),
    ("OVV", "Voltage above the setting"),
    ("UNV", "Voltage below the setting"),
    ("MAXV", "Held at the hardware voltage limit"),
    ("TRIP", "Off because of a trip"),
    ("MAXPW", "Maximum power reached"),
    ("TWARN", "Temperature warning"),
    ("OVT", "Over-temperature or disabled"),
    ("KILL", "Killed by the front panel input"),
    ("INTLCK", "Interlock active"),
    ("CALERR", "Calibration error"),
)
"""Bits of STAT from bit 0 on, with the names of the DT55xxE manual; bit 13 as in CAEN's own library."""

CHANNEL_SETTINGS: tuple[Setting, ...] = (
    Setting(
        "VSET", "VSET", "Voltage setting", "V", low=("VMIN",), high=("VMAX",), resolution=("VSRES",),
        decimals=("VSDEC", "VDEC"), digits=1, rate=Rate.MEDIUM, moving_limit=True,
    ),
    Setting(
        "ISET", "ISET", "Current limit", "uA", low=("IMIN",), high=("IMAXH", "IMAXL", "IMAX"),
        resolution=("ISRES",), decimals=("ISDEC",), digits=2, rate=Rate.MEDIUM, moving_limit=True,
    ),
    Setting(
        "MAXV", "MAXV", "Maximum voltage", "V", low=("MVMIN",), high=("MVMAX",), resolution=("MVRES",),
        decimals=("MVDEC",),
    ),
    Setting(
        "RAMPUP", "RUP", "Ramp-up speed", "V/s", low=("RUPMIN",), high=("RUPMAX",), resolution=("RUPRES",),
        decimals=("RUPDEC",),
    ),
    Setting(
        "RAMPDN", "RDW", "Ramp-down speed", "V/s", low=("RDWMIN",), high=("RDWMAX",), resolution=("RDWRES",),
        decimals=("RDWDEC",),
    ),
    Setting(
        "TRIPTIME", "TRIP", "Trip time", "s", low=("TRIPMIN",), high=("TRIPMAX",), resolution=("TRIPRES",),
        decimals=("TRIPDEC",), digits=1,
    ),
    Setting("PDWN", "PDWN", "Output after a trip", labels=("RAMP", "KILL"), words=("RAMP", "KILL")),
    Setting("IRANGE", "IMRANGE", "Range of the current meter", labels=("HIGH", "LOW"), words=("HIGH", "LOW")),
    Setting("ZCADJ", "ZCADJ", "Zero current compensation", labels=("OFF", "ON"), words=("DIS", "EN")),
)  # fmt: skip

_OFF_ON = ("OFF", "ON")
_NO_YES = ("NO", "YES")

CHANNEL_MONITORS: tuple[Quantity, ...] = (
    Quantity(
        "VMON", Kind.FLOAT, "Measured voltage", "VMON", "V", decimals=("VMDEC", "VSDEC", "VDEC"), digits=1
    ),
    Quantity("VMON.RES", Kind.FLOAT, "Measured voltage, resolution", unit="V", digits=1, rate=Rate.ONCE),
    Quantity("IMON", Kind.FLOAT, "Measured current", "IMON", "uA", decimals=("IMDEC",), digits=3),
    Quantity("IMON.RES", Kind.FLOAT, "Measured current, resolution", unit="uA", digits=3, rate=Rate.SLOW),
    Quantity("STAT", Kind.INT, "Status word", "STAT"),
    Quantity("ON", Kind.ENUM, "Output on or off", labels=_OFF_ON, rate=Rate.DEMAND, settable=True),
    Quantity("ON.RBV", Kind.ENUM, "Output on or off, as read back", labels=_OFF_ON),
    Quantity("STATE", Kind.ENUM, "What the channel is doing", labels=STATES),
    Quantity("MOVING", Kind.ENUM, "Voltage is ramping", labels=("STEADY", "RAMPING")),
    Quantity("VDIFF", Kind.FLOAT, "Measured minus set voltage", unit="V", digits=1),
    Quantity("EFFLOAD", Kind.FLOAT, "Effective load resistance", unit="Mohm", digits=2),
    Quantity("FROZEN", Kind.ENUM, "Current reading no longer changes", labels=_NO_YES),
    Quantity("SETTLED", Kind.ENUM, "Voltage has settled at its setting", labels=_NO_YES),
    Quantity("POL", Kind.ENUM, "Polarity", "POL", labels=("+", "-"), words=("+", "-"), rate=Rate.ONCE),
    Quantity("TRIP", Kind.ENUM, "Tripped since the last acknowledge", labels=("OK", "TRIPPED")),
    Quantity("TRIP.COUNT", Kind.INT, "Number of trips since start"),
    Quantity("TRIP.TIME", Kind.TEXT, "Time of the last trip"),
    Quantity("TRIP.V", Kind.FLOAT, "Voltage before the last trip", unit="V", digits=1),
    Quantity("TRIP.I", Kind.FLOAT, "Current before the last trip", unit="uA", digits=3),
    Quantity(
        "TRIP.ACK.CMD", Kind.ENUM, "Acknowledge the trip", labels=("IDLE", "ACK"), rate=Rate.DEMAND,
        settable=True,
    ),
    Quantity(
        "CLR.CMD", Kind.ENUM, "Clear the alarms of the board", labels=("IDLE", "CLEAR"), rate=Rate.DEMAND,
        settable=True,
    ),
    Quantity(
        "ZCDTC", Kind.ENUM, "Zero current is being sampled", "ZCDTC", labels=_OFF_ON, words=_OFF_ON,
        rate=Rate.SLOW,
    ),
    Quantity(
        "ZCDTC.CMD", Kind.ENUM, "Sample the zero current", labels=("IDLE", "SAMPLE"), rate=Rate.DEMAND,
        settable=True,
    ),
    *(
        Quantity(f"STAT.{name}", Kind.ENUM, text, labels=_NO_YES if name != "ON" else _OFF_ON)
        for name, text in STATUS_BITS
    ),
)  # fmt: skip

BOARD_SETTINGS: tuple[Setting, ...] = (
    Setting("BD.ILKM", "BDILKM", "Interlock contact mode", labels=("OPEN", "CLOSED"), words=("OPEN", "CLOSED")),
)

BOARD_MONITORS: tuple[Quantity, ...] = (
    Quantity("BD.NAME", Kind.TEXT, "Model", "BDNAME", rate=Rate.ONCE),
    Quantity("BD.SERIAL", Kind.TEXT, "Serial number", "BDSNUM", rate=Rate.ONCE),
    Quantity("BD.FW", Kind.TEXT, "Firmware release", "BDFREL", rate=Rate.ONCE),
    Quantity("BD.NCH", Kind.INT, "Number of channels", "BDNCH", rate=Rate.ONCE),
    Quantity("BD.ALARM", Kind.INT, "Board alarm word", "BDALARM", rate=Rate.MEDIUM),
    Quantity(
        "BD.ILK", Kind.ENUM, "Interlock active", "BDILK", labels=_NO_YES, words=_NO_YES, rate=Rate.MEDIUM
    ),
    Quantity(
        "BD.LOCAL", Kind.ENUM, "Who controls the supply", "BDCTR", labels=("REMOTE", "LOCAL"),
        words=("REMOTE", "LOCAL"), rate=Rate.MEDIUM,
    ),
    Quantity(
        "BD.TERM", Kind.ENUM, "Bus termination", "BDTERM", labels=_OFF_ON, words=_OFF_ON, rate=Rate.SLOW
    ),
    Quantity("BD.MAC", Kind.TEXT, "Ethernet address", "MACADDR", rate=Rate.ONCE),
    Quantity("BD.IP", Kind.TEXT, "IP address", "IPADDR", rate=Rate.ONCE),
    Quantity("BD.MASK", Kind.TEXT, "IP subnet mask", "SUBMASK", rate=Rate.ONCE),
    Quantity("BD.GATEWAY", Kind.TEXT, "IP gateway", "GATEWAY", rate=Rate.ONCE),
    Quantity("BD.DHCP", Kind.TEXT, "Address by DHCP", "DHCPEN", rate=Rate.ONCE),
    Quantity(
        "BD.CLR.CMD", Kind.ENUM, "Clear the alarms of the board", labels=("IDLE", "CLEAR"), rate=Rate.DEMAND,
        settable=True,
    ),
)  # fmt: skip


def _rows(settings: tuple[Setting, ...], monitors: tuple[Quantity, ...]) -> dict[str, Quantity]:
    rows = [*monitors, *(row for setting in settings for row in setting.quantities())]
    return {row.suffix: row for row in rows}


_OF_METER = ("VMRES", "IMRESH", "IMRESL", "IMDECH", "IMDECL")


def constants() -> tuple[str, ...]:
    """Return every channel parameter that tells a limit, a resolution or a number of decimals."""
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

SETTINGS: dict[str, Setting] = {setting.suffix: setting for setting in (*CHANNEL_SETTINGS, *BOARD_SETTINGS)}

"""Every quantity of an Iseg module on CAN: what it is called here and which EDCP items it is made of.

Item names are those of ``devices.iseg.edcp.items``. The tables are the only list of Iseg signals: the driver, its
limits and the tests are loops over them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from devices.iseg.edcp.bits import ChannelEvent, ChannelStatus
from devices.model import DeviceSettings, Kind, Signal
from devices.rules.channels import supply_signals
from devices.rules.hv_channel import STATES


@dataclass(frozen=True, slots=True)
class Quantity(Signal):
    """One signal; ``items`` are the EDCP items without which it has no reading, ``setting`` is what it belongs to."""

    items: tuple[str, ...] = ()
    setting: str = ""


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting: a demand and its ``.RBV``; ``scale`` turns the wire's unit into ours (A into uA).

    Without ``labels`` it is a number with limits. ``limited`` settings also have ``.HI``, those with ``lowest`` a
    ``.LO`` too. ``first`` is the channel of the lowest bit that the setting shows of a mask of 32 channels.
    """

    suffix: str
    item: str
    unit: str = ""
    labels: tuple[str, ...] = ()
    scale: float = 1.0
    limited: bool = False
    lowest: bool = False
    whole: bool = False
    first: int = 0

    def quantities(self) -> Iterator[Quantity]:
        """Yield the signals of this setting."""
        kind = Kind.ENUM if self.labels else Kind.INT if self.whole else Kind.FLOAT
        demand = Quantity(self.suffix, kind, True, self.unit, self.labels, (self.item,), self.suffix)
        yield demand
        yield replace(demand, name=f"{self.suffix}.RBV", settable=False)
        if self.limited:
            yield replace(demand, name=f"{self.suffix}.HI", items=(), settable=False)
        if self.lowest:
            yield replace(demand, name=f"{self.suffix}.LO", items=(), settable=False)


MICRO = 1e6
"""Microampere per ampere: PVs show the former, the wire carries the latter."""

STATUS_BITS: tuple[tuple[str, ChannelStatus], ...] = (
    ("ARC", ChannelStatus.REGULATION_ERROR),
    ("IERR", ChannelStatus.INPUT_ERROR),
    ("ON", ChannelStatus.ON),
    ("RAMP", ChannelStatus.RAMPING),
    ("EMCY", ChannelStatus.EMERGENCY_OFF),
    ("CC", ChannelStatus.CURRENT_CONTROL),
    ("CV", ChannelStatus.VOLTAGE_CONTROL),
    ("LOWR", ChannelStatus.LOW_RANGE),
    ("ARCERR", ChannelStatus.ARC_ERROR),
    ("CBND", ChannelStatus.CURRENT_BOUNDS),
    ("VBND", ChannelStatus.VOLTAGE_BOUNDS),
    ("EINH", ChannelStatus.INHIBIT),
    ("TRIP", ChannelStatus.TRIP),
    ("CLIM", ChannelStatus.CURRENT_LIMIT),
    ("VLIM", ChannelStatus.VOLTAGE_LIMIT),
)
"""Bits of STAT: suffix and bit of ChannelStatus (EDCP Programmers guide)."""

EVENT_BITS: tuple[tuple[str, ChannelEvent], ...] = tuple(
    (name, ChannelEvent(int(bit))) for name, bit in STATUS_BITS if bit is not ChannelStatus.LOW_RANGE
)
"""Bits of EVT: the same numbers as in STAT but for the range; ON and RAMP mean on-to-off and end of ramp there."""

CHANNEL_SETTINGS: tuple[Setting, ...] = (
    Setting("VSET", "VoltageSet", "V", limited=True, lowest=True),
    Setting("ISET", "CurrentSet", "uA", scale=MICRO, limited=True),
    Setting("RAMPUP", "VoltageRampSpeedUp", "V/s"),
    Setting("RAMPDN", "VoltageRampSpeedDown", "V/s"),
    Setting("VBOUNDS", "VoltageBounds", "V"),
    Setting("IBOUNDS", "CurrentBounds", "uA", scale=MICRO),
    Setting("EVT.MASK", "ChannelEventMask", whole=True),
)

RAMPS = ("RAMPUP", "RAMPDN")
"""Settings that fall back to the ramp of the module where channels have none of their own."""

MODULE_RAMP = "VoltageRampSpeed"
"""The one item of the module that signals of channels may need."""

NOMINAL = {"V": "VoltageNominal", "V/s": "VoltageNominal", "uA": "CurrentNominal"}
"""Item of a channel that is the range of what is measured or set in a unit."""

_OFF_ON = ("OFF", "ON")
_NO_YES = ("NO", "YES")
_STATUS = ("ChannelStatus",)

LIVE = ("VoltageMeasure", "CurrentMeasure", "ChannelStatus")
"""What one fast scan reads; the status last, so that the values are those from before it."""

CHANNEL_MONITORS: tuple[Quantity, ...] = (
    Quantity("VMON", Kind.FLOAT, items=("VoltageMeasure",), unit="V"),
    Quantity("IMON", Kind.FLOAT, items=("CurrentMeasure",), unit="uA"),
    Quantity("STAT", Kind.INT, items=_STATUS),
    Quantity("EVT", Kind.INT, items=("ChannelEventStatus",)),
    Quantity("ON", Kind.ENUM, items=_STATUS, labels=_OFF_ON, settable=True),
    Quantity("ON.RBV", Kind.ENUM, items=_STATUS, labels=_OFF_ON),
    Quantity("STATE", Kind.ENUM, items=_STATUS, labels=STATES),
    Quantity("MOVING", Kind.ENUM, items=_STATUS, labels=("STEADY", "RAMPING")),
    Quantity("VDIFF", Kind.FLOAT, items=("VoltageMeasure", "ChannelStatus"), unit="V"),
    Quantity("EFFLOAD", Kind.FLOAT, items=("VoltageMeasure", "CurrentMeasure"), unit="Mohm"),
    Quantity("FROZEN", Kind.ENUM, items=("CurrentMeasure", "ChannelStatus"), labels=_NO_YES),
    Quantity("SETTLED", Kind.ENUM, items=("VoltageMeasure", "ChannelStatus"), labels=_NO_YES),
    Quantity("POL", Kind.ENUM, items=("VoltageNominal",), labels=("+", "-")),
    Quantity("VNOM", Kind.FLOAT, items=("VoltageNominal",), unit="V"),
    Quantity("INOM", Kind.FLOAT, items=("CurrentNominal",), unit="uA"),
    Quantity("TRIP", Kind.ENUM, items=_STATUS, labels=("OK", "TRIPPED")),
    Quantity("TRIP.COUNT", Kind.INT, items=_STATUS),
    Quantity("TRIP.TIME", Kind.TEXT, items=_STATUS),
    Quantity("TRIP.V", Kind.FLOAT, items=_STATUS, unit="V"),
    Quantity("TRIP.I", Kind.FLOAT, items=_STATUS, unit="uA"),
    Quantity("TRIP.ACK.CMD", Kind.ENUM, labels=("IDLE", "ACK"), settable=True),
    Quantity("CLR.CMD", Kind.ENUM, labels=("IDLE", "CLEAR"), settable=True),
    Quantity("EMCY.CMD", Kind.ENUM, labels=("IDLE", "OFF"), settable=True),
    *(
        Quantity(f"STAT.{name}", Kind.ENUM, items=_STATUS, labels=_OFF_ON if name == "ON" else _NO_YES)
        for name, _ in STATUS_BITS
    ),
    *(Quantity(f"EVT.{name}", Kind.ENUM, items=("ChannelEventStatus",), labels=_NO_YES) for name, _ in EVENT_BITS),
)

MODULE_SETTINGS: tuple[Setting, ...] = (
    Setting("MOD.RAMPV", "VoltageRampSpeed", "%/s"),
    Setting("MOD.KILLEN", "ModuleStatus", labels=_OFF_ON),
    Setting("MOD.EVT.MASK", "ModuleEventMask", whole=True),
    Setting("MOD.EVT.CHMASK", "ModuleEventChannelMask", whole=True),
    Setting("MOD.EVT.CHMASK16", "ModuleEventChannelMask32", whole=True, first=16),
)

MODULE_MONITORS: tuple[Quantity, ...] = (
    Quantity("MOD.NAME", Kind.TEXT, items=("FirmwareName",)),
    Quantity("MOD.SERIAL", Kind.TEXT, items=("SerialNumber",)),
    Quantity("MOD.FW", Kind.TEXT, items=("FirmwareRelease",)),
    Quantity("MOD.ARTICLE", Kind.TEXT, items=("ArticleDescription",)),
    Quantity("MOD.NCH", Kind.INT),
    Quantity("MOD.STAT", Kind.INT, items=("ModuleStatus",)),
    Quantity("MOD.CTRL", Kind.INT, items=("ModuleControl",)),
    Quantity("MOD.EVT", Kind.INT, items=("ModuleEventStatus",)),
    Quantity("MOD.SAFELOOP", Kind.ENUM, items=("ModuleStatus",), labels=("OPEN", "CLOSED")),
    Quantity("MOD.TEMPOK", Kind.ENUM, items=("ModuleStatus",), labels=_NO_YES),
    Quantity("MOD.SUPPLYOK", Kind.ENUM, items=("ModuleStatus",), labels=_NO_YES),
    Quantity("MOD.SERVICE", Kind.ENUM, items=("ModuleStatus",), labels=_NO_YES),
    Quantity("MOD.SUMERR", Kind.ENUM, items=("ModuleStatus",), labels=_NO_YES),
    Quantity("MOD.TEMP", Kind.FLOAT, items=("BoardTemperature",), unit="C"),
    Quantity("MOD.P24", Kind.FLOAT, items=("Supply24",), unit="V"),
    Quantity("MOD.P5", Kind.FLOAT, items=("Supply5",), unit="V"),
    Quantity("MOD.VMAX", Kind.FLOAT, items=("VoltageMax",), unit="%"),
    Quantity("MOD.IMAX", Kind.FLOAT, items=("CurrentMax",), unit="%"),
    Quantity("MOD.RAMPV.VPS", Kind.FLOAT, items=("VoltageRampSpeed",), unit="V/s"),
    Quantity("MOD.CLR.CMD", Kind.ENUM, labels=("IDLE", "CLEAR"), settable=True),
    Quantity("BUS.STATE", Kind.ENUM, labels=("ACTIVE", "PASSIVE", "OFF")),
    Quantity("BUS.RX", Kind.FLOAT, unit="1/s"),
    Quantity("BUS.ERR", Kind.INT),
    Quantity("BUS.FOREIGN", Kind.INT),
)


def _rows(settings: tuple[Setting, ...], monitors: tuple[Quantity, ...]) -> dict[str, Quantity]:
    rows = [*monitors, *(row for setting in settings for row in setting.quantities())]
    return {row.name: row for row in rows}


CHANNEL: dict[str, Quantity] = _rows(CHANNEL_SETTINGS, CHANNEL_MONITORS)
"""Every quantity of a channel by its suffix (without ``CHnn.``)."""

MODULE: dict[str, Quantity] = _rows(MODULE_SETTINGS, MODULE_MONITORS)
"""Every quantity of the module and its bus by signal name."""

SETTINGS: dict[str, Setting] = {setting.suffix: setting for setting in (*CHANNEL_SETTINGS, *MODULE_SETTINGS)}


def signals(settings: DeviceSettings) -> dict[str, Signal]:
    """Return every signal that a module with so many channels has."""
    return supply_signals(MODULE, CHANNEL, settings.channels)


CHANGED_BY_EVENTS: tuple[str, ...] = tuple(
    suffix for suffix, row in CHANNEL.items() if row.items in (_STATUS, ("ChannelEventStatus",)) and not row.settable
)
"""Suffixes whose values may have changed when the module reports an event."""

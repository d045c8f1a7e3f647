"""Every quantity of an Iseg module on CAN: what it is called here and which EDCP items it is made of.

Item names are those of ``devices.iseg.edcp.items``. The tables are the only list of Iseg signals: the driver, its
limits and the tests are loops over them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from devices.iseg.edcp.bits import ChannelEvent, ChannelStatus
from devices.model import Kind, Signal
from devices.rules.hv_channel import STATES


@dataclass(frozen=True, slots=True)
class Quantity:
    """One signal; ``items`` are the EDCP items without which it has no reading."""

    suffix: str
    kind: Kind
    help: str
    items: tuple[str, ...] = ()
    unit: str = ""
    labels: tuple[str, ...] = ()
    settable: bool = False

    def signal(self, prefix: str = "") -> Signal:
        """Describe the signal to the outside under its full name."""
        return Signal(prefix + self.suffix, self.kind, self.settable, self.unit, self.labels, self.help)


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting: a demand and its ``.RBV``; ``scale`` turns the wire's unit into ours (A into uA).

    ``limited`` settings also have ``.HI``, those with ``lowest`` a ``.LO`` too. ``first`` is the channel of the lowest
    bit that the setting shows of a mask of 32 channels.
    """

    suffix: str
    item: str
    help: str
    unit: str = ""
    labels: tuple[str, ...] = ()
    scale: float = 1.0
    limited: bool = False
    lowest: bool = False
    whole: bool = False
    first: int = 0

    @property
    def numeric(self) -> bool:
        """Whether the setting is a number with limits, not a choice of words."""
        return not self.labels

    def quantities(self) -> Iterator[Quantity]:
        """Yield the signals of this setting."""
        kind = Kind.ENUM if self.labels else Kind.INT if self.whole else Kind.FLOAT
        common = (self.unit, self.labels)
        yield Quantity(self.suffix, kind, self.help, (self.item,), *common, True)
        yield Quantity(f"{self.suffix}.RBV", kind, f"{self.help}, as read back", (self.item,), *common)
        if self.limited:
            yield Quantity(f"{self.suffix}.HI", kind, f"{self.help}, highest allowed", (), *common)
        if self.lowest:
            yield Quantity(f"{self.suffix}.LO", kind, f"{self.help}, lowest allowed", (), *common)


MICRO = 1e6
"""Microampere per ampere: PVs show the former, the wire carries the latter."""

STATUS_BITS: tuple[tuple[str, ChannelStatus, str], ...] = (
    ("ARC", ChannelStatus.REGULATION_ERROR, "Arc or fast regulation error"),
    ("IERR", ChannelStatus.INPUT_ERROR, "Last parameter was not plausible"),
    ("ON", ChannelStatus.ON, "Output is on"),
    ("RAMP", ChannelStatus.RAMPING, "Output is ramping"),
    ("EMCY", ChannelStatus.EMERGENCY_OFF, "Emergency off"),
    ("CC", ChannelStatus.CURRENT_CONTROL, "Constant current"),
    ("CV", ChannelStatus.VOLTAGE_CONTROL, "Constant voltage"),
    ("LOWR", ChannelStatus.LOW_RANGE, "Current is measured in the low range"),
    ("ARCERR", ChannelStatus.ARC_ERROR, "Off because of too many arcs"),
    ("CBND", ChannelStatus.CURRENT_BOUNDS, "Current outside its bounds"),
    ("VBND", ChannelStatus.VOLTAGE_BOUNDS, "Voltage outside its bounds"),
    ("EINH", ChannelStatus.INHIBIT, "External inhibit"),
    ("TRIP", ChannelStatus.TRIP, "Off because of a trip"),
    ("CLIM", ChannelStatus.CURRENT_LIMIT, "Hardware current limit exceeded"),
    ("VLIM", ChannelStatus.VOLTAGE_LIMIT, "Hardware voltage limit exceeded"),
)
"""Bits of STAT: suffix, bit of ChannelStatus (EDCP Programmers guide), meaning."""

EVENT_BITS: tuple[tuple[str, ChannelEvent, str], ...] = tuple(
    (name, ChannelEvent(int(bit)), {"ON": "Went off without being asked", "RAMP": "End of a ramp"}.get(name, text))
    for name, bit, text in STATUS_BITS
    if bit is not ChannelStatus.LOW_RANGE
)
"""Bits of EVT: the same numbers as in STAT but for the range; ON and RAMP mean on-to-off and end of ramp there."""

CHANNEL_SETTINGS: tuple[Setting, ...] = (
    Setting("VSET", "VoltageSet", "Voltage setting", "V", limited=True, lowest=True),
    Setting("ISET", "CurrentSet", "Current limit", "uA", scale=MICRO, limited=True),
    Setting("RAMPUP", "VoltageRampSpeedUp", "Ramp-up speed", "V/s"),
    Setting("RAMPDN", "VoltageRampSpeedDown", "Ramp-down speed", "V/s"),
    Setting("VBOUNDS", "VoltageBounds", "Voltage bounds", "V"),
    Setting("IBOUNDS", "CurrentBounds", "Current bounds", "uA", scale=MICRO),
    Setting("EVT.MASK", "ChannelEventMask", "Events reported at once", whole=True),
)

RAMPS = ("RAMPUP", "RAMPDN")
"""Settings that fall back to the ramp of the module where channels have none of their own."""

_OFF_ON = ("OFF", "ON")
_NO_YES = ("NO", "YES")
_STATUS, _LIVE = ("ChannelStatus",), ("VoltageMeasure", "CurrentMeasure", "ChannelStatus")

CHANNEL_MONITORS: tuple[Quantity, ...] = (
    Quantity("VMON", Kind.FLOAT, "Measured voltage", ("VoltageMeasure",), "V"),
    Quantity("IMON", Kind.FLOAT, "Measured current", ("CurrentMeasure",), "uA"),
    Quantity("STAT", Kind.INT, "Status word", _STATUS),
    Quantity("EVT", Kind.INT, "Event word, what happened since cleared", ("ChannelEventStatus",)),
    Quantity("ON", Kind.ENUM, "Output on or off", _STATUS, labels=_OFF_ON, settable=True),
    Quantity("ON.RBV", Kind.ENUM, "Output on or off, as read back", _STATUS, labels=_OFF_ON),
    Quantity("STATE", Kind.ENUM, "What the channel is doing", _STATUS, labels=STATES),
    Quantity("MOVING", Kind.ENUM, "Voltage is ramping", _STATUS, labels=("STEADY", "RAMPING")),
    Quantity("VDIFF", Kind.FLOAT, "Measured minus set voltage", ("VoltageMeasure", "ChannelStatus"), "V"),
    Quantity("EFFLOAD", Kind.FLOAT, "Effective load resistance", ("VoltageMeasure", "CurrentMeasure"), "Mohm"),
    Quantity(
        "FROZEN", Kind.ENUM, "Current reading no longer changes", ("CurrentMeasure", "ChannelStatus"), labels=_NO_YES
    ),
    Quantity(
        "SETTLED",
        Kind.ENUM,
        "Voltage has settled at its setting",
        ("VoltageMeasure", "ChannelStatus"),
        labels=_NO_YES,
    ),
    Quantity("POL", Kind.ENUM, "Polarity", ("VoltageNominal",), labels=("+", "-")),
    Quantity("VNOM", Kind.FLOAT, "Nominal voltage", ("VoltageNominal",), "V"),
    Quantity("INOM", Kind.FLOAT, "Nominal current", ("CurrentNominal",), "uA"),
    Quantity("TRIP", Kind.ENUM, "Tripped since the last acknowledge", _STATUS, labels=("OK", "TRIPPED")),
    Quantity("TRIP.COUNT", Kind.INT, "Number of trips since start", _STATUS),
    Quantity("TRIP.TIME", Kind.TEXT, "Time of the last trip", _STATUS),
    Quantity("TRIP.V", Kind.FLOAT, "Voltage before the last trip", _STATUS, "V"),
    Quantity("TRIP.I", Kind.FLOAT, "Current before the last trip", _STATUS, "uA"),
    Quantity("TRIP.ACK.CMD", Kind.ENUM, "Acknowledge the trip", labels=("IDLE", "ACK"), settable=True),
    Quantity("CLR.CMD", Kind.ENUM, "Clear the events of the channel", labels=("IDLE", "CLEAR"), settable=True),
    Quantity("EMCY.CMD", Kind.ENUM, "Off at once, without ramp", labels=("IDLE", "OFF"), settable=True),
    *(
        Quantity(f"STAT.{name}", Kind.ENUM, text, _STATUS, labels=_OFF_ON if name == "ON" else _NO_YES)
        for name, _, text in STATUS_BITS
    ),
    *(
        Quantity(f"EVT.{name}", Kind.ENUM, f"Event: {text}", ("ChannelEventStatus",), labels=_NO_YES)
        for name, _, text in EVENT_BITS
    ),
)

MODULE_SETTINGS: tuple[Setting, ...] = (
    Setting("MOD.RAMPV", "VoltageRampSpeed", "Voltage ramp speed", "%/s"),
    Setting("MOD.KILLEN", "ModuleStatus", "Trips switch off", labels=_OFF_ON),
    Setting("MOD.EVT.MASK", "ModuleEventMask", "Module events reported at once", whole=True),
    Setting("MOD.EVT.CHMASK", "ModuleEventChannelMask", "Channels whose events are reported", whole=True),
    Setting("MOD.EVT.CHMASK16", "ModuleEventChannelMask32", "The same for channels 16 to 31", whole=True, first=16),
)

MODULE_MONITORS: tuple[Quantity, ...] = (
    Quantity("MOD.NAME", Kind.TEXT, "Type of the module", ("FirmwareName",)),
    Quantity("MOD.SERIAL", Kind.TEXT, "Serial number", ("SerialNumber",)),
    Quantity("MOD.FW", Kind.TEXT, "Firmware release", ("FirmwareRelease",)),
    Quantity("MOD.ARTICLE", Kind.TEXT, "Article", ("ArticleDescription",)),
    Quantity("MOD.NCH", Kind.INT, "Number of channels"),
    Quantity("MOD.STAT", Kind.INT, "Module status word", ("ModuleStatus",)),
    Quantity("MOD.CTRL", Kind.INT, "Module control word", ("ModuleControl",)),
    Quantity("MOD.EVT", Kind.INT, "Module event word", ("ModuleEventStatus",)),
    Quantity("MOD.SAFELOOP", Kind.ENUM, "Safety loop", ("ModuleStatus",), labels=("OPEN", "CLOSED")),
    Quantity("MOD.TEMPOK", Kind.ENUM, "Board temperature is good", ("ModuleStatus",), labels=_NO_YES),
    Quantity("MOD.SUPPLYOK", Kind.ENUM, "Supply voltages are good", ("ModuleStatus",), labels=_NO_YES),
    Quantity("MOD.SERVICE", Kind.ENUM, "Hardware failure, needs service", ("ModuleStatus",), labels=_NO_YES),
    Quantity("MOD.SUMERR", Kind.ENUM, "Some channel has an error", ("ModuleStatus",), labels=_NO_YES),
    Quantity("MOD.TEMP", Kind.FLOAT, "Board temperature", ("BoardTemperature",), "C"),
    Quantity("MOD.P24", Kind.FLOAT, "Supply voltage +24 V", ("Supply24",), "V"),
    Quantity("MOD.P5", Kind.FLOAT, "Supply voltage +5 V", ("Supply5",), "V"),
    Quantity("MOD.VMAX", Kind.FLOAT, "Hardware voltage limit", ("VoltageMax",), "%"),
    Quantity("MOD.IMAX", Kind.FLOAT, "Hardware current limit", ("CurrentMax",), "%"),
    Quantity("MOD.RAMPV.VPS", Kind.FLOAT, "Voltage ramp speed of channel 0", ("VoltageRampSpeed",), "V/s"),
    Quantity("MOD.CLR.CMD", Kind.ENUM, "Clear the events of the module", labels=("IDLE", "CLEAR"), settable=True),
    Quantity("BUS.STATE", Kind.ENUM, "CAN controller", labels=("ACTIVE", "PASSIVE", "OFF")),
    Quantity("BUS.RX", Kind.FLOAT, "CAN frames received", unit="1/s"),
    Quantity("BUS.ERR", Kind.INT, "CAN errors since opened"),
    Quantity("BUS.FOREIGN", Kind.INT, "CAN frames of other nodes since opened"),
)


def _rows(settings: tuple[Setting, ...], monitors: tuple[Quantity, ...]) -> dict[str, Quantity]:
    rows = [*monitors, *(row for setting in settings for row in setting.quantities())]
    return {row.suffix: row for row in rows}


CHANNEL: dict[str, Quantity] = _rows(CHANNEL_SETTINGS, CHANNEL_MONITORS)
"""Every quantity of a channel by its suffix (without ``CHnn.``)."""

MODULE: dict[str, Quantity] = _rows(MODULE_SETTINGS, MODULE_MONITORS)
"""Every quantity of the module and its bus by signal name."""

SETTINGS: dict[str, Setting] = {setting.suffix: setting for setting in (*CHANNEL_SETTINGS, *MODULE_SETTINGS)}

LIVE = _LIVE
"""What one fast scan reads; the status last, so that the values are those from before it."""

CHANGED_BY_EVENTS: tuple[str, ...] = tuple(
    suffix for suffix, row in CHANNEL.items() if row.items in (_STATUS, ("ChannelEventStatus",)) and not row.settable
)
"""Suffixes whose values may have changed when the module reports an event."""

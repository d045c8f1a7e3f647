"""Every quantity of a Eurotherm 3200 that is published: what it is called here and which register holds it.

The only list of the family's signals: driver, records and tests are loops over it. What the registers are is in
devices.eurotherm.registers. Registers that only repeat a bit of the status word (258, 260, 263, 294 to 297, 307 to
309) have no signal of their own.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum

from devices.eurotherm.registers import REGISTERS, SEGMENTS, Form, Inputs, Scale, Status
from devices.model import Kind, Signal


class Rate(Enum):
    """How often a quantity is worth reading; the values of periodic ones are choices of SCAN."""

    FAST = "fast"  # what an operator watches, once per period of the device
    MEDIUM = "5 second"  # what the front panel or the programmer may change at any time
    SLOW = "10 second"  # settings that change rarely
    ONCE = "once"  # identity and configuration, read after each connect
    DEMAND = "passive"  # written by users, never polled


FULL = "full scale"
"""Limit of a setting: what fits the instrument's words with its decimals."""

Bound = float | str
"""A limit: a number, the name of the register that holds it, or FULL."""


@dataclass(frozen=True, slots=True)
class Quantity:
    """One signal; ``register`` is empty when the driver derives it, ``codes`` are the register's values by label."""

    name: str
    kind: Kind
    help: str
    register: str = ""
    unit: str = ""
    labels: tuple[str, ...] = ()
    codes: tuple[int, ...] = ()
    digits: int = 0
    rate: Rate = Rate.FAST
    settable: bool = False

    @property
    def signal(self) -> Signal:
        """Description of the signal for the outside."""
        return Signal(self.name, self.kind, self.settable, self.unit, self.labels, self.help)


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting, from which its signals follow: demand and ``.RBV``, of numbers with a fraction ``.HI .LO`` too.

    ``follows``: the instrument changes it by itself in normal operation, so the demand goes along with it.
    ``operator``: no expert is needed.
    """

    name: str
    register: str
    help: str
    low: Bound = 0.0
    high: Bound = 0.0
    unit: str = ""
    digits: int = 0
    labels: tuple[str, ...] = ()
    codes: tuple[int, ...] = ()
    rate: Rate = Rate.SLOW
    follows: bool = False
    operator: bool = False

    @property
    def kind(self) -> Kind:
        """Type of the value."""
        if self.labels:
            return Kind.ENUM
        return Kind.FLOAT if REGISTERS[self.register].form in (Form.FLOAT, Form.TIME) else Kind.INT

    def quantities(self) -> Iterator[Quantity]:
        """Yield the signals of this setting."""
        common = (self.unit, self.labels, self.codes or tuple(range(len(self.labels))), self.digits)
        text = self.help
        yield Quantity(self.name, self.kind, text, self.register, *common, Rate.DEMAND, True)
        yield Quantity(f"{self.name}.RBV", self.kind, f"{text}, read back", self.register, *common, self.rate)
        if self.kind is Kind.FLOAT:
            known_by_name = isinstance(self.low, str) or isinstance(self.high, str)
            moving = Rate.ONCE if not known_by_name else Rate.MEDIUM if self.rate is Rate.FAST else self.rate
            yield Quantity(f"{self.name}.HI", self.kind, f"{text}, highest", "", *common, moving)
            yield Quantity(f"{self.name}.LO", self.kind, f"{text}, lowest", "", *common, moving)


def _degrees(name: str, register: str, text: str, low: Bound = f"-{FULL}", high: Bound = FULL,
             rate: Rate = Rate.SLOW, operator: bool = False, follows: bool = False) -> Setting:  # fmt: skip
    return Setting(name, register, text, low, high, "C", 1, rate=rate, operator=operator, follows=follows)


def _percent(name: str, register: str, text: str, high: Bound = 100.0, follows: bool = False,
             rate: Rate = Rate.SLOW) -> Setting:  # fmt: skip
    return Setting(name, register, text, 0.0, high, "%", 1, follows=follows, rate=rate)


def _seconds(name: str, register: str, text: str, high: float = 9999.0) -> Setting:
    return Setting(name, register, text, 0.0, high, "s")


def _choice(name: str, register: str, text: str, rate: Rate = Rate.SLOW, operator: bool = False) -> Setting:
    row = REGISTERS[register]
    pairs = [(label, code) for code, label in enumerate(row.labels) if label != "?"]
    labels, codes = tuple(label for label, _ in pairs), tuple(code for _, code in pairs)
    return Setting(name, register, text, labels=labels, codes=codes, rate=rate, operator=operator)


def _segment(number: int) -> tuple[Setting, ...]:
    name, text = f"SEG{number}", f"segment {number}"
    return (
        _seconds(f"{name}.DWELL", f"{name}.DWELL", f"Dwell of {text}", 360_000.0),
        _degrees(f"{name}.TARGET", f"{name}.TSP", f"Target of {text}", "SP.LO", "SP.HI"),
        Setting(f"{name}.RATE", f"{name}.RATE", f"Ramp rate of {text}", 0.0, FULL, "C/min", 1),
    )


SETTINGS: Mapping[str, Setting] = {
    setting.name: setting
    for setting in (
        _degrees("TSET", "TG.SP", "Target temperature", "SP.LO", "SP.HI", Rate.FAST, operator=True),
        _degrees("SP1", "SP1", "Setpoint 1", "SP.LO", "SP.HI", Rate.MEDIUM),
        _degrees("SP2", "SP2", "Setpoint 2", "SP.LO", "SP.HI", Rate.MEDIUM),
        _choice("SPSEL", "SP.SEL", "Setpoint in use", Rate.MEDIUM),
        _degrees("RSP", "Rm.SP", "Remote setpoint, volatile", "SP.LO", "SP.HI", Rate.MEDIUM, follows=True),
        _degrees("RSPTRIM", "LOC.t", "Trim of the remote setpoint"),
        _degrees("SPMAX", "SP.HI", "Setpoint high limit", "RNG.LO", "RNG.HI"),
        _degrees("SPMIN", "SP.LO", "Setpoint low limit", "RNG.LO", "RNG.HI"),
        Setting("RATE", "SP.RAT", "Setpoint rate limit", 0.0, FULL, "C/min", 1, rate=Rate.MEDIUM, operator=True),
        _choice("RATEUNIT", "RAMPU", "Unit of ramp rates"),
        _choice("REMOTE", "L-R", "Local or remote setpoint", Rate.MEDIUM),
        _degrees("REMHI", "REM.HI", "Remote input, top of scale"),
        _degrees("REMLO", "REM.LO", "Remote input, bottom of scale"),
        _choice("MODE", "A-M", "Automatic or manual", Rate.MEDIUM),
        _choice("OPMODE", "IM", "Mode of the instrument", Rate.MEDIUM),
        _percent("MOUT", "MAN.OP", "Output in manual", "OP.HI", True, Rate.FAST),
        _percent("OUT.HI", "OP.HI", "Output high limit"),
        _percent("OUT.LO", "OP.LO", "Output low limit"),
        _percent("OUTSAFE", "SAFE", "Output in sensor break"),
        _percent("OUTFORCED", "F.OP", "Forced manual output"),
        _choice("FORCEMODE", "F.MOD", "Output on entering manual"),
        Setting("PB", "PB", "Proportional band", 0.0, 9999.0, "C", 1),
        _seconds("TI", "Ti", "Integral time"),
        _seconds("TD", "Td", "Derivative time"),
        Setting("MRESET", "MR", "Manual reset", -100.0, 100.0, "%", 1),
        _degrees("CUTHI", "CB.HI", "Cutback high", 0.0),
        _degrees("CUTLO", "CB.Lo", "Cutback low", 0.0),
        Setting("COOLGAIN", "R2G", "Relative gain of cooling", 0.0, 100.0, "", 1),
        Setting("DEADBAND", "D.BAND", "Dead band of channel 2", 0.0, 100.0, "%", 1),
        Setting("HYST1", "HYST.H", "On/off hysteresis, channel 1", 0.0, 9999.0, "C", 1),
        Setting("HYST2", "HYST.C", "On/off hysteresis, channel 2", 0.0, 9999.0, "C", 1),
        Setting("VALVETIME", "MTR.T", "Valve travel time", 0.0, 9999.0, "s", 1),
        _seconds("LBTIME", "LBT", "Loop-break time"),
        Setting("TUNE", "A.TUNE", "Autotune", labels=("OFF", "ON"), rate=Rate.MEDIUM, follows=True),
        Setting("FILTER", "FILT.T", "Input filter time", 0.0, 9999.0, "s", 1),
        _degrees("OFFSET", "PV.OFS", "Offset of the temperature"),
        *(
            setting
            for number in range(1, 5)
            for setting in (
                _degrees(f"AL{number}", f"A{number}", f"Threshold of alarm {number}"),
                _degrees(f"AL{number}.HYST", f"A{number}.HYS", f"Hysteresis of alarm {number}", 0.0),
            )
        ),
        Setting("CTLOW", "LD.ALM", "Low load current threshold", 0.0, 1000.0, "A", 1),
        Setting("CTLEAK", "LK.ALM", "Leakage current threshold", 0.0, 1000.0, "A", 1),
        Setting("CTOVER", "HC.ALM", "Over-current threshold", 0.0, 1000.0, "A", 1),
        _choice("TMR.TYPE", "TM.CFG", "Kind of timer"),
        _choice("TMR.RES", "TM.RES", "Resolution of the timer"),
        _seconds("TMR.DWELL", "DWELL", "Time of the timer", 360_000.0),
        _degrees("TMR.THRES", "THRES", "Distance where timing starts", 0.0),
        _choice("TMR.END", "End.T", "Action at the end of timing"),
        _choice("TMR.SERVO", "SERVO", "Start after a power failure"),
        _degrees("TMR.SSSP", "SS.SP", "Soft-start setpoint", "SP.LO", "SP.HI"),
        _percent("TMR.SSOUT", "SS.PWR", "Soft-start output limit"),
        Setting("TMR.CYCLES", "P.CYCL", "Cycles to run", 1.0, 999.0),
        Setting("TMR.EVENT", "EVENT", "Programmer events, as bits", 0.0, 255.0),
        *(setting for number in range(1, SEGMENTS + 1) for setting in _segment(number)),
        Setting("DOUT", "Di.OP", "Digital outputs, as bits", 0.0, 65535.0, follows=True),
        Setting("HOME", "HOME", "Display shows, as a code", 0.0, 20.0),
    )
}
"""Every setting by the name of its demand."""

STATUS_BITS: Mapping[str, tuple[Status, str]] = {
    "AL1": (Status.ALARM_1, "Alarm 1"),
    "AL2": (Status.ALARM_2, "Alarm 2"),
    "AL3": (Status.ALARM_3, "Alarm 3"),
    "AL4": (Status.ALARM_4, "Alarm 4"),
    "MANUAL": (Status.MANUAL, "Loop is in manual"),
    "SBREAK": (Status.SENSOR_BREAK, "Sensor break"),
    "LBREAK": (Status.LOOP_BREAK, "Loop break"),
    "CTLOW": (Status.LOAD_LOW, "Load current is low"),
    "CTLEAK": (Status.LEAKAGE_HIGH, "Leakage current is high"),
    "PROGEND": (Status.PROGRAM_END, "Timer or programmer has ended"),
    "RANGE": (Status.OUT_OF_RANGE, "Temperature is out of range"),
    "CTOVER": (Status.OVERCURRENT, "Over-current in the load"),
    "NEWALM": (Status.NEW_ALARM, "An alarm is not acknowledged"),
    "RUN": (Status.RUNNING, "Timer or ramp is running"),
    "RSPFAIL": (Status.REMOTE_FAIL, "Remote setpoint was lost"),
    "TUNE": (Status.TUNING, "Autotune is running"),
}
"""Bits of the status word (register 75) by the last part of their names."""

INPUT_BITS: Mapping[str, tuple[Inputs, str]] = {
    "STAT.MAINS": (Inputs.MAINS_FAILED, "Mains failed since the last acknowledge"),
    "DIN.IO1": (Inputs.LOGIC_IO1, "Logic input of I/O 1 is closed"),
    "DIN.A": (Inputs.LOGIC_A, "Logic input A is closed"),
    "DIN.B": (Inputs.LOGIC_B, "Logic input B is closed"),
}
"""Bits of register 87 by the names of their signals."""

_NO_YES = ("NO", "YES")
SAFE_STATES = ("NONE", "GOING", "DONE", "INCOMPLETE")


def _command(name: str, text: str, act: str) -> Quantity:
    labels = ("IDLE", act)
    return Quantity(name, Kind.ENUM, text, labels=labels, rate=Rate.DEMAND, settable=True)


def _state(name: str, register: str, text: str, rate: Rate = Rate.ONCE) -> Quantity:
    labels = REGISTERS[register].labels
    return Quantity(name, Kind.ENUM, text, register, "", labels, tuple(range(len(labels))), rate=rate)


def _code(name: str, register: str, text: str, rate: Rate = Rate.ONCE) -> Quantity:
    return Quantity(name, Kind.INT, text, register, rate=rate)


_MONITORS: tuple[Quantity, ...] = (
    Quantity("TEMP", Kind.FLOAT, "Measured temperature", "PV.IN", "C", digits=1),
    Quantity("TWORK", Kind.FLOAT, "Setpoint in force", "WKG.SP", "C", digits=1),
    Quantity("TDIFF", Kind.FLOAT, "Measured minus working setpoint", unit="C", digits=1),
    Quantity("SLOPE", Kind.FLOAT, "Slope of the temperature over 60 s", unit="C/min", digits=2),
    Quantity("SETTLED", Kind.ENUM, "Temperature is settled at its setpoint", labels=_NO_YES),
    Quantity("OUT", Kind.FLOAT, "Output in force", "WRK.OP", "%", digits=1),
    Quantity("STAT", Kind.INT, "Status word", "StAt"),
    *(Quantity(f"STAT.{name}", Kind.ENUM, text, labels=_NO_YES) for name, (_, text) in STATUS_BITS.items()),
    *(Quantity(name, Kind.ENUM, text, labels=_NO_YES) for name, (_, text) in INPUT_BITS.items()),
    Quantity("LOAD.I", Kind.FLOAT, "Load current", "LD.AMP", "A", digits=1),
    Quantity("LEAK.I", Kind.FLOAT, "Leakage current", "LL.AMP", "A", digits=1),
    Quantity("MV", Kind.FLOAT, "Thermocouple voltage", "MV.IN", "mV", digits=2, rate=Rate.SLOW),
    Quantity("TMR.STATE", Kind.ENUM, "State of timer or programmer", "T.STAT", "",
             REGISTERS["T.STAT"].labels, (0, 1, 2, 3), rate=Rate.MEDIUM),
    Quantity("TMR.ELAPSED", Kind.FLOAT, "Time elapsed", "T.ELAP", "s", rate=Rate.MEDIUM),
    Quantity("TMR.LEFT", Kind.FLOAT, "Time left", "T.REMN", "s", rate=Rate.MEDIUM),
    Quantity("TMR.CYCLE", Kind.INT, "Present cycle", "CYCLE", rate=Rate.MEDIUM),
    _command("TMR.RUN.CMD", "Start timer or programmer", "RUN"),
    _command("TMR.HOLD.CMD", "Hold timer or programmer", "HOLD"),
    _command("TMR.RESET.CMD", "Reset timer or programmer", "RESET"),
    _command("ACK.CMD", "Acknowledge alarms and mains failure", "ACK"),
    _command("SAFE.CMD", "Go to the safe temperature", "GO"),
    Quantity("SAFE.STATE", Kind.ENUM, "What became of the last SAFE:CMD", labels=SAFE_STATES),
    Quantity("SAFE.MSG", Kind.TEXT, "What is not safe, and what was done"),
    Quantity("WRITES", Kind.INT, "Writes to non-volatile registers"),
    Quantity("WRITES.MAX", Kind.INT, "Writes to the most written register"),
    Quantity("WRITES.MSG", Kind.TEXT, "Most written registers"),
    Quantity("PWR.COUNT", Kind.INT, "Number of power interruptions"),
    Quantity("PWR.START", Kind.TEXT, "Begin of the last power interruption"),
    Quantity("PWR.DUR", Kind.FLOAT, "Longest it can have lasted", unit="s"),
    Quantity("PWR.TBEFORE", Kind.FLOAT, "Temperature before it", unit="C", digits=1),
    Quantity("PWR.TMIN", Kind.FLOAT, "Lowest temperature after it", unit="C", digits=1),
    Quantity("PWR.TAFTER", Kind.FLOAT, "Temperature at the return", unit="C", digits=1),
    Quantity("PWR.MSG", Kind.TEXT, "Report of the last interruption"),
    _command("PWR.ACK.CMD", "Acknowledge the power interruption", "ACK"),
    *(
        row
        for n in range(1, 5)
        for row in (
            _code(f"AL{n}.TYPE", f"A{n}.TYP", f"Type of alarm {n}, as a code"),
            _state(f"AL{n}.LATCH", f"A{n}.LAT", f"Latching of alarm {n}"),
            _state(f"AL{n}.BLOCK", f"A{n}.BLK", f"Blocking of alarm {n}"),
        )
    ),
    Quantity("RANGE.HI", Kind.FLOAT, "Input range high", "RNG.HI", "C", digits=1, rate=Rate.ONCE),
    Quantity("RANGE.LO", Kind.FLOAT, "Input range low", "RNG.LO", "C", digits=1, rate=Rate.ONCE),
    _state("INTYPE", "IN.TYP", "Input type"),
    _state("CJTYPE", "CJ.tyP", "Cold junction"),
    _state("UNITS", "UNITS", "Temperature unit of the instrument", Rate.SLOW),
    _state("DECIMALS", "DEC.P", "Decimals of the temperature", Rate.SLOW),
    _state("ACTION", "CTRL.A", "Control action"),
    _state("CTRL1", "CTRL.H", "Control of channel 1"),
    _state("CTRL2", "CTRL.C", "Control of channel 2"),
    _state("STBYTYPE", "STBY.T", "Alarms in standby"),
    _code("CTRANGE", "CT.RNG", "Range of the current transformer"),
    Quantity("ID.FW", Kind.TEXT, "Firmware version", "VERSION", rate=Rate.ONCE),
    Quantity("ID.TYPE", Kind.TEXT, "Instrument type code", "TYPE", rate=Rate.ONCE),
    _code("ID.UNIT", "ADDR", "Address on the line"),
)  # fmt: skip

QUANTITIES: Mapping[str, Quantity] = {
    row.name: row for row in (*_MONITORS, *(row for setting in SETTINGS.values() for row in setting.quantities()))
}
"""Every quantity by the name of its signal."""

SIGNALS: Mapping[str, Signal] = {name: row.signal for name, row in QUANTITIES.items()}
"""Every signal of a controller."""

_BASIC_SETTINGS = ("TSET", "RATE", "OUT.HI", "MODE", "REMOTE", "PB", "TI", "TD")
_FULL_MONITORS = re.compile(r"TMR\.|DIN\.|AL[1-4]\.|RANGE\.|(LOAD\.I|LEAK\.I|MV|INTYPE|CJTYPE|DECIMALS|ACTION|CTRL[12]|"
                            r"STBYTYPE|CTRANGE)$")  # fmt: skip

BASIC = frozenset(
    (*(row.name for row in _MONITORS if not _FULL_MONITORS.match(row.name)),
     *(row.name for name in _BASIC_SETTINGS for row in SETTINGS[name].quantities()))
)  # fmt: skip
"""Signals of ``detail = "basic"``: what an operator of a furnace needs, and what costs no time on the line."""

VOLATILE = frozenset({"MAN.OP", "Rm.SP", "PV.CM", "T.STAT", "A.TUNE", "Ac.ALL", "EVENT", "Di.OP"})
"""Registers that may be written without wearing out the memory; all others count as kept (handbook HA028651)."""

_LIVE = ("PV.IN", "TG.SP", "MAN.OP", "WRK.OP", "WKG.SP", "StAt", "StAt.INV", "Di.IP")

UNIT_OF: Mapping[Scale, str] = {Scale.RATE: "RAMPU", Scale.TIMER: "TM.RES"}
"""The registers that say in which unit the instrument counts others; both can be changed at the front panel."""

_DERIVED: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(("TDIFF", "SLOPE", "SETTLED", "TEMP", "OUT"), _LIVE),
    **{f"STAT.{name}": ("StAt", "StAt.INV") for name in STATUS_BITS},
    "STAT": ("StAt", "StAt.INV"),
    **dict.fromkeys(INPUT_BITS, ("Di.IP",)),
    **{name: _LIVE for name in QUANTITIES if name.startswith("PWR.") and not name.endswith(".CMD")},
}


def registers_of(name: str) -> tuple[str, ...]:
    """Return the registers that a signal is made of; none for commands and for what the driver keeps itself."""
    if name in _DERIVED:
        return _DERIVED[name]
    row = QUANTITIES[name]
    if row.register:
        unit = UNIT_OF.get(REGISTERS[row.register].scale)
        return (row.register,) if unit is None else (row.register, unit)
    base = SETTINGS.get(name.rpartition(".")[0])
    if base is None:
        return ()
    bounds = [bound for bound in (base.low, base.high) if isinstance(bound, str) and bound in REGISTERS]
    return tuple(bounds)


def shown_decimals(scale: Scale, decimals: int | None, digits: int) -> int:
    """Return how many decimals a front panel with ``decimals`` of the process value shows for a register."""
    if decimals is None:
        return digits
    return {Scale.PV: decimals, Scale.RATE: decimals + 1, Scale.ONE: 1, Scale.OPEN: digits}.get(scale, 0)

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
from typing import Any

from devices.eurotherm.registers import REGISTERS, SEGMENTS, Form, Inputs, Scale, Status, decimals_in
from devices.model import DeviceSettings, Kind, Signal


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
class Quantity(Signal):
    """One signal; ``register`` is empty when the driver derives it, ``codes`` are the register's values by label."""

    register: str = ""
    codes: tuple[int, ...] = ()
    digits: int = 0
    rate: Rate = Rate.FAST


@dataclass(frozen=True, slots=True)
class Setting(Quantity):
    """One setting, which is the signal of its demand; the others are ``.RBV``, of numbers with a fraction ``.HI .LO``.

    ``look``: how often it is worth reading back. ``follows``: the instrument changes it by itself in normal operation,
    so the demand goes along with it.
    """

    low: Bound = 0.0
    high: Bound = 0.0
    look: Rate = Rate.SLOW
    follows: bool = False

    def quantities(self) -> Iterator[Quantity]:
        """Yield the signals of this setting."""
        common = (self.kind, False, self.unit, self.labels)
        yield self
        yield Quantity(f"{self.name}.RBV", *common, self.register, self.codes, self.digits, self.look)
        if self.kind is Kind.FLOAT:
            known_by_name = isinstance(self.low, str) or isinstance(self.high, str)
            moving = Rate.ONCE if not known_by_name else Rate.MEDIUM if self.look is Rate.FAST else self.look
            yield Quantity(f"{self.name}.HI", *common, "", self.codes, self.digits, moving)
            yield Quantity(f"{self.name}.LO", *common, "", self.codes, self.digits, moving)


def _of(register: str) -> dict[str, Any]:
    """Return what a register says of the signals that show it."""
    row = REGISTERS[register]
    pairs = [(label, code) for code, label in enumerate(row.labels) if label != "?"]
    number = Kind.FLOAT if row.form in (Form.FLOAT, Form.TIME) else Kind.INT
    return {
        "kind": Kind.ENUM if pairs else number,
        "unit": row.unit,
        "labels": tuple(label for label, _ in pairs),
        "register": register,
        "codes": tuple(code for _, code in pairs),
        "digits": int(row.form is Form.FLOAT),
    }


def _shown(name: str, register: str, rate: Rate = Rate.ONCE, **own: Any) -> Quantity:
    return Quantity(name, **_of(register) | own, rate=rate)


def _setting(name: str, register: str, low: Bound = 0.0, high: Bound = 0.0, look: Rate = Rate.SLOW,
             follows: bool = False) -> Setting:  # fmt: skip
    return Setting(
        name, settable=True, rate=Rate.DEMAND, low=low, high=high, look=look, follows=follows, **_of(register)
    )


def _degrees(name: str, register: str, low: Bound = f"-{FULL}", high: Bound = FULL, look: Rate = Rate.SLOW) -> Setting:
    return _setting(name, register, low, high, look)


def _segment(number: int) -> tuple[Setting, ...]:
    name = f"SEG{number}"
    return (
        _setting(f"{name}.DWELL", f"{name}.DWELL", 0.0, 360_000.0),
        _setting(f"{name}.TARGET", f"{name}.TSP", "SP.LO", "SP.HI"),
        _setting(f"{name}.RATE", f"{name}.RATE", 0.0, FULL),
    )


SETTINGS: Mapping[str, Setting] = {
    setting.name: setting
    for setting in (
        _setting("TSET", "TG.SP", "SP.LO", "SP.HI", Rate.FAST),
        _setting("SP1", "SP1", "SP.LO", "SP.HI", Rate.MEDIUM),
        _setting("SP2", "SP2", "SP.LO", "SP.HI", Rate.MEDIUM),
        _setting("SPSEL", "SP.SEL", look=Rate.MEDIUM),
        _setting("RSP", "Rm.SP", "SP.LO", "SP.HI", Rate.MEDIUM, follows=True),
        _degrees("RSPTRIM", "LOC.t"),
        _setting("SPMAX", "SP.HI", "RNG.LO", "RNG.HI"),
        _setting("SPMIN", "SP.LO", "RNG.LO", "RNG.HI"),
        _setting("RATE", "SP.RAT", 0.0, FULL, Rate.MEDIUM),
        _setting("RATEUNIT", "RAMPU"),
        _setting("REMOTE", "L-R", look=Rate.MEDIUM),
        _degrees("REMHI", "REM.HI"),
        _degrees("REMLO", "REM.LO"),
        _setting("MODE", "A-M", look=Rate.MEDIUM),
        _setting("OPMODE", "IM", look=Rate.MEDIUM),
        _setting("MOUT", "MAN.OP", 0.0, "OP.HI", Rate.FAST, follows=True),
        _setting("OUT.HI", "OP.HI", 0.0, 100.0),
        _setting("OUT.LO", "OP.LO", 0.0, 100.0),
        _setting("OUTSAFE", "SAFE", 0.0, 100.0),
        _setting("OUTFORCED", "F.OP", 0.0, 100.0),
        _setting("FORCEMODE", "F.MOD"),
        _setting("PB", "PB", 0.0, 9999.0),
        _setting("TI", "Ti", 0.0, 9999.0),
        _setting("TD", "Td", 0.0, 9999.0),
        _setting("MRESET", "MR", -100.0, 100.0),
        _degrees("CUTHI", "CB.HI", 0.0),
        _degrees("CUTLO", "CB.Lo", 0.0),
        _setting("COOLGAIN", "R2G", 0.0, 100.0),
        _setting("DEADBAND", "D.BAND", 0.0, 100.0),
        _setting("HYST1", "HYST.H", 0.0, 9999.0),
        _setting("HYST2", "HYST.C", 0.0, 9999.0),
        _setting("VALVETIME", "MTR.T", 0.0, 9999.0),
        _setting("LBTIME", "LBT", 0.0, 9999.0),
        _setting("TUNE", "A.TUNE", look=Rate.MEDIUM, follows=True),
        _setting("FILTER", "FILT.T", 0.0, 9999.0),
        _degrees("OFFSET", "PV.OFS"),
        *(
            setting
            for number in range(1, 5)
            for setting in (_degrees(f"AL{number}", f"A{number}"), _degrees(f"AL{number}.HYST", f"A{number}.HYS", 0.0))
        ),
        _setting("CTLOW", "LD.ALM", 0.0, 1000.0),
        _setting("CTLEAK", "LK.ALM", 0.0, 1000.0),
        _setting("CTOVER", "HC.ALM", 0.0, 1000.0),
        _setting("TMR.TYPE", "TM.CFG"),
        _setting("TMR.RES", "TM.RES"),
        _setting("TMR.DWELL", "DWELL", 0.0, 360_000.0),
        _degrees("TMR.THRES", "THRES", 0.0),
        _setting("TMR.END", "End.T"),
        _setting("TMR.SERVO", "SERVO"),
        _setting("TMR.SSSP", "SS.SP", "SP.LO", "SP.HI"),
        _setting("TMR.SSOUT", "SS.PWR", 0.0, 100.0),
        _setting("TMR.CYCLES", "P.CYCL", 1.0, 999.0),
        _setting("TMR.EVENT", "EVENT", 0.0, 255.0),  # as bits
        *(setting for number in range(1, SEGMENTS + 1) for setting in _segment(number)),
        _setting("DOUT", "Di.OP", 0.0, 65535.0, follows=True),  # as bits
        _setting("HOME", "HOME", 0.0, 20.0),  # as a code
    )
}
"""Every setting by the name of its demand."""

SETTING_OF: Mapping[str, Setting] = {setting.register: setting for setting in SETTINGS.values()}
"""Every setting by its register."""

STATUS_BITS: Mapping[str, Status] = {
    "AL1": Status.ALARM_1,
    "AL2": Status.ALARM_2,
    "AL3": Status.ALARM_3,
    "AL4": Status.ALARM_4,
    "MANUAL": Status.MANUAL,
    "SBREAK": Status.SENSOR_BREAK,
    "LBREAK": Status.LOOP_BREAK,
    "CTLOW": Status.LOAD_LOW,
    "CTLEAK": Status.LEAKAGE_HIGH,
    "PROGEND": Status.PROGRAM_END,
    "RANGE": Status.OUT_OF_RANGE,
    "CTOVER": Status.OVERCURRENT,
    "NEWALM": Status.NEW_ALARM,
    "RUN": Status.RUNNING,
    "RSPFAIL": Status.REMOTE_FAIL,
    "TUNE": Status.TUNING,
}
"""Bits of the status word (register 75) by the last part of their names."""

INPUT_BITS: Mapping[str, Inputs] = {
    "STAT.MAINS": Inputs.MAINS_FAILED,  # since the last acknowledge
    "DIN.IO1": Inputs.LOGIC_IO1,
    "DIN.A": Inputs.LOGIC_A,
    "DIN.B": Inputs.LOGIC_B,
}
"""Bits of register 87 by the names of their signals."""

_NO_YES = ("NO", "YES")
SAFE_STATES = ("NONE", "GOING", "DONE", "INCOMPLETE")


def _command(name: str, act: str) -> Quantity:
    return Quantity(name, Kind.ENUM, True, labels=("IDLE", act), rate=Rate.DEMAND)


_MONITORS: tuple[Quantity, ...] = (
    _shown("TEMP", "PV.IN", Rate.FAST),
    _shown("TWORK", "WKG.SP", Rate.FAST),
    Quantity("TDIFF", Kind.FLOAT, unit="C", digits=1),
    Quantity("SLOPE", Kind.FLOAT, unit="C/min", digits=2),
    Quantity("SETTLED", Kind.ENUM, labels=_NO_YES),
    _shown("OUT", "WRK.OP", Rate.FAST),
    _shown("STAT", "StAt", Rate.FAST),
    *(Quantity(f"STAT.{name}", Kind.ENUM, labels=_NO_YES) for name in STATUS_BITS),
    *(Quantity(name, Kind.ENUM, labels=_NO_YES) for name in INPUT_BITS),
    _shown("LOAD.I", "LD.AMP", Rate.FAST),
    _shown("LEAK.I", "LL.AMP", Rate.FAST),
    _shown("MV", "MV.IN", Rate.SLOW, digits=2),
    _shown("TMR.STATE", "T.STAT", Rate.MEDIUM),
    _shown("TMR.ELAPSED", "T.ELAP", Rate.MEDIUM),
    _shown("TMR.LEFT", "T.REMN", Rate.MEDIUM),
    _shown("TMR.CYCLE", "CYCLE", Rate.MEDIUM),
    _command("TMR.RUN.CMD", "RUN"),
    _command("TMR.HOLD.CMD", "HOLD"),
    _command("TMR.RESET.CMD", "RESET"),
    _command("ACK.CMD", "ACK"),  # alarms and mains failure
    _command("SAFE.CMD", "GO"),
    Quantity("SAFE.STATE", Kind.ENUM, labels=SAFE_STATES),
    Quantity("SAFE.MSG", Kind.TEXT),
    Quantity("WRITES", Kind.INT),  # to non-volatile registers
    Quantity("WRITES.MAX", Kind.INT),
    Quantity("WRITES.MSG", Kind.TEXT),
    Quantity("PWR.COUNT", Kind.INT),
    Quantity("PWR.START", Kind.TEXT),
    Quantity("PWR.DUR", Kind.FLOAT, unit="s"),
    Quantity("PWR.TBEFORE", Kind.FLOAT, unit="C", digits=1),
    Quantity("PWR.TMIN", Kind.FLOAT, unit="C", digits=1),
    Quantity("PWR.TAFTER", Kind.FLOAT, unit="C", digits=1),
    Quantity("PWR.MSG", Kind.TEXT),
    _command("PWR.ACK.CMD", "ACK"),
    *(
        row
        for n in range(1, 5)
        for row in (
            Quantity(f"AL{n}.TYPE", Kind.INT, register=f"A{n}.TYP", rate=Rate.ONCE),  # as a code
            _shown(f"AL{n}.LATCH", f"A{n}.LAT"),
            _shown(f"AL{n}.BLOCK", f"A{n}.BLK"),
        )
    ),
    _shown("RANGE.HI", "RNG.HI"),
    _shown("RANGE.LO", "RNG.LO"),
    _shown("INTYPE", "IN.TYP"),
    _shown("CJTYPE", "CJ.tyP"),
    _shown("UNITS", "UNITS", Rate.SLOW),
    _shown("DECIMALS", "DEC.P", Rate.SLOW),
    _shown("ACTION", "CTRL.A"),
    _shown("CTRL1", "CTRL.H"),
    _shown("CTRL2", "CTRL.C"),
    _shown("STBYTYPE", "STBY.T"),
    _shown("CTRANGE", "CT.RNG"),
    _shown("ID.FW", "VERSION", kind=Kind.TEXT),
    _shown("ID.TYPE", "TYPE", kind=Kind.TEXT),
    _shown("ID.UNIT", "ADDR"),
)

QUANTITIES: Mapping[str, Quantity] = {
    row.name: row for row in (*_MONITORS, *(row for setting in SETTINGS.values() for row in setting.quantities()))
}
"""Every quantity by the name of its signal."""

_BASIC_SETTINGS = ("TSET", "RATE", "OUT.HI", "MODE", "REMOTE", "PB", "TI", "TD")
_FULL_MONITORS = re.compile(r"TMR\.|DIN\.|AL[1-4]\.|RANGE\.|(LOAD\.I|LEAK\.I|MV|INTYPE|CJTYPE|DECIMALS|ACTION|CTRL[12]|"
                            r"STBYTYPE|CTRANGE)$")  # fmt: skip

BASIC = frozenset(
    (*(row.name for row in _MONITORS if not _FULL_MONITORS.match(row.name)),
     *(row.name for name in _BASIC_SETTINGS for row in SETTINGS[name].quantities()))
)  # fmt: skip
"""Signals of ``detail = "basic"``: what an operator of a furnace needs, and what costs no time on the line."""

_BASIC_SIGNALS = {name: row for name, row in QUANTITIES.items() if name in BASIC}


def signals(settings: DeviceSettings) -> Mapping[str, Quantity]:
    """Return the signals of an instrument in the detail of the site file."""
    return QUANTITIES if settings.options.get("detail") == "full" else _BASIC_SIGNALS


REPORTED = ("TM.CFG", "T.STAT", "A-M", "L-R", "IM")
"""Registers that are read behind the fast ones for the report of a power interruption, whatever is published."""
REPORT_EVERY = 5.0  # seconds between two readings of them

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


def _made_of(name: str) -> tuple[str, ...]:
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


registers_of = {name: _made_of(name) for name in QUANTITIES}.__getitem__
"""Returns the registers that a signal is made of; none for commands and for what the driver keeps itself."""


def shown_decimals(scale: Scale, decimals: int | None, digits: int) -> int:
    """Return how many decimals a front panel with ``decimals`` of the process value shows for a register."""
    known = None if decimals is None else decimals_in(scale, decimals)
    return digits if known is None else known

"""Registers of a Eurotherm 3200 (3216, 3208, 3204) and the meaning of their words; no I/O.

Sources: Series 3200 Engineering Handbook HA028651 (marked M), 2000 Series Communications Handbook HA026230, which
the former refers to for the wire format, and the drivers published for real 32xx instruments. Two of them agree on a
row, unless it is marked: one source, inferred (from the family), or disputed (sources disagree).

Every parameter exists twice: as a signed word at its address A, multiplied by a power of ten that the wire never
tells, and as an IEEE twin of two words at ``0x8000 + 2 * A`` (float, signed 32-bit milliseconds, or the value with
a filler word 0x8000 behind it), high word first.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass
from enum import Enum, IntFlag
from functools import partial

from devices.links.modbus_frames import signed, twin_of

FILLER = 0x8000  # the second word of a twin that needs only one; also a word without a parameter in a block
LONGEST_BLOCK = 32  # words; what the oldest members of the family allow in one request
SEGMENTS = 8  # early firmware has 4
ENDURANCE = 100_000  # changes that a non-volatile parameter survives (handbook)
REMOTE_TIMEOUT = 5.0  # seconds within which the remote setpoint has to be repeated
OPERATING, STANDBY, CONFIGURATION = range(3)  # values of IM, which has more that reach calibration
REMOTE_FIRMWARE = 0x0110  # first version with a volatile remote setpoint


class Form(Enum):
    """What a register holds."""

    FLOAT = "float"  # scaled word, IEEE float as twin
    TIME = "time"  # whole seconds or minutes as a word, milliseconds as twin
    INT = "int"
    ENUM = "enum"
    FLAG = "flag"
    BITS = "bits"
    COMMAND = "command"  # writing 1 does it


class Scale(Enum):
    """Where the decimal point of the word is."""

    PV = "pv"  # where that of the process value is
    RATE = "rate"  # one place more than the process value
    ONE = "one"  # one decimal, always
    UNIT = "unit"  # whole units
    TIMER = "timer"  # whole minutes, or whole seconds when TM.RES is 1
    OPEN = "open"  # sources disagree: read the twin


class Access(Enum):
    """Who may write."""

    READ = "R"
    WRITE = "R/W"
    CONFIG = "config"  # writable in configuration mode only
    COMMAND = "W"


@dataclass(frozen=True, slots=True)
class Register:
    """One parameter; ``name`` is that of the handbook, ``labels`` the texts of the values from 0 on."""

    address: int
    name: str
    help: str
    access: Access = Access.READ
    nonvolatile: bool = False
    _: KW_ONLY
    form: Form = Form.FLOAT
    scale: Scale = Scale.UNIT
    unit: str = ""
    labels: tuple[str, ...] = ()

    @property
    def twin(self) -> int:
        """Address of the first of the two words in the IEEE area."""
        return twin_of(self.address)

    @property
    def signed(self) -> bool:
        """Whether the word is a two's complement number; bit words and codes are not."""
        return self.form not in (Form.BITS, Form.INT)

    @property
    def writable(self) -> bool:
        """Whether it can be written outside configuration mode."""
        return self.access in (Access.WRITE, Access.COMMAND)


class Status(IntFlag):
    """Instrument status word, address 75; not the same as on the 2000 series (M)."""

    ALARM_1 = 1 << 0
    ALARM_2 = 1 << 1
    ALARM_3 = 1 << 2
    ALARM_4 = 1 << 3
    MANUAL = 1 << 4
    SENSOR_BREAK = 1 << 5
    LOOP_BREAK = 1 << 6
    LOAD_LOW = 1 << 7
    LEAKAGE_HIGH = 1 << 8
    PROGRAM_END = 1 << 9
    OUT_OF_RANGE = 1 << 10
    OVERCURRENT = 1 << 11
    NEW_ALARM = 1 << 12
    RUNNING = 1 << 13
    REMOTE_FAIL = 1 << 14
    TUNING = 1 << 15


class Inputs(IntFlag):
    """Digital inputs and power-failed bit, address 87 (M); bits of inputs that are not fitted mean nothing."""

    LOGIC_IO1 = 1 << 0
    LOGIC_A = 1 << 1
    LOGIC_B = 1 << 2
    MAINS_FAILED = 1 << 7


_W, _C = Access.WRITE, Access.CONFIG
_ALARM_TYPES = ("OFF", "LOW", "HIGH", *("?",) * 13, "BAND", "DEV HIGH", "DEV LOW")  # coding of the 2000 series
_INPUT_TYPES = ("J", "K", "L", "R", "B", "N", "T", "S", "RTD", "MV", "COMMS", "CUSTOM")

_pv = partial(Register, scale=Scale.PV, unit="C")
_rate = partial(Register, scale=Scale.RATE, unit="C/min")
_one = partial(Register, scale=Scale.ONE)
_percent = partial(_one, unit="%")
_number = partial(Register, scale=Scale.OPEN)
_enum = partial(Register, form=Form.ENUM)
_flag = partial(Register, form=Form.FLAG, labels=("NO", "YES"))
_int = partial(Register, form=Form.INT)
_time = partial(Register, form=Form.TIME, unit="s")
_bits = partial(Register, form=Form.BITS)
_command = partial(Register, access=Access.COMMAND, form=Form.COMMAND)


def _alarm(number: int, threshold: int, hysteresis: int) -> tuple[Register, ...]:
    at, name = number - 1, f"A{number}"  # one source for latching and blocking
    return (
        _pv(threshold, name, f"Threshold of alarm {number}", _W, True),
        _pv(hysteresis, f"{name}.HYS", f"Hysteresis of alarm {number}", _W, True),
        _flag(294 + at, f"{name}.STS", f"Alarm {number} is active"),  # one source
        _enum(536 + at, f"{name}.TYP", f"Type of alarm {number}", _C, labels=_ALARM_TYPES),  # disputed
        _enum(540 + at, f"{name}.LAT", f"Latching of alarm {number}", _C, labels=("NONE", "AUTO", "MANUAL")),
        _enum(544 + at, f"{name}.BLK", f"Blocking of alarm {number}", _C, labels=("OFF", "ON")),
    )


def _segment(number: int) -> tuple[Register, ...]:
    start, name = 1280 + 3 * (number - 1), f"SEG{number}"  # one source for those above 4
    return (
        _time(start, f"{name}.DWELL", f"Dwell of segment {number}", _W, True, scale=Scale.TIMER),
        _pv(start + 1, f"{name}.TSP", f"Target of segment {number}", _W, True),
        _rate(start + 2, f"{name}.RATE", f"Ramp rate of segment {number}", _W, True),
    )


_MEASUREMENT = (
    _pv(1, "PV.IN", "Process value"),
    _pv(2, "TG.SP", "Target setpoint", _W, True),
    _percent(3, "MAN.OP", "Output demanded in manual", _W),
    _percent(4, "WRK.OP", "Output in force"),
    _pv(5, "WKG.SP", "Working setpoint"),
    _enum(15, "SP.SEL", "Setpoint in use", _W, True, labels=("SP1", "SP2")),
    _pv(24, "SP1", "Setpoint 1", _W, True),
    _pv(25, "SP2", "Setpoint 2", _W, True),
    _pv(26, "Rm.SP", "Remote setpoint, volatile", _W),
    _pv(27, "LOC.t", "Trim added to the remote setpoint", _W, True),
    _rate(35, "SP.RAT", "Setpoint rate limit, 0 is none", _W, True),
    _pv(39, "P.Err", "Process value minus working setpoint"),
    _pv(111, "SP.HI", "Setpoint high limit", _W, True),
    _pv(112, "SP.LO", "Setpoint low limit", _W, True),
    _enum(276, "L-R", "Local or remote setpoint", _W, True, labels=("LOCAL", "REMOTE")),
    _pv(278, "REM.HI", "Remote input, top of scale", _W),  # one source
    _pv(279, "REM.LO", "Remote input, bottom of scale", _W),  # one source
    _enum(531, "RAMPU", "Unit of ramp rates", _W, labels=("MINUTE", "HOUR", "SECOND")),  # disputed
)

_INPUT = (
    _pv(11, "RNG.LO", "Input range low", _C),
    _pv(12, "RNG.HI", "Input range high", _C),
    _number(101, "FILT.T", "Input filter time", _W, unit="s"),
    _number(103, "RC.PV", "Rate of change of the process value", unit="C/min"),  # one source
    _pv(141, "PV.OFS", "Offset added to the process value", _W),
    _number(202, "MV.IN", "Thermocouple voltage", unit="mV"),
    _pv(203, "PV.CM", "Process value from the host, volatile", _W),
    _flag(258, "SBR", "Sensor broken"),
    _enum(516, "UNITS", "Temperature unit", _C, labels=("C", "F", "K", "NONE")),  # inferred
    _enum(525, "DEC.P", "Decimals of the process value", _C, labels=("0", "1", "2")),
    _enum(12290, "IN.TYP", "Input type", _C, labels=_INPUT_TYPES),
    _enum(12291, "CJ.tyP", "Cold junction", _C, labels=("AUTO", "0 C", "50 C")),  # one source
)

_CONTROL = (
    _number(6, "PB", "Proportional band", _W, True, unit="C"),
    _enum(7, "CTRL.A", "Control action", _C, labels=("REVERSE", "DIRECT")),
    _time(8, "Ti", "Integral time, 0 is none", _W, True, scale=Scale.OPEN),
    _time(9, "Td", "Derivative time, 0 is none", _W, True, scale=Scale.OPEN),
    _number(16, "D.BAND", "Dead band of channel 2", _W, unit="%"),
    _pv(17, "CB.Lo", "Cutback low", _W),
    _pv(18, "CB.HI", "Cutback high", _W),
    _number(19, "R2G", "Relative gain of cooling", _W),
    _number(21, "MTR.T", "Valve travel time", _W, unit="s"),  # one source
    _number(28, "MR", "Manual reset", _W, unit="%"),
    _percent(30, "OP.HI", "Output high limit", _W, True),
    _percent(31, "OP.LO", "Output low limit", _W, True),
    _percent(34, "SAFE", "Output in sensor break", _W),
    _time(83, "LBT", "Loop-break time", _W, scale=Scale.OPEN),
    _percent(84, "F.OP", "Forced manual output", _W),
    _enum(85, "F.MOD", "Output on entering manual", _W, labels=("BUMPLESS", "STEP", "LAST")),
    _number(86, "HYST.H", "On/off hysteresis, channel 1", _W, unit="C"),
    _number(88, "HYST.C", "On/off hysteresis, channel 2", _W, unit="C"),
    _enum(199, "IM", "Instrument mode", _W, labels=("OPERATING", "STANDBY", "CONFIG")),
    _flag(263, "LBR", "Loop break"),
    _enum(270, "A.TUNE", "Autotune", _W, labels=("OFF", "ON")),
    _enum(273, "A-M", "Automatic or manual", _W, labels=("AUTO", "MANUAL")),
    _enum(512, "CTRL.H", "Control of channel 1", _C, labels=("OFF", "ON/OFF", "PID", "VALVE")),  # one source
    _enum(513, "CTRL.C", "Control of channel 2", _C, labels=("OFF", "ON/OFF", "PID")),  # one source
    _enum(530, "STBY.T", "Alarms in standby", _C, labels=("ABSOLUTE", "OFF")),  # one source
)

_ALARMS = (
    *_alarm(1, 13, 47),
    *_alarm(2, 14, 68),
    *_alarm(3, 81, 69),
    *_alarm(4, 82, 71),
    _bits(75, "StAt", "Instrument status"),
    _bits(76, "StAt.INV", "Complement of the instrument status"),
    _bits(87, "Di.IP", "Digital inputs and power-failed bit"),
    _flag(260, "NEW.AL", "An alarm is not acknowledged"),
    _command(274, "Ac.ALL", "Acknowledge all alarms and the power failure"),
    _bits(551, "Di.OP", "Digital outputs", _W),  # one source
    _one(79, "LL.AMP", "Leakage current", unit="A"),
    _one(80, "LD.AMP", "Load current", unit="A"),
    _number(304, "LD.ALM", "Low-current threshold", _W, unit="A"),  # one source
    _number(305, "LK.ALM", "Leakage threshold", _W, unit="A"),  # one source
    _number(306, "HC.ALM", "Over-current threshold", _W, unit="A"),  # one source
    _flag(307, "LD.STS", "Load current low"),  # one source
    _flag(308, "LK.STS", "Leakage current high"),  # one source
    _flag(309, "HC.STS", "Over-current"),  # one source
    _int(572, "CT.RNG", "Range of the current transformer", _C),  # one source
)

_PROGRAMMER = (
    _enum(23, "T.STAT", "State of timer or programmer", _W, labels=("RESET", "RUN", "HOLD", "END")),
    _enum(
        320, "TM.CFG", "Kind of timer", _W, labels=("NONE", "DWELL", "DELAY", "SOFT START", *("?",) * 6, "PROGRAMMER")
    ),
    _enum(321, "TM.RES", "Resolution of the timer", _W, labels=("MINUTES", "SECONDS")),  # one source
    _pv(322, "SS.SP", "Soft-start setpoint", _W),  # one source
    _percent(323, "SS.PWR", "Soft-start power limit", _W),
    _time(324, "DWELL", "Requested time", _W, True, scale=Scale.TIMER),
    _time(325, "T.ELAP", "Time elapsed", scale=Scale.TIMER),  # one source
    _time(326, "T.REMN", "Time remaining", scale=Scale.TIMER),  # one source
    _pv(327, "THRES", "Distance from setpoint at which timing starts", _W),  # one source
    _enum(328, "End.T", "What the end of the timer does", _W, labels=("OFF", "DWELL", "SP2", "RESET")),  # disputed
    _enum(329, "SERVO", "Start after a power failure", _W, labels=("SP", "PV", "SP.RB", "PV.RB")),  # inferred
    _bits(331, "EVENT", "Programmer events", _W),  # one source
    _int(332, "P.CYCL", "Cycles to run", _W),
    _int(333, "CYCLE", "Present cycle"),
    *(register for number in range(1, SEGMENTS + 1) for register in _segment(number)),
)

_IDENTITY = (
    _int(106, "HOME", "What the display shows", _W),
    _int(107, "VERSION", "Firmware, to be read as hex"),
    _int(122, "TYPE", "Instrument type code"),  # disputed
    _int(131, "ADDR", "Slave address", _W, True),
    _command(313, "RC.RCL", "Recall a recipe"),  # one source
    _command(314, "RC.SAV", "Save a recipe"),  # one source
    _int(12544, "ID", "Kind of comms module"),  # inferred
    _enum(12548, "BAUD", "Baud rate", _C, labels=("9600", "19200", "4800", "2400", "1200")),  # inferred
    _enum(12549, "PRTY", "Parity", _C, labels=("NONE", "EVEN", "ODD")),  # inferred
    _int(12550, "RESOLUTION", "Comms resolution on the 2000 series", _C),  # disputed
)

REGISTERS: Mapping[str, Register] = {
    row.name: row for row in (*_MEASUREMENT, *_INPUT, *_CONTROL, *_ALARMS, *_PROGRAMMER, *_IDENTITY)
}
"""Every register by its name."""

BY_ADDRESS: Mapping[int, Register] = {row.address: row for row in REGISTERS.values()}
"""Every register by its address."""


def register_at(address: int) -> Register:
    """Return the register at an address, one without a name where none is known."""
    return BY_ADDRESS.get(address) or Register(address, "", "")


def decimals_of(word: int, number: float) -> int | None:
    """Tell the decimals (0, 1 or 2) of a scaled word from the same value as a float.

    None when that is not known: not a number, contradicting each other, or so small that several would fit. Read
    the two in quick succession, and SP.HI when the process value is small or moving.
    """
    if not math.isfinite(number):
        return None
    fits = [n for n in (0, 1, 2) if abs(number * 10**n - signed(word)) <= 0.5 + abs(number) * 10**n * 1e-5]
    return fits[0] if len(fits) == 1 else None


def decimals_in(scale: Scale, pv_decimals: int) -> int | None:
    """Return the decimals of a word of that scale; None when only the twin tells."""
    return {Scale.PV: pv_decimals, Scale.RATE: pv_decimals + 1, Scale.ONE: 1, Scale.UNIT: 0, Scale.TIMER: 0}.get(scale)


def firmware_text(word: int) -> str:
    """Return the version in words of the front panel: 0x0213 is 2.13."""
    return f"{word >> 8:X}.{word & 0xFF:02X}"

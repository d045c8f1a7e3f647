"""A simulated CAEN DT55xxE or N1470: a board with channels that answers requests; no sockets, no clock.

``step(dt)`` advances the physics, ``respond(line)`` answers one request as a unit of either profile does.
The set of parameters, their formats and the words of refusal follow the DT55xxE manual (p. 15) and the N1470
manual; formats are fixed width with leading zeros (``0010.0``, ``00001``).
"""

from __future__ import annotations

import math
import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from devices.caen.protocol import ALARM_BITS_A, Profile
from devices.caen.simulator.channel import LOW_RANGE, SimulatedOutput

SUBSTEP = 0.02  # seconds; how exactly a long step is followed

_ADDRESS = re.compile(r"BD:([0-9]{1,2})[,:]")
_CHANNEL = re.compile(r"([0-9]{1,3})(?:\.0*)?")
_NUMBER = re.compile(r"[+-]?[0-9]{1,9}(?:\.[0-9]{0,9})?")


class _RefusedError(Exception):
    """An error reply; the argument is its word."""


@dataclass(frozen=True, slots=True)
class Setting:
    """A numeric setting of a channel: its attribute, format and range.

    ``limit`` is what the names of its limits begin with, ``step`` the same for resolution and decimals.
    """

    attribute: str
    digits: int
    decimals: int
    low: float
    high: float
    limit: str
    step: str

    def show(self, value: float) -> str:
        """Return the value in the unit's fixed format."""
        return fixed(value, self.digits, self.decimals)


SETTINGS: Mapping[str, Setting] = {
    "VSET": Setting("vset", 4, 1, 0.0, 4000.0, "V", "VS"),
    "ISET": Setting("iset", 4, 2, 0.0, 3000.0, "I", "IS"),
    "MAXV": Setting("maxv", 4, 0, 0.0, 4100.0, "MV", "MV"),
    "RUP": Setting("rup", 3, 0, 1.0, 500.0, "RUP", "RUP"),
    "RDW": Setting("rdw", 3, 0, 1.0, 500.0, "RDW", "RDW"),
    "TRIP": Setting("trip", 4, 1, 0.0, 1000.0, "TRIP", "TRIP"),
}

CHOICES: Mapping[str, tuple[str, tuple[str, str]]] = {
    "PDWN": ("pdwn", ("RAMP", "KILL")),
    "IMRANGE": ("imrange", ("HIGH", "LOW")),
    "ZCADJ": ("zcadj", ("EN", "DIS")),
    "ZCDTC": ("zcdtc", ("ON", "OFF")),
}

ONLY_A = {"ZCADJ", "ZCDTC"}
STEPS_A = {"VMRES": "0.1", "VMDEC": "1", "IMRESH": "0.01", "IMDECH": "2", "IMRESL": "0.001", "IMDECL": "3"}
MEASURED = {"VMON", "IMON", "STAT", "POL"}

NETWORK: Mapping[str, str] = {
    "MACADDR": "00:50:C2:00:00:01",
    "IPADDR": "192.168.197.102",
    "SUBMASK": "255.255.255.0",
    "GATEWAY": "192.168.197.1",
    "DHCPEN": "DIS",
}
"""What a unit of profile A tells of its network."""

COMMANDS: Mapping[str, Callable[[SimulatedOutput], None]] = {
    "ON": SimulatedOutput.switch_on,
    "OFF": SimulatedOutput.switch_off,
}


def fixed(value: float, digits: int, decimals: int) -> str:
    """Return a number with leading zeros: so many digits before the point and decimals behind it."""
    return f"{value:0{digits + (decimals + 1 if decimals else 0)}.{decimals}f}"


def _constants(profile: Profile) -> dict[str, str]:
    """Return the limits, resolutions and decimals that a channel of this profile tells."""
    table: dict[str, str] = {}
    for one in SETTINGS.values():
        table |= {f"{one.limit}MIN": one.show(one.low), f"{one.limit}MAX": one.show(one.high)}
        table[f"{one.step}DEC"] = str(one.decimals)
        if profile is Profile.A:
            table[f"{one.step}RES"] = fixed(10.0**-one.decimals, 1, one.decimals)
    if profile is Profile.B:
        return {"VDEC": table.pop("VSDEC"), **table}
    low_range = fixed(SETTINGS["ISET"].high * LOW_RANGE, 4, 2)
    return {"IMAXH": table.pop("IMAX"), "IMAXL": low_range, **table, **STEPS_A}


class CaenModel:
    """The whole unit; a misspelt attribute raises at once.

    Attributes that a test or a back door may set: ``local`` (the front panel has control), ``refuse_groups``
    (answers CH:ERR to the read of all channels), ``unknown`` (parameters that this firmware refuses),
    ``board_faults`` (extra BDALARM bits), ``noise_volts`` and ``noise_microamps`` (standard deviation of the
    readings, from a seeded generator). ``loads`` are Mohm per channel, the last one repeated.
    """

    __slots__ = (
        "_alarms", "_constants", "_interlock_mode", "_network", "_random", "_readable", "_settable", "board",
        "board_faults", "channels", "firmware", "local", "name", "noise_microamps", "noise_volts", "profile",
        "refuse_groups", "serial", "unknown",
    )  # fmt: skip

    def __init__(
        self,
        profile: Profile = Profile.A,
        *,
        channels: int = 4,
        name: str = "",
        serial: str = "00123",
        loads: Sequence[float] = (10.0,),
        board: int = 0,
        seed: int = 1,
    ) -> None:
        self.profile, self.board = profile, board
        self.name = name or ("DT5533E" if profile is Profile.A else "NDT1470")
        self.serial, self.firmware = serial, "01.0"
        self.channels = tuple(SimulatedOutput(loads[min(n, len(loads) - 1)]) for n in range(channels))
        self.local = self.refuse_groups = False
        self.unknown: set[str] = set()
        self.board_faults = 0
        self.noise_volts = self.noise_microamps = 0.0
        self._interlock_mode = "CLOSED"
        self._random = random.Random(seed)
        self._constants = _constants(profile)
        stored = {*SETTINGS, *CHOICES} - (ONLY_A if profile is Profile.B else set())
        self._settable = stored | COMMANDS.keys()
        self._readable = stored | MEASURED | self._constants.keys() | ({"IMDEC"} if profile is Profile.B else set())
        self._network = NETWORK if profile is Profile.A else {}
        self._alarms = [0] * channels

    def step(self, dt: float) -> None:
        """Advance by dt seconds, in steps of at most 20 ms."""
        steps = math.ceil(dt / SUBSTEP)
        for _ in range(steps):
            for channel in self.channels:
                channel.step(dt / steps)
            self._latch()

    def interlock(self, active: bool) -> None:
        """Activate or release the interlock of the whole unit."""
        for channel in self.channels:
            channel.interlocked = active
        self._apply_inputs()

    def kill(self, channel: int, active: bool) -> None:
        """Activate or release the KILL input of one channel."""
        self.channels[channel].killed = active
        self._apply_inputs()

    def trip(self, channel: int) -> None:
        """Make a channel trip now."""
        self.channels[channel].trip_now()
        self._latch()

    def corrupt_status(self, channel: int, word: int) -> None:
        """Answer the next read of this channel's status with another word, once."""
        self.channels[channel].corrupt = word

    def power_cycle(self) -> None:
        """Switch the mains off and on: outputs off, alarms forgotten, settings kept."""
        for channel in self.channels:
            channel.power_cycle()
        self._alarms = [0] * len(self.channels)

    def respond(self, line: bytes) -> bytes:
        """Return the answer to one request line; empty for another module's request and for a blank line."""
        text = line.decode("ascii", "replace").strip("\r\n \t")
        if not text:
            return b""
        prefix = f"BD:{self.board:02d}," if self.profile is Profile.B else ""
        try:
            address = _ADDRESS.match(text[1:])
            if self.profile is Profile.B and address and int(address[1]) != self.board:
                return b""
            if not text.startswith("$") or (self.profile is Profile.B and not address):
                raise _RefusedError("CMD")
            value = self._execute(text[1 + (address.end() if address else 0) :])
        except _RefusedError as refusal:
            return f"#{prefix}{refusal}:ERR\r\n".encode("ascii")
        end = ";" if self.profile is Profile.A else ""
        return f"#{prefix}CMD:OK{'' if value is None else f',VAL:{value}{end}'}\r\n".encode("ascii")

    def _execute(self, request: str) -> str | None:
        parts = [field.partition(":") for field in request.split(",")]
        fields = {key: text.strip() for key, colon, text in parts if colon}
        if len(fields) < len(parts) or not fields.keys() <= {"CMD", "CH", "PAR", "VAL"}:
            raise _RefusedError("CMD")
        command, par, value = fields.get("CMD"), fields.get("PAR", ""), fields.get("VAL")
        if command not in ("MON", "SET"):
            raise _RefusedError("CMD")
        if command == "SET" and self.local:
            raise _RefusedError("LOC")
        if not par or par in self.unknown:
            raise _RefusedError("PAR")
        if par.startswith("BD") or par in self._network:
            if command == "MON":
                return self._board_value(par)
            self._set_board(par, value)
            return None
        if par not in (self._readable if command == "MON" else self._settable):
            raise _RefusedError("PAR")
        channels = self._addressed(fields.get("CH", ""), reading=command == "MON")
        if command == "MON":
            return ";".join(self._channel_value(par, channel) for channel in channels)
        self._set_channels(par, value, channels)
        return None

    def _addressed(self, text: str, *, reading: bool) -> Sequence[SimulatedOutput]:
        """Return the channels meant: one, or all of them for the number behind the last."""
        match = _CHANNEL.fullmatch(text)
        number = int(match[1]) if match else -1
        if number == len(self.channels) and not (reading and self.refuse_groups):
            return self.channels
        if not 0 <= number < len(self.channels):
            raise _RefusedError("CH")
        return self.channels[number : number + 1]

    def _channel_value(self, par: str, channel: SimulatedOutput) -> str:
        if setting := SETTINGS.get(par):
            return setting.show(getattr(channel, setting.attribute))
        if choice := CHOICES.get(par):
            return str(getattr(channel, choice[0]))
        match par:
            case "STAT":
                word, channel.corrupt = channel.status if channel.corrupt is None else channel.corrupt, None
                return f"{word:05d}"
            case "VMON":
                return fixed(abs(self._noisy(channel.measured, self.noise_volts)), 4, 1)
            case "IMON":
                return fixed(self._noisy(channel.microamps, self.noise_microamps), 4, self._imon_decimals(channel))
            case "IMDEC":
                return str(self._imon_decimals(channel))
            case "POL":
                return channel.polarity
        return self._constants[par]

    @staticmethod
    def _imon_decimals(channel: SimulatedOutput) -> int:
        return 2 if channel.imrange == "HIGH" else 3

    def _noisy(self, value: float, deviation: float) -> float:
        return value + self._random.gauss(0.0, deviation) if deviation else value

    def _set_channels(self, par: str, value: str | None, channels: Sequence[SimulatedOutput]) -> None:
        if action := COMMANDS.get(par):  # a stray VAL does no harm
            for channel in channels:
                action(channel)
            return
        accepted: str | float | None = value
        if setting := SETTINGS.get(par):
            attribute, accepted = setting.attribute, self._checked(par, setting, value, channels)
        else:
            attribute, words = CHOICES[par]
            if value not in words:
                raise _RefusedError("VAL")
        for channel in channels:
            setattr(channel, attribute, accepted)

    def _checked(self, par: str, setting: Setting, value: str | None, channels: Sequence[SimulatedOutput]) -> float:
        """Return the value rounded to the resolution, when it is a number within the range."""
        if value is None or not _NUMBER.fullmatch(value):
            raise _RefusedError("VAL")
        high = setting.high
        if par == "ISET" and self.profile is Profile.A and any(c.imrange == "LOW" for c in channels):
            high *= LOW_RANGE
        if not setting.low <= float(value) <= high:
            raise _RefusedError("VAL")
        return round(float(value), setting.decimals)

    def _board_value(self, par: str) -> str:
        values = {
            "BDNAME": self.name,
            "BDNCH": str(len(self.channels)),
            "BDFREL": self.firmware,
            "BDSNUM": self.serial,
            "BDILK": "YES" if any(channel.interlocked for channel in self.channels) else "NO",
            "BDALARM": f"{self._alarm_word():05d}",
            **self._network,
        }
        if self.profile is Profile.B:
            control = "LOCAL" if self.local else "REMOTE"
            values |= {"BDILKM": self._interlock_mode, "BDCTR": control, "BDTERM": "ON"}
        if par not in values:
            raise _RefusedError("PAR")
        return values[par]

    def _set_board(self, par: str, value: str | None) -> None:
        if par == "BDCLR":
            self._alarms = [0] * len(self.channels)
            for channel in self.channels:
                channel.tripped = False
        elif par == "BDILKM" and self.profile is Profile.B:
            if value not in ("OPEN", "CLOSED"):
                raise _RefusedError("VAL")
            self._interlock_mode = value
        else:
            raise _RefusedError("PAR")

    def _alarm_word(self) -> int:
        """Return BDALARM, latched until BDCLR: A ORs the status bits, B has one bit for each channel."""
        self._latch()
        if self.profile is Profile.A:
            word = 0
            for alarms in self._alarms:
                word |= alarms
            return word | self.board_faults
        return sum(1 << n for n, alarms in enumerate(self._alarms[:4]) if alarms) | self.board_faults

    def _latch(self) -> None:
        for number, channel in enumerate(self.channels):
            self._alarms[number] |= channel.status & ALARM_BITS_A

    def _apply_inputs(self) -> None:
        """Let an input act at once instead of at the next step."""
        for channel in self.channels:
            channel.step(0.0)
        self._latch()

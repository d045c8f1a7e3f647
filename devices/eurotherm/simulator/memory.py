"""Parameters of a simulated Eurotherm 3200, in physical units, and their words on the wire."""

from __future__ import annotations

import math
from collections import Counter

from devices.eurotherm.registers import (
    BY_ADDRESS,
    CONFIGURATION,
    ENDURANCE,
    FILLER,
    REGISTERS,
    Access,
    Form,
    Register,
    Scale,
    decimals_in,
)
from devices.links.modbus_frames import (
    FULL_SCALE,
    float_from,
    number_from,
    seconds_from,
    signed,
    word_from,
    words_from_float,
    words_from_seconds,
)

NAN_WORDS = (0x7FC0, 0)

FACTORY = {
    "PB": 60.0, "Ti": 300.0, "Td": 10.0, "R2G": 1.0, "RNG.LO": -200.0, "RNG.HI": 1372.0, "SP.HI": 1200.0,
    "A1": 1250.0, "OP.HI": 100.0, "DEC.P": 1, "IN.TYP": 1, "CTRL.H": 2, "VERSION": 0x0213, "TYPE": 0x3216,
    "ADDR": 1, "P.CYCL": 1, "CT.RNG": 100, "ID": 1, "REM.HI": 1200.0,
    "A1.HYS": 1.0, "A2.HYS": 1.0, "A3.HYS": 1.0, "A4.HYS": 1.0, "LD.ALM": 1.0, "HC.ALM": 20.0, "LK.ALM": 1.0,
    "SS.PWR": 100.0, "FILT.T": 1.6, "HYST.H": 1.0, "HYST.C": 1.0,
}  # fmt: skip
VOLATILE = ("Rm.SP", "PV.CM", "T.STAT", "T.ELAP", "T.REMN", "CYCLE", "EVENT", "WKG.SP", "WRK.OP", "A.TUNE")


class WriteError(Exception):
    """The parameter refuses the value; the argument is the Modbus exception code."""


class Memory(dict[str, float]):
    """All parameters by the names of the handbook, as numbers in C, percent, seconds and so on.

    ``wear`` counts the changes of each non-volatile parameter by clients of the wire, ``segments`` is how many the
    programmer has. ``present`` tells whether an address holds a parameter on this instrument.
    """

    def __init__(self, segments: int = 8) -> None:
        super().__init__(dict.fromkeys(REGISTERS, 0.0) | FACTORY)
        self.segments = segments
        self.wear: Counter[str] = Counter()
        self.endurance = ENDURANCE

    def __setitem__(self, name: str, value: float) -> None:
        if name not in self:
            raise KeyError(name)
        super().__setitem__(name, value)

    @property
    def worn_out(self) -> bool:
        """Whether some parameter was changed more often than its memory survives."""
        return max(self.wear.values(), default=0) > self.endurance

    def forget_volatile(self) -> None:
        """Lose what a mains failure takes."""
        self.update(dict.fromkeys(VOLATILE, 0.0))

    def present(self, address: int) -> Register | None:
        """Return the parameter at an address; None when this instrument has none there."""
        register = BY_ADDRESS.get(address)
        if register is not None and register.name.startswith("SEG") and int(register.name[3]) > self.segments:
            return None
        return register

    def decimals(self, register: Register) -> int:
        """Decimals of the word; where sources disagree, one for numbers and none for times."""
        known = decimals_in(register.scale, int(self["DEC.P"]))
        if known is not None:
            return known
        return 0 if register.form is Form.TIME else 1

    def word(self, register: Register) -> int:
        """Return the word at the plain address, as a front panel would round it."""
        value = self[register.name]
        if not math.isfinite(value):
            return FILLER
        if not register.signed:
            return int(value) & 0xFFFF
        if register.scale is Scale.TIMER and not self["TM.RES"]:
            value /= 60.0
        decimals = self.decimals(register)
        top = FULL_SCALE / 10.0**decimals
        return word_from(min(top, max(-top, value)), decimals)

    def twin(self, register: Register) -> tuple[int, int]:
        """Return the two words in the IEEE area."""
        value = self[register.name]
        if register.form is Form.FLOAT:
            return words_from_float(value) if math.isfinite(value) else NAN_WORDS
        if register.form is Form.TIME:
            return words_from_seconds(value)
        return self.word(register), FILLER

    def from_word(self, register: Register, word: int) -> float:
        """Return the number that a word written to the plain address means."""
        if not register.signed:
            return word
        value = number_from(word, self.decimals(register))
        return value * 60.0 if register.scale is Scale.TIMER and not self["TM.RES"] else value

    def from_twin(self, register: Register, high: int, low: int) -> float:
        """Return the number that two words written to the IEEE area mean."""
        if register.form is Form.FLOAT:
            return float_from(high, low)
        return seconds_from(high, low) if register.form is Form.TIME else signed(high)

    def store(self, register: Register, value: float) -> None:
        """Take a value from a client; raises WriteError for what the instrument would refuse."""
        low, high = self._range(register)
        locked = register.access is Access.READ or (register.access is Access.CONFIG and self["IM"] != CONFIGURATION)
        # Also what is not a number is outside.
        if locked or not low <= value <= high or (register.labels and register.labels[int(value)] == "?"):
            raise WriteError(3)
        name = register.name
        if name == "TG.SP":  # the setpoint in use is what this one stands for
            name = "SP2" if self["SP.SEL"] else "SP1"
        if REGISTERS[name].nonvolatile and self[name] != value:
            self.wear[name] += 1
        self[name] = value

    def _range(self, register: Register) -> tuple[float, float]:
        name = register.name
        if register.labels:
            return 0, len(register.labels) - 1 - (name == "T.STAT")  # "end" is a state, not a command
        if name in ("SP1", "SP2", "TG.SP", "SS.SP", "Rm.SP") or name.endswith(".TSP"):
            return self["SP.LO"], self["SP.HI"]
        if name in ("SP.LO", "SP.HI"):
            return self["RNG.LO"], self["RNG.HI"]
        if register.unit == "%":
            return 0.0, 100.0
        if name == "PB":
            return 0.1, 3000.0
        if register.form is Form.TIME or register.scale is Scale.RATE:
            return 0.0, 360_000.0
        return {"ADDR": (1, 254)}.get(name, (-FULL_SCALE, 0xFFFF))

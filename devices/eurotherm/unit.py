"""A Eurotherm 3200 as a table of registers: what it knows, how its numbers are scaled, how to read and write them.

Between the link (words) and the driver (meaning). Every value read is kept here with the time of its answer. Values
are in C, percent, seconds and C/min, whatever the instrument's decimals and unit of ramp rates are.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from devices.clock import DriverClock
from devices.errors import Garbled, Refused
from devices.eurotherm.blocks import Block, Planner, reads_twin
from devices.eurotherm.registers import FILLER, REGISTERS, Form, Register, Scale, decimals_in, decimals_of
from devices.links.modbus import ModbusUnit
from devices.links.modbus_frames import ModbusRefusal, float_from, number_from, seconds_from, word_from
from devices.rules.settings import BadAnswers

log = logging.getLogger("labioc.eurotherm")

PER_MINUTE = {0: 1.0, 1: 1.0 / 60.0, 2: 60.0}  # C/min for each unit of ramp rates (a driver for real 3216)
ABSENT_CODES = (1, 2, 3)  # exceptions that say: not here, or not so many; others are troubles that pass
REFUSALS = 2  # in a row, after which an instrument is taken not to have something
ASK_AGAIN = 60.0  # seconds after which what an instrument did not have is asked for once more
_ALWAYS = frozenset(("PV.IN", "TG.SP", "WRK.OP", "WKG.SP", "StAt", "StAt.INV"))  # what every controller has
_CHECK = ("PV.IN", "SP.HI")  # compared as word and float; the second is large and constant


@dataclass(frozen=True, slots=True)
class Cell:
    """One register as last read; ``value`` is None when the instrument has no number there (absent, NaN).

    Rates are in the instrument's own unit, timers that were read as words in minutes or seconds as it counts them.
    """

    value: float | None
    time: float


class EurothermUnit:
    """The registers of one instrument; ``missing`` are those that it does not have.

    ``assumed`` are the decimals that the site file says, for instruments that tell nothing. All methods that
    talk raise LinkDown and ReplyTimeout; those that say so raise ModbusRefusal and Garbled too.
    """

    def __init__(self, name: str, link: ModbusUnit, clock: DriverClock, assumed: int | None = None) -> None:
        self.link = link
        self.cells: dict[str, Cell] = {}
        self.answers = BadAnswers()
        self.decimals: int | None = assumed
        self.planner = Planner()
        self.confirmed_status = True
        self.forbidden = ""  # why nothing may be written at present
        self._name = name
        self._assumed = assumed
        self._clock = clock
        self._absent: dict[str, float] = {}  # with the monotonic time at which it was last refused
        self.missing = self._absent.keys()

    def value(self, name: str) -> float | None:
        """Return a register as last read in this connection; None when it was not, or holds no number."""
        cell = self.cells.get(name)
        if cell is None or cell.value is None:
            return None
        register = REGISTERS[name]
        if register.scale is Scale.TIMER and reads_twin(register, self.planner.floats):
            return cell.value
        factor = self.factor(register)
        return None if factor is None else cell.value * factor

    def decimals_at(self, register: Register) -> int | None:
        """Return the decimals of a register's word; None when they are not known."""
        if register.scale in (Scale.PV, Scale.RATE) and self.decimals is None:
            return None
        return decimals_in(register.scale, self.decimals or 0)

    def word(self, register: Register) -> int | None:
        """Return a register's word, 0 to 65535, from the last reading; None when there is none."""
        value = self.value(register.name)
        if value is None or self.answers.missed(register.name) > 1:
            return None
        try:
            return self._word_for(register, value)
        except (Refused, ValueError):
            return None

    def number(self, register: Register, word: int) -> float | None:
        """Return what a word of a register means; None when its scale is not known."""
        number, factor = self._plain(register, word), self.factor(register)
        return None if number is None or factor is None else number * factor

    def _plain(self, register: Register, word: int) -> float | None:
        """Return the number in a word, in the instrument's own unit; None when its decimals are not known."""
        if not register.signed:
            return float(word)
        decimals = self.decimals_at(register)
        return None if decimals is None else number_from(word, decimals)

    def factor(self, register: Register) -> float | None:
        """Return what the instrument's own unit of rates or times is in ours; None as long as that is not known.

        An instrument without a register for it has ramp rates per minute and timers in minutes.
        """
        if register.scale is Scale.RATE:
            unit = self.value("RAMPU")
            return PER_MINUTE.get(0 if "RAMPU" in self.missing else -1 if unit is None else int(unit))
        if register.scale is Scale.TIMER:
            unit = self.value("TM.RES")
            return 60.0 if "TM.RES" in self.missing else None if unit is None else 1.0 if unit else 60.0
        return 1.0

    def own_factor(self, register: Register) -> float:
        """Return the factor. Raises Refused when it is not known."""
        factor = self.factor(register)
        if factor is None:
            raise Refused(f"{register.name}: in which unit the instrument counts is not known; nothing was sent")
        return factor

    # After connecting

    async def identify(self) -> None:
        """Learn whether it is a 3200 and whether there is an IEEE area; all else is read behind the fast values.

        Raises Garbled and ModbusRefusal when it does not answer as an instrument of the family.
        """
        self.cells.clear()
        self.answers.reset()
        self._absent.clear()
        self.planner = Planner()
        self.decimals = self._assumed
        await self._check_family()
        self.planner.floats = await self._has_floats(REFUSALS)
        log.info("%s: connected, %s", self._name, "with floats" if self.planner.floats else "words only")

    async def _check_family(self) -> None:
        """See whether register 76 is the complement of 75: so on a 3200, not on its relatives (handbook)."""
        for _ in range(2):  # a bit may change between the two words
            status, complement = await self._ask(REGISTERS["StAt"].address, 2, REFUSALS)
            self.confirmed_status = status ^ complement == 0xFFFF
            if self.confirmed_status:
                return
        log.warning("%s: words 75 and 76 do not complement each other: perhaps no 3200, its status bits may mean "
                    "something else", self._name)  # fmt: skip

    async def _ask(self, start: int, count: int, refusals: int) -> tuple[int, ...]:
        """Read words; a refusal is believed once it came so many times in a row. Raises ModbusRefusal and Garbled."""
        try:
            return await self.link.read_registers(start, count)
        except ModbusRefusal as refusal:
            if refusals == 1:
                raise
            first = refusal
        words = await self._ask(start, count, refusals - 1)
        self._count(str(first))
        return words

    async def _has_floats(self, refusals: int) -> bool:
        try:
            high, low = await self._ask(REGISTERS["SP.HI"].twin, 2, refusals)
        except ModbusRefusal as refusal:
            if refusal.code not in ABSENT_CODES:
                raise
            return False
        return (high, low) != (FILLER, FILLER) and math.isfinite(float_from(high, low))

    async def check(self) -> bool:
        """Find the decimal point again, and an IEEE area that was missed; returns False when no answer came.

        Raises Garbled.
        """
        try:
            if self.planner.floats:
                await self._compare_decimals()
            elif await self._has_floats(1):
                log.warning("%s: it has floats after all", self._name)
                self.planner.floats = True
        except ModbusRefusal as refusal:
            self._count(str(refusal))
            return False
        return True

    async def _compare_decimals(self) -> None:
        """Find where the decimal point of words is by comparing word and float, else by DEC.P."""
        for name in _CHECK:
            register = REGISTERS[name]
            (word,) = await self._ask(register.address, 1, 1)
            found = decimals_of(word, float_from(*await self._ask(register.twin, 2, 1)))
            if found is not None:
                self._set_decimals(found)
                return
        self._set_decimals(self._reported_decimals())

    async def read_decimals(self) -> bool:
        """Read DEC.P, on an instrument without floats; returns False when the decimals are not known for certain now.

        On an instrument that does not tell, they are what the site file says.
        """
        fresh = await self.read(("DEC.P",)) if "DEC.P" not in self.missing else {"DEC.P"}
        self._set_decimals(self._reported_decimals())
        return "DEC.P" in fresh or "DEC.P" in self.missing

    def _reported_decimals(self) -> int | None:
        reported = self.value("DEC.P")
        return int(reported) if reported in (0, 1, 2) else self._assumed

    def _set_decimals(self, decimals: int | None) -> None:
        if decimals != self.decimals and self.decimals is not None:
            log.warning("%s: the decimals of the temperature have become %s", self._name, decimals)
        self.decimals = decimals

    # Reading

    async def read(self, names: Collection[str]) -> set[str]:
        """Read registers; returns those with a fresh answer.

        A register that the instrument refuses alone, twice in a row, is ``missing`` from then on.
        """
        fresh: set[str] = set()
        for block in self.planner.blocks(set(names) - self.missing):
            fresh |= await self.read_block(block)
        return fresh

    async def read_block(self, block: Block) -> set[str]:
        """Read one block, split when it is refused as it is; returns the registers with a fresh answer."""
        width = 2 if block.twins else 1
        start = REGISTERS[block.names[0]].twin if block.twins else block.start
        seen = all(name in self.cells for name in block.names)
        try:
            words = await self._ask(start, block.count * width, 1 if seen else REFUSALS)
        except ModbusRefusal as refusal:
            return await self._refused(block, refusal, seen)
        except Garbled:
            self.answers.bad(*block.names)
            return set()
        found: dict[str, float | None] = {}
        for name in block.names:
            at = (REGISTERS[name].address - block.start) * width
            found[name] = self._decode(name, words[at : at + width])
        if self.confirmed_status:
            self._confirm_status(found)
        now = self._clock.time()
        for name, value in found.items():
            self.cells[name] = Cell(value, now)
            self.answers.good(name)
            self._absent.pop(name, None)
        return set(found)

    async def ask_missing(self) -> set[str]:
        """Ask for one register that was refused some time ago; returns it when it has become fresh."""
        now = self._clock.monotonic()
        name = next((name for name, since in self._absent.items() if now - since >= ASK_AGAIN), None)
        return set() if name is None else await self.read_block(Planner(self.planner.floats).blocks((name,))[0])

    async def _refused(self, block: Block, refusal: ModbusRefusal, seen: bool) -> set[str]:
        absent = refusal.code in ABSENT_CODES and not seen  # what was there before has not ceased to exist
        if absent and self.planner.learn(block):
            return await self.read(block.names)
        if not absent or block.names[0] in _ALWAYS:
            self._count(str(refusal))
            self.answers.bad(*block.names)
            return set()
        if block.names[0] not in self.missing:
            log.info("%s: %s", self._name, refusal)
        self._absent |= dict.fromkeys(block.names, self._clock.monotonic())
        return set()

    def _confirm_status(self, found: dict[str, float | None]) -> None:
        """Drop a status word that its complement contradicts."""
        status, complement = found.get("StAt"), found.get("StAt.INV")
        if status is None or complement is None or int(status) ^ int(complement) == 0xFFFF:
            return
        del found["StAt"], found["StAt.INV"]
        self.answers.bad("StAt", "StAt.INV")
        self._count(f"status word {int(status):04X} and its complement {int(complement):04X} disagree")

    def _count(self, trouble: str) -> None:
        self.link.stats.errors += 1
        self.link.stats.last_error = trouble

    def _decode(self, name: str, words: Sequence[int]) -> float | None:
        register = REGISTERS[name]
        if len(words) == 2:
            if tuple(words) == (FILLER, FILLER):
                return None
            number = float_from(*words) if register.form is Form.FLOAT else seconds_from(*words)
            if not math.isfinite(number) or (register.form is Form.TIME and number < 0):
                return None
            return float(f"{number:.7g}")  # all that an IEEE single tells: 333.3 and not 333.29998779
        (word,) = words
        if word == FILLER and register.form is not Form.BITS:
            return None
        return self._plain(register, word)

    # Writing

    async def write(self, register: Register, value: float) -> None:
        """Write a register, once, in the IEEE area when it has decimals or is a time there.

        Raises Refused when writes are forbidden, the value does not fit or its scale is not known (nothing was sent),
        ModbusRefusal, and Garbled when the outcome is unknown.
        """
        self.check_permitted(register.name)
        try:
            if not reads_twin(register, self.planner.floats):
                await self.link.write_register(register.address, self._word_for(register, value))
            elif register.form is Form.TIME:
                await self.link.write_seconds(register.address, value)
            else:
                await self.link.write_float(register.address, value / self.own_factor(register))
        except ValueError as error:
            raise Refused(f"{register.name}: {error}; nothing was sent") from error

    def check_permitted(self, what: str) -> None:
        """Raise Refused while writes are forbidden."""
        if self.forbidden:
            raise Refused(f"{what}: nothing was sent: {self.forbidden}")

    def _word_for(self, register: Register, value: float) -> int:
        if not register.signed:
            return int(value) & 0xFFFF
        decimals = self.decimals_at(register)
        if decimals is None:
            raise Refused(f"{register.name}: the place of its decimal point is not known; nothing was sent")
        return word_from(value / self.own_factor(register), decimals)

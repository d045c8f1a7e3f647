"""Which words to ask for, and how long that takes: registers of a Eurotherm 3200 in as few requests as is sensible.

Every request costs about 20 characters of line time and the instrument's latency, a word two characters, so it pays
to read over small gaps between registers. An instrument may refuse a block with a gap in it; that is remembered.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from devices.eurotherm.catalogue import QUANTITIES, REPORT_EVERY, REPORTED, UNIT_OF, Rate, registers_of, signals
from devices.eurotherm.registers import LONGEST_BLOCK, REGISTERS, Form, Register, Scale
from devices.links.modbus_serial import parse_modbus_address
from devices.model import DeviceSettings

WIDEST_GAP = 10  # words read in vain, at most
LATENCY = 0.02  # seconds until the answer to a request of several words begins (2000 series: 2 to 500 ms, HA026230)
FRAME = 20  # characters of a read and its answer without the words, silences included (HA026230)
_PERIODS = {Rate.MEDIUM: 5.0, Rate.SLOW: 10.0}  # seconds
_AS_WORD = frozenset({"LD.AMP", "LL.AMP"})  # always one decimal, and between the status words that are read anyway


@dataclass(frozen=True, slots=True)
class Block:
    """One read: ``count`` registers from ``start`` on, as words, or as twins in the IEEE area."""

    twins: bool
    start: int
    count: int
    names: tuple[str, ...]

    @property
    def holes(self) -> set[int]:
        """Addresses that were not asked for."""
        asked = {REGISTERS[name].address for name in self.names}
        return set(range(self.start, self.start + self.count)) - asked


def reads_twin(register: Register, floats: bool) -> bool:
    """Whether a register is read in the IEEE area, if there is one: what has a scale or is a time."""
    return floats and register.form in (Form.FLOAT, Form.TIME) and register.name not in _AS_WORD


@dataclass(slots=True)
class Planner:
    """Makes blocks for one instrument; ``refused`` are addresses that no block may run over, by area."""

    floats: bool = True
    refused: set[tuple[bool, int]] = field(default_factory=set)
    alone: set[str] = field(default_factory=set)

    def blocks(self, names: Iterable[str]) -> list[Block]:
        """Return the reads for these registers, the measured values first."""
        rows = {name: REGISTERS[name] for name in names}
        found: list[Block] = []
        for twins in (True, False):
            chosen = [row for row in rows.values() if reads_twin(row, self.floats) is twins]
            found += self._area(twins, sorted(chosen, key=lambda row: row.address))
        return found

    def learn(self, block: Block) -> bool:
        """Take note that a block was refused; returns False when it cannot be split any more."""
        if len(block.names) == 1:
            return False
        if block.holes:
            self.refused |= {(block.twins, address) for address in block.holes}
        else:
            self.alone |= set(block.names)
        return True

    def _area(self, twins: bool, rows: list[Register]) -> list[Block]:
        blocks: list[Block] = []
        group: list[Register] = []
        for row in rows:
            if group and not self._fits(twins, group, row):
                blocks.append(_block(twins, group))
                group = []
            group.append(row)
        return [*blocks, _block(twins, group)] if group else blocks

    def _fits(self, twins: bool, group: list[Register], row: Register) -> bool:
        width = 2 if twins else 1
        first, last = group[0].address, group[-1].address
        gap = range(last + 1, row.address)
        return (
            (row.address - first + 1) * width <= LONGEST_BLOCK
            and len(gap) * width <= WIDEST_GAP
            and not any((twins, address) in self.refused for address in gap)
            and row.name not in self.alone
            and group[-1].name not in self.alone
        )


def _block(twins: bool, rows: list[Register]) -> Block:
    first, last = rows[0].address, rows[-1].address
    return Block(twins, first, last - first + 1, tuple(row.name for row in rows))


def line_load(settings: DeviceSettings) -> float:
    """Return the share of the time of its line that scanning an instrument with floats takes.

    More than 1 cannot be done. Raises ValueError when the address is not one of a serial line.
    """
    where = parse_modbus_address(settings.address)
    by_period: dict[float, set[str]] = {settings.period: set(), REPORT_EVERY: set(REPORTED)}
    for name in signals(settings):
        rate = QUANTITIES[name].rate
        period = settings.period if rate is Rate.FAST else _PERIODS.get(rate)
        if period is not None:
            by_period.setdefault(period, set()).update(registers_of(name))
    load, faster = 0.0, {UNIT_OF[Scale.TIMER]}  # which no twin needs
    for period in sorted(by_period):
        load += _seconds(by_period[period] - faster, where.character) / period
        faster |= by_period[period]
    return load


def _seconds(registers: Iterable[str], character: float) -> float:
    """Return how long it takes to read these registers once."""
    blocks = Planner().blocks(sorted(registers))
    words = sum(block.count * (2 if block.twins else 1) for block in blocks)
    return len(blocks) * (FRAME * character + LATENCY) + 2 * words * character

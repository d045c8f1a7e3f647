"""How much of the time of its line the reading of an instrument takes."""

from __future__ import annotations

from collections.abc import Iterable

from devices.eurotherm.blocks import Planner
from devices.eurotherm.catalogue import (
    QUANTITIES,
    REPORT_EVERY,
    REPORTED,
    UNIT_OF,
    Rate,
    registers_of,
    signals,
)
from devices.eurotherm.registers import Scale
from devices.links.modbus_serial import parse_modbus_address
from devices.model import DeviceSettings

LATENCY = 0.02  # seconds until the answer to a request of several words begins (2000 series: 2 to 500 ms, HA026230)
FRAME = 20  # characters of a read and its answer without the words, silences included (HA026230)
_PERIODS = {Rate.MEDIUM: 5.0, Rate.SLOW: 10.0}  # seconds


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

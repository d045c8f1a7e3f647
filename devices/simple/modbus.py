"""A simple device that is a table of Modbus registers, on a serial line that it may share with others (Modbus RTU)."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pkgutil import resolve_name
from typing import Any

from devices.errors import Garbled, LinkDown, ReplyTimeout
from devices.family import RTU_LINE, Family
from devices.links.modbus import ModbusUnit, open_unit
from devices.model import DeviceSettings, Value
from devices.rules.options import MODBUS_UNIT
from devices.simple.device import SimpleDriver
from devices.simple.table import Row, check_table, lost_while_writing

FORMS = {"int16": ">h", "uint16": ">H", "int32": ">i", "uint32": ">I", "float32": ">f"}
"""Forms of a number in registers, high word first."""

MOST_WORDS = 100
"""Words in one request; the protocol permits 125."""


@dataclass(frozen=True, slots=True)
class Register(Row):
    """One quantity in holding registers.

    ``register`` is the address on the wire of its first word, ``form`` one of FORMS, ``swapped`` when the low word
    comes first. The value is the number there times ``scale``. With ``writable`` it is a setting.
    """

    register: int = 0
    form: str = "int16"
    swapped: bool = False
    scale: float = 1.0
    writable: bool = False

    @property
    def settable(self) -> bool:
        """Whether it can be written."""
        return self.writable

    @property
    def words(self) -> int:
        """How many registers it takes."""
        return struct.calcsize(FORMS[self.form]) // 2

    def parse(self, words: Sequence[int]) -> Value | None:
        """Return the value in its registers, None when it is no number. Raises Garbled for an unknown choice."""
        raw = struct.pack(f">{self.words}H", *(reversed(words) if self.swapped else words))
        (number,) = struct.unpack(FORMS[self.form], raw)
        if not math.isfinite(number):
            return None
        if self.labels:
            if number not in range(len(self.labels)):
                raise Garbled(f"{self.name}: found {number}, expected 0 to {len(self.labels) - 1}")
            return int(number)
        value = number * self.scale
        return round(value) if self.whole else float(value)

    def carried(self, value: float) -> float:
        """Return the number that fits the registers."""
        number = value / self.scale
        return (number if self.form == "float32" else round(number)) * self.scale

    def format(self, value: float) -> list[int]:
        """Return the words of a value. Raises ValueError when it does not fit."""
        number = value if self.labels else value / self.scale
        try:
            raw = struct.pack(FORMS[self.form], number if self.form == "float32" else round(number))
        except (struct.error, OverflowError) as error:
            raise ValueError(f"{self.name}: {value:g} does not fit {self.form} times {self.scale:g}") from error
        words = list(struct.unpack(f">{self.words}H", raw))
        return words[::-1] if self.swapped else words


class RegisterLink:
    """Reads and writes rows of one unit; see ``devices.simple.table.TableLink``."""

    def __init__(self, unit: ModbusUnit, address: str) -> None:
        self.link = unit
        self.address = f"{address} unit {unit.unit}"

    def batches(self, rows: Iterable[Register]) -> Iterator[list[Register]]:
        """Yield rows whose registers follow each other: between them may be some that the device refuses to read."""
        batch: list[Register] = []
        for row in sorted(rows, key=lambda row: row.register):
            if batch and (row.register != _end(batch) or row.register + row.words - batch[0].register > MOST_WORDS):
                yield batch
                batch = []
            batch.append(row)
        if batch:
            yield batch

    async def read(self, rows: list[Register]) -> list[Value | None]:
        """Read rows that follow each other."""
        start = rows[0].register
        words = await self.link.read_registers(start, _end(rows) - start)
        return [row.parse(words[row.register - start :][: row.words]) for row in rows]

    async def write(self, row: Register, value: float) -> bool:
        """Send a setting, once."""
        words = row.format(value)
        try:
            if len(words) == 1:
                await self.link.write_register(row.register, words[0])
            else:
                await self.link.write_registers(row.register, words)
        except (ReplyTimeout, Garbled):
            return False
        except LinkDown as error:
            raise lost_while_writing(row.name, error) from error
        return True


def _end(rows: Sequence[Register]) -> int:
    return rows[-1].register + rows[-1].words


def proof_of(rows: Sequence[Register]) -> range:
    """Return the longest run of registers, up to five, that a unit can be asked for to see that it is in step."""
    words = sorted({at for row in rows for at in range(row.register, row.register + row.words)})
    best = range(words[0], words[0] + 1)
    for start in words:
        end = start
        while end - start < 5 and end in words:
            end += 1
        if end - start > len(best):
            best = range(start, end)
    return best


def _driver(rows: tuple[Register, ...], settings: DeviceSettings) -> SimpleDriver[Register]:
    number = int(settings.options.get("unit", 1))
    unit = open_unit(settings.address, number, settings.timeout, proof_of(rows))
    return SimpleDriver(settings, rows, RegisterLink(unit, settings.address))


def modbus_family(*, rows: Iterable[Register], **family: Any) -> Family:
    """Return the family of a Modbus device: its rows, and the keys of ``devices.family.Family`` that it needs.

    It has the option ``unit``. Raises ValueError when the table makes no sense.
    """
    table = tuple(rows)
    check_table(table)
    for row in table:
        for limit in row.limits or ():
            row.format(limit)
    options = {"unit": MODBUS_UNIT, **family.pop("options", {})}
    return Family(
        driver=partial(_driver, table),
        simulated_by=lambda: resolve_name("devices.simple.simulator.modbus:simulation")(table),
        options=options,
        **{**RTU_LINE, **family},
    )

"""A simple device that answers lines of text with lines of text, over TCP or a serial line."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from pkgutil import resolve_name
from typing import Any

from devices.errors import Garbled, LinkDown, Refused, ReplyTimeout
from devices.family import Family
from devices.links.line import LineLink, open_link
from devices.model import DeviceSettings, Value
from devices.simple.device import SimpleDriver
from devices.simple.table import Row, check_table, lost_while_writing

GAP = "{}"
"""Where the value stands in a pattern."""


def fill(pattern: str, value: str) -> str:
    """Put a value into the gap of a pattern."""
    return pattern.replace(GAP, value)


def gap_of(pattern: str, line: str) -> str:
    """Return what stands in the gap of a pattern. Raises Garbled when the line is not of this form."""
    before, _, after = pattern.partition(GAP)
    inside = line[len(before) : len(line) - len(after)]
    if len(line) < len(before) + len(after) or fill(pattern, inside) != line:
        raise Garbled(f"found {line!r}, expected {pattern!r}")
    return inside.strip()


@dataclass(frozen=True, slots=True)
class Line(Row):
    """One quantity that is asked for by a line of text.

    ``ask`` is the question and ``answer`` the form of the answer, with ``{}`` for the value. ``send`` makes it a
    setting: the line that sets it, also with ``{}``; ``done`` is the answer to that, None when there is none.
    ``words`` are the texts of a choice on the wire when they are not its labels, ``no_reading`` answers that stand for
    a number that is not there (a broken sensor). A command has ``send`` alone, without a gap.
    """

    ask: str = ""
    answer: str = GAP
    send: str = ""
    done: str | None = "OK"
    words: tuple[str, ...] = ()
    no_reading: tuple[str, ...] = ()

    @property
    def settable(self) -> bool:
        """Whether it can be written."""
        return bool(self.send)

    @property
    def readable(self) -> bool:
        """Whether it can be read."""
        return bool(self.ask)

    def parse(self, line: str) -> Value | None:
        """Return the value in an answer, None when there is no reading. Raises Garbled."""
        found = gap_of(self.answer, line)
        if self.text:
            return found
        if found in self.no_reading:
            return None
        if self.labels:
            words = self.words or self.labels
            if found not in words:
                raise Garbled(f"found {found!r}, expected {', '.join(words)}")
            return words.index(found)
        try:
            number = float(found)
        except ValueError as error:
            raise Garbled(f"found {found!r}, expected a number") from error
        if not math.isfinite(number):
            return None
        if "_" in found or (self.whole and not number.is_integer()):
            raise Garbled(f"found {found!r}, expected a {'whole ' * self.whole}number")
        return int(number) if self.whole else number

    def carried(self, value: float) -> float:
        """Return the number on the wire, which has so many decimals."""
        return float(self.format(value))

    def format(self, value: Value) -> str:
        """Write a value as it stands on the wire."""
        if self.labels and isinstance(value, int | float):
            return (self.words or self.labels)[int(value)]
        if isinstance(value, int | float):
            return f"{value:.{0 if self.whole else self.decimals}f}"
        return str(value)


@dataclass(frozen=True, slots=True)
class TextTable:
    """The rows of a text device, what ends a line that is sent, and whether the device sends each line back."""

    rows: tuple[Line, ...]
    terminator: str = "\r\n"
    echo: bool = False


class TextLink:
    """Asks and sets rows over one line; see ``devices.simple.table.TableLink``."""

    def __init__(self, table: TextTable, link: LineLink) -> None:
        self._table = table
        self.link = link
        self.address = link.address

    def batches(self, rows: Iterable[Line]) -> Iterable[list[Line]]:
        """Return one batch for each row."""
        return ([row] for row in rows)

    async def read(self, rows: list[Line]) -> list[Value | None]:
        """Ask for one row."""
        (row,) = rows
        line = await self.link.exchange(self._bytes(row.ask))
        try:
            return [row.parse(line)]
        except Garbled as error:
            self.link.mark_unsynchronised()
            self.link.stats.errors += 1
            self.link.stats.last_error = str(error)
            raise Garbled(f"{row.ask}: {error}") from error

    async def write(self, row: Line, value: float) -> bool | None:
        """Send a setting or command, once."""
        request = self._bytes(fill(row.send, row.format(value)))
        try:
            if row.done is None:
                await self.link.tell(request)
                return None
            line = await self.link.exchange(request, changes=True)
        except (ReplyTimeout, Garbled):
            return False
        except LinkDown as error:
            raise lost_while_writing(row.name, error) from error
        if line != row.done:
            raise Refused(f"{row.name}: the device answered {line!r} instead of {row.done!r}")
        return True

    def _bytes(self, text: str) -> bytes:
        return (text + self._table.terminator).encode("ascii")


def _driver(table: TextTable, settings: DeviceSettings) -> SimpleDriver[Line]:
    link = open_link(settings.address, settings.timeout, mark="", echo=table.echo)
    return SimpleDriver(settings, table.rows, TextLink(table, link))


def text_family(*, rows: Iterable[Line], terminator: str = "\r\n", echo: bool = False, **family: Any) -> Family:
    """Return the family of a text device: its rows, and the keys of ``devices.family.Family`` that it needs.

    Raises ValueError when the table makes no sense.
    """
    table = TextTable(tuple(rows), terminator, echo)
    check_table(table.rows)
    return Family(
        driver=partial(_driver, table),
        simulated_by=lambda: resolve_name("devices.simple.simulator.text:simulation")(table),
        **family,
    )

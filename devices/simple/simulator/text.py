"""A simulated text device: answers the lines of its table over TCP and, when wanted, on a pseudo terminal."""

from __future__ import annotations

import asyncio
from argparse import ArgumentParser, Namespace
from dataclasses import dataclass

from devices.errors import Garbled
from devices.model import DeviceSettings
from devices.simple.simulator.model import TableModel
from devices.simple.text import GAP, Line, TextTable, fill, gap_of
from devices.simulation.backdoor import Action, TextDoor, finite, setting
from devices.simulation.lines import LineServer
from devices.simulation.simulation import Simulation

NO_ANSWER = "ERROR"
"""What a request that it does not understand, or a value out of range, is answered with."""


@dataclass(slots=True)
class Faults:
    """What is wrong: nothing answered, rubbish answered, settings taken but not answered, or answered by hanging up.

    ``delay`` is in seconds.
    """

    silent: bool = False
    garbage: bool = False
    mute: bool = False
    hang_up: bool = False
    delay: float = 0.0


class SimulatedText(LineServer):
    """A text device on the loopback interface; ``received`` are the lines that it was sent."""

    def __init__(self, table: TextTable, port: int = 0) -> None:
        self.model = TableModel(table.rows)
        super().__init__(self.model.step, port)
        self.faults = Faults()
        self.received: list[str] = []
        self._table = table

    async def answer(self, line: bytes) -> list[bytes | None]:
        """Answer one line, as far as nothing is wrong."""
        request = line.decode("ascii", "replace").strip()
        if not request:
            return []
        self.received.append(request)
        if self.faults.silent:
            return []
        self.advance()
        text = "?#?" if self.faults.garbage else self._answer(request)
        if self.faults.hang_up and any(_value_in(row, request) is not None for row in self._table.rows):
            raise ConnectionAbortedError
        if text is None:
            return []
        await asyncio.sleep(self.faults.delay)
        return [(text + self._table.terminator).encode("ascii")]

    def _answer(self, request: str) -> str | None:
        for row in self._table.rows:
            if row.ask == request:
                return fill(row.answer, row.format(self.model.values[row.name]))
            if (value := _value_in(row, request)) is not None:
                good = not row.readable or self.model.set(row, value)
                return None if self.faults.mute or row.done is None else row.done if good else NO_ANSWER
        return NO_ANSWER


def _value_in(row: Line, request: str) -> float | None:
    """Return the value that a line sets a row to, None when it is no such line."""
    if not row.send:
        return None
    if GAP not in row.send:
        return 1 if request == row.send else None
    try:
        word = gap_of(row.send, request)
        return (row.words or row.labels).index(word) if row.labels else finite(word)
    except (Garbled, ValueError):
        return None


def _door(device: SimulatedText, port: int) -> TextDoor:
    own: dict[str, tuple[str, Action]] = {
        "delay": ("SECONDS", setting(lambda: device.faults, "delay", finite)),
        "disconnect": ("", device.disconnect),
    }
    return TextDoor(port, device.model.commands(device.faults, "silent", "garbage", "mute", "hang_up") | own)


def _add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--serial", action="store_true", help="on a pseudo terminal as well")


async def _announce(device: SimulatedText, args: Namespace) -> list[str]:
    lines = [f"{len(device.model.rows)} quantities at {device.address}"]
    return [*lines, f"and at serial://{await device.plug_in_serial()}"] if args.serial else lines


def simulation(table: TextTable) -> Simulation[SimulatedText]:
    """Return how a text device of this table is simulated."""
    first = next((row.name for row in table.rows if row.readable and row.numeric), table.rows[0].name)

    def make(_settings: DeviceSettings, port: int) -> SimulatedText:
        return SimulatedText(table, port)

    return Simulation(
        make=make,
        from_arguments=lambda args: SimulatedText(table, args.port),
        add_arguments=_add_arguments,
        announce=_announce,
        back_door=_door,
        example="silent on",
        effect=f"{{device}}:{first.replace('.', ':')} turns INVALID until silent off",
        listens=True,
    )
